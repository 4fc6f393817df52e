/* SPDX-License-Identifier: MIT */
/* GGUF v2 and v3: a model file's metadata and its tensors' places, checked before use. */
#ifndef DUNLIN_ENGINE_GGUF_H
#define DUNLIN_ENGINE_GGUF_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>

#include "base/base.h"
#include "kernels/types.h"
/* IWYU pragma: end_exports */

#define DN_GGUF_DIMS_MAX  4
#define DN_GGUF_FILES_MAX 128

struct dn_gguf;

/* A run of bytes inside the mapping: UTF-8 by the specification, anything by experience. */
struct dn_text {
	const char *data;
	size_t size;
};

/* Value types, with the file's numbers. */
enum dn_gguf_type {
	DN_GGUF_U8 = 0,
	DN_GGUF_I8 = 1,
	DN_GGUF_U16 = 2,
	DN_GGUF_I16 = 3,
	DN_GGUF_U32 = 4,
	DN_GGUF_I32 = 5,
	DN_GGUF_F32 = 6,
	DN_GGUF_BOOL = 7,
	DN_GGUF_STRING = 8,
	DN_GGUF_ARRAY = 9,
	DN_GGUF_U64 = 10,
	DN_GGUF_I64 = 11,
	DN_GGUF_F64 = 12,
};

/**
 * struct dn_gguf_array - an array inside the mapping
 * @type: of the elements; arrays of arrays are refused at opening
 * @count: elements
 * @data: the first element, little-endian, unaligned; walk strings with dn_gguf_next_text()
 * @size: bytes at @data
 */
struct dn_gguf_array {
	enum dn_gguf_type type;
	uint64_t count;
	const uint8_t *data;
	size_t size;
};

/**
 * struct dn_gguf_tensor - where a tensor lies
 * @name: borrowed from the mapping
 * @dims: columns first, as in the file; unused ones are 1
 * @file: which of the model's files it is in, from 0
 * @offset: of the first byte, from the start of that file
 * @size: bytes; @offset + @size lies inside the file
 */
struct dn_gguf_tensor {
	struct dn_text name;
	enum dn_type type;
	uint32_t n_dims;
	uint32_t file;
	uint64_t dims[DN_GGUF_DIMS_MAX];
	uint64_t offset;
	uint64_t size;
};

struct dn_gguf_entry {
	struct dn_text key;
	enum dn_gguf_type type;
	const uint8_t *value; /* scalars and strings: at the value; arrays: at the element type */
};

/**
 * dn_gguf_open() - map a model's headers and check everything they say
 * @fds: regular files, borrowed until dn_gguf_free(): the header of each is mapped here, tensor
 *	data is read later with dn_gguf_read()
 * @n_fds: 1, or as many as the model has parts, in their order (at most DN_GGUF_FILES_MAX)
 * @ret_gguf: owned by the caller
 *
 * Refuses wrong magic, versions other than 2 and 3, big-endian files (by name), counts, strings,
 * arrays and dimensions beyond the file or their limits, duplicate keys and tensors, unknown
 * types, alignments that are no power of two, tensors that overlap or leave the file. Takes time
 * and memory by the size of the header, never by what it claims. The file must not be cut short
 * while it is open: the kernel ends a process that reads a mapping past its file's end (models in
 * the store never change; a sealed memfd cannot).
 *
 * A model in parts is one whose files say so (split.no, split.count, split.tensors.count: llama.cpp,
 * tools/gguf-split): all metadata is that of the first, the others have tensors. Parts that are
 * missing, in another order, or of another model are refused.
 *
 * Return: 0, or a negative errno; the message names the file where there are several, the field,
 * its offset, and the limit.
 */
DN_MUST_CHECK int dn_gguf_open(const int *fds, size_t n_fds, struct dn_gguf **ret_gguf,
			       struct dn_error *err);

/**
 * struct dn_gguf_image - a copy of a file's header, kept in another file
 * @offset: where, a multiple of the page size
 * @bytes: of the header, at least
 * @file_bytes: of the file that it was copied from
 */
