/* SPDX-License-Identifier: MIT */
/* Tokens to text, a token at a time: bytes wait until they are a whole UTF-8 sequence. */

#include <dunlin/error.h>
#include <dunlin/tokenizer.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/tokenizer-internal.h"

/* U+FFFD */
static const char replacement[] = { '\xef', '\xbf', '\xbd' };

/* How many bytes a sequence has that begins with @lead; 0 where none does (RFC 3629). */
static unsigned int sequence_size(uint8_t lead)
{
	if (lead < 0x80)
		return 1;
	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Whether @byte can stand at place @at (1 to 3) of a sequence that begins with @lead. */
static bool continues(uint8_t lead, unsigned int at, uint8_t byte)
{
	if ((byte & 0xc0) != 0x80)
		return false;
	if (at != 1)
		return true;
	switch (lead) {
	case 0xe0:
		return byte >= 0xa0; /* shorter forms exist */
	case 0xed:
		return byte < 0xa0; /* surrogates */
	case 0xf0:
		return byte >= 0x90; /* shorter forms exist */
	case 0xf4:
		return byte < 0x90; /* above U+10FFFF */
	default:
		return true;
	}
}

/* Adds one byte to the state; writes what is settled by it (at most 3 + 4 bytes). */
static size_t feed(struct dn_detokenizer *state, uint8_t byte, char *out)
{
	size_t n = 0;

	if (state->n_pending && !continues(state->pending[0], state->n_pending, byte)) {
		/* One mark for a broken sequence, as the Unicode standard recommends (3.9). */
		memcpy(out, replacement, 3);
		n = 3;
		state->n_pending = 0;
	}
	if (!state->n_pending && sequence_size(byte) < 2) {
		if (byte < 0x80) {
			out[n++] = (char)byte;
			return n;
		}
		memcpy(out + n, replacement, 3);
		return n + 3;
	}
	state->pending[state->n_pending++] = byte;
	if (state->n_pending == sequence_size(state->pending[0])) {
		memcpy(out + n, state->pending, state->n_pending);
		n += state->n_pending;
		state->n_pending = 0;
	}
	return n;
}

/* Writes to @out where it is not NULL; returns the bytes. @state moves on. */
static size_t feed_all(struct dn_detokenizer *state, const char *bytes, size_t size, char *out)
{
	char piece[8];
	size_t n = 0;

	for (size_t i = 0; i < size; i++) {
		size_t more = feed(state, (uint8_t)bytes[i], piece);

		if (out)
			memcpy(out + n, piece, more);
		n += more;
	}
	return n;
}

uint32_t dn_detokenizer_bound(const char *text, size_t size)
{
	struct dn_detokenizer literal = { 0 };
	struct dn_detokenizer spelt = { 0 };
	char raw[DN_TOKEN_BYTES_MAX];
	size_t n_raw = dn_alphabet_decode(text, size, raw);
	size_t a = feed_all(&literal, text, size, NULL) + literal.n_pending;
	size_t b = feed_all(&spelt, raw, n_raw, NULL) + spelt.n_pending;

	return (uint32_t)DN_MAX(DN_MAX(a, b), size);
}

/* A state from outside: what is in it must be the beginning of a sequence. */
static void check_state(struct dn_detokenizer *state)
{
	if (state->n_pending > 3)
		state->n_pending = 0;
}

int dn_tokenizer_decode(const struct dn_tokenizer *tokenizer, struct dn_detokenizer *state,
			uint32_t token, bool special, char *out, size_t size)
{
	const struct dn_vocabulary *vocabulary = &tokenizer->vocabulary;
	struct dn_detokenizer after = *state;
	char raw[DN_TOKEN_BYTES_MAX];
	struct dn_text bytes = { raw, 0 };
	uint8_t kind;

	if (token >= vocabulary->n_tokens)
		return -ERANGE;
	kind = vocabulary->entries[token].kind;
	if (kind == DN_TOKEN_UNUSED || (!special && dn_vocabulary_is_guarded(vocabulary, token)))
		return 0;
	bytes.size = dn_vocabulary_spell(vocabulary, token, raw);
	if (tokenizer->space_prefix && !state->started && bytes.size && raw[0] == ' ') {
		bytes.data++;
		bytes.size--;
	}
	check_state(&after);
	if (size < 3 * bytes.size + 8) {
		/* Rare: count first, so that a short buffer loses nothing. */
		struct dn_detokenizer trial = after;

		if (feed_all(&trial, bytes.data, bytes.size, NULL) > size)
			return -ENOBUFS;
	}
	after.started = true;
	*state = after;
	return (int)feed_all(state, bytes.data, bytes.size, out);
}

int dn_tokenizer_decode_end(const struct dn_tokenizer *tokenizer, struct dn_detokenizer *state,
			    char *out, size_t size)
{
	bool waits = state->n_pending;

	(void)tokenizer;
	if (waits && size < sizeof(replacement))
		return -ENOBUFS;
	*state = (struct dn_detokenizer){ 0 };
	if (!waits)
		return 0;
	memcpy(out, replacement, sizeof(replacement));
	return sizeof(replacement);
}

int dn_spelling_new(const struct dn_vocabulary *vocabulary, struct dn_spelling **ret,
		    struct dn_error *err)
{
	size_t n_offsets = (size_t)vocabulary->n_tokens + 1;
	struct dn_spelling *spelling;
	size_t bytes = 1;

	for (uint32_t i = 0; i < vocabulary->n_tokens; i++)
		bytes += vocabulary->entries[i].size;
	spelling = calloc(1, sizeof(*spelling));
	if (!spelling)
		return dn_error_memory(err, "token texts", sizeof(*spelling));
	/* Memory is set aside now, so that the plan holds; its pages come with the first use. */
	spelling->bytes = malloc(bytes);
	spelling->offsets = malloc(n_offsets * sizeof(*spelling->offsets));
	if (!spelling->bytes || !spelling->offsets) {
		free(spelling->bytes);
		free(spelling->offsets);
		free(spelling);
		return dn_error_memory(err, "token texts", bytes);
	}
	pthread_mutex_init(&spelling->lock, NULL);
	atomic_init(&spelling->ready, false);
	*ret = spelling;
	return 0;
}

struct dn_spelling *dn_spelling_free(struct dn_spelling *spelling)
{
	if (!spelling)
		return NULL;
	pthread_mutex_destroy(&spelling->lock);
	free(spelling->bytes);
	free(spelling->offsets);
	free(spelling);
	return NULL;
}

static void spell_all(struct dn_spelling *spelling, const struct dn_vocabulary *vocabulary)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < vocabulary->n_tokens; i++) {
		spelling->offsets[i] = at;
		at += (uint32_t)dn_vocabulary_spell(vocabulary, i, spelling->bytes + at);
	}
	spelling->offsets[vocabulary->n_tokens] = at;
}

const char *dn_tokenizer_bytes(const struct dn_tokenizer *tokenizer, uint32_t token,
			       size_t *ret_size)
{
	struct dn_spelling *spelling = tokenizer->spelling;

	if (token >= tokenizer->vocabulary.n_tokens)
		return NULL;
	if (!atomic_load_explicit(&spelling->ready, memory_order_acquire)) {
		pthread_mutex_lock(&spelling->lock);
		if (!atomic_load_explicit(&spelling->ready, memory_order_relaxed)) {
			spell_all(spelling, &tokenizer->vocabulary);
			atomic_store_explicit(&spelling->ready, true, memory_order_release);
		}
		pthread_mutex_unlock(&spelling->lock);
	}
	*ret_size = spelling->offsets[token + 1] - spelling->offsets[token];
	return spelling->bytes + spelling->offsets[token];
}
