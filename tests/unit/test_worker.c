/* SPDX-License-Identifier: MIT */
/*
 * The worker behind its channel: several requests at once give what each gives alone, prefixes and
 * snapshots change nothing but time, limits are answers with numbers, and no frame breaks it.
 */

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <dunlin/channel.h>
#include <dunlin/grammar.h>

#include "channel/channel.h"
#include "unit/failing-malloc.h"
#include "unit/gguf-builder.h"
#include "unit/worker-peer.h"
#include "channel/attachment.h"
#include "channel/frames.h"
#include "worker/worker.h"

static void test_batch_equals_alone(void **state)
{
	enum { N = 4 };
	struct answer alone[N];
	struct answer together[N];
	struct peer peer;
	struct dn_frame frame;
	uint32_t tokens[64];
	uint64_t first = 0;

	(void)state;
	peer_open(&peer);
	/* A batch that cuts the prompts, and fewer rows of logits than requests. */
	peer_load(&peer, N, 16);
	for (uint32_t i = 0; i < N; i++) {
		peer_tokens(&peer, tokens, 20 + 11 * i, i);
		peer_submit(&peer, &frame, i, 20);
		peer_ask(&peer, &frame, tokens, 20 + 11 * i, &alone[i]);
		assert_int_equal(alone[i].done.reason, DN_FINISH_LENGTH);
		assert_int_equal(alone[i].n, 20);
	}
	for (uint32_t i = 0; i < N; i++) {
		peer_tokens(&peer, tokens, 20 + 11 * i, i);
		peer_submit(&peer, &frame, i, 20);
		first = i == 0 ? frame.request : first;
		peer_send(&peer, &frame, tokens, (20 + 11 * i) * sizeof(uint32_t));
	}
	peer_collect(&peer, first, together, N);
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(together[i].n, alone[i].n);
		assert_memory_equal(together[i].tokens, alone[i].tokens,
				    alone[i].n * sizeof(uint32_t));
	}
	assert_memory_not_equal(alone[0].tokens, alone[1].tokens, sizeof(uint32_t) * 20);
	assert_int_equal(peer_close(&peer), 0);
}

static void test_continues(void **state)
{
	struct answer fresh;
	struct answer kept;
	struct answer again;
	struct answer branched;
	struct peer peer;
	struct dn_frame frame;
	uint32_t tokens[70];
	uint64_t request;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 2, 64);
	peer_tokens(&peer, tokens, 70, 3);

	peer_submit(&peer, &frame, 0, 8);
	peer_ask(&peer, &frame, tokens, 70, &fresh);
	assert_int_equal(fresh.accepted.reused_tokens, 0);

	peer_submit(&peer, &frame, 0, 5);
	frame.u.submit.keep = 1;
	peer_ask(&peer, &frame, tokens, 50, &kept);
	request = frame.request;

	/* 50 tokens of the prompt are common, the answer to it is not. */
	peer_submit(&peer, &frame, 0, 8);
	frame.u.submit.continues = request;
	frame.u.submit.branch = 1;
	peer_ask(&peer, &frame, tokens, 70, &branched);
	assert_int_equal(branched.accepted.reused_tokens, 50);
	assert_memory_equal(branched.tokens, fresh.tokens, 8 * sizeof(uint32_t));

	peer_submit(&peer, &frame, 0, 8);
	frame.u.submit.continues = request;
	peer_ask(&peer, &frame, tokens, 70, &again);
	assert_int_equal(again.accepted.reused_tokens, 50);
	assert_memory_equal(again.tokens, fresh.tokens, 8 * sizeof(uint32_t));

	/* It was used up: nothing is left to forget, and continuing from it is only slower. */
	peer_begin(&peer, &frame, DN_FRAME_FORGET);
	frame.u.sequence.kept = request;
	peer_send(&peer, &frame, NULL, 0);
	peer_receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_ERROR);
	assert_int_equal(frame.u.error.code, ENOENT);
	peer_submit(&peer, &frame, 0, 8);
	frame.u.submit.continues = request;
	peer_ask(&peer, &frame, tokens, 70, &again);
	assert_int_equal(again.accepted.reused_tokens, 0);
	assert_memory_equal(again.tokens, fresh.tokens, 8 * sizeof(uint32_t));
	assert_int_equal(peer_close(&peer), 0);
}

