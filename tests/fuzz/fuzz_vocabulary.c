/* SPDX-License-Identifier: MIT */
/*
 * Hostile vocabularies. The input is a list of records, each a kind byte, a size byte and that many
 * bytes: tokens, scores, merges, ids and texts. What opens must encode the texts and decode every token
 * within its promises.
 */

#include "base/text.h"

#include "../unit/gguf-builder.c"
#include "engine/tokenizer/tokenizer-internal.h"
#include "fuzz.h"

static const char *const families[] = { "smollm", "gpt-2",	  "llama-bpe", "qwen2",
					"tekken", "deepseek-llm", "unknown" };
static const char *const models[] = { "gpt2", "llama", "gemma4", "bert", "t5", "gpt2", "rwkv" };

struct input {
	struct dn_buffer tokens;
	struct dn_buffer kinds;
	struct dn_buffer merges;
	struct dn_buffer scores;
	struct dn_buffer charsmap;
	struct dn_buffer text;
	uint64_t n_tokens;
	uint64_t n_merges;
	uint32_t eos;
	size_t family;
	size_t model;
	uint32_t flags;
};

static void add_token(struct input *input, int32_t kind, const void *data, size_t size)
{
	put_number(&input->tokens, size, 8);
	put(&input->tokens, data, size);
	put_number(&input->kinds, (uint32_t)kind, 4);
	/* Scores that are numbers, unless a record gives others. */
	if (input->scores.size < 4 * (input->n_tokens + 1))
		put_number(&input->scores, 0xbf800000U + (uint32_t)(size << 20), 4);
	input->n_tokens++;
}

static void take_record(struct input *input, uint8_t kind, const uint8_t *data, size_t size)
{
	char spelt[2];

	switch (kind % 8) {
	case 0: /* a byte token for each byte */
		for (size_t i = 0; i < size; i++)
			add_token(input, 1, spelt, dn_alphabet_spell(data[i], spelt));
		break;
	case 1:
	case 2:
		put_number(&input->merges, size, 8);
		put(&input->merges, data, size);
		input->n_merges++;
		break;
	case 3:
		put(&input->text, data, size);
		break;
	case 4:
		input->eos = size ? data[0] : 0;
		input->family = kind / 8 % DN_ARRAY_SIZE(families);
		input->model = size > 1 ? data[1] % DN_ARRAY_SIZE(models) : 0;
		input->flags = size > 2 ? data[2] : 0;
		break;
	case 5: /* scores of the tokens to come, or the map of a unigram model */
		put(kind & 8 ? &input->charsmap : &input->scores, data, size & ~(size_t)3);
		break;
	default:
		add_token(input, kind / 8 % 8, data, size);
	}
}

static void use(const struct dn_tokenizer *tokenizer, const struct dn_buffer *text)
{
	size_t room = dn_tokenizer_longest(tokenizer) + 8;
	struct dn_detokenizer stream = { 0 };
	uint32_t tokens[64];
	size_t n = SIZE_MAX, bytes;
	char *out = malloc(room);
	int r;

	MUST(out);
	for (unsigned int flags = 0; flags < 2; flags++) {
		r = dn_tokenizer_encode(tokenizer, text->data, text->size, flags, tokens, 64, &n,
					NULL);
		MUST(r == 0 && n <= 512 * text->size + 4);
		for (size_t i = 0; i < DN_MIN(n, (size_t)64); i++)
			MUST(tokens[i] < dn_tokenizer_size(tokenizer));
	}
	for (uint32_t i = 0; i < dn_tokenizer_size(tokenizer); i++) {
		r = dn_tokenizer_decode(tokenizer, &stream, i, true, out, room);
		MUST(r >= 0 && (size_t)r <= room && dn_utf8_valid(out, (size_t)r));
		MUST(dn_tokenizer_bytes(tokenizer, i, &bytes) && bytes <= room);
		(void)dn_tokenizer_ends(tokenizer, i);
	}
	free(out);
}

static void add_kind(const struct input *input, struct gguf_builder *builder)
{
	gguf_add_text(builder, "tokenizer.ggml.model", models[input->model]);
	gguf_add_text(builder, "general.architecture", input->flags & 1 ? "phi3" : "other");
	gguf_add_bool(builder, "tokenizer.ggml.add_space_prefix", input->flags & 2);
	gguf_add_bool(builder, "tokenizer.ggml.remove_extra_whitespaces", input->flags & 4);
	if (input->flags & 8)
		gguf_add_u32(builder, "tokenizer.ggml.unknown_token_id", 0);
	if (input->charsmap.size)
		gguf_add_array(builder, "tokenizer.ggml.precompiled_charsmap", DN_GGUF_U8,
			       input->charsmap.size, input->charsmap.data, input->charsmap.size);
	if (input->model)
		gguf_add_array(builder, "tokenizer.ggml.scores", DN_GGUF_F32,
			       input->scores.size / 4, input->scores.data ? input->scores.data : "",
			       input->scores.size);
}

static void open_input(const struct input *input)
{
	struct dn_tokenizer *tokenizer = NULL;
	struct dn_error err = DN_ERROR_INIT;
	struct gguf_builder builder;
	struct dn_gguf *gguf = NULL;
	int fd, r;

	gguf_builder_init(&builder);
	add_kind(input, &builder);
	gguf_add_text(&builder, "tokenizer.ggml.pre", families[input->family]);
	gguf_add_u32(&builder, "tokenizer.ggml.eos_token_id", input->eos);
	gguf_add_array(&builder, "tokenizer.ggml.tokens", DN_GGUF_STRING, input->n_tokens,
		       input->tokens.data ? input->tokens.data : "", input->tokens.size);
	gguf_add_array(&builder, "tokenizer.ggml.token_type", DN_GGUF_I32, input->n_tokens,
		       input->kinds.data ? input->kinds.data : "", input->kinds.size);
	gguf_add_array(&builder, "tokenizer.ggml.merges", DN_GGUF_STRING, input->n_merges,
		       input->merges.data ? input->merges.data : "", input->merges.size);
	fd = gguf_builder_fd(&builder);
	MUST(dn_gguf_open(&fd, 1, &gguf, &err) == 0);
	(void)dn_tokenizer_memory(gguf);
	r = dn_tokenizer_new(gguf, NULL, &tokenizer, &err);
	MUST((r == 0) == (tokenizer != NULL));
	MUST(r == 0 || (err.code == -r && err.message[0]));
	if (tokenizer)
		use(tokenizer, &input->text);
	dn_tokenizer_free(tokenizer);
	dn_gguf_free(gguf);
	close(fd);
	gguf_builder_done(&builder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {
		.tokens = DN_BUFFER_INIT(BUILDER_MAX),
		.kinds = DN_BUFFER_INIT(BUILDER_MAX),
		.merges = DN_BUFFER_INIT(BUILDER_MAX),
		.scores = DN_BUFFER_INIT(BUILDER_MAX),
		.charsmap = DN_BUFFER_INIT(BUILDER_MAX),
		.text = DN_BUFFER_INIT(BUILDER_MAX),
	};

	while (size >= 2) {
		size_t n = DN_MIN((size_t)data[1], size - 2);

		take_record(&input, data[0], data + 2, n);
		data += 2 + n;
		size -= 2 + n;
	}
	open_input(&input);
	dn_buffer_done(&input.tokens);
	dn_buffer_done(&input.kinds);
	dn_buffer_done(&input.merges);
	dn_buffer_done(&input.scores);
	dn_buffer_done(&input.charsmap);
	dn_buffer_done(&input.text);
	return 0;
}
