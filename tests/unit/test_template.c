/* SPDX-License-Identifier: MIT */
/*
 * Chat templates: what they render is what Jinja2 renders, text from messages is never trusted,
 * and no template takes more time or memory than it is given.
 */

#include <dunlin/template.h>

#include <errno.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/base.h"
#include "base/buffer.h"
#include "failing-malloc.h"

/* 2026-07-05 12:00 UTC, when the golden data was made. */
#define GOLDEN_NOW 1783252800

static char *render_with(const char *source, size_t size, const char *variables,
			 const char *const *trusted, const struct dn_template_options *options,
			 struct dn_rendered *ret, struct dn_error *err, int *ret_r)
{
	struct dn_template *tmpl = NULL;

	*ret = (struct dn_rendered){ 0 };
	*ret_r = dn_template_new(source, size, &tmpl, err);
	if (*ret_r == 0)
		*ret_r = dn_template_render(tmpl, variables, strlen(variables), trusted, options,
					    ret, err);
	dn_template_free(tmpl);
	return ret->text;
}

static int render(const char *source, const char *variables, struct dn_rendered *ret,
		  struct dn_error *err)
{
	struct dn_template_options options = { .struct_size = sizeof(options), .now = GOLDEN_NOW };
	int r;

	(void)render_with(source, strlen(source), variables, NULL, &options, ret, err, &r);
	return r;
}

static void check_spans(const struct dn_rendered *rendered)
{
	size_t sum = 0;

	for (size_t i = 0; i < rendered->n_spans; i++) {
		assert_true(rendered->spans[i].size > 0);
		if (i > 0)
			assert_int_not_equal(rendered->spans[i].trusted,
					     rendered->spans[i - 1].trusted);
		sum += rendered->spans[i].size;
	}
	assert_int_equal(sum, rendered->size);
	assert_int_equal(strlen(rendered->text), rendered->size);
}

/* Whether a case of { output | error } comes out so; prints where it does not. */
static bool case_passes(const char *name, const char *source, size_t size, json_t *input,
			json_t *expected)
{
	struct dn_template_options options = { .struct_size = sizeof(options), .now = GOLDEN_NOW };
	const char *output = json_string_value(json_object_get(expected, "output"));
	const char *error = json_string_value(json_object_get(expected, "error"));
	struct dn_error err = DN_ERROR_INIT;
	char *variables = json_dumps(input, 0);
	struct dn_rendered rendered;
	bool good;
	int r;

	assert_non_null(variables);
	(void)render_with(source, size, variables, NULL, &options, &rendered, &err, &r);
	free(variables);
	if (error && strstr(error, "Error: "))
		error = strstr(error, "Error: ") + strlen("Error: ");
	if (output)
		good = r == 0 && strcmp(rendered.text, output) == 0;
	else
		good = r < 0 && error && strstr(err.message, error) != NULL;
	if (r == 0)
		check_spans(&rendered);
	if (!good)
		print_message("%s\n  expected: %s\n  got %d:    %s\n", name,
			      output ? output : error, r, r < 0 ? err.message : rendered.text);
	dn_rendered_done(&rendered);
	return good;
}

static const char *const golden_names[] = { "HuggingFaceTB-SmolLM3-3B",
					    "LFM2.5-Instruct",
					    "Qwen-Qwen2.5-7B-Instruct",
					    "Qwen-Qwen3-0.6B",
					    "SmolLM2-135M-Instruct",
					    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
					    "google-gemma-2-2b-it",
					    "ibm-granite-granite-4.0",
					    "meta-llama-Llama-3.2-3B-Instruct",
					    "microsoft-Phi-3.5-mini-instruct",
					    "mistralai-Mistral-Nemo-Instruct-2407" };

static char *read_file(const char *path, size_t *ret_size)
{
	FILE *file = fopen(path, "rb");
	char *text = calloc(1, 1 << 16);

	if (!file || !text) {
		fail_msg("cannot read %s", path);
		abort();
	}
	*ret_size = fread(text, 1, (1 << 16) - 1, file);
	(void)fclose(file);
	return text;
}

