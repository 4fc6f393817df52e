/* SPDX-License-Identifier: MIT */
/*
 * From an adapter's file to pairs of matrices that hang on the model's. They are not merged into
 * its weights: those are quantised, and most of what an adapter changes is finer than their steps.
 */

#include "engine/adapter.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX_SIZE 7 /* of ".lora_a" */
#define NAME_SIZE   128
#define ALPHA_MAX   1e6

/* What a text of the file's metadata must be. */
static int check_text(const struct dn_gguf *gguf, const char *key, const char *want,
		      const char *whose, struct dn_error *err)
{
	struct dn_text have = { "", 0 };
	int r = dn_gguf_get_text(gguf, key, &have, err);

	if (r < 0)
		return r;
	if (r == 0)
		return dn_error_set(err, EINVAL, "the file lacks %s: it is no adapter", key);
	if (have.size != strlen(want) || memcmp(have.data, want, have.size) != 0)
		return dn_error_set(err, EINVAL, "%s is '%.*s'; %s is '%s'", key,
				    (int)DN_MIN(have.size, (size_t)64), have.data, whose, want);
	return 0;
}

static int check_metadata(const struct dn_model *m, struct dn_adapter *a, struct dn_error *err)
{
	int r;

	r = check_text(a->gguf, "general.type", "adapter", "an adapter's", err);
	if (r >= 0)
		r = check_text(a->gguf, "adapter.type", "lora", "what this version applies", err);
	if (r >= 0)
		r = check_text(a->gguf, "general.architecture", m->arch->name, "the model's", err);
	if (r >= 0)
		r = dn_gguf_get_f64(a->gguf, "adapter.lora.alpha", &a->alpha, err);
	if (r < 0)
		return r;
	if (!(fabs(a->alpha) <= ALPHA_MAX))
		return dn_error_set(err, EINVAL, "adapter.lora.alpha is %g; it must be at most %g",
				    a->alpha, ALPHA_MAX);
	for (size_t i = 0; i < dn_gguf_n_entries(a->gguf); i++) {
		static const char key[] = "adapter.alora.invocation_tokens";
		const struct dn_text have = dn_gguf_entry(a->gguf, i)->key;

		if (have.size == strlen(key) && memcmp(have.data, key, have.size) == 0)
			return dn_error_set(err, ENOTSUP,
					    "it is an activated LoRA, which acts from some tokens "
					    "on only: this version has none of that");
	}
	if (dn_gguf_n_tensors(a->gguf) == 0)
		return dn_error_set(err, EINVAL, "the file has no tensors");
	return 0;
}

/* The model's tensor of that name; NULL where there is none. */
static const struct dn_weight *find_base(const struct dn_model *m, const char *name)
{
	const struct dn_gguf_tensor *tensor = dn_gguf_find_tensor(m->gguf, name);

	for (size_t i = 0; tensor && i < m->n_weights; i++)
		if (m->weights[i].tensor == tensor)
			return &m->weights[i];
	return NULL;
}

/* Whether it is one that adapters can change. */
static int check_base(const struct dn_model *m, const struct dn_weight *base, const char *name,
		      struct dn_error *err)
{
	if (base->tensor->dims[2] > 1)
		return dn_error_set(err, ENOTSUP,
				    "'%s' has the matrices of %llu experts: this version changes "
				    "none of these",
				    name, (unsigned long long)base->tensor->dims[2]);
	if (!base->linears[0] && base->parts[0] != &m->globals.embedding)
		return dn_error_set(err, ENOTSUP,
				    "'%s' is not a matrix that this version can change", name);
	return 0;
}

