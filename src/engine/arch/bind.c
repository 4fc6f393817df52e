/* SPDX-License-Identifier: MIT */
/* Hyperparameters and tensors of a file, checked against what a family asks for. */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/arch/arch.h"
#include "engine/model.h"
#include "kernels/relay.h"

#define LAYERS_MAX     512U
#define DIM_MAX	       65536U
#define HEADS_MAX      1024U
#define HEAD_DIM_MAX   512U
#define FFN_MAX	       (1U << 20)
#define VOCABULARY_MAX (1U << 20)
#define CONTEXT_MAX    (1U << 24)

static const struct dn_arch *const families[] = {
	&dn_arch_llama,
};

const struct dn_arch *dn_arch_find(struct dn_text name, const char **ret_known)
{
	*ret_known = "llama";
	for (size_t i = 0; i < DN_ARRAY_SIZE(families); i++)
		if (strlen(families[i]->name) == name.size &&
		    memcmp(families[i]->name, name.data, name.size) == 0)
			return families[i];
	return NULL;
}

static const char *full_key(const struct dn_model *m, const char *key, char out[128])
{
	(void)snprintf(out, 128, "%s.%s", m->arch->name, key);
	return out;
}

/* Bounded look-up; 1 where the key is there, 0 where not (the default in *@ret stays). */
static int get_u32(struct dn_model *m, const char *key, uint32_t least, uint32_t most,
		   uint32_t *ret, struct dn_error *err)
{
	char full[128];
	int r = dn_gguf_get_u32(m->gguf, full_key(m, key, full), ret, err);

	if (r > 0 && (*ret < least || *ret > most))
		return dn_error_set(err, EINVAL, "%s is %u; it must be from %u to %u", full, *ret,
				    least, most);
	return r;
}

int dn_bind_u32(struct dn_model *m, const char *key, uint32_t least, uint32_t most, uint32_t *ret,
		struct dn_error *err)
{
	char full[128];
	int r = get_u32(m, key, least, most, ret, err);

	if (r == 0)
		return dn_error_set(err, EINVAL, "the file lacks %s", full_key(m, key, full));
	return r < 0 ? r : 0;
}

int dn_bind_f64(struct dn_model *m, const char *key, double least, double most, double *ret,
		struct dn_error *err)
{
	char full[128];
	int r = dn_gguf_get_f64(m->gguf, full_key(m, key, full), ret, err);

