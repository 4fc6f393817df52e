/* SPDX-License-Identifier: MIT */

#include "server/process.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <dunlin/channel.h>

#include "base/base.h"
#include "server/control.h"

_Static_assert(DN_CHANNEL_FD == DN_CONTROL_FD, "all find their channel in one place");

/* A process that reads nothing for so long is stuck. */
#define PATIENCE_S 2

static void limit(struct dn_process *process, const struct dn_process_options *options)
{
	struct dn_error err = DN_ERROR_INIT;
	char name[64];

	(void)snprintf(name, sizeof(name), "dunlin-%d-%d", (int)getpid(), (int)process->child.pid);
	process->grouped = true;
	/* What does not hold is in the group, and so in what the front is told. */
	(void)!dn_cgroup_group_new(options->groups, name, options->memory, options->tasks,
				   &process->group, &err);
	if (dn_cgroup_group_add(&process->group, process->child.pid, &err) < 0)
		process->group.held = 0;
}

int dn_process_start(struct dn_process *process, struct event_base *base,
		     const struct dn_process_options *options, struct dn_error *err)
{
	struct dn_channel theirs = DN_CHANNEL_INIT;
	struct dn_spawn_descriptor descriptors[2];
	const struct dn_spawn_options spawn = {
		.path = options->path ? options->path : "/proc/self/exe",
		.program_fd = -1,
		.arguments = options->arguments,
		.descriptors = descriptors,
		.descriptor_count = DN_ARRAY_SIZE(descriptors),
		.namespaces = options->jailed ? DN_SPAWN_ALL : 0,
	};
	const struct timeval patience = { PATIENCE_S, 0 };
	int r = dn_channel_pair(&process->channel, &theirs, err);

	if (r < 0)
		return r;
	(void)setsockopt(process->channel.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	descriptors[0] = (struct dn_spawn_descriptor){ theirs.fd, DN_CHANNEL_FD };
	descriptors[1] = (struct dn_spawn_descriptor){ STDERR_FILENO, STDERR_FILENO };
	r = dn_spawn(&spawn, &process->child, err);
	dn_channel_done(&theirs);
	if (r >= 0) {
		if (options->jailed)
			limit(process, options);
		process->readable = event_new(base, process->channel.fd, EV_READ | EV_PERSIST,
					      options->callback, options->data);
		if (!process->readable || event_add(process->readable, NULL) < 0)
			r = dn_error_memory(err, "an event", 1);
	}
	if (r < 0)
		dn_process_done(process);
	return r;
}

void dn_process_done(struct dn_process *process)
{
	if (process->readable)
		event_free(process->readable);
	process->readable = NULL;
	dn_channel_done(&process->channel);
	dn_child_done(&process->child);
	if (process->grouped)
		dn_cgroup_group_done(&process->group);
	process->grouped = false;
}
