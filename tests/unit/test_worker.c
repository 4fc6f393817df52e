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
#include <dunlin/model.h>

#include "kernels/types.h"
#include "sandbox/channel.h"
#include "unit/failing-malloc.h"
#include "unit/tiny-model.h"
#include "worker/attachment.h"
#include "worker/frames.h"
#include "worker/worker.h"

#define CONTEXT	   96
#define TOKENS_MAX 128

struct peer {
	struct dn_channel ours;
	struct dn_channel theirs;
	pthread_t thread;
	struct dn_error err;
	int result;
	uint64_t last;
	uint32_t vocabulary;
	uint32_t context;
};

struct answer {
	uint32_t tokens[TOKENS_MAX];
	uint32_t n;
	struct dn_frame_accepted accepted;
	struct dn_frame_done done;
	struct dn_frame_error error; /* code 0: none */
	bool ended;
};

static void *serve(void *data)
{
	struct peer *peer = data;
	struct dn_worker_measures measures = { 0, 0 };

	peer->result = dn_worker_serve(&peer->theirs, &measures, &peer->err);
	dn_channel_done(&peer->theirs);
	return NULL;
}

static void receive(struct peer *peer, struct dn_frame *frame, int *fd)
{
	struct dn_error err = DN_ERROR_INIT;
	int own = -1;

	if (dn_channel_receive(&peer->ours, frame, sizeof(*frame), &own, &err) != 1)
		fail_msg("the worker is gone: %s", err.message);
	if (dn_frame_check(frame, DN_FRAME_FROM_WORKER, own >= 0, &err) < 0)
		fail_msg("%s", err.message);
	if (fd)
		*fd = own;
	else if (own >= 0)
		close(own);
}

static void open_peer(struct peer *peer)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;

	memset(peer, 0, sizeof(*peer));
	if (dn_channel_pair(&peer->ours, &peer->theirs, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(pthread_create(&peer->thread, NULL, serve, peer), 0);
	receive(peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_HELLO);
	assert_int_equal(frame.u.hello.version, DN_CHANNEL_VERSION);
}

/* Closes the channel; the service must end by that. */
static int close_peer(struct peer *peer)
{
	dn_channel_done(&peer->ours);
	assert_int_equal(pthread_join(peer->thread, NULL), 0);
	return peer->result;
}

static void send_frame(struct peer *peer, struct dn_frame *frame, const void *data, size_t size)
{
	struct dn_error err = DN_ERROR_INIT;
	int fd = -1;

	if (dn_attach(data, size, &fd, &err) < 0)
		fail_msg("%s", err.message);
	frame->attachment = size;
	if (dn_channel_send(&peer->ours, frame, sizeof(*frame), fd, &err) < 0)
		fail_msg("%s", err.message);
	if (fd >= 0)
		close(fd);
}

static uint64_t begin(struct peer *peer, struct dn_frame *frame, enum dn_frame_type type)
{
	dn_frame_init(frame, type, ++peer->last);
	return peer->last;
}

static int make_model(void)
{
	struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);

	return tiny_model_fd(&tiny);
}

static void send_load(struct peer *peer, int fd, uint32_t sequences, uint32_t batch)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;

	begin(peer, &frame, DN_FRAME_LOAD);
	frame.u.load = (struct dn_frame_load){
		.depth = DN_LOAD_WEIGHTS,
		.threads = 2,
		.context = CONTEXT,
		.sequences = sequences,
		.batch = batch,
		.outputs = 4,
	};
	if (dn_channel_send(&peer->ours, &frame, sizeof(frame), fd, &err) < 0)
		fail_msg("%s", err.message);
	close(fd);
}

static void load(struct peer *peer, uint32_t sequences, uint32_t batch)
{
	struct dn_frame frame;

	send_load(peer, make_model(), sequences, batch);
	receive(peer, &frame, NULL);
	if (frame.type == DN_FRAME_ERROR)
		fail_msg("%s", frame.u.error.message);
	assert_int_equal(frame.type, DN_FRAME_LOADED);
	peer->vocabulary = frame.u.loaded.vocabulary;
	peer->context = frame.u.loaded.context;
	assert_int_equal(peer->context, CONTEXT);
}

