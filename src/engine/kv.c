/* SPDX-License-Identifier: MIT */

#include "engine/kv.h"

#include <stdlib.h>

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

/* At most 512 layers of 2 * 2^16 * 1024 bytes (hparams.c). */
void dn_kv_lay(const struct dn_model *m, enum dn_kv_type type, size_t *ret_offsets,
	       uint64_t ret_bytes[DN_POOL_COUNT])
{
	ret_bytes[DN_POOL_ALL] = ret_bytes[DN_POOL_WINDOW] = 0;
	ret_bytes[DN_POOL_STATE] = m->state_bytes;
	for (uint32_t i = 0; i < m->hparams.n_layers; i++) {
		const struct dn_layer *l = &m->layers[i];
		uint64_t *bytes = &ret_bytes[dn_kv_pool_of(l)];

		if (!stores(m, i))
			continue;
		if (ret_offsets)
			ret_offsets[i] = (size_t)*bytes;
		*bytes += 2ULL * l->n_kv_heads * dn_kv_head_bytes(l->head_dim, type);
	}
}

/* At most 512 layers of 2^31 bytes (hparams.c). */
uint64_t dn_kv_lay_state(struct dn_model *m)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < m->hparams.n_layers; i++) {
		struct dn_recurrent *r = &m->layers[i].recurrent;

		if (!r->channels)
			continue;
		r->history = (size_t)bytes;
		bytes += DN_ROUND_UP(
			(r->convolution.w.columns - 1ULL) * r->channels * sizeof(float), 64ULL);
		r->matrices = (size_t)bytes;
		bytes += DN_ROUND_UP((uint64_t)r->heads * r->keys * r->values * sizeof(float),
				     64ULL);
	}
	return bytes;
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

int dn_kv_init(struct dn_kv *kv, const struct dn_model *m, const struct dn_context_options *o,
	       struct dn_error *err)
{
	static const char *const names[DN_POOL_COUNT] = { "the KV cache", "the windows' KV cache",
							  "the recurrent state" };
	uint64_t bytes[DN_POOL_COUNT];
	uint64_t blocks[DN_POOL_COUNT];
	int r = 0;

	*kv = (struct dn_kv){ .type = o->kv, .window = widest_window(m) };
	kv->offsets = calloc(m->hparams.n_layers, sizeof(*kv->offsets));
	if (!kv->offsets)
		return dn_error_memory(err, names[0], m->hparams.n_layers * sizeof(*kv->offsets));
	dn_kv_lay(m, o->kv, kv->offsets, bytes);
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
	free(kv->offsets);
	*kv = (struct dn_kv){ 0 };
}
