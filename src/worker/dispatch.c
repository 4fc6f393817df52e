/* SPDX-License-Identifier: MIT */
/* From a frame's type to who answers it. */

#include <errno.h>
#include <stdlib.h>

#include "worker/internal.h"

static dn_worker_handler *const handlers[] = {
	[DN_FRAME_LOAD] = dn_worker_load,	    [DN_FRAME_DESCRIBE] = dn_worker_describe,
	[DN_FRAME_TOKENIZE] = dn_worker_tokenize,   [DN_FRAME_DETOKENIZE] = dn_worker_detokenize,
	[DN_FRAME_RENDER] = dn_worker_render,	    [DN_FRAME_SUBMIT] = dn_worker_submit,
	[DN_FRAME_CANCEL] = dn_worker_cancel,	    [DN_FRAME_SCORE] = dn_worker_score,
	[DN_FRAME_LOGITS] = dn_worker_logits,	    [DN_FRAME_SNAPSHOT] = dn_worker_snapshot,
	[DN_FRAME_RESTORE] = dn_worker_restore,	    [DN_FRAME_FORGET] = dn_worker_forget,
	[DN_FRAME_TEMPLATE] = dn_worker_template,   [DN_FRAME_FILE] = dn_worker_file,
	[DN_FRAME_EMBED] = dn_worker_embed,	    [DN_FRAME_PREPARE] = dn_worker_prepare,
	[DN_FRAME_GIVE_BACK] = dn_worker_give_back, [DN_FRAME_PLAN] = dn_worker_plan,
	[DN_FRAME_RESET] = dn_worker_reset,	    [DN_FRAME_VOCABULARY] = dn_worker_vocabulary,
	[DN_FRAME_GRAMMAR] = dn_worker_grammar,
};

void dn_worker_dispatch(struct dn_worker *worker, const struct dn_frame *frame, int fd)
{
	DN_AUTO_FD int owned = fd;
	struct dn_error err = DN_ERROR_INIT;
	bool used =
		frame->type != DN_FRAME_CANCEL && (dn_place_find(worker, frame->request, false) ||
						   dn_place_find(worker, frame->request, true));
	int r;

	if (used)
		r = dn_error_set(&err, EEXIST, "request %llu exists already",
				 (unsigned long long)frame->request);
	else
		r = handlers[frame->type](worker, frame, &owned, &err);
	if (r < 0)
		dn_worker_send_error(worker, frame->request, r, &err);
}

void dn_worker_done(struct dn_worker *worker)
{
	for (uint32_t i = 0; i < worker->n_places; i++)
		dn_place_free(&worker->places[i]);
	dn_worker_drop_grammars(worker);
	free(worker->places);
	free(worker->items);
	free(worker->chosen);
	free(worker->specials);
	free(worker->text);
	dn_template_free(worker->template);
	dn_context_free(worker->context);
	dn_model_free(worker->model);
	dn_worker_close_files(&worker->files);
}
