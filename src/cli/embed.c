/* SPDX-License-Identifier: MIT */
/* dunlin embed: texts as vectors. */

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/texts.h"

#define SHOWN_COLUMNS 4	 /* of a row, on a terminal */
#define SHOWN_BYTES   48 /* of a text */

struct values {
	struct dn_model_options model;
	uint32_t pooling;
	uint32_t dimensions;
	const char *prefix;
	bool no_normalise;
	bool truncate;
	bool jsonl;
	bool json;
	bool raw;
};

static const struct dn_option options[] = {
	{ .name = "prefix",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, prefix),
	  .argument = "TEXT",
	  .help = "put before each text, such as 'search_query: '" },
	{ .name = "pooling",
	  .kind = DN_OPTION_CHOICE,
	  .offset = offsetof(struct values, pooling),
	  .argument = "none|mean|cls|last|rank",
	  .help = "what becomes of the tokens' rows (default: as the model was trained)" },
	{ .name = "dimensions",
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, dimensions),
	  .min = 1,
	  .max = 65536,
	  .argument = "N",
	  .help = "keep the first N numbers, for models trained for that (default: all)" },
	{ .name = "no-normalise",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, no_normalise),
	  .help = "leave the vectors as long as they are, instead of length 1" },
	{ .name = "truncate",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, truncate),
	  .help = "cut texts that are too long for the model" },
	{ .name = "jsonl",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, jsonl),
	  .help = "standard input has lines of JSON: {text}" },
	{ .name = "json",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, json),
	  .help = "as one JSON object, like OpenAI's" },
	{ .name = "raw",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, raw),
	  .help = "as float32, row behind row" },
	DN_OPTION_THREADS(struct values),
	DN_OPTION_REALTIME(struct values),
	DN_OPTION_CONTEXT(struct values),
	DN_OPTION_KV(struct values),
	DN_OPTION_MEMORY(struct values),
	DN_OPTION_LORA(struct values),
	DN_OPTION_SANDBOX(struct values),
};

/**
 * struct writer - where rows go
 * @columns: of a row as written
 * @list: --json: what has been written of it; owned
 */
struct writer {
	const struct values *values;
	const struct dn_texts *texts;
	uint32_t columns;
	json_t *list;
	uint64_t tokens;
	uint32_t truncated;
};

static void set_defaults(void *data)
{
	((struct values *)data)->pooling = DN_POOLING_DEFAULT;
}

static json_t *row_json(const float *row, uint32_t columns)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < columns; i++)
		/* JSON has no infinities. */
		if (json_array_append_new(array, isfinite(row[i]) ? json_real((double)row[i])
								  : json_null()) < 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}