static void test_snapshot(void **state)
{
	struct answer kept;
	struct answer here;
	struct answer there;
	struct peer peer;
	struct peer other;
	struct dn_frame frame;
	struct dn_frame restore;
	uint32_t tokens[60];
	uint64_t size;
	int fd = -1;
	struct dn_error err = DN_ERROR_INIT;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 1, 64);
	peer_tokens(&peer, tokens, 60, 5);
	peer_submit(&peer, &frame, 0, 3);
	frame.u.submit.keep = 1;
	peer_ask(&peer, &frame, tokens, 45, &kept);

	peer_begin(&peer, &restore, DN_FRAME_SNAPSHOT);
	restore.u.sequence.kept = frame.request;
	peer_send(&peer, &restore, NULL, 0);
	peer_receive(&peer, &restore, &fd);
	assert_int_equal(restore.type, DN_FRAME_SNAPSHOT_OUT);
	size = restore.attachment;

	peer_submit(&peer, &restore, 0, 9);
	restore.u.submit.continues = frame.request;
	peer_ask(&peer, &restore, tokens, 60, &here);
	assert_int_equal(here.accepted.reused_tokens, 45);
	assert_int_equal(peer_close(&peer), 0);

	peer_open(&other);
	peer_load(&other, 1, 64);
	peer_begin(&other, &restore, DN_FRAME_RESTORE);
	restore.attachment = size;
	assert_int_equal(dn_channel_send(&other.ours, &restore, sizeof(restore), fd, &err), 0);
	close(fd);
	frame.request = restore.request;
	peer_receive(&other, &restore, NULL);
	assert_int_equal(restore.type, DN_FRAME_RESTORED);
	assert_in_range(restore.u.restored.tokens, 45, 48);
	peer_submit(&other, &restore, 0, 9);
	restore.u.submit.continues = frame.request;
	peer_ask(&other, &restore, tokens, 60, &there);
	assert_int_equal(there.accepted.reused_tokens, 45);
	assert_memory_equal(there.tokens, here.tokens, 9 * sizeof(uint32_t));
	assert_int_equal(peer_close(&other), 0);
}

static void test_limits_are_answers(void **state)
{
	struct answer answer;
	struct peer peer;
	struct dn_frame frame;
	uint32_t tokens[PEER_CONTEXT + 1];

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 1, 64);
	peer_tokens(&peer, tokens, PEER_CONTEXT + 1, 1);

	/* Too long: refused, with both numbers. */
	peer_submit(&peer, &frame, 0, 4);
	peer_ask(&peer, &frame, tokens, PEER_CONTEXT + 1, &answer);
	assert_int_equal(answer.error.code, E2BIG);
	assert_non_null(strstr(answer.error.message, "97 tokens"));
	assert_non_null(strstr(answer.error.message, "96"));

	/* As long as it fits: one token, and the context is full. */
	peer_submit(&peer, &frame, 0, 0);
	peer_ask(&peer, &frame, tokens, PEER_CONTEXT, &answer);
	assert_int_equal(answer.done.reason, DN_FINISH_CONTEXT);
	assert_int_equal(answer.n, 1);

	/* Overflow while generating. */
	peer_submit(&peer, &frame, 0, 0);
	peer_ask(&peer, &frame, tokens, PEER_CONTEXT - 10, &answer);
	assert_int_equal(answer.done.reason, DN_FINISH_CONTEXT);
	assert_int_equal(answer.n, 11);
	assert_int_equal(answer.done.output_tokens, 11);

	/* No tokens, and tokens that are none. */
	peer_submit(&peer, &frame, 0, 4);
	peer_ask(&peer, &frame, tokens, 0, &answer);
	assert_int_equal(answer.error.code, EINVAL);
	tokens[3] = peer.vocabulary;
	peer_submit(&peer, &frame, 0, 4);
	peer_ask(&peer, &frame, tokens, 10, &answer);
	assert_int_equal(answer.error.code, EINVAL);
	assert_non_null(strstr(answer.error.message, "token 3"));
	assert_int_equal(peer_close(&peer), 0);
}

#define CANCEL_TRIES 100