	if (r > 0 && !(*ret >= least && *ret <= most))
		return dn_error_set(err, EINVAL, "%s is %g; it must be from %g to %g", full, *ret,
				    least, most);
	return r < 0 ? r : 0;
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

static int bind_rope(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	struct dn_text scaling = { "", 0 };
	char full[128];
	int r;

	h->rope_base = 10000.0;
	h->rope_scale = 1.0;
	h->rope_dims = h->head_dim;
	r = get_u32(m, "rope.dimension_count", 2, h->head_dim, &h->rope_dims, err);
	if (r < 0)
		return r;
	if (h->rope_dims % 2)
		return dn_error_set(err, EINVAL, "%s is %u; it must be even",
				    full_key(m, "rope.dimension_count", full), h->rope_dims);
	r = dn_bind_f64(m, "rope.freq_base", 1.0, 1e12, &h->rope_base, err);
	if (r < 0)
		return r;
	r = dn_bind_f64(m, "rope.scale_linear", 1e-3, 1e6, &h->rope_scale, err);
	if (r < 0)
		return r;
	r = dn_gguf_get_text(m->gguf, full_key(m, "rope.scaling.type", full), &scaling, err);
	if (r <= 0 || (scaling.size == 4 && memcmp(scaling.data, "none", 4) == 0))
		return r;
	if (scaling.size != 6 || memcmp(scaling.data, "linear", 6) != 0)
		return dn_error_set(err, ENOTSUP,
				    "%s is '%.*s'; this version knows none and linear", full,
				    (int)DN_MIN(scaling.size, (size_t)32), scaling.data);
	return dn_bind_f64(m, "rope.scaling.factor", 1e-3, 1e6, &h->rope_scale, err);
}

int dn_bind_hparams(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	uint32_t value_length;
	double epsilon = 1e-5;
	char full[128];
	int r;

	r = dn_bind_u32(m, "block_count", 1, LAYERS_MAX, &h->n_layers, err);
	if (r >= 0)
		r = dn_bind_u32(m, "embedding_length", 1, DIM_MAX, &h->dim, err);
	if (r >= 0)
		r = dn_bind_u32(m, "feed_forward_length", 1, FFN_MAX, &h->ffn_dim, err);
	if (r >= 0)
		r = dn_bind_u32(m, "attention.head_count", 1, HEADS_MAX, &h->n_heads, err);
	if (r >= 0)
		r = dn_bind_u32(m, "context_length", 1, CONTEXT_MAX, &h->trained_context, err);
	if (r < 0)
		return r;
	h->n_kv_heads = h->n_heads;
	r = get_u32(m, "attention.head_count_kv", 1, h->n_heads, &h->n_kv_heads, err);
	if (r < 0)
		return r;
	if (h->n_heads % h->n_kv_heads)
		return dn_error_set(err, EINVAL, "%u heads cannot share %u key-value heads evenly",
				    h->n_heads, h->n_kv_heads);
	h->head_dim = h->dim / h->n_heads;
	r = get_u32(m, "attention.key_length", 2, HEAD_DIM_MAX, &h->head_dim, err);
	if (r < 0)
		return r;
	if (h->head_dim < 2 || h->head_dim > HEAD_DIM_MAX)
		return dn_error_set(err, EINVAL, "heads of %u elements; they must have 2 to %u",
				    h->head_dim, HEAD_DIM_MAX);
	value_length = h->head_dim;
	r = get_u32(m, "attention.value_length", 2, HEAD_DIM_MAX, &value_length, err);
	if (r < 0)
		return r;
	if (value_length != h->head_dim)
		return dn_error_set(err, ENOTSUP, "%s differs from the key's length",
				    full_key(m, "attention.value_length", full));
	h->attention_scale = 1.0f / sqrtf((float)h->head_dim);
	r = dn_bind_f64(m, "attention.layer_norm_rms_epsilon", 0.0, 1.0, &epsilon, err);
	if (r < 0)
		return r;
	h->rms_epsilon = (float)epsilon;
	return bind_rope(m, err);
}

static void tensor_name(char out[64], const char *name, uint32_t layer)
{
	const char *place = strstr(name, "%u");

	if (place)
		(void)snprintf(out, 64, "%.*s%u%s", (int)(place - name), name, layer, place + 2);
	else
		(void)snprintf(out, 64, "%s", name);
}

bool dn_bind_has(const struct dn_model *m, const char *name, uint32_t layer)
{
	char full[64];

	tensor_name(full, name, layer);
	return dn_gguf_find_tensor(m->gguf, full) != NULL;
}

/* Finds a tensor of @rows x @columns whose type products can read, and notes it for loading. */
static int ask(struct dn_model *m, const char *name, uint32_t layer, uint32_t rows,
	       uint32_t columns, struct dn_weight *weight, struct dn_error *err)
{
	const struct dn_gguf_tensor *t;
	char full[64];

	tensor_name(full, name, layer);
	t = dn_gguf_find_tensor(m->gguf, full);
	if (!t)
		return dn_error_set(err, EINVAL, "the file lacks tensor '%s'", full);
	if (t->dims[0] != columns || t->dims[1] != rows || t->dims[2] != 1 || t->dims[3] != 1)
		return dn_error_set(err, EINVAL,
				    "tensor '%s' is %llu x %llu x %llu x %llu; its "
				    "hyperparameters want %u x %u",
				    full, (unsigned long long)t->dims[0],
				    (unsigned long long)t->dims[1], (unsigned long long)t->dims[2],
				    (unsigned long long)t->dims[3], columns, rows);
	if (!dn_type_computes(t->type))
		return dn_error_set(err, ENOTSUP,
				    "tensor '%s' is %s, which this version cannot compute with; "
				    "take the model in another quantisation, such as Q4_K_M",
				    full, dn_type_info(t->type)->name);
	/* Every tensor is asked for once, so the file's count bounds the list. */
	if (m->n_weights == m->max_weights)
		return dn_error_set(err, EINVAL, "the file has too few tensors");
	weight->tensor = t;
	m->weights[m->n_weights++] = *weight;
	return 0;
}

int dn_bind_matrix(struct dn_model *m, const char *name, uint32_t layer, uint32_t rows,
		   uint32_t columns, struct dn_matrix *matrix, struct dn_error *err)
{
	struct dn_weight weight = { .matrix = matrix };
	int r = ask(m, name, layer, rows, columns, &weight, err);

	if (r < 0)
		return r;
	weight.tensor = m->weights[m->n_weights - 1].tensor;
	matrix->type = weight.tensor->type;
	matrix->rows = rows;
	matrix->columns = columns;
	matrix->group_bytes = dn_relay_group_bytes(matrix->type, columns);
	if (!dn_mul_ok(matrix->group_bytes, DN_DIV_ROUND_UP(rows, DN_GROUP),
		       &m->weights[m->n_weights - 1].bytes))
		return dn_error_set(err, E2BIG, "the weights do not fit the address space");
	return 0;
}

int dn_bind_vector(struct dn_model *m, const char *name, uint32_t layer, uint32_t n,
		   const float **vector, struct dn_error *err)
{
	struct dn_weight weight = { .vector = vector, .bytes = (size_t)n * sizeof(float) };
	int r = ask(m, name, layer, 1, n, &weight, err);

	if (r < 0)
		return r;
	if (m->weights[m->n_weights - 1].tensor->type != DN_TYPE_F32) {
		char full[64];

		tensor_name(full, name, layer);
		return dn_error_set(err, ENOTSUP, "tensor '%s' is no F32 vector", full);
	}
	return 0;
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
	if (r < 0)
		return r;
	g->tied = !dn_bind_has(m, "output.weight", 0);
	if (!g->tied)
		r = dn_bind_matrix(m, "output.weight", 0, h->vocabulary, h->dim, &g->output, err);
	if (r < 0)
		return r;
	return dn_bind_vector(m, "output_norm.weight", 0, h->dim, &g->output_norm, err);
}
