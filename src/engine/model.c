/* SPDX-License-Identifier: MIT */
/* From a file's header to a model that knows its weights. */

#include "engine/model.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <dunlin/tokenizer.h>

#include "base/text.h"
#include "engine/adapter.h"
#include "engine/arch/bind.h"
#include "engine/kv.h"
#include "engine/tokenizer/tokenizer.h"

/* Decoders that were trained on to see whole texts say so in one key alone. */
static int check_causal(const struct dn_model *m, struct dn_error *err)
{
	bool causal = true;
	char key[128];
	int r;

	(void)snprintf(key, sizeof(key), "%s.attention.causal", m->arch->name);
	r = dn_gguf_get_bool(m->gguf, key, &causal, err);
	if (r >= 0 && !causal && !m->hparams.bidirectional)
		return dn_error_set(err, ENOTSUP,
				    "%s is false, which this version does not run in this family",
				    key);
	return r < 0 ? r : 0;
}

static int bind_arch(struct dn_model *m, struct dn_error *err)
{
	struct dn_text name = { "", 0 };
	char known[256];
	size_t n_tensors = dn_gguf_n_tensors(m->gguf);
	int r;

	r = dn_gguf_get_text(m->gguf, "general.architecture", &name, err);
	if (r < 0)
		return r;
	(void)dn_text_printable(name.data, name.size, m->architecture, sizeof(m->architecture));
	if (n_tensors == 0)
		return dn_error_set(err, ENOENT, "the file has a vocabulary but no weights");
	if (r == 0)
		return dn_error_set(err, EINVAL, "the file lacks general.architecture");
	m->arch = dn_arch_find(name);
	if (!m->arch) {
		dn_arch_list(known, sizeof(known));
		return dn_error_set(err, ENOTSUP,
				    "the architecture '%s' is not known; this version runs: %s",
				    m->architecture, known);
	}
	/* A family asks for each name once, so that no more are ever bound. */
	m->max_weights = n_tensors;
	m->weights = calloc(n_tensors, sizeof(*m->weights));
	if (!m->weights)
		return dn_error_memory(err, "the list of weights", n_tensors * sizeof(*m->weights));
	r = dn_bind_hparams(m, err);
	if (r >= 0)
		r = m->arch->bind(m, err);
	return r < 0 ? r : check_causal(m, err);
}

/* The number behind "blk." in a tensor's name, and what follows it; false: there is none. */
static bool split_name(struct dn_text name, uint32_t *ret_layer, struct dn_text *ret_rest)
{
	uint32_t layer = 0;
	size_t at = 4;

	if (name.size < 4 || memcmp(name.data, "blk.", 4) != 0)
		return false;
	for (; at < name.size && name.data[at] >= '0' && name.data[at] <= '9'; at++)
		layer = DN_MIN(layer * 10 + (uint32_t)(name.data[at] - '0'), DN_LAYERS_MAX);
	if (at == 4 || at == name.size || name.data[at] != '.')
		return false;
	*ret_layer = layer;
	*ret_rest = (struct dn_text){ name.data + at + 1, name.size - at - 1 };
	return true;
}

/*
 * Whether files may have a tensor that running them does not need: of layers that predict further
 * tokens, and the keys of layers that read another's.
 */
static bool is_spare(const struct dn_model *m, struct dn_text name)
{
	static const char *const keys[] = { "attn_k.weight", "attn_v.weight",
					    "attn_k_norm.weight" };
	const uint32_t n = m->hparams.n_layers;
	struct dn_text rest;
	uint32_t layer;

	if (!split_name(name, &layer, &rest))
		return false;
	if (layer >= n)
		return layer - n < m->hparams.nextn_layers;
	for (size_t i = 0; m->layers[layer].cache != layer && i < DN_ARRAY_SIZE(keys); i++)
		if (rest.size == strlen(keys[i]) && memcmp(rest.data, keys[i], rest.size) == 0)
			return true;
	return false;
}

