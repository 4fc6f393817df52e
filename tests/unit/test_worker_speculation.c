/* SPDX-License-Identifier: MIT */
/*
 * Guessed tokens change nothing in an answer: whole answers with and without, of every family, with
 * every sampler, and wherever one may end.
 *
 * The models come from DUNLIN_FAMILIES, as in test_families.c; words.model there has a vocabulary.
 */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <dunlin/channel.h>
#include <dunlin/tokenizer.h>

#include "base/base.h"
#include "channel/channel.h"
#include "unit/family-models.h"
#include "unit/worker-peer.h"
#include "channel/frames.h"

#define CONTEXT 160
#define OUTPUTS 8
/* Tokens that a bias makes the only likely ones: what has few words repeats itself. */
#define WORDS 3

/* How tokens are chosen; what is not named is off. */
static const struct {
	const char *name;
	struct dn_frame_submit submit;
} samplers[] = {
	{ "greedy", { .temperature = 0 } },
	{ "temperature", { .temperature = 1 } },
	{ "top-k", { .temperature = 1, .top_k = 2 } },
	{ "top-p, min-p", { .temperature = 0.7F, .top_p = 0.8F, .min_p = 0.1F } },
	{ "penalties",
	  { .temperature = 1,
	    .repeat_penalty = 1.1F,
	    .frequency_penalty = 0.01F,
	    .presence_penalty = 0.1F,
	    .penalty_last = 40 } },
	{ "dry",
	  { .temperature = 1,
	    .dry_multiplier = 0.1F,
	    .dry_base = 1.1F,
	    .dry_allowed_length = 2,
	    .dry_penalty_last = 64 } },
	{ "mirostat 1",
	  { .temperature = 1, .mirostat = 1, .mirostat_tau = 1, .mirostat_eta = 0.1F } },
	{ "mirostat 2",
	  { .temperature = 1, .mirostat = 2, .mirostat_tau = 1, .mirostat_eta = 0.1F } },
	{ "xtc", { .temperature = 1, .xtc_probability = 0.5F, .xtc_threshold = 0.1F } },
	{ "dynamic, typical, sigma",
	  { .temperature = 1,
	    .dynatemp_range = 0.5F,
	    .dynatemp_exponent = 1,
	    .typical_p = 0.9F,
	    .top_n_sigma = 8 } },
};

static int open_model(const char *name)
{
	char path[512];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", getenv("DUNLIN_FAMILIES"), name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail_msg("%s cannot be opened", path);
	return fd;
}

/* Returns the token that ends an answer. */
static uint32_t open_peer(struct peer *peer, const char *model, uint32_t sequences,
			  uint32_t context)
{
	struct dn_error err = DN_ERROR_INIT;
	int fd = open_model(model);
	struct dn_frame frame;

	peer_open(peer);
	peer_begin(peer, &frame, DN_FRAME_LOAD);
	frame.u.load = (struct dn_frame_load){
		.depth = DN_LOAD_WEIGHTS,
		.threads = 2,
		.context = context,
		.sequences = sequences,
		.batch = 64,
		.outputs = OUTPUTS,
	};
	assert_int_equal(dn_channel_send(&peer->ours, &frame, sizeof(frame), fd, &err), 0);
	close(fd);
	peer_receive(peer, &frame, NULL);
	if (frame.type == DN_FRAME_ERROR)
		fail_msg("%s: %s", model, frame.u.error.message);
	peer->vocabulary = frame.u.loaded.vocabulary;
	peer->context = frame.u.loaded.context;
	return frame.u.loaded.eos;
}

/* A prompt that repeats itself somewhat, of the few words alone. */
static void make_prompt(uint32_t *tokens, uint32_t n, uint32_t seed)
{
	for (uint32_t i = 0; i < n; i++)
		tokens[i] = 20 + (i * i + seed * (i % 5)) % WORDS;
}

