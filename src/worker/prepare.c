/* SPDX-License-Identifier: MIT */
/* PREPARE, GIVE_BACK: the one work of a worker that writes, to a file that it was given. */

#include <unistd.h>

#include "engine/prepared.h"
#include "worker/internal.h"

int dn_worker_prepare(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		      struct dn_error *err)
{
	uint64_t head_bytes = 0;
	int r = dn_worker_need_model(worker, err);

	if (r >= 0)
		r = dn_model_prepare(worker->model, *fd, &head_bytes, err);
	if (r < 0)
		return r;
	dn_frame_init(&worker->out, DN_FRAME_PREPARED, frame->request);
	worker->out.u.prepared.head_bytes = head_bytes;
	dn_worker_send(worker, &worker->out, -1);
	return 0;
}

int dn_worker_give_back(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
			struct dn_error *err)
{
	int r = dn_worker_need_model(worker, err);

	if (r >= 0)
		r = dn_model_give_back(worker->model, frame->u.give_back.file, *fd, err);
	if (r < 0)
		return r;
	/* Before the answer: who reads from a pipe waits for its end. */
	close(*fd);
	*fd = -1;
	dn_frame_init(&worker->out, DN_FRAME_READY, frame->request);
	dn_worker_send(worker, &worker->out, -1);
	return 0;
}
