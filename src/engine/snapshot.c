/* SPDX-License-Identifier: MIT */
/*
 * A sequence's memory on its way out of a process and back.
 *
 * A header that binds it to the model, its adapters, level, cache type and layout, and says where
 * its checkpoints are; then the blocks of all layers, those blocks of windows that are kept, the
 * state and those of the checkpoints, each as it is in memory. Slots behind the last token are written as
 * zeros, so that nothing of another sequence leaves with them. What comes back is checked in size
 * and binding; its numbers are taken as they are, so a snapshot is to be kept where only its owner
 * writes.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "engine/adapter.h"
#include "engine/context.h"

#define SNAPSHOT_MAGIC	 0x4e53444eU /* "NDSN" */
#define SNAPSHOT_VERSION 4U
/* Of each weight, that its fingerprint reads: fine-tunings may leave most of them as they were. */
#define WEIGHT_PART ((size_t)256)

struct snapshot_header {
	uint32_t magic;
	uint32_t version;
	uint64_t model; /* fingerprint(), and how its positions turn here */
	uint32_t level; /* bits differ between ref and the others */
	uint32_t kv;
	uint32_t block_tokens;
	uint32_t length;
	uint32_t n_checkpoints;
	uint32_t checkpoints[DN_CHECKPOINTS]; /* their positions; 0 behind the last */
	uint32_t reserved;
	uint64_t block_bytes[DN_POOL_COUNT];
};

/* FNV-1a */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
	return hash;
}

#define HASH(hash, field) hash_bytes(hash, &(field), sizeof(field))

/* An adapter may change few matrices, and those little: a part of each. */
static uint64_t hash_adapter(uint64_t hash, const struct dn_adapter *adapter)
{
	const struct dn_weight_set *set = &adapter->set;

	for (size_t i = 0; i < set->n_weights; i++) {
		const struct dn_weight *w = &set->weights[i];

		hash = hash_bytes(hash, w->tensor->name.data, w->tensor->name.size);
		hash = hash_bytes(hash, w->tensor->dims, sizeof(w->tensor->dims));
		hash = hash_bytes(hash, set->region + w->offset, DN_MIN(w->bytes, (size_t)1024));
	}
	for (size_t i = 0; set->n_weights && i < adapter->n_pairs; i++) {
		const float scale = adapter->pairs[i].parts[0].scale;

		hash = hash_bytes(hash, &scale, sizeof(scale));
	}
	return hash;
}

/* What numbers depend on and shapes do not say. */
static uint64_t hash_hparams(uint64_t hash, const struct dn_hparams *h)
{
	hash = HASH(hash, h->epsilon);
	hash = HASH(hash, h->attention_scale);
	hash = HASH(hash, h->attention_softcap);
	hash = HASH(hash, h->embedding_scale);
	hash = HASH(hash, h->residual_scale);
	hash = HASH(hash, h->experts_used);
	return HASH(hash, h->value_norm);
}

static uint64_t hash_layer(uint64_t hash, const struct dn_layer *l)
{
	hash = HASH(hash, l->n_heads);
	hash = HASH(hash, l->n_kv_heads);
	hash = HASH(hash, l->head_dim);
	hash = HASH(hash, l->window);
	hash = HASH(hash, l->rope);
	return HASH(hash, l->cache);
}

/* By how much each position turns: rope factors may be others in a longer context. */
static uint64_t hash_positions(uint64_t hash, const struct dn_context *c)
{
	for (int i = 0; i < DN_ROPE_COUNT; i++) {
		const struct dn_rope *rope = &c->model->hparams.ropes[i];

		hash = HASH(hash, rope->magnitude);
		hash = hash_bytes(hash, c->frequencies[i],
				  rope->dims / 2 * sizeof(*c->frequencies[i]));
	}
	return hash;
}