static void test_cancel(void **state)
{
	struct answer answer = { .n = 0 };
	struct peer peer;
	struct dn_frame frame;
	struct dn_frame cancel;
	uint32_t tokens[10];

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 1, 64);
	peer_tokens(&peer, tokens, 10, 1);
	/* An answer of so few tokens may end before the frame is there, where this thread waits. */
	for (int i = 0; i < CANCEL_TRIES && answer.done.reason != DN_FINISH_CANCELLED; i++) {
		peer_submit(&peer, &frame, 0, 0);
		peer_send(&peer, &frame, tokens, sizeof(tokens));
		dn_frame_init(&cancel, DN_FRAME_CANCEL, frame.request);
		peer_send(&peer, &cancel, NULL, 0);
		peer_collect(&peer, frame.request, &answer, 1);
	}
	assert_int_equal(answer.done.reason, DN_FINISH_CANCELLED);
	assert_in_range(answer.n, 0, PEER_CONTEXT - 10);

	/* What has ended cannot be cancelled; nothing comes back, and the worker lives. */
	peer_send(&peer, &cancel, NULL, 0);
	peer_submit(&peer, &frame, 0, 3);
	peer_ask(&peer, &frame, tokens, 10, &answer);
	assert_int_equal(answer.n, 3);
	assert_int_equal(peer_close(&peer), 0);
}

/* -log softmax of the rows that LOGITS gives must add up to what SCORE says. */
static void test_score_matches_logits(void **state)
{
	enum { N = 30, FIRST = 17 };
	struct peer peer;
	struct dn_frame frame;
	uint32_t tokens[N];
	double sum = 0;
	uint32_t done = 0;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 1, 8);
	peer_tokens(&peer, tokens, N, 2);
	peer_begin(&peer, &frame, DN_FRAME_LOGITS);
	peer_send(&peer, &frame, tokens, sizeof(tokens));
	while (done < N) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_mapped rows;
		int fd = -1;

		peer_receive(&peer, &frame, &fd);
		assert_int_equal(frame.type, DN_FRAME_LOGITS_OUT);
		assert_int_equal(frame.u.rows.first, done);
		assert_int_equal(frame.u.rows.total, N);
		assert_int_equal(dn_mapped_open(fd, frame.attachment, &rows, &err), 0);
		for (uint32_t i = 0; i < frame.u.rows.count; i++) {
			const float *row = (const float *)rows.data + (size_t)i * peer.vocabulary;
			double total = 0;

			if (done + i + 1 < FIRST || done + i + 1 >= N)
				continue;
			for (uint32_t j = 0; j < peer.vocabulary; j++)
				total += exp((double)row[j]);
			sum += log(total) - (double)row[tokens[done + i + 1]];
		}
		done += frame.u.rows.count;
		dn_mapped_done(&rows);
		close(fd);
	}
	peer_begin(&peer, &frame, DN_FRAME_SCORE);
	frame.u.score.first = FIRST;
	peer_send(&peer, &frame, tokens, sizeof(tokens));
	peer_receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_SCORED);
	assert_int_equal(frame.u.scored.n_scored, N - FIRST);
	assert_true(fabs(frame.u.scored.negative_log_likelihood - sum) < 1e-4 * sum);

	/* Nothing left to score. */
	peer_begin(&peer, &frame, DN_FRAME_SCORE);
	frame.u.score.first = N;
	peer_send(&peer, &frame, tokens, sizeof(tokens));
	peer_receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_ERROR);
	assert_int_equal(peer_close(&peer), 0);
}

static void test_requests_without_model(void **state)
{
	static const enum dn_frame_type types[] = {
		DN_FRAME_DESCRIBE, DN_FRAME_TOKENIZE, DN_FRAME_DETOKENIZE, DN_FRAME_SUBMIT,
		DN_FRAME_SNAPSHOT, DN_FRAME_FORGET,   DN_FRAME_GRAMMAR,
	};
	struct peer peer;
	struct dn_frame frame;

	(void)state;
	peer_open(&peer);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (types[i] == DN_FRAME_SUBMIT)
			peer_submit(&peer, &frame, 0, 1);
		else
			peer_begin(&peer, &frame, types[i]);
		if (types[i] == DN_FRAME_GRAMMAR)
			frame.u.grammar.kind = DN_GRAMMAR_JSON;
		if (types[i] == DN_FRAME_SNAPSHOT || types[i] == DN_FRAME_FORGET)
			frame.u.sequence.kept = 1;
		peer_send(&peer, &frame, NULL, 0);
		peer_receive(&peer, &frame, NULL);
		assert_int_equal(frame.type, DN_FRAME_ERROR);
		assert_int_equal(frame.request, peer.last);
	}
	assert_int_equal(peer_close(&peer), 0);
}