static void begin_submit(struct peer *peer, struct dn_frame *frame, size_t sampler, uint64_t seed,
			 uint32_t max, enum dn_speculation_mode mode)
{
	struct dn_frame_submit *submit = &frame->u.submit;

	peer_begin(peer, frame, DN_FRAME_SUBMIT);
	*submit = samplers[sampler].submit;
	submit->prompt_kind = DN_PROMPT_TOKENS;
	submit->max_tokens = max;
	submit->ignore_eos = 1;
	submit->seed = seed;
	submit->top_p = submit->top_p > 0 ? submit->top_p : 1;
	submit->typical_p = submit->typical_p > 0 ? submit->typical_p : 1;
	submit->repeat_penalty = submit->repeat_penalty > 0 ? submit->repeat_penalty : 1;
	submit->logprobs = 4;
	submit->speculation = mode;
	for (uint32_t i = 0; i < WORDS; i++) {
		submit->bias[i].token = 20 + i;
		submit->bias[i].bias = 50;
	}
	submit->n_bias = WORDS;
}

static void assert_same(const char *what, const struct answer *a, const struct answer *b)
{
	if (a->n != b->n || a->hash != b->hash || a->done.reason != b->done.reason ||
	    memcmp(a->tokens, b->tokens, a->n * sizeof(a->tokens[0])) != 0 ||
	    memcmp(a->text, b->text, sizeof(a->text)) != 0)
		fail_msg("%s: the answer of %u tokens is another, of %u", what, a->n, b->n);
	assert_int_equal(a->error.code, b->error.code);
	/* Of what was promised the times may differ. */
	assert_int_equal(a->accepted.prompt_tokens, b->accepted.prompt_tokens);
	assert_int_equal(a->accepted.reused_tokens, b->accepted.reused_tokens);
	assert_int_equal(a->accepted.max_tokens, b->accepted.max_tokens);
	assert_int_equal(a->done.prompt_tokens, b->done.prompt_tokens);
	assert_int_equal(a->done.reused_tokens, b->done.reused_tokens);
	assert_int_equal(a->done.output_tokens, b->done.output_tokens);
	assert_true(b->done.accepted_tokens <= b->done.drafted_tokens);
	assert_int_equal(a->done.drafted_tokens, 0);
}

/* Layers with a state cannot take tokens back. */
static bool drafts(const char *family)
{
	static const char *const recurrent[] = { "qwen35", "lfm2", "granitehybrid" };

	for (size_t i = 0; i < DN_ARRAY_SIZE(recurrent); i++)
		if (strncmp(family, recurrent[i], strlen(recurrent[i])) == 0)
			return false;
	return true;
}

/* To the end of the context, so that a draft meets it, and over all borders of blocks. */
static void test_family(void **state)
{
	const char *family = *state;
	struct answer *without = calloc(2, sizeof(*without));
	struct answer *with = without + 1;
	uint32_t prompt[20];
	uint32_t drafted = 0;
	uint32_t accepted = 0;
	struct dn_frame frame;
	struct peer peer;

	assert_non_null(without);
	open_peer(&peer, family, 1, CONTEXT);
	for (size_t i = 0; i < DN_ARRAY_SIZE(samplers); i++) {
		make_prompt(prompt, 20, (uint32_t)i);
		begin_submit(&peer, &frame, i, i, 0, DN_SPECULATION_OFF);
		peer_ask(&peer, &frame, prompt, 20, without);
		assert_int_equal(without->n, CONTEXT - 20 + 1);
		assert_int_equal(without->done.reason, DN_FINISH_CONTEXT);
		begin_submit(&peer, &frame, i, i, 0, DN_SPECULATION_ALWAYS);
		peer_ask(&peer, &frame, prompt, 20, with);
		assert_same(samplers[i].name, without, with);
		drafted += with->done.drafted_tokens;
		accepted += with->done.accepted_tokens;
		begin_submit(&peer, &frame, i, i, 0, DN_SPECULATION_AUTO);
		peer_ask(&peer, &frame, prompt, 20, with);
		assert_same(samplers[i].name, without, with);
	}
	assert_int_equal(drafted > 0, drafts(family));
	assert_int_equal(accepted > 0, drafts(family));
	if (drafts(family))
		assert_true(accepted < drafted);
	assert_int_equal(peer_close(&peer), 0);
	free(without);
}

