/* SPDX-License-Identifier: MIT */
/* The public face: parse once, render many times. */

#include <dunlin/template.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

#include <jansson.h>

#include "base/text.h"
#include "engine/template/parser.h"
#include "engine/template/run.h"

#define DEFAULT_OUTPUT ((size_t)16 << 20)
#define DEFAULT_STEPS  UINT64_C(10000000)
/* More stretches of different origin than this is no chat. */
#define SPANS_MAX ((size_t)1 << 20)

int dn_template_new(const char *source, size_t size, struct dn_template **ret_template,
		    struct dn_error *err)
{
	struct dn_template *tmpl;
	struct dn_tparser parser;
	int r;

	if (size > DN_TEMPLATE_SOURCE_MAX)
		return dn_error_set(err, EINVAL,
				    "chat template: %zu bytes are above the limit of %zu", size,
				    DN_TEMPLATE_SOURCE_MAX);
	if (!dn_utf8_valid(source, size))
		return dn_error_set(err, EINVAL, "chat template: not valid UTF-8");
	tmpl = calloc(1, sizeof(*tmpl));
	if (!tmpl)
		return dn_error_memory(err, "a chat template", sizeof(*tmpl));
	tmpl->arena = (struct dn_arena)DN_ARENA_INIT(DN_TEMPLATE_MEMORY_MAX);
	r = dn_tparser_init(&parser, tmpl, source, size, err);
	if (r == 0)
		r = dn_tparse_template(&parser, &tmpl->root);
	if (r < 0) {
		dn_template_free(tmpl);
		return dn_error_prefix(err, r == -ENOMEM ? r : -EINVAL, "chat template");
	}
	*ret_template = tmpl;
	return 0;
}

struct dn_template *dn_template_free(struct dn_template *tmpl)
{
	if (tmpl) {
		dn_arena_done(&tmpl->arena);
		free(tmpl);
	}
	return NULL;
}

void dn_trun_report(struct dn_trun *run, int code, const char *format, ...)
{
	char text[DN_ERROR_MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)dn_error_set(run->err, code, "line %u: %s", run->line, text);
}

int dn_trun_work(struct dn_trun *run, size_t bytes)
{
	uint64_t steps = 1 + bytes / 64;

	if (steps > run->steps) {
		run->steps = 0;
		return dn_trun_fail(run, ELOOP, "the template takes more than %llu steps",
				    (unsigned long long)run->max_steps);
	}
	run->steps -= steps;
	return 0;
}

void *dn_trun_alloc(struct dn_trun *run, size_t size)
{
	return dn_arena_alloc(&run->arena, size);
}

void *dn_trun_grow(struct dn_trun *run, void *old, size_t old_size, size_t new_size)
{
	return dn_arena_grow(&run->arena, old, old_size, new_size);
}

void dn_trun_report_memory(const struct dn_trun *run)
{
	if (run->arena.full)
		(void)dn_error_set(run->err, E2BIG,
				   "line %u: the template's values need more than %zu MiB",
				   run->line, DN_TRUN_MEMORY >> 20);
	else
		(void)dn_error_memory(run->err, "a chat template's values", run->arena.total);
}

static bool is_trusted(const char *const *trusted, const char *name)
{
	for (; trusted && *trusted; trusted++) {
		if (strcmp(*trusted, name) == 0)
			return true;
	}
	return false;
}

/* Only what the template names becomes a value: a symbol is looked up in the object. */
static int bind_variables(struct dn_trun *run, const json_t *root, const char *const *trusted)
{
	int r = 0;

	for (uint32_t i = 0; i < run->tmpl->n_symbols && r == 0; i++) {
		const struct dn_tstr *name = run->tmpl->symbols[i];
		struct dn_tval value;
		char text[257];
		json_t *json;

		if (name->size >= sizeof(text))
			continue;
		memcpy(text, name->data, name->size);
		text[name->size] = '\0';
		json = json_object_get(root, text);
		if (!json)
			continue;
		r = dn_tval_from_json(run, json,
				      is_trusted(trusted, text) ? DN_TRUST_ALL : DN_TRUST_NONE, 0,
				      &value);
		if (r == 0)
			r = dn_tscope_set(run, run->root, i, value);
	}
	return r;
}

struct spans {
	struct dn_template_span *span;
	size_t n;
	size_t capacity;
};

