/* SPDX-License-Identifier: MIT */
/* Tensors of a file, checked against what a family asks for. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/arch/bind.h"

#define VOCABULARY_MAX (1U << 20)
#define LABELS_MAX     64U

static void tensor_name(char out[64], const char *name, const char *ending, uint32_t layer)
{
	const char *place = strstr(name, "%u");

	if (place)
		(void)snprintf(out, 64, "%.*s%u%s%s", (int)(place - name), name, layer, place + 2,
			       ending);
	else
		(void)snprintf(out, 64, "%s%s", name, ending);
}

bool dn_bind_has(const struct dn_model *m, const char *name, uint32_t layer)
{
	char full[64];

	tensor_name(full, name, "", layer);
	return dn_gguf_find_tensor(m->gguf, full) != NULL;
}

/* What ask() fills next. */
static struct dn_weight *next_weight(const struct dn_model *m)
{
	return &m->weights[m->n_weights];
}

/* Finds a tensor of its shape whose type products can read, and notes it for loading. */
static int ask(struct dn_model *m, const char *full, uint32_t rows, uint32_t columns,
	       uint32_t experts, struct dn_error *err)
{
	const struct dn_gguf_tensor *t = dn_gguf_find_tensor(m->gguf, full);

	if (!t)
		return dn_error_set(err, EINVAL, "the file lacks tensor '%s'", full);
	if (t->dims[0] != columns || t->dims[1] != rows || t->dims[2] != experts || t->dims[3] != 1)
		return dn_error_set(err, EINVAL,
				    "tensor '%s' is %llu x %llu x %llu x %llu; its "
				    "hyperparameters want %u x %u x %u",
				    full, (unsigned long long)t->dims[0],
				    (unsigned long long)t->dims[1], (unsigned long long)t->dims[2],
				    (unsigned long long)t->dims[3], columns, rows, experts);
	if (!dn_type_computes(t->type))
		return dn_error_set(err, ENOTSUP,
				    "tensor '%s' is %s, which this version does not compute: use a "
				    "file of another quantisation, such as Q4_K_M or Q8_0",
				    full, dn_type_info(t->type)->name);
	/* Every tensor is asked for once, so the file's count bounds the list. */
	if (m->n_weights == m->max_weights)
		return dn_error_set(err, EINVAL, "the file has too few tensors");
	m->weights[m->n_weights++] = (struct dn_weight){ .tensor = t, .shape.type = t->type };
	return 0;
}

/* A matrix of @n_parts, each of which becomes one of its own, from a border of groups on. */
static int bind_rows(struct dn_model *m, const char *full, uint32_t columns, uint32_t experts,
		     struct dn_matrix *const *parts, const uint32_t *part_rows, uint32_t n_parts,
		     struct dn_error *err)
{
	struct dn_weight *weight = next_weight(m);
	uint32_t rows = 0;
	int r;

	for (uint32_t i = 0; i < n_parts; i++) {
		if (rows % DN_GROUP)
			return dn_error_set(err, ENOTSUP,
					    "tensor '%s' has parts of %u rows, no multiple of %d",
					    full, part_rows[i - 1], DN_GROUP);
		rows += part_rows[i];
	}
	r = ask(m, full, rows / experts, columns, experts, err);
	if (r >= 0)
		r = dn_weight_set_matrix(weight, rows, columns, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n_parts; i++) {
		weight->parts[i] = parts[i];
		*parts[i] = weight->shape;
		parts[i]->rows = part_rows[i];
	}
	return 0;
}

static int bind_matrix(struct dn_model *m, const char *name, const char *ending, uint32_t layer,
		       uint32_t rows, uint32_t columns, struct dn_matrix *matrix,
		       struct dn_error *err)
{
	char full[64];

	tensor_name(full, name, ending, layer);
	return bind_rows(m, full, columns, 1, &matrix, &rows, 1, err);
}

int dn_bind_matrix(struct dn_model *m, const char *name, uint32_t layer, uint32_t rows,
		   uint32_t columns, struct dn_matrix *matrix, struct dn_error *err)
{
	return bind_matrix(m, name, "", layer, rows, columns, matrix, err);
}

