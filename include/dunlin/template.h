/* SPDX-License-Identifier: MIT */
#ifndef DUNLIN_TEMPLATE_H
#define DUNLIN_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>

DN_BEGIN_DECLS

/* A parsed chat template; immutable, any thread may render it. */
struct dn_template;

/**
 * struct dn_template_span - a stretch of rendered text of one origin
 * @size: bytes
 * @trusted: written by the template itself; else it came from the variables (messages, tools),
 *	and no special token may be recognised in it
 */
struct dn_template_span {
	size_t size;
	bool trusted;
};

/**
 * struct dn_rendered - what a template gave
 * @text: owned, NUL-terminated
 * @spans: owned; neighbours differ in @trusted, the sizes add up to @size
 */
struct dn_rendered {
	char *text;
	size_t size;
	struct dn_template_span *spans;
	size_t n_spans;
};

/**
 * struct dn_template_options - bounds and clock of a rendering
 * @struct_size: sizeof(struct dn_template_options)
 * @now: seconds since 1970 that strftime_now() sees, as UTC; negative: the clock, local time
 * @max_output: bytes; 0: 16 MiB
 * @max_steps: evaluated nodes; 0: 10 million
 */
struct dn_template_options {
	size_t struct_size;
	int64_t now;
	size_t max_output;
	uint64_t max_steps;
};

/**
 * dn_template_new() - parse a chat template (Jinja as models use it)
 * @source: borrowed for the call
 *
 * Return: 0, -EINVAL with line and column of what cannot be parsed, or -ENOMEM.
 */
DN_API DN_MUST_CHECK int dn_template_new(const char *source, size_t size,
					 struct dn_template **ret_template, struct dn_error *err);
DN_API struct dn_template *dn_template_free(struct dn_template *tmpl);

/**
 * dn_template_render() - render with variables
 * @variables: a JSON object; its top-level members are the template's variables
 * @trusted: names of variables whose text counts as the template's own (bos_token, eos_token);
 *	NULL-terminated list, may be NULL
 * @options: may be NULL
 * @ret_rendered: done with dn_rendered_done()
 *
 * Return: 0; -EBADMSG where the template itself raised (the message is its text); -EINVAL on a
 * wrong operation; -E2BIG, -ELOOP when output or steps ran out; -ENOMEM.
 */
DN_API DN_MUST_CHECK int dn_template_render(const struct dn_template *tmpl, const char *variables,
					    size_t size, const char *const *trusted,
					    const struct dn_template_options *options,
					    struct dn_rendered *ret_rendered, struct dn_error *err);
DN_API void dn_rendered_done(struct dn_rendered *rendered);

DN_END_DECLS

#endif /* DUNLIN_TEMPLATE_H */
