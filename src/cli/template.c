/* SPDX-License-Identifier: MIT */
/* dunlin template: render a chat template with variables. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/client.h"

struct values {
	struct dn_model_options model;
	const char *file;
	const char *now;
};

static const struct dn_option options[] = {
	{ .name = "file",
	  .letter = 'f',
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, file),
	  .argument = "FILE",
	  .help = "a template file in place of a model's" },
	{ .name = "now",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, now),
	  .argument = "TIME",
	  .help = "the clock, such as \"2026-07-05 12:00\" (default: the real one)" },
	DN_OPTION_SANDBOX(struct values),
};

/* "2026-07-05", then maybe " 12:00" or "T12:00", then maybe ":30"; as UTC. */
static int parse_time(const char *text, int64_t *ret_time)
{
	struct tm fields = { 0 };
	static const char *const formats[] = { "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M",
					       "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S" };

	for (size_t i = 0; i < DN_ARRAY_SIZE(formats); i++) {
		const char *end;

		memset(&fields, 0, sizeof(fields));
		end = strptime(text, formats[i], &fields);
		if (!end || *end != '\0')
			continue;
		*ret_time = timegm(&fields);
		return *ret_time >= 0 ? 0 : -EINVAL;
	}
	return -EINVAL;
}

static int send_file(struct dn_client *client, const char *path, struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer source = DN_BUFFER_INIT(DN_CLI_TEXT_MAX);
	struct dn_frame frame;
	uint64_t request;
	int r;

	r = dn_cli_read_file(path, &source, err);
	if (r < 0)
		return r;
	dn_client_request(client, &frame, DN_FRAME_TEMPLATE);
	request = frame.request;
	r = dn_client_send(client, &frame, source.data, source.size, err);
	if (r < 0)
		return r;
	r = dn_client_expect(client, request, DN_FRAME_READY, &frame, NULL, err);
	return r == -EINVAL ? dn_error_prefix(err, r, "template '%s'", path) : r;
}

/* Return: 1 where the rendering itself failed. */
static int render(const struct dn_invocation *invocation, int64_t now, struct dn_error *err)
{
	const struct values *values = invocation->values;
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	DN_AUTO_BUFFER struct dn_buffer variables = DN_BUFFER_INIT(DN_CLI_TEXT_MAX);
	DN_AUTO_MAPPED struct dn_mapped text = { NULL, 0 };
	struct dn_frame_load load = { .depth = DN_LOAD_HEADER };
	struct dn_frame frame;
	int r;

	if (values->file) {
		r = dn_client_start(&client, values->model.no_sandbox, err);
		if (r >= 0)
			r = send_file(&client, values->file, err);
	} else {
		r = dn_client_open(&client, invocation->args[0], &values->model, &load, err);
	}
	if (r < 0)
		return r;
	r = dn_cli_read_all(STDIN_FILENO, "standard input", &variables, err);
	if (r < 0)
		return r;
	if (variables.size == 0)
		return dn_error_set(err, EINVAL,
				    "standard input is empty; it takes the variables as JSON, such "
				    "as {\"messages\": []}");
	dn_client_request(&client, &frame, DN_FRAME_RENDER);
	frame.u.encode.now = now;
	r = dn_client_ask(&client, &frame, variables.data, variables.size, DN_FRAME_TEXT, &text,
			  err);
	if (r == -EOWNERDEAD || r == -EPROTO)
		return r;
	if (r < 0)
		return 1;
	return dn_cli_write(text.data, text.size, err);
}

static int run(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	struct dn_error err = DN_ERROR_INIT;
	int64_t now = -1;
	int r;

	if ((values->file != NULL) == (invocation->n_args > 0)) {
		(void)fprintf(stderr, "dunlin: template: takes either a MODEL or --file\n");
		return DN_EXIT_USAGE;
	}
	if (values->now && parse_time(values->now, &now) < 0) {
		(void)fprintf(stderr,
			      "dunlin: template: --now '%.80s': takes a time from 1970 on, such as "
			      "\"2026-07-05 12:00\"\n",
			      values->now);
		return DN_EXIT_USAGE;
	}
	r = render(invocation, now, &err);
	if (r > 0) {
		/* Maybe the template's own words. */
		(void)fprintf(stderr, "error: %s\n", err.message);
		return DN_EXIT_FAILED;
	}
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_template = {
	.name = "template",
	.arguments = "[MODEL]",
	.summary = "Render a chat template with variables, JSON on standard input.",
	.details = "Where the template raises an error, prints \"error: ...\" and ends with 1.\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.min_args = 0,
	.max_args = 1,
	.values_size = sizeof(struct values),
	.run = run,
};
