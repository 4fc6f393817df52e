/* SPDX-License-Identifier: MIT */
/*
 * Whose turn it is: priorities and deadlines, prefixes that are computed once, and a parent that
 * takes over from another.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <dunlin/channel.h>

#include "channel/attachment.h"
#include "channel/channel.h"
#include "unit/worker-peer.h"

#define SEQUENCES 3
#define BATCH	  16
#define PROMPT	  40
#define SECOND	  1000000000U

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static void send_prompt(struct peer *peer, struct dn_frame *frame, uint32_t seed, uint32_t n)
{
	uint32_t tokens[PEER_TOKENS_MAX];

	peer_tokens(peer, tokens, n, seed);
	peer_send(peer, frame, tokens, n * sizeof(*tokens));
}

/* What a prompt gives when nobody else is there. */
static void ask_alone(struct peer *peer, uint32_t seed, uint32_t n, uint32_t max,
		      struct answer *answer)
{
	struct dn_frame frame;
	uint32_t tokens[PEER_TOKENS_MAX];

	peer_tokens(peer, tokens, n, seed);
	peer_submit(peer, &frame, 0, max);
	peer_ask(peer, &frame, tokens, n, answer);
	assert_int_equal(answer->error.code, 0);
}

/*
 * Two long answers of lower priority, begun first, and one of higher priority that comes later: from
 * its acceptance to its end no other says anything, and all are what they would be alone.
 */
static void check_preemption(uint32_t low, uint32_t high)
{
	struct answer alone[3];
	struct answer got[3];
	struct dn_frame frame;
	struct peer peer;
	uint64_t first;
	bool accepted = false;
	bool ended = false;
	uint32_t before = 0;
	uint32_t open = 3;

	peer_open(&peer);
	peer_load(&peer, SEQUENCES, BATCH);
	for (uint32_t i = 0; i < 3; i++)
		ask_alone(&peer, i + 1, PROMPT, i < 2 ? 50 : 10, &alone[i]);
	memset(got, 0, sizeof(got));
	peer_submit(&peer, &frame, 0, 50);
	frame.u.submit.priority = low;
	first = frame.request;
	send_prompt(&peer, &frame, 1, PROMPT);
	peer_submit(&peer, &frame, 0, 50);
	frame.u.submit.priority = low;
	send_prompt(&peer, &frame, 2, PROMPT);
	while (open > 0) {
		struct answer *answer;
		uint32_t which;

		peer_receive(&peer, &frame, NULL);
		which = (uint32_t)(frame.request - first);
		assert_in_range(which, 0, 2);
		answer = &got[which];
		if (frame.type == DN_FRAME_OUTPUT) {
			if (accepted && !ended)
				assert_int_equal(which, 2);
			answer->tokens[answer->n++] = frame.u.output.token;
			/* Both have begun: now the other one comes. */
			if (which < 2 && ++before == 6) {
				peer_submit(&peer, &frame, 0, 10);
				frame.u.submit.priority = high;
				send_prompt(&peer, &frame, 3, PROMPT);
			}
		} else if (frame.type == DN_FRAME_ACCEPTED) {
			accepted |= which == 2;
		} else {
			assert_int_equal(frame.type, DN_FRAME_DONE);
			assert_int_equal(frame.u.done.reason, DN_FINISH_LENGTH);
			ended |= which == 2;
			open--;
		}
	}
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(got[i].n, alone[i].n);
		assert_memory_equal(got[i].tokens, alone[i].tokens, alone[i].n * sizeof(uint32_t));
	}
	assert_int_equal(peer_close(&peer), 0);
}

static void test_urgent_before_normal(void **state)
{
	(void)state;
	check_preemption(DN_PRIORITY_NORMAL, DN_PRIORITY_URGENT);
}

static void test_normal_before_batch(void **state)
{
	(void)state;
	check_preemption(DN_PRIORITY_BATCH, DN_PRIORITY_NORMAL);
}

/* Five prompts of one client and then one of another: it is not the last to be computed. */
static void test_fair_turns(void **state)
{
	struct dn_frame frame;
	struct peer peer;
	uint32_t ended = 0;
	uint32_t place = 0;
	uint64_t first = 0;

	(void)state;
	peer_connect(&peer);
	peer.vocabulary = 100; /* of the tiny model, more or less; known before it is loaded */
	peer_send_load(&peer, peer_model(), SEQUENCES, BATCH);
	for (uint32_t i = 0; i < 6; i++) {
		peer_submit(&peer, &frame, 0, 1);
		frame.u.submit.client = i < 5 ? 1 : 2;
		first = first ? first : frame.request;
		send_prompt(&peer, &frame, i, PROMPT);
	}
	peer_start(&peer);
	peer_receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_LOADED);
	while (ended < 6) {
		peer_receive(&peer, &frame, NULL);
		assert_int_not_equal(frame.type, DN_FRAME_ERROR);
		if (frame.type != DN_FRAME_DONE)
			continue;
		ended++;
		if (frame.request == first + 5)
			place = ended;
	}
	/* It may have come behind a step or two. */
	assert_in_range(place, 1, 4);
	assert_int_equal(peer_close(&peer), 0);
}

