/* SPDX-License-Identifier: MIT */
/* dunlin perplexity: how well a model foresees a text. */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/client.h"

/* Rows of logits a step gives: memory for each is four bytes times the vocabulary. */
#define ROWS_A_STEP 32

struct values {
	struct dn_model_options model;
	uint32_t chunks;
	bool json;
};

static const struct dn_option options[] = {
	{ .name = "context",
	  .letter = 'c',
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, model.context),
	  .min = 8,
	  .max = DN_LOAD_CONTEXT_MAX,
	  .argument = "N",
	  .help = "tokens in a chunk (default: 512)" },
	{ .name = "chunks",
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, chunks),
	  .min = 1,
	  .max = 1e6,
	  .argument = "N",
	  .help = "chunks of the text to score, from its head (default: 16)" },
	{ .name = "json",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, json),
	  .help = "as one JSON object" },
	DN_OPTION_THREADS(struct values),
	DN_OPTION_KV(struct values),
	DN_OPTION_MEMORY(struct values),
	DN_OPTION_LORA(struct values),
	DN_OPTION_SANDBOX(struct values),
};

struct result {
	double negative_log_likelihood;
	uint64_t scored;
	uint32_t chunks;
	size_t tokens;
};

static void set_defaults(void *data)
{
	struct values *values = data;

	values->model.context = 512;
	values->chunks = 16;
}

/* The whole text's ids, BOS first where the model asks for it. */
static int tokenize(struct dn_client *client, const struct dn_buffer *text, struct dn_buffer *ids,
		    struct dn_error *err)
{
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };
	struct dn_frame frame;
	int r;

	dn_client_request(client, &frame, DN_FRAME_TOKENIZE);
	r = dn_client_ask(client, &frame, text->data, text->size, DN_FRAME_TOKENS, &mapped, err);
	if (r < 0)
		return r;
	if (client->loaded.adds_bos)
		r = dn_buffer_append(ids, &client->loaded.bos, sizeof(uint32_t));
	if (r >= 0)
		r = dn_buffer_append(ids, mapped.data, mapped.size);
	return r < 0 ? dn_error_memory(err, "tokens", mapped.size) : 0;
}

/* The second half of a chunk is scored, given all before it. */
static int score_chunk(struct dn_client *client, uint32_t *ids, uint32_t n, struct result *result,
		       struct dn_error *err)
{
	struct dn_frame frame;
	uint64_t request;
	int r;

	if (client->loaded.adds_bos)
		ids[0] = client->loaded.bos;
	dn_client_request(client, &frame, DN_FRAME_SCORE);
	frame.u.score.first = n / 2 + 1;
	request = frame.request;
	r = dn_client_send(client, &frame, ids, n * sizeof(uint32_t), err);
	if (r < 0)
		return r;
	r = dn_client_expect(client, request, DN_FRAME_SCORED, &frame, NULL, err);
	if (r < 0)
		return r;
	result->negative_log_likelihood += frame.u.scored.negative_log_likelihood;
	result->scored += frame.u.scored.n_scored;
	result->chunks++;
	if (dn_cli_fancy())
		(void)fprintf(stderr, "\rchunk %u: %.4f ", result->chunks,
			      exp(result->negative_log_likelihood / (double)result->scored));
	return 0;
}

static int measure(const struct dn_invocation *invocation, struct result *result,
		   struct dn_error *err)
{
	const struct values *values = invocation->values;
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	DN_AUTO_BUFFER struct dn_buffer text = DN_BUFFER_INIT(DN_CLI_TEXT_MAX);
	DN_AUTO_BUFFER struct dn_buffer ids =
		DN_BUFFER_INIT(DN_LOAD_CONTEXT_MAX * sizeof(uint32_t));
	uint32_t n = values->model.context;
	struct dn_frame_load load;
	int r;

	/* Before a model is loaded for nothing. */
	r = dn_cli_read_file(invocation->args[1], &text, err);
	if (r < 0)
		return r;
	dn_client_load_options(&values->model, &load);
	load.outputs = ROWS_A_STEP;
	r = dn_client_open(&client, invocation->args[0], &values->model, &load, err);
	if (r < 0)
		return r;
	r = tokenize(&client, &text, &ids, err);
	if (r < 0)
		return r;
	result->tokens = ids.size / sizeof(uint32_t);
	if (result->tokens < n)
		return dn_error_set(err, EINVAL, "'%.128s' has %zu tokens, one chunk takes %u",
				    invocation->args[1], result->tokens, n);
	while (result->chunks < values->chunks &&
	       (size_t)(result->chunks + 1) * n <= result->tokens) {
		uint32_t *all = (uint32_t *)ids.data;

		r = score_chunk(&client, all + (size_t)result->chunks * n, n, result, err);
		if (r < 0)
			return r;
	}
	/* JSON has no infinity, and no number is of use. */
	if (!isfinite(exp(result->negative_log_likelihood / (double)result->scored)))
		return dn_error_set(err, ERANGE,
				    "the model holds '%.128s' impossible: is it of this language, "
				    "and are the model's weights numbers?",
				    invocation->args[1]);
	return 0;
}

static int report_json(const struct result *result, const struct values *values,
		       struct dn_error *err)
{
	double mean = result->negative_log_likelihood / (double)result->scored;
	json_t *json =
		json_pack("{s:f, s:f, s:I, s:i, s:i, s:I}", "perplexity", exp(mean),
			  "negative_log_likelihood", mean, "scored_tokens",
			  (json_int_t)result->scored, "chunks", (int)result->chunks, "context",
			  (int)values->model.context, "text_tokens", (json_int_t)result->tokens);
	int r = json ? dn_cli_write_json(json, JSON_INDENT(2), err)
		     : dn_error_memory(err, "JSON output", 0);

	json_decref(json);
	return r;
}

static int run(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	struct dn_error err = DN_ERROR_INIT;
	struct result result = { 0 };
	int r = measure(invocation, &result, &err);

	if (dn_cli_fancy())
		(void)fprintf(stderr, "\r\033[K");
	if (r >= 0 && values->json)
		r = report_json(&result, values, &err);
	else if (r >= 0)
		printf("perplexity %.4f (%u chunks of %u tokens, %llu scored)\n",
		       exp(result.negative_log_likelihood / (double)result.scored), result.chunks,
		       values->model.context, (unsigned long long)result.scored);
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_perplexity = {
	.name = "perplexity",
	.arguments = "MODEL FILE",
	.summary = "Measure how well a model foresees a text.",
	.details =
		"The text is cut into chunks; of each, the second half is scored given all before\n"
		"it in the chunk. perplexity = exp(mean negative log-likelihood).\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.min_args = 2,
	.max_args = 2,
	.values_size = sizeof(struct values),
	.defaults = set_defaults,
	.run = run,
};
