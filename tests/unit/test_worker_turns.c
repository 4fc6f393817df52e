/* SPDX-License-Identifier: MIT */
/*
 * Requests of a worker beside each other: none waits until another has ended, what is kept goes
 * before anything fails, and lists of ids are embedded as they are.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <dunlin/channel.h>
#include <dunlin/model.h>

#include "channel/channel.h"
#include "unit/worker-peer.h"
#include "channel/attachment.h"

/* Ids to rows as EMBED gives them, two lists a request; the code of the error where it fails. */
static int embed_ids(struct peer *peer, const uint32_t *ids, const uint32_t counts[2],
		     uint32_t truncate, float *ret_rows, struct dn_frame_embedded *ret_embedded)
{
	uint32_t packed[3 + 2 * PEER_TOKENS_MAX] = { 2, counts[0] * 4, counts[1] * 4 };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_mapped rows;
	struct dn_frame frame;
	int fd = -1;

	memcpy(packed + 3, ids, (counts[0] + counts[1]) * sizeof(*ids));
	peer_begin(peer, &frame, DN_FRAME_EMBED);
	frame.u.embed.kind = DN_EMBED_TOKENS;
	frame.u.embed.pooling = DN_POOLING_LAST;
	frame.u.embed.truncate = truncate;
	peer_send(peer, &frame, packed, (3 + counts[0] + counts[1]) * sizeof(*ids));
	peer_receive(peer, &frame, &fd);
	if (frame.type == DN_FRAME_ERROR)
		return -frame.u.error.code;
	assert_int_equal(frame.type, DN_FRAME_EMBEDDED);
	*ret_embedded = frame.u.embedded;
	assert_int_equal(dn_mapped_open(fd, frame.attachment, &rows, &err), 0);
	memcpy(ret_rows, rows.data, rows.size);
	dn_mapped_done(&rows);
	close(fd);
	return 0;
}

/* Ids are computed as they are: no vocabulary is needed, and nothing is put around them. */
static void test_embed_ids(void **state)
{
	enum { DIM_MAX = 1024 };
	static float rows[2 * DIM_MAX];
	static float alone[2 * DIM_MAX];
	struct dn_frame_embedded embedded = { 0 };
	uint32_t tokens[PEER_TOKENS_MAX];
	struct peer peer;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 1, 64);
	peer_tokens(&peer, tokens, PEER_TOKENS_MAX, 4);
	assert_int_equal(embed_ids(&peer, tokens, (uint32_t[]){ 9, 5 }, 0, rows, &embedded), 0);
	assert_int_equal(embedded.count, 2);
	assert_int_equal(embedded.tokens, 14);
	assert_in_range(embedded.columns, 1, DIM_MAX);
	/* The second list by itself, and twice. */
	assert_int_equal(embed_ids(&peer, tokens + 9, (uint32_t[]){ 5, 1 }, 0, alone, &embedded),
			 0);
	assert_memory_equal(alone, rows + embedded.columns, embedded.columns * sizeof(float));
	assert_memory_not_equal(alone, rows, embedded.columns * sizeof(float));

	/* Too long for the context: an error, or its head. */
	assert_int_equal(
		embed_ids(&peer, tokens, (uint32_t[]){ PEER_CONTEXT + 1, 5 }, 0, rows, &embedded),
		-E2BIG);
	assert_int_equal(
		embed_ids(&peer, tokens, (uint32_t[]){ PEER_CONTEXT + 1, 5 }, 1, rows, &embedded),
		0);
	assert_int_equal(embedded.count, 1);
	assert_int_equal(embedded.truncated, 1);
	assert_int_equal(embedded.tokens, PEER_CONTEXT);
	peer_receive(&peer, &(struct dn_frame){ 0 }, NULL);

	assert_int_equal(embed_ids(&peer, tokens, (uint32_t[]){ 3, 0 }, 0, rows, &embedded),
			 -EINVAL);
	tokens[7] = peer.vocabulary;
	assert_int_equal(embed_ids(&peer, tokens, (uint32_t[]){ 9, 5 }, 0, rows, &embedded),
			 -EINVAL);
	assert_int_equal(peer_close(&peer), 0);
}