static void fill_tokens(const struct peer *peer, uint32_t *tokens, uint32_t n, uint32_t seed)
{
	for (uint32_t i = 0; i < n; i++)
		tokens[i] = (i * 37 + seed * 101 + 11) % peer->vocabulary;
}

static void make_submit(struct peer *peer, struct dn_frame *frame, uint64_t seed, uint32_t max)
{
	begin(peer, frame, DN_FRAME_SUBMIT);
	frame->u.submit.prompt_kind = DN_PROMPT_TOKENS;
	frame->u.submit.max_tokens = max;
	frame->u.submit.ignore_eos = 1;
	frame->u.submit.temperature = seed ? 1 : 0;
	frame->u.submit.seed = seed;
	frame->u.submit.top_p = 1;
	frame->u.submit.repeat_penalty = 1;
}

/* Frames until all of @n requests, numbered from @first, have ended. */
static void collect(struct peer *peer, uint64_t first, struct answer *answers, size_t n)
{
	size_t open = n;

	for (size_t i = 0; i < n; i++)
		memset(&answers[i], 0, sizeof(answers[i]));
	while (open > 0) {
		struct dn_frame frame;
		struct answer *answer;

		receive(peer, &frame, NULL);
		assert_in_range(frame.request, first, first + n - 1);
		answer = &answers[frame.request - first];
		assert_false(answer->ended);
		if (frame.type == DN_FRAME_ACCEPTED) {
			answer->accepted = frame.u.accepted;
		} else if (frame.type == DN_FRAME_OUTPUT) {
			if (frame.u.output.token != UINT32_MAX) {
				assert_in_range(answer->n, 0, TOKENS_MAX - 1);
				answer->tokens[answer->n++] = frame.u.output.token;
			}
		} else {
			answer->ended = true;
			open--;
			if (frame.type == DN_FRAME_ERROR)
				answer->error = frame.u.error;
			else if (frame.type == DN_FRAME_DONE)
				answer->done = frame.u.done;
			else
				fail_msg("frame %s", dn_frame_name(frame.type));
		}
	}
}

