/* SPDX-License-Identifier: MIT */
/* Hyperparameters of a file, each within bounds that keep every later size and sum in range. */

#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/arch/bind.h"
#include "engine/arch/recurrent.h"
#include "kernels/math.h"

#define DIM_MAX	     65536U
#define HEADS_MAX    1024U
#define HEAD_DIM_MAX 512U
#define FFN_MAX	     (1U << 20)
#define CONTEXT_MAX  (1U << 24)
#define STATE_MAX    1024U
#define EXPERTS_MAX  1024U
#define USED_MAX     64U

static const char *full_key(const struct dn_model *m, const char *key, char out[128])
{
	(void)snprintf(out, 128, "%s.%s", m->arch->name, key);
	return out;
}

static int out_of_range(const char *key, uint32_t value, uint32_t least, uint32_t most,
			struct dn_error *err)
{
	return dn_error_set(err, EINVAL, "%s is %u; it must be from %u to %u", key, value, least,
			    most);
}

int dn_bind_optional_u32(struct dn_model *m, const char *key, uint32_t least, uint32_t most,
			 uint32_t *ret, struct dn_error *err)
{
	char full[128];
	uint32_t value = 0;
	int r = dn_gguf_get_u32(m->gguf, full_key(m, key, full), &value, err);

	if (r <= 0)
		return r;
	if (value < least || value > most)
		return out_of_range(full, value, least, most, err);
	*ret = value;
	return 1;
}

int dn_bind_u32(struct dn_model *m, const char *key, uint32_t least, uint32_t most, uint32_t *ret,
		struct dn_error *err)
{
	char full[128];
	int r = dn_bind_optional_u32(m, key, least, most, ret, err);

	if (r == 0)
		return dn_error_set(err, EINVAL, "the file lacks %s", full_key(m, key, full));
	return r < 0 ? r : 0;
}

int dn_bind_f64(struct dn_model *m, const char *key, double least, double most, double *ret,
		struct dn_error *err)
{
	char full[128];
	double value = 0.0;
	int r = dn_gguf_get_f64(m->gguf, full_key(m, key, full), &value, err);

	if (r <= 0)
		return r;
	if (!(value >= least && value <= most))
		return dn_error_set(err, EINVAL, "%s is %g; it must be from %g to %g", full, value,
				    least, most);
	*ret = value;
	return 0;
}

int dn_bind_f32(struct dn_model *m, const char *key, double least, double most, float *ret,
		struct dn_error *err)
{
	double value = (double)*ret;
	int r = dn_bind_f64(m, key, least, most, &value, err);

	if (r >= 0)
		*ret = (float)value;
	return r;
}

int dn_bind_refuse_above(struct dn_model *m, const char *key, uint32_t most, struct dn_error *err)
{
	char full[128];
	uint32_t value = 0;
	int r = dn_gguf_get_u32(m->gguf, full_key(m, key, full), &value, err);

	if (r > 0 && value > most)
		return dn_error_set(err, ENOTSUP, "%s is %u, which this version does not run", full,
				    value);
	return r < 0 ? r : 0;
}

/* The array of a key that has one element a layer; 0 where the key is absent or no array. */
static int layer_array(struct dn_model *m, const char *full, struct dn_gguf_array *array,
		       struct dn_error *err)
{
	static const enum dn_gguf_type kinds[] = { DN_GGUF_I32, DN_GGUF_U32, DN_GGUF_BOOL };
	const uint32_t layers = m->hparams.n_layers + m->hparams.nextn_layers;
	struct dn_error ignored = DN_ERROR_INIT;

	for (size_t i = 0; i < DN_ARRAY_SIZE(kinds); i++) {
		if (dn_gguf_get_array(m->gguf, full, kinds[i], array, &ignored) <= 0)
			continue;
		if (array->count != layers)
			return dn_error_set(err, EINVAL, "%s has %llu elements for %u layers", full,
					    (unsigned long long)array->count, layers);
		return 1;
	}
	return 0;
}

static uint32_t array_element(const struct dn_gguf_array *array, uint32_t i)
{
	uint32_t value;

	if (array->type == DN_GGUF_BOOL)
		return array->data[i];
	memcpy(&value, array->data + (size_t)4 * i, 4);
	return le32toh(value);
}

/*
 * A number for each layer into the member at @member of struct dn_layer: the file's array of them,
 * its one number for all, or @fallback. An array's elements may be 0 where one number may not.
 */