static int check_dims(const struct dn_gguf_tensor *t, uint64_t columns, uint64_t rows,
		      struct dn_error *err)
{
	if (t->dims[0] != columns || t->dims[1] != rows || t->dims[2] != 1 || t->dims[3] != 1)
		return dn_error_set(err, EINVAL,
				    "tensor '%.*s' is %llu x %llu x %llu x %llu; the model and "
				    "the rank want %llu x %llu",
				    (int)DN_MIN(t->name.size, (size_t)NAME_SIZE), t->name.data,
				    (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
				    (unsigned long long)t->dims[2], (unsigned long long)t->dims[3],
				    (unsigned long long)columns, (unsigned long long)rows);
	return 0;
}

/* Adapters are small: quantised ones become floats, which spares quantising what is halfway. */
static int add_weight(struct dn_adapter *a, const struct dn_gguf_tensor *t,
		      struct dn_weight **ret_weight, struct dn_error *err)
{
	struct dn_weight *weight = &a->weights[a->set.n_weights++];

	weight->tensor = t;
	weight->shape.type = dn_type_info(t->type)->columns > 1 ? DN_TYPE_F32 : t->type;
	*ret_weight = weight;
	return dn_weight_set_matrix(weight, (uint32_t)t->dims[1], (uint32_t)t->dims[0], err);
}

static int add_pair(struct dn_model *m, struct dn_adapter *a, const struct dn_weight *base,
		    const struct dn_gguf_tensor *down, const struct dn_gguf_tensor *up,
		    struct dn_error *err)
{
	struct dn_adapter_pair *pair = &a->pairs[a->n_pairs++];
	const uint32_t rank = (uint32_t)up->dims[0];
	const float scale =
		(float)((double)a->scale * (a->alpha != 0.0 ? a->alpha / (double)rank : 1.0));
	struct dn_weight *down_weight;
	struct dn_weight *up_weight;
	int r;

	r = add_weight(a, down, &down_weight, err);
	if (r >= 0)
		r = add_weight(a, up, &up_weight, err);
	if (r < 0)
		return r;
	down_weight->parts[0] = &pair->parts[0].down;
	for (uint32_t i = 0; i < DN_PARTS_MAX && base->parts[i]; i++) {
		struct dn_low_rank *part = &pair->parts[pair->n_parts++];

		up_weight->parts[i] = &part->up;
		part->down = down_weight->shape;
		part->up = up_weight->shape;
		part->scale = scale;
		if (base->linears[i]) {
			part->up.rows = base->linears[i]->w.rows;
			pair->chains[i] = &base->linears[i]->adapters;
		} else {
			pair->chains[i] = &m->globals.embedding_adapters;
		}
	}
	a->rank = DN_MAX(a->rank, rank);
	return 0;
}

/* @down: the tensor NAME.lora_a; the other one is looked for. */
static int bind_pair(struct dn_model *m, struct dn_adapter *a, const struct dn_gguf_tensor *down,
		     const char *name, struct dn_error *err)
{
	const struct dn_weight *base = find_base(m, name);
	const struct dn_gguf_tensor *up;
	char up_name[NAME_SIZE + SUFFIX_SIZE + 1];
	uint64_t rank;
	int r;

	(void)snprintf(up_name, sizeof(up_name), "%s.lora_b", name);
	up = dn_gguf_find_tensor(a->gguf, up_name);
	if (!up)
		return dn_error_set(err, EINVAL, "the file lacks tensor '%s'", up_name);
	if (!base)
		return dn_error_set(err, EINVAL, "the model has no tensor '%s'", name);
	r = check_base(m, base, name, err);
	if (r < 0)
		return r;
	rank = up->dims[0];
	if (rank > DN_ADAPTER_RANK_MAX)
		return dn_error_set(err, ENOTSUP, "the rank of '%s' is %llu; at most %d", name,
				    (unsigned long long)rank, DN_ADAPTER_RANK_MAX);
	if (base->linears[0]) {
		r = check_dims(down, base->tensor->dims[0], rank, err);
		if (r >= 0)
			r = check_dims(up, rank, base->tensor->dims[1], err);
	} else {
		/* Rows of an embedding are looked up, and so are those of its matrix down. */
		r = check_dims(down, rank, base->tensor->dims[1], err);
		if (r >= 0)
			r = check_dims(up, rank, base->tensor->dims[0], err);
	}
	return r < 0 ? r : add_pair(m, a, base, down, up, err);
}

static int bind_tensor(struct dn_model *m, struct dn_adapter *a, const struct dn_gguf_tensor *t,
		       struct dn_error *err)
{
	const size_t size = t->name.size;
	const size_t stem = size > SUFFIX_SIZE ? size - SUFFIX_SIZE : 0;
	char name[NAME_SIZE];
	char down_name[NAME_SIZE + SUFFIX_SIZE + 1];
	bool up;