/* What is kept of an answer can be continued from, and from the same places. */
static void test_keeps(void **state)
{
	const char *family = *state;
	struct answer *kept = calloc(4, sizeof(*kept));
	uint32_t prompt[CONTEXT];
	struct dn_frame frame;
	struct peer peer;

	assert_non_null(kept);
	open_peer(&peer, family, 2, CONTEXT);
	for (uint32_t max = 30; max < 110; max += 7) {
		for (int i = 0; i < 2; i++) {
			const enum dn_speculation_mode mode =
				i ? DN_SPECULATION_ALWAYS : DN_SPECULATION_OFF;
			uint64_t request;
			uint32_t n;

			make_prompt(prompt, 20, max);
			begin_submit(&peer, &frame, 1, max, max, mode);
			frame.u.submit.keep = 1;
			request = frame.request;
			peer_ask(&peer, &frame, prompt, 20, &kept[i]);
			/* Half of its answer, and something else. */
			n = 20 + max / 2;
			memcpy(prompt + 20, kept[i].tokens, max / 2 * sizeof(prompt[0]));
			prompt[n++] = 1;
			prompt[n++] = 2;
			begin_submit(&peer, &frame, 1, max, 10, mode);
			frame.u.submit.continues = request;
			peer_ask(&peer, &frame, prompt, n, &kept[2 + i]);
		}
		assert_same("kept", &kept[0], &kept[1]);
		assert_same("continued", &kept[2], &kept[3]);
	}
	assert_int_equal(peer_close(&peer), 0);
	free(kept);
}

/* Cancelled in the middle and kept: what is there is the beginning, and goes on. */
static void test_cancel(void **state)
{
	const char *family = *state;
	struct answer *whole = calloc(2, sizeof(*whole));
	struct answer *rest = whole + 1;
	uint32_t prompt[CONTEXT];
	struct dn_frame cancel;
	struct dn_frame frame;
	uint64_t request;
	uint32_t n = 20;
	struct peer peer;

	assert_non_null(whole);
	open_peer(&peer, family, 1, CONTEXT);
	make_prompt(prompt, 20, 4);
	begin_submit(&peer, &frame, 0, 0, 0, DN_SPECULATION_OFF);
	peer_ask(&peer, &frame, prompt, 20, whole);
	begin_submit(&peer, &frame, 0, 0, 0, DN_SPECULATION_ALWAYS);
	frame.u.submit.keep = 1;
	request = frame.request;
	peer_send(&peer, &frame, prompt, 20 * sizeof(prompt[0]));
	do {
		peer_receive(&peer, &frame, NULL);
		if (frame.type != DN_FRAME_OUTPUT)
			continue;
		if (n == 40) {
			dn_frame_init(&cancel, DN_FRAME_CANCEL, request);
			peer_send(&peer, &cancel, NULL, 0);
		}
		if (frame.u.output.token != UINT32_MAX && n < CONTEXT)
			prompt[n++] = frame.u.output.token;
	} while (frame.type != DN_FRAME_DONE);
	assert_memory_equal(prompt + 20, whole->tokens, (n - 20) * sizeof(prompt[0]));
	/* It was near the end before the frame was there: nothing is left to ask for. */
	if (n < CONTEXT - 4) {
		assert_int_equal(frame.u.done.reason, DN_FINISH_CANCELLED);
		begin_submit(&peer, &frame, 0, 0, 4, DN_SPECULATION_ALWAYS);
		frame.u.submit.continues = request;
		peer_ask(&peer, &frame, prompt, n, rest);
		assert_int_equal(rest->accepted.reused_tokens, n - 1);
		assert_memory_equal(rest->tokens, whole->tokens + n - 20, 4 * sizeof(prompt[0]));
	}
	assert_int_equal(peer_close(&peer), 0);
	free(whole);
}

/* Several at once, in a cache that has room for them or that has not. */
static void test_together(void **state)
{
	enum { N = 4, LONG = 60 };
	struct answer *alone = calloc(2 * (size_t)N, sizeof(*alone));
	struct answer *together = alone + N;
	uint32_t prompt[20];
	struct dn_frame frame;
	struct peer peer;

	(void)state;
	assert_non_null(alone);
	for (uint32_t sequences = 1; sequences <= N; sequences += N - 1) {
		uint64_t first = 0;
		uint32_t drafted = 0;

		open_peer(&peer, "gemma3.gguf", sequences, 96);
		for (uint32_t i = 0; i < N; i++) {
			make_prompt(prompt, 20, i);
			begin_submit(&peer, &frame, i, i, LONG, DN_SPECULATION_OFF);
			peer_ask(&peer, &frame, prompt, 20, &alone[i]);
			assert_int_equal(alone[i].n, LONG);
		}
		for (uint32_t i = 0; i < N; i++) {
			make_prompt(prompt, 20, i);
			begin_submit(&peer, &frame, i, i, LONG, DN_SPECULATION_ALWAYS);
			first = i == 0 ? frame.request : first;
			peer_send(&peer, &frame, prompt, sizeof(prompt));
		}
		peer_collect(&peer, first, together, N);
		for (uint32_t i = 0; i < N; i++) {
			assert_same("together", &alone[i], &together[i]);
			drafted += together[i].done.drafted_tokens;
		}
		assert_true(drafted > 0);
		assert_int_equal(peer_close(&peer), 0);
	}
	free(alone);
}

