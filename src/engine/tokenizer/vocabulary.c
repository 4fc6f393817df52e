/* SPDX-License-Identifier: MIT */
/* The tokens of a model file. Their texts stay in the mapping; what is built are places and hashes. */

#include <dunlin/error.h>
#include <dunlin/tokenizer.h>

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/index.h"
#include "engine/tokenizer/tokenizer-internal.h"

static uint32_t find_hashed(const struct dn_vocabulary *vocabulary, uint64_t hash, const char *text,
			    size_t size)
{
	uint32_t id;

	for (uint32_t i = 0; i < DN_INDEX_PROBES; i++) {
		enum dn_index_seen seen = dn_index_probe(&vocabulary->index, hash, i, &id);

		if (seen == DN_INDEX_EMPTY)
			break;
		if (seen == DN_INDEX_MAYBE && vocabulary->entries[id].size == size &&
		    !memcmp(vocabulary->base + vocabulary->entries[id].offset, text, size))
			return id;
	}
	return DN_TOKEN_NONE;
}

uint32_t dn_vocabulary_find(const struct dn_vocabulary *vocabulary, const char *text, size_t size)
{
	if (!size || size > vocabulary->max_size)
		return DN_TOKEN_NONE;
	return find_hashed(vocabulary, dn_hash_bytes(text, size), text, size);
}

/* The first token that the hash alone does not rule out. */
static uint32_t first_candidate(const struct dn_vocabulary *vocabulary, uint64_t hash)
{
	uint32_t id;

	for (uint32_t i = 0; i < DN_INDEX_PROBES; i++) {
		enum dn_index_seen seen = dn_index_probe(&vocabulary->index, hash, i, &id);

		if (seen == DN_INDEX_EMPTY)
			break;
		if (seen == DN_INDEX_MAYBE)
			return id;
	}
	return DN_TOKEN_NONE;
}

void dn_vocabulary_find_many(const struct dn_vocabulary *vocabulary,
			     struct dn_vocabulary_query *queries, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		queries[i].hash = dn_hash_bytes(queries[i].text, queries[i].size);
		__builtin_prefetch(dn_index_slot(&vocabulary->index, queries[i].hash, 0));
	}
	for (size_t i = 0; i < n; i++) {
		queries[i].token = first_candidate(vocabulary, queries[i].hash);
		if (queries[i].token != DN_TOKEN_NONE)
			__builtin_prefetch(&vocabulary->entries[queries[i].token]);
	}
	for (size_t i = 0; i < n; i++) {
		if (queries[i].token != DN_TOKEN_NONE)
			__builtin_prefetch(dn_vocabulary_text(vocabulary, queries[i].token).data);
	}
	for (size_t i = 0; i < n; i++) {
		struct dn_vocabulary_query *query = &queries[i];
		struct dn_text text;

		if (query->token == DN_TOKEN_NONE)
			continue;
		text = dn_vocabulary_text(vocabulary, query->token);
		if (text.size != query->size || memcmp(text.data, query->text, query->size) != 0)
			query->token =
				find_hashed(vocabulary, query->hash, query->text, query->size);
	}
}

bool dn_vocabulary_is_guarded(const struct dn_vocabulary *vocabulary, uint32_t token)
{
	uint8_t kind = vocabulary->entries[token].kind;

	return kind == DN_TOKEN_CONTROL || kind == DN_TOKEN_UNKNOWN;
}

bool dn_vocabulary_is_plain(const struct dn_vocabulary *vocabulary, uint32_t token)
{
	if (vocabulary->escaped && vocabulary->entries[token].kind == DN_TOKEN_BYTE)
		return false;
	return !dn_vocabulary_is_guarded(vocabulary, token);
}

uint32_t dn_vocabulary_find_plain(const struct dn_vocabulary *vocabulary, const char *text,
				  size_t size)
{
	uint32_t token = dn_vocabulary_find(vocabulary, text, size);

	if (token != DN_TOKEN_NONE && !dn_vocabulary_is_plain(vocabulary, token))
		return DN_TOKEN_NONE;
	return token;
}

