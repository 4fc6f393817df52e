/* SPDX-License-Identifier: MIT */
/*
 * For a family's bind(). Hyperparameters are read under "ARCH.key" and bounded; tensors are
 * checked against the shape that is asked for. Each returns 0 or a negative errno with a message.
 */
#ifndef DUNLIN_ENGINE_BIND_H
#define DUNLIN_ENGINE_BIND_H

/* IWYU pragma: begin_exports */
#include "engine/arch/arch.h"
#include "engine/model.h"
/* IWYU pragma: end_exports */

#define DN_LAYERS_MAX 512U

/* hparams.c */

/* The hyperparameters that nearly all families have, under their usual keys; before bind(). */
DN_MUST_CHECK int dn_bind_hparams(struct dn_model *model, struct dn_error *err);
/* A key that must not be there with a value above @most (experts, other variants). */
DN_MUST_CHECK int dn_bind_refuse_above(struct dn_model *model, const char *key, uint32_t most,
				       struct dn_error *err);
DN_MUST_CHECK int dn_bind_u32(struct dn_model *model, const char *key, uint32_t least,
			      uint32_t most, uint32_t *ret, struct dn_error *err);
/* As dn_bind_u32(), but where the key is absent *@ret stays and 0 is returned; 1: it is there. */
DN_MUST_CHECK int dn_bind_optional_u32(struct dn_model *model, const char *key, uint32_t least,
				       uint32_t most, uint32_t *ret, struct dn_error *err);
DN_MUST_CHECK int dn_bind_f32(struct dn_model *model, const char *key, double least, double most,
			      float *ret, struct dn_error *err);
DN_MUST_CHECK int dn_bind_f64(struct dn_model *model, const char *key, double least, double most,
			      double *ret, struct dn_error *err);
/* pooling_type, or @fallback where the file does not say. */
DN_MUST_CHECK int dn_bind_pooling(struct dn_model *model, enum dn_pooling fallback,
				  struct dn_error *err);
/**
 * dn_bind_pattern() - which layers are of a kind
 * @key: its array has a flag for each layer; a number there is instead of @period
 * @period: of every so many layers the last is not of that kind, where the file has no array
 */
DN_MUST_CHECK int dn_bind_pattern(struct dn_model *model, const char *key, uint32_t period,
				  bool ret_layers[DN_LAYERS_MAX], struct dn_error *err);
/**
 * dn_bind_windows() - which layers see a window
 * @period: of every so many layers the last sees all, where the file has no pattern of its own
 *
 * Reads attention.sliding_window (*@model's hparams.window stays the default) and
 * attention.sliding_window_pattern; sets each layer's window, and its rope to DN_ROPE_WINDOW.
 */
DN_MUST_CHECK int dn_bind_windows(struct dn_model *model, uint32_t period, struct dn_error *err);

/* How many experts there are, how many a token uses, how wide they are. */
DN_MUST_CHECK int dn_bind_expert_shape(struct dn_model *model, struct dn_error *err);
/*
 * ssm.*: the shape of recurrent layers with heads, and how many taps their convolution has; the
 * channels are the family's to say.
 */
DN_MUST_CHECK int dn_bind_recurrent_shape(struct dn_model *model, struct dn_recurrent *ret_shape,
					  struct dn_error *err);

/* tensors.c */

/* @name may hold one %u for @layer. */
DN_MUST_CHECK int dn_bind_matrix(struct dn_model *model, const char *name, uint32_t layer,
				 uint32_t rows, uint32_t columns, struct dn_matrix *matrix,
				 struct dn_error *err);
/* A matrix for each expert, one behind the other: @matrix has @experts * @rows rows. */
DN_MUST_CHECK int dn_bind_experts(struct dn_model *model, const char *name, uint32_t layer,
				  uint32_t experts, uint32_t rows, uint32_t columns,
				  struct dn_matrix *matrix, struct dn_error *err);
