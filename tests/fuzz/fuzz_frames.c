/* SPDX-License-Identifier: MIT */
/*
 * Frames from a parent that went mad: the check lets through what keeps to the schema, and the
 * worker answers that with frames that keep to it too.
 *
 * An input is a row of: type, flags, bytes of the body (2, little-endian), bytes of the attachment
 * (2), the body, the attachment. Flag 1: the body begins with the frame's head.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel/channel.h"
#include "worker/internal.h"
#include "fuzz.h"

#define FRAMES_MAX 16

struct input {
	const uint8_t *at;
	size_t left;
};

static const uint8_t *take(struct input *input, size_t size)
{
	const uint8_t *taken = input->at;

	input->at += size;
	input->left -= size;
	return taken;
}

/* Return: false at the end of the input. */
static bool next_frame(struct input *input, uint64_t request, struct dn_frame *frame, int *ret_fd)
{
	const uint8_t *head;
	const uint8_t *attachment;
	size_t body;
	size_t attached;

	if (input->left < 6)
		return false;
	head = take(input, 6);
	body = DN_MIN((size_t)(head[2] | head[3] << 8), input->left);
	body = DN_MIN(body, sizeof(*frame));
	dn_frame_init(frame, (enum dn_frame_type)head[0], request);
	if (head[1] & 1)
		memcpy(frame, take(input, body), body);
	else
		memcpy(frame->u.bytes, take(input, DN_MIN(body, sizeof(frame->u.bytes))),
		       DN_MIN(body, sizeof(frame->u.bytes)));
	attached = DN_MIN((size_t)(head[4] | head[5] << 8), input->left);
	attachment = take(input, attached);
	*ret_fd = -1;
	if (dn_attach(attachment, attached, ret_fd, NULL) < 0)
		return false;
	if (!(head[1] & 1) && frame->type != DN_FRAME_LOAD && frame->type != DN_FRAME_FILE)
		frame->attachment = attached;
	return true;
}

/* What the worker says must be what a parent accepts. */
static void drain(struct dn_channel *channel)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;
	int fd = -1;

	while (dn_channel_try_receive(channel, &frame, sizeof(frame), &fd, &err) == 1) {
		if (dn_frame_check(&frame, DN_FRAME_FROM_WORKER, fd >= 0, &err) < 0)
			abort();
		if (fd >= 0)
			close(fd);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dn_channel ours = DN_CHANNEL_INIT;
	struct dn_channel theirs = DN_CHANNEL_INIT;
	struct input input = { data, size };
	struct dn_worker *worker = calloc(1, sizeof(*worker));
	struct dn_frame frame;

	if (!worker || dn_channel_pair(&ours, &theirs, NULL) < 0)
		abort();
	worker->channel = &theirs;
	for (uint64_t i = 1; i <= FRAMES_MAX; i++) {
		struct dn_error err = DN_ERROR_INIT;
		int fd = -1;

		if (!next_frame(&input, i, &frame, &fd))
			break;
		(void)!dn_frame_check(&frame, DN_FRAME_FROM_WORKER, fd >= 0, &err);
		if (dn_frame_check(&frame, DN_FRAME_TO_WORKER, fd >= 0, &err) == 0)
			dn_worker_dispatch(worker, &frame, fd);
		else if (fd >= 0)
			close(fd);
		drain(&ours);
	}
	dn_worker_done(worker);
	free(worker);
	dn_channel_done(&theirs);
	dn_channel_done(&ours);
	return 0;
}
