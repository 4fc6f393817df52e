/* SPDX-License-Identifier: MIT */
/* dunlin doctor: what this device can do, and what would make it faster. */

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "kernels/kernels.h"
#include "sandbox/jail.h"

struct values {
	bool json;
};

static const struct dn_option options[] = {
	{ .name = "json",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, json),
	  .help = "as one JSON object" },
};

static int run(struct dn_invocation *invocation)
{
	(void)invocation;
	return DN_EXIT_OK;
}

const struct dn_verb dn_verb_doctor = {
	.name = "doctor",
	.arguments = "",
	.summary = "Show what this device can do, and what would make it faster.",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.values_size = sizeof(struct values),
	.run = run,
};
