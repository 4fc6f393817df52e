/* SPDX-License-Identifier: MIT */
/* What a family of models is: its hyperparameters, its weights, and the order of its blocks. */
#ifndef DUNLIN_ENGINE_ARCH_H
#define DUNLIN_ENGINE_ARCH_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stdint.h>

#include <dunlin/model.h>

#include "engine/gguf/gguf.h"
#include "engine/rope.h"
#include "kernels/kernels.h"
/* IWYU pragma: end_exports */

struct dn_step;

/**
 * struct dn_hparams - what holds for a model as a whole
 * @n_heads, @n_kv_heads, @head_dim, @ffn_dim: of a layer that says nothing else; a layer's own
 *	are in struct dn_layer
 * @ropes: rotary positions, for layers that see all and for those with a window
 * @attention_scale: of the scores; @attention_softcap, @logit_softcap: 0: none
 * @embedding_scale, @residual_scale, @logit_scale: factors; 1: none
 * @epsilon: of the norms
 * @experts, @experts_used, @expert_dim: 0 without experts
 * @nextn_layers: behind the others in the file; they predict further tokens, and are not run
 * @per_layer_dim: elements of the embedding that each layer gets of its own (gemma4); 0: none
 * @layer_norms: norms take off the mean and have a bias; else they are root mean squares
 * @value_norm: values are normed too, without a weight
 * @bidirectional: every token sees its whole text, which must fit one step
 * @pooling: of embeddings where the caller does not choose; never DN_POOLING_DEFAULT
 * @rank_softmax: the scores of the classification head become probabilities
 */
struct dn_hparams {
	uint32_t n_layers;
	uint32_t nextn_layers;
	uint32_t dim;
	uint32_t n_heads;
	uint32_t n_kv_heads;
	uint32_t head_dim;
	uint32_t ffn_dim;
	uint32_t vocabulary;
	uint32_t trained_context;
	uint32_t window;
	struct dn_rope ropes[DN_ROPE_COUNT];
	float epsilon;
	float attention_scale;
	float attention_softcap;
	float logit_softcap;
	float embedding_scale;
	float residual_scale;
	float logit_scale;
	enum dn_activation activation;
	uint32_t experts;
	uint32_t experts_used;
	uint32_t expert_dim;
	uint32_t per_layer_dim;
	bool layer_norms;
	bool value_norm;
	bool bidirectional;
	enum dn_pooling pooling;
	bool rank_softmax;
};

/**
 * struct dn_low_rank - what an adapter adds to a linear: scale * up (down x) (Hu and others 2021)
 * @down: [rank, columns]; of an embedding [vocabulary, rank], where a token's row is looked up
 * @up: [rows, rank]; as @down of floats, which read the float32 activations
 * @scale: the user's times alpha / rank
 * @next: of the adapter that came after this one; NULL: the last
 */
struct dn_low_rank {
	struct dn_matrix down;
	struct dn_matrix up;
	float scale;
	struct dn_low_rank *next;
};

/* A matrix with what belongs to its product. */
struct dn_linear {
	struct dn_matrix w;
	const float *bias;	      /* NULL: none */
	struct dn_low_rank *adapters; /* in the order that they are added in; NULL: none */
};

/* A norm's vectors; @bias is NULL but for layer norms. */
struct dn_norm {
	const float *weight;
	const float *bias;
};

/**
 * struct dn_recurrent - the part of a layer that is a recurrence instead of attention
 * @channels: of the convolution; 0: the layer has none of this
 * @heads: with a matrix of @keys times @values each; 0: there is the convolution alone
 * @groups: of keys and queries, which heads share
 * @in: what the convolution and, as the family lays it out, more is computed from
 * @history, @matrices: byte offsets in a sequence's state of the convolution's last inputs and of
 *	the heads' matrices; set by dn_kv_lay_state()
 */
struct dn_recurrent {
	uint32_t channels;
	uint32_t heads;
	uint32_t keys;
	uint32_t values;
	uint32_t groups;
	size_t history;
	size_t matrices;
	struct dn_linear in;
	struct dn_linear convolution; /* F32, a row for each channel, a column for each tap */
	struct dn_linear gate;
	struct dn_linear alpha;
	struct dn_linear beta;
	struct dn_linear out;
	const float *a;
	const float *d;
	const float *time_bias;
	const float *norm;
};

