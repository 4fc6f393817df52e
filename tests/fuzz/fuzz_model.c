/* SPDX-License-Identifier: MIT */
/*
 * A whole model from any bytes: opened, planned, loaded, and one step computed, within a budget of
 * memory that the plan must keep.
 */

#include <dunlin/error.h>
#include <dunlin/model.h>

#include "gguf-files.h"
#include "fuzz.h"

#define MEMORY	((uint64_t)64 << 20)
#define CONTEXT 40
#define BATCH	4U

/* Past a border of blocks, so that windows slide and a checkpoint is made; back, and on again. */
static void step(struct dn_context *context, uint32_t vocabulary)
{
	const uint32_t tokens[BATCH] = { 0, vocabulary - 1, vocabulary / 2, 0 };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_sequence *sequence = NULL;
	struct dn_batch_item item;
	volatile float last;

	if (failed(dn_sequence_new(context, &sequence, &err), &err))
		return;
	item = (struct dn_batch_item){ sequence, tokens, BATCH, DN_LOGITS_LAST };
	for (uint32_t i = 0; i < CONTEXT / BATCH; i++) {
		if (failed(dn_context_step(context, &item, 1, &err), &err))
			break;
		MUST(dn_sequence_length(sequence) == (i + 1) * BATCH);
		last = dn_context_logits(context, 0)[vocabulary - 1];
		(void)last;
	}
	MUST(dn_sequence_cut(sequence, CONTEXT - 2) <= CONTEXT - 2);
	item.n_tokens = 1;
	(void)failed(dn_context_step(context, &item, 1, &err), &err);
	dn_sequence_free(sequence);
}

static void use(struct dn_model *model)
{
	const struct dn_context_options options = {
		.struct_size = sizeof(options),
		.threads = 1,
		.context = CONTEXT,
		.batch = BATCH,
		.outputs = 1,
		.memory = MEMORY,
	};
	struct dn_error err = DN_ERROR_INIT;
	struct dn_context *context = NULL;
	struct dn_memory_plan plan;
	struct dn_model_info info;

	dn_model_get_info(model, &info);
	MUST(info.architecture && info.quantisation);
	(void)failed(dn_model_tokenizes(model, &err), &err);
	if (failed(dn_model_runs(model, &err), &err))
		return;
	if (failed(dn_model_plan(model, &options, &plan, &err), &err))
		return;
	MUST(plan.total <= MEMORY && plan.context > 0 && plan.context <= CONTEXT);
	if (failed(dn_context_new(model, &options, &context, &err), &err))
		return;
	step(context, info.vocabulary);
	dn_context_free(context);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gguf_files files = gguf_files_open(data, size);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model *model = NULL;

	if (!failed(dn_model_open(files.fds, files.n, &model, &err), &err))
		use(model);
	dn_model_free(model);
	gguf_files_close(&files);
	return 0;
}