/* A frame against the schema ends the service, and the parent hears why. */
static void test_bad_frame_ends_it(void **state)
{
	struct peer peer;
	struct dn_frame frame;

	(void)state;
	peer_open(&peer);
	peer_submit(&peer, &frame, 0, 1);
	frame.u.submit.temperature = NAN;
	peer_send(&peer, &frame, NULL, 0);
	peer_receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_ERROR);
	assert_int_equal(frame.request, 0);
	assert_non_null(strstr(frame.u.error.message, "temperature"));
	assert_int_equal(pthread_join(peer.thread, NULL), 0);
	assert_int_equal(peer.result, -EBADMSG);
	dn_channel_done(&peer.ours);
}

/* A request number that is taken is refused; the request that has it goes on. */
static void test_number_in_use(void **state)
{
	struct peer peer;
	struct dn_frame frame;
	uint32_t tokens[8];
	bool refused = false;
	bool done = false;
	uint32_t n = 0;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 1, 64);
	peer_tokens(&peer, tokens, 8, 1);
	peer_submit(&peer, &frame, 0, 30);
	frame.u.submit.keep = 1;
	peer_send(&peer, &frame, tokens, sizeof(tokens));
	peer_send(&peer, &frame, tokens, sizeof(tokens));
	while (!refused || !done) {
		peer_receive(&peer, &frame, NULL);
		n += frame.type == DN_FRAME_OUTPUT;
		done |= frame.type == DN_FRAME_DONE;
		if (frame.type == DN_FRAME_ERROR) {
			assert_int_equal(frame.u.error.code, EEXIST);
			refused = true;
		}
	}
	assert_int_equal(n, 30);
	assert_int_equal(peer_close(&peer), 0);
}

static void test_nothing_allocates_per_token(void **state)
{
	struct peer peer;
	struct dn_frame frame;
	uint32_t tokens[8];
	uint32_t n = 0;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 1, 64);
	peer_tokens(&peer, tokens, 8, 1);
	peer_submit(&peer, &frame, 4, 60);
	frame.u.submit.logprobs = 3;
	frame.u.submit.penalty_last = 64;
	frame.u.submit.frequency_penalty = 0.5F;
	peer_send(&peer, &frame, tokens, sizeof(tokens));
	while (n < 60) {
		peer_receive(&peer, &frame, NULL);
		n += frame.type == DN_FRAME_OUTPUT;
		if (n == 2)
			failing_malloc_arm(0);
	}
	assert_int_equal(failing_malloc_total(), 0);
	peer_receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_DONE);
	assert_int_equal(peer_close(&peer), 0);
}

