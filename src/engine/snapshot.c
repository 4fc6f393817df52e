/* SPDX-License-Identifier: MIT */
/*
 * A sequence's cache on its way out of a process and back.
 *
 * A header that binds it to the model, cache type and layout, then the sequence's blocks as they
 * are in memory; slots behind the last token are written as zeros, so that nothing of another
 * sequence leaves with them. What comes back is checked in size and binding; its numbers are
 * taken as they are, so a snapshot is to be kept where only its owner writes.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "engine/context.h"

#define SNAPSHOT_MAGIC	 0x4e53444eU /* "NDSN" */
#define SNAPSHOT_VERSION 1U

struct snapshot_header {
	uint32_t magic;
	uint32_t version;
	uint64_t model; /* fingerprint() */
	uint32_t level; /* bits differ between ref and the others */
	uint32_t half;
	uint32_t block_tokens;
	uint32_t length;
	uint64_t block_bytes;
};

/* FNV-1a over what tells models apart without reading their weights: shapes, sizes, names. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
	return hash;
}

static uint64_t fingerprint(const struct dn_model *m)
{
	const struct dn_hparams *h = &m->hparams;
	uint64_t hash = 0xcbf29ce484222325ULL;

	hash = hash_bytes(hash, m->arch->name, strlen(m->arch->name));
	for (size_t i = 0; i < dn_gguf_n_tensors(m->gguf); i++) {
		const struct dn_gguf_tensor *t = dn_gguf_tensor(m->gguf, i);

		hash = hash_bytes(hash, t->name.data, t->name.size);
		hash = hash_bytes(hash, t->dims, sizeof(t->dims));
		hash = hash_bytes(hash, &t->offset, sizeof(t->offset));
		hash = hash_bytes(hash, &t->type, sizeof(t->type));
	}
	/* What shapes do not say, and numbers depend on. */
	hash = hash_bytes(hash, &h->n_heads, sizeof(h->n_heads));
	hash = hash_bytes(hash, &h->rope_dims, sizeof(h->rope_dims));
	hash = hash_bytes(hash, &h->rope_base, sizeof(h->rope_base));
	hash = hash_bytes(hash, &h->rope_scale, sizeof(h->rope_scale));
	hash = hash_bytes(hash, &h->rms_epsilon, sizeof(h->rms_epsilon));
	/* Two fine-tunings of one model differ in every matrix: a part of one tells them apart. */
	return hash_bytes(hash, m->layers[0].q.data, m->layers[0].q.group_bytes);
}

static struct snapshot_header header_of(const struct dn_sequence *s)
{
	const struct dn_context *c = s->context;

	return (struct snapshot_header){
		.magic = SNAPSHOT_MAGIC,
		.version = SNAPSHOT_VERSION,
		.model = fingerprint(c->model),
		.level = c->kernels->level == DN_LEVEL_REF ? 0 : 1,
		.half = c->kv.half,
		.block_tokens = DN_KV_BLOCK,
		.length = s->length,
		.block_bytes = c->kv.block_bytes,
	};
}

uint64_t dn_sequence_save_size(const struct dn_sequence *s)
{
	return sizeof(struct snapshot_header) + s->n_blocks * s->context->kv.block_bytes;
}

/* Zeros the slots of a block from @used tokens on. */
static void clear_slots(const struct dn_kv *kv, uint32_t n_layers, uint8_t *block, uint32_t used)
{
	const size_t slots = DN_KV_BLOCK - used;

	for (uint32_t part = 0; part < n_layers * kv->n_kv_heads; part++) {
		uint8_t *keys = block + (size_t)part * 2 * kv->head_bytes;
		uint8_t *values = keys + kv->head_bytes;

		for (uint32_t d = 0; d < kv->padded_dim; d++)
			memset(keys + ((size_t)d * DN_KV_BLOCK + used) * kv->element, 0,
			       slots * kv->element);
		memset(values + (size_t)used * kv->padded_dim * kv->element, 0,
		       slots * kv->padded_dim * kv->element);
	}
}

int dn_sequence_save(const struct dn_sequence *s, int fd, struct dn_error *err)
{
	const struct snapshot_header header = header_of(s);
	const struct dn_kv *kv = &s->context->kv;
	const uint32_t partial = s->length % DN_KV_BLOCK;
	DN_AUTO_FREE uint8_t *last = NULL;
	int r;

	r = dn_write_whole(fd, &header, sizeof(header), "the snapshot", err);
	for (uint32_t i = 0; r >= 0 && i < s->length / DN_KV_BLOCK; i++)
		r = dn_write_whole(fd, s->blocks[i], kv->block_bytes, "the snapshot", err);
	if (r < 0 || !partial)
		return r;
	last = malloc(kv->block_bytes);
	if (!last)
		return dn_error_memory(err, "a snapshot", kv->block_bytes);
	memcpy(last, s->blocks[s->n_blocks - 1], kv->block_bytes);
	clear_slots(kv, s->context->model->hparams.n_layers, last, partial);
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the cleanup attribute frees it */
	return dn_write_whole(fd, last, kv->block_bytes, "the snapshot", err);
}

int dn_sequence_restore(struct dn_sequence *s, int fd, struct dn_error *err)
{
	struct dn_kv *kv = &s->context->kv;
	const struct snapshot_header want = header_of(s);
	struct snapshot_header have;
	int r;

	if (s->length)
		return dn_error_set(err, EINVAL, "a snapshot is restored into an empty sequence");
	r = dn_read_whole(fd, &have, sizeof(have), "the snapshot", err);
	if (r < 0)
		return r;
	if (have.magic != want.magic || have.version != want.version)
		return dn_error_set(err, EINVAL, "this is no snapshot of version %u",
				    SNAPSHOT_VERSION);
	if (have.model != want.model || have.level != want.level || have.half != want.half ||
	    have.block_tokens != want.block_tokens || have.block_bytes != want.block_bytes)
		return dn_error_set(err, EINVAL,
				    "the snapshot is of another model, level or cache type");
	if (have.length > s->context->length)
		return dn_error_set(err, ENOBUFS, "the snapshot has %u tokens, the context %u",
				    have.length, s->context->length);
	if (dn_kv_blocks_to_grow(kv, s, have.length) > kv->n_free)
		return dn_error_set(err, ENOSPC,
				    "the cache has no room for a snapshot of %u tokens",
				    have.length);
	dn_kv_grow(kv, s, have.length);
	s->length = have.length;
	for (uint32_t i = 0; r >= 0 && i < s->n_blocks; i++)
		r = dn_read_whole(fd, s->blocks[i], kv->block_bytes, "the snapshot", err);
	if (r < 0)
		dn_sequence_cut(s, 0);
	return r;
}