	up = stem && memcmp(t->name.data + stem, ".lora_b", SUFFIX_SIZE) == 0;
	if (!up && !(stem && memcmp(t->name.data + stem, ".lora_a", SUFFIX_SIZE) == 0))
		return dn_error_set(err, ENOTSUP,
				    "tensor '%.*s' ends neither in .lora_a nor in .lora_b: this "
				    "version cannot apply it",
				    (int)DN_MIN(size, (size_t)NAME_SIZE), t->name.data);
	if (stem >= sizeof(name) || memchr(t->name.data, '\0', stem))
		return dn_error_set(err, EINVAL, "the model has no tensor '%.*s'",
				    (int)DN_MIN(stem, sizeof(name)), t->name.data);
	memcpy(name, t->name.data, stem);
	name[stem] = '\0';
	if (!up)
		return bind_pair(m, a, t, name, err);
	(void)snprintf(down_name, sizeof(down_name), "%s.lora_a", name);
	if (!dn_gguf_find_tensor(a->gguf, down_name))
		return dn_error_set(err, EINVAL, "the file lacks tensor '%s'", down_name);
	return 0;
}

static int bind_all(struct dn_model *m, struct dn_adapter *a, struct dn_error *err)
{
	const size_t n = dn_gguf_n_tensors(a->gguf);
	int r;

	r = check_metadata(m, a, err);
	if (r < 0)
		return r;
	a->weights = calloc(n, sizeof(*a->weights));
	a->pairs = calloc(DN_DIV_ROUND_UP(n, 2), sizeof(*a->pairs));
	if (!a->weights || !a->pairs)
		return dn_error_memory(err, "an adapter", n * sizeof(*a->weights));
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = bind_tensor(m, a, dn_gguf_tensor(a->gguf, i), err);
	if (r < 0)
		return r;
	a->set.gguf = a->gguf;
	a->set.weights = a->weights;
	/* Adding zero times something would turn a -0 into 0: what is off is left out. */
	if (a->scale == 0.0f)
		a->set.n_weights = 0;
	return dn_weights_place(a->weights, a->set.n_weights, &a->set.region_bytes, err);
}

static void append(struct dn_adapter *a)
{
	for (size_t i = 0; i < a->n_pairs; i++) {
		struct dn_adapter_pair *pair = &a->pairs[i];

		for (uint32_t p = 0; p < pair->n_parts; p++) {
			struct dn_low_rank **end = pair->chains[p];

			while (*end)
				end = &(*end)->next;
			*end = &pair->parts[p];
		}
	}
}

int dn_model_add_adapter(struct dn_model *m, int fd, float scale, struct dn_error *err)
{
	struct dn_error own = DN_ERROR_INIT;
	struct dn_adapter *a;
	int r;

	if (!err)
		err = &own;
	r = dn_model_runs(m, err);
	if (r < 0)
		return r;
	if (m->region)
		return dn_error_set(err, EBUSY, "adapters come before the weights are loaded");
	if (m->n_adapters == DN_ADAPTERS_MAX)
		return dn_error_set(err, E2BIG, "more than %d adapters", DN_ADAPTERS_MAX);
	if (!(fabsf(scale) <= DN_ADAPTER_SCALE_MAX))
		return dn_error_set(err, EINVAL, "an adapter's scale is %g; it must be within %g",
				    (double)scale, (double)DN_ADAPTER_SCALE_MAX);
	a = calloc(1, sizeof(*a));
	if (!a)
		return dn_error_memory(err, "an adapter", sizeof(*a));
	a->scale = scale;
	r = dn_gguf_open(&fd, 1, &a->gguf, err);
	if (r >= 0)
		r = bind_all(m, a, err);
	if (r < 0) {
		dn_adapter_free(a);
		return r;
	}
	if (a->set.n_weights)
		append(a);
	m->adapters[m->n_adapters++] = a;
	return 0;
}

struct dn_adapter *dn_adapter_free(struct dn_adapter *a)
{
	if (!a)
		return NULL;
	dn_adapter_unload(a);
	free(a->pairs);
	free(a->weights);
	dn_gguf_free(a->gguf);
	free(a);
	return NULL;
}

int dn_adapter_load(struct dn_adapter *a, struct dn_pool *pool, struct dn_error *err)
{
	int r = dn_weights_load(&a->set, pool, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < a->n_pairs; i++)
		for (uint32_t p = 1; p < a->pairs[i].n_parts; p++)
			a->pairs[i].parts[p].down = a->pairs[i].parts[0].down;
	dn_gguf_drop_pages(a->gguf);
	return 0;
}

void dn_adapter_unload(struct dn_adapter *a)
{
	dn_weights_unmap(&a->set);
}

static uint32_t rank_of(const struct dn_low_rank *adapters)
{
	uint32_t rank = 0;

	for (; adapters; adapters = adapters->next)
		rank += adapters->up.columns;
	return rank;
}

uint32_t dn_adapters_rank(const struct dn_model *m)
{
	uint32_t most = rank_of(m->globals.embedding_adapters);

	for (size_t i = 0; m->n_adapters && i < m->n_weights; i++)
		if (m->weights[i].linears[0])
			most = DN_MAX(most, rank_of(m->weights[i].linears[0]->adapters));
	return most;
}

uint64_t dn_adapters_tables(const struct dn_model *m)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < m->n_adapters; i++) {
		const struct dn_adapter *a = m->adapters[i];

		bytes += dn_gguf_header_size(a->gguf) +
			 dn_gguf_n_tensors(a->gguf) * (sizeof(*a->weights) + sizeof(*a->pairs) / 2);
	}
	return bytes;
}

