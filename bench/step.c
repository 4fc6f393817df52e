/* SPDX-License-Identifier: MIT */
/*
 * What a step costs by its rows: n tokens of one sequence (a draft), and one token of each of n
 * sequences (requests side by side). All sizes take turns, so that what else runs on the machine
 * meets all of them; the best of each counts. With one thread it is CPU time, which leaves out most
 * of what other programs do.
 *
 * bench-step MODEL [THREADS [ROUNDS [TOKENS BEFORE]]]
 */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <dunlin/error.h>
#include <dunlin/model.h>

#define ROWS_MAX 8

struct bench {
	struct dn_context *context;
	struct dn_sequence *sequences[ROWS_MAX];
	uint32_t tokens[4096];
	uint32_t before;
	uint32_t threads;
};

static double now(const struct bench *b)
{
	struct timespec t;

	(void)clock_gettime(b->threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void must(int r, const struct dn_error *err)
{
	if (r >= 0)
		return;
	(void)fprintf(stderr, "bench-step: %s\n", err->message);
	exit(1);
}

/* Milliseconds of a step of @n_items sequences with @n_tokens of each. */
static double step(struct bench *b, uint32_t n_items, uint32_t n_tokens)
{
	struct dn_batch_item items[ROWS_MAX];
	struct dn_error err = DN_ERROR_INIT;
	double begin;

	for (uint32_t i = 0; i < n_items; i++)
		items[i] = (struct dn_batch_item){
			.sequence = b->sequences[i],
			.tokens = b->tokens + b->before + i,
			.n_tokens = n_tokens,
			.wanted = DN_LOGITS_ALL,
		};
	begin = now(b);
	must(dn_context_step(b->context, items, n_items, &err), &err);
	return now(b) - begin;
}

static void fill(struct bench *b, uint32_t vocabulary)
{
	struct dn_error err = DN_ERROR_INIT;

	for (uint32_t i = 0; i < 4096; i++)
		b->tokens[i] = (uint32_t)((i * 2654435761U + 12345U) >> 8) % vocabulary;
	for (uint32_t i = 0; i < ROWS_MAX; i++) {
		must(dn_sequence_new(b->context, &b->sequences[i], &err), &err);
		for (uint32_t at = 0; at < b->before;) {
			const uint32_t n = b->before - at < 128 ? b->before - at : 128;
			const struct dn_batch_item item = { b->sequences[i], b->tokens + at, n,
							    DN_LOGITS_NONE };

			must(dn_context_step(b->context, &item, 1, &err), &err);
			at += n;
		}
	}
}

/* Takes back what a step has added; models with a state do not know it any more. */
static void reset(struct bench *b)
{
	for (uint32_t i = 0; i < ROWS_MAX; i++)
		if (dn_sequence_cut(b->sequences[i], b->before) != b->before) {
			(void)fprintf(stderr,
				      "bench-step: this model's sequences cannot go back\n");
			exit(1);
		}
}

int main(int argc, char **argv)
{
	const uint32_t rounds = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 20;
	struct dn_context_options options = {
		.struct_size = sizeof(options),
		.threads = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1,
		.context = 2048,
		.sequences = ROWS_MAX,
		.outputs = ROWS_MAX,
	};
	static struct bench b;
	double best[2][ROWS_MAX + 1];
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model_info info;
	struct dn_model *model;
	int fd;

	if (argc < 2) {
		(void)fprintf(stderr, "usage: bench-step MODEL [THREADS [ROUNDS [TOKENS]]]\n");
		return 1;
	}
	b.threads = options.threads;
	b.before = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) % 2000 : 100;
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	must(dn_model_open(&fd, 1, &model, &err), &err);
	must(dn_context_new(model, &options, &b.context, &err), &err);
	dn_model_get_info(model, &info);
	fill(&b, info.vocabulary);
	for (int kind = 0; kind < 2; kind++)
		for (uint32_t n = 0; n <= ROWS_MAX; n++)
			best[kind][n] = 1e30;
	for (uint32_t round = 0; round < rounds; round++)
		for (uint32_t n = 1; n <= ROWS_MAX; n++)
			for (int kind = 0; kind < 2; kind++) {
				const double ms = kind ? step(&b, n, 1) : step(&b, 1, n);

				reset(&b);
				if (ms < best[kind][n])
					best[kind][n] = ms;
			}
	(void)printf("rows  of one sequence         of n sequences\n");
	for (uint32_t n = 1; n <= ROWS_MAX; n++)
		(void)printf("%4u  %7.3f ms %5.2f x    %7.3f ms %5.2f x, %5.2f x the tokens/s\n", n,
			     best[0][n], best[0][n] / best[0][1], best[1][n],
			     best[1][n] / best[1][1], n * best[1][1] / best[1][n]);
	for (uint32_t i = 0; i < ROWS_MAX; i++)
		dn_sequence_free(b.sequences[i]);
	dn_context_free(b.context);
	dn_model_free(model);
	close(fd);
	return 0;
}
