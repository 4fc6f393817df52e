/* SPDX-License-Identifier: MIT */
/* dunlin chat: a prompt, or a conversation, with a server. */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/console.h"
#include "cli/remote.h"
#include "cli/run.h"

#define LOOK_MS	  10000 /* for the list of models */
#define EVENT_MAX ((size_t)4 << 20)
#define DATA	  "data: "
#define END	  "[DONE]"

struct values {
	const char *model;
	const char *system;
	const char *file;
	const char *key_file;
	const char *ca;
	uint32_t max_tokens;
	float temperature;
	uint32_t top_k;
	float top_p;
	float min_p;
	struct dn_optional seed;
	bool json;
	bool stats;
};

#define FIELD(member) offsetof(struct values, member)

static const struct dn_option options[] = {
	{ "model", 'm', DN_OPTION_TEXT, FIELD(model), 0, 0, "NAME",
	  "of the server's (default: the only one)" },
	{ "system", 's', DN_OPTION_TEXT, FIELD(system), 0, 0, "TEXT", "a system message" },
	{ "file", 'f', DN_OPTION_TEXT, FIELD(file), 0, 0, "FILE", "take the prompt from a file" },
	DN_OPTION_KEY_FILE(struct values),
	DN_OPTION_CA(struct values),
	{ "max-tokens", 'n', DN_OPTION_U32, FIELD(max_tokens), 1, DN_LOAD_CONTEXT_MAX, "N",
	  "tokens of an answer, at most (default: what the context holds)" },
	{ "json", 0, DN_OPTION_FLAG, FIELD(json), 0, 0, NULL, "the answer as one JSON object" },
	{ "stats", 0, DN_OPTION_FLAG, FIELD(stats), 0, 0, NULL, "figures on stderr" },
	{ "temperature", 0, DN_OPTION_FLOAT, FIELD(temperature), 0, 2, "X",
	  "randomness; 0: always the most likely token (default: 0.8)", "Choosing tokens" },
	{ "seed", 0, DN_OPTION_OPTIONAL, FIELD(seed), 0, 0x1p53, "N",
	  "of the random choices (default: random)" },
	{ "top-k", 0, DN_OPTION_U32, FIELD(top_k), 0, DN_LOAD_CONTEXT_MAX, "N",
	  "choose among the N most likely; 0: all (default: 40)" },
	{ "top-p", 0, DN_OPTION_FLOAT, FIELD(top_p), 0, 1, "X",
	  "choose among the likeliest that make up X together (default: 0.95)" },
	{ "min-p", 0, DN_OPTION_FLOAT, FIELD(min_p), 0, 1, "X",
	  "drop what is X times less likely than the first (default: 0.05)" },
};

static void set_defaults(void *data)
{
	struct values *values = data;

	values->temperature = 0.8F;
	values->top_k = 40;
	values->top_p = 0.95F;
	values->min_p = 0.05F;
}

struct chat {
	const struct dn_verb *verb;
	const struct values *values;
	struct dn_remote remote;
	char model[256];
	json_t *messages;
	int interrupt_fd;
};

/**
 * struct reply - what came for one request
 * @usage, @timings: the server's own; NULL where it sent none
 */
struct reply {
	bool quiet;
	bool interrupted;
	bool ended;
	bool ends_line;
	struct dn_buffer text;
	char finish[32];
	json_t *usage;
	json_t *timings;
	uint64_t begun_ns;
	uint64_t first_ns;
};

static void reply_done(struct reply *reply)
{
	dn_buffer_done(&reply->text);
	json_decref(reply->usage);
	json_decref(reply->timings);
}
#define AUTO_REPLY DN_AUTO(reply_done)

/* The names of a list, for a message. */
static void list_names(const json_t *list, char *out, size_t size)
{
	size_t at = 0;
	const json_t *model;
	size_t i;

	out[0] = '\0';
	json_array_foreach(list, i, model)
	{
		const char *name = json_string_value(json_object_get(model, "id"));
		const int n =
			snprintf(out + at, size - at, "%s%s", i > 0 ? ", " : "", name ? name : "?");

		if (n < 0 || (size_t)n >= size - at)
			return;
		at += (size_t)n;
	}
}