static void ask(struct peer *peer, struct dn_frame *frame, const uint32_t *tokens, uint32_t n,
		struct answer *answer)
{
	send_frame(peer, frame, tokens, n * sizeof(uint32_t));
	collect(peer, frame->request, answer, 1);
}

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
	open_peer(&peer);
	/* A batch that cuts the prompts, and fewer rows of logits than requests. */
	load(&peer, N, 16);
	for (uint32_t i = 0; i < N; i++) {
		fill_tokens(&peer, tokens, 20 + 11 * i, i);
		make_submit(&peer, &frame, i, 20);
		ask(&peer, &frame, tokens, 20 + 11 * i, &alone[i]);
		assert_int_equal(alone[i].done.reason, DN_FINISH_LENGTH);
		assert_int_equal(alone[i].n, 20);
	}
	for (uint32_t i = 0; i < N; i++) {
		fill_tokens(&peer, tokens, 20 + 11 * i, i);
		make_submit(&peer, &frame, i, 20);
		first = i == 0 ? frame.request : first;
		send_frame(&peer, &frame, tokens, (20 + 11 * i) * sizeof(uint32_t));
	}
	collect(&peer, first, together, N);
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(together[i].n, alone[i].n);
		assert_memory_equal(together[i].tokens, alone[i].tokens,
				    alone[i].n * sizeof(uint32_t));
	}
	assert_memory_not_equal(alone[0].tokens, alone[1].tokens, sizeof(uint32_t) * 20);
	assert_int_equal(close_peer(&peer), 0);
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
	open_peer(&peer);
	load(&peer, 2, 64);
	fill_tokens(&peer, tokens, 70, 3);

	make_submit(&peer, &frame, 0, 8);
	ask(&peer, &frame, tokens, 70, &fresh);
	assert_int_equal(fresh.accepted.reused_tokens, 0);

	make_submit(&peer, &frame, 0, 5);
	frame.u.submit.keep = 1;
	ask(&peer, &frame, tokens, 50, &kept);
	request = frame.request;

	/* 50 tokens of the prompt are common, the answer to it is not. */
	make_submit(&peer, &frame, 0, 8);
	frame.u.submit.continues = request;
	frame.u.submit.branch = 1;
	ask(&peer, &frame, tokens, 70, &branched);
	assert_int_equal(branched.accepted.reused_tokens, 50);
	assert_memory_equal(branched.tokens, fresh.tokens, 8 * sizeof(uint32_t));

	make_submit(&peer, &frame, 0, 8);
	frame.u.submit.continues = request;
	ask(&peer, &frame, tokens, 70, &again);
	assert_int_equal(again.accepted.reused_tokens, 50);
	assert_memory_equal(again.tokens, fresh.tokens, 8 * sizeof(uint32_t));

	/* It was used up: nothing is left to forget, and continuing from it is only slower. */
	begin(&peer, &frame, DN_FRAME_FORGET);
	frame.u.sequence.kept = request;
	send_frame(&peer, &frame, NULL, 0);
	receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_ERROR);
	assert_int_equal(frame.u.error.code, ENOENT);
	make_submit(&peer, &frame, 0, 8);
	frame.u.submit.continues = request;
	ask(&peer, &frame, tokens, 70, &again);
	assert_int_equal(again.accepted.reused_tokens, 0);
	assert_memory_equal(again.tokens, fresh.tokens, 8 * sizeof(uint32_t));
	assert_int_equal(close_peer(&peer), 0);
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
	open_peer(&peer);
	load(&peer, 1, 64);
	for (uint32_t i = 0; i < PLACES; i++) {
		fill_tokens(&peer, tokens, 16, i);
		make_submit(&peer, &frame, 0, 2);
		frame.u.submit.keep = 1;
		ask(&peer, &frame, tokens, 16, &answer);
		requests[i] = frame.request;
	}
	fill_tokens(&peer, tokens, 20, 0);
	make_submit(&peer, &frame, 0, 2);
	frame.u.submit.continues = requests[0];
	ask(&peer, &frame, tokens, 20, &answer);
	assert_int_equal(answer.accepted.reused_tokens, 16);
	assert_int_equal(close_peer(&peer), 0);
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
	open_peer(&peer);
	load(&peer, 1, 64);
	fill_tokens(&peer, tokens, 60, 5);
	make_submit(&peer, &frame, 0, 3);
	frame.u.submit.keep = 1;
	ask(&peer, &frame, tokens, 45, &kept);

	begin(&peer, &restore, DN_FRAME_SNAPSHOT);
	restore.u.sequence.kept = frame.request;
	send_frame(&peer, &restore, NULL, 0);
	receive(&peer, &restore, &fd);
	assert_int_equal(restore.type, DN_FRAME_SNAPSHOT_OUT);
	size = restore.attachment;

	make_submit(&peer, &restore, 0, 9);
	restore.u.submit.continues = frame.request;
	ask(&peer, &restore, tokens, 60, &here);
	assert_int_equal(here.accepted.reused_tokens, 45);
	assert_int_equal(close_peer(&peer), 0);

	open_peer(&other);
	load(&other, 1, 64);
	begin(&other, &restore, DN_FRAME_RESTORE);
	restore.attachment = size;
	assert_int_equal(dn_channel_send(&other.ours, &restore, sizeof(restore), fd, &err), 0);
	close(fd);
	frame.request = restore.request;
	receive(&other, &restore, NULL);
	assert_int_equal(restore.type, DN_FRAME_RESTORED);
	assert_in_range(restore.u.restored.tokens, 45, 48);
	make_submit(&other, &restore, 0, 9);
	restore.u.submit.continues = frame.request;
	ask(&other, &restore, tokens, 60, &there);
	assert_int_equal(there.accepted.reused_tokens, 45);
	assert_memory_equal(there.tokens, here.tokens, 9 * sizeof(uint32_t));
	assert_int_equal(close_peer(&other), 0);
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
	open_peer(&peer);
	load(&peer, 1, 64);
	fill_tokens(&peer, tokens, 80, 5);
	make_submit(&peer, &frame, 0, 1);
	frame.u.submit.keep = 1;
	ask(&peer, &frame, tokens, 60, &answer);
	request = frame.request;
	begin(&peer, &frame, DN_FRAME_SNAPSHOT);
	frame.u.sequence.kept = request;
	send_frame(&peer, &frame, NULL, 0);
	receive(&peer, &frame, &fd);
	assert_int_equal(frame.type, DN_FRAME_SNAPSHOT_OUT);
	size = frame.attachment;

	fill_tokens(&peer, tokens, 80, 6);
	make_submit(&peer, &frame, 0, 1);
	frame.u.submit.keep = 1;
	ask(&peer, &frame, tokens, 80, &answer);
	assert_int_equal(answer.done.reason, DN_FINISH_LENGTH);

	begin(&peer, &frame, DN_FRAME_RESTORE);
	frame.attachment = size;
	request = frame.request;
	assert_int_equal(dn_channel_send(&peer.ours, &frame, sizeof(frame), fd, &err), 0);
	close(fd);
	receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_RESTORED);
	assert_int_equal(frame.u.restored.tokens, 60);
	fill_tokens(&peer, tokens, 80, 5);
	make_submit(&peer, &frame, 0, 1);
	frame.u.submit.continues = request;
	ask(&peer, &frame, tokens, 64, &answer);
	assert_int_equal(answer.accepted.reused_tokens, 60);
	assert_int_equal(close_peer(&peer), 0);
}