/* One text: its row, or with --pooling none the list of its tokens' rows. */
static json_t *text_json(const struct writer *w, const float *rows, uint32_t n)
{
	json_t *list;

	if (w->values->pooling != DN_POOLING_NONE)
		return row_json(rows, w->columns);
	list = json_array();
	for (uint32_t i = 0; i < n; i++)
		if (json_array_append_new(
			    list, row_json(rows + (size_t)i * w->columns, w->columns)) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static int write_json(struct writer *w, uint32_t index, const float *rows, uint32_t n,
		      struct dn_error *err)
{
	json_t *embedding = text_json(w, rows, n);
	int r = 0;

	if (w->values->json) {
		/* A NULL among the values makes a NULL of the whole. */
		json_t *entry = json_pack("{s:s, s:i, s:o}", "object", "embedding", "index",
					  (int)index, "embedding", embedding);

		if (json_array_append_new(w->list, entry) < 0)
			r = dn_error_memory(err, "JSON output", 0);
		return r;
	}
	r = embedding ? dn_cli_write_json(embedding, JSON_COMPACT, err)
		      : dn_error_memory(err, "JSON output", 0);
	json_decref(embedding);
	return r;
}

/* The first numbers, and the beginning of the text that they stand for. */
static int write_summary(const struct writer *w, uint32_t index, const float *rows, uint32_t n,
			 struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer line = DN_BUFFER_INIT(1 << 16);
	int r = 0;

	for (uint32_t row = 0; r >= 0 && row < n; row++) {
		dn_buffer_clear(&line);
		for (uint32_t i = 0; r >= 0 && i < DN_MIN(w->columns, SHOWN_COLUMNS); i++)
			r = dn_buffer_printf(&line, "%10.6f ",
					     (double)rows[(size_t)row * w->columns + i]);
		if (r >= 0)
			r = dn_buffer_printf(&line, "%s(%u)  ",
					     w->columns > SHOWN_COLUMNS ? " ... " : "", w->columns);
		if (r >= 0)
			r = dn_texts_append_line(w->texts, index, SHOWN_BYTES, &line);
		if (r < 0)
			return dn_error_memory(err, "output", line.size);
		r = dn_cli_write(line.data, line.size, err);
	}
	return r;
}

/* The first columns of each row, one behind the other, of length 1 again where that is wanted. */
static int shorten(const struct writer *w, const struct dn_frame_embedded *embedded,
		   const float *rows, struct dn_buffer *ret, struct dn_error *err)
{
	for (uint32_t i = 0; i < embedded->rows; i++) {
		const float *row = rows + (size_t)i * embedded->columns;
		float *kept;
		double sum = 0.0;

		if (dn_buffer_append(ret, row, w->columns * sizeof(*row)) < 0)
			return dn_error_memory(err, "rows", ret->size);
		kept = (float *)(ret->data + ret->size) - w->columns;
		for (uint32_t c = 0; c < w->columns; c++)
			sum += (double)kept[c] * (double)kept[c];
		for (uint32_t c = 0; c < w->columns && sum > 0.0 && !w->values->no_normalise; c++)
			kept[c] = (float)((double)kept[c] / sqrt(sum));
	}
	return 0;
}

static int write_rows(void *data, const struct dn_frame_embedded *embedded, const float *rows,
		      struct dn_error *err)
{
	struct writer *w = data;
	DN_AUTO_BUFFER struct dn_buffer kept = DN_BUFFER_INIT((size_t)1 << 32);
	const uint32_t each = embedded->rows / embedded->count;
	int r = 0;

	if (embedded->columns < w->columns || embedded->rows < embedded->count)
		return dn_error_set(err, EPROTO, "the worker sent %u rows of %u numbers, not %u",
				    embedded->rows, embedded->columns, w->columns);
	w->tokens += embedded->tokens;
	w->truncated += embedded->truncated;
	if (embedded->columns > w->columns) {
		r = shorten(w, embedded, rows, &kept, err);
		if (r < 0)
			return r;
		rows = (const float *)kept.data;
	}
	if (w->values->raw)
		return dn_cli_write((const char *)rows,
				    (size_t)embedded->rows * w->columns * sizeof(float), err);
	for (uint32_t i = 0; r >= 0 && i < embedded->count; i++) {
		const float *first = rows + (size_t)i * each * w->columns;

		if (!w->values->json && isatty(STDOUT_FILENO))
			r = write_summary(w, embedded->first + i, first, each, err);
		else
			r = write_json(w, embedded->first + i, first, each, err);
	}
	return r;
}

/* What the model and the options make of a text, before any is computed. */
static int choose(const struct dn_client *client, struct values *values, struct writer *w,
		  struct dn_error *err)
{
	const struct dn_frame_loaded *loaded = &client->loaded;

	if (values->pooling == DN_POOLING_DEFAULT && loaded->pooling == DN_POOLING_RANK)
		return dn_error_set(err, EINVAL,
				    "this model is a reranker: use 'dunlin rerank', or choose a "
				    "--pooling");
	if (values->pooling == DN_POOLING_DEFAULT)
		values->pooling = loaded->pooling;
	w->columns = values->pooling == DN_POOLING_RANK ? loaded->scores : loaded->dim;
	if (values->dimensions > w->columns)
		return dn_error_set(err, EINVAL, "--dimensions is %u; this model's vectors have %u",
				    values->dimensions, w->columns);
	if (values->dimensions)
		w->columns = values->dimensions;
	return 0;
}

static int finish_json(struct writer *w, const char *model, struct dn_error *err)
{
	json_t *json = json_pack("{s:s, s:O, s:o, s:{s:I, s:I}}", "object", "list", "data", w->list,
				 "model", dn_cli_text_json(model), "usage", "prompt_tokens",
				 (json_int_t)w->tokens, "total_tokens", (json_int_t)w->tokens);
	int r = json ? dn_cli_write_json(json, JSON_COMPACT, err)
		     : dn_error_memory(err, "JSON output", 0);

	json_decref(json);
	return r;
}

static int embed(const struct dn_invocation *invocation, struct writer *w, struct dn_error *err)
{
	struct values *values = invocation->values;
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	DN_AUTO_TEXTS struct dn_texts texts = DN_TEXTS_INIT;
	struct dn_frame_embed how = { .kind = DN_EMBED_EACH,
				      .normalise = !values->no_normalise,
				      .truncate = values->truncate };
	struct dn_frame_load load;
	int r;

	texts.prefix = values->prefix;
	w->texts = &texts;
	r = dn_texts_take(&texts, invocation->args + 1, invocation->n_args - 1, values->jsonl, err);
	if (r < 0)
		return r;
	dn_client_load_options(&values->model, &load);
	r = dn_client_open(&client, invocation->args[0], &values->model, &load, err);
	if (r >= 0)
		dn_client_note_unlocked(&client, invocation->verb);
	if (r >= 0)
		r = choose(&client, values, w, err);
	how.pooling = values->pooling;
	if (r >= 0)
		r = dn_texts_embed(&client, &texts, &how, write_rows, w, err);
	if (r >= 0 && w->truncated > 0)
		dn_cli_note(invocation->verb, "%u of %u texts were cut to %u tokens", w->truncated,
			    texts.count, client.loaded.embed_context);
	return r < 0 || !values->json ? r : finish_json(w, invocation->args[0], err);
}

static int run(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	struct writer w = { .values = values };
	struct dn_error err = DN_ERROR_INIT;
	int r;

	if ((values->json && values->raw) || (values->jsonl && invocation->n_args > 1)) {
		(void)fprintf(stderr, "dunlin: embed: --json and --raw exclude each other, and so "
				      "do --jsonl and TEXT\n");
		return DN_EXIT_USAGE;
	}
	if (values->raw && isatty(STDOUT_FILENO)) {
		(void)fprintf(stderr,
			      "dunlin: embed: --raw is not for a terminal: write to a file\n");
		return DN_EXIT_USAGE;
	}
	w.list = json_array();
	r = w.list ? embed(invocation, &w, &err) : dn_error_memory(&err, "JSON output", 0);
	json_decref(w.list);
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_embed = {
	.name = "embed",
	.arguments = "MODEL [TEXT...]",
	.summary = "Make vectors of texts, for search and comparison.",
	.details =
		"Without TEXT each line of standard input is one. Writes a JSON array a line for\n"
		"each, on a terminal its first numbers.\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.min_args = 1,
	.max_args = INT_MAX,
	.values_size = sizeof(struct values),
	.defaults = set_defaults,
	.run = run,
};