/* Many texts, and then one: it does not wait for all of them. */
static void test_embeds_take_turns(void **state)
{
	/* More frames of rows than the channel holds, so that the first cannot be done too soon. */
	enum { MANY = 400 * 32 };
	static uint32_t many[1 + 2 * MANY];
	const uint32_t one[] = { 1, sizeof(uint32_t), 5 };
	uint32_t before = 0;
	struct peer peer;
	struct dn_frame frame;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 1, 64);
	many[0] = MANY;
	for (uint32_t i = 0; i < MANY; i++) {
		many[1 + i] = sizeof(uint32_t);
		many[1 + MANY + i] = i % peer.vocabulary;
	}
	peer_begin(&peer, &frame, DN_FRAME_EMBED);
	frame.u.embed.kind = DN_EMBED_TOKENS;
	frame.u.embed.pooling = DN_POOLING_LAST;
	peer_send(&peer, &frame, many, sizeof(many));
	frame.request = ++peer.last;
	peer_send(&peer, &frame, one, sizeof(one));
	for (;;) {
		peer_receive(&peer, &frame, NULL);
		assert_int_equal(frame.type, DN_FRAME_EMBEDDED);
		if (frame.request == peer.last)
			break;
		before = frame.u.embedded.first + frame.u.embedded.count;
	}
	assert_in_range(before, 0, MANY - 1);
	while (before < MANY) {
		peer_receive(&peer, &frame, NULL);
		assert_int_equal(frame.u.embedded.first, before);
		before += frame.u.embedded.count;
	}
	assert_int_equal(peer_close(&peer), 0);
}

/* More answers than a step has rows (4) do not keep a new prompt waiting until one of them ends. */
static void test_prompts_do_not_wait(void **state)
{
	enum { N = 7, LONG = 80, SHORT = 2 };
	struct peer peer;
	struct dn_frame frame;
	uint32_t tokens[8];
	uint32_t n = 0;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, N, 64);
	peer_tokens(&peer, tokens, 8, 1);
	for (uint32_t i = 0; i < N; i++) {
		peer_submit(&peer, &frame, i, i < N - 1 ? LONG : SHORT);
		peer_send(&peer, &frame, tokens, sizeof(tokens));
	}
	/* The first to end is the one that came last and wants least. */
	do {
		peer_receive(&peer, &frame, NULL);
		n += frame.type == DN_FRAME_OUTPUT && frame.request == peer.last;
	} while (frame.type != DN_FRAME_DONE);
	assert_int_equal(frame.request, peer.last);
	assert_in_range(n, SHORT, SHORT + 1);
	for (uint32_t i = 0; i < N - 1;) {
		peer_receive(&peer, &frame, NULL);
		i += frame.type == DN_FRAME_DONE;
	}
	assert_int_equal(peer_close(&peer), 0);
}

/* An answer gets on while small requests come one behind the other. */
static void test_small_requests_do_not_stop_steps(void **state)
{
	enum { SMALL = 48 };
	const uint32_t tokens[] = { 1, 2, 3 };
	uint32_t answered = 0;
	uint64_t submit;
	struct peer peer;
	struct dn_frame frame;

	(void)state;
	peer_connect(&peer);
	peer_send_load(&peer, peer_model(), 1, 64);
	peer_submit(&peer, &frame, 0, 4);
	submit = frame.request;
	peer_send(&peer, &frame, tokens, sizeof(tokens));
	for (uint32_t i = 0; i < SMALL; i++) {
		peer_begin(&peer, &frame, DN_FRAME_FORGET);
		frame.u.sequence.kept = 1000;
		peer_send(&peer, &frame, NULL, 0);
	}
	peer_start(&peer);
	do {
		peer_receive(&peer, &frame, NULL);
		answered += frame.type == DN_FRAME_ERROR;
	} while (frame.type != DN_FRAME_OUTPUT);
	assert_int_equal(frame.request, submit);
	assert_in_range(answered, 0, SMALL / 2);
	while (answered < SMALL) {
		peer_receive(&peer, &frame, NULL);
		answered += frame.type == DN_FRAME_ERROR;
	}
	assert_int_equal(peer_close(&peer), 0);
}

/* A cache for one context, wanted by four: they take turns, and get what each gets alone. */
static void test_cache_runs_out(void **state)
{
	enum { N = 4 };
	struct answer alone[N];
	struct answer answers[N];
	struct peer peer;
	struct dn_frame frame;
	uint32_t tokens[40];
	uint64_t first = 0;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 1, 64);
	for (uint32_t i = 0; i < N; i++) {
		peer_tokens(&peer, tokens, 40, i);
		peer_submit(&peer, &frame, i, 50);
		peer_ask(&peer, &frame, tokens, 40, &alone[i]);
		assert_int_equal(alone[i].n, 50);
	}
	for (uint32_t i = 0; i < N; i++) {
		peer_tokens(&peer, tokens, 40, i);
		peer_submit(&peer, &frame, i, 50);
		first = i == 0 ? frame.request : first;
		peer_send(&peer, &frame, tokens, sizeof(tokens));
	}
	peer_collect(&peer, first, answers, N);
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(answers[i].done.reason, DN_FINISH_LENGTH);
		assert_int_equal(answers[i].n, 50);
		assert_memory_equal(answers[i].tokens, alone[i].tokens, 50 * sizeof(uint32_t));
	}
	assert_int_equal(peer_close(&peer), 0);
}