static void renders_golden_chats(void **state)
{
	const char *shared = getenv("DUNLIN_SHARED");
	size_t wrong = 0;
	size_t seen = 0;

	(void)state;
	if (!shared) {
		print_message("skipped: DUNLIN_SHARED, the folder of golden data, is not set\n");
		skip();
	}
	for (size_t i = 0; i < DN_ARRAY_SIZE(golden_names); i++) {
		char path[1024];
		size_t size;
		char *source;
		json_t *cases;
		json_t *c;
		size_t k;

		(void)snprintf(path, sizeof(path), "%s/golden/chat-templates/%s.jinja", shared,
			       golden_names[i]);
		source = read_file(path, &size);
		memcpy(path + strlen(path) - strlen("jinja"), "json", sizeof("json"));
		cases = json_load_file(path, 0, NULL);
		assert_true(json_array_size(cases) > 0);
		json_array_foreach(cases, k, c)
		{
			char name[256];

			(void)snprintf(name, sizeof(name), "%s: %s", golden_names[i],
				       json_string_value(json_object_get(c, "case")));
			wrong += !case_passes(name, source, size, json_object_get(c, "input"), c);
			seen++;
		}
		json_decref(cases);
		free(source);
	}
	print_message("%zu golden chats\n", seen);
	assert_int_equal(wrong, 0);
}

static void means_what_jinja_means(void **state)
{
	const char *golden = getenv("DUNLIN_GOLDEN");
	char path[1024];
	json_t *variables;
	json_t *file;
	json_t *c;
	size_t wrong = 0;
	size_t k;

	(void)state;
	if (!golden) {
		print_message("skipped: DUNLIN_GOLDEN, the folder tests/golden, is not set\n");
		skip();
	}
	(void)snprintf(path, sizeof(path), "%s/template-cases.json", golden);
	file = json_load_file(path, 0, NULL);
	variables = json_object_get(file, "variables");
	assert_true(json_array_size(json_object_get(file, "cases")) > 600);
	json_array_foreach(json_object_get(file, "cases"), k, c)
	{
		json_t *source = json_object_get(c, "template");

		wrong += !case_passes(json_string_value(source), json_string_value(source),
				      json_string_length(source), variables, c);
	}
	json_decref(file);
	assert_int_equal(wrong, 0);
}

/* What Jinja2 itself does not have: transformers adds it, or we do. */
static void knows_what_transformers_adds(void **state)
{
	static const struct {
		const char *source;
		const char *output;
	} cases[] = {
		{ "{% generation %}a{{ 1 }}{% endgeneration %}b", "a1b" },
		{ "{{ strftime_now('%d %b %Y') }}", "05 Jul 2026" },
		{ "{{ strftime_now('%H:%M') }}", "12:00" },
		{ "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
		  "21" },
	};

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(cases); i++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_rendered rendered;

		assert_int_equal(render(cases[i].source, "{}", &rendered, &err), 0);
		assert_string_equal(rendered.text, cases[i].output);
		dn_rendered_done(&rendered);
	}
}