static int bind_each(struct dn_model *m, const char *key, uint32_t least, uint32_t most,
		     uint32_t fallback, size_t member, struct dn_error *err)
{
	struct dn_gguf_array array;
	uint32_t all = fallback;
	char full[128];
	int r;

	r = layer_array(m, full_key(m, key, full), &array, err);
	if (r < 0)
		return r;
	if (r == 0 && dn_bind_optional_u32(m, key, least, most, &all, err) < 0)
		return -EINVAL;
	if (r == 0 && !all)
		return dn_error_set(err, EINVAL, "the file lacks %s", full);
	for (uint32_t i = 0; i < m->hparams.n_layers; i++) {
		uint32_t value = r ? array_element(&array, i) : all;

		if (value > most)
			return out_of_range(full, value, 0, most, err);
		memcpy((uint8_t *)&m->layers[i] + member, &value, sizeof(value));
	}
	return 0;
}

static int bind_heads(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	int r;

	r = bind_each(m, "attention.head_count", 1, HEADS_MAX, 0,
		      offsetof(struct dn_layer, n_heads), err);
	for (uint32_t i = 0; r >= 0 && i < h->n_layers; i++)
		h->n_heads = DN_MAX(h->n_heads, m->layers[i].n_heads);
	if (r >= 0 && !h->n_heads)
		return dn_error_set(err, EINVAL, "no layer of the file has attention heads");
	if (r >= 0)
		r = bind_each(m, "attention.head_count_kv", 1, h->n_heads, h->n_heads,
			      offsetof(struct dn_layer, n_kv_heads), err);
	for (uint32_t i = 0; r >= 0 && i < h->n_layers; i++) {
		struct dn_layer *l = &m->layers[i];

		h->n_kv_heads = DN_MAX(h->n_kv_heads, l->n_kv_heads);
		/* A layer without keys has no attention, whatever its heads. */
		if (!l->n_kv_heads)
			l->n_heads = 0;
		if (l->n_kv_heads && l->n_heads % l->n_kv_heads)
			return dn_error_set(err, EINVAL,
					    "%u heads cannot share %u key-value heads evenly",
					    l->n_heads, l->n_kv_heads);
	}
	return r;
}

static int bind_head_dim(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	uint32_t value_length;
	char full[128];

	/* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): dn_error_set() is negative, so some have */
	h->head_dim = h->dim / h->n_heads;
	if (dn_bind_optional_u32(m, "attention.key_length", 2, HEAD_DIM_MAX, &h->head_dim, err) < 0)
		return -EINVAL;
	if (h->head_dim < 2 || h->head_dim > HEAD_DIM_MAX)
		return dn_error_set(err, EINVAL, "heads of %u elements; they must have 2 to %u",
				    h->head_dim, HEAD_DIM_MAX);
	value_length = h->head_dim;
	if (dn_bind_optional_u32(m, "attention.value_length", 2, HEAD_DIM_MAX, &value_length, err) <
	    0)
		return -EINVAL;
	if (value_length != h->head_dim)
		return dn_error_set(err, ENOTSUP, "%s differs from the key's length",
				    full_key(m, "attention.value_length", full));
	h->attention_scale = 1.0f / sqrtf((float)h->head_dim);
	return 0;
}

static int bind_yarn(struct dn_model *m, struct dn_rope *rope, struct dn_error *err)
{
	int r;

	rope->yarn = 1.0;
	r = dn_bind_f64(m, "rope.scaling.yarn_ext_factor", 0.0, 1.0, &rope->yarn, err);
	if (r >= 0)
		r = dn_bind_f64(m, "rope.scaling.yarn_beta_fast", 1e-3, 1e6, &rope->fast, err);
	if (r >= 0)
		r = dn_bind_f64(m, "rope.scaling.yarn_beta_slow", 1e-3, 1e6, &rope->slow, err);
	/* The temperature of section 3.4. */
	if (r >= 0 && rope->scale > 1.0)
		rope->magnitude *= 1.0 + 0.1 * dn_log(rope->scale);
	return r;
}

/* 0 stands for none. */
static int bind_factor(struct dn_model *m, struct dn_rope *rope, struct dn_error *err)
{
	int r;

	r = dn_bind_f64(m, "rope.scale_linear", 0.0, 1e6, &rope->scale, err);
	if (r >= 0)
		r = dn_bind_f64(m, "rope.scaling.factor", 0.0, 1e6, &rope->scale, err);
	rope->scale = rope->scale > 0.0 ? rope->scale : 1.0;
	return r;
}

