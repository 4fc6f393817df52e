/* SPDX-License-Identifier: MIT */

#include "server/process.h"

#include <sys/socket.h>

#include <dunlin/channel.h>

#include "base/base.h"
#include "server/control.h"

_Static_assert(DN_CHANNEL_FD == DN_CONTROL_FD, "all find their channel in one place");

/* A process that reads nothing for so long is stuck. */
#define PATIENCE_S 2

int dn_process_start(struct dn_process *process, char *const *arguments, bool jailed,
		     struct event_base *base, event_callback_fn callback, void *data,
		     struct dn_error *err)
{
	struct dn_channel theirs = DN_CHANNEL_INIT;
	struct dn_spawn_descriptor descriptors[2];
	const struct dn_spawn_options options = {
		.path = "/proc/self/exe",
		.program_fd = -1,
		.arguments = arguments,
		.descriptors = descriptors,
		.descriptor_count = DN_ARRAY_SIZE(descriptors),
		.namespaces = jailed ? DN_SPAWN_ALL : 0,
	};
	const struct timeval patience = { PATIENCE_S, 0 };
	int r = dn_channel_pair(&process->channel, &theirs, err);

	if (r < 0)
		return r;
	(void)setsockopt(process->channel.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	descriptors[0] = (struct dn_spawn_descriptor){ theirs.fd, DN_CHANNEL_FD };
	descriptors[1] = (struct dn_spawn_descriptor){ STDERR_FILENO, STDERR_FILENO };
	r = dn_spawn(&options, &process->child, err);
	dn_channel_done(&theirs);
	if (r >= 0) {
		process->readable =
			event_new(base, process->channel.fd, EV_READ | EV_PERSIST, callback, data);
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