static void test_limits_are_answers(void **state)
{
	struct answer answer;
	struct peer peer;
	struct dn_frame frame;
	uint32_t tokens[CONTEXT + 1];

	(void)state;
	open_peer(&peer);
	load(&peer, 1, 64);
	fill_tokens(&peer, tokens, CONTEXT + 1, 1);

	/* Too long: refused, with both numbers. */
	make_submit(&peer, &frame, 0, 4);
	ask(&peer, &frame, tokens, CONTEXT + 1, &answer);
	assert_int_equal(answer.error.code, E2BIG);
	assert_non_null(strstr(answer.error.message, "97 tokens"));
	assert_non_null(strstr(answer.error.message, "96"));

	/* As long as it fits: one token, and the context is full. */
	make_submit(&peer, &frame, 0, 0);
	ask(&peer, &frame, tokens, CONTEXT, &answer);
	assert_int_equal(answer.done.reason, DN_FINISH_CONTEXT);
	assert_int_equal(answer.n, 1);

	/* Overflow while generating. */
	make_submit(&peer, &frame, 0, 0);
	ask(&peer, &frame, tokens, CONTEXT - 10, &answer);
	assert_int_equal(answer.done.reason, DN_FINISH_CONTEXT);
	assert_int_equal(answer.n, 11);
	assert_int_equal(answer.done.output_tokens, 11);

	/* No tokens, and tokens that are none. */
	make_submit(&peer, &frame, 0, 4);
	ask(&peer, &frame, tokens, 0, &answer);
	assert_int_equal(answer.error.code, EINVAL);
	tokens[3] = peer.vocabulary;
	make_submit(&peer, &frame, 0, 4);
	ask(&peer, &frame, tokens, 10, &answer);
	assert_int_equal(answer.error.code, EINVAL);
	assert_non_null(strstr(answer.error.message, "token 3"));
	assert_int_equal(close_peer(&peer), 0);
}