/* A tensor that nobody asked for means that the file is of another kind than it says. */
static int check_all_bound(const struct dn_model *m, struct dn_error *err)
{
	for (size_t i = 0; i < dn_gguf_n_tensors(m->gguf); i++) {
		const struct dn_gguf_tensor *t = dn_gguf_tensor(m->gguf, i);
		size_t at = 0;

		while (at < m->n_weights && m->weights[at].tensor != t)
			at++;
		if (at == m->n_weights && !is_spare(m, t->name))
			return dn_error_set(err, ENOTSUP,
					    "tensor '%.*s' is not part of the architecture '%s' "
					    "as this version knows it",
					    (int)DN_MIN(t->name.size, (size_t)96), t->name.data,
					    m->arch->name);
	}
	return 0;
}

/* What cannot run stays inspectable: the reason is kept for who wants to run it. */
static int understand(struct dn_model *m, struct dn_error *err)
{
	int r;

	r = bind_arch(m, &m->runs);
	if (r >= 0 && m->n_weights != dn_gguf_n_tensors(m->gguf))
		r = check_all_bound(m, &m->runs);
	if (r >= 0)
		r = dn_weights_place(m->weights, m->n_weights, &m->region_bytes, &m->runs);
	if (r >= 0)
		m->state_bytes = dn_kv_lay_state(m);
	if (r == -ENOMEM) {
		*err = m->runs;
		return r;
	}
	r = dn_tokenizer_new(m->gguf, &m->tables, &m->tokenizer, &m->tokenizes);
	if (r == -ENOMEM) {
		*err = m->tokenizes;
		return r;
	}
	if (r >= 0 && !m->tokenizer)
		(void)dn_error_set(&m->tokenizes, ENOENT, "the file has no vocabulary");
	if (m->tokenizer && !m->runs.code &&
	    dn_tokenizer_size(m->tokenizer) > m->hparams.vocabulary)
		(void)dn_error_set(&m->runs, EINVAL,
				   "the vocabulary has %u tokens but the embedding %u rows",
				   dn_tokenizer_size(m->tokenizer), m->hparams.vocabulary);
	return 0;
}

int dn_model_of_gguf(struct dn_gguf *gguf, const struct dn_tokenizer_tables *tables,
		     struct dn_model **ret_model, struct dn_error *err)
{
	struct dn_model *m = calloc(1, sizeof(*m));
	int r;

	if (!m) {
		dn_gguf_free(gguf);
		if (tables && tables->size)
			(void)munmap((void *)(uintptr_t)tables->data, tables->size);
		return dn_error_memory(err, "a model", sizeof(*m));
	}
	m->gguf = gguf;
	if (tables)
		m->tables = *tables;
	r = understand(m, err);
	if (r < 0) {
		dn_model_free(m);
		return r;
	}
	*ret_model = m;
	return 0;
}

int dn_model_open(const int *fds, size_t n_fds, struct dn_model **ret_model, struct dn_error *err)
{
	struct dn_error own = DN_ERROR_INIT;
	struct dn_gguf *gguf = NULL;
	int r;

	if (!err)
		err = &own;
	r = dn_gguf_open(fds, n_fds, &gguf, err);
	return r < 0 ? r : dn_model_of_gguf(gguf, NULL, ret_model, err);
}

struct dn_model *dn_model_free(struct dn_model *m)
{
	if (!m)
		return NULL;
	if (m->region)
		(void)munmap(m->region, m->mapped_bytes);
	while (m->n_adapters > 0)
		dn_adapter_free(m->adapters[--m->n_adapters]);
	dn_tokenizer_free(m->tokenizer);
	if (m->tables.size)
		(void)munmap((void *)(uintptr_t)m->tables.data, m->tables.size);
	free(m->layers);
	free(m->weights);
	dn_gguf_free(m->gguf);
	free(m);
	return NULL;
}