static uint64_t fingerprint(const struct dn_model *m)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	hash = hash_bytes(hash, m->arch->name, strlen(m->arch->name));
	for (size_t i = 0; i < dn_gguf_n_tensors(m->gguf); i++) {
		const struct dn_gguf_tensor *t = dn_gguf_tensor(m->gguf, i);

		hash = hash_bytes(hash, t->name.data, t->name.size);
		hash = hash_bytes(hash, t->dims, sizeof(t->dims));
		hash = hash_bytes(hash, &t->offset, sizeof(t->offset));
		hash = hash_bytes(hash, &t->type, sizeof(t->type));
	}
	hash = hash_hparams(hash, &m->hparams);
	for (uint32_t i = 0; i < m->hparams.n_layers; i++)
		hash = hash_layer(hash, &m->layers[i]);
	for (size_t i = 0; i < m->n_weights; i++)
		hash = hash_bytes(hash, m->region + m->weights[i].offset,
				  DN_MIN(m->weights[i].bytes, WEIGHT_PART));
	for (uint32_t i = 0; i < m->n_adapters; i++)
		hash = hash_adapter(hash, m->adapters[i]);
	return hash;
}

static struct snapshot_header header_of(const struct dn_sequence *s)
{
	const struct dn_context *c = s->context;
	struct snapshot_header header = {
		.magic = SNAPSHOT_MAGIC,
		.version = SNAPSHOT_VERSION,
		.model = hash_positions(fingerprint(c->model), c),
		.level = c->kernels->level == DN_LEVEL_REF ? 0 : 1,
		.kv = c->kv.type,
		.block_tokens = DN_KV_BLOCK,
		.length = s->length,
		.n_checkpoints = s->n_checkpoints,
	};

	for (uint32_t i = 0; i < s->n_checkpoints; i++)
		header.checkpoints[i] = s->checkpoints[i].position;
	for (int p = 0; p < DN_POOL_COUNT; p++)
		header.block_bytes[p] = c->kv.pools[p].block_bytes;
	return header;
}

/* Whether block @number of a pool is part of the snapshot. */
static bool holds(const struct dn_sequence *s, enum dn_kv_pool pool, uint32_t number)
{
	return s->context->kv.pools[pool].block_bytes &&
	       (pool == DN_POOL_ALL || dn_sequence_keeps(s, number));
}

uint64_t dn_sequence_save_size(const struct dn_sequence *s)
{
	const struct dn_kv *kv = &s->context->kv;
	uint64_t size = sizeof(struct snapshot_header);

	for (int p = DN_POOL_ALL; p <= DN_POOL_WINDOW; p++)
		for (uint32_t i = 0; i < s->n_blocks; i++)
			if (holds(s, (enum dn_kv_pool)p, i))
				size += kv->pools[p].block_bytes;
	if (s->state)
		size += (1ULL + s->n_checkpoints) * kv->pools[DN_POOL_STATE].block_bytes;
	return size;
}

/* Zeros the slots of a head's part of a block from @used tokens on; columns of keys, rows of values. */
static void clear_part(uint8_t *part, const struct dn_layer *l, enum dn_kv_type type, uint32_t used)
{
	const uint32_t row = dn_kv_row(l->head_dim, type);
	const uint32_t scales = type == DN_KV_Q8_0 ? row / 32 : 0;
	const size_t element = type == DN_KV_F32 ? 4 : type == DN_KV_F16 ? 2 : 1;
	const size_t slots = DN_KV_BLOCK - used;
	const size_t elements = (size_t)row * DN_KV_BLOCK * element;
	uint8_t *keys = part;
	uint8_t *values = part + dn_kv_head_bytes(l->head_dim, type);

	for (uint32_t d = 0; d < row; d++)
		memset(keys + ((size_t)d * DN_KV_BLOCK + used) * element, 0, slots * element);
	memset(values + (size_t)used * row * element, 0, slots * row * element);
	for (uint32_t d = 0; d < scales; d++) {
		const size_t at = elements + ((size_t)d * DN_KV_BLOCK + used) * 2;

		memset(keys + at, 0, slots * 2);
		memset(values + at, 0, slots * 2);
	}
}