/* Each allocation of loading and submitting fails once: an error, and no worse. */
static void test_memory_runs_out(void **state)
{
	bool armed = true;

	(void)state;
	for (size_t nth = 1; armed; nth++) {
		struct peer peer;
		struct dn_frame frame;
		uint32_t tokens[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
		int model = peer_model();
		bool failed = false;

		peer_open(&peer);
		peer.vocabulary = 64;
		peer_submit(&peer, &frame, 1, 4);
		frame.request = 77;
		failing_malloc_arm(nth);
		peer_send_load(&peer, model, 1, 64);
		peer_send(&peer, &frame, tokens, sizeof(tokens));
		do {
			peer_receive(&peer, &frame, NULL);
			failed |= frame.type == DN_FRAME_ERROR;
		} while (frame.type != DN_FRAME_DONE &&
			 !(frame.type == DN_FRAME_ERROR && frame.request == 77));
		armed = failing_malloc_disarm();
		/* What the test itself allocates counts too: then it is the worker that succeeds. */
		if (!armed)
			assert_false(failed);
		assert_int_equal(peer_close(&peer), 0);
	}
}

static void refuse(struct dn_frame *frame, const char *field)
{
	struct dn_error err = DN_ERROR_INIT;

	assert_int_equal(dn_frame_check(frame, DN_FRAME_TO_WORKER, false, &err), -EBADMSG);
	if (!strstr(err.message, field))
		fail_msg("'%s' does not name %s", err.message, field);
}

static void good_submit(struct dn_frame *frame)
{
	dn_frame_init(frame, DN_FRAME_SUBMIT, 1);
	frame->u.submit.repeat_penalty = 1;
	frame->u.submit.top_p = 1;
}

#define REFUSED(member, value, name)                                                               \
	do {                                                                                       \
		struct dn_frame bad_;                                                              \
		good_submit(&bad_);                                                                \
		bad_.member = (value);                                                             \
		refuse(&bad_, name);                                                               \
	} while (0)

static void test_frame_fields(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;

	(void)state;
	good_submit(&frame);
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, false, &err), 0);
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, false, &err), -EBADMSG);
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), -EBADMSG);
	REFUSED(version, 1, "version 1");
	REFUSED(version, DN_CHANNEL_VERSION + 1, "version");
	REFUSED(type, 0, "type 0");
	REFUSED(type, 99, "type 99");
	REFUSED(type, DN_FRAME_DONE, "type 106");
	REFUSED(type, UINT32_MAX, "type");
	REFUSED(request, 0, "request");
	REFUSED(reserved, 1, "reserved");
	REFUSED(attachment, 4, "descriptor");
}

static void test_frame_submit(void **state)
{
	(void)state;
	REFUSED(u.submit.prompt_kind, 3, "prompt_kind");
	REFUSED(u.submit.ignore_eos, 2, "ignore_eos");
	REFUSED(u.submit.keep, 2, "keep");
	REFUSED(u.submit.branch, 2, "branch");
	REFUSED(u.submit.show_special, 2, "special");
	REFUSED(u.submit.speculation, 3, "speculation");
	REFUSED(u.submit.priority, DN_PRIORITY_BATCH + 1, "priority");
	REFUSED(u.submit.temperature, -1, "temperature");
	REFUSED(u.submit.temperature, INFINITY, "temperature");
	REFUSED(u.submit.top_p, 1.5F, "top_p");
	REFUSED(u.submit.min_p, NAN, "min_p");
	REFUSED(u.submit.repeat_penalty, 0, "repeat_penalty");
	REFUSED(u.submit.frequency_penalty, -INFINITY, "frequency_penalty");
	REFUSED(u.submit.presence_penalty, 1e30F, "presence_penalty");
}

static void test_frame_encode(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;

	(void)state;
	dn_frame_init(&frame, DN_FRAME_TOKENIZE, 1);
	frame.u.encode.prompt_kind = DN_PROMPT_CHAT;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, false, &err), 0);
	frame.u.encode.prompt_kind = DN_PROMPT_TOKENS;
	refuse(&frame, "prompt_kind");
	dn_frame_init(&frame, DN_FRAME_DETOKENIZE, 1);
	frame.u.encode.prompt_kind = DN_PROMPT_CHAT;
	refuse(&frame, "prompt_kind");
}

static void grammar_frame(struct dn_frame *frame, uint32_t kind, uint64_t attachment)
{
	dn_frame_init(frame, DN_FRAME_GRAMMAR, 1);
	frame->u.grammar.kind = kind;
	frame->attachment = attachment;
}

static void test_frame_grammar(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;

	(void)state;
	grammar_frame(&frame, DN_GRAMMAR_JSON, 0);
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, false, &err), 0);
	frame.u.grammar.reserved = 1;
	refuse(&frame, "reserved");
	grammar_frame(&frame, 0, 0);
	refuse(&frame, "kind");
	grammar_frame(&frame, DN_GRAMMAR_JSON + 1, 0);
	refuse(&frame, "kind");
	/* The others have a text. */
	grammar_frame(&frame, DN_GRAMMAR_GBNF, 0);
	refuse(&frame, "attachment");
	grammar_frame(&frame, DN_GRAMMAR_SCHEMA, DN_GRAMMAR_TEXT_MAX);
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), 0);
	frame.attachment++;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), -EBADMSG);
}