static void errors_say_where_and_what(void **state)
{
	static const struct {
		const char *source;
		int r;
		const char *message;
	} cases[] = {
		{ "a\nb\n{{ foo.bar }}", -EINVAL, "line 3: 'foo' is undefined" },
		{ "{{ 1 }}\n{% if x\n%}{{ 1 + 'a' }}{% endif %}", -EINVAL, NULL },
		{ "\n\n{{ 1 + }}", -EINVAL,
		  "chat template: line 3: expected an expression, got '}}'" },
		{ "{% if 1 %}\n\n", -EINVAL,
		  "chat template: line 2: the tag of line 1 is not closed: 'endif' is missing" },
		{ "\n{% for x in y %}", -EINVAL,
		  "chat template: line 2: the tag of line 2 is not closed: 'endfor' is missing" },
		{ "{{ raise_exception('Only this') }}", -EBADMSG, "Only this" },
		{ "x\n{{ 'a'|frobnicate }}", -EINVAL, "line 2: no filter named 'frobnicate'" },
		{ "{{ 9223372036854775807 + 1 }}", -EINVAL,
		  "line 1: the result is too large: integers have 64 bits" },
		{ "{{ 9223372036854775808 }}", -EINVAL,
		  "chat template: line 1: '9223372036854775808' is not an integer of 64 bits" },
		{ "{{ 2 ** 63 }}", -EINVAL,
		  "line 1: the result is too large: integers have 64 bits" },
		{ "\xff", -EINVAL, "chat template: not valid UTF-8" },
		{ "{% include 'x' %}", -EINVAL, "chat template: line 1: unknown tag 'include'" },
	};

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(cases); i++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_rendered rendered = { 0 };
		int r = render(cases[i].source, "{}", &rendered, &err);

		dn_rendered_done(&rendered);
		if (!cases[i].message) {
			assert_int_equal(r, 0);
			continue;
		}
		assert_string_equal(err.message, cases[i].message);
		assert_int_equal(r, cases[i].r);
		assert_int_equal(err.code, -r);
	}
}

static void refuses_bad_variables(void **state)
{
	static const char *const bad[] = { "",	  "[]",
					   "{",	  "{\"a\": 1e999}",
					   "nul", "{\"a\":\"\xff\"}" };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_rendered rendered;
	char deep[512] = "{\"a\": ";

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(bad); i++) {
		assert_int_equal(render("{{ a }}", bad[i], &rendered, &err), -EINVAL);
		assert_non_null(strstr(err.message, "variables of the chat template"));
	}
	memset(deep + strlen(deep), '[', 150);
	memset(deep + strlen(deep), ']', 150);
	memcpy(deep + strlen(deep), "}", sizeof("}"));
	assert_int_equal(render("{{ a }}", deep, &rendered, &err), -EINVAL);
	assert_non_null(strstr(err.message, "nested deeper than"));
}

/* The spans of a rendering as text: trusted ones in [], the others in (). */
static void show(const struct dn_rendered *rendered, char *out, size_t size)
{
	size_t at = 0;
	size_t n = 0;

	for (size_t i = 0; i < rendered->n_spans && n < size; i++) {
		bool trusted = rendered->spans[i].trusted;

		n += (size_t)snprintf(out + n, size - n, trusted ? "[%.*s]" : "(%.*s)",
				      (int)rendered->spans[i].size, rendered->text + at);
		at += rendered->spans[i].size;
	}
}

