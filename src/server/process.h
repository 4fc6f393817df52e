/* SPDX-License-Identifier: MIT */
/* A process of the server's: this program with another word, in namespaces and a control group of its own. */
#ifndef DUNLIN_SERVER_PROCESS_H
#define DUNLIN_SERVER_PROCESS_H

/* IWYU pragma: begin_exports */
#include <event2/event.h>

#include <dunlin/error.h>

#include "channel/channel.h"
#include "device/cgroup-limits.h"
#include "sandbox/spawn.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_process - one, or none
 * @channel: to it; its own end is its descriptor 3. What it does not read in two seconds fails with
 *	-ETIMEDOUT
 * @readable: what is called when it says something; NULL: somebody else reads
 * @group: with limits, where @grouped; goes with it
 */
struct dn_process {
	struct dn_child child;
	struct dn_channel channel;
	struct event *readable;
	struct dn_cgroup_group group;
	bool grouped;
};

#define DN_PROCESS_INIT { .child = DN_CHILD_INIT, .channel = DN_CHANNEL_INIT }

/**
 * struct dn_process_options - what to start; all borrowed
 * @path: absolute; NULL: this program
 * @arguments: the program's name, and what belongs to it, NULL-terminated
 * @jailed: in namespaces and a group, as far as they are permitted
 * @groups: where groups can be made
 * @memory: bytes that its group may have; 0: no limit
 * @tasks: threads that its group may have
 * @callback, @data: for what it says
 */
struct dn_process_options {
	const char *path;
	char *const *arguments;
	bool jailed;
	const struct dn_cgroup_limits *groups;
	uint64_t memory;
	uint32_t tasks;
	event_callback_fn callback;
	void *data;
};

/* Starts it and listens to it. A limit that cannot be had is no error: see @process->group.held. */
DN_MUST_CHECK int dn_process_start(struct dn_process *process, struct event_base *base,
				   const struct dn_process_options *options, struct dn_error *err);
/* Ends it, if there is one, and waits for that; gives everything of it back. */
void dn_process_done(struct dn_process *process);

#endif /* DUNLIN_SERVER_PROCESS_H */