static void test_frame_samplers(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;

	(void)state;
	REFUSED(u.submit.dynatemp_range, NAN, "dynatemp_range");
	REFUSED(u.submit.dynatemp_exponent, -1, "dynatemp_exponent");
	REFUSED(u.submit.top_n_sigma, -2, "top_n_sigma");
	REFUSED(u.submit.typical_p, 1.5F, "typical_p");
	REFUSED(u.submit.xtc_probability, INFINITY, "xtc_probability");
	REFUSED(u.submit.xtc_threshold, 2, "xtc_threshold");
	REFUSED(u.submit.dry_multiplier, 101, "dry_multiplier");
	REFUSED(u.submit.dry_multiplier, 1, "dry_base");
	REFUSED(u.submit.dry_base, -1, "dry_base");
	REFUSED(u.submit.dry_allowed_length, 32769, "dry_allowed_length");
	REFUSED(u.submit.dry_penalty_last, 32769, "dry_penalty_last");
	REFUSED(u.submit.mirostat, 3, "mirostat");
	REFUSED(u.submit.mirostat_tau, -1, "mirostat_tau");
	REFUSED(u.submit.mirostat_eta, 11, "mirostat_eta");
	REFUSED(u.submit.n_breaker, 9, "n_breaker");
	REFUSED(u.submit.n_breaker, 1, "breaker");
	REFUSED(u.submit.breaker[1][0], 'a', "breaker");

	good_submit(&frame);
	frame.u.submit.n_breaker = 1;
	frame.u.submit.breaker[0][0] = '\n';
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, false, &err), 0);
	frame.u.submit.breaker[0][2] = 'a';
	refuse(&frame, "breaker");
	memset(frame.u.submit.breaker[0], 'a', DN_FRAME_BREAKER_BYTES);
	refuse(&frame, "breaker");
}

static void test_frame_lists(void **state)
{
	struct dn_frame frame;

	(void)state;
	REFUSED(u.submit.penalty_last, 5000, "penalty_last");
	REFUSED(u.submit.logprobs, 22, "logprobs");
	REFUSED(u.submit.n_stop, DN_FRAME_STOP_MAX + 1, "n_stop");
	REFUSED(u.submit.n_stop, 1, "stop");
	REFUSED(u.submit.stop[0], 'a', "stop");
	REFUSED(u.submit.grammar_behind[0], 'a', "grammar_behind");
	REFUSED(u.submit.n_bias, 33, "n_bias");
	REFUSED(u.submit.bias[0].token, 1, "bias");
	REFUSED(u.bytes[DN_FRAME_BODY - 1], 1, "unused");

	good_submit(&frame);
	frame.u.submit.n_stop = 1;
	memset(frame.u.submit.stop, 'a', DN_FRAME_STOP_BYTES);
	refuse(&frame, "stop");
	good_submit(&frame);
	frame.u.submit.n_stop = 2;
	memcpy(frame.u.submit.stop, "a\0\0b", 5);
	refuse(&frame, "stop");
}

static void test_frame_stops(void **state)
{
	static const char fifteen[] = "aaaaaaaaaaaaaaa";
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;

	(void)state;
	good_submit(&frame);
	assert_false(dn_frame_add_stop(&frame.u.submit, "", 0));
	assert_false(dn_frame_add_stop(&frame.u.submit, "a\0b", 3));
	for (uint32_t i = 0; i < DN_FRAME_STOP_MAX; i++)
		assert_true(dn_frame_add_stop(&frame.u.submit, fifteen, 15));
	assert_false(dn_frame_add_stop(&frame.u.submit, "b", 1));
	assert_int_equal(frame.u.submit.n_stop, DN_FRAME_STOP_MAX);
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, false, &err), 0);
	/* No room is left before there are as many. */
	good_submit(&frame);
	for (uint32_t i = 0; i < DN_FRAME_STOP_MAX - 1; i++)
		assert_true(dn_frame_add_stop(&frame.u.submit, fifteen, 15));
	assert_false(dn_frame_add_stop(&frame.u.submit, "aaaaaaaaaaaaaaaa", 16));
}

