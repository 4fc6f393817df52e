/* SPDX-License-Identifier: MIT */
/* Prefixes that were used again are worth a place on disk: a snapshot goes to the supervisor. */

#include <stdlib.h>

#include "server/front/front.h"

/* Shorter ones are computed again as fast. */
#define LEAST 256U

struct keeping {
	struct dn_front *front;
	struct dn_ask ask;
	uint64_t space;
	uint32_t model;
};

static void got(struct dn_ask *ask, const struct dn_frame *frame, int fd, bool last)
{
	struct keeping *keeping = ask->owner;

	(void)last;
	if (frame->type == DN_FRAME_SNAPSHOT_OUT)
		dn_front_save(keeping->front, keeping->model, keeping->space, fd);
	free(keeping);
}

/* The worker has dropped it meanwhile, or is gone. */
static void failed(struct dn_ask *ask, const struct dn_api_error *error)
{
	(void)error;
	free(ask->owner);
}

void dn_front_keep_prefix(struct dn_front *front, struct dn_model_link *model, uint64_t request,
			  uint64_t space, const struct dn_frame_done *done)
{
	const uint32_t tokens = done->reused_tokens;
	struct dn_api_error error;
	struct keeping *keeping;

	if (!front->start.save_prefixes || space == 0 || tokens < LEAST ||
	    !dn_models_saves(model, space, done->reused_hash))
		return;
	keeping = calloc(1, sizeof(*keeping));
	if (!keeping)
		return;
	keeping->front = front;
	keeping->space = space;
	keeping->model = model->number;
	keeping->ask.attachment = -1;
	keeping->ask.client = space;
	keeping->ask.owner = keeping;
	keeping->ask.got = got;
	keeping->ask.failed = failed;
	dn_frame_init(&keeping->ask.frame, DN_FRAME_SNAPSHOT, 1);
	keeping->ask.frame.u.snapshot.kept = request;
	keeping->ask.frame.u.snapshot.tokens = tokens;
	if (!dn_models_ask(model, &keeping->ask, &error))
		free(keeping);
}
