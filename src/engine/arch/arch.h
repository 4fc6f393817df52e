/* SPDX-License-Identifier: MIT */
/* What a family of models is: its hyperparameters, its weights, and the order of its blocks. */
#ifndef DUNLIN_ENGINE_ARCH_H
#define DUNLIN_ENGINE_ARCH_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stdint.h>

#include "engine/gguf.h"
#include "kernels/kernels.h"
/* IWYU pragma: end_exports */

struct dn_model;
struct dn_step;

struct dn_hparams {
	uint32_t n_layers;
	uint32_t dim;
	uint32_t n_heads;
	uint32_t n_kv_heads;
	uint32_t head_dim;
	uint32_t ffn_dim;
	uint32_t vocabulary;
	uint32_t trained_context;
	uint32_t rope_dims;
	double rope_base;
	double rope_scale; /* positions are divided by it */
	float rms_epsilon;
	float attention_scale;
};

/**
 * struct dn_weight - one tensor on its way into memory
 * @matrix: where a matrix is described; its data is set when weights are loaded
 * @vector: where a vector of float32 goes, else NULL
 * @offset: in the model's region
 */
struct dn_weight {
	const struct dn_gguf_tensor *tensor;
	struct dn_matrix *matrix;
	const float **vector;
	size_t offset;
	size_t bytes;
};

/* The weights that families have in common; unused ones stay empty. */
struct dn_layer {
	const float *attention_norm;
	struct dn_matrix q;
	struct dn_matrix k;
	struct dn_matrix v;
	struct dn_matrix attention_output;
	const float *ffn_norm;
	struct dn_matrix gate;
	struct dn_matrix up;
	struct dn_matrix down;
};

struct dn_globals {
	struct dn_matrix embedding;
	struct dn_matrix output; /* the embedding again where the file ties them */
	const float *output_norm;
	const float *rope_factors; /* NULL where the file has none */
	bool tied;
};

/**
 * struct dn_arch - a family
 * @name: general.architecture
 * @bind: reads hyperparameters beyond the usual ones, and asks for every tensor with dn_bind_*();
 *	the file may hold none that was not asked for
 * @layer: computes one layer of a step
 */
struct dn_arch {
	const char *name;
	int (*bind)(struct dn_model *model, struct dn_error *err);
	void (*layer)(struct dn_step *step, uint32_t layer);
	bool rope_halves;
};

/* NULL where no family has that name. @ret_known: a list for the message. */
const struct dn_arch *dn_arch_find(struct dn_text name, const char **ret_known);

extern const struct dn_arch dn_arch_llama;

/*
 * For bind(). Hyperparameters are read under "ARCH.key" and bounded; tensors are checked against
 * the shape that is asked for. Each returns 0 or a negative errno with a message.
 */

/* The hyperparameters that nearly all families have, under their usual keys; before bind(). */
DN_MUST_CHECK int dn_bind_hparams(struct dn_model *model, struct dn_error *err);
/* A key that must not be there with a value above @most (experts, other variants). */
DN_MUST_CHECK int dn_bind_refuse_above(struct dn_model *model, const char *key, uint32_t most,
				       struct dn_error *err);
DN_MUST_CHECK int dn_bind_u32(struct dn_model *model, const char *key, uint32_t least,
			      uint32_t most, uint32_t *ret, struct dn_error *err);
DN_MUST_CHECK int dn_bind_f64(struct dn_model *model, const char *key, double least, double most,
			      double *ret, struct dn_error *err);
/* @name may hold one %u for @layer. */
DN_MUST_CHECK int dn_bind_matrix(struct dn_model *model, const char *name, uint32_t layer,
				 uint32_t rows, uint32_t columns, struct dn_matrix *matrix,
				 struct dn_error *err);
DN_MUST_CHECK int dn_bind_vector(struct dn_model *model, const char *name, uint32_t layer,
				 uint32_t n, const float **vector, struct dn_error *err);
/* Whether the file has the tensor at all. */
bool dn_bind_has(const struct dn_model *model, const char *name, uint32_t layer);
/* Embedding, output (tied where absent), output norm. */
DN_MUST_CHECK int dn_bind_globals(struct dn_model *model, struct dn_error *err);

#endif /* DUNLIN_ENGINE_ARCH_H */