static void test_frames_from_worker(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;

	(void)state;
	dn_frame_init(&frame, DN_FRAME_ERROR, 0);
	frame.u.error.code = 5;
	dn_frame_set_text(frame.u.error.message, sizeof(frame.u.error.message), "a\033[2Jb", 6);
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, false, &err), 0);
	assert_null(strchr(frame.u.error.message, '\033'));
	frame.u.error.message[0] = '\033';
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, false, &err), -EBADMSG);

	dn_frame_init(&frame, DN_FRAME_OUTPUT, 3);
	frame.u.output.text_size = 2;
	memcpy(frame.u.output.text, "\xc3\xa4", 2);
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, false, &err), 0);
	frame.u.output.text_size = 1;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, false, &err), -EBADMSG);
	frame.u.output.text_size = DN_FRAME_TEXT_MAX + 1;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, false, &err), -EBADMSG);

	dn_frame_init(&frame, DN_FRAME_LOGITS_OUT, 3);
	frame.u.rows = (struct dn_frame_rows){ .first = 0, .count = 2, .total = 2, .columns = 10 };
	frame.attachment = 80;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, true, &err), 0);
	frame.u.rows.columns = 11;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, true, &err), -EBADMSG);
	frame.u.rows = (struct dn_frame_rows){ .first = 1, .count = 2, .total = 2, .columns = 10 };
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, true, &err), -EBADMSG);

	dn_frame_init(&frame, DN_FRAME_LOADED, 3);
	frame.u.loaded.depth = DN_LOAD_WEIGHTS;
	frame.u.loaded.context = 8;
	frame.u.loaded.vocabulary = 1;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, false, &err), -EBADMSG);
	frame.u.loaded.n_files = 1;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, false, &err), 0);
	frame.u.loaded.vocabulary = 0;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, false, &err), -EBADMSG);
	frame.u.loaded.depth = DN_LOAD_HEADER;
	frame.u.loaded.context = 0;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, false, &err), 0);
}

static void good_load(struct dn_frame *frame)
{
	dn_frame_init(frame, DN_FRAME_LOAD, 1);
	frame->u.load.threads = 2;
	frame->u.load.realtime = 1;
	frame->u.load.cpus[0] = 3;
	frame->u.load.cpus[1] = DN_LOAD_CPUS_MAX - 1;
}

static void test_frame_realtime(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;

	(void)state;
	good_load(&frame);
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), 0);
	frame.u.load.cpus[1] = DN_LOAD_CPUS_MAX;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), -EBADMSG);
	/* One for a thread that is not there; any at all without @realtime. */
	good_load(&frame);
	frame.u.load.cpus[2] = 1;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), -EBADMSG);
	good_load(&frame);
	frame.u.load.realtime = 0;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), -EBADMSG);
	good_load(&frame);
	frame.u.load.realtime = 2;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), -EBADMSG);
	good_load(&frame);
	frame.u.load.threads = 0;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), -EBADMSG);
}

static int check_file(uint32_t kind, float scale, bool has_fd)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;

	dn_frame_init(&frame, DN_FRAME_FILE, 1);
	frame.u.file.kind = kind;
	frame.u.file.scale = scale;
	return dn_frame_check(&frame, DN_FRAME_TO_WORKER, has_fd, &err);
}

/* PREPARE and GIVE_BACK take a file, and no more than the files that a model may have. */
static void test_frame_prepare(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;

	(void)state;
	dn_frame_init(&frame, DN_FRAME_PREPARE, 1);
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), 0);
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, false, &err), -EBADMSG);
	dn_frame_init(&frame, DN_FRAME_GIVE_BACK, 1);
	frame.u.give_back.file = DN_FILE_PARTS_MAX - 1;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), 0);
	frame.u.give_back.file = DN_FILE_PARTS_MAX;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), -EBADMSG);
	dn_frame_init(&frame, DN_FRAME_LOAD, 1);
	frame.u.load.prepared = 2;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), -EBADMSG);
}

