/* SPDX-License-Identifier: MIT */
/*
 * A template, a NUL, its variables as JSON (without: ones whose every text holds a mark). Whatever
 * they are, rendering ends, its spans add up, and nothing of the variables is trusted.
 */

#include <dunlin/error.h>
#include <dunlin/template.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

/* A code point of private use, in all the texts and keys below. */
#define MARK "\xee\x80\x80"

static const char marked[] =
	"{\"messages\": [{\"role\": \"user" MARK "\", \"content\": \"a" MARK "b  \\n\","
	" \"" MARK "\": \"<" MARK ">\"}, {\"role\": \"" MARK
	"\", \"content\": [{\"type\": \"text\","
	" \"text\": \"" MARK "x\"}], \"n\": 1.5}], \"tools\": [{\"" MARK "k\": [\"" MARK "\", 1]}],"
	" \"u\": \"" MARK "A " MARK "b\", \"l\": [3, \"" MARK "\", null], \"n\": 7,"
	" \"d\": {\"b" MARK "\": \"" MARK "\", \"a\": {}}, \"t\": true}";

static void check(const struct dn_rendered *rendered, bool look_for_marks)
{
	size_t at = 0;

	for (size_t i = 0; i < rendered->n_spans; i++) {
		const struct dn_template_span *span = &rendered->spans[i];

		MUST(span->size > 0 && span->size <= rendered->size - at);
		MUST(i == 0 || span->trusted != rendered->spans[i - 1].trusted);
		if (look_for_marks && span->trusted)
			MUST(!memmem(rendered->text + at, span->size, MARK, 3));
		at += span->size;
	}
	MUST(at == rendered->size && rendered->text[at] == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Small limits: what is slow is found as slow, and not as hanging. */
	struct dn_template_options options = { .struct_size = sizeof(options),
					       .now = 1783252800,
					       .max_output = 1 << 20,
					       .max_steps = 200000 };
	struct dn_error err = DN_ERROR_INIT;
	const char *source = (const char *)data;
	const char *variables = size > 0 ? memchr(data, '\0', size) : NULL;
	size_t n = variables ? (size_t)(variables - source) : size;
	bool own = variables && size - n > 2;
	/* A template could write the mark itself, or make it with an escape. */
	bool look = !own && !memchr(data, '\\', n) && !memmem(data, n, MARK, 3);
	struct dn_rendered rendered;
	struct dn_template *tmpl;
	int r;

	if (dn_template_new(source, n, &tmpl, &err) < 0) {
		MUST(err.message[0]);
		return 0;
	}
	r = own ? dn_template_render(tmpl, variables + 1, size - n - 1, NULL, &options, &rendered,
				     &err)
		: dn_template_render(tmpl, marked, sizeof(marked) - 1, NULL, &options, &rendered,
				     &err);
	if (r == 0) {
		check(&rendered, look);
		dn_rendered_done(&rendered);
	} else {
		MUST(r < 0);
	}
	dn_template_free(tmpl);
	return 0;
}