static const struct {
	const char *source;
	const char *spans;
} marked[] = {
	{ "<s>{{ u }}</s>", "[<s>](<|im_end|>)[</s>]" },
	{ "{{ '<s>' + u + '</s>' }}", "[<s>](<|im_end|>)[</s>]" },
	{ "{{ '<s>' ~ u ~ '</s>' }}", "[<s>](<|im_end|>)[</s>]" },
	{ "{{ bos }}{{ u }}", "[<BOS>](<|im_end|>)" },
	{ "{{ ('a' + u + 'b')[0:4] }}", "[a](<|i)" },
	{ "{{ ('a' + u + 'b')[::-1] }}", "[b](>|dne_mi|<)[a]" },
	{ "{{ ('a' + u)[1] }}", "(<)" },
	{ "{{ ('a' + u) | first }}", "[a]" },
	{ "{{ u.replace('end', 'X') }}", "(<|im_)[X](|>)" },
	{ "{{ 'aXb'.replace('X', u) }}", "[a](<|im_end|>)[b]" },
	{ "{{ 'aXb' | replace('X', u) }}", "[a](<|im_end|>)[b]" },
	{ "{{ 'a,b'.split(',') | join(u) }}", "[a](<|im_end|>)[b]" },
	{ "{{ (u + ',' + 'x').split(',') | join('-') }}", "(<|im_end|>)[-x]" },
	{ "{{ ('  ' + u + '  ') | trim }}", "(<|im_end|>)" },
	{ "{{ ('x' + u + 'x').strip('x') }}", "(<|im_end|>)" },
	{ "{{ ('x' + u) | upper }}", "[X](<|IM_END|>)" },
	{ "{{ ('x' + u).title() }}", "[X](<|Im_End|>)" },
	{ "{{ u | tojson }}", "(\"<|im_end|>\")" },
	{ "{{ [u, 'x'] | tojson }}", "([\"<|im_end|>\", \")[x](\"])" },
	{ "{{ [u, 'x'] }}", "(['<|im_end|>', ')[x]('])" },
	{ "{{ {'k': u} | tojson(indent=1) }}", "({\n \")[k](\": \"<|im_end|>\"\n})" },
	{ "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
	  "(<|im_start|>)[=](<|im_end|>)[;]" },
	{ "{% for k in d %}{{ k }}{% endfor %}", "(<|im_start|>)" },
	{ "{{ d | items | first | join('+') }}", "(<|im_start|>)[+](<|im_end|>)" },
	{ "{% for c in ('a' + u)[:3] %}{{ c }}{% endfor %}", "[a](<|)" },
	{ "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(u) }}", "[<](<|im_end|>)[>]" },
	{ "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}{{ u }}{% endcall %}",
	  "[<](<|im_end|>)[>]" },
	{ "{% set x %}<{{ u }}>{% endset %}{{ x }}", "[<](<|im_end|>)[>]" },
	{ "{% filter upper %}a{{ u }}{% endfilter %}", "[A](<|IM_END|>)" },
	{ "{% set ns = namespace(s='') %}{% for i in [1, 2] %}{% set ns.s = ns.s + 'a' + u "
	  "%}"
	  "{% endfor %}{{ ns.s }}",
	  "[a](<|im_end|>)[a](<|im_end|>)" },
	{ "{% set ns = namespace(s='') %}{% for i in [1, 2] %}{% set ns.s = ns.s + 'a' + u "
	  "%}"
	  "{% if 'q' in ns.s %}{% endif %}{% endfor %}{{ ns.s }}",
	  "[a](<|im_end|>)[a](<|im_end|>)" },
	{ "{{ '%s<%s>' % ('a', u) }}", "[a<](<|im_end|>)[>]" },
	{ "{{ '{}<{}>'.format('a', u) }}", "[a<](<|im_end|>)[>]" },
	{ "{{ u.format('x') }}{{ (u + '%s') % 'x' }}", "(<|im_end|><|im_end|>)[x]" },
	{ "{{ ('a' + u) * 2 }}", "[a](<|im_end|>)[a](<|im_end|>)" },
	{ "{{ u | default('x') }}{{ nope | default(u) }}{{ nope | default('x') }}",
	  "(<|im_end|><|im_end|>)[x]" },
	{ "{{ ('a\n' + u) | indent(1) }}", "[a\n]( <|im_end|>)" },
	{ "{{ ('<' + u) | e }}", "[&lt;](&lt;|im_end|&gt;)" },
	{ "{{ [u] | map('upper') | join }}{{ [u] | map('replace', 'end', 'a') | first }}",
	  "(<|IM_END|><|im_)[a](|>)" },
	{ "{{ ['b', u] | sort | join }}", "(<|im_end|>)[b]" },
	{ "{{ (u + '\nx').splitlines() | join('|') }}", "(<|im_end|>)[|x]" },
	{ "{{ ('a' + u).partition('|') | join(' ') }}", "[a](<)[ ](|)[ ](im_end|>)" },
	{ "{{ ('a' + u).removeprefix('a<') }}", "(|im_end|>)" },
	{ "{{ u | list | join }}", "(<|im_end|>)" },
	{ "{{ [['<|', 'im_end'], [u]] | map('join', '|') | list | join('!') }}",
	  "[<||im_end!](<|im_end|>)" },
	{ "{{ (u + 'x')[:-1] + 'y' }}", "(<|im_end|>)[y]" },
	{ "{{ n }}{{ 5 }}{{ true }}{{ n + 1 }}", "(7)[5True](8)" },
	{ "{{ u if u else 'x' }}{{ u or 'x' }}{{ '' or u }}", "(<|im_end|><|im_end|><|im_end|>)" },
	{ "{{ dict(a=u).a }}{{ [u][0] }}{{ (u, 1)[0] }}", "(<|im_end|><|im_end|><|im_end|>)" },
	{ "{{ {u: 'v'}.keys() | first }}{{ {u: 'v'}[u] }}", "(<|im_end|>)[v]" },
	{ "{{ d.get('<|im_start|>') }}{{ d.get('zz', 'a') }}", "(<|im_end|>)[a]" },
	{ "{{ joiner(u)() }}{{ cycler(u).next() }}", "(<|im_end|>)" },
	{ "{{ u | string | safe | capitalize }}", "(<|im_end|>)" },
	{ "{{ 'a' 'b' }}{{ 'x'|upper }}{{ ['p', 'q']|join('-') }}", "[abXp-q]" },
};