size_t dn_vocabulary_spell(const struct dn_vocabulary *vocabulary, uint32_t token, char *out)
{
	struct dn_text text = dn_vocabulary_text(vocabulary, token);

	switch (vocabulary->entries[token].kind) {
	case DN_TOKEN_CONTROL:
	case DN_TOKEN_UNKNOWN:
	case DN_TOKEN_USER_DEFINED:
		/* Bytes as they are. */
		memcpy(out, text.data, text.size);
		return text.size;
	case DN_TOKEN_BYTE:
		if (vocabulary->escaped)
			return dn_escape_decode(text.data, text.size, true, out);
		break;
	default:
		break;
	}
	if (vocabulary->escaped)
		return dn_escape_decode(text.data, text.size, false, out);
	return dn_alphabet_decode(text.data, text.size, out);
}

/* Of two tokens with one text the first is found; the other can still be decoded. */
static bool vocabulary_index(struct dn_vocabulary *vocabulary, uint32_t token, uint64_t hash)
{
	struct dn_text text = dn_vocabulary_text(vocabulary, token);
	uint32_t other;

	for (uint32_t i = 0; i < DN_INDEX_PROBES; i++) {
		enum dn_index_seen seen = dn_index_probe(&vocabulary->index, hash, i, &other);

		if (seen == DN_INDEX_EMPTY) {
			dn_index_put(&vocabulary->index, hash, i, token);
			return true;
		}
		if (seen == DN_INDEX_MAYBE && vocabulary->entries[other].size == text.size &&
		    !memcmp(dn_vocabulary_text(vocabulary, other).data, text.data, text.size))
			return true;
	}
	return false;
}

static int vocabulary_read_kinds(struct dn_vocabulary *vocabulary, const struct dn_gguf *gguf,
				 struct dn_error *err)
{
	const char *key = "tokenizer.ggml.token_type";
	struct dn_gguf_array array;
	uint32_t kind;
	int r;

	r = dn_gguf_get_array(gguf, key, DN_GGUF_I32, &array, err);
	if (r < 0)
		return r;
	if (r == 0) {
		for (uint32_t i = 0; i < vocabulary->n_tokens; i++)
			vocabulary->entries[i].kind = DN_TOKEN_NORMAL;
		return 0;
	}
	if (array.count != vocabulary->n_tokens)
		return dn_error_set(err, EINVAL,
				    "%s: %llu kinds for %u tokens; the file is damaged", key,
				    (unsigned long long)array.count, vocabulary->n_tokens);
	for (uint32_t i = 0; i < vocabulary->n_tokens; i++) {
		memcpy(&kind, array.data + (size_t)i * 4, 4);
		kind = le32toh(kind);
		if (kind > DN_TOKEN_BYTE)
			return dn_error_set(err, EINVAL, "%s[%u]: kind %d is none of 0 to %d", key,
					    i, (int)kind, DN_TOKEN_BYTE);
		/* 0 is "undefined": such a token has no text to give. */
		vocabulary->entries[i].kind = kind ? (uint8_t)kind : DN_TOKEN_UNUSED;
	}
	return 0;
}

static int vocabulary_read_scores(struct dn_vocabulary *vocabulary, const struct dn_gguf *gguf,
				  struct dn_error *err)
{
	const char *key = "tokenizer.ggml.scores";
	struct dn_gguf_array array;
	int r;

	r = dn_gguf_get_array(gguf, key, DN_GGUF_F32, &array, err);
	if (r <= 0)
		return r;
	if (array.count != vocabulary->n_tokens)
		return dn_error_set(err, EINVAL,
				    "%s: %llu scores for %u tokens; the file is damaged", key,
				    (unsigned long long)array.count, vocabulary->n_tokens);
	vocabulary->scores = array.data;
	/* Scores are an order, and what is no number has no place in it. */
	for (uint32_t i = 0; i < vocabulary->n_tokens; i++) {
		float score = dn_vocabulary_score(vocabulary, i);

		if (score != score)
			return dn_error_set(err, EINVAL, "%s[%u] is not a number", key, i);
	}
	return 0;
}

static int vocabulary_read_text(struct dn_vocabulary *vocabulary, uint32_t token,
				struct dn_text text, struct dn_error *err)
{
	struct dn_vocab_entry *entry = &vocabulary->entries[token];

