/* SPDX-License-Identifier: MIT */

#include "engine/grammar/token-index.h"

#include <stdlib.h>
#include <string.h>

#include <dunlin/tokenizer.h>

/* States of some grammars, and masks: for a few hundred of them an answer does not wait. */
#define STATES_BYTES ((uint64_t)6 << 20)
#define MASKS	     192
/* While one is compiled: its text, that as JSON, its expressions. */
#define COMPILE_BYTES ((uint64_t)8 << 20)

uint64_t dn_grammars_most(uint32_t vocabulary)
{
	return STATES_BYTES + MASKS * (uint64_t)DN_DIV_ROUND_UP(vocabulary, 64) * sizeof(uint64_t);
}

uint64_t dn_grammars_memory(uint32_t vocabulary)
{
	return COMPILE_BYTES + dn_grammars_most(vocabulary) +
	       vocabulary * (uint64_t)sizeof(struct dn_index_token);
}

const char *dn_token_index_bytes(const struct dn_token_index *index, uint32_t token,
				 size_t *ret_size)
{
	enum dn_token_kind kind;
	const char *bytes;

	if (token >= index->vocabulary || dn_tokenizer_ends(index->tokenizer, token))
		return NULL;
	kind = dn_tokenizer_kind(index->tokenizer, token);
	if (kind != DN_TOKEN_NORMAL && kind != DN_TOKEN_USER_DEFINED && kind != DN_TOKEN_BYTE)
		return NULL;
	bytes = dn_tokenizer_bytes(index->tokenizer, token, ret_size);
	return bytes && *ret_size > 0 && *ret_size <= DN_TOKEN_LONGEST ? bytes : NULL;
}

static uint32_t class_of(size_t size)
{
	return size <= DN_TOKEN_SHORT ? 0 : size <= DN_TOKEN_MIDDLE ? 1 : 2;
}

static int compare(const void *a, const void *b)
{
	const struct dn_index_token *x = a;
	const struct dn_index_token *y = b;
	const int order = memcmp(x->bytes, y->bytes, DN_MIN(x->size, y->size));

	if (order != 0)
		return order;
	if (x->size != y->size)
		return x->size < y->size ? -1 : 1;
	return (x->token > y->token) - (x->token < y->token);
}

static void sort_class(struct dn_index_class *it)
{
	uint32_t at = 0;

	if (it->n > 0)
		qsort(it->tokens, it->n, sizeof(*it->tokens), compare);
	for (uint32_t i = 1; i < it->n; i++) {
		const struct dn_index_token *before = &it->tokens[i - 1];
		const uint32_t most = DN_MIN(before->size, it->tokens[i].size);
		uint32_t common = 0;

		while (common < most && before->bytes[common] == it->tokens[i].bytes[common])
			common++;
		it->tokens[i].common = common;
	}
	for (uint32_t byte = 0; byte <= 256; byte++) {
		while (at < it->n && it->tokens[at].bytes[0] < byte)
			at++;
		it->starts[byte] = at;
	}
}

static void fill(struct dn_token_index *index)
{
	for (uint32_t token = 0; token < index->vocabulary; token++) {
		size_t size = 0;
		const char *bytes = dn_token_index_bytes(index, token, &size);
		struct dn_index_class *it = &index->classes[class_of(size)];

		if (dn_tokenizer_ends(index->tokenizer, token))
			index->ends[index->n_ends++] = token;
		if (!bytes)
			continue;
		it->tokens[it->n++] = (struct dn_index_token){
			.bytes = (const uint8_t *)bytes,
			.size = (uint32_t)size,
			.token = token,
		};
		index->lengths[2] = DN_MAX(index->lengths[2], (uint32_t)size);
	}
	for (uint32_t k = 0; k < DN_TOKEN_CLASSES; k++)
		sort_class(&index->classes[k]);
}

int dn_token_index_new(const struct dn_tokenizer *tokenizer, struct dn_token_index **ret_index,
		       struct dn_error *err)
{
	struct dn_token_index *index = calloc(1, sizeof(*index));
	uint32_t counts[DN_TOKEN_CLASSES] = { 0 };
	bool good = index != NULL;
	uint32_t n_ends = 0;

	if (index) {
		index->tokenizer = tokenizer;
		index->vocabulary = dn_tokenizer_size(tokenizer);
		index->words = DN_DIV_ROUND_UP(index->vocabulary, 64);
		index->lengths[0] = DN_TOKEN_SHORT;
		index->lengths[1] = DN_TOKEN_MIDDLE;
		index->account.most = dn_grammars_most(index->vocabulary);
		for (uint32_t token = 0; token < index->vocabulary; token++) {
			size_t size = 0;

			if (dn_token_index_bytes(index, token, &size))
				counts[class_of(size)]++;
			n_ends += dn_tokenizer_ends(tokenizer, token);
		}
		index->ends = malloc((n_ends + (size_t)1) * sizeof(*index->ends));
		good = index->ends != NULL;
	}
	for (uint32_t k = 0; good && k < DN_TOKEN_CLASSES; k++) {
		index->classes[k].tokens =
			malloc((counts[k] + (size_t)1) * sizeof(struct dn_index_token));
		good = index->classes[k].tokens != NULL;
	}
	if (!good) {
		dn_token_index_free(index);
		return dn_error_memory(err, "an index of tokens", sizeof(*index));
	}
	fill(index);
	*ret_index = index;
	return 0;
}

struct dn_token_index *dn_token_index_free(struct dn_token_index *index)
{
	if (!index)
		return NULL;
	for (uint32_t k = 0; k < DN_TOKEN_CLASSES; k++)
		free(index->classes[k].tokens);
	free(index->ends);
	free(index);
	return NULL;
}
