/* SPDX-License-Identifier: MIT */
/*
 * A prepared model of which any bytes are other: those of the head first, then those of the list
 * of weights, of the image of the header, of the region. What opens is loaded, computes a step,
 * and gives its file back.
 */

#include <sys/mman.h>

#include <dunlin/model.h>

#include "engine/prepared.h"
#include "fuzz.h"

#include "../unit/gguf-builder.c"
#include "../unit/tiny-model.c"

#define CONTEXT 16

/* The good bytes; made once and kept, as long as the fuzzer runs. */
static const uint8_t *good_bytes(size_t *ret_size)
{
	static const struct tiny_model tiny = {
		.type = DN_TYPE_Q4_0,
		.layers = 1,
		.dim = 32,
		.heads = 2,
		.kv_heads = 1,
		.head_dim = 16,
		.ffn = 32,
		.vocabulary = 40,
		.context = CONTEXT,
		.seed = 1,
	};
	static uint8_t *bytes;
	static size_t size;

	if (!bytes) {
		const int fd = memfd_create("prepared", MFD_CLOEXEC);
		const int model_fd = tiny_model_fd(&tiny);
		struct dn_error err = DN_ERROR_INIT;
		struct dn_model *model = NULL;
		uint64_t head_bytes = 0;

		MUST(dn_model_open(&model_fd, 1, &model, &err) == 0);
		MUST(dn_model_prepare(model, fd, &head_bytes, &err) == 0);
		size = (size_t)lseek(fd, 0, SEEK_END);
		bytes = malloc(size);
		MUST(bytes && pread(fd, bytes, size, 0) == (ssize_t)size);
		dn_model_free(model);
		close(model_fd);
		close(fd);
	}
	*ret_size = size;
	return bytes;
}

/* Input is what to change, by exclusive or, in the places where much depends on it. */
static void spoil(uint8_t *bytes, const uint8_t *data, size_t size)
{
	struct dn_prepared_head head;
	const size_t words = offsetof(struct dn_prepared_head, images) + 2 * sizeof(head.images[0]);
	size_t at = 0;

	memcpy(&head, bytes, sizeof(head));
	const struct {
		size_t begin, size;
	} places[] = {
		{ 0, words },
		{ head.weights_at, head.n_weights * sizeof(struct dn_prepared_weight) },
		{ head.images[0].offset, head.images[0].bytes },
		{ head.region_at, head.bytes - head.region_at },
	};

	for (size_t i = 0; i < DN_ARRAY_SIZE(places); i++)
		for (size_t j = 0; j < places[i].size && at < size; j++, at++)
			bytes[places[i].begin + j] ^= data[at];
}

static void step(struct dn_model *model)
{
	const struct dn_context_options options = {
		.struct_size = sizeof(options),
		.threads = 1,
		.context = CONTEXT,
		.batch = 4,
		.outputs = 1,
		.memory = (uint64_t)64 << 20,
	};
	const uint32_t tokens[3] = { 0, 2, 1 };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_context *context = NULL;
	struct dn_sequence *sequence = NULL;
	struct dn_batch_item item;
	volatile float last;

	if (failed(dn_context_new(model, &options, &context, &err), &err))
		return;
	MUST(dn_sequence_new(context, &sequence, &err) == 0);
	item = (struct dn_batch_item){ sequence, tokens, 3, DN_LOGITS_LAST };
	if (!failed(dn_context_step(context, &item, 1, &err), &err)) {
		last = dn_context_logits(context, 0)[0];
		(void)last;
	}
	dn_sequence_free(sequence);
	dn_context_free(context);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const int sink = memfd_create("given back", MFD_CLOEXEC);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model *model = NULL;
	size_t good_size;
	const uint8_t *good = good_bytes(&good_size);
	uint8_t *bytes = malloc(good_size);
	int fd;

	MUST(bytes);
	memcpy(bytes, good, good_size);
	spoil(bytes, data, size);
	fd = gguf_fd_of_bytes(bytes, good_size);
	free(bytes);
	if (!failed(dn_model_open_prepared(fd, &model, &err), &err)) {
		(void)failed(dn_model_give_back(model, 0, sink, &err), &err);
		if (!failed(dn_model_runs(model, &err), &err))
			step(model);
	}
	dn_model_free(model);
	close(fd);
	close(sink);
	return 0;
}