	if (text.size > DN_TOKEN_BYTES_MAX)
		return dn_error_set(err, E2BIG,
				    "tokenizer.ggml.tokens[%u] has %zu bytes; the limit is %d",
				    token, text.size, DN_TOKEN_BYTES_MAX);
	/* The limits keep every offset below 2^31. */
	entry->offset = (uint32_t)(text.data - vocabulary->base);
	entry->size = (uint16_t)text.size;
	vocabulary->max_size = DN_MAX(vocabulary->max_size, (uint32_t)text.size);
	/* Few are longer than a third of the longest before them, so few are measured. */
	if (3 * text.size > vocabulary->longest) {
		uint32_t bound = dn_detokenizer_bound(text.data, text.size);

		vocabulary->longest = DN_MAX(vocabulary->longest, bound);
	}
	return 0;
}

/* In blocks, so that the index's slots are on their way before they are needed. */
static int vocabulary_read_texts(struct dn_vocabulary *vocabulary,
				 const struct dn_gguf_array *array, struct dn_error *err)
{
	const uint8_t *cursor = array->data;
	uint64_t hashes[DN_VOCABULARY_BLOCK];
	int r;

	for (uint32_t base = 0; base < vocabulary->n_tokens; base += DN_VOCABULARY_BLOCK) {
		uint32_t n = DN_MIN(vocabulary->n_tokens - base, (uint32_t)DN_VOCABULARY_BLOCK);

		for (uint32_t i = 0; i < n; i++) {
			struct dn_text text = dn_gguf_next_text(&cursor);

			r = vocabulary_read_text(vocabulary, base + i, text, err);
			if (r < 0)
				return r;
			if (vocabulary->kept_slots)
				continue;
			hashes[i] = dn_hash_bytes(text.data, text.size);
			__builtin_prefetch(dn_index_slot(&vocabulary->index, hashes[i], 0), 1);
		}
		for (uint32_t i = 0; !vocabulary->kept_slots && i < n; i++) {
			if (vocabulary->entries[base + i].size &&
			    !vocabulary_index(vocabulary, base + i, hashes[i]))
				return dn_error_set(
					err, EINVAL,
					"tokenizer.ggml.tokens[%u]: more than %d tokens "
					"share one hash; this is no real vocabulary",
					base + i, DN_INDEX_PROBES);
		}
	}
	return 0;
}

int dn_vocabulary_read(struct dn_vocabulary *vocabulary, const struct dn_gguf *gguf,
		       struct dn_error *err)
{
	const char *key = "tokenizer.ggml.tokens";
	struct dn_gguf_array array;
	int r;

	r = dn_gguf_get_array(gguf, key, DN_GGUF_STRING, &array, err);
	if (r < 0)
		return r;
	if (r == 0 || !array.count)
		return dn_error_set(err, EINVAL,
				    "%s is missing; the file names a tokenizer "
				    "without a vocabulary",
				    key);
	if (array.count > DN_TOKENS_MAX)
		return dn_error_set(err, E2BIG, "%s has %llu tokens; the limit is %u", key,
				    (unsigned long long)array.count, DN_TOKENS_MAX);

	vocabulary->base = (const char *)array.data;
	vocabulary->n_tokens = (uint32_t)array.count;
	vocabulary->entries = calloc(vocabulary->n_tokens, sizeof(*vocabulary->entries));
	if (vocabulary->kept_slots)
		dn_index_of(&vocabulary->index, vocabulary->kept_slots, vocabulary->n_tokens);
	if (!vocabulary->entries ||
	    (!vocabulary->kept_slots && !dn_index_init(&vocabulary->index, vocabulary->n_tokens)))
		return dn_error_memory(err, "the vocabulary's tables",
				       vocabulary->n_tokens * sizeof(*vocabulary->entries));
	r = vocabulary_read_texts(vocabulary, &array, err);
	if (r < 0)
		return r;
	r = vocabulary_read_kinds(vocabulary, gguf, err);
	if (r < 0)
		return r;
	return vocabulary_read_scores(vocabulary, gguf, err);
}

void dn_vocabulary_done(struct dn_vocabulary *vocabulary)
{
	free(vocabulary->entries);
	if (!vocabulary->kept_slots)
		free(vocabulary->index.slots);
	*vocabulary = (struct dn_vocabulary){ 0 };
}
