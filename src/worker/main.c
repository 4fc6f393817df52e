/* SPDX-License-Identifier: MIT */
/* The worker process: its jail first, before a byte from outside. */

#include <string.h>
#include <sys/random.h>

#include <jansson.h>

#include <dunlin/channel.h>

#include "channel/channel.h"
#include "sandbox/jail.h"
#include "channel/frames.h"
#include "worker/worker.h"

static int enter_jail(struct dn_worker_measures *measures, struct dn_error *err)
{
	struct dn_jail_report report;
	int r = dn_jail_enter(NULL, &report, err);

	for (unsigned int i = 0; i < DN_JAIL_MEASURES; i++) {
		if (report.measures[i].state == DN_JAIL_HELD)
			measures->held |= 1U << i;
		else if (report.measures[i].state == DN_JAIL_ABSENT)
			measures->absent |= 1U << i;
	}
	return r;
}

/* jansson would open /dev/urandom at its first object, which a jail does not allow. */
static void seed_json(void)
{
	size_t seed = 0;

	if (getrandom(&seed, sizeof(seed), 0) == sizeof(seed) && seed != 0)
		json_object_seed(seed);
}

static void tell(struct dn_channel *channel, const struct dn_error *err)
{
	struct dn_error ignored = DN_ERROR_INIT;
	struct dn_frame frame;

	dn_frame_init(&frame, DN_FRAME_ERROR, 0);
	frame.u.error.code = err->code;
	dn_frame_set_text(frame.u.error.message, sizeof(frame.u.error.message), err->message,
			  strlen(err->message));
	(void)!dn_channel_send(channel, &frame, sizeof(frame), -1, &ignored);
}

int dn_worker_main(bool no_sandbox, struct dn_error *err)
{
	DN_AUTO_CHANNEL struct dn_channel channel = DN_CHANNEL_INIT;
	struct dn_worker_measures measures = { 0, 0 };
	int r;

	r = dn_channel_open(DN_CHANNEL_FD, &channel, err);
	if (r < 0)
		return r;
	seed_json();
	if (!no_sandbox) {
		r = enter_jail(&measures, err);
		if (r < 0) {
			tell(&channel, err);
			return r;
		}
	}
	return dn_worker_serve(&channel, &measures, err);
}
