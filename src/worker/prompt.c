/* SPDX-License-Identifier: MIT */
/*
 * From a prompt to ids. In a rendered chat, special tokens count only where the template itself
 * wrote all of their text; everything between two of them is encoded as one text, as if nobody
 * knew where it came from, so that ids are those that the model was trained with.
 */

#include <stdlib.h>
#include <string.h>

#include "worker/internal.h"

struct ids {
	uint32_t *tokens;
	size_t capacity;
	size_t count;
};

static void add_id(struct ids *ids, uint32_t token)
{
	if (ids->count < ids->capacity)
		ids->tokens[ids->count] = token;
	ids->count++;
}

static int add_text(struct dn_worker *worker, struct ids *ids, const char *text, size_t size,
		    unsigned int flags, struct dn_error *err)
{
	size_t used = DN_MIN(ids->count, ids->capacity);
	size_t n = 0;
	int r;

	if (size == 0)
		return 0;
	r = dn_tokenizer_encode(worker->tokenizer, text, size, flags, ids->tokens + used,
				ids->capacity - used, &n, err);
	if (r < 0)
		return r;
	ids->count += n;
	return 0;
}

/* BOS as the model wants it, unless the text brought it. */
static void add_bos(struct dn_worker *worker, struct ids *ids)
{
	uint32_t bos = dn_tokenizer_bos(worker->tokenizer);
	size_t stored = DN_MIN(ids->count, ids->capacity);

	if (!dn_tokenizer_adds_bos(worker->tokenizer) || bos == DN_TOKEN_NONE)
		return;
	if (stored > 0 && ids->tokens[0] == bos)
		return;
	if (stored > 0)
		memmove(ids->tokens + 1, ids->tokens,
			DN_MIN(stored, ids->capacity - 1) * sizeof(uint32_t));
	if (ids->capacity > 0)
		ids->tokens[0] = bos;
	ids->count++;
}

int dn_worker_encode_text(struct dn_worker *worker, const char *text, size_t size, bool special,
			  uint32_t *tokens, size_t capacity, size_t *ret_count,
			  struct dn_error *err)
{
	struct ids ids = { tokens, capacity, 0 };
	int r;

	r = dn_worker_need_tokenizer(worker, err);
	if (r < 0)
		return r;
	r = add_text(worker, &ids, text, size, special ? DN_ENCODE_SPECIAL : 0, err);
	if (r < 0)
		return r;
	add_bos(worker, &ids);
	*ret_count = ids.count;
	return 0;
}

/* By first byte, then the longest first: the first that fits is the one. */
static int compare_specials(const void *a, const void *b)
{
	const struct dn_special *x = a;
	const struct dn_special *y = b;

	if (x->text[0] != y->text[0])
		return (unsigned char)x->text[0] < (unsigned char)y->text[0] ? -1 : 1;
	if (x->size != y->size)
		return x->size > y->size ? -1 : 1;
	return x->token < y->token ? -1 : x->token > y->token;
}

static bool is_special(const struct dn_tokenizer *tokenizer, uint32_t token)
{
	enum dn_token_kind kind = dn_tokenizer_kind(tokenizer, token);

	return kind == DN_TOKEN_CONTROL || kind == DN_TOKEN_USER_DEFINED ||
	       kind == DN_TOKEN_UNKNOWN;
}

static int make_specials(struct dn_worker *worker, struct dn_error *err)
{
	uint32_t size = dn_tokenizer_size(worker->tokenizer);
	size_t n = 0;

	if (worker->specials)
		return 0;
	for (uint32_t token = 0; token < size; token++)
		n += is_special(worker->tokenizer, token);
	worker->specials = calloc(n + 1, sizeof(*worker->specials));
	if (!worker->specials)
		return dn_error_memory(err, "special tokens", (n + 1) * sizeof(*worker->specials));
	n = 0;
	for (uint32_t token = 0; token < size; token++) {
		const char *text;
		size_t length;

		if (!is_special(worker->tokenizer, token))
			continue;
		text = dn_tokenizer_bytes(worker->tokenizer, token, &length);
		if (text && length > 0)
			worker->specials[n++] =
				(struct dn_special){ text, (uint32_t)length, token };
	}
	qsort(worker->specials, n, sizeof(*worker->specials), compare_specials);
	worker->n_specials = n;
	return 0;
}

/* The special token whose text begins here and does not go on past @size. */
static const struct dn_special *match(const struct dn_worker *worker, const uint32_t *begins,
				      const char *text, size_t size)
{
	unsigned char byte = (unsigned char)text[0];

	for (uint32_t i = begins[byte]; i < begins[byte + 1]; i++) {
		const struct dn_special *special = &worker->specials[i];

		if (special->size <= size && memcmp(special->text, text, special->size) == 0)
			return special;
	}
	return NULL;
}

/* Where in @specials each first byte begins. */
static void index_bytes(const struct dn_worker *worker, uint32_t begins[257])
{
	uint32_t at = 0;

	for (unsigned int byte = 0; byte < 256; byte++) {
		begins[byte] = at;
		while (at < worker->n_specials &&
		       (unsigned char)worker->specials[at].text[0] == byte)
			at++;
	}
	begins[256] = at;
}

static int encode_spans(struct dn_worker *worker, const struct dn_rendered *rendered,
			const uint32_t begins[257], struct ids *ids, struct dn_error *err)
{
	size_t done = 0; /* all before is encoded, or no part of a text */
	size_t at = 0;
	int r;

	for (size_t i = 0; i < rendered->n_spans; i++) {
		size_t end = at + rendered->spans[i].size;

		while (at < end && rendered->spans[i].trusted) {
			const struct dn_special *special =
				at < done ? NULL
					  : match(worker, begins, rendered->text + at, end - at);

			if (!special) {
				at++;
				continue;
			}
			r = add_text(worker, ids, rendered->text + done, at - done, 0, err);
			if (r < 0)
				return r;
			add_id(ids, special->token);
			at += special->size;
			done = at + dn_tokenizer_skips(worker->tokenizer, special->token,
						       rendered->text + at, rendered->size - at);
		}
		at = end;
	}
	return add_text(worker, ids, rendered->text + done, at - done, 0, err);
}

int dn_worker_encode_chat(struct dn_worker *worker, const struct dn_rendered *rendered,
			  uint32_t *tokens, size_t capacity, size_t *ret_count,
			  struct dn_error *err)
{
	struct ids ids = { tokens, capacity, 0 };
	uint32_t begins[257];
	int r;

	r = dn_worker_need_tokenizer(worker, err);
	if (r < 0)
		return r;
	r = make_specials(worker, err);
	if (r < 0)
		return r;
	index_bytes(worker, begins);
	r = encode_spans(worker, rendered, begins, &ids, err);
	if (r < 0)
		return r;
	add_bos(worker, &ids);
	*ret_count = ids.count;
	return 0;
}

int dn_worker_encode_messages(struct dn_worker *worker, const char *json, size_t size,
			      uint32_t *tokens, size_t capacity, size_t *ret_count, bool *ret_open,
			      struct dn_error *err)
{
	struct dn_rendered rendered;
	int r = dn_worker_render_json(worker, json, size, -1, true, &rendered, ret_open, err);

	if (r < 0)
		return r;
	r = dn_worker_encode_chat(worker, &rendered, tokens, capacity, ret_count, err);
	dn_rendered_done(&rendered);
	return r;
}