static void test_cancel(void **state)
{
	struct answer answer;
	struct peer peer;
	struct dn_frame frame;
	struct dn_frame cancel;
	uint32_t tokens[10];

	(void)state;
	open_peer(&peer);
	load(&peer, 1, 64);
	fill_tokens(&peer, tokens, 10, 1);
	make_submit(&peer, &frame, 0, 0);
	send_frame(&peer, &frame, tokens, sizeof(tokens));
	dn_frame_init(&cancel, DN_FRAME_CANCEL, frame.request);
	send_frame(&peer, &cancel, NULL, 0);
	collect(&peer, frame.request, &answer, 1);
	assert_int_equal(answer.done.reason, DN_FINISH_CANCELLED);
	assert_in_range(answer.n, 0, CONTEXT - 10);

	/* What has ended cannot be cancelled; nothing comes back, and the worker lives. */
	send_frame(&peer, &cancel, NULL, 0);
	make_submit(&peer, &frame, 0, 3);
	ask(&peer, &frame, tokens, 10, &answer);
	assert_int_equal(answer.n, 3);
	assert_int_equal(close_peer(&peer), 0);
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
	open_peer(&peer);
	load(&peer, 1, 8);
	fill_tokens(&peer, tokens, N, 2);
	begin(&peer, &frame, DN_FRAME_LOGITS);
	send_frame(&peer, &frame, tokens, sizeof(tokens));
	while (done < N) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_mapped rows;
		int fd = -1;

		receive(&peer, &frame, &fd);
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
	begin(&peer, &frame, DN_FRAME_SCORE);
	frame.u.score.first = FIRST;
	send_frame(&peer, &frame, tokens, sizeof(tokens));
	receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_SCORED);
	assert_int_equal(frame.u.scored.n_scored, N - FIRST);
	assert_true(fabs(frame.u.scored.negative_log_likelihood - sum) < 1e-4 * sum);

	/* Nothing left to score. */
	begin(&peer, &frame, DN_FRAME_SCORE);
	frame.u.score.first = N;
	send_frame(&peer, &frame, tokens, sizeof(tokens));
	receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_ERROR);
	assert_int_equal(close_peer(&peer), 0);
}

