/* SPDX-License-Identifier: MIT */
/* A tokenizer's tables on their way into a prepared model and back. */
#ifndef DUNLIN_ENGINE_TOKENIZER_TABLES_H
#define DUNLIN_ENGINE_TOKENIZER_TABLES_H

/* IWYU pragma: begin_exports */
#include <stddef.h>

#include "engine/tokenizer/tokenizer.h"
/* IWYU pragma: end_exports */

size_t dn_tokenizer_tables_size(const struct dn_tokenizer *tokenizer);

typedef int dn_tables_put(void *data, const void *bytes, size_t size, struct dn_error *err);
/* Gives dn_tokenizer_tables_size() bytes to @put, in order. */
DN_MUST_CHECK int dn_tokenizer_tables_write(const struct dn_tokenizer *tokenizer,
					    dn_tables_put *put, void *data, struct dn_error *err);

/*
 * Before the tokenizer is built: lets it have what fits the vocabulary. What does not is left, and
 * built.
 */
void dn_tokenizer_tables_take(const struct dn_tokenizer_tables *tables, const struct dn_gguf *gguf,
			      struct dn_tokenizer *tokenizer);

#endif /* DUNLIN_ENGINE_TOKENIZER_TABLES_H */
