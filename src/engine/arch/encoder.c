/* SPDX-License-Identifier: MIT */
/*
 * What encoders of BERT's kind share (Devlin and others 2018): embeddings that are summed and
 * normed before the first layer, and layers that norm their sums instead of what they read.
 */

#include <errno.h>

#include "engine/arch/bind.h"
#include "engine/arch/blocks.h"
#include "engine/arch/products.h"
#include "kernels/relay.h"

#define TYPES_MAX 64U

static int bind_types(struct dn_model *m, struct dn_error *err)
{
	const struct dn_gguf_tensor *types = dn_gguf_find_tensor(m->gguf, "token_types.weight");

	if (!types)
		return 0;
	if (types->dims[1] > TYPES_MAX)
		return dn_error_set(err, EINVAL, "%llu types of tokens; at most %u",
				    (unsigned long long)types->dims[1], TYPES_MAX);
	return dn_bind_matrix(m, "token_types.weight", 0, (uint32_t)types->dims[1], m->hparams.dim,
			      &m->globals.types, err);
}

int dn_bind_encoder(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	int r;

	h->bidirectional = true;
	h->layer_norms = true;
	r = dn_bind_pooling(m, DN_POOLING_MEAN, err);
	if (r >= 0)
		r = dn_bind_globals(m, err);
	if (r >= 0)
		r = bind_types(m, err);
	return r < 0 ? r
		     : dn_bind_norm(m, "token_embd_norm", 0, h->dim, &m->globals.embedding_norm,
				    err);
}

int dn_bind_encoder_layer(struct dn_model *m, uint32_t i, bool gated, struct dn_error *err)
{
	const uint32_t dim = m->hparams.dim;
	struct dn_layer *l = &m->layers[i];
	int r;

	r = dn_bind_projections(m, i, err);
	if (r >= 0)
		r = dn_bind_norm(m, "blk.%u.attn_output_norm", i, dim, &l->attention_post_norm,
				 err);
	if (r >= 0 && gated)
		r = dn_bind_linear(m, "blk.%u.ffn_gate", i, l->ffn_dim, dim, &l->gate, err);
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.ffn_up", i, l->ffn_dim, dim, &l->up, err);
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.ffn_down", i, dim, l->ffn_dim, &l->down, err);
	if (r >= 0)
		r = dn_bind_norm(m, "blk.%u.layer_output_norm", i, dim, &l->ffn_post_norm, err);
	return r;
}

/* x += row @row of @table, by way of the arrays that the layers' norms will write. */
static void add_from(struct dn_step *s, uint32_t at, const struct dn_matrix *table, uint32_t row)
{
	float *found = s->normed.values + (size_t)at * s->normed.padded;

	dn_relay_row(table, row, found);
	s->kernels->add_scaled(s->x + (size_t)at * table->columns, found, 1.0f, table->columns);
}

static void embed_row(struct dn_step *s, const void *unused, uint32_t row)
{
	const struct dn_globals *g = &s->model->globals;
	const struct dn_row *r = &s->rows[row];
	const uint32_t second = s->runs[r->run].second;

	(void)unused;
	if (g->types.rows)
		add_from(s, row, &g->types,
			 second && r->position >= second && g->types.rows > 1 ? 1 : 0);
	if (g->positions.rows)
		add_from(s, row, &g->positions, r->position);
}

void dn_block_embed_encoder(struct dn_step *s)
{
	dn_block_embed(s);
	dn_for_rows(s, s->n, embed_row, NULL, s->model->hparams.dim);
	dn_block_norm_stream(s, &s->model->globals.embedding_norm);
}

void dn_layer_encoder(struct dn_step *s, uint32_t i)
{
	static const struct dn_norm none;
	const struct dn_layer *l = &s->model->layers[i];

	dn_block_norm(s, &none);
	dn_block_attention(s, i);
	dn_block_add(s, &l->attention_output, &s->attended, &none);
	dn_block_norm_stream(s, &l->attention_post_norm);
	dn_block_norm(s, &none);
	dn_block_ffn(s, i);
	dn_block_add(s, &l->down, &s->hidden, &none);
	dn_block_norm_stream(s, &l->ffn_post_norm);
}