/* Ids to rows as EMBED gives them, two lists a request; the code of the error where it fails. */
static int embed_ids(struct peer *peer, const uint32_t *ids, const uint32_t counts[2],
		     uint32_t truncate, float *ret_rows, struct dn_frame_embedded *ret_embedded)
{
	uint32_t packed[3 + 2 * TOKENS_MAX] = { 2, counts[0] * 4, counts[1] * 4 };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_mapped rows;
	struct dn_frame frame;
	int fd = -1;

	memcpy(packed + 3, ids, (counts[0] + counts[1]) * sizeof(*ids));
	begin(peer, &frame, DN_FRAME_EMBED);
	frame.u.embed.kind = DN_EMBED_TOKENS;
	frame.u.embed.pooling = DN_POOLING_LAST;
	frame.u.embed.truncate = truncate;
	send_frame(peer, &frame, packed, (3 + counts[0] + counts[1]) * sizeof(*ids));
	receive(peer, &frame, &fd);
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
	struct dn_frame_embedded embedded;
	uint32_t tokens[TOKENS_MAX];
	struct peer peer;

	(void)state;
	open_peer(&peer);
	load(&peer, 1, 64);
	fill_tokens(&peer, tokens, TOKENS_MAX, 4);
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
		embed_ids(&peer, tokens, (uint32_t[]){ CONTEXT + 1, 5 }, 0, rows, &embedded),
		-E2BIG);
	assert_int_equal(
		embed_ids(&peer, tokens, (uint32_t[]){ CONTEXT + 1, 5 }, 1, rows, &embedded), 0);
	assert_int_equal(embedded.count, 1);
	assert_int_equal(embedded.truncated, 1);
	assert_int_equal(embedded.tokens, CONTEXT);
	receive(&peer, &(struct dn_frame){ 0 }, NULL);

	assert_int_equal(embed_ids(&peer, tokens, (uint32_t[]){ 3, 0 }, 0, rows, &embedded),
			 -EINVAL);
	tokens[7] = peer.vocabulary;
	assert_int_equal(embed_ids(&peer, tokens, (uint32_t[]){ 9, 5 }, 0, rows, &embedded),
			 -EINVAL);
	assert_int_equal(close_peer(&peer), 0);
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
	open_peer(&peer);
	load(&peer, 1, 64);
	many[0] = MANY;
	for (uint32_t i = 0; i < MANY; i++) {
		many[1 + i] = sizeof(uint32_t);
		many[1 + MANY + i] = i % peer.vocabulary;
	}
	begin(&peer, &frame, DN_FRAME_EMBED);
	frame.u.embed.kind = DN_EMBED_TOKENS;
	frame.u.embed.pooling = DN_POOLING_LAST;
	send_frame(&peer, &frame, many, sizeof(many));
	frame.request = ++peer.last;
	send_frame(&peer, &frame, one, sizeof(one));
	for (;;) {
		receive(&peer, &frame, NULL);
		assert_int_equal(frame.type, DN_FRAME_EMBEDDED);
		if (frame.request == peer.last)
			break;
		before = frame.u.embedded.first + frame.u.embedded.count;
	}
	assert_in_range(before, 0, MANY - 1);
	while (before < MANY) {
		receive(&peer, &frame, NULL);
		assert_int_equal(frame.u.embedded.first, before);
		before += frame.u.embedded.count;
	}
	assert_int_equal(close_peer(&peer), 0);
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
	open_peer(&peer);
	load(&peer, 1, 64);
	fill_tokens(&peer, tokens, 8, 1);
	for (uint32_t i = 0; i < N; i++) {
		make_submit(&peer, &frame, i, 12);
		first = i == 0 ? frame.request : first;
		send_frame(&peer, &frame, tokens, sizeof(tokens));
	}
	collect(&peer, first, answers, N);
	for (uint32_t i = 0; i < N; i++) {
		if (answers[i].error.code == 0 && answers[i].n == 12)
			served++;
		else
			assert_int_equal(answers[i].error.code, EAGAIN);
	}
	assert_in_range(served, 4, N);
	assert_int_equal(close_peer(&peer), 0);
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
	open_peer(&peer);
	load(&peer, N, 64);
	fill_tokens(&peer, tokens, 8, 1);
	for (uint32_t i = 0; i < N; i++) {
		make_submit(&peer, &frame, i, i < N - 1 ? LONG : SHORT);
		send_frame(&peer, &frame, tokens, sizeof(tokens));
	}
	/* The first to end is the one that came last and wants least. */
	do {
		receive(&peer, &frame, NULL);
		n += frame.type == DN_FRAME_OUTPUT && frame.request == peer.last;
	} while (frame.type != DN_FRAME_DONE);
	assert_int_equal(frame.request, peer.last);
	assert_in_range(n, SHORT, SHORT + 1);
	for (uint32_t i = 0; i < N - 1;) {
		receive(&peer, &frame, NULL);
		i += frame.type == DN_FRAME_DONE;
	}
	assert_int_equal(close_peer(&peer), 0);
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
	open_peer(&peer);
	load(&peer, 1, 64);
	for (uint32_t i = 0; i < N; i++) {
		fill_tokens(&peer, tokens, 40, i);
		make_submit(&peer, &frame, i, 50);
		ask(&peer, &frame, tokens, 40, &alone[i]);
		assert_int_equal(alone[i].n, 50);
	}
	for (uint32_t i = 0; i < N; i++) {
		fill_tokens(&peer, tokens, 40, i);
		make_submit(&peer, &frame, i, 50);
		first = i == 0 ? frame.request : first;
		send_frame(&peer, &frame, tokens, sizeof(tokens));
	}
	collect(&peer, first, answers, N);
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(answers[i].done.reason, DN_FINISH_LENGTH);
		assert_int_equal(answers[i].n, 50);
		assert_memory_equal(answers[i].tokens, alone[i].tokens, 50 * sizeof(uint32_t));
	}
	assert_int_equal(close_peer(&peer), 0);
}

static void test_requests_without_model(void **state)
{
	static const enum dn_frame_type types[] = {
		DN_FRAME_DESCRIBE, DN_FRAME_TOKENIZE, DN_FRAME_DETOKENIZE,
		DN_FRAME_SUBMIT,   DN_FRAME_SNAPSHOT, DN_FRAME_FORGET,
	};
	struct peer peer;
	struct dn_frame frame;

	(void)state;
	open_peer(&peer);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (types[i] == DN_FRAME_SUBMIT)
			make_submit(&peer, &frame, 0, 1);
		else
			begin(&peer, &frame, types[i]);
		if (types[i] == DN_FRAME_SNAPSHOT || types[i] == DN_FRAME_FORGET)
			frame.u.sequence.kept = 1;
		send_frame(&peer, &frame, NULL, 0);
		receive(&peer, &frame, NULL);
		assert_int_equal(frame.type, DN_FRAME_ERROR);
		assert_int_equal(frame.request, peer.last);
	}
	assert_int_equal(close_peer(&peer), 0);
}

