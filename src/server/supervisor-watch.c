/* SPDX-License-Identifier: MIT */
/*
 * The supervisor's watch over the front: asked once a second whether it lives, with the figures that
 * it shows. While nobody is connected there is nothing to watch, and both sleep.
 */

#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/util.h>

#include "base/clock.h"
#include "server/log.h"
#include "server/notify.h"
#include "server/supervisor.h"
#include "server/usage.h"

/* A front that was asked so many times, and has said nothing, is stuck. */
#define SILENCE_MAX 10U

static void tell_figures(struct supervisor *s)
{
	struct dn_control control;
	struct dn_control_figures *figures = &control.u.figures;
	struct dn_usage usage;

	dn_control_init(&control, DN_CONTROL_FIGURES, 0);
	usage = dn_usage_of(getpid());
	figures->supervisor_bytes = usage.resident;
	figures->cpu_ns = usage.cpu_ns + dn_usage_of_ended();
	usage = dn_usage_of(s->front.child.pid);
	figures->front_bytes = usage.resident;
	figures->cpu_ns += usage.cpu_ns;
	for (uint32_t i = 0; i < s->options->n_models; i++) {
		if (s->keepers[i].worker.child.pid > 0) {
			usage = dn_usage_of(s->keepers[i].worker.child.pid);
			figures->workers_bytes += usage.resident;
			figures->cpu_ns += usage.cpu_ns;
		}
		figures->weights_bytes += s->keepers[i].weights_bytes;
		figures->loads += s->keepers[i].loads;
	}
	figures->front_restarts = s->front_restarts;
	s->stale = false;
	dn_supervisor_tell(s, &control, -1);
}

static void on_tick(evutil_socket_t fd, short what, void *data)
{
	struct supervisor *s = data;

	(void)fd;
	(void)what;
	dn_supervisor_watch(s);
	if (s->draining && dn_clock_ns() > s->drain_until_ns) {
		dn_log_event("warning", "drain", "message=\"time is up: what is left is cut\"");
		dn_supervisor_end(s);
		return;
	}
	if (s->front.child.pid <= 0)
		return;
	if (++s->silence > SILENCE_MAX) {
		dn_log_event("error", "front", "message=\"silent for %u s: ended\"", SILENCE_MAX);
		(void)kill(s->front.child.pid, SIGKILL);
		return;
	}
	tell_figures(s);
}

/* Somebody connects: the front says so too, unless it is stuck. */
static void on_waiting(evutil_socket_t fd, short what, void *data)
{
	(void)fd;
	(void)what;
	dn_supervisor_watch(data);
}

static void stop_waiting(struct supervisor *s)
{
	for (uint32_t i = 0; i < s->n_waiting; i++)
		event_free(s->waiting[i]);
	s->n_waiting = 0;
}

void dn_supervisor_watch(struct supervisor *s)
{
	const struct timeval second = { 1, 0 };

	if (!s->resting)
		return;
	stop_waiting(s);
	s->silence = 0;
	/* Else the next that happens tries again. */
	s->resting = event_add(s->tick, &second) < 0;
}

/* What there is to do does not wait for the front, and changes the figures. */
static bool at_work(const struct supervisor *s)
{
	for (uint32_t i = 0; i < s->options->n_models; i++)
		if (s->keepers[i].state != DN_KEEPER_ABSENT &&
		    s->keepers[i].state != DN_KEEPER_READY)
			return true;
	return s->draining || s->stale;
}

static void rest(struct supervisor *s)
{
	/* The service manager wants to hear of a service that is well, too. */
	const uint64_t us = dn_notify_watchdog_us() / 3;
	const struct timeval later = { (time_t)(us / 1000000), (suseconds_t)(us % 1000000) };

	if (s->resting || at_work(s))
		return;
	for (uint32_t i = 0; i < s->n_listeners; i++) {
		struct event *event = event_new(s->base, s->listeners[i], EV_READ, on_waiting, s);

		if (event)
			s->waiting[s->n_waiting++] = event;
		if (!event || event_add(event, NULL) < 0) {
			stop_waiting(s);
			return;
		}
	}
	s->resting = true;
	(void)(us > 0 ? event_add(s->tick, &later) : event_del(s->tick));
}

void dn_supervisor_heard(struct supervisor *s, bool rests)
{
	s->silence = 0;
	if (dn_notify_watchdog_us() > 0)
		dn_notify("WATCHDOG=1");
	if (rests)
		rest(s);
	else
		dn_supervisor_watch(s);
}

int dn_supervisor_watch_begin(struct supervisor *s, struct dn_error *err)
{
	const struct timeval second = { 1, 0 };

	s->tick = event_new(s->base, -1, EV_PERSIST, on_tick, s);
	if (!s->tick || event_add(s->tick, &second) < 0)
		return dn_error_memory(err, "an event", 1);
	return 0;
}

void dn_supervisor_watch_end(struct supervisor *s)
{
	stop_waiting(s);
	if (s->tick)
		event_free(s->tick);
	s->tick = NULL;
}