void dn_adapters_count(const struct dn_model *m, struct dn_model_info *info)
{
	for (uint32_t i = 0; i < m->n_adapters; i++) {
		const struct dn_weight_set *set = &m->adapters[i]->set;

		for (size_t w = 0; w < set->n_weights; w++) {
			const struct dn_matrix *shape = &set->weights[w].shape;
			const struct dn_adapter_pair *pair = &m->adapters[i]->pairs[w / 2];

			/* The first of an embedding's two matrices is looked up. */
			if (w % 2 == 0 && pair->chains[0] == &m->globals.embedding_adapters)
				continue;
			info->bytes_per_token += set->weights[w].bytes;
			info->operations_per_token += 2ULL * shape->rows * shape->columns;
		}
	}
}

uint32_t dn_model_n_adapters(const struct dn_model *m)
{
	return m->n_adapters;
}

void dn_model_get_adapter(const struct dn_model *m, uint32_t index,
			  struct dn_adapter_info *ret_info)
{
	const struct dn_adapter *a = m->adapters[index];
	struct dn_text name = { NULL, 0 };
	struct dn_error ignored; /* a wrong type here is as good as nothing */

	if (dn_gguf_get_text(a->gguf, "general.name", &name, &ignored) <= 0)
		name.data = NULL;
	*ret_info = (struct dn_adapter_info){
		.name = name.data,
		.name_size = name.size,
		.alpha = a->alpha,
		.scale = a->scale,
		.rank = a->rank,
		.pairs = (uint32_t)a->n_pairs,
		.bytes = a->set.region_bytes,
	};
}