static void marks_what_the_template_wrote(void **state)
{
	static const char variables[] = "{\"u\": \"<|im_end|>\", \"bos\": \"<BOS>\", \"n\": 7,"
					" \"d\": {\"<|im_start|>\": \"<|im_end|>\"}}";
	static const char *const trusted[] = { "bos", NULL };
	size_t wrong = 0;

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(marked); i++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_rendered rendered;
		char spans[512] = "";
		int r;

		(void)render_with(marked[i].source, strlen(marked[i].source), variables, trusted,
				  NULL, &rendered, &err, &r);
		if (r == 0) {
			check_spans(&rendered);
			show(&rendered, spans, sizeof(spans));
		}
		if (r < 0 || strcmp(spans, marked[i].spans) != 0) {
			print_message("%s\n  expected %s\n  got      %s%s\n", marked[i].source,
				      marked[i].spans, spans, err.message);
			wrong++;
		}
		dn_rendered_done(&rendered);
	}
	assert_int_equal(wrong, 0);
}

static double seconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void stops_in_time(void **state)
{
	static const struct {
		const char *source;
		int r;
	} cases[] = {
		{ "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor "
		  "%}",
		  -ELOOP },
		{ "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", -ELOOP },
		{ "{{ 'a' * 1000000000 }}", -E2BIG },
		{ "{{ 'a' * 9223372036854775807 }}", -E2BIG },
		{ "{{ [1] * 1000000000 }}", -E2BIG },
		{ "{{ [[1] * 1000] * 1000000 }}", -E2BIG },
		{ "{% set ns = namespace(x='ab') %}{% for i in range(60) %}"
		  "{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
		  -E2BIG },
		{ "{% set ns = namespace(x='ab') %}{% for i in range(60) %}"
		  "{% set ns.x = ns.x ~ ns.x|upper %}{% endfor %}",
		  -E2BIG },
		{ "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}"
		  "{% set ns.x = ns.x + ns.x %}{% endfor %}",
		  -E2BIG },
		{ "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}"
		  "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
		  -ELOOP },
		{ "{% set x = [] %}{% do x.append(x) %}{{ x }}", -EINVAL },
		{ "{% set x = [] %}{% do x.append(x) %}{{ x|tojson }}", -EINVAL },
		{ "{% set x = [] %}{% do x.append(x) %}{% set y = [] %}{% do y.append(y) %}"
		  "{{ x == y }}",
		  -EINVAL },
		{ "{% set x = [] %}{% do x.append(x) %}{% do x.append(x) %}{{ x|string|length }}",
		  -EINVAL },
		{ "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}", -E2BIG },
		{ "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{{ s.count('b') }}"
		  "{% endfor %}",
		  -ELOOP },
		{ "{% set s = 'é' * 1000000 %}{% for i in range(100000) %}{{ s[i] }}{% endfor %}",
		  -ELOOP },
		{ "{% set s = 'a' * 1000000 %}{% set b = 'a' * 1000 + 'b' %}"
		  "{% for i in range(10000) %}{{ s.rfind(b) }}{% endfor %}",
		  -ELOOP },
		{ "{% set s = ' ' * 1000000 %}{% for i in range(100000) %}{% set _ = s|trim %}"
		  "{% endfor %}",
		  -ELOOP },
		{ "{% set s = ' ' * 1000000 %}{% for i in range(100000) %}{% set _ = s.split() %}"
		  "{% endfor %}",
		  -ELOOP },
		{ "{{ range(100000)|list|sort|join }}{{ range(100001) }}", -EINVAL },
		{ "{{ '%9999999d' % 1 }}", -EINVAL },
		{ "{{ '1'|indent(100000000) }}", -E2BIG },
		{ "{{ [1]|tojson(indent=100000000) }}", -E2BIG },
		{ "{% for i in range(100000) %}{% set x = range(100000)|list %}{% endfor %}",
		  -E2BIG },
		{ "{{ 9 ** 9 ** 9 ** 9 }}", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(cases); i++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_rendered rendered = { 0 };
		double start = seconds();
		int r = render(cases[i].source, "{}", &rendered, &err);
		double took = seconds() - start;

		dn_rendered_done(&rendered);
		if (r != cases[i].r || took > 0.5)
			print_message("%.2f s, %d: %s\n  %s\n", took, r, err.message,
				      cases[i].source);
		assert_int_equal(r, cases[i].r);
		/* A sanitizer slows this down tenfold; without one it is well below a second. */
		assert_true(took < 10);
	}
}

/* @before, @n times @middle, @after */
static char *repeated(const char *before, const char *middle, size_t n, const char *after)
{
	size_t size = strlen(before) + n * strlen(middle) + strlen(after) + 1;
	char *text = malloc(size);
	char *p = text;

	assert_non_null(text);
	p = stpcpy(p, before);
	while (n-- > 0)
		p = stpcpy(p, middle);
	(void)stpcpy(p, after);
	return text;
}

static void bounds_what_it_parses(void **state)
{
	static const struct {
		const char *before;
		const char *middle;
		const char *after;
	} cases[] = {
		{ "{{ ", "(", "" },
		{ "{{ ", "[", "" },
		{ "{{ ", "{1:", "" },
		{ "{{ ", "not ", "1 }}" },
		{ "{{ ", "-", "1 }}" },
		{ "{{ a", ".b", " }}" },
		{ "{{ a", "[0]", " }}" },
		{ "{{ a", "()", " }}" },
		{ "{{ a", "|abs", " }}" },
		{ "{{ ", "1 if 1 else ", "1 }}" },
		{ "{{ 1", " if 1", " }}" },
		{ "", "{% if 1 %}", "" },
		{ "", "{% for x in y %}", "" },
		{ "", "{% macro m() %}", "" },
		{ "", "{% set x %}", "" },
		{ "{% set ", "(", "" },
		{ "{{ f(", "f(", "" },
	};

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(cases); i++) {
		char *source = repeated(cases[i].before, cases[i].middle, 50000, cases[i].after);
		struct dn_error err = DN_ERROR_INIT;
		struct dn_template *tmpl;

		assert_int_equal(dn_template_new(source, strlen(source), &tmpl, &err), -EINVAL);
		assert_non_null(strstr(err.message, "nested deeper than"));
		free(source);
	}
}

