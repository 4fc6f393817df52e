/* SPDX-License-Identifier: MIT */
/* What the files of the GGUF reader share. */
#ifndef DUNLIN_ENGINE_GGUF_INTERNAL_H
#define DUNLIN_ENGINE_GGUF_INTERNAL_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <dunlin/error.h>

#include "base/base.h"
#include "base/text.h"
#include "engine/gguf/gguf.h"
#include "kernels/types.h"
/* IWYU pragma: end_exports */

/*
 * What no honest file comes near. The largest vocabularies of today (262,144 tokens and their
 * merges) make headers of about 16 MiB; models of a thousand layers have some 10,000 tensors.
 */
#define GGUF_ENTRIES_MAX  65536U
#define GGUF_TENSORS_MAX  65536U
#define GGUF_HEADER_MAX	  ((uint64_t)128 << 20)
#define GGUF_STRING_MAX	  ((uint64_t)16 << 20)
#define GGUF_ELEMENTS_MAX ((uint64_t)16 << 20)
#define GGUF_DIM_MAX	  ((uint64_t)INT32_MAX)
/* These are the specification's. */
#define GGUF_KEY_MAX	       65535U
#define GGUF_NAME_MAX	       64U
#define GGUF_ALIGNMENT_DEFAULT 32U
#define GGUF_ALIGNMENT_MIN     8U
#define GGUF_ALIGNMENT_MAX     65536U
#define GGUF_HEAD_BYTES	       24U
#define GGUF_ENTRY_BYTES_MIN   14U /* key length, one byte of key, type, one byte of value */
#define GGUF_TENSOR_BYTES_MIN  33U /* name length, one byte, dimensions, one of them, type, offset */

/**
 * struct gguf_index - finds items by the text they begin with
 * @slots: owned; index of an item + 1, 0 for an empty slot
 * @mask: slots - 1; there are at least two slots an item
 * @seed: unknown to whoever wrote the file, so that no file can choose its collisions
 * @items: borrowed; each begins with its struct dn_text
 * @stride: bytes from item to item
 */
struct gguf_index {
	uint32_t *slots;
	size_t mask;
	uint64_t seed[2];
	const void *items;
	size_t stride;
};

/**
 * struct gguf_file - one file of a model
 * @fd: borrowed; -1 where there is but a copy of the header
 * @map: the head of the file, to the end of the header
 * @header_bytes: to the end of the tensors' descriptions, once they are read
 * @entries_end: where the tensors' descriptions begin
 * @first_tensor: of its @n_tensors, in the model's list
 */
struct gguf_file {
	int fd;
	uint32_t version;
	uint64_t size;
	const uint8_t *map;
	size_t map_size;
	size_t header_bytes;
	size_t n_entries;
	struct dn_gguf_entry *entries;
	const uint8_t *entries_end;
	struct gguf_index entry_index;
	uint32_t alignment;
	size_t first_tensor;
	size_t n_tensors;
};

/* The metadata is that of the first file. */
struct dn_gguf {
	size_t n_tensors;
	struct dn_gguf_tensor *tensors;
	struct gguf_index tensor_index;
	size_t n_files;
	struct gguf_file files[];
};

/* A name from a file, cut and made safe for a message. */
struct gguf_label {
	char text[80];
};

static inline struct gguf_label gguf_label(struct dn_text name)
{
	struct gguf_label label;

	(void)dn_text_printable(name.data, name.size, label.text, sizeof(label.text));
	return label;
}

/* Little-endian and unaligned, on every host. */
static inline uint32_t gguf_load_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t gguf_load_u64(const uint8_t *p)
{
	return (uint64_t)gguf_load_u32(p) | (uint64_t)gguf_load_u32(p + 4) << 32;
}

/* gguf-index.c */
DN_MUST_CHECK int gguf_index_init(struct gguf_index *index, const void *items, size_t stride,
				  size_t n_items, struct dn_error *err);
void gguf_index_done(struct gguf_index *index);
/* The item called @name, NULL where there is none. */
const void *gguf_index_find(const struct gguf_index *index, struct dn_text name);
/* Adds item @number; returns the item that has the same name already, or NULL. */
const void *gguf_index_add(struct gguf_index *index, size_t number);

/* gguf-values.c: bytes of a value of @type, 0 for strings, arrays, and unknown types. */
size_t gguf_type_width(uint32_t type);
const char *gguf_type_name(uint32_t type);
/* As dn_gguf_get_u32(), of any of the files. */
DN_MUST_CHECK int gguf_file_get_u32(const struct gguf_file *file, const char *key, uint32_t *ret,
				    struct dn_error *err);

/*
 * gguf-file.c: maps the head of a file, or of an image in @fd; then reads it up to the tensors'
 * descriptions. Whatever they return, gguf_file_done() undoes it; all take a zeroed struct.
 */
DN_MUST_CHECK int gguf_file_map(struct gguf_file *file, int fd, struct dn_error *err);
DN_MUST_CHECK int gguf_file_map_image(struct gguf_file *file, int fd,
				      const struct dn_gguf_image *image, struct dn_error *err);
DN_MUST_CHECK int gguf_file_read(struct gguf_file *file, struct dn_error *err);
/* Unmaps what is behind the first @header bytes: dn_gguf_read() does without. */
void gguf_file_trim(struct gguf_file *file, uint64_t header);
void gguf_file_done(struct gguf_file *file);

/* gguf-split.c: whether the opened files are the parts of one model, all of them, in order. */
DN_MUST_CHECK int gguf_check_split(const struct dn_gguf *gguf, struct dn_error *err);

/**
 * struct gguf_reader - reads a file's header from front to back
 * @gguf: NULL before the tensors
 * @at: byte that is read next, from the start of the file
 * @end: where the mapping ends
 */
struct gguf_reader {
	struct dn_gguf *gguf;
	struct gguf_file *file;
	uint64_t at;
	uint64_t end;
	struct dn_error *err;
};

/* gguf-reader.c; @what names the field in messages. Each returns 0 or a negative errno. */
DN_MUST_CHECK int gguf_take(struct gguf_reader *reader, uint64_t size, const char *what,
			    const uint8_t **ret);
DN_MUST_CHECK int gguf_take_u32(struct gguf_reader *reader, const char *what, uint32_t *ret);
DN_MUST_CHECK int gguf_take_u64(struct gguf_reader *reader, const char *what, uint64_t *ret);
DN_MUST_CHECK int gguf_take_text(struct gguf_reader *reader, const char *what, uint64_t max,
				 struct dn_text *ret);
/* A key or a tensor's name: not empty, no control bytes, ASCII alone where @ascii. */
DN_MUST_CHECK int gguf_take_name(struct gguf_reader *reader, const char *what, uint64_t max,
				 bool ascii, struct dn_text *ret);
/* Skips a value of @type and checks all of it. */
DN_MUST_CHECK int gguf_take_value(struct gguf_reader *reader, uint32_t type);

/* gguf-tensors.c: reads the tensors' descriptions, and checks where the tensors lie. */
DN_MUST_CHECK int gguf_take_tensors(struct gguf_reader *reader);

#endif /* DUNLIN_ENGINE_GGUF_INTERNAL_H */