int dn_bind_experts(struct dn_model *m, const char *name, uint32_t layer, uint32_t experts,
		    uint32_t rows, uint32_t columns, struct dn_matrix *matrix, struct dn_error *err)
{
	const uint32_t all = experts * rows;
	char full[64];

	tensor_name(full, name, "", layer);
	if (rows % DN_GROUP)
		return dn_error_set(err, ENOTSUP,
				    "tensor '%s' has experts of %u rows, no multiple of %d", full,
				    rows, DN_GROUP);
	return bind_rows(m, full, columns, experts, &matrix, &all, 1, err);
}

static int bind_floats(struct dn_model *m, const char *full, uint32_t columns, uint32_t rows,
		       const float **vector, struct dn_error *err)
{
	struct dn_weight *weight = next_weight(m);
	int r = ask(m, full, rows, columns, 1, err);

	if (r < 0)
		return r;
	if (weight->tensor->type != DN_TYPE_F32)
		return dn_error_set(err, ENOTSUP, "tensor '%s' is no F32 vector", full);
	weight->vector = vector;
	weight->bytes = (size_t)columns * rows * sizeof(float);
	return 0;
}

static int bind_vector(struct dn_model *m, const char *full, uint32_t n, const float **vector,
		       struct dn_error *err)
{
	return bind_floats(m, full, n, 1, vector, err);
}

int dn_bind_rows_vector(struct dn_model *m, const char *name, uint32_t layer, uint32_t columns,
			uint32_t rows, const float **vector, struct dn_error *err)
{
	char full[64];

	tensor_name(full, name, "", layer);
	return bind_floats(m, full, columns, rows, vector, err);
}

int dn_bind_vector(struct dn_model *m, const char *name, uint32_t layer, uint32_t n,
		   const float **vector, struct dn_error *err)
{
	char full[64];

	tensor_name(full, name, "", layer);
	return bind_vector(m, full, n, vector, err);
}

int dn_bind_optional_vector(struct dn_model *m, const char *name, uint32_t layer, uint32_t n,
			    const float **vector, struct dn_error *err)
{
	return dn_bind_has(m, name, layer) ? dn_bind_vector(m, name, layer, n, vector, err) : 0;
}

static int bind_bias(struct dn_model *m, const char *name, uint32_t layer, uint32_t n,
		     const float **bias, struct dn_error *err)
{
	char full[64];

	tensor_name(full, name, ".bias", layer);
	return dn_gguf_find_tensor(m->gguf, full) ? bind_vector(m, full, n, bias, err) : 0;
}

int dn_bind_linear(struct dn_model *m, const char *name, uint32_t layer, uint32_t rows,
		   uint32_t columns, struct dn_linear *linear, struct dn_error *err)
{
	int r = bind_matrix(m, name, ".weight", layer, rows, columns, &linear->w, err);

	if (r < 0)
		return r;
	m->weights[m->n_weights - 1].linears[0] = linear;
	return bind_bias(m, name, layer, rows, &linear->bias, err);
}

int dn_bind_norm(struct dn_model *m, const char *name, uint32_t layer, uint32_t n,
		 struct dn_norm *norm, struct dn_error *err)
{
	char full[64];
	int r;

	tensor_name(full, name, ".weight", layer);
	r = bind_vector(m, full, n, &norm->weight, err);
	return r < 0 ? r : bind_bias(m, name, layer, n, &norm->bias, err);
}

int dn_bind_parts(struct dn_model *m, const char *name, uint32_t layer, uint32_t columns,
		  const struct dn_part *parts, uint32_t n_parts, struct dn_error *err)
{
	struct dn_matrix *matrices[DN_PARTS_MAX];
	uint32_t rows[DN_PARTS_MAX];
	struct dn_weight *weight;
	uint32_t all = 0;
	char full[64];
	int r;

	for (uint32_t i = 0; i < n_parts; i++) {
		matrices[i] = &parts[i].linear->w;
		rows[i] = parts[i].rows;
		all += rows[i];
	}
	tensor_name(full, name, ".weight", layer);
	r = bind_rows(m, full, columns, 1, matrices, rows, n_parts, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n_parts; i++)
		m->weights[m->n_weights - 1].linears[i] = parts[i].linear;
	tensor_name(full, name, ".bias", layer);
	if (!dn_gguf_find_tensor(m->gguf, full))
		return 0;
	r = bind_vector(m, full, all, &parts[0].linear->bias, err);
	if (r < 0)
		return r;
	weight = &m->weights[m->n_weights - 1];
	for (uint32_t i = 1; i < n_parts; i++)
		weight->vector_parts[i - 1] =
			(struct dn_vector_part){ &parts[i].linear->bias, rows[i - 1] };
	return 0;
}

