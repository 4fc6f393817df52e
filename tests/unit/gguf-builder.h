/* SPDX-License-Identifier: MIT */
/* Makes GGUF files for tests, in memory. Ends the test program where something fails. */
#ifndef TESTS_UNIT_GGUF_BUILDER_H
#define TESTS_UNIT_GGUF_BUILDER_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"
#include "base/buffer.h"
#include "engine/gguf/gguf.h"
#include "kernels/types.h"
/* IWYU pragma: end_exports */

/**
 * struct gguf_builder - a file that grows entry by entry
 * @version: written as it is; 3 unless changed
 * @alignment: what tensors are placed by; gguf_set_alignment() also says so in the file
 */
struct gguf_builder {
	struct dn_buffer entries;
	struct dn_buffer tensors;
	struct dn_buffer data;
	uint64_t n_entries;
	uint64_t n_tensors;
	uint32_t version;
	uint32_t alignment;
};

void gguf_builder_init(struct gguf_builder *builder);
void gguf_builder_done(struct gguf_builder *builder);

void gguf_set_alignment(struct gguf_builder *builder, uint32_t alignment);
/* An entry of @type whose value is the @size bytes at @value, as they are. */
void gguf_add_raw(struct gguf_builder *builder, const char *key, enum dn_gguf_type type,
		  const void *value, size_t size);
void gguf_add_u32(struct gguf_builder *builder, const char *key, uint32_t value);
void gguf_add_f32(struct gguf_builder *builder, const char *key, float value);
void gguf_add_bool(struct gguf_builder *builder, const char *key, bool value);
void gguf_add_text(struct gguf_builder *builder, const char *key, const char *value);
/* An array of numbers: @size bytes at @values. */
void gguf_add_array(struct gguf_builder *builder, const char *key, enum dn_gguf_type type,
		    uint64_t count, const void *values, size_t size);
void gguf_add_texts(struct gguf_builder *builder, const char *key, const char *const *values,
		    size_t count);
/* A tensor behind those before it; @data NULL for zeros, else as long as its shape says. */
void gguf_add_tensor(struct gguf_builder *builder, const char *name, enum dn_type type,
		     uint32_t n_dims, const uint64_t *dims, const void *data);

/* The file's bytes; to be freed with free(). */
uint8_t *gguf_builder_bytes(const struct gguf_builder *builder, size_t *ret_size);
/* The file in a memfd, to be closed. */
int gguf_builder_fd(const struct gguf_builder *builder);
/* Any bytes in a memfd, to be closed. */
int gguf_fd_of_bytes(const void *bytes, size_t size);

#endif /* TESTS_UNIT_GGUF_BUILDER_H */
