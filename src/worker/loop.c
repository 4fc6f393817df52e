/* SPDX-License-Identifier: MIT */
/* Frames in, steps, frames out: until the parent closes the channel. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/internal.h"

/* So many are answered before those that compute get on: who asks without end stops nobody. */
#define FRAMES_A_STEP 16U
/* Nor for longer than this, whatever they cost: texts may be long. */
#define FRAMES_NS UINT64_C(2000000)

void dn_worker_send(struct dn_worker *worker, const struct dn_frame *frame, int fd)
{
	struct dn_error err = DN_ERROR_INIT;

	/* The parent that reads no more is gone; nobody is left to tell. */
	if (!worker->broken &&
	    dn_channel_send(worker->channel, frame, sizeof(*frame), fd, &err) < 0)
		worker->broken = true;
}

void dn_worker_send_error(struct dn_worker *worker, uint64_t request, int r,
			  const struct dn_error *err)
{
	struct dn_frame frame;
	int code = -r;

	dn_frame_init(&frame, DN_FRAME_ERROR, request);
	frame.u.error.code = code >= 1 && code <= 4095 ? code : EIO;
	dn_frame_set_text(frame.u.error.message, sizeof(frame.u.error.message), err->message,
			  strlen(err->message));
	dn_worker_send(worker, &frame, -1);
}

void dn_worker_send_bytes(struct dn_worker *worker, struct dn_frame *frame, const void *data,
			  size_t size)
{
	struct dn_error err = DN_ERROR_INIT;
	DN_AUTO_FD int fd = -1;
	int r = dn_attach(data, size, &fd, &err);

	if (r < 0) {
		dn_worker_send_error(worker, frame->request, r, &err);
		return;
	}
	frame->attachment = size;
	dn_worker_send(worker, frame, fd);
}

static void hello(struct dn_worker *worker, const struct dn_worker_measures *measures)
{
	struct dn_frame *frame = &worker->out;

	dn_frame_init(frame, DN_FRAME_HELLO, 0);
	frame->u.hello.version = DN_CHANNEL_VERSION;
	frame->u.hello.sandbox_held = measures->held;
	frame->u.hello.sandbox_absent = measures->absent;
	dn_frame_set_text(frame->u.hello.program, sizeof(frame->u.hello.program), "dunlin", 6);
	dn_worker_send(worker, frame, -1);
}

/* Return: 1 when a frame was answered, 0 when the parent is gone, or a negative errno. */
static int serve_frame(struct dn_worker *worker, bool wait, struct dn_error *err)
{
	struct dn_frame frame;
	DN_AUTO_FD int fd = -1;
	int r;

	r = wait ? dn_channel_receive(worker->channel, &frame, sizeof(frame), &fd, err)
		 : dn_channel_try_receive(worker->channel, &frame, sizeof(frame), &fd, err);
	/* A parent that left without reading all has left. */
	if (r == -ECONNRESET)
		return 0;
	if (r <= 0)
		return r;
	r = dn_frame_check(&frame, DN_FRAME_TO_WORKER, fd >= 0, err);
	if (r < 0)
		return r;
	dn_worker_dispatch(worker, &frame, dn_steal_fd(&fd));
	return 1;
}

static int serve(struct dn_worker *worker, struct dn_error *err)
{
	bool rested = true;
	uint32_t taken = 0; /* frames since the last step */
	uint64_t since = 0; /* when that was */

	while (!worker->broken) {
		bool busy = dn_worker_busy(worker);
		uint64_t begin;
		int r;

		if (!busy && !rested && worker->context) {
			dn_context_rest(worker->context);
			rested = true;
		}
		r = busy && (taken >= FRAMES_A_STEP ||
			     (taken > 0 && dn_worker_now() - since > FRAMES_NS))
			    ? -EAGAIN
			    : serve_frame(worker, !busy, err);
		if (r == 1) {
			taken++;
			continue;
		}
		if (r != -EAGAIN)
			return r;
		begin = dn_worker_thread_cpu();
		dn_worker_step(worker);
		if (worker->realtime)
			dn_worker_breathe(worker, dn_worker_thread_cpu() - begin);
		rested = false;
		taken = 0;
		since = dn_worker_now();
	}
	return 0;
}

int dn_worker_serve(struct dn_channel *channel, const struct dn_worker_measures *measures,
		    struct dn_error *err)
{
	struct dn_worker *worker = calloc(1, sizeof(*worker));
	struct dn_error own = DN_ERROR_INIT;
	int r;

	if (!worker)
		return dn_error_memory(err, "the worker", sizeof(*worker));
	worker->channel = channel;
	hello(worker, measures);
	r = serve(worker, &own);
	if (r < 0) {
		dn_worker_send_error(worker, 0, r, &own);
		if (err)
			*err = own;
	}
	dn_worker_done(worker);
	free(worker);
	return r;
}
