/* SPDX-License-Identifier: MIT */
/* dunlin doctor: what this device can do, and what would make it faster. */

#include "cli/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "kernels/kernels.h"
#include "channel/frames.h"

struct values {
	bool json;
};

static const struct dn_option options[] = {
	{ .name = "json",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, json),
	  .help = "as one JSON object" },
};

/* Starts a worker for its HELLO: what really holds, not what should. */
static int ask_worker(uint32_t *ret_held, uint32_t *ret_absent, struct dn_error *err)
{
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	struct dn_frame frame;
	uint64_t request;
	int r;

	r = dn_client_start(&client, false, err);
	if (r < 0)
		return r;
	/* An empty template is the least that it can be asked. */
	dn_client_request(&client, &frame, DN_FRAME_TEMPLATE);
	request = frame.request;
	r = dn_client_send(&client, &frame, NULL, 0, err);
	if (r < 0)
		return r;
	r = dn_client_expect(&client, request, DN_FRAME_READY, &frame, NULL, err);
	if (r < 0)
		return r;
	*ret_held = client.hello.sandbox_held;
	*ret_absent = client.hello.sandbox_absent;
	return 0;
}

static void look_at_jail(struct dn_findings *findings)
{
	struct dn_error err = DN_ERROR_INIT;
	uint32_t held = 0;
	uint32_t absent = 0;

	/* The worker is started without namespaces: of them, what is said here stays. */
	dn_jail_probe(&findings->jail);
	if (ask_worker(&held, &absent, &err) < 0) {
		memcpy(findings->jail_error, err.message, sizeof(findings->jail_error));
		return;
	}
	for (unsigned int i = 0; i < DN_JAIL_MEASURES; i++) {
		if (held & (1U << i))
			findings->jail.measures[i].state = DN_JAIL_HELD;
		else if (absent & (1U << i))
			findings->jail.measures[i].state = DN_JAIL_ABSENT;
	}
}

static int look(struct dn_findings *findings, struct dn_error *err)
{
	struct dn_error reason = DN_ERROR_INIT;
	const struct dn_kernels *kernels = NULL;
	int r;

	r = dn_cpu_read("", &findings->cpu, err);
	if (r >= 0)
		r = dn_memory_read("", &findings->memory, err);
	if (r >= 0)
		r = dn_kernel_read("", &findings->kernel, err);
	if (r < 0)
		return r;
	dn_realtime_probe(&findings->realtime);
	if (dn_kernels_select(NULL, &kernels, &reason) < 0)
		memcpy(findings->level_error, reason.message, sizeof(findings->level_error));
	else
		findings->level = kernels->name;
	look_at_jail(findings);
	dn_doctor_advise(findings);
	return 0;
}

static int run(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	DN_AUTO_FREE struct dn_findings *findings = calloc(1, sizeof(*findings));
	struct dn_error err = DN_ERROR_INIT;
	int r;

	if (!findings)
		r = dn_error_memory(&err, "findings", sizeof(*findings));
	else
		r = look(findings, &err);
	if (r >= 0 && values->json)
		r = dn_doctor_print_json(findings, &err);
	else if (r >= 0)
		dn_doctor_print(findings);
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
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