static void clear_slots(const struct dn_context *c, enum dn_kv_pool pool, uint8_t *block,
			uint32_t used)
{
	const struct dn_model *m = c->model;

	for (uint32_t i = 0; i < m->hparams.n_layers; i++) {
		const struct dn_layer *l = &m->layers[i];

		if (!l->n_heads || l->cache != i || dn_kv_pool_of(l) != pool)
			continue;
		for (uint32_t head = 0; head < l->n_kv_heads; head++)
			clear_part(block + dn_kv_offset(&c->kv, l, head), l, c->kv.type, used);
	}
}

/* The last block of a pool, as a copy without what lies behind the last token. */
static int save_partial(const struct dn_sequence *s, enum dn_kv_pool pool, int fd,
			struct dn_error *err)
{
	const size_t bytes = s->context->kv.pools[pool].block_bytes;
	DN_AUTO_FREE uint8_t *copy = malloc(bytes);

	if (!copy)
		return dn_error_memory(err, "a snapshot", bytes);
	memcpy(copy, s->blocks[pool][s->n_blocks - 1], bytes);
	clear_slots(s->context, pool, copy, s->length % DN_KV_BLOCK);
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the cleanup attribute frees it */
	return dn_write_whole(fd, copy, bytes, "the snapshot", err);
}

static int save_blocks(const struct dn_sequence *s, enum dn_kv_pool pool, int fd,
		       struct dn_error *err)
{
	const size_t bytes = s->context->kv.pools[pool].block_bytes;
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < s->n_blocks; i++) {
		if (!holds(s, pool, i))
			continue;
		if (i == s->length / DN_KV_BLOCK)
			r = save_partial(s, pool, fd, err);
		else
			r = dn_write_whole(fd, s->blocks[pool][i], bytes, "the snapshot", err);
	}
	return r;
}

static int save_states(const struct dn_sequence *s, int fd, struct dn_error *err)
{
	const size_t bytes = s->context->kv.pools[DN_POOL_STATE].block_bytes;
	int r;

	if (!s->state)
		return 0;
	r = dn_write_whole(fd, s->state, bytes, "the snapshot", err);
	for (uint32_t i = 0; r >= 0 && i < s->n_checkpoints; i++)
		r = dn_write_whole(fd, s->checkpoints[i].state, bytes, "the snapshot", err);
	return r;
}

int dn_sequence_save(const struct dn_sequence *s, int fd, struct dn_error *err)
{
	const struct snapshot_header header = header_of(s);
	int r;

	r = dn_write_whole(fd, &header, sizeof(header), "the snapshot", err);
	if (r >= 0)
		r = save_blocks(s, DN_POOL_ALL, fd, err);
	if (r >= 0)
		r = save_blocks(s, DN_POOL_WINDOW, fd, err);
	return r < 0 ? r : save_states(s, fd, err);
}

static int check_header(const struct dn_sequence *s, const struct snapshot_header *have,
			struct dn_error *err)
{
	const struct snapshot_header want = header_of(s);
	uint32_t before = 0;