/* More requests than places: the surplus is told so, the others are served. */
static void test_places_run_out(void **state)
{
	enum { N = 6 };
	struct answer answers[N];
	struct peer peer;
	struct dn_frame frame;
	uint32_t tokens[8];
	uint64_t first = 0;
	uint32_t served = 0;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 1, 64);
	peer_tokens(&peer, tokens, 8, 1);
	for (uint32_t i = 0; i < N; i++) {
		peer_submit(&peer, &frame, i, 12);
		first = i == 0 ? frame.request : first;
		peer_send(&peer, &frame, tokens, sizeof(tokens));
	}
	peer_collect(&peer, first, answers, N);
	for (uint32_t i = 0; i < N; i++) {
		if (answers[i].error.code == 0 && answers[i].n == 12)
			served++;
		else
			assert_int_equal(answers[i].error.code, EAGAIN);
	}
	assert_in_range(served, 4, N);
	assert_int_equal(peer_close(&peer), 0);
}

/* As many conversations as there are places, in turns: each goes on from what it has. */
static void test_continues_the_oldest(void **state)
{
	enum { PLACES = 4 };
	uint64_t requests[PLACES];
	struct answer answer;
	struct peer peer;
	struct dn_frame frame;
	uint32_t tokens[24];

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 1, 64);
	for (uint32_t i = 0; i < PLACES; i++) {
		peer_tokens(&peer, tokens, 16, i);
		peer_submit(&peer, &frame, 0, 2);
		frame.u.submit.keep = 1;
		peer_ask(&peer, &frame, tokens, 16, &answer);
		requests[i] = frame.request;
	}
	peer_tokens(&peer, tokens, 20, 0);
	peer_submit(&peer, &frame, 0, 2);
	frame.u.submit.continues = requests[0];
	peer_ask(&peer, &frame, tokens, 20, &answer);
	assert_int_equal(answer.accepted.reused_tokens, 16);
	assert_int_equal(peer_close(&peer), 0);
}

/* A cache that another kept sequence fills: it makes room for what comes back. */
static void test_restore_evicts(void **state)
{
	struct answer answer;
	struct peer peer;
	struct dn_frame frame;
	struct dn_error err = DN_ERROR_INIT;
	uint32_t tokens[80];
	uint64_t size;
	uint64_t request;
	int fd = -1;

	(void)state;
	peer_open(&peer);
	peer_load(&peer, 1, 64);
	peer_tokens(&peer, tokens, 80, 5);
	peer_submit(&peer, &frame, 0, 1);
	frame.u.submit.keep = 1;
	peer_ask(&peer, &frame, tokens, 60, &answer);
	request = frame.request;
	peer_begin(&peer, &frame, DN_FRAME_SNAPSHOT);
	frame.u.sequence.kept = request;
	peer_send(&peer, &frame, NULL, 0);
	peer_receive(&peer, &frame, &fd);
	assert_int_equal(frame.type, DN_FRAME_SNAPSHOT_OUT);
	size = frame.attachment;

	peer_tokens(&peer, tokens, 80, 6);
	peer_submit(&peer, &frame, 0, 1);
	frame.u.submit.keep = 1;
	peer_ask(&peer, &frame, tokens, 80, &answer);
	assert_int_equal(answer.done.reason, DN_FINISH_LENGTH);

	peer_begin(&peer, &frame, DN_FRAME_RESTORE);
	frame.attachment = size;
	request = frame.request;
	assert_int_equal(dn_channel_send(&peer.ours, &frame, sizeof(frame), fd, &err), 0);
	close(fd);
	peer_receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_RESTORED);
	assert_int_equal(frame.u.restored.tokens, 60);
	peer_tokens(&peer, tokens, 80, 5);
	peer_submit(&peer, &frame, 0, 1);
	frame.u.submit.continues = request;
	peer_ask(&peer, &frame, tokens, 64, &answer);
	assert_int_equal(answer.accepted.reused_tokens, 60);
	assert_int_equal(peer_close(&peer), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_embed_ids),
		cmocka_unit_test(test_embeds_take_turns),
		cmocka_unit_test(test_prompts_do_not_wait),
		cmocka_unit_test(test_small_requests_do_not_stop_steps),
		cmocka_unit_test(test_cache_runs_out),
		cmocka_unit_test(test_places_run_out),
		cmocka_unit_test(test_continues_the_oldest),
		cmocka_unit_test(test_restore_evicts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
