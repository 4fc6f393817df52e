/* SPDX-License-Identifier: MIT */
/* dunlin worker: what dn_client_start() executes; not for people. */

#include "worker/worker.h"

#include <signal.h>

#include "cli/cli.h"

struct values {
	bool no_sandbox;
};

static const struct dn_option options[] = {
	{ .name = "no-sandbox",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, no_sandbox),
	  .help = "without the jail" },
};

static int run(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	struct dn_error err = DN_ERROR_INIT;
	int r;

	/* The server's supervisor reads keys again then; nobody means its workers. */
	(void)signal(SIGHUP, SIG_IGN);
	r = dn_worker_main(values->no_sandbox, &err);

	/* A parent that listens has been told; this is for who tries it by hand. */
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_worker = {
	.name = "worker",
	.arguments = "",
	.summary = "Run one model for the parent at descriptor 3; not for people.",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.values_size = sizeof(struct values),
	.run = run,
	.hidden = true,
};
