/* SPDX-License-Identifier: MIT */
/* A small random llama model in a memfd. */
#ifndef TESTS_UNIT_TINY_MODEL_H
#define TESTS_UNIT_TINY_MODEL_H

#include <stdint.h>

#include "kernels/types.h"
#include "unit/gguf-builder.h"

/**
 * struct tiny_model - its shape; tiny_model_default() is a start
 * @change: called on the builder before the tensors, to add or spoil entries; may be NULL
 * @without, @without_too: tensors to leave out; may be NULL
 */
struct tiny_model {
	enum dn_type type;
	uint32_t layers;
	uint32_t dim;
	uint32_t heads;
	uint32_t kv_heads;
	uint32_t head_dim;
	uint32_t ffn;
	uint32_t vocabulary;
	uint32_t context;
	uint32_t seed;
	void (*change)(struct gguf_builder *builder);
	const char *without;
	const char *without_too;
};

struct tiny_model tiny_model_default(enum dn_type type);
/* To be closed. */
int tiny_model_fd(const struct tiny_model *model);

#endif /* TESTS_UNIT_TINY_MODEL_H */