int dn_bind_convolution(struct dn_model *m, const char *name, uint32_t layer,
			struct dn_recurrent *recurrent, struct dn_error *err)
{
	struct dn_linear *convolution = &recurrent->convolution;
	int r;

	/* No linear: its matrix is never part of a product. */
	r = bind_matrix(m, name, ".weight", layer, recurrent->channels, convolution->w.columns,
			&convolution->w, err);
	if (r >= 0)
		r = bind_bias(m, name, layer, recurrent->channels, &convolution->bias, err);
	if (r >= 0 && convolution->w.type != DN_TYPE_F32)
		return dn_error_set(err, ENOTSUP, "the convolution of layer %u is %s, not F32",
				    layer, dn_type_info(convolution->w.type)->name);
	return r;
}

int dn_bind_rope_factors(struct dn_model *m, struct dn_error *err)
{
	struct dn_rope *rope = &m->hparams.ropes[DN_ROPE_GLOBAL];
	const uint32_t pairs = rope->dims / 2;
	int r;

	r = dn_bind_optional_vector(m, "rope_freqs.weight", 0, pairs, &rope->factors, err);
	if (r >= 0)
		r = dn_bind_optional_vector(m, "rope_factors_long.weight", 0, pairs,
					    &rope->long_factors, err);
	if (r >= 0)
		r = dn_bind_optional_vector(m, "rope_factors_short.weight", 0, pairs,
					    &rope->short_factors, err);
	return r;
}

int dn_bind_globals(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	struct dn_globals *g = &m->globals;
	const struct dn_gguf_tensor *embedding = dn_gguf_find_tensor(m->gguf, "token_embd.weight");
	int r;

	if (!embedding)
		return dn_error_set(err, EINVAL, "the file lacks tensor 'token_embd.weight'");
	if (embedding->dims[1] > VOCABULARY_MAX)
		return dn_error_set(err, EINVAL, "a vocabulary of %llu tokens; at most %u",
				    (unsigned long long)embedding->dims[1], VOCABULARY_MAX);
	h->vocabulary = (uint32_t)embedding->dims[1];
	r = dn_bind_matrix(m, "token_embd.weight", 0, h->vocabulary, h->dim, &g->embedding, err);
	if (r < 0 || h->bidirectional)
		return r;
	g->tied = !dn_bind_has(m, "output.weight", 0);
	if (!g->tied)
		r = dn_bind_linear(m, "output", 0, h->vocabulary, h->dim, &g->output, err);
	if (r < 0)
		return r;
	/* LFM2 files name the last norm after the embedding. */
	return dn_bind_norm(
		m, dn_bind_has(m, "token_embd_norm.weight", 0) ? "token_embd_norm" : "output_norm",
		0, h->dim, &g->output_norm, err);
}

/* Large models of Gemma 4 have layers whose values are their keys before norm and rotation. */
static bool keys_are_values(const struct dn_model *m, uint32_t i)
{
	return m->hparams.value_norm && !dn_bind_has(m, "blk.%u.attn_v.weight", i);
}

int dn_bind_projections(struct dn_model *m, uint32_t i, struct dn_error *err)
{
	const uint32_t dim = m->hparams.dim;
	struct dn_layer *l = &m->layers[i];
	const uint32_t heads = l->n_heads * l->head_dim;
	const uint32_t q = l->gated ? 2 * heads : heads;
	const uint32_t kv = l->n_kv_heads * l->head_dim;
	const struct dn_part parts[] = { { &l->q, q }, { &l->k, kv }, { &l->v, kv } };
	const bool stores = l->cache == i;
	int r = 0;

	if (!l->n_heads)
		return dn_error_set(err, EINVAL, "layer %u has no attention heads", i);
	if (dn_bind_has(m, "blk.%u.attn_qkv.weight", i)) {
		r = dn_bind_parts(m, "blk.%u.attn_qkv", i, dim, parts, 3, err);
	} else {
		r = dn_bind_linear(m, "blk.%u.attn_q", i, q, dim, &l->q, err);
		if (r >= 0 && stores)
			r = dn_bind_linear(m, "blk.%u.attn_k", i, kv, dim, &l->k, err);
		if (r >= 0 && stores && !keys_are_values(m, i))
			r = dn_bind_linear(m, "blk.%u.attn_v", i, kv, dim, &l->v, err);
	}
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.attn_output", i, dim, heads, &l->attention_output,
				   err);
	return r;
}