	if (have->magic != want.magic || have->version != want.version)
		return dn_error_set(err, EINVAL, "this is no snapshot of version %u",
				    SNAPSHOT_VERSION);
	if (have->model != want.model || have->level != want.level || have->kv != want.kv ||
	    have->block_tokens != want.block_tokens ||
	    memcmp(have->block_bytes, want.block_bytes, sizeof(want.block_bytes)) != 0)
		return dn_error_set(
			err, EINVAL,
			"the snapshot is of another model, adapter, level or cache type");
	if (have->length > s->context->length)
		return dn_error_set(err, ENOBUFS, "the snapshot has %u tokens, the context %u",
				    have->length, s->context->length);
	if (have->n_checkpoints > DN_CHECKPOINTS)
		return dn_error_set(err, EINVAL, "the snapshot has %u checkpoints, at most %d",
				    have->n_checkpoints, DN_CHECKPOINTS);
	for (uint32_t i = 0; i < have->n_checkpoints; i++) {
		if (have->checkpoints[i] <= before || have->checkpoints[i] > have->length ||
		    have->checkpoints[i] % DN_KV_BLOCK)
			return dn_error_set(err, EINVAL,
					    "the snapshot's checkpoint %u is at token %u of %u", i,
					    have->checkpoints[i], have->length);
		before = have->checkpoints[i];
	}
	return 0;
}

/* Takes every block that the header says will come; on failure those taken stay the sequence's. */
static int take_blocks(struct dn_sequence *s, const struct snapshot_header *have,
		       struct dn_error *err)
{
	struct dn_block_pool *pools = s->context->kv.pools;
	const uint32_t states =
		pools[DN_POOL_STATE].block_bytes && have->length ? 1 + have->n_checkpoints : 0;
	bool room = pools[DN_POOL_STATE].n_free >= states;

	s->length = have->length;
	for (uint32_t i = 0; i < have->n_checkpoints; i++)
		s->checkpoints[i] = (struct dn_checkpoint){ have->checkpoints[i], NULL };
	s->n_checkpoints = have->n_checkpoints;
	for (uint32_t i = 0; room && i < DN_DIV_ROUND_UP(have->length, DN_KV_BLOCK); i++) {
		s->n_blocks = i + 1;
		for (int p = DN_POOL_ALL; p <= DN_POOL_WINDOW; p++) {
			if (!holds(s, (enum dn_kv_pool)p, i))
				continue;
			room &= pools[p].n_free > 0;
			if (room)
				s->blocks[p][i] = dn_block_take(&pools[p]);
		}
	}
	if (!room)
		return dn_error_set(err, ENOSPC,
				    "the cache has no room for a snapshot of %u tokens",
				    have->length);
	if (states)
		s->state = dn_block_take(&pools[DN_POOL_STATE]);
	for (uint32_t i = 0; states && i < s->n_checkpoints; i++)
		s->checkpoints[i].state = dn_block_take(&pools[DN_POOL_STATE]);
	return 0;
}

static int read_blocks(struct dn_sequence *s, int fd, struct dn_error *err)
{
	const struct dn_block_pool *pools = s->context->kv.pools;
	const size_t state_bytes = pools[DN_POOL_STATE].block_bytes;
	int r = 0;

	for (int p = DN_POOL_ALL; p <= DN_POOL_WINDOW; p++)
		for (uint32_t i = 0; r >= 0 && i < s->n_blocks; i++)
			if (s->blocks[p][i])
				r = dn_read_whole(fd, s->blocks[p][i], pools[p].block_bytes,
						  "the snapshot", err);
	if (r >= 0 && s->state)
		r = dn_read_whole(fd, s->state, state_bytes, "the snapshot", err);
	for (uint32_t i = 0; r >= 0 && s->state && i < s->n_checkpoints; i++)
		r = dn_read_whole(fd, s->checkpoints[i].state, state_bytes, "the snapshot", err);
	return r;
}

int dn_sequence_restore(struct dn_sequence *s, int fd, struct dn_error *err)
{
	struct snapshot_header have;
	int r;

	if (s->length)
		return dn_error_set(err, EINVAL, "a snapshot is restored into an empty sequence");
	r = dn_read_whole(fd, &have, sizeof(have), "the snapshot", err);
	if (r >= 0)
		r = check_header(s, &have, err);
	if (r < 0)
		return r;
	r = take_blocks(s, &have, err);
	if (r >= 0)
		r = read_blocks(s, fd, err);
	if (r < 0)
		(void)dn_sequence_cut(s, 0);
	return r;
}
