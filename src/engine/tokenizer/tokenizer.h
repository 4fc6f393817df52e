/* SPDX-License-Identifier: MIT */
#ifndef DUNLIN_ENGINE_TOKENIZER_H
#define DUNLIN_ENGINE_TOKENIZER_H

#include <dunlin/tokenizer.h>

#include "engine/gguf/gguf.h"

/**
 * struct dn_tokenizer_tables - what another tokenizer of the same vocabulary has built (tables.h)
 * @data: four-byte aligned; @size: bytes, 0: there are none
 */
struct dn_tokenizer_tables {
	const uint8_t *data;
	size_t size;
};

/**
 * dn_tokenizer_new() - the vocabulary of a model file
 * @gguf: borrowed for the tokenizer's life (token texts stay in its mapping where they can)
 * @tables: their data borrowed for its life; NULL or empty: all is built
 * @ret_tokenizer: owned by the caller; NULL with return 0 where the file has no vocabulary
 *	(tokenizer.ggml.model absent, "none" or "no_vocab")
 *
 * Return: 0, or a negative errno (-ENOTSUP names a kind or pre-tokenizer that is not known).
 */
DN_MUST_CHECK int dn_tokenizer_new(const struct dn_gguf *gguf,
				   const struct dn_tokenizer_tables *tables,
				   struct dn_tokenizer **ret_tokenizer, struct dn_error *err);
struct dn_tokenizer *dn_tokenizer_free(struct dn_tokenizer *tokenizer);
/* Bytes that the tables take, for the memory plan; computed from counts, before allocation. */
size_t dn_tokenizer_memory(const struct dn_gguf *gguf);

#endif /* DUNLIN_ENGINE_TOKENIZER_H */
