/* SPDX-License-Identifier: MIT */
/* dunlin rerank: which documents answer a query best. */

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/texts.h"

struct values {
	struct dn_model_options model;
	uint32_t top;
	bool truncate;
	bool jsonl;
	bool json;
};

static const struct dn_option options[] = {
	{ .name = "top",
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, top),
	  .min = 1,
	  .max = DN_EMBED_TEXTS_MAX,
	  .argument = "N",
	  .help = "only the N best (default: all)" },
	{ .name = "truncate",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, truncate),
	  .help = "cut documents that are too long for the model" },
	{ .name = "jsonl",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, jsonl),
	  .help = "standard input has lines of JSON: {text}" },
	{ .name = "json",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, json),
	  .help = "as one JSON object, like Jina's" },
	DN_OPTION_THREADS(struct values),
	DN_OPTION_REALTIME(struct values),
	DN_OPTION_CONTEXT(struct values),
	DN_OPTION_KV(struct values),
	DN_OPTION_MEMORY(struct values),
	DN_OPTION_LORA(struct values),
	DN_OPTION_SANDBOX(struct values),
};

/* A document's score, and which it is. */
struct ranked {
	float score;
	uint32_t index;
};

struct result {
	struct dn_texts texts; /* the query, then the documents */
	struct dn_buffer ranked;
	uint64_t tokens;
	uint32_t truncated;
};

/* The first score counts: of a model with several, such as yes and no, it says yes. */
static int take_scores(void *data, const struct dn_frame_embedded *embedded, const float *rows,
		       struct dn_error *err)
{
	struct result *result = data;

	if (embedded->columns == 0 || embedded->rows != embedded->count)
		return dn_error_set(err, EPROTO, "the worker sent no scores");
	for (uint32_t i = 0; i < embedded->count; i++) {
		struct ranked ranked = { rows[(size_t)i * embedded->columns], embedded->first + i };

		if (dn_buffer_append(&result->ranked, &ranked, sizeof(ranked)) < 0)
			return dn_error_memory(err, "scores", result->ranked.size);
	}
	result->tokens += embedded->tokens;
	result->truncated += embedded->truncated;
	return 0;
}

/* Best first; of the same score in their order; what is no number last. */
static int compare(const void *a, const void *b)
{
	const struct ranked *x = a;
	const struct ranked *y = b;

	if (isnan(x->score) != isnan(y->score))
		return isnan(x->score) ? 1 : -1;
	if (x->score > y->score || x->score < y->score)
		return x->score > y->score ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static int rerank(const struct dn_invocation *invocation, struct result *result,
		  struct dn_error *err)
{
	const struct values *values = invocation->values;
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	const struct dn_frame_embed how = { .kind = DN_EMBED_PAIRS,
					    .pooling = DN_POOLING_RANK,
					    .truncate = values->truncate };
	struct dn_frame_load load;
	int r;

	r = dn_texts_add(&result->texts, invocation->args[1], strlen(invocation->args[1]), err);
	if (r >= 0)
		r = dn_texts_take(&result->texts, invocation->args + 2, invocation->n_args - 2,
				  values->jsonl, err);
	if (r < 0)
		return r;
	dn_client_load_options(&values->model, &load);
	r = dn_client_open(&client, invocation->args[0], &values->model, &load, err);
	if (r >= 0)
		dn_client_note_unlocked(&client, invocation->verb);
	if (r >= 0)
		r = dn_texts_embed(&client, &result->texts, &how, take_scores, result, err);
	if (r < 0)
		return r;
	qsort(result->ranked.data, result->ranked.size / sizeof(struct ranked),
	      sizeof(struct ranked), compare);
	if (result->truncated > 0)
		dn_cli_note(invocation->verb, "%u of %u documents were cut to %u tokens",
			    result->truncated, result->texts.count - 1,
			    client.loaded.embed_context);
	return 0;
}

/* A line for each: score, number, text. */
static int write_lines(const struct result *result, const struct ranked *ranked, uint32_t n,
		       struct dn_error *err)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < n; i++) {
		DN_AUTO_BUFFER struct dn_buffer line = DN_BUFFER_INIT(2 * DN_TEXTS_MAX);

		r = dn_buffer_printf(&line, "%10.6f %5u  ", (double)ranked[i].score,
				     ranked[i].index);
		if (r >= 0)
			r = dn_texts_append_line(&result->texts, ranked[i].index + 1, SIZE_MAX,
						 &line);
		r = r < 0 ? dn_error_memory(err, "output", line.size)
			  : dn_cli_write(line.data, line.size, err);
	}
	return r;
}

static int write_json(const struct result *result, const struct ranked *ranked, uint32_t n,
		      const char *model, struct dn_error *err)
{
	json_t *list = json_array();
	json_t *json;
	int r = list ? 0 : -ENOMEM;

	for (uint32_t i = 0; r >= 0 && i < n; i++)
		r = json_array_append_new(
			list,
			json_pack("{s:i, s:o}", "index", (int)ranked[i].index, "relevance_score",
				  isfinite(ranked[i].score) ? json_real((double)ranked[i].score)
							    : json_null()));
	json = json_pack("{s:s, s:o, s:o, s:{s:I, s:I}}", "object", "list", "model",
			 dn_cli_text_json(model), "results", list, "usage", "prompt_tokens",
			 (json_int_t)result->tokens, "total_tokens", (json_int_t)result->tokens);
	r = r < 0 || !json ? dn_error_memory(err, "JSON output", 0)
			   : dn_cli_write_json(json, JSON_COMPACT, err);
	json_decref(json);
	return r;
}

static int run(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	struct result result = { .texts = DN_TEXTS_INIT, .ranked = DN_BUFFER_INIT(DN_TEXTS_MAX) };
	struct dn_error err = DN_ERROR_INIT;
	uint32_t n;
	int r;

	if (values->jsonl && invocation->n_args > 2) {
		(void)fprintf(stderr, "dunlin: rerank: --jsonl takes its documents from standard "
				      "input, not from arguments\n");
		return DN_EXIT_USAGE;
	}
	r = rerank(invocation, &result, &err);
	n = (uint32_t)(result.ranked.size / sizeof(struct ranked));
	if (values->top)
		n = DN_MIN(n, values->top);
	if (r >= 0 && values->json)
		r = write_json(&result, (const struct ranked *)result.ranked.data, n,
			       invocation->args[0], &err);
	else if (r >= 0)
		r = write_lines(&result, (const struct ranked *)result.ranked.data, n, &err);
	dn_texts_done(&result.texts);
	dn_buffer_done(&result.ranked);
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_rerank = {
	.name = "rerank",
	.arguments = "MODEL QUERY [DOCUMENT...]",
	.summary = "Sort documents by how well they answer a query.",
	.details =
		"Without DOCUMENT each line of standard input is one. Writes a line for each, the\n"
		"best first: score, number of the document, text.\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.min_args = 2,
	.max_args = INT_MAX,
	.values_size = sizeof(struct values),
	.run = run,
};
