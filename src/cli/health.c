/* SPDX-License-Identifier: MIT */
/* dunlin health: whether a server answers, for containers that have no other program. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "cli/cli.h"
#include "fetch/fetch.h"
#include "server/serve.h"

#define ANSWER_MAX ((size_t)64 << 10)

struct values {
	const char *ca;
	bool ready;
	uint32_t timeout;
};

static const struct dn_option options[] = {
	{ .name = "ready",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, ready),
	  .help = "ask whether a model is loaded too, not only whether it answers" },
	{ .name = "ca",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, ca),
	  .argument = "FILE",
	  .help = "whose certificates are good, of https:// (default: any)" },
	{ .name = "timeout",
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, timeout),
	  .min = 1,
	  .max = 3600,
	  .argument = "SECONDS",
	  .help = "to give up after (default: 3)" },
};

static void set_defaults(void *data)
{
	struct values *values = data;

	values->timeout = 3;
}

static int look(const char *where, const struct values *values, struct dn_error *err)
{
	DN_AUTO_FETCH struct dn_fetch fetch;
	const struct dn_fetch_request request = {
		.method = "GET",
		.path = values->ready ? "/ready" : "/health",
		.timeout_ms = values->timeout * 1000,
	};
	struct dn_fetch_server server;
	int r;

	dn_fetch_init(&fetch, ANSWER_MAX);
	r = dn_fetch_server_parse(where, &server, err);
	if (r < 0)
		return r;
	server.ca = values->ca;
	server.any_certificate = true;
	r = dn_fetch_begin(&fetch, &server, &request, err);
	if (r < 0)
		return r;
	if (fetch.status != 200)
		return dn_error_set(
			err, EAGAIN, "'%.120s' answers %d to %s%s", server.name, fetch.status,
			request.path,
			fetch.status == 503 ? ": no model is loaded (yet), or it is ending" : "");
	printf("%s\n", values->ready ? "ready" : "ok");
	return 0;
}

static int run(struct dn_invocation *invocation)
{
	const char *where = invocation->n_args > 0 ? invocation->args[0] : DN_SERVE_DEFAULT_LISTEN;
	struct dn_error err = DN_ERROR_INIT;
	int r;

	/* OpenSSL writes to whom has hung up. */
	(void)signal(SIGPIPE, SIG_IGN);
	r = look(where, invocation->values, &err);

	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_health = {
	.name = "health",
	.arguments = "[SERVER]",
	.summary = "Ask a server whether it is well.",
	.details = "SERVER is HOST:PORT, https://HOST:PORT or unix:PATH "
		   "(default: " DN_SERVE_DEFAULT_LISTEN ").\n"
		   "Exits with 0 where it is well, 1 where it is not or does not answer.\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.max_args = 1,
	.values_size = sizeof(struct values),
	.defaults = set_defaults,
	.run = run,
};
