/* SPDX-License-Identifier: MIT */
/* A model file, understood: what it is made of, and where each weight goes. */
#ifndef DUNLIN_ENGINE_MODEL_H
#define DUNLIN_ENGINE_MODEL_H

/* IWYU pragma: begin_exports */
#include <dunlin/model.h>

#include "engine/arch/arch.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/tokenizer.h"
#include "kernels/kernels.h"
/* IWYU pragma: end_exports */

#define DN_PARTS_MAX 3 /* weights that a file may keep as one tensor */

struct dn_adapter;
struct dn_pool;

/* A vector that begins @n elements behind the one before it in the same tensor. */
struct dn_vector_part {
	const float **vector;
	uint32_t n;
};

/**
 * struct dn_weight - one tensor on its way into memory
 * @shape: of a matrix, its @data not set
 * @parts: the matrices that its rows are, in order; their data is set when weights are loaded.
 *	@shape's type is the tensor's, or F32 where it is to be unpacked
 * @linears: whose matrices the parts are; NULL: no linears', so that no adapter can change them
 * @vector: where a vector of float32 goes, else NULL; @vector_parts: what else its parts are
 * @offset: in the model's region
 */
struct dn_weight {
	const struct dn_gguf_tensor *tensor;
	struct dn_matrix shape;
	struct dn_matrix *parts[DN_PARTS_MAX];
	struct dn_linear *linears[DN_PARTS_MAX];
	const float **vector;
	struct dn_vector_part vector_parts[DN_PARTS_MAX - 1];
	size_t offset;
	size_t bytes;
};

/**
 * struct dn_weight_set - tensors of one file that are loaded together
 * @region: their memory, NULL before they are loaded
 * @mapped_bytes: of it, for munmap()
 */
struct dn_weight_set {
	const struct dn_gguf *gguf;
	const struct dn_weight *weights;
	size_t n_weights;
	uint8_t *region;
	size_t region_bytes;
	size_t mapped_bytes;
};

/**
 * struct dn_prepared - the prepared form that a model was opened from (prepared.h)
 * @fd: borrowed
 * @region_at, @rest_at: where the re-laid weights and the rest of its files begin
 * @bytes: of the whole; 0: the model was opened from its files
 */
struct dn_prepared {
	int fd;
	uint64_t region_at;
	uint64_t rest_at;
	uint64_t bytes;
};

/**
 * struct dn_model - see dunlin/model.h
 * @arch: NULL where @runs is set: why it cannot run
 * @tokenizer: NULL where @tokenizes is set: why it has none
 * @weights: what @arch asked for, in the order of asking; addresses of @region once loaded
 * @region: the re-laid weights, NULL before they are loaded; @mapped_bytes: of it, for munmap()
 * @tables: of the tokenizer; mapped, owned
 * @adapters: owned, in the order that they are applied in
 * @state_bytes: of a sequence's recurrent layers
 */
struct dn_model {
	struct dn_gguf *gguf;
	struct dn_tokenizer *tokenizer;
	const struct dn_arch *arch;
	struct dn_hparams hparams;
	struct dn_error runs;
	struct dn_error tokenizes;
	struct dn_weight *weights;
	size_t n_weights;
	size_t max_weights;
	struct dn_layer *layers;
	struct dn_globals globals;
	uint8_t *region;
	size_t region_bytes;
	size_t mapped_bytes;
	struct dn_prepared prepared;
	struct dn_tokenizer_tables tables;
	struct dn_adapter *adapters[DN_ADAPTERS_MAX];
	uint32_t n_adapters;
	uint64_t state_bytes;
	char architecture[64];
};

/*
 * A model of headers that were opened; @gguf and the mapping of @tables, which may be NULL, are taken
 * over, whatever it returns.
 */
DN_MUST_CHECK int dn_model_of_gguf(struct dn_gguf *gguf, const struct dn_tokenizer_tables *tables,
				   struct dn_model **ret_model, struct dn_error *err);

/* Reads and re-lays all weights, those of adapters too, with the pool's threads; once a model. */
DN_MUST_CHECK int dn_model_load_weights(struct dn_model *model, struct dn_pool *pool,
					struct dn_error *err);
/* Bytes that it takes for each thread while it reads. */
size_t dn_model_staging_bytes(const struct dn_model *model);
/* Bytes that dn_model_load_weights() maps; fits 64 bits. */
uint64_t dn_model_weights_bytes(const struct dn_model *model);

/* weights.c: what the model and its adapters have in common. */

/* Sets the shape of a matrix, whose type is set, and its bytes. */
DN_MUST_CHECK int dn_weight_set_matrix(struct dn_weight *weight, uint32_t rows, uint32_t columns,
				       struct dn_error *err);
/* Gives each weight its offset. */
DN_MUST_CHECK int dn_weights_place(struct dn_weight *weights, size_t n, size_t *ret_region_bytes,
				   struct dn_error *err);
size_t dn_weights_staging_bytes(const struct dn_weight_set *set);

/* Takes @size bytes of a weight's @weight at @offset of the region; a negative errno ends it all. */
typedef int dn_stretch_function(void *data, size_t offset, const uint8_t *bytes, size_t size,
				struct dn_error *err);
/* Makes the region a stretch at a time, in order, without ever having it whole. */
DN_MUST_CHECK int dn_weights_each_stretch(const struct dn_weight_set *set,
					  dn_stretch_function *take, void *data,
					  struct dn_error *err);
/* Maps @set's region and fills it; on failure there is none. A set of no tensors has none. */
DN_MUST_CHECK int dn_weights_load(struct dn_weight_set *set, struct dn_pool *pool,
				  struct dn_error *err);
void dn_weights_unmap(struct dn_weight_set *set);
/* Sets the addresses that weights have in a region. */
void dn_weights_set_addresses(const struct dn_weight_set *set);

#endif /* DUNLIN_ENGINE_MODEL_H */
