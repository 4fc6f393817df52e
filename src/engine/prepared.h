/* SPDX-License-Identifier: MIT */
/*
 * The prepared form of a model: its weights re-laid as kernels read them, to be mapped instead of
 * read and re-laid at each start. It is a permutation of the model's files, so that they can be
 * given back byte for byte, and it is the same for all levels of kernels.
 *
 *   head      struct dn_prepared_head
 *   images    the GGUF header of each file of the model
 *   tables    of the tokenizer (tokenizer/tables.h)
 *   weights   struct dn_prepared_weight of each weight, in the order of the family's binding
 *   region    the weights, as dn_weights_load() makes them
 *   rest      what of the files is neither in an image nor in the region: padding, and tensors that
 *             are not run
 *
 * Images, tables and region begin at multiples of DN_PREPARED_ALIGN. Whoever opens it has checked that it
 * is what was written (src/store/seal.h); what it says is checked here all the same.
 */
#ifndef DUNLIN_ENGINE_PREPARED_H
#define DUNLIN_ENGINE_PREPARED_H

/* IWYU pragma: begin_exports */
#include <stdint.h>

#include "engine/gguf/gguf.h"
#include "engine/model.h"
/* IWYU pragma: end_exports */

#define DN_PREPARED_MAGIC  "DNPREPAR"
#define DN_PREPARED_LAYOUT 1U /* of the region: changes with relay.h */
#define DN_PREPARED_ALIGN  ((uint64_t)64 << 10)

/* At the start; in the machine's byte order, little-endian as the GGUF files are. */
struct dn_prepared_head {
	char magic[8];
	uint32_t layout;
	uint32_t n_files;
	uint64_t bytes; /* of the whole */
	uint64_t tables_at;
	uint64_t tables_bytes;
	uint64_t weights_at;
	uint64_t n_weights;
	uint64_t region_at;
	uint64_t region_bytes;
	uint64_t rest_at;
	struct dn_gguf_image images[DN_GGUF_FILES_MAX];
};

/* Where a tensor is in the region, as a version of this program binds it. */
struct dn_prepared_weight {
	uint32_t tensor;
	uint32_t type;
	uint64_t offset;
	uint64_t bytes;
};

/**
 * dn_model_open_prepared() - dn_model_open() of a prepared form
 * @fd: a regular file or a memfd that does not shrink; borrowed until dn_model_free()
 *
 * Return: 0, or a negative errno: -ESTALE for one that another version has written, -EBADMSG
 * for one that is damaged.
 */
DN_MUST_CHECK int dn_model_open_prepared(int fd, struct dn_model **ret_model, struct dn_error *err);

/* Maps the region for reading; @pool's threads touch its pages. */
DN_MUST_CHECK int dn_prepared_map(const struct dn_prepared *prepared, struct dn_weight_set *set,
				  struct dn_pool *pool, struct dn_error *err);

/**
 * dn_model_prepare() - write a model's prepared form
 * @fd: written from its position on, in order; on failure what was written is of no use
 * @ret_head_bytes: of what was written, what is before the region: all that opening reads
 *
 * Takes memory for a stretch of weights, whatever the size of the model.
 */
DN_MUST_CHECK int dn_model_prepare(const struct dn_model *model, int fd, uint64_t *ret_head_bytes,
				   struct dn_error *err);

/**
 * dn_model_give_back() - write a file that a prepared model was made from, byte for byte
 * @file: below dn_gguf_n_files()
 * @fd: written from its position on, in order
 */
DN_MUST_CHECK int dn_model_give_back(const struct dn_model *model, uint32_t file, int fd,
				     struct dn_error *err);

#endif /* DUNLIN_ENGINE_PREPARED_H */
