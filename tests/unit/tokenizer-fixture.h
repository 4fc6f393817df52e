/* SPDX-License-Identifier: MIT */
/* The one tokenizer of a test: made from @maker, ended by close_all(). */
#ifndef TESTS_UNIT_TOKENIZER_FIXTURE_H
#define TESTS_UNIT_TOKENIZER_FIXTURE_H

#include <cmocka.h>

#include "tokenizer-maker.h"

static struct maker maker;
static struct dn_gguf *gguf;
static struct dn_tokenizer *tokenizer;

static inline int open_file(struct dn_error *err, struct gguf_builder *builder)
{
	assert_int_equal(maker_open(builder, &gguf), 0);
	return dn_tokenizer_new(gguf, NULL, &tokenizer, err);
}

/* @extra adds to the file; may be NULL. */
static inline int open_maker(struct dn_error *err, void (*extra)(struct gguf_builder *builder))
{
	struct gguf_builder builder;

	gguf_builder_init(&builder);
	maker_write(&maker, &builder);
	if (extra)
		extra(&builder);
	return open_file(err, &builder);
}

static inline void must_open(void (*extra)(struct gguf_builder *builder))
{
	struct dn_error err = DN_ERROR_INIT;

	if (open_maker(&err, extra) < 0)
		fail_msg("%s", err.message);
	assert_non_null(tokenizer);
}

static inline int close_all(void **state)
{
	(void)state;
	tokenizer = dn_tokenizer_free(tokenizer);
	gguf = dn_gguf_free(gguf);
	return 0;
}

#endif