/* Also finds out, before the first line is typed, whether the server answers, and takes the key. */
static int choose_model(struct chat *chat, const json_t *list, struct dn_error *err)
{
	const char *wanted = chat->values->model;
	const char *found = NULL;
	const json_t *model;
	char names[256];
	size_t i;

	list_names(list, names, sizeof(names));
	if (!wanted && json_array_size(list) > 1)
		return dn_error_set(err, EINVAL, "'%.120s' has several models: --model %.256s",
				    chat->remote.server.name, names);
	json_array_foreach(list, i, model)
	{
		const char *name = json_string_value(json_object_get(model, "id"));

		if (name && (!wanted || strcmp(name, wanted) == 0))
			found = name;
	}
	if (!found || strlen(found) >= sizeof(chat->model))
		return dn_error_set(err, ENOENT, "'%.120s' has no model '%.80s'; it has: %.200s",
				    chat->remote.server.name, wanted ? wanted : "",
				    names[0] ? names : "none");
	memcpy(chat->model, found, strlen(found) + 1);
	return 0;
}

static int find_model(struct chat *chat, struct dn_error *err)
{
	json_t *json = NULL;
	int r = dn_remote_get_json(&chat->remote, "/v1/models", LOOK_MS, chat->interrupt_fd, &json,
				   err);

	if (r >= 0)
		r = choose_model(chat, json_object_get(json, "data"), err);
	json_decref(json);
	return r;
}

/* Floats as they were typed, not as binary has them. */
static json_t *number(float value)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%.6g", (double)value);
	return json_real(strtod(text, NULL));
}

static char *make_body(const struct chat *chat, struct dn_error *err)
{
	const struct values *values = chat->values;
	json_t *body = json_pack("{s:s, s:O, s:b, s:{s:b}, s:o, s:I, s:o, s:o}", "model",
				 chat->model, "messages", chat->messages, "stream", 1,
				 "stream_options", "include_usage", 1, "temperature",
				 number(values->temperature), "top_k", (json_int_t)values->top_k,
				 "top_p", number(values->top_p), "min_p", number(values->min_p));
	char *text = NULL;
	int r = body ? 0 : -1;

	if (r >= 0 && values->max_tokens)
		r = json_object_set_new(body, "max_tokens", json_integer(values->max_tokens));
	if (r >= 0 && values->seed.given)
		r = json_object_set_new(body, "seed", json_integer((json_int_t)values->seed.value));
	if (r >= 0)
		text = json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(9));
	json_decref(body);
	if (!text)
		(void)dn_error_memory(err, "a request", 0);
	return text;
}

static int take_text(struct reply *reply, const json_t *content, struct dn_error *err)
{
	const char *text = json_string_value(content);
	const size_t size = json_string_length(content);
	int r;

	if (size == 0)
		return 0;
	if (reply->first_ns == 0)
		reply->first_ns = dn_cli_now();
	r = dn_buffer_append(&reply->text, text, size);
	if (r < 0)
		return dn_error_memory(err, "the answer", reply->text.size);
	reply->ends_line = text[size - 1] == '\n';
	return reply->quiet ? 0 : dn_cli_write(text, size, err);
}

static void keep(json_t **kept, json_t *value)
{
	if (!json_is_object(value))
		return;
	json_decref(*kept);
	*kept = json_incref(value);
}

/* One event: a piece of text, the end's reason, figures, or an error. */
static int take_event(struct reply *reply, const json_t *event, struct dn_error *err)
{
	const json_t *error = json_object_get(event, "error");
	const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
	const char *finish = json_string_value(json_object_get(choice, "finish_reason"));

	if (error) {
		const char *message = json_string_value(json_object_get(error, "message"));

		return dn_error_set(err, EBADMSG, "%.400s",
				    message ? message : "the server failed");
	}
	if (finish)
		(void)dn_text_printable(finish, strlen(finish), reply->finish,
					sizeof(reply->finish));
	keep(&reply->usage, json_object_get(event, "usage"));
	keep(&reply->timings, json_object_get(event, "timings"));
	return take_text(reply, json_object_get(json_object_get(choice, "delta"), "content"), err);
}

static int take_line(struct reply *reply, const char *line, size_t size, struct dn_error *err)
{
	json_t *event;
	int r;

	if (size < strlen(DATA) || strncmp(line, DATA, strlen(DATA)) != 0)
		return 0;
	line += strlen(DATA);
	size -= strlen(DATA);
	if (strcmp(line, END) == 0) {
		reply->ended = true;
		return 0;
	}
	event = json_loadb(line, size, 0, NULL);
	if (!json_is_object(event)) {
		json_decref(event);
		return dn_error_set(err, EBADMSG, "the server sent an event that is no JSON");
	}
	r = take_event(reply, event, err);
	json_decref(event);
	return r;
}

