/* SPDX-License-Identifier: MIT */
/* The conversation of "dunlin run": what was said stays in the worker's cache. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/console.h"
#include "cli/run.h"

struct conversation {
	struct dn_client *client;
	const struct dn_verb *verb;
	const struct dn_run_options *options;
	json_t *messages;
	uint64_t kept; /* the request whose sequence holds what was said so far; 0: none */
	bool raw;
};

static int begin(void *context, struct dn_error *err)
{
	struct conversation *talk = context;

	json_decref(talk->messages);
	talk->messages = json_array();
	if (!talk->messages)
		return dn_error_memory(err, "a conversation", 0);
	if (!talk->options->system)
		return 0;
	return dn_run_add_message(talk->messages, "system", talk->options->system,
				  strlen(talk->options->system), err);
}

/* The worker goes on; only what was said last is taken back. */
static int take_back(struct conversation *talk, int r, const struct dn_error *err)
{
	if (r == -EOWNERDEAD || r == -EPROTO)
		return r;
	if (!talk->raw)
		(void)json_array_remove(talk->messages, json_array_size(talk->messages) - 1);
	(void)fprintf(stderr, "dunlin: %s: %s\n", talk->verb->name, err->message);
	return 0;
}

static void close_answer(struct conversation *talk, const struct dn_answer *answer,
			 uint64_t begin_ns)
{
	struct dn_error ignored = DN_ERROR_INIT;

	if (!answer->ends_line)
		(void)!dn_cli_write("\n", 1, &ignored);
	if (answer->done.reason == DN_FINISH_CONTEXT)
		(void)fprintf(stderr, "(the context is full; /reset starts over)\n");
	else if (answer->interrupted)
		(void)fprintf(stderr, "(stopped)\n");
	if (talk->options->stats)
		dn_run_print_stats(answer, begin_ns);
}

static int say(void *context, const char *line, struct dn_error *err)
{
	struct conversation *talk = context;
	DN_AUTO_ANSWER struct dn_answer answer = DN_ANSWER_INIT;
	DN_AUTO_FREE char *prompt = NULL;
	uint64_t begin_ns = dn_cli_now();
	struct dn_frame frame;
	int r = 0;

	if (!talk->raw)
		r = dn_run_add_message(talk->messages, "user", line, strlen(line), err);
	if (r < 0) {
		(void)fprintf(stderr, "dunlin: %s: %s\n", talk->verb->name, err->message);
		return 0;
	}
	prompt = talk->raw ? strdup(line) : dn_run_variables(talk->messages);
	if (!prompt)
		return dn_error_memory(err, "a prompt", strlen(line));
	dn_run_submit(talk->client, talk->options, &frame);
	frame.u.submit.prompt_kind = talk->raw ? DN_PROMPT_TEXT : DN_PROMPT_CHAT;
	frame.u.submit.parse_special = talk->raw;
	frame.u.submit.keep = 1;
	frame.u.submit.continues = talk->kept;
	r = dn_run_answer(talk->client, &frame, prompt, strlen(prompt), &answer, err);
	if (r < 0)
		return take_back(talk, r, err);
	talk->kept = frame.request;
	close_answer(talk, &answer, begin_ns);
	if (talk->raw)
		return 0;
	return dn_run_add_message(talk->messages, "assistant",
				  answer.text.data ? answer.text.data : "", answer.text.size, err);
}

int dn_run_interactive(struct dn_client *client, const struct dn_verb *verb,
		       const struct dn_run_options *options, struct dn_error *err)
{
	struct conversation talk = {
		.client = client,
		.verb = verb,
		.options = options,
		.raw = options->raw || !client->loaded.has_template,
	};
	const struct dn_console_talk console = { &talk, begin, say };
	int r;

	if (talk.raw && !options->raw)
		dn_cli_note(verb,
			    "the model has no chat template; each line goes as it is (--raw)");
	r = dn_console_converse(&console, client->interrupt_fd, err);
	json_decref(talk.messages);
	return r;
}
