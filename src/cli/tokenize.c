/* SPDX-License-Identifier: MIT */
/* dunlin tokenize: text to token ids, and back. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/client.h"

struct values {
	struct dn_model_options model;
	bool ids;
	bool special;
	bool jsonl;
};

static const struct dn_option options[] = {
	{ .name = "ids",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, ids),
	  .help = "only the ids, on one line" },
	{ .name = "special",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, special),
	  .help = "recognise special tokens such as <|im_end|> in the text" },
	{ .name = "jsonl",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, jsonl),
	  .help = "JSON lines in and out: {text, parse_special}, {tokens, text}" },
	DN_OPTION_SANDBOX(struct values),
};

static int encode(struct dn_client *client, const char *text, size_t size, bool special,
		  struct dn_mapped *ret_ids, struct dn_error *err)
{
	struct dn_frame frame;

	dn_client_request(client, &frame, DN_FRAME_TOKENIZE);
	frame.u.encode.special = special;
	return dn_client_ask(client, &frame, text, size, DN_FRAME_TOKENS, ret_ids, err);
}

static int decode(struct dn_client *client, const void *ids, size_t size,
		  struct dn_mapped *ret_text, struct dn_error *err)
{
	struct dn_frame frame;

	dn_client_request(client, &frame, DN_FRAME_DETOKENIZE);
	frame.u.encode.special = 1;
	return dn_client_ask(client, &frame, ids, size, DN_FRAME_TEXT, ret_text, err);
}

/* One token a line, with the text that it stands for. */
static int print_table(struct dn_client *client, const uint32_t *ids, size_t n,
		       struct dn_error *err)
{
	for (size_t i = 0; i < n; i++) {
		DN_AUTO_MAPPED struct dn_mapped text = { NULL, 0 };
		DN_AUTO_FREE char *quoted = NULL;
		DN_AUTO_BUFFER struct dn_buffer line = DN_BUFFER_INIT(DN_CLI_TEXT_MAX);
		json_t *json;
		int r;

		r = decode(client, ids + i, sizeof(uint32_t), &text, err);
		if (r < 0)
			return r;
		if (!dn_utf8_valid(text.data, text.size))
			return dn_error_set(err, EPROTO, "the worker sent text that is no UTF-8");
		json = json_stringn(text.data, text.size);
		quoted = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;
		json_decref(json);
		if (!quoted || dn_buffer_printf(&line, "%8u  %s\n", ids[i], quoted) < 0)
			return dn_error_memory(err, "a token's text", text.size);
		r = dn_cli_write(line.data, line.size, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int print_ids(const uint32_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		printf("%s%u", i > 0 ? " " : "", ids[i]);
	printf("\n");
	return 0;
}

static int tokenize_text(struct dn_client *client, const struct dn_invocation *invocation,
			 struct dn_error *err)
{
	const struct values *values = invocation->values;
	DN_AUTO_BUFFER struct dn_buffer input = DN_BUFFER_INIT(DN_CLI_TEXT_MAX + 1);
	DN_AUTO_MAPPED struct dn_mapped ids = { NULL, 0 };
	const char *text = invocation->n_args > 1 ? invocation->args[1] : NULL;
	size_t size = text ? strlen(text) : 0;
	int r;

	if (!text) {
		r = dn_cli_read_all(STDIN_FILENO, "standard input", &input, err);
		if (r < 0)
			return r;
		text = input.data ? input.data : "";
		size = input.size;
	}
	r = encode(client, text, size, values->special, &ids, err);
	if (r < 0)
		return r;
	if (values->ids)
		return print_ids(ids.data, ids.size / sizeof(uint32_t));
	return print_table(client, ids.data, ids.size / sizeof(uint32_t), err);
}

static int answer_line(struct dn_client *client, const char *text, size_t size, bool special,
		       struct dn_error *err)
{
	DN_AUTO_MAPPED struct dn_mapped ids = { NULL, 0 };
	DN_AUTO_MAPPED struct dn_mapped back = { NULL, 0 };
	const uint32_t *id;
	json_t *tokens = NULL;
	json_t *object;
	int r;

	r = encode(client, text, size, special, &ids, err);
	if (r < 0)
		return r;
	r = decode(client, ids.data, ids.size, &back, err);
	if (r < 0)
		return r;
	tokens = json_array();
	id = ids.data;
	for (size_t i = 0; i < ids.size / sizeof(uint32_t); i++)
		if (json_array_append_new(tokens, json_integer(id[i])) < 0)
			r = -ENOMEM;
	object = json_pack("{s:o, s:s%}", "tokens", tokens, "text", (const char *)back.data,
			   back.size);
	if (!object || r < 0)
		r = dn_error_memory(err, "a line of JSON", ids.size);
	else
		r = dn_cli_write_json(object, JSON_COMPACT, err);
	json_decref(object);
	return r;
}

static int tokenize_line(struct dn_client *client, const char *line, size_t size, size_t number,
			 struct dn_error *err)
{
	json_error_t where;
	json_t *json = json_loadb(line, size, JSON_ALLOW_NUL, &where);
	const json_t *text = json_object_get(json, "text");
	const json_t *special = json_object_get(json, "parse_special");
	int r;

	if (!json)
		return dn_error_set(err, EINVAL, "line %zu, column %d: %s", number, where.column,
				    where.text);
	if (!json_is_string(text) || (special && !json_is_boolean(special)))
		r = dn_error_set(err, EINVAL,
				 "line %zu: takes {\"text\": TEXT, \"parse_special\": true|false}",
				 number);
	else
		r = answer_line(client, json_string_value(text), json_string_length(text),
				json_is_true(special), err);
	json_decref(json);
	return r;
}

static int tokenize_jsonl(struct dn_client *client, struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer input = DN_BUFFER_INIT(4 * DN_CLI_TEXT_MAX);
	size_t number = 0;
	size_t at = 0;
	int r;

	r = dn_cli_read_all(STDIN_FILENO, "standard input", &input, err);
	while (r >= 0 && at < input.size) {
		const char *end = memchr(input.data + at, '\n', input.size - at);
		size_t length = end ? (size_t)(end - input.data) - at : input.size - at;

		number++;
		if (length > 0)
			r = tokenize_line(client, input.data + at, length, number, err);
		at += length + 1;
	}
	return r;
}

static int tokenize(const struct dn_invocation *invocation, struct dn_error *err)
{
	const struct values *values = invocation->values;
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	struct dn_frame_load load = { .depth = DN_LOAD_HEADER };
	int r;

	r = dn_client_open(&client, invocation->args[0], &values->model, &load, err);
	if (r < 0)
		return r;
	return values->jsonl ? tokenize_jsonl(&client, err)
			     : tokenize_text(&client, invocation, err);
}

static int run(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	struct dn_error err = DN_ERROR_INIT;
	int r;

	if (values->jsonl && (values->ids || values->special || invocation->n_args > 1)) {
		(void)fprintf(stderr,
			      "dunlin: tokenize: --jsonl takes its texts and parse_special from "
			      "standard input, and neither TEXT, --ids nor --special\n");
		return DN_EXIT_USAGE;
	}
	r = tokenize(invocation, &err);
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_tokenize = {
	.name = "tokenize",
	.arguments = "MODEL [TEXT]",
	.summary = "Show the tokens of a text, from standard input without TEXT.",
	.details = "No BOS or EOS is added.\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.min_args = 1,
	.max_args = 2,
	.values_size = sizeof(struct values),
	.run = run,
};