static int add_span(struct dn_trun *run, struct spans *spans, size_t size, bool trusted)
{
	if (spans->n > 0 && spans->span[spans->n - 1].trusted == trusted) {
		spans->span[spans->n - 1].size += size;
		return 0;
	}
	if (spans->n == SPANS_MAX)
		return dn_error_set(run->err, E2BIG,
				    "the output changes its origin more than %zu times", SPANS_MAX);
	if (spans->n == spans->capacity) {
		size_t capacity = spans->capacity ? spans->capacity * 2 : 16;
		void *grown = realloc(spans->span, capacity * sizeof(*spans->span));

		if (!grown)
			return dn_error_memory(run->err, "the spans of a chat",
					       capacity * sizeof(*spans->span));
		spans->span = grown;
		spans->capacity = capacity;
	}
	spans->span[spans->n++] = (struct dn_template_span){ .size = size, .trusted = trusted };
	return 0;
}

static int piece_spans(struct dn_trun *run, struct spans *spans, struct dn_tstr *piece)
{
	int r = piece->trust == DN_TRUST_MIXED ? dn_tstr_flat(run, piece) : 0;
	size_t at = 0;

	while (r == 0 && at < piece->size) {
		bool trusted = false;
		size_t end = dn_tstr_run(piece, at, &trusted);

		r = add_span(run, spans, end - at, trusted);
		at = end;
	}
	return r;
}

static int deliver(struct dn_trun *run, const struct dn_tsink *sink, struct dn_rendered *ret)
{
	struct spans spans = { 0 };
	char *text = malloc(sink->size + 1);
	size_t at = 0;
	int r = 0;

	if (!text)
		return dn_error_memory(run->err, "the text of a chat", sink->size + 1);
	for (size_t i = 0; i < sink->count && r == 0; i++) {
		r = piece_spans(run, &spans, sink->pieces[i]);
		if (r == 0)
			dn_tstr_write(sink->pieces[i], text + at);
		at += sink->pieces[i]->size;
	}
	if (r < 0) {
		free(spans.span);
		free(text);
		return r;
	}
	text[at] = '\0';
	*ret = (struct dn_rendered){
		.text = text, .size = at, .spans = spans.span, .n_spans = spans.n
	};
	return 0;
}

/* Random bytes that the kernel gave this process: enough to keep messages from aiming at a hash. */
static uint64_t process_seed(void)
{
	unsigned long at = getauxval(AT_RANDOM);
	uint64_t seed = UINT64_C(0x243f6a8885a308d3);

	if (at)
		memcpy(&seed, (const void *)(uintptr_t)at, sizeof(seed));
	return seed;
}

static int load_variables(const char *variables, size_t size, json_t **ret, struct dn_error *err)
{
	json_error_t why;
	json_t *root = json_loadb(variables, size, JSON_ALLOW_NUL, &why);

	if (!root && json_error_code(&why) == json_error_out_of_memory)
		return dn_error_memory(err, "the variables of a chat template", size);
	if (!root)
		return dn_error_set(err, EINVAL, "variables of the chat template: line %d: %s",
				    why.line, why.text);
	if (!json_is_object(root)) {
		json_decref(root);
		return dn_error_set(err, EINVAL,
				    "variables of the chat template: not a JSON object");
	}
	*ret = root;
	return 0;
}

int dn_template_render(const struct dn_template *tmpl, const char *variables, size_t size,
		       const char *const *trusted, const struct dn_template_options *options,
		       struct dn_rendered *ret_rendered, struct dn_error *err)
{
	struct dn_tscope root = { 0 };
	struct dn_tsink sink = { 0 };
	struct dn_trun run = { .tmpl = tmpl,
			       .err = err,
			       .now = -1,
			       .max_steps = DEFAULT_STEPS,
			       .max_output = DEFAULT_OUTPUT,
			       .seed = process_seed(),
			       .line = 1,
			       .scope = &root,
			       .root = &root,
			       .sink = &sink };
	json_t *json = NULL;
	int r;

	if (options && options->struct_size >= sizeof(*options)) {
		run.now = options->now;
		run.max_output = options->max_output ? options->max_output : DEFAULT_OUTPUT;
		run.max_steps = options->max_steps ? options->max_steps : DEFAULT_STEPS;
	}
	run.steps = run.max_steps;
	run.arena = (struct dn_arena)DN_ARENA_INIT(DN_TRUN_MEMORY);
	r = load_variables(variables, size, &json, err);
	if (r < 0)
		return r;
	r = dn_tscope_init_root(&run, &root);
	if (r == 0)
		r = bind_variables(&run, json, trusted);
	if (r == 0)
		r = dn_trun_exec(&run, tmpl->root);
	if (r == 0)
		r = deliver(&run, &sink, ret_rendered);
	dn_arena_done(&run.arena);
	json_decref(json);
	return r;
}

void dn_rendered_done(struct dn_rendered *rendered)
{
	if (!rendered)
		return;
	free(rendered->text);
	free(rendered->spans);
	*rendered = (struct dn_rendered){ 0 };
}