DN_MUST_CHECK int dn_bind_vector(struct dn_model *model, const char *name, uint32_t layer,
				 uint32_t n, const float **vector, struct dn_error *err);
DN_MUST_CHECK int dn_bind_optional_vector(struct dn_model *model, const char *name, uint32_t layer,
					  uint32_t n, const float **vector, struct dn_error *err);
/* A matrix of F32 as one vector, row behind row. */
DN_MUST_CHECK int dn_bind_rows_vector(struct dn_model *model, const char *name, uint32_t layer,
				      uint32_t columns, uint32_t rows, const float **vector,
				      struct dn_error *err);
/* NAME.weight, and NAME.bias where the file has one; @name without the ending. */
DN_MUST_CHECK int dn_bind_linear(struct dn_model *model, const char *name, uint32_t layer,
				 uint32_t rows, uint32_t columns, struct dn_linear *linear,
				 struct dn_error *err);
DN_MUST_CHECK int dn_bind_norm(struct dn_model *model, const char *name, uint32_t layer, uint32_t n,
			       struct dn_norm *norm, struct dn_error *err);
/* A recurrent layer's convolution, and its bias where there is one; its shape must be known. */
DN_MUST_CHECK int dn_bind_convolution(struct dn_model *model, const char *name, uint32_t layer,
				      struct dn_recurrent *recurrent, struct dn_error *err);
/* Whether the file has the tensor at all. */
bool dn_bind_has(const struct dn_model *model, const char *name, uint32_t layer);

/* A part of a matrix that a file keeps as one with others: its rows, in order. */
struct dn_part {
	struct dn_linear *linear;
	uint32_t rows;
};

/* Up to DN_PARTS_MAX linears whose rows the file has as one; all rows but the last's must be
 * multiples of DN_GROUP. */
DN_MUST_CHECK int dn_bind_parts(struct dn_model *model, const char *name, uint32_t layer,
				uint32_t columns, const struct dn_part *parts, uint32_t n_parts,
				struct dn_error *err);

/* What positions are divided by, where a file has it: rope_freqs, or LongRoPE's long and short. */
DN_MUST_CHECK int dn_bind_rope_factors(struct dn_model *model, struct dn_error *err);
/* Embedding, output (tied where absent), output norm. */
DN_MUST_CHECK int dn_bind_globals(struct dn_model *model, struct dn_error *err);
/* q, k and v (apart or as one), attn_output. */
DN_MUST_CHECK int dn_bind_projections(struct dn_model *model, uint32_t layer, struct dn_error *err);
/* attn_norm, and the projections. */
DN_MUST_CHECK int dn_bind_attention(struct dn_model *model, uint32_t layer, struct dn_error *err);
/* attn_q_norm, attn_k_norm: of each head. */
DN_MUST_CHECK int dn_bind_head_norms(struct dn_model *model, uint32_t layer, struct dn_error *err);
/* ffn_norm, gate and up (apart, or as one in ffn_up), down. */
DN_MUST_CHECK int dn_bind_ffn(struct dn_model *model, uint32_t layer, struct dn_error *err);
/* Attention and feed-forward of every layer: a family without peculiarities. */
DN_MUST_CHECK int dn_bind_layers(struct dn_model *model, struct dn_error *err);
/*
 * The classification head of DN_POOLING_RANK: cls (dense, tanh) and cls.output, each optional, the
 * latter with a row for each of the file's output labels, or one.
 */
DN_MUST_CHECK int dn_bind_rank_head(struct dn_model *model, struct dn_error *err);

/* encoder.c */

/* What encoders have beside their layers: no output matrix, but norms and types of the embedding. */
DN_MUST_CHECK int dn_bind_encoder(struct dn_model *model, struct dn_error *err);
/* Projections and feed-forward with the norms behind them; @gated: with a gate. */
DN_MUST_CHECK int dn_bind_encoder_layer(struct dn_model *model, uint32_t layer, bool gated,
					struct dn_error *err);

#endif /* DUNLIN_ENGINE_BIND_H */
