/* SPDX-License-Identifier: MIT */
/*
 * Writes texts that grammars allow, with a model's vocabulary, and no model: each token is drawn
 * from those of the mask. Reads lines of JSON: {"kind": "gbnf"|"schema"|"json", "text": …}; gives a
 * line for each: {"error": …}, or {"texts": […], "finished": […], "failed": "…", "wrong": …}, where wrong counts
 * tokens of which the mask does not say what trying them one by one says.
 *
 * grammar-walk MODEL SEED TEXTS CHECKS < LINES
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include <dunlin/dunlin.h>

#define TOKENS_MAX 600
/* From here on it goes for the end. */
#define TOKENS_FREE 40
#define TEXT_MAX    (1 << 16)

struct walker {
	const struct dn_tokenizer *tokenizer;
	struct dn_token_index *index;
	uint32_t n;
	uint32_t *allowed;
	uint64_t random;
	uint32_t checks;
	uint64_t masks;
	double mask_us;
	double slowest_us;
	uint32_t wrong;
	struct dn_error failed;
};

static void must(int r, const struct dn_error *err)
{
	if (r >= 0)
		return;
	(void)fprintf(stderr, "grammar-walk: %s\n", err->message);
	exit(1);
}

static uint32_t draw(struct walker *walker, uint32_t below)
{
	walker->random =
		walker->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((walker->random >> 33) % below);
}

static double now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static bool has(const uint64_t *mask, uint32_t token)
{
	return mask[token / 64] >> (token % 64) & 1;
}

/* Each token by itself, against the mask. */
static void check(struct walker *walker, struct dn_matcher *matcher, const uint64_t *mask)
{
	uint64_t *copy = malloc((walker->n + 63) / 64 * sizeof(*copy));
	struct dn_error err = DN_ERROR_INIT;

	memcpy(copy, mask, (walker->n + 63) / 64 * sizeof(*copy));
	for (uint32_t token = 0; token < walker->n; token++) {
		struct dn_matcher *one = NULL;

		must(dn_matcher_clone(matcher, &one, &err), &err);
		if ((dn_matcher_accept(one, token, &err) == 0) != has(copy, token))
			walker->wrong++;
		dn_matcher_free(one);
	}
	free(copy);
}

/* Closing characters, and what is short, lead to an end sooner than anything else. */
static uint32_t weigh(const struct walker *walker, uint32_t token)
{
	size_t size = 0;
	const char *bytes = dn_tokenizer_bytes(walker->tokenizer, token, &size);

	if (dn_tokenizer_ends(walker->tokenizer, token))
		return 1000;
	if (size > 0 && strchr("\"]}", bytes[0]) && bytes[0] != '\0')
		return 100;
	return size == 1 && bytes[0] != '[' && bytes[0] != '{' ? 3 : 1;
}

static uint32_t choose(struct walker *walker, const uint64_t *mask, uint32_t step)
{
	uint32_t best = 0;
	uint32_t n = 0;

	for (uint32_t token = 0; token < walker->n; token++)
		if (has(mask, token))
			walker->allowed[n++] = token;
	best = walker->allowed[draw(walker, n)];
	if (step < TOKENS_FREE && draw(walker, 4) > 0)
		return best;
	for (uint32_t i = 0; i < 400; i++) {
		const uint32_t other = walker->allowed[n <= 400 ? i % n : draw(walker, n)];
		const uint32_t a = weigh(walker, best);
		const uint32_t b = weigh(walker, other);

		if (b > a || (b == a && draw(walker, 2)))
			best = other;
	}
	return best;
}

/* Return: whether the text is at an end. */
static bool walk(struct walker *walker, struct dn_grammar *grammar, char *text, size_t *ret_size)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_matcher *matcher;
	uint32_t checked = 0;
	bool finished = false;

	*ret_size = 0;
	must(dn_matcher_new(grammar, &matcher, &err), &err);
	for (uint32_t step = 0; step < TOKENS_MAX && !finished; step++) {
		const double begin = now_us();
		const uint64_t *mask;
		size_t size = 0;
		const char *bytes;
		uint32_t token;
		double us;
		int r;

		if (dn_matcher_must_end(matcher)) {
			finished = true;
			break;
		}
		r = dn_matcher_mask(matcher, true, &mask, &err);
		us = now_us() - begin;
		walker->mask_us += us;
		walker->slowest_us = us > walker->slowest_us ? us : walker->slowest_us;
		walker->masks++;
		if (r <= 0)
			break;
		token = choose(walker, mask, step);
		if (checked < walker->checks && draw(walker, 8) == 0) {
			check(walker, matcher, mask);
			checked++;
		}
		if (dn_tokenizer_ends(walker->tokenizer, token)) {
			finished = true;
			break;
		}
		bytes = dn_tokenizer_bytes(walker->tokenizer, token, &size);
		r = dn_matcher_accept(matcher, token, &err);
		walker->wrong += r == -EINVAL;
		if (r < 0)
			break;
		if (*ret_size + size > TEXT_MAX)
			break;
		memcpy(text + *ret_size, bytes, size);
		*ret_size += size;
	}
	dn_matcher_free(matcher);
	if (err.code)
		walker->failed = err;
	return finished;
}