int dn_bind_attention(struct dn_model *m, uint32_t i, struct dn_error *err)
{
	int r = dn_bind_norm(m, "blk.%u.attn_norm", i, m->hparams.dim, &m->layers[i].attention_norm,
			     err);

	return r < 0 ? r : dn_bind_projections(m, i, err);
}

int dn_bind_head_norms(struct dn_model *m, uint32_t i, struct dn_error *err)
{
	struct dn_layer *l = &m->layers[i];
	int r;

	r = dn_bind_vector(m, "blk.%u.attn_q_norm.weight", i, l->head_dim, &l->q_norm, err);
	if (r < 0 || l->cache != i)
		return r;
	return dn_bind_vector(m, "blk.%u.attn_k_norm.weight", i, l->head_dim, &l->k_norm, err);
}

int dn_bind_ffn(struct dn_model *m, uint32_t i, struct dn_error *err)
{
	const uint32_t dim = m->hparams.dim;
	struct dn_layer *l = &m->layers[i];
	const struct dn_part parts[] = { { &l->gate, l->ffn_dim }, { &l->up, l->ffn_dim } };
	int r;

	r = dn_bind_norm(m, "blk.%u.ffn_norm", i, dim, &l->ffn_norm, err);
	if (r >= 0 && dn_bind_has(m, "blk.%u.ffn_gate.weight", i)) {
		r = dn_bind_linear(m, "blk.%u.ffn_gate", i, l->ffn_dim, dim, &l->gate, err);
		if (r >= 0)
			r = dn_bind_linear(m, "blk.%u.ffn_up", i, l->ffn_dim, dim, &l->up, err);
	} else if (r >= 0) {
		r = dn_bind_parts(m, "blk.%u.ffn_up", i, dim, parts, 2, err);
	}
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.ffn_down", i, dim, l->ffn_dim, &l->down, err);
	return r;
}

int dn_bind_layers(struct dn_model *m, struct dn_error *err)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < m->hparams.n_layers; i++) {
		r = dn_bind_attention(m, i, err);
		if (r >= 0)
			r = dn_bind_ffn(m, i, err);
	}
	return r;
}

/* How many outputs the head has: one for each label. */
static int count_labels(struct dn_model *m, uint32_t *ret_n, struct dn_error *err)
{
	struct dn_gguf_array labels;
	char key[128];
	int r;

	(void)snprintf(key, sizeof(key), "%s.classifier.output_labels", m->arch->name);
	r = dn_gguf_get_array(m->gguf, key, DN_GGUF_STRING, &labels, err);
	if (r < 0)
		return r;
	if (r > 0 && (labels.count < 1 || labels.count > LABELS_MAX))
		return dn_error_set(err, EINVAL, "%s has %llu labels; it must have 1 to %u", key,
				    (unsigned long long)labels.count, LABELS_MAX);
	*ret_n = r > 0 ? (uint32_t)labels.count : 1;
	return 0;
}

int dn_bind_rank_head(struct dn_model *m, struct dn_error *err)
{
	const uint32_t dim = m->hparams.dim;
	struct dn_globals *g = &m->globals;
	uint32_t n = 0;
	int r = 0;

	if (dn_bind_has(m, "cls.weight", 0))
		r = dn_bind_linear(m, "cls", 0, dim, dim, &g->rank_dense, err);
	if (r < 0 || !dn_bind_has(m, "cls.output.weight", 0))
		return r;
	r = count_labels(m, &n, err);
	return r < 0 ? r : dn_bind_linear(m, "cls.output", 0, n, dim, &g->rank_output, err);
}