static void test_frame_file(void **state)
{
	(void)state;
	assert_int_equal(check_file(DN_FILE_PART, 0, true), 0);
	assert_int_equal(check_file(DN_FILE_ADAPTER, -1.5F, true), 0);
	assert_int_equal(check_file(DN_FILE_ADAPTER, DN_FILE_SCALE_MAX, true), 0);
	assert_int_equal(check_file(DN_FILE_PART, 0, false), -EBADMSG);
	assert_int_equal(check_file(DN_FILE_PART, 1, true), -EBADMSG);
	assert_int_equal(check_file(DN_FILE_ADAPTER, NAN, true), -EBADMSG);
	assert_int_equal(check_file(DN_FILE_ADAPTER, INFINITY, true), -EBADMSG);
	assert_int_equal(check_file(DN_FILE_ADAPTER, -DN_FILE_SCALE_MAX * 2, true), -EBADMSG);
	assert_int_equal(check_file(DN_FILE_ADAPTER + 1, 0, true), -EBADMSG);
}

/* What the worker says to a FILE: READY is 0. */
static int send_file(struct peer *peer, enum dn_file_kind kind)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;
	int fd = gguf_fd_of_bytes("GGUF", 4);

	peer_begin(peer, &frame, DN_FRAME_FILE);
	frame.u.file.kind = kind;
	frame.u.file.scale = kind == DN_FILE_ADAPTER ? 0.5F : 0;
	assert_int_equal(dn_channel_send(&peer->ours, &frame, sizeof(frame), fd, &err), 0);
	close(fd);
	peer_receive(peer, &frame, NULL);
	if (frame.type == DN_FRAME_ERROR)
		return frame.u.error.code;
	assert_int_equal(frame.type, DN_FRAME_READY);
	return 0;
}

/* The errno that LOAD fails with. */
static int load_fails(struct peer *peer)
{
	struct dn_frame frame;

	peer_send_load(peer, peer_model(), 1, 64);
	peer_receive(peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_ERROR);
	return frame.u.error.code;
}

static void test_files(void **state)
{
	struct peer peer;

	(void)state;
	/* A part that belongs to no model, and none that come late. */
	peer_open(&peer);
	assert_int_equal(send_file(&peer, DN_FILE_PART), 0);
	assert_int_equal(load_fails(&peer), EINVAL);
	assert_int_equal(send_file(&peer, DN_FILE_PART), EALREADY);
	assert_int_equal(send_file(&peer, DN_FILE_ADAPTER), EALREADY);
	assert_int_equal(peer_close(&peer), 0);

	/* As many as there is room for. */
	peer_open(&peer);
	for (int i = 1; i < DN_FILE_PARTS_MAX; i++)
		assert_int_equal(send_file(&peer, DN_FILE_PART), 0);
	assert_int_equal(send_file(&peer, DN_FILE_PART), E2BIG);
	for (int i = 0; i < DN_FILE_ADAPTERS_MAX; i++)
		assert_int_equal(send_file(&peer, DN_FILE_ADAPTER), 0);
	assert_int_equal(send_file(&peer, DN_FILE_ADAPTER), E2BIG);
	assert_int_equal(load_fails(&peer), EINVAL);
	assert_int_equal(peer_close(&peer), 0);

	/* The model is sound; what the adapter lacks is the reason. */
	peer_open(&peer);
	assert_int_equal(send_file(&peer, DN_FILE_ADAPTER), 0);
	assert_int_equal(load_fails(&peer), EINVAL);
	assert_int_equal(peer_close(&peer), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame_fields),
		cmocka_unit_test(test_frame_submit),
		cmocka_unit_test(test_frame_encode),
		cmocka_unit_test(test_frame_grammar),
		cmocka_unit_test(test_frame_samplers),
		cmocka_unit_test(test_frame_lists),
		cmocka_unit_test(test_frame_stops),
		cmocka_unit_test(test_frames_from_worker),
		cmocka_unit_test(test_frame_prepare),
		cmocka_unit_test(test_frame_realtime),
		cmocka_unit_test(test_frame_file),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_requests_without_model),
		cmocka_unit_test(test_bad_frame_ends_it),
		cmocka_unit_test(test_batch_equals_alone),
		cmocka_unit_test(test_continues),
		cmocka_unit_test(test_snapshot),
		cmocka_unit_test(test_limits_are_answers),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_score_matches_logits),
		cmocka_unit_test(test_number_in_use),
		cmocka_unit_test(test_nothing_allocates_per_token),
		cmocka_unit_test(test_memory_runs_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