static int take_stream(struct dn_fetch *fetch, struct reply *reply, struct dn_error *err)
{
	int r = 1;

	while (r > 0 && !reply->ended) {
		size_t size;
		const char *line = dn_fetch_line(fetch, &size);

		if (line) {
			r = take_line(reply, line, size, err);
			r = r < 0 ? r : 1;
		} else {
			r = dn_fetch_read(fetch, err);
		}
	}
	if (r == 0 && !reply->ended)
		return dn_error_set(err, ECONNRESET, "'%.120s' broke off in the midst of an answer",
				    fetch->name);
	return r < 0 ? r : 0;
}

/* Ctrl-C closes the connection, upon which the server stops. */
static int ask(const struct chat *chat, struct reply *reply, struct dn_error *err)
{
	DN_AUTO_FREE char *body = make_body(chat, err);
	DN_AUTO_FETCH struct dn_fetch fetch;
	int r;

	dn_fetch_init(&fetch, EVENT_MAX);
	if (!body)
		return -ENOMEM;
	fetch.wake_fd = chat->interrupt_fd;
	reply->begun_ns = dn_cli_now();
	r = dn_remote_ask(&chat->remote, "/v1/chat/completions", body, 0, &fetch, err);
	if (r >= 0)
		r = take_stream(&fetch, reply, err);
	if (r == -EINTR && dn_console_take_interrupt(chat->interrupt_fd)) {
		reply->interrupted = true;
		(void)snprintf(reply->finish, sizeof(reply->finish), "cancelled");
		return 0;
	}
	return r;
}