/* Goes on from a kept answer of make_prompt(), behind the whole of it. */
static void continue_from(struct peer *peer, uint64_t kept, const struct answer *answer,
			  uint32_t *prompt, struct answer *ret_rest)
{
	struct dn_frame frame;

	memcpy(prompt + 20, answer->tokens, answer->n * sizeof(prompt[0]));
	prompt[20 + answer->n] = 20;
	begin_submit(peer, &frame, 0, 0, 3, DN_SPECULATION_OFF);
	frame.u.submit.continues = kept;
	peer_ask(peer, &frame, prompt, 20 + answer->n + 1, ret_rest);
}

/* Ends by itself where @eos is given, else by the text of its middle as a stop string. */
static void check_end(struct peer *peer, uint64_t seed, uint32_t eos, struct answer answers[4])
{
	char stop[8] = { 0 };
	uint32_t prompt[CONTEXT];

	make_prompt(prompt, 20, (uint32_t)seed);
	for (int run = eos == DN_TOKEN_NONE ? 0 : 1; run < 3; run++) {
		struct answer *answer = &answers[run == 2];
		struct dn_frame frame;

		begin_submit(peer, &frame, 1 + seed % 3, seed, 100,
			     run < 2 ? DN_SPECULATION_OFF : DN_SPECULATION_ALWAYS);
		frame.u.submit.ignore_eos = 0;
		frame.u.submit.keep = 1;
		if (eos != DN_TOKEN_NONE) {
			frame.u.submit.bias[WORDS].token = eos;
			frame.u.submit.bias[WORDS].bias = 51;
			frame.u.submit.n_bias++;
		} else if (run > 0) {
			memcpy(frame.u.submit.stop, stop, sizeof(stop));
			frame.u.submit.n_stop = 1;
		}
		peer_ask(peer, &frame, prompt, 20, answer);
		if (run == 0)
			memcpy(stop, answer->text + answer->text_size / 2, 7);
		else
			continue_from(peer, frame.request, answer, prompt, answer + 2);
	}
	assert_same("ends", &answers[0], &answers[1]);
	assert_same("continued", &answers[2], &answers[3]);
}

static void test_ends(void **state)
{
	struct answer *answers = calloc(4, sizeof(*answers));
	uint32_t reasons[DN_FINISH_CANCELLED + 1] = { 0 };
	uint32_t in_drafts = 0;
	struct peer peer;
	uint32_t eos;

	(void)state;
	assert_non_null(answers);
	eos = open_peer(&peer, "words.model", 1, CONTEXT);
	for (uint32_t seed = 1; seed <= 60; seed++) {
		const struct dn_frame_done *done = &answers[1].done;

		check_end(&peer, seed, seed % 2 ? eos : DN_TOKEN_NONE, answers);
		reasons[done->reason]++;
		in_drafts += done->accepted_tokens > 0;
	}
	assert_true(reasons[DN_FINISH_STOP] > 20);
	assert_true(reasons[DN_FINISH_EOS] > 10);
	assert_true(in_drafts > 20);
	assert_int_equal(peer_close(&peer), 0);
	free(answers);
}

