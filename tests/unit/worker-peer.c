/* SPDX-License-Identifier: MIT */

#include "unit/worker-peer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/types.h"
#include "channel/channel.h"
#include "unit/tiny-model.h"
#include "channel/attachment.h"
#include "channel/frames.h"
#include "worker/worker.h"

static void *serve(void *data)
{
	struct peer *peer = data;
	struct dn_worker_measures measures = { 0, 0 };

	peer->result = dn_worker_serve(&peer->theirs, &measures, &peer->err);
	dn_channel_done(&peer->theirs);
	return NULL;
}

void peer_receive(struct peer *peer, struct dn_frame *frame, int *fd)
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

void peer_connect(struct peer *peer)
{
	struct dn_error err = DN_ERROR_INIT;

	memset(peer, 0, sizeof(*peer));
	if (dn_channel_pair(&peer->ours, &peer->theirs, &err) < 0)
		fail_msg("%s", err.message);
}

void peer_start(struct peer *peer)
{
	struct dn_frame frame;

	assert_int_equal(pthread_create(&peer->thread, NULL, serve, peer), 0);
	peer_receive(peer, &frame, NULL);
	assert_int_equal(frame.type, DN_FRAME_HELLO);
	assert_int_equal(frame.u.hello.version, DN_CHANNEL_VERSION);
}

void peer_open(struct peer *peer)
{
	peer_connect(peer);
	peer_start(peer);
}

int peer_close(struct peer *peer)
{
	dn_channel_done(&peer->ours);
	assert_int_equal(pthread_join(peer->thread, NULL), 0);
	return peer->result;
}

void peer_send(struct peer *peer, struct dn_frame *frame, const void *data, size_t size)
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

uint64_t peer_begin(struct peer *peer, struct dn_frame *frame, enum dn_frame_type type)
{
	dn_frame_init(frame, type, ++peer->last);
	return peer->last;
}

int peer_model(void)
{
	struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);

	return tiny_model_fd(&tiny);
}

void peer_send_load(struct peer *peer, int fd, uint32_t sequences, uint32_t batch)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;

	peer_begin(peer, &frame, DN_FRAME_LOAD);
	frame.u.load = (struct dn_frame_load){
		.depth = DN_LOAD_WEIGHTS,
		.threads = 2,
		.context = PEER_CONTEXT,
		.sequences = sequences,
		.batch = batch,
		.outputs = 4,
	};
	if (dn_channel_send(&peer->ours, &frame, sizeof(frame), fd, &err) < 0)
		fail_msg("%s", err.message);
	close(fd);
}

void peer_load(struct peer *peer, uint32_t sequences, uint32_t batch)
{
	struct dn_frame frame;

	peer_send_load(peer, peer_model(), sequences, batch);
	peer_receive(peer, &frame, NULL);
	if (frame.type == DN_FRAME_ERROR)
		fail_msg("%s", frame.u.error.message);
	assert_int_equal(frame.type, DN_FRAME_LOADED);
	peer->vocabulary = frame.u.loaded.vocabulary;
	peer->context = frame.u.loaded.context;
	assert_int_equal(peer->context, PEER_CONTEXT);
}

void peer_tokens(const struct peer *peer, uint32_t *tokens, uint32_t n, uint32_t seed)
{
	for (uint32_t i = 0; i < n; i++)
		tokens[i] = (i * 37 + seed * 101 + 11) % peer->vocabulary;
}

void peer_submit(struct peer *peer, struct dn_frame *frame, uint64_t seed, uint32_t max)
{
	peer_begin(peer, frame, DN_FRAME_SUBMIT);
	frame->u.submit.prompt_kind = DN_PROMPT_TOKENS;
	frame->u.submit.max_tokens = max;
	frame->u.submit.ignore_eos = 1;
	frame->u.submit.temperature = seed ? 1 : 0;
	frame->u.submit.seed = seed;
	frame->u.submit.top_p = 1;
	frame->u.submit.repeat_penalty = 1;
}

static void take_output(struct answer *answer, const struct dn_frame_output *output)
{
	const uint8_t *bytes = (const uint8_t *)output;
	const uint32_t left = PEER_TEXT_MAX - 1 - answer->text_size;
	const uint32_t size = output->text_size < left ? output->text_size : left;

	if (output->token != UINT32_MAX) {
		assert_in_range(answer->n, 0, PEER_TOKENS_MAX - 1);
		answer->tokens[answer->n++] = output->token;
	}
	memcpy(answer->text + answer->text_size, output->text, size);
	answer->text_size += size;
	/* FNV-1a. */
	for (size_t i = 0; i < sizeof(*output); i++)
		answer->hash = (answer->hash ^ bytes[i]) * 0x100000001b3U;
}

void peer_collect(struct peer *peer, uint64_t first, struct answer *answers, size_t n)
{
	size_t open = n;

	for (size_t i = 0; i < n; i++)
		memset(&answers[i], 0, sizeof(answers[i]));
	while (open > 0) {
		struct dn_frame frame;
		struct answer *answer;

		peer_receive(peer, &frame, NULL);
		assert_in_range(frame.request, first, first + n - 1);
		answer = &answers[frame.request - first];
		assert_false(answer->ended);
		if (frame.type == DN_FRAME_ACCEPTED) {
			answer->accepted = frame.u.accepted;
		} else if (frame.type == DN_FRAME_OUTPUT) {
			take_output(answer, &frame.u.output);
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

void peer_ask(struct peer *peer, struct dn_frame *frame, const uint32_t *tokens, uint32_t n,
	      struct answer *answer)
{
	peer_send(peer, frame, tokens, n * sizeof(uint32_t));
	peer_collect(peer, frame->request, answer, 1);
}