static int stored_error(const struct dn_error *stored, struct dn_error *err)
{
	if (!stored->code)
		return 0;
	if (err)
		*err = *stored;
	return -stored->code;
}

int dn_model_runs(const struct dn_model *m, struct dn_error *err)
{
	return stored_error(&m->runs, err);
}

int dn_model_tokenizes(const struct dn_model *m, struct dn_error *err)
{
	return stored_error(&m->tokenizes, err);
}

const struct dn_tokenizer *dn_model_tokenizer(const struct dn_model *m)
{
	return m->tokenizer;
}

/* The type that holds most of the weights' bytes. */
static const char *main_type(const struct dn_gguf *gguf)
{
	uint64_t bytes[DN_TYPE_COUNT] = { 0 };
	size_t best = 0;

	for (size_t i = 0; i < dn_gguf_n_tensors(gguf); i++)
		bytes[dn_gguf_tensor(gguf, i)->type] += dn_gguf_tensor(gguf, i)->size;
	for (size_t i = 1; i < DN_TYPE_COUNT; i++)
		if (bytes[i] > bytes[best])
			best = i;
	return bytes[best] ? dn_type_info((uint32_t)best)->name : "none";
}

static void count_weights(const struct dn_model *m, struct dn_model_info *info)
{
	for (size_t i = 0; i < dn_gguf_n_tensors(m->gguf); i++) {
		const struct dn_gguf_tensor *t = dn_gguf_tensor(m->gguf, i);

		info->parameters += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
		info->weight_bytes += t->size;
	}
	for (size_t i = 0; i < m->n_weights; i++) {
		const struct dn_weight *w = &m->weights[i];
		const struct dn_globals *g = &m->globals;
		const struct dn_matrix *part = w->parts[0];
		const bool looked_up = (part == &g->embedding && !g->tied) ||
				       part == &g->positions || part == &g->types ||
				       part == &g->per_layer_embedding;
		const bool is_output = part == &g->embedding || part == &g->output.w;
		const uint64_t experts = w->tensor->dims[2];
		const uint64_t used =
			DN_MIN(experts, (uint64_t)DN_MAX(m->hparams.experts_used, 1U));

		if (looked_up)
			continue;
		info->bytes_per_token += w->tensor->size / experts * used;
		if (part && !is_output)
			info->operations_per_token +=
				2ULL * w->shape.rows / experts * used * w->shape.columns;
	}
}

void dn_model_get_info(const struct dn_model *m, struct dn_model_info *ret_info)
{
	const struct dn_hparams *h = &m->hparams;
	struct dn_text name = { NULL, 0 };
	struct dn_text chat_template = { NULL, 0 };
	struct dn_error ignored; /* a wrong type here is as good as nothing */

	if (dn_gguf_get_text(m->gguf, "general.name", &name, &ignored) <= 0)
		name.data = NULL;
	if (dn_gguf_get_text(m->gguf, "tokenizer.chat_template", &chat_template, &ignored) <= 0)
		chat_template.data = NULL;
	*ret_info = (struct dn_model_info){
		.architecture = m->architecture,
		.name = name.data,
		.name_size = name.size,
		.chat_template = chat_template.data,
		.chat_template_size = chat_template.size,
		.n_layers = h->n_layers,
		.dim = h->dim,
		.n_heads = h->n_heads,
		.n_kv_heads = h->n_kv_heads,
		.head_dim = h->head_dim,
		.ffn_dim = h->ffn_dim,
		.vocabulary = h->vocabulary  ? h->vocabulary
			      : m->tokenizer ? dn_tokenizer_size(m->tokenizer)
					     : 0,
		.trained_context = h->trained_context,
		.generates = !m->runs.code && !h->bidirectional,
		.encoder = h->bidirectional,
		.pooling = h->pooling,
		.scores = m->globals.rank_output.w.rows,
		.quantisation = main_type(m->gguf),
	};
	count_weights(m, ret_info);
	dn_adapters_count(m, ret_info);
}