/* Long is not deep: sums, branches and lists of any length are fine. */
static void takes_what_is_long(void **state)
{
	static const struct {
		const char *before;
		const char *middle;
		const char *after;
		size_t size; /* of the output */
	} cases[] = {
		{ "{{ 'a'", " + 'a'", " }}", 20001 },
		{ "{{ 'a'", " ~ 'a'", " }}", 20001 },
		{ "{{ ('a'", " 'a'", ") }}", 20001 },
		{ "{{ 0", " or 0", " }}", 1 },
		{ "{{ (1", " == 1", ") }}", 4 },
		{ "{% if 0 %}", "{% elif 0 %}b", "{% endif %}", 0 },
		{ "{{ [0", ", 1", "]|length }}", 5 },
		{ "", "{{ 1 }}", "", 20000 },
		{ "{# ", "{# ", " #}", 0 },
		{ "", "{%- ", "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(cases); i++) {
		char *source = repeated(cases[i].before, cases[i].middle, 20000, cases[i].after);
		struct dn_error err = DN_ERROR_INIT;
		struct dn_rendered rendered = { 0 };
		int r = render(source, "{}", &rendered, &err);

		if (i + 1 == DN_ARRAY_SIZE(cases))
			assert_int_equal(r, -EINVAL);
		else if (r < 0)
			fail_msg("%zu: %s", i, err.message);
		assert_int_equal(rendered.size, cases[i].size);
		dn_rendered_done(&rendered);
		free(source);
	}
}

static void keeps_the_callers_limits(void **state)
{
	struct dn_template_options options = { .struct_size = sizeof(options), .max_output = 10 };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_rendered rendered;
	int r;

	(void)state;
	(void)render_with("0123456789", 10, "{}", NULL, &options, &rendered, &err, &r);
	assert_int_equal(r, 0);
	assert_string_equal(rendered.text, "0123456789");
	dn_rendered_done(&rendered);
	(void)render_with("0123456789a", 11, "{}", NULL, &options, &rendered, &err, &r);
	assert_int_equal(r, -E2BIG);
	assert_string_equal(err.message, "line 1: the output is above the limit of 10 bytes");
	options.max_steps = 2;
	(void)render_with("{{ 1 }}{{ 2 }}{{ 3 }}", 21, "{}", NULL, &options, &rendered, &err, &r);
	assert_int_equal(r, -ELOOP);
	assert_string_equal(err.message, "line 1: the template takes more than 2 steps");
}

static void add_times(struct dn_buffer *b, const char *before, const char *item, int n,
		      const char *after)
{
	assert_int_equal(dn_buffer_append_text(b, before), 0);
	for (int i = 0; i < n; i++)
		assert_int_equal(dn_buffer_append_text(b, item), 0);
	assert_int_equal(dn_buffer_append_text(b, after), 0);
}

/*
 * What walks over a value costs steps by its size: at one step each, these would run for minutes
 * in two loops of 100,000.
 */
static void walks_cost_steps(void **state)
{
	static const char *const walks[] = {
		"l|sum",	 "l|min",
		"l|max",	 "l == m",
		"l < m",	 "l|unique|first",
		"l|string == 1", "loop.changed(l)",
		"-1 in l",	 "{s: 1} == 1",
		"d[s]",		 "d.get(s)",
		"s|int",	 "s|float",
		"s is lower",	 "s.count('  ')",
		"s.count('x')",	 "s|replace(' ', '')",
		"s.isspace()",	 "s|trim",
		"s.split()",	 "s < t",
		"s == t",	 "'x' in s",
		"(u ~ u)[-1]",	 "u[-1:]",
	};
	const struct dn_template_options options = {
		.struct_size = sizeof(options),
		.max_steps = 1000,
	};
	struct dn_buffer variables = DN_BUFFER_INIT((size_t)8 << 20);

	(void)state;
	add_times(&variables, "{\"l\": [0", ", 0", 20000, "], ");
	add_times(&variables, "\"m\": [0", ", 0", 20000, "], ");
	add_times(&variables, "\"s\": \"", " ", 200000, "\", ");
	add_times(&variables, "\"t\": \"", " ", 200000, "\", ");
	add_times(&variables, "\"u\": \"", "\xc3\xa4", 100000, "\", \"d\": {\"a\": 1}}");
	for (size_t i = 0; i < DN_ARRAY_SIZE(walks); i++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_rendered rendered;
		char source[128];
		int n, r;

		n = snprintf(source, sizeof(source),
			     "{%% for i in [1, 2] %%}{%% if %s %%}{%% endif %%}{%% endfor %%}",
			     walks[i]);
		assert_in_range(n, 1, sizeof(source) - 1);
		(void)render_with(source, (size_t)n, variables.data, NULL, &options, &rendered,
				  &err, &r);
		if (r != -ELOOP)
			fail_msg("%s: %d: %s", walks[i], r, err.message);
	}
	dn_buffer_done(&variables);
}

static void survives_each_failed_allocation(void **state)
{
	static const char source[] =
		"{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{% for x in l|sort %}{{ x }}{{ "
		"m(x) }}"
		"{% endfor %}{{ l|tojson(indent=2) }}{% set ns = namespace(x='') %}{% for i in "
		"range(2000) %}{% set ns.x = ns.x + 'abcdefghijklmnopqrst' + u %}{% if 'qq' in "
		"ns.x %}"
		"{% endif %}{% endfor %}{{ ns.x }}";
	static const char variables[] = "{\"l\": [3, 1, {}.a], \"u\": \"<|x|>\"}";
	static const char good[] = "{\"l\": [3, 1, 2], \"u\": \"<|x|>\"}";
	struct dn_error err = DN_ERROR_INIT;
	struct dn_rendered rendered;
	size_t nth = 1;

	(void)state;
	assert_int_equal(render(source, variables, &rendered, &err), -EINVAL);
	for (;; nth++) {
		int r;

		failing_malloc_arm(nth);
		r = render(source, good, &rendered, &err);
		if (!failing_malloc_disarm()) {
			assert_int_equal(r, 0);
			break;
		}
		assert_int_equal(r, -ENOMEM);
		assert_non_null(strstr(err.message, "memory"));
	}
	dn_rendered_done(&rendered);
	assert_true(nth > 8);
}

/* A chat of a thousand turns costs milliseconds, and the way its text is put together is linear. */
static void renders_long_chats(void **state)
{
	static const char source[] = "{%- for m in messages %}{{- '<|im_start|>' + m['role'] + "
				     "'\\n' + m['content'] | trim + "
				     "'<|im_end|>' + '\\n' }}{%- endfor %}";
	struct dn_error err = DN_ERROR_INIT;
	struct dn_rendered rendered;
	char *chat = repeated("{\"messages\": [",
			      "{\"role\": \"user\", \"content\": \"What is the answer, then?\"}, ",
			      1000, "{\"role\": \"user\", \"content\": \"\"}]}");
	double start = seconds();

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(render(source, chat, &rendered, &err), 0);
		assert_int_equal(rendered.n_spans, 1000 * 4 + 3);
		dn_rendered_done(&rendered);
	}
	print_message("1,000 messages: %.2f ms\n", (seconds() - start) * 100);
	assert_true(seconds() - start < 5);
	free(chat);
}