struct dn_gguf_image {
	uint64_t offset;
	uint64_t bytes;
	uint64_t file_bytes;
};

/**
 * dn_gguf_open_images() - as dn_gguf_open(), of headers whose files may be gone
 * @fd: borrowed for the call; the images lie inside it
 * @n_images: as @n_fds
 *
 * All but dn_gguf_read(), which has nothing to read from, works as with the files themselves.
 */
DN_MUST_CHECK int dn_gguf_open_images(int fd, const struct dn_gguf_image *images, size_t n_images,
				      struct dn_gguf **ret_gguf, struct dn_error *err);

struct dn_gguf *dn_gguf_free(struct dn_gguf *gguf);
DN_DEFINE_CLEANUP(struct dn_gguf *, dn_gguf_free)
#define DN_AUTO_GGUF DN_AUTO(dn_gguf_free_cleanup)

uint32_t dn_gguf_version(const struct dn_gguf *gguf);
size_t dn_gguf_n_files(const struct dn_gguf *gguf);
/* Of all files. */
uint64_t dn_gguf_file_size(const struct dn_gguf *gguf);
/* Bytes of all headers: what of the mappings is ever touched. */
uint64_t dn_gguf_header_size(const struct dn_gguf *gguf);
/* The header of a file, from its first byte on. */
struct dn_gguf_head {
	const uint8_t *data;
	size_t size;
	uint64_t file_bytes;
};
struct dn_gguf_head dn_gguf_head(const struct dn_gguf *gguf, size_t file);

size_t dn_gguf_n_entries(const struct dn_gguf *gguf);
const struct dn_gguf_entry *dn_gguf_entry(const struct dn_gguf *gguf, size_t index);
size_t dn_gguf_n_tensors(const struct dn_gguf *gguf);
const struct dn_gguf_tensor *dn_gguf_tensor(const struct dn_gguf *gguf, size_t index);
/* NULL where there is none; by hash. */
const struct dn_gguf_tensor *dn_gguf_find_tensor(const struct dn_gguf *gguf, const char *name);

/*
 * Look-ups. Each returns 1 and sets its output, 0 where the key is absent (the output stays, so
 * set the default first), or -EINVAL with a message where the type or the range is wrong.
 * Integers of every width convert where the value fits; so do F32 and F64 into double.
 */
DN_MUST_CHECK int dn_gguf_get_u32(const struct dn_gguf *gguf, const char *key, uint32_t *ret,
				  struct dn_error *err);
DN_MUST_CHECK int dn_gguf_get_f64(const struct dn_gguf *gguf, const char *key, double *ret,
				  struct dn_error *err);
DN_MUST_CHECK int dn_gguf_get_bool(const struct dn_gguf *gguf, const char *key, bool *ret,
				   struct dn_error *err);
DN_MUST_CHECK int dn_gguf_get_text(const struct dn_gguf *gguf, const char *key, struct dn_text *ret,
				   struct dn_error *err);
DN_MUST_CHECK int dn_gguf_get_array(const struct dn_gguf *gguf, const char *key,
				    enum dn_gguf_type type, struct dn_gguf_array *ret,
				    struct dn_error *err);

/* The string at *@cursor of a string array, which opening has checked; moves the cursor on. */
struct dn_text dn_gguf_next_text(const uint8_t **cursor);

/* Reads @size bytes of a file at @offset, whole: a file cut short since opening is -EIO. */
DN_MUST_CHECK int dn_gguf_read(const struct dn_gguf *gguf, uint32_t file, void *out, size_t size,
			       uint64_t offset, struct dn_error *err);

/* Gives the kernel back the pages of the headers that were touched (the mappings stay valid). */
void dn_gguf_drop_pages(const struct dn_gguf *gguf);
/* Maps them all, so that none is waited for later. */
void dn_gguf_populate(const struct dn_gguf *gguf);

#endif /* DUNLIN_ENGINE_GGUF_H */