static int bind_scaling(struct dn_model *m, struct dn_rope *rope, struct dn_error *err)
{
	/* Older files have a factor without saying of what. */
	struct dn_text scaling = { "linear", 6 };
	char full[128];
	bool linear;
	bool yarn;
	int r;

	r = dn_gguf_get_text(m->gguf, full_key(m, "rope.scaling.type", full), &scaling, err);
	if (r < 0)
		return r;
	linear = scaling.size == 6 && memcmp(scaling.data, "linear", 6) == 0;
	yarn = scaling.size == 4 && memcmp(scaling.data, "yarn", 4) == 0;
	if (!linear && !yarn && !(scaling.size == 4 && memcmp(scaling.data, "none", 4) == 0) &&
	    !(scaling.size == 8 && memcmp(scaling.data, "longrope", 8) == 0))
		return dn_error_set(
			err, ENOTSUP,
			"%s is '%.*s'; this version knows none, linear, yarn and longrope", full,
			(int)DN_MIN(scaling.size, (size_t)32), scaling.data);
	r = dn_bind_f64(m, "rope.scaling.attn_factor", 1e-3, 1e3, &rope->magnitude, err);
	if (r >= 0)
		r = dn_bind_f64(m, "rope.scaling.original_context_length", 1.0, CONTEXT_MAX,
				&rope->original, err);
	if (r >= 0 && (linear || yarn))
		r = bind_factor(m, rope, err);
	return r >= 0 && yarn ? bind_yarn(m, rope, err) : r;
}

static int bind_rope(struct dn_model *m, struct dn_error *err)
{
	struct dn_rope *rope = &m->hparams.ropes[DN_ROPE_GLOBAL];
	char full[128];
	int r;

	*rope = (struct dn_rope){
		.dims = m->hparams.head_dim,
		.base = 10000.0,
		.scale = 1.0,
		.fast = 32.0,
		.slow = 1.0,
		.original = m->hparams.trained_context,
		.magnitude = 1.0,
	};
	r = dn_bind_optional_u32(m, "rope.dimension_count", 2, m->hparams.head_dim, &rope->dims,
				 err);
	if (r < 0)
		return r;
	if (rope->dims % 2)
		return dn_error_set(err, EINVAL, "%s is %u; it must be even",
				    full_key(m, "rope.dimension_count", full), rope->dims);
	r = dn_bind_f64(m, "rope.freq_base", 1.0, 1e12, &rope->base, err);
	if (r >= 0)
		r = bind_scaling(m, rope, err);
	return r < 0 ? r : 0;
}

static int bind_epsilon(struct dn_model *m, struct dn_error *err)
{
	int r;

	m->hparams.epsilon = 1e-5f;
	r = dn_bind_f32(m, "attention.layer_norm_epsilon", 0.0, 1.0, &m->hparams.epsilon, err);
	if (r >= 0)
		r = dn_bind_f32(m, "attention.layer_norm_rms_epsilon", 0.0, 1.0,
				&m->hparams.epsilon, err);
	return r;
}

int dn_bind_pooling(struct dn_model *m, enum dn_pooling fallback, struct dn_error *err)
{
	uint32_t pooling = (uint32_t)fallback;
	int r = dn_bind_optional_u32(m, "pooling_type", DN_POOLING_NONE, DN_POOLING_RANK, &pooling,
				     err);

	m->hparams.pooling = (enum dn_pooling)pooling;
	return r < 0 ? r : 0;
}

static void set_layers(struct dn_model *m)
{
	for (uint32_t i = 0; i < m->hparams.n_layers; i++) {
		struct dn_layer *l = &m->layers[i];

		l->head_dim = m->hparams.head_dim;
		l->rope = DN_ROPE_GLOBAL;
		l->cache = i;
	}
}

static int bind_layers(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	int r;

	r = dn_bind_u32(m, "block_count", 1, DN_LAYERS_MAX, &h->n_layers, err);
	if (r >= 0)
		r = dn_bind_optional_u32(m, "nextn_predict_layers", 0, h->n_layers - 1,
					 &h->nextn_layers, err);
	if (r < 0)
		return r;
	h->n_layers -= h->nextn_layers;
	m->layers = calloc(h->n_layers, sizeof(*m->layers));
	if (!m->layers)
		return dn_error_memory(err, "the layers", h->n_layers * sizeof(*m->layers));
	return 0;
}