/* A frame against the schema ends the service, and the parent hears why. */
static void test_bad_frame_ends_it(void **state)
{
	struct peer peer;
	struct dn_frame frame;

	(void)state;
	open_peer(&peer);
	make_submit(&peer, &frame, 0, 1);
	frame.u.submit.temperature = NAN;
	send_frame(&peer, &frame, NULL, 0);
	receive(&peer, &frame, NULL);
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
	open_peer(&peer);
	load(&peer, 1, 64);
	fill_tokens(&peer, tokens, 8, 1);
	make_submit(&peer, &frame, 0, 30);
	frame.u.submit.keep = 1;
	send_frame(&peer, &frame, tokens, sizeof(tokens));
	send_frame(&peer, &frame, tokens, sizeof(tokens));
	while (!refused || !done) {
		receive(&peer, &frame, NULL);
		n += frame.type == DN_FRAME_OUTPUT;
		done |= frame.type == DN_FRAME_DONE;
		if (frame.type == DN_FRAME_ERROR) {
			assert_int_equal(frame.u.error.code, EEXIST);
			refused = true;
		}
	}
	assert_int_equal(n, 30);
	assert_int_equal(close_peer(&peer), 0);
}

static void test_nothing_allocates_per_token(void **state)
{
	struct peer peer;
	struct dn_frame frame;
	uint32_t tokens[8];
	uint32_t n = 0;

	(void)state;
	open_peer(&peer);
	load(&peer, 1, 64);
	fill_tokens(&peer, tokens, 8, 1);
	make_submit(&peer, &frame, 4, 60);
	frame.u.submit.logprobs = 3;
	frame.u.submit.penalty_last = 64;
	frame.u.submit.frequency_penalty = 0.5F;
	send_frame(&peer, &frame, tokens, sizeof(tokens));
	while (n < 60) {
		receive(&peer, &frame, NULL);
		n += frame.type == DN_FRAME_OUTPUT;
		if (n == 2)
			failing_malloc_arm(0);
	}
	assert_int_equal(failing_malloc_total(), 0);
	receive(&peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_DONE);
	assert_int_equal(close_peer(&peer), 0);
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
		int model = make_model();
		bool failed = false;

		open_peer(&peer);
		peer.vocabulary = 64;
		make_submit(&peer, &frame, 1, 4);
		frame.request = 77;
		failing_malloc_arm(nth);
		send_load(&peer, model, 1, 64);
		send_frame(&peer, &frame, tokens, sizeof(tokens));
		do {
			receive(&peer, &frame, NULL);
			failed |= frame.type == DN_FRAME_ERROR;
		} while (frame.type != DN_FRAME_DONE &&
			 !(frame.type == DN_FRAME_ERROR && frame.request == 77));
		armed = failing_malloc_disarm();
		/* What the test itself allocates counts too: then it is the worker that succeeds. */
		if (!armed)
			assert_false(failed);
		assert_int_equal(close_peer(&peer), 0);
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
	REFUSED(version, 2, "version 2");
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
	REFUSED(u.submit.temperature, -1, "temperature");
	REFUSED(u.submit.temperature, INFINITY, "temperature");
	REFUSED(u.submit.top_p, 1.5F, "top_p");
	REFUSED(u.submit.min_p, NAN, "min_p");
	REFUSED(u.submit.repeat_penalty, 0, "repeat_penalty");
	REFUSED(u.submit.frequency_penalty, -INFINITY, "frequency_penalty");
	REFUSED(u.submit.presence_penalty, 1e30F, "presence_penalty");
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
	REFUSED(u.submit.n_stop, 5, "n_stop");
	REFUSED(u.submit.n_stop, 1, "stop");
	REFUSED(u.submit.stop[0][0], 'a', "stop");
	REFUSED(u.submit.n_bias, 33, "n_bias");
	REFUSED(u.submit.bias[0].token, 1, "bias");
	REFUSED(u.bytes[DN_FRAME_BODY - 1], 1, "unused");

	good_submit(&frame);
	frame.u.submit.n_stop = 1;
	memset(frame.u.submit.stop[0], 'a', DN_FRAME_STOP_BYTES);
	refuse(&frame, "stop");
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
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, false, &err), 0);
	frame.u.loaded.vocabulary = 0;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, false, &err), -EBADMSG);
	frame.u.loaded.depth = DN_LOAD_HEADER;
	frame.u.loaded.context = 0;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_FROM_WORKER, false, &err), 0);
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

	begin(peer, &frame, DN_FRAME_FILE);
	frame.u.file.kind = kind;
	frame.u.file.scale = kind == DN_FILE_ADAPTER ? 0.5F : 0;
	assert_int_equal(dn_channel_send(&peer->ours, &frame, sizeof(frame), fd, &err), 0);
	close(fd);
	receive(peer, &frame, NULL);
	if (frame.type == DN_FRAME_ERROR)
		return frame.u.error.code;
	assert_int_equal(frame.type, DN_FRAME_READY);
	return 0;
}