static json_t *write_texts(struct walker *walker, enum dn_grammar_kind kind, const json_t *line,
			   uint32_t n)
{
	static char text[TEXT_MAX];
	struct dn_error err = DN_ERROR_INIT;
	struct dn_grammar *grammar = NULL;
	const json_t *source = json_object_get(line, "text");
	json_t *finished;
	json_t *texts;
	const double begin = now_us();
	double compile_us;

	if (dn_grammar_new(kind, json_string_value(source), json_string_length(source),
			   walker->index, &grammar, &err) < 0)
		return json_pack("{s:s, s:i, s:f}", "error", err.message, "code", err.code,
				 "compile_us", now_us() - begin);
	compile_us = now_us() - begin;
	finished = json_array();
	texts = json_array();
	walker->wrong = 0;
	walker->masks = 0;
	walker->failed = (struct dn_error)DN_ERROR_INIT;
	walker->mask_us = walker->slowest_us = 0;
	for (uint32_t i = 0; i < n; i++) {
		size_t size;
		const bool end = walk(walker, grammar, text, &size);
		json_t *one = json_stringn(text, size);

		/* Cut within a character, which is none then. */
		if (!one && !end)
			one = json_string("");
		(void)json_array_append_new(texts, one ? one : json_null());
		(void)json_array_append_new(finished, json_boolean(end));
	}
	dn_grammar_unref(grammar);
	return json_pack("{s:o, s:o, s:i, s:s, s:f, s:f, s:f}", "texts", texts, "finished",
			 finished, "wrong", (int)walker->wrong, "failed", walker->failed.message,
			 "compile_us", compile_us, "mask_us",
			 walker->mask_us / (double)(walker->masks ? walker->masks : 1),
			 "slowest_us", walker->slowest_us);
}

static enum dn_grammar_kind kind_of(const json_t *line)
{
	const char *kind = json_string_value(json_object_get(line, "kind"));

	if (kind && strcmp(kind, "gbnf") == 0)
		return DN_GRAMMAR_GBNF;
	return kind && strcmp(kind, "json") == 0 ? DN_GRAMMAR_JSON : DN_GRAMMAR_SCHEMA;
}

int main(int argc, char **argv)
{
	struct dn_error err = DN_ERROR_INIT;
	struct walker walker = { 0 };
	struct dn_model *model;
	char *line = NULL;
	size_t room = 0;
	int fd;

	if (argc != 5) {
		(void)fprintf(stderr, "usage: grammar-walk MODEL SEED TEXTS CHECKS < LINES\n");
		return 2;
	}
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	must(dn_model_open(&fd, 1, &model, &err), &err);
	walker.tokenizer = dn_model_tokenizer(model);
	walker.n = dn_tokenizer_size(walker.tokenizer);
	walker.random = strtoull(argv[2], NULL, 10);
	walker.checks = (uint32_t)strtoul(argv[4], NULL, 10);
	walker.allowed = malloc(walker.n * sizeof(*walker.allowed));
	must(dn_token_index_new(walker.tokenizer, &walker.index, &err), &err);
	while (getline(&line, &room, stdin) > 0) {
		json_t *in = json_loads(line, 0, NULL);
		json_t *out =
			write_texts(&walker, kind_of(in), in, (uint32_t)strtoul(argv[3], NULL, 10));

		(void)json_dumpf(out, stdout, JSON_COMPACT);
		(void)putchar('\n');
		json_decref(out);
		json_decref(in);
	}
	free(line);
	free(walker.allowed);
	dn_token_index_free(walker.index);
	dn_model_free(model);
	close(fd);
	return 0;
}
