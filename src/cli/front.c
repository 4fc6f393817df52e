/* SPDX-License-Identifier: MIT */
/* dunlin front: what the supervisor of 'dunlin serve' executes; not for people. */

#include "server/front/front.h"

#include "cli/cli.h"

struct values {
	bool no_sandbox;
	uint32_t files;
};

static const struct dn_option options[] = {
	{ .name = "no-sandbox",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, no_sandbox),
	  .help = "without the jail" },
	{ .name = "files",
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, files),
	  .min = 16,
	  .max = 1 << 20,
	  .argument = "N",
	  .help = "descriptors that it may have" },
};

static int run(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	struct dn_error err = DN_ERROR_INIT;
	int r = dn_front_main(values->no_sandbox, values->files, &err);

	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_front = {
	.name = "front",
	.arguments = "",
	.summary = "Speak HTTP for the supervisor at descriptor 3; not for people.",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.values_size = sizeof(struct values),
	.run = run,
	.hidden = true,
};
