/* SPDX-License-Identifier: MIT */

#include "engine/kv.h"

#include "engine/context.h"

static uint32_t widest_window(const struct dn_model *m)
{
	uint32_t widest = 0;

	for (uint32_t i = 0; i < m->hparams.n_layers; i++)
		widest = DN_MAX(widest, m->layers[i].window);
	return widest;
}

static bool stores(const struct dn_model *m, uint32_t i)
{
	return m->layers[i].n_heads && m->layers[i].cache == i;
}

/* At most 512 layers of 2 * 2^16 * 1024 bytes, and of states of 2^31 (hparams.c, recurrent.c). */
void dn_kv_lay(struct dn_model *m, enum dn_kv_type type, uint64_t ret_bytes[DN_POOL_COUNT])
{
	for (int p = 0; p < DN_POOL_COUNT; p++)
		ret_bytes[p] = 0;
	for (uint32_t i = 0; i < m->hparams.n_layers; i++) {
		struct dn_layer *l = &m->layers[i];
		struct dn_recurrent *r = &l->recurrent;
		uint64_t *bytes = &ret_bytes[dn_kv_pool_of(l)];

		if (stores(m, i)) {
			l->offset = (size_t)*bytes;
			*bytes += 2ULL * l->n_kv_heads * dn_kv_head_bytes(l->head_dim, type);
		}
		if (!r->channels)
			continue;
		bytes = &ret_bytes[DN_POOL_STATE];
		r->history = (size_t)*bytes;
		*bytes += DN_ROUND_UP(
			(r->convolution.w.columns - 1ULL) * r->channels * sizeof(float), 64ULL);
		r->matrices = (size_t)*bytes;
		*bytes += DN_ROUND_UP((uint64_t)r->heads * r->keys * r->values * sizeof(float),
				      64ULL);
	}
	for (uint32_t i = 0; i < m->hparams.n_layers; i++)
		m->layers[i].offset = m->layers[m->layers[i].cache].offset;
}

void dn_kv_count(const struct dn_model *m, const struct dn_context_options *o,
		 uint64_t ret_blocks[DN_POOL_COUNT])
{
	const uint64_t whole = DN_DIV_ROUND_UP((uint64_t)o->context, DN_KV_BLOCK);
	const uint64_t window = DN_DIV_ROUND_UP((uint64_t)widest_window(m), DN_KV_BLOCK) + 1;
	/* What a step of the largest size sees and writes, and what checkpoints hold. */
	const uint64_t kept =
		window + DN_DIV_ROUND_UP((uint64_t)o->batch, DN_KV_BLOCK) + DN_CHECKPOINTS * window;

	/* Each sequence may have to copy one shared block before it writes. */
	ret_blocks[DN_POOL_ALL] = o->sequences * (whole + 1);
	ret_blocks[DN_POOL_WINDOW] = o->sequences * (DN_MIN(whole, kept) + 1);
	ret_blocks[DN_POOL_STATE] = o->sequences * (DN_CHECKPOINTS + 2ULL);
}

int dn_kv_init(struct dn_kv *kv, struct dn_model *m, const struct dn_context_options *o,
	       struct dn_error *err)
{
	static const char *const names[DN_POOL_COUNT] = { "the KV cache", "the windows' KV cache",
							  "the recurrent state" };
	uint64_t bytes[DN_POOL_COUNT];
	uint64_t blocks[DN_POOL_COUNT];
	int r = 0;

	*kv = (struct dn_kv){ .type = o->kv, .window = widest_window(m) };
	dn_kv_lay(m, o->kv, bytes);
	dn_kv_count(m, o, blocks);
	for (int p = 0; r >= 0 && p < DN_POOL_COUNT; p++)
		r = dn_block_pool_init(&kv->pools[p], (size_t)bytes[p], (uint32_t)blocks[p],
				       names[p], err);
	return r;
}

void dn_kv_done(struct dn_kv *kv)
{
	for (int p = 0; p < DN_POOL_COUNT; p++)
		dn_block_pool_done(&kv->pools[p]);
	*kv = (struct dn_kv){ 0 };
}
