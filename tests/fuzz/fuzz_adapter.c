/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a LoRA adapter of a tiny model: opened, planned, loaded, and two steps computed. A
 * file that is refused leaves the model as it was.
 */

#include <dunlin/model.h>

#include "fuzz.h"

#include "../unit/gguf-builder.c"
#include "../unit/tiny-model.c"

#define MEMORY	((uint64_t)64 << 20)
#define CONTEXT 16

/* The model's file; made once and kept, as long as the fuzzer runs. */
static int model_fd(void)
{
	static const struct tiny_model tiny = {
		.type = DN_TYPE_F16,
		.layers = 1,
		.dim = 32,
		.heads = 2,
		.kv_heads = 1,
		.head_dim = 16,
		.ffn = 32,
		.vocabulary = 40,
		.context = CONTEXT,
		.seed = 1,
		.untied = true,
		.fused = true,
	};
	static int fd = -1;

	if (fd < 0)
		fd = tiny_model_fd(&tiny);
	return fd;
}

static void step(struct dn_context *context, uint32_t n)
{
	const uint32_t tokens[3] = { 0, 39, 20 };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_sequence *sequence = NULL;
	struct dn_batch_item item;
	volatile float last;

	MUST(dn_sequence_new(context, &sequence, &err) == 0);
	item = (struct dn_batch_item){ sequence, tokens, n, DN_LOGITS_LAST };
	MUST(dn_context_step(context, &item, 1, &err) == 0);
	last = dn_context_logits(context, 0)[39];
	(void)last;
	dn_sequence_free(sequence);
}

static void use(struct dn_model *model)
{
	const struct dn_context_options options = {
		.struct_size = sizeof(options),
		.threads = 1,
		.context = CONTEXT,
		.batch = 4,
		.outputs = 1,
		.memory = MEMORY,
	};
	struct dn_error err = DN_ERROR_INIT;
	struct dn_context *context = NULL;
	struct dn_adapter_info adapter;
	struct dn_memory_plan plan;

	dn_model_get_adapter(model, 0, &adapter);
	MUST(adapter.rank <= DN_ADAPTER_RANK_MAX && adapter.pairs > 0);
	if (failed(dn_model_plan(model, &options, &plan, &err), &err))
		return;
	MUST(plan.total <= MEMORY && plan.weights >= adapter.bytes);
	if (failed(dn_context_new(model, &options, &context, &err), &err))
		return;
	step(context, 1);
	step(context, 3);
	dn_context_free(context);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const int base = model_fd();
	const int fd = gguf_fd_of_bytes(data, size);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model *model = NULL;

	MUST(dn_model_open(&base, 1, &model, &err) == 0 && dn_model_runs(model, &err) == 0);
	if (failed(dn_model_add_adapter(model, fd, 1.0f, &err), &err))
		MUST(dn_model_n_adapters(model) == 0);
	else
		use(model);
	dn_model_free(model);
	close(fd);
	return 0;
}
