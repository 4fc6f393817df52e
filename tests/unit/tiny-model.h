/* SPDX-License-Identifier: MIT */
/* A small random llama model in a memfd, and adapters for it. */
#ifndef TESTS_UNIT_TINY_MODEL_H
#define TESTS_UNIT_TINY_MODEL_H

#include <stdint.h>

#include "kernels/types.h"
#include "gguf-builder.h"

/**
 * struct tiny_model - its shape; tiny_model_default() is a start
 * @change: called on the builder before the tensors, to add or spoil entries; may be NULL
 * @without, @without_too: tensors to leave out; may be NULL
 * @fused: q, k and v are one tensor, and so are gate and up, of the same values
 * @untied: the output is a tensor of its own, with the embedding's values
 * @edit: may change a matrix of F32, but not the output's; may be NULL
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
	bool fused;
	bool untied;
	void (*edit)(const char *name, float *values, uint32_t columns, uint32_t rows);
};

struct tiny_model tiny_model_default(enum dn_type type);
/* To be closed. */
int tiny_model_fd(const struct tiny_model *model);

/**
 * struct tiny_adapter - of every matrix of the layers; tiny_adapter_default() is a start
 * @type: of its tensors; those that its blocks do not divide are F16
 * @unpacked: written as F32, with the values that @type has (F16, BF16 or Q8_0)
 * @embedding: has a pair for that too
 * @model: what it is made for
 */
struct tiny_adapter {
	const struct tiny_model *model;
	enum dn_type type;
	uint32_t rank;
	float alpha;
	uint32_t seed;
	bool unpacked;
	bool embedding;
};

struct tiny_adapter tiny_adapter_default(const struct tiny_model *model, uint32_t seed);
/* To be closed. */
int tiny_adapter_fd(const struct tiny_adapter *adapter);
/* What struct tiny_model's @edit does to have an adapter of F32 merged, with a scale. */
void tiny_adapter_merge(const struct tiny_adapter *adapter, float scale, const char *name,
			float *values, uint32_t columns, uint32_t rows);

#endif /* TESTS_UNIT_TINY_MODEL_H */