/* A draft that finds no room in the cache is no reason to give up what is kept there. */
static void test_kept_stays(void **state)
{
	/* Two blocks are kept, of four; the answer ends shortly before it needs a third. */
	enum { KEPT = 40, END = 40, STOP = 12 };
	struct answer *answer = calloc(1, sizeof(*answer));
	char stop[STOP + 1] = { 0 };
	uint32_t prompt[KEPT];
	struct dn_frame frame;
	struct peer peer;
	uint64_t kept;

	(void)state;
	assert_non_null(answer);
	open_peer(&peer, "words.model", 1, 96);
	for (uint32_t seed = 1; seed <= 10; seed++) {
		make_prompt(prompt, KEPT, seed);
		begin_submit(&peer, &frame, 1, seed, END, DN_SPECULATION_OFF);
		peer_ask(&peer, &frame, prompt, 20, answer);
		assert_int_equal(answer->text_size, END);
		memcpy(stop, answer->text + END - STOP, STOP);

		begin_submit(&peer, &frame, 1, seed, 1, DN_SPECULATION_OFF);
		frame.u.submit.keep = 1;
		kept = frame.request;
		peer_ask(&peer, &frame, prompt, KEPT, answer);
		begin_submit(&peer, &frame, 1, seed, 0, DN_SPECULATION_ALWAYS);
		memcpy(frame.u.submit.stop, stop, sizeof(stop));
		frame.u.submit.n_stop = 1;
		peer_ask(&peer, &frame, prompt, 20, answer);
		assert_int_equal(answer->done.reason, DN_FINISH_STOP);
		assert_in_range(answer->n, 10, END);
		assert_true(answer->done.drafted_tokens > 0);

		peer_begin(&peer, &frame, DN_FRAME_FORGET);
		frame.u.sequence.kept = kept;
		peer_send(&peer, &frame, NULL, 0);
		peer_receive(&peer, &frame, NULL);
		assert_int_equal(frame.type, DN_FRAME_FORGOTTEN);
	}
	assert_int_equal(peer_close(&peer), 0);
	free(answer);
}

/* A text that comes again and again: most of it is guessed, where it is allowed to be. */
static void test_repeats(void **state)
{
	struct answer *answer = calloc(1, sizeof(*answer));
	uint32_t prompt[20];
	struct dn_frame frame;
	struct peer peer;

	(void)state;
	assert_non_null(answer);
	open_peer(&peer, "llama.gguf", 1, CONTEXT);
	for (uint32_t i = 0; i < 20; i++)
		prompt[i] = 20;
	for (uint32_t mode = DN_SPECULATION_OFF; mode <= DN_SPECULATION_ALWAYS; mode++) {
		begin_submit(&peer, &frame, 0, 0, 100, (enum dn_speculation_mode)mode);
		/* One word alone. */
		frame.u.submit.n_bias = 1;
		frame.u.submit.bias[0].bias = 100;
		memset(&frame.u.submit.bias[1], 0, 2 * sizeof(frame.u.submit.bias[1]));
		peer_ask(&peer, &frame, prompt, 20, answer);
		assert_int_equal(answer->n, 100);
		if (mode == DN_SPECULATION_OFF)
			assert_int_equal(answer->done.drafted_tokens, 0);
		else
			assert_int_equal(answer->done.drafted_tokens, answer->done.accepted_tokens);
		/* What is measured decides how often, but a text of one word repeats enough. */
		if (mode == DN_SPECULATION_AUTO)
			assert_true(answer->done.drafted_tokens > 0);
		/* 99 tokens behind the first, of which one in eight is not guessed. */
		if (mode == DN_SPECULATION_ALWAYS)
			assert_int_equal(answer->done.accepted_tokens, 99 - 13);
	}
	assert_int_equal(peer_close(&peer), 0);
	free(answer);
}

int main(void)
{
	struct CMUnitTest tests[3 * FAMILIES_MAX + 4] = {
		cmocka_unit_test(test_together),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_kept_stays),
		cmocka_unit_test(test_repeats),
	};
	size_t n_tests = 4;
	int r;

	if (list_families() == 0)
		return 77;
	for (size_t i = 0; i < n_families; i++) {
		tests[n_tests++] =
			(struct CMUnitTest){ families[i], test_family, NULL, NULL, families[i] };
		tests[n_tests++] =
			(struct CMUnitTest){ "keeps", test_keeps, NULL, NULL, families[i] };
		tests[n_tests++] =
			(struct CMUnitTest){ "cancel", test_cancel, NULL, NULL, families[i] };
	}
	r = _cmocka_run_group_tests("speculation", tests, n_tests, NULL, NULL);
	free_families();
	return r;
}