/* Experts' matrices lie one behind the other, as many rows each. */
struct dn_experts {
	struct dn_linear router;
	struct dn_matrix gate;
	struct dn_matrix up;
	struct dn_matrix down;
};

/**
 * struct dn_layer - the shape of a layer and its weights; unused ones stay empty
 * @n_heads: 0: no attention
 * @window: tokens that each sees, itself included; 0: all
 * @rope: which of the hyperparameters' ropes; DN_ROPE_NONE: positions play no role
 * @cache: the layer whose keys and values are read: its own number where it stores some
 * @gated: q has a gate behind each head's part
 */
struct dn_layer {
	uint32_t n_heads;
	uint32_t n_kv_heads;
	uint32_t head_dim;
	uint32_t ffn_dim;
	uint32_t window;
	enum dn_rope_index rope;
	uint32_t cache;
	bool gated;

	struct dn_norm attention_norm;
	struct dn_linear q;
	struct dn_linear k;
	struct dn_linear v; /* empty: keys are values */
	struct dn_linear attention_output;
	const float *q_norm;
	const float *k_norm;
	struct dn_norm attention_post_norm;
	struct dn_recurrent recurrent;

	struct dn_norm ffn_norm;
	struct dn_linear gate; /* empty: up alone, activated */
	struct dn_linear up;
	struct dn_linear down;
	struct dn_experts experts;
	struct dn_norm ffn_post_norm;

	struct dn_linear per_layer_gate;
	struct dn_linear per_layer_project;
	struct dn_norm per_layer_norm;
	const float *output_scale;
};

struct dn_globals {
	struct dn_matrix embedding;
	struct dn_low_rank *embedding_adapters;
	struct dn_linear output; /* the embedding again where the file ties them */
	struct dn_norm output_norm;
	struct dn_norm embedding_norm;
	struct dn_matrix positions; /* learned; empty: none */
	struct dn_matrix types;	    /* of segments; empty: none */
	struct dn_matrix per_layer_embedding;
	struct dn_linear per_layer_project;
	const float *per_layer_norm;
	struct dn_linear rank_dense; /* a classification head, for DN_POOLING_RANK */
	struct dn_linear rank_output;
	bool tied;
};

/**
 * struct dn_arch - a family
 * @name: general.architecture
 * @bind: reads hyperparameters beyond the usual ones, and asks for every tensor with dn_bind_*();
 *	the file may hold none that was not asked for
 * @embed: makes a step's rows of the residual stream; NULL: dn_block_embed()
 * @layer: computes one layer of a step
 * @rope_halves: rotary pairs are (i, i + n), not (2i, 2i + 1)
 */
struct dn_arch {
	const char *name;
	int (*bind)(struct dn_model *model, struct dn_error *err);
	void (*embed)(struct dn_step *step);
	void (*layer)(struct dn_step *step, uint32_t layer);
	bool rope_halves;
};

/* NULL where no family has that name. */
const struct dn_arch *dn_arch_find(struct dn_text name);
/* The names of all, for a message. */
void dn_arch_list(char *out, size_t size);

extern const struct dn_arch dn_arch_bert;
extern const struct dn_arch dn_arch_gemma2;
extern const struct dn_arch dn_arch_gemma3;
extern const struct dn_arch dn_arch_gemma4;
extern const struct dn_arch dn_arch_granite;
extern const struct dn_arch dn_arch_granitehybrid;
extern const struct dn_arch dn_arch_lfm2;
extern const struct dn_arch dn_arch_llama;
extern const struct dn_arch dn_arch_nomic_bert;
extern const struct dn_arch dn_arch_phi3;
extern const struct dn_arch dn_arch_qwen2;
extern const struct dn_arch dn_arch_qwen3;
extern const struct dn_arch dn_arch_qwen35;
extern const struct dn_arch dn_arch_qwen3moe;
extern const struct dn_arch dn_arch_smollm3;

#endif /* DUNLIN_ENGINE_ARCH_H */