int dn_bind_hparams(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	int r;

	h->embedding_scale = h->residual_scale = h->logit_scale = 1.0f;
	h->activation = DN_ACTIVATION_SILU;
	r = bind_layers(m, err);
	if (r >= 0)
		r = dn_bind_u32(m, "embedding_length", 1, DIM_MAX, &h->dim, err);
	if (r >= 0)
		r = bind_each(m, "feed_forward_length", 1, FFN_MAX, 0,
			      offsetof(struct dn_layer, ffn_dim), err);
	for (uint32_t i = 0; r >= 0 && i < h->n_layers; i++)
		h->ffn_dim = DN_MAX(h->ffn_dim, m->layers[i].ffn_dim);
	if (r >= 0)
		r = dn_bind_u32(m, "context_length", 1, CONTEXT_MAX, &h->trained_context, err);
	if (r >= 0)
		r = bind_heads(m, err);
	if (r >= 0)
		r = bind_head_dim(m, err);
	if (r >= 0)
		r = bind_epsilon(m, err);
	if (r >= 0)
		r = dn_bind_pooling(m, DN_POOLING_LAST, err);
	if (r >= 0)
		r = bind_rope(m, err);
	if (r >= 0)
		set_layers(m);
	return r;
}

int dn_bind_pattern(struct dn_model *m, const char *key, uint32_t period,
		    bool ret_layers[DN_LAYERS_MAX], struct dn_error *err)
{
	struct dn_gguf_array array;
	char full[128];
	int r = layer_array(m, full_key(m, key, full), &array, err);

	if (r < 0)
		return r;
	if (r == 0 && dn_bind_optional_u32(m, key, 1, DN_LAYERS_MAX, &period, err) < 0)
		return -EINVAL;
	for (uint32_t i = 0; i < m->hparams.n_layers; i++)
		ret_layers[i] = r ? array_element(&array, i) != 0 : (i + 1) % period != 0;
	return 0;
}

int dn_bind_windows(struct dn_model *m, uint32_t period, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	bool windowed[DN_LAYERS_MAX];
	int r;

	r = dn_bind_optional_u32(m, "attention.sliding_window", 0, CONTEXT_MAX, &h->window, err);
	if (r >= 0)
		r = dn_bind_pattern(m, "attention.sliding_window_pattern", period, windowed, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < h->n_layers && h->window; i++) {
		if (!windowed[i])
			continue;
		m->layers[i].window = h->window;
		m->layers[i].rope = DN_ROPE_WINDOW;
	}
	return 0;
}

int dn_bind_recurrent_shape(struct dn_model *m, struct dn_recurrent *ret_shape,
			    struct dn_error *err)
{
	struct dn_recurrent shape = { 0 };
	uint32_t inner = 0;
	int r;

	r = dn_bind_u32(m, "ssm.conv_kernel", 2, DN_TAPS_MAX, &shape.convolution.w.columns, err);
	if (r >= 0)
		r = dn_bind_u32(m, "ssm.state_size", 1, STATE_MAX, &shape.keys, err);
	if (r >= 0)
		r = dn_bind_u32(m, "ssm.time_step_rank", 1, HEADS_MAX, &shape.heads, err);
	if (r >= 0)
		r = dn_bind_u32(m, "ssm.group_count", 1, HEADS_MAX, &shape.groups, err);
	if (r >= 0)
		r = dn_bind_u32(m, "ssm.inner_size", 1, DIM_MAX, &inner, err);
	if (r < 0)
		return r;
	/* NOLINTBEGIN(clang-analyzer-core.DivideZero): neither is 0: dn_error_set() is negative */
	shape.values = inner / shape.heads;
	if (inner % shape.heads || shape.heads % shape.groups || inner % shape.groups)
		return dn_error_set(err, EINVAL,
				    "a state of %u elements cannot be cut into %u heads that share "
				    "%u groups of keys",
				    inner, shape.heads, shape.groups);
	/* NOLINTEND(clang-analyzer-core.DivideZero) */
	*ret_shape = shape;
	return 0;
}

int dn_bind_expert_shape(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	int r;

	r = dn_bind_u32(m, "expert_count", 1, EXPERTS_MAX, &h->experts, err);
	if (r >= 0)
		r = dn_bind_u32(m, "expert_used_count", 1, DN_MIN(h->experts, USED_MAX),
				&h->experts_used, err);
	if (r < 0)
		return r;
	/* Where nothing else is said, the experts that a token uses are as wide together. */
	h->expert_dim = h->ffn_dim / h->experts_used;
	r = dn_bind_optional_u32(m, "expert_feed_forward_length", 1, DIM_MAX, &h->expert_dim, err);
	if (r >= 0 && !h->expert_dim)
		return dn_error_set(err, EINVAL, "the experts have no columns");
	return r < 0 ? r : 0;
}