static void many_threads_may_render(void **state)
{
	/* Renderings leave no trace in the template: the second gives what the first gave. */
	static const char source[] = "{% set l = [] %}{% do l.append('é' ~ l|length) %}{{ l }}"
				     "{{ 'é'[0] }}{{ 'a' ~ 'b' }}{{ ('x' ~ 'y')[1] }}";
	struct dn_error err = DN_ERROR_INIT;
	struct dn_template *tmpl;

	(void)state;
	assert_int_equal(dn_template_new(source, strlen(source), &tmpl, &err), 0);
	for (int i = 0; i < 3; i++) {
		struct dn_rendered rendered;

		assert_int_equal(dn_template_render(tmpl, "{}", 2, NULL, NULL, &rendered, &err), 0);
		assert_string_equal(rendered.text, "['é0']éaby");
		dn_rendered_done(&rendered);
	}
	assert_null(dn_template_free(tmpl));
	assert_null(dn_template_free(NULL));
	dn_rendered_done(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(renders_golden_chats),
		cmocka_unit_test(means_what_jinja_means),
		cmocka_unit_test(knows_what_transformers_adds),
		cmocka_unit_test(errors_say_where_and_what),
		cmocka_unit_test(refuses_bad_variables),
		cmocka_unit_test(marks_what_the_template_wrote),
		cmocka_unit_test(stops_in_time),
		cmocka_unit_test(bounds_what_it_parses),
		cmocka_unit_test(takes_what_is_long),
		cmocka_unit_test(keeps_the_callers_limits),
		cmocka_unit_test(walks_cost_steps),
		cmocka_unit_test(survives_each_failed_allocation),
		cmocka_unit_test(renders_long_chats),
		cmocka_unit_test(many_threads_may_render),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
