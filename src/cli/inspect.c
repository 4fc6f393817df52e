/* SPDX-License-Identifier: MIT */
/* dunlin inspect: what a model file is, and the memory that it would take. */

#include <string.h>

#include "cli/cli.h"
#include "cli/client.h"

struct values {
	struct dn_model_options model;
	bool json;
	bool all;
};

static const struct dn_option options[] = {
	{ .name = "json",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, json),
	  .help = "as one JSON object" },
	{ .name = "all",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, all),
	  .help = "every metadata entry and every tensor too" },
	DN_OPTION_CONTEXT(struct values),
	DN_OPTION_THREADS(struct values),
	DN_OPTION_KV(struct values),
	DN_OPTION_MEMORY(struct values),
	DN_OPTION_LORA(struct values),
	DN_OPTION_SANDBOX(struct values),
};

static int inspect(const struct dn_invocation *invocation, struct dn_error *err)
{
	const struct values *values = invocation->values;
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	DN_AUTO_MAPPED struct dn_mapped text = { NULL, 0 };
	struct dn_frame_load load;
	struct dn_frame frame;
	int r;

	dn_client_load_options(&values->model, &load);
	load.depth = DN_LOAD_FILE;
	r = dn_client_open(&client, invocation->args[0], &values->model, &load, err);
	if (r < 0)
		return r;
	dn_client_request(&client, &frame, DN_FRAME_DESCRIBE);
	frame.u.describe.format = values->json ? DN_DESCRIBE_JSON : DN_DESCRIBE_TEXT;
	frame.u.describe.all = values->all;
	frame.u.describe.plan = load;
	r = dn_client_ask(&client, &frame, NULL, 0, DN_FRAME_TEXT, &text, err);
	if (r < 0)
		return r;
	return dn_cli_write(text.data, text.size, err);
}

static int run(struct dn_invocation *invocation)
{
	struct dn_error err = DN_ERROR_INIT;
	int r = inspect(invocation, &err);

	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_inspect = {
	.name = "inspect",
	.arguments = "MODEL",
	.summary = "Show what a model file is, and the memory that it would take.",
	.details =
		"The memory is the most that its processes will take with these options, mapped\n"
		"weights included; it is computed, nothing is loaded.\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.min_args = 1,
	.max_args = 1,
	.values_size = sizeof(struct values),
	.run = run,
};
