/* SPDX-License-Identifier: MIT */
/* Plain completions, as OpenAI's API has them. */

#include <stdlib.h>
#include <string.h>

#include "server/front/generation.h"

static bool read_text(struct dn_generation *g, const json_t *text, struct dn_api_error *error)
{
	const size_t size = json_string_length(text);
	char *copy = malloc(size + 1);

	if (copy)
		memcpy(copy, json_string_value(text), size);
	return dn_generation_add_prompt(g, DN_PROMPT_TEXT, copy, size, error);
}

static bool read_ids(struct dn_generation *g, const json_t *list, struct dn_api_error *error)
{
	size_t n;
	uint32_t *ids = dn_api_ids(list, "prompt", &n, error);

	return ids && dn_generation_add_prompt(g, DN_PROMPT_TOKENS, ids, n * sizeof(*ids), error);
}

static bool read_completion(struct dn_generation *g, const json_t *body, struct dn_api_error *error)
{
	const json_t *prompt = json_object_get(body, "prompt");
	const json_t *echo = json_object_get(body, "echo");
	const json_t *item;
	size_t i;

	if (json_is_true(echo))
		return dn_api_bad(error, "echo", "this server does not do 'echo'");
	if (json_is_string(prompt))
		return read_text(g, prompt, error);
	if (!json_is_array(prompt) || json_array_size(prompt) == 0)
		return dn_api_bad(error, "prompt",
				  "'prompt' is to be a text, a list of token ids, or a list of "
				  "these");
	if (json_is_integer(json_array_get(prompt, 0)))
		return read_ids(g, prompt, error);
	json_array_foreach(prompt, i, item)
	{
		if (json_is_string(item) ? !read_text(g, item, error)
		    : json_is_array(item)
			    ? !read_ids(g, item, error)
			    : !dn_api_bad(error, "prompt",
					  "item %zu of 'prompt' is neither a text nor a list of "
					  "token ids",
					  i))
			return false;
	}
	return true;
}

static bool read_completion_logprobs(struct dn_generation *g, const json_t *body,
				     struct dn_api_error *error)
{
	static const struct dn_api_field known = { "logprobs", DN_API_U32, 0, DN_FRAME_TOP_MAX, 0 };
	const json_t *given = json_object_get(body, "logprobs");
	uint32_t top = 0;

	if (!given || json_is_null(given) || json_is_false(given))
		return true;
	if (!dn_api_fields(body, &known, 1, &top, error))
		return false;
	g->logprobs = 1 + top;
	return true;
}

/* Offsets of texts are in characters, as clients count them: a token may begin within one. */
static size_t characters(const char *bytes, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < size; i++)
		n += ((unsigned char)bytes[i] & 0xc0) != 0x80;
	return n;
}

/* Kept as a list of [token, logprob, top, offset]: columns are made of it when it is sent. */
static void add_completion_logprobs(struct dn_choice *choice, const struct dn_frame_output *output)
{
	const struct dn_generation *g = choice->generation;
	json_t *top = json_object();
	const char *bytes;
	size_t size;

	for (uint32_t i = 0; i < output->n_top; i++) {
		json_t *token = dn_generation_token(g, output->top[i].token);

		if (token)
			(void)json_object_set_new_nocheck(
				top, json_string_value(token),
				json_real(dn_generation_logprob(output->top[i].logprob)));
		json_decref(token);
	}
	bytes = dn_models_token(g->model, output->token, &size);
	(void)json_array_append_new(choice->logprobs,
				    json_pack("[o, f, o, I]", dn_generation_token(g, output->token),
					      dn_generation_logprob(output->logprob), top,
					      (json_int_t)choice->offset));
	choice->offset += characters(bytes, size);
}

static json_t *take_completion_logprobs(struct dn_choice *choice)
{
	static const char *const columns[] = { "tokens", "token_logprobs", "top_logprobs",
					       "text_offset" };
	json_t *rows = choice->logprobs;
	json_t *all = json_object();
	json_t *row;
	size_t i;

	if (!rows || json_array_size(rows) == 0) {
		json_decref(all);
		return json_null();
	}
	for (size_t column = 0; column < DN_ARRAY_SIZE(columns); column++) {
		json_t *list = json_array();

		json_array_foreach(rows, i, row)(void)
			json_array_append(list, json_array_get(row, column));
		(void)json_object_set_new(all, columns[column], list);
	}
	json_decref(rows);
	choice->logprobs = json_array();
	return all;
}

static json_t *row(struct dn_choice *choice, json_t *text)
{
	return json_pack("{s:i, s:o, s:o, s:s?}", "index", (int)choice->index, "text", text,
			 "logprobs", take_completion_logprobs(choice), "finish_reason",
			 choice->finish);
}

static bool completion_piece(struct dn_choice *choice, const struct dn_chat_piece *piece)
{
	return dn_openai_send_choice(choice, row(choice, dn_api_text(piece->text, piece->size)));
}

static bool finish_completion(struct dn_choice *choice)
{
	return dn_openai_send_choice(choice, row(choice, json_string("")));
}

static json_t *completion_choice(struct dn_choice *choice)
{
	return row(choice, dn_choice_text(choice));
}

static json_t *whole_completion(struct dn_generation *g)
{
	return dn_openai_whole(g, completion_choice);
}

static const struct dn_generation_format completion_format = {
	.object = "text_completion",
	.chunk_object = "text_completion",
	.prefix = "cmpl-",
	.default_max_tokens = 16,
	.read_prompts = read_completion,
	.read_logprobs = read_completion_logprobs,
	.piece = completion_piece,
	.finish = finish_completion,
	.end = dn_openai_end,
	.whole = whole_completion,
	.add_logprobs = add_completion_logprobs,
};

/* POST /v1/completions */
void dn_front_completion(struct dn_front *front, struct dn_http_connection *connection)
{
	dn_generation_start(front, connection, &completion_format);
}