static void submit_in_space(struct peer *peer, struct dn_frame *frame, uint64_t space, uint32_t max)
{
	peer_submit(peer, frame, 0, max);
	frame->u.submit.space = space;
	frame->u.submit.keep = space != 0;
}

/* A prefix is used again by whoever is of the same space, and by nobody else. */
static void test_prefix_of_a_space(void **state)
{
	uint32_t tokens[PEER_TOKENS_MAX];
	struct answer alone;
	struct answer answer;
	struct dn_frame frame;
	struct peer peer;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, SEQUENCES, BATCH);
	peer_tokens(&peer, tokens, PROMPT, 5);
	ask_alone(&peer, 5, PROMPT, 8, &alone);
	/* That was of no space: nothing is left of it. */
	submit_in_space(&peer, &frame, 7, 8);
	peer_ask(&peer, &frame, tokens, PROMPT, &answer);
	assert_int_equal(answer.done.reused_tokens, 0);
	submit_in_space(&peer, &frame, 7, 8);
	peer_ask(&peer, &frame, tokens, PROMPT, &answer);
	assert_int_equal(answer.done.reused_tokens, PROMPT - 1);
	assert_int_equal(answer.accepted.reused_tokens, PROMPT - 1);
	assert_int_equal(answer.hash, alone.hash);
	/* Another's prefix, and one that differs from its second half on. */
	submit_in_space(&peer, &frame, 8, 8);
	peer_ask(&peer, &frame, tokens, PROMPT, &answer);
	assert_int_equal(answer.done.reused_tokens, 0);
	assert_int_equal(answer.hash, alone.hash);
	tokens[PROMPT / 2] = (tokens[PROMPT / 2] + 1) % peer.vocabulary;
	submit_in_space(&peer, &frame, 7, 8);
	peer_ask(&peer, &frame, tokens, PROMPT, &answer);
	assert_int_equal(answer.done.reused_tokens, PROMPT / 2);
	assert_int_equal(peer_close(&peer), 0);
}

/* Two with the same prompt that come together: it is computed once. */
static void test_prefix_of_those_that_run(void **state)
{
	struct answer answers[2];
	struct dn_frame frame;
	struct peer peer;
	uint64_t first = 0;

	(void)state;
	peer_connect(&peer);
	peer.vocabulary = 100;
	peer_send_load(&peer, peer_model(), SEQUENCES, BATCH);
	for (uint32_t i = 0; i < 2; i++) {
		submit_in_space(&peer, &frame, 7, 8);
		first = first ? first : frame.request;
		send_prompt(&peer, &frame, 9, PROMPT);
	}
	peer_start(&peer);
	peer_receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_LOADED);
	peer_collect(&peer, first, answers, 2);
	assert_int_equal(answers[0].error.code, 0);
	assert_int_equal(answers[1].error.code, 0);
	assert_int_equal(answers[0].done.reused_tokens, 0);
	/* What is left of a block may be computed beside the first. */
	assert_in_range(answers[1].done.reused_tokens, PROMPT - 16, PROMPT - 1);
	assert_int_equal(answers[0].hash, answers[1].hash);
	assert_int_equal(peer_close(&peer), 0);
}

/* Kept prefixes go, the oldest first, and never is there no room for a request. */
static void test_prefixes_are_bounded(void **state)
{
	struct answer answer;
	struct dn_frame frame;
	struct peer peer;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 1, BATCH);
	for (uint32_t i = 0; i < 40; i++) {
		uint32_t tokens[PEER_TOKENS_MAX];

		peer_tokens(&peer, tokens, PROMPT, i);
		submit_in_space(&peer, &frame, 7, 20);
		peer_ask(&peer, &frame, tokens, PROMPT, &answer);
		assert_int_equal(answer.error.code, 0);
		assert_int_equal(answer.done.output_tokens, 20);
	}
	assert_int_equal(peer_close(&peer), 0);
}

static void test_deadline_that_passed(void **state)
{
	struct answer answer;
	struct dn_frame frame;
	struct peer peer;
	uint32_t tokens[PEER_TOKENS_MAX];

	(void)state;
	peer_open(&peer);
	peer_load(&peer, SEQUENCES, BATCH);
	peer_tokens(&peer, tokens, PROMPT, 1);
	peer_submit(&peer, &frame, 0, 5);
	frame.u.submit.first_deadline_ns = 1;
	peer_ask(&peer, &frame, tokens, PROMPT, &answer);
	assert_int_equal(answer.error.code, ETIME);
	assert_int_equal(answer.n, 0);
	peer_submit(&peer, &frame, 0, 5);
	frame.u.submit.end_deadline_ns = now_ns() - 1;
	peer_ask(&peer, &frame, tokens, PROMPT, &answer);
	assert_int_equal(answer.error.code, ETIME);
	/* Time enough is no reason to refuse. */
	peer_submit(&peer, &frame, 0, 5);
	frame.u.submit.first_deadline_ns = now_ns() + 600ULL * SECOND;
	frame.u.submit.end_deadline_ns = now_ns() + 600ULL * SECOND;
	peer_ask(&peer, &frame, tokens, PROMPT, &answer);
	assert_int_equal(answer.error.code, 0);
	assert_int_equal(answer.n, 5);
	assert_int_equal(peer_close(&peer), 0);
}