static json_int_t count_of(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static json_int_t cached_of(const json_t *usage)
{
	return count_of(json_object_get(usage, "prompt_tokens_details"), "cached_tokens");
}

static void print_stats(const struct reply *reply)
{
	const json_int_t tokens = count_of(reply->usage, "completion_tokens");
	const double decode_ms = json_number_value(json_object_get(reply->timings, "decode_ms"));
	const double first_ms =
		reply->first_ns ? (double)(reply->first_ns - reply->begun_ns) / 1e6 : 0;

	(void)fprintf(stderr,
		      "prompt %lld tokens (%lld cached); answer %lld tokens, %.1f tokens/s; first "
		      "token %.1f ms; end: %s\n",
		      (long long)count_of(reply->usage, "prompt_tokens"),
		      (long long)cached_of(reply->usage), (long long)tokens,
		      decode_ms > 0 && tokens > 1 ? (double)(tokens - 1) * 1000 / decode_ms : 0,
		      first_ms, reply->finish[0] ? reply->finish : "unknown");
}

static int print_json(const struct chat *chat, const struct reply *reply, struct dn_error *err)
{
	json_t *json =
		json_pack("{s:s%, s:s, s:s, s:I, s:I, s:I, s:O*}", "text",
			  reply->text.data ? reply->text.data : "", reply->text.size, "model",
			  chat->model, "finish_reason", reply->finish, "prompt_tokens",
			  count_of(reply->usage, "prompt_tokens"), "cached_tokens",
			  cached_of(reply->usage), "output_tokens",
			  count_of(reply->usage, "completion_tokens"), "timings", reply->timings);
	int r;

	if (!json)
		return dn_error_memory(err, "JSON output", reply->text.size);
	r = dn_cli_write_json(json, JSON_COMPACT, err);
	json_decref(json);
	return r;
}

static int close_line(const struct reply *reply, struct dn_error *err)
{
	return reply->quiet || reply->ends_line || reply->text.size == 0
		       ? 0
		       : dn_cli_write("\n", 1, err);
}

/* A conversation. */

static int begin(void *context, struct dn_error *err)
{
	struct chat *chat = context;

	json_decref(chat->messages);
	chat->messages = json_array();
	if (!chat->messages)
		return dn_error_memory(err, "a conversation", 0);
	if (!chat->values->system)
		return 0;
	return dn_run_add_message(chat->messages, "system", chat->values->system,
				  strlen(chat->values->system), err);
}

/* A server that was away may be back for the next line: what was said last is taken back. */
static int say(void *context, const char *line, struct dn_error *err)
{
	struct chat *chat = context;
	AUTO_REPLY struct reply reply = { .text = DN_BUFFER_INIT(DN_CLI_TEXT_MAX) };
	struct dn_error ignored = DN_ERROR_INIT;
	int r = dn_run_add_message(chat->messages, "user", line, strlen(line), err);

	if (r < 0) {
		(void)fprintf(stderr, "dunlin: %s: %s\n", chat->verb->name, err->message);
		return 0;
	}
	r = ask(chat, &reply, err);
	(void)!close_line(&reply, &ignored);
	if (r < 0) {
		(void)json_array_remove(chat->messages, json_array_size(chat->messages) - 1);
		(void)fprintf(stderr, "dunlin: %s: %s\n", chat->verb->name, err->message);
		return 0;
	}
	if (reply.interrupted)
		(void)fprintf(stderr, "(stopped)\n");
	else if (strcmp(reply.finish, "length") == 0 && chat->values->max_tokens == 0)
		(void)fprintf(stderr, "(the context is full; /reset starts over)\n");
	if (chat->values->stats)
		print_stats(&reply);
	return dn_run_add_message(chat->messages, "assistant",
				  reply.text.data ? reply.text.data : "", reply.text.size, err);
}

static int answer_once(struct chat *chat, const struct dn_buffer *prompt, bool *ret_cancelled,
		       struct dn_error *err)
{
	AUTO_REPLY struct reply reply = {
		.text = DN_BUFFER_INIT(DN_CLI_TEXT_MAX),
		.quiet = chat->values->json,
	};
	struct dn_error ignored = DN_ERROR_INIT;
	int r = begin(chat, err);
	int w;

	if (r >= 0)
		r = dn_run_add_message(chat->messages, "user", prompt->data, prompt->size, err);
	if (r >= 0)
		r = ask(chat, &reply, err);
	w = close_line(&reply, r < 0 ? &ignored : err);
	if (r >= 0)
		r = w;
	if (r >= 0 && chat->values->json)
		r = print_json(chat, &reply, err);
	if (r >= 0 && chat->values->stats)
		print_stats(&reply);
	*ret_cancelled = reply.interrupted;
	return r;
}

static int run_chat(const struct dn_invocation *invocation, struct chat *chat, bool *ret_cancelled,
		    struct dn_error *err)
{
	const struct dn_console_talk talk = { chat, begin, say };
	DN_AUTO_BUFFER struct dn_buffer prompt = DN_BUFFER_INIT(DN_CLI_TEXT_MAX);
	const char *given = invocation->n_args > 1 ? invocation->args[1] : NULL;
	const bool interactive = !given && !chat->values->file && isatty(STDIN_FILENO);
	int r = dn_remote_init(invocation->n_args > 0 ? invocation->args[0] : NULL,
			       chat->values->key_file, chat->values->ca, &chat->remote, err);

	if (r >= 0 && !interactive)
		r = dn_cli_read_prompt(given, chat->values->file, false, &prompt, err);
	if (r < 0)
		return r;
	chat->interrupt_fd = dn_console_catch_interrupts(err);
	if (chat->interrupt_fd < 0)
		return chat->interrupt_fd;
	r = find_model(chat, err);
	if (r < 0)
		return r;
	if (!interactive)
		return answer_once(chat, &prompt, ret_cancelled, err);
	dn_cli_note(chat->verb, "model '%s' at %s", chat->model, chat->remote.server.name);
	return dn_console_converse(&talk, chat->interrupt_fd, err);
}

static int chat_main(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	struct chat chat = { .verb = invocation->verb, .values = values, .interrupt_fd = -1 };
	const bool prompted = invocation->n_args > 1 || values->file || !isatty(STDIN_FILENO);
	struct dn_error err = DN_ERROR_INIT;
	const char *wrong = NULL;
	bool cancelled = false;
	int r;

	if (invocation->n_args > 1 && values->file)
		wrong = "takes either a PROMPT or --file";
	else if (values->json && !prompted)
		wrong = "--json takes a prompt: PROMPT, --file, or a pipe";
	if (wrong) {
		(void)fprintf(stderr, "dunlin: chat: %s\n", wrong);
		return DN_EXIT_USAGE;
	}
	r = run_chat(invocation, &chat, &cancelled, &err);
	json_decref(chat.messages);
	if (chat.interrupt_fd >= 0)
		close(chat.interrupt_fd);
	if (r < 0)
		return dn_cli_fail(invocation->verb, r, &err);
	return cancelled ? DN_EXIT_INTERRUPTED : DN_EXIT_OK;
}

const struct dn_verb dn_verb_chat = {
	.name = "chat",
	.arguments = "[SERVER] [PROMPT]",
	.summary = "Hold a conversation with a server.",
	.details =
		"SERVER is HOST:PORT, http(s)://HOST:PORT or unix:PATH (default: 127.0.0.1:8080).\n"
		"Without PROMPT and --file, the prompt is what a pipe gives; at a terminal a "
		"conversation\n"
		"begins, with line editing and history. Ctrl-C ends an answer, /bye or Ctrl-D the\n"
		"conversation.\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.max_args = 2,
	.values_size = sizeof(struct values),
	.defaults = set_defaults,
	.run = chat_main,
};