/* The errno that LOAD fails with. */
static int load_fails(struct peer *peer)
{
	struct dn_frame frame;

	send_load(peer, make_model(), 1, 64);
	receive(peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_ERROR);
	return frame.u.error.code;
}

static void test_files(void **state)
{
	struct peer peer;

	(void)state;
	/* A part that belongs to no model, and none that come late. */
	open_peer(&peer);
	assert_int_equal(send_file(&peer, DN_FILE_PART), 0);
	assert_int_equal(load_fails(&peer), EINVAL);
	assert_int_equal(send_file(&peer, DN_FILE_PART), EALREADY);
	assert_int_equal(send_file(&peer, DN_FILE_ADAPTER), EALREADY);
	assert_int_equal(close_peer(&peer), 0);

	/* As many as there is room for. */
	open_peer(&peer);
	for (int i = 1; i < DN_FILE_PARTS_MAX; i++)
		assert_int_equal(send_file(&peer, DN_FILE_PART), 0);
	assert_int_equal(send_file(&peer, DN_FILE_PART), E2BIG);
	for (int i = 0; i < DN_FILE_ADAPTERS_MAX; i++)
		assert_int_equal(send_file(&peer, DN_FILE_ADAPTER), 0);
	assert_int_equal(send_file(&peer, DN_FILE_ADAPTER), E2BIG);
	assert_int_equal(load_fails(&peer), EINVAL);
	assert_int_equal(close_peer(&peer), 0);

	/* The model is sound; what the adapter lacks is the reason. */
	open_peer(&peer);
	assert_int_equal(send_file(&peer, DN_FILE_ADAPTER), 0);
	assert_int_equal(load_fails(&peer), EINVAL);
	assert_int_equal(close_peer(&peer), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame_fields),
		cmocka_unit_test(test_frame_submit),
		cmocka_unit_test(test_frame_samplers),
		cmocka_unit_test(test_frame_lists),
		cmocka_unit_test(test_frames_from_worker),
		cmocka_unit_test(test_frame_file),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_requests_without_model),
		cmocka_unit_test(test_bad_frame_ends_it),
		cmocka_unit_test(test_batch_equals_alone),
		cmocka_unit_test(test_continues),
		cmocka_unit_test(test_continues_the_oldest),
		cmocka_unit_test(test_snapshot),
		cmocka_unit_test(test_restore_evicts),
		cmocka_unit_test(test_limits_are_answers),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_score_matches_logits),
		cmocka_unit_test(test_embed_ids),
		cmocka_unit_test(test_embeds_take_turns),
		cmocka_unit_test(test_places_run_out),
		cmocka_unit_test(test_prompts_do_not_wait),
		cmocka_unit_test(test_cache_runs_out),
		cmocka_unit_test(test_number_in_use),
		cmocka_unit_test(test_nothing_allocates_per_token),
		cmocka_unit_test(test_memory_runs_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