/* Once steps were measured, what cannot be met is refused before it is begun, with the time. */
static void test_deadline_that_cannot_be_met(void **state)
{
	struct answer answer;
	struct dn_frame frame;
	struct peer peer;
	uint32_t tokens[PEER_TOKENS_MAX];

	(void)state;
	peer_open(&peer);
	peer_load(&peer, SEQUENCES, BATCH);
	peer_tokens(&peer, tokens, PROMPT, 1);
	ask_alone(&peer, 2, PROMPT, 20, &answer);
	assert_int_equal(answer.accepted.first_ns, 0);
	ask_alone(&peer, 3, PROMPT, 20, &answer);
	assert_true(answer.accepted.first_ns > 0);
	assert_true(answer.accepted.end_ns > answer.accepted.first_ns);
	peer_submit(&peer, &frame, 0, 50);
	frame.u.submit.end_deadline_ns = now_ns() + 1000;
	peer_ask(&peer, &frame, tokens, PROMPT, &answer);
	assert_int_equal(answer.error.code, ETIME);
	assert_true(answer.error.predicted_ns > 1000);
	assert_non_null(strstr(answer.error.message, "deadline"));
	assert_int_equal(peer_close(&peer), 0);
}

/* A new parent: what the old one asked for is gone without a word, what was kept is not. */
static void test_reset(void **state)
{
	struct answer answer;
	struct dn_frame frame;
	struct peer peer;
	uint32_t tokens[PEER_TOKENS_MAX];
	uint64_t reset;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, SEQUENCES, BATCH);
	peer_tokens(&peer, tokens, PROMPT, 1);
	submit_in_space(&peer, &frame, 7, 4);
	peer_ask(&peer, &frame, tokens, PROMPT, &answer);
	for (uint32_t i = 0; i < 3; i++) {
		peer_submit(&peer, &frame, 0, 50);
		send_prompt(&peer, &frame, i + 2, PROMPT);
	}
	reset = peer_begin(&peer, &frame, DN_FRAME_RESET);
	peer_send(&peer, &frame, NULL, 0);
	do
		peer_receive(&peer, &frame, NULL);
	while (frame.request != reset);
	assert_int_equal(frame.type, DN_FRAME_READY);
	/* Nothing but what is asked for now. */
	submit_in_space(&peer, &frame, 7, 4);
	peer_ask(&peer, &frame, tokens, PROMPT, &answer);
	assert_int_equal(answer.error.code, 0);
	assert_int_equal(answer.done.reused_tokens, PROMPT - 1);
	assert_int_equal(peer_close(&peer), 0);
}

/* PLAN tells what LOAD takes, before it does. */
static void test_plan(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame_planned planned;
	struct dn_frame frame;
	struct peer peer;
	int fd = peer_model();

	(void)state;
	peer_open(&peer);
	peer_begin(&peer, &frame, DN_FRAME_PLAN);
	peer_send(&peer, &frame, NULL, 0);
	peer_receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_ERROR);
	peer_begin(&peer, &frame, DN_FRAME_LOAD);
	frame.u.load.depth = DN_LOAD_HEADER;
	assert_int_equal(dn_channel_send(&peer.ours, &frame, sizeof(frame), fd, &err), 0);
	peer_receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_LOADED);
	peer_begin(&peer, &frame, DN_FRAME_PLAN);
	frame.u.load = (struct dn_frame_load){
		.threads = 2, .context = PEER_CONTEXT, .sequences = 2, .batch = BATCH, .outputs = 4
	};
	peer_send(&peer, &frame, NULL, 0);
	peer_receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_PLANNED);
	planned = frame.u.planned;
	assert_int_equal(planned.context, PEER_CONTEXT);
	assert_true(planned.total >= planned.weights + planned.cache);
	peer_begin(&peer, &frame, DN_FRAME_PLAN);
	frame.u.load.memory = planned.total - 1;
	frame.u.load.context = PEER_CONTEXT;
	frame.u.load.sequences = 2;
	frame.u.load.threads = 2;
	peer_send(&peer, &frame, NULL, 0);
	peer_receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_ERROR);
	assert_int_equal(frame.u.error.code, ENOMEM);
	assert_int_equal(peer_close(&peer), 0);

	peer_open(&peer);
	peer_send_load(&peer, fd, 2, BATCH);
	peer_receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_LOADED);
	assert_int_equal(frame.u.loaded.planned_bytes, planned.total);
	assert_int_equal(peer_close(&peer), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_urgent_before_normal),
		cmocka_unit_test(test_normal_before_batch),
		cmocka_unit_test(test_fair_turns),
		cmocka_unit_test(test_prefix_of_a_space),
		cmocka_unit_test(test_prefix_of_those_that_run),
		cmocka_unit_test(test_prefixes_are_bounded),
		cmocka_unit_test(test_deadline_that_passed),
		cmocka_unit_test(test_deadline_that_cannot_be_met),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_plan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
