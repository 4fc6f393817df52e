/* SPDX-License-Identifier: MIT */
/* The supervisor: who is started, restarted, given room and told to go. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <event2/event.h>
#include <event2/util.h>

#include "base/clock.h"
#include "device/realtime.h"
#include "server/log.h"
#include "server/notify.h"
#include "server/supervisor.h"

/* Supervisor and front: what they take anyway; four bodies, one of these as JSON, large answers. */
#define OWN_BYTES  ((uint64_t)8 << 20)
#define TLS_BYTES  ((uint64_t)4 << 20)
#define OWN_BODIES 32

void dn_supervisor_end(struct supervisor *s)
{
	(void)event_base_loopbreak(s->base);
}

/* Room for models. */

uint64_t dn_supervisor_own_bytes(const struct dn_serve_options *options)
{
	return OWN_BYTES + OWN_BODIES * options->front.body_bytes +
	       (options->tls.paths[DN_TLS_CERTIFICATE] ? TLS_BYTES : 0);
}

static uint64_t room(const struct supervisor *s)
{
	return s->options->memory - dn_supervisor_own_bytes(s->options);
}

static uint64_t taken(const struct supervisor *s, const struct dn_keeper *but)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < s->options->n_models; i++)
		if (&s->keepers[i] != but && s->keepers[i].state > DN_KEEPER_PLANNED)
			bytes += s->keepers[i].planned_bytes;
	return bytes;
}

/* Asks the front to let go of the model that was used the longest ago. Return: false: none is left. */
static bool make_room(struct supervisor *s)
{
	struct dn_keeper *oldest = NULL;

	for (uint32_t i = 0; i < s->options->n_models; i++) {
		struct dn_keeper *keeper = &s->keepers[i];

		if (keeper->releasing)
			return true;
		if (keeper->state == DN_KEEPER_READY && (!oldest || keeper->used < oldest->used))
			oldest = keeper;
	}
	if (!oldest)
		return false;
	oldest->releasing = true;
	dn_supervisor_tell_model(s, DN_CONTROL_RELEASE, oldest->number);
	return true;
}

void dn_supervisor_settle(struct supervisor *s)
{
	for (uint32_t i = 0; i < s->options->n_models; i++) {
		struct dn_keeper *keeper = &s->keepers[i];

		if (keeper->state != DN_KEEPER_PLANNED)
			continue;
		if (s->options->memory == 0 ||
		    taken(s, keeper) + keeper->planned_bytes <= room(s)) {
			dn_keeper_go(keeper);
		} else if (!keeper->wanted) {
			/* Until somebody asks for it. */
			dn_keeper_release(keeper);
			dn_supervisor_tell_absent(s, keeper);
		} else if (!make_room(s)) {
			/* Others are being loaded: then they will be ready, and can go. */
			continue;
		}
	}
}

static void want(struct supervisor *s, struct dn_keeper *keeper)
{
	keeper->wanted = true;
	keeper->used = ++s->uses;
	if (s->draining)
		dn_supervisor_tell_text(s, DN_CONTROL_FAILED, keeper->number, "the server ends");
	else if (keeper->state == DN_KEEPER_ABSENT)
		dn_keeper_begin(keeper, s->options->memory ? room(s) : 0);
}

/* What happens to models. */

static void on_planned(void *context, struct dn_keeper *keeper)
{
	(void)keeper;
	dn_supervisor_settle(context);
}

/* There is an answer for everybody, be it that a model cannot be loaded. */
static void announce(struct supervisor *s)
{
	if (!s->announced)
		dn_notify("READY=1\nSTATUS=serving");
	s->announced = true;
}

static void on_ready(void *context, struct dn_keeper *keeper)
{
	struct supervisor *s = context;
	char name[DN_LOG_VALUE_SIZE(DN_CONTROL_NAME_MAX)];

	dn_log_event("info", "model",
		     "model=%s state=ready planned_mib=%llu context=%u level=%s load_ms=%.1f",
		     dn_log_value(keeper->model->name, name, sizeof(name)),
		     (unsigned long long)keeper->planned_bytes >> 20, keeper->ready.loaded.context,
		     keeper->ready.loaded.level, (double)keeper->ready.loaded.load_ns / 1e6);
	keeper->used = ++s->uses;
	dn_supervisor_tell_worker(s, keeper);
	announce(s);
	dn_supervisor_settle(s);
}

static void on_lost(void *context, struct dn_keeper *keeper, const char *why)
{
	struct supervisor *s = context;
	char name[DN_LOG_VALUE_SIZE(DN_CONTROL_NAME_MAX)];

	dn_log_event("error", "worker", "model=%s message=\"%s\" restarts=%u",
		     dn_log_value(keeper->model->name, name, sizeof(name)), why,
		     keeper->ready.restarts);
	dn_supervisor_tell_text(s, DN_CONTROL_LOST, keeper->number, why);
	/* Nothing of it runs any more: the release that is under way is done. */
	if (keeper->releasing) {
		dn_keeper_release(keeper);
		dn_supervisor_settle(s);
	}
}

static void on_failed(void *context, struct dn_keeper *keeper, const char *why)
{
	struct supervisor *s = context;
	char name[DN_LOG_VALUE_SIZE(DN_CONTROL_NAME_MAX)];

	keeper->wanted = false;
	dn_log_event("error", "model", "model=%s state=failed message=\"%s\"",
		     dn_log_value(keeper->model->name, name, sizeof(name)), why);
	dn_supervisor_tell_text(s, DN_CONTROL_FAILED, keeper->number, why);
	announce(s);
	dn_supervisor_settle(s);
}

/* What the front says. */

static void take(struct supervisor *s, const struct dn_control *control, int *fd)
{
	struct dn_keeper *keeper = &s->keepers[control->model];

	switch (control->type) {
	case DN_CONTROL_HELLO:
		s->stillborn = 0;
		dn_log_event("info", "front", "jail=\"%s\"", control->u.text);
		break;
	case DN_CONTROL_WANT:
		want(s, keeper);
		break;
	case DN_CONTROL_USED:
		keeper->used = ++s->uses;
		break;
	case DN_CONTROL_SAVE:
		dn_saver_begin(&s->saver, &keeper->model->identity, control->u.prefix.space,
			       dn_steal_fd(fd));
		break;
	case DN_CONTROL_RELEASED:
		if (keeper->releasing) {
			dn_keeper_release(keeper);
			dn_supervisor_settle(s);
		}
		break;
	case DN_CONTROL_BROKEN:
		/* Not the one that has followed it meanwhile. */
		if (control->u.broken.first_request == keeper->last_request)
			dn_keeper_kill_worker(keeper);
		break;
	case DN_CONTROL_DRAINED:
		if (s->draining)
			dn_supervisor_end(s);
		break;
	case DN_CONTROL_ALIVE:
	case DN_CONTROL_RESTS:
		dn_supervisor_heard(s, control->type == DN_CONTROL_RESTS);
		break;
	default:
		break;
	}
}

void dn_supervisor_on_control(evutil_socket_t socket, short what, void *data)
{
	struct supervisor *s = data;
	struct dn_error err = DN_ERROR_INIT;
	DN_AUTO_FD int fd = -1;
	struct dn_control control;
	int r;

	(void)socket;
	(void)what;
	r = dn_channel_try_receive(&s->front.channel, &control, sizeof(control), &fd, &err);
	if (r == -EAGAIN)
		return;
	if (r > 0) {
		r = dn_control_check(&control, false, fd >= 0, s->options->n_models, &err);
		if (r == 0) {
			take(s, &control, &fd);
			return;
		}
	}
	/* At its end, or what it says makes no sense: reap() tells how it ended. */
	(void)event_del(s->front.readable);
	if (r < 0 && r != -ECONNRESET) {
		dn_log_event("error", "front", "message=\"%s\"", err.message);
		(void)kill(s->front.child.pid, SIGKILL);
	}
}

/* Signals and time. */

static void drain(struct supervisor *s)
{
	struct dn_control control;

	if (s->draining) {
		dn_supervisor_end(s);
		return;
	}
	s->draining = true;
	s->drain_until_ns = dn_clock_ns() + s->options->drain_ms * UINT64_C(1000000);
	dn_log_event("info", "drain", "ms=%u", s->options->drain_ms);
	dn_notify("STOPPING=1\nSTATUS=answering what is asked");
	dn_supervisor_watch(s);
	dn_supervisor_close_listeners(s);
	if (s->front.child.pid <= 0) {
		dn_supervisor_end(s);
		return;
	}
	dn_control_init(&control, DN_CONTROL_DRAIN, 0);
	dn_supervisor_tell(s, &control, -1);
}

static void reap(struct supervisor *s)
{
	struct dn_child_end how;

	if (s->front.child.pid > 0 && dn_child_wait(&s->front.child, 0, &how, NULL) > 0)
		dn_supervisor_lose_front(s, &how);
	for (uint32_t i = 0; i < s->options->n_models; i++)
		dn_keeper_reap(&s->keepers[i]);
}

static void on_signal(evutil_socket_t number, short what, void *data)
{
	(void)what;
	if (number == SIGCHLD)
		reap(data);
	else if (number == SIGHUP)
		dn_supervisor_reload(data);
	else
		drain(data);
}

/* Begin and end. */

static int watch_signals(struct supervisor *s, struct dn_error *err)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGCHLD, SIGHUP };
	sigset_t held;

	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < DN_ARRAY_SIZE(numbers); i++) {
		s->signals[i] = evsignal_new(s->base, numbers[i], on_signal, s);
		if (!s->signals[i] || event_add(s->signals[i], NULL) < 0)
			return dn_error_memory(err, "an event", 1);
	}
	(void)sigemptyset(&held);
	(void)sigaddset(&held, SIGHUP);
	(void)sigprocmask(SIG_UNBLOCK, &held, NULL);
	return 0;
}

/* The front has a descriptor for each connection: its limit is inherited. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Groups for the others: which limits they can have, and why not others. */
static void log_groups(struct supervisor *s)
{
	static const char *const names[] = {
		[DN_CGROUP_MEMORY] = "memory",
		[DN_CGROUP_PIDS] = "pids",
	};

	dn_cgroup_limits_open("", &s->groups);
	for (size_t i = 0; i < DN_CGROUP_CONTROLLERS; i++) {
		char reason[DN_LOG_VALUE_SIZE(DN_CGROUP_REASON_MAX)];

		if (s->groups.controllers[i].base[0])
			dn_log_event("info", "cgroup", "controller=%s version=%d", names[i],
				     s->groups.version);
		else
			dn_log_event("info", "cgroup", "controller=%s version=none reason=%s",
				     names[i],
				     dn_log_value(s->groups.controllers[i].reason, reason,
						  sizeof(reason)));
	}
}

static int begin(struct supervisor *s, struct dn_error *err)
{
	const struct dn_keeper_events events = { s, on_planned, on_ready, on_lost, on_failed };
	int r;

	s->base = event_base_new();
	s->front_retry = s->base ? evtimer_new(s->base, dn_supervisor_on_front_retry, s) : NULL;
	if (!s->front_retry)
		return dn_error_memory(err, "the supervisor", sizeof(*s));
	r = dn_supervisor_watch_begin(s, err);
	if (r >= 0)
		r = watch_signals(s, err);
	if (r >= 0)
		r = dn_supervisor_open_listeners(s, err);
	for (uint32_t i = 0; i < s->options->n_models && r >= 0; i++)
		r = dn_keeper_init(&s->keepers[i], s->base, s->options, &s->options->models[i], i,
				   &s->groups, &events, err);
	if (r < 0)
		return r;
	if (!s->options->no_sandbox)
		log_groups(s);
	raise_file_limit();
	for (uint32_t i = 0; i < s->options->n_models; i++)
		dn_keeper_begin(&s->keepers[i], s->options->memory ? room(s) : 0);
	return dn_supervisor_start_front(s, err);
}

static void supervisor_done(struct supervisor *s)
{
	dn_process_done(&s->front);
	dn_saver_done(&s->saver);
	for (uint32_t i = 0; i < s->options->n_models; i++)
		dn_keeper_done(&s->keepers[i]);
	dn_cgroup_limits_done(&s->groups);
	dn_secrets_free(s->reloaded);
	dn_supervisor_watch_end(s);
	dn_supervisor_close_listeners(s);
	for (size_t i = 0; i < DN_ARRAY_SIZE(s->signals); i++)
		if (s->signals[i])
			event_free(s->signals[i]);
	if (s->front_retry)
		event_free(s->front_retry);
	if (s->base)
		event_base_free(s->base);
	free(s);
}

int dn_serve(const struct dn_serve_options *options, struct dn_error *err)
{
	struct supervisor *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return dn_error_memory(err, "the supervisor", sizeof(*s));
	s->options = options;
	s->secrets = options->secrets;
	s->saver.store = &options->prefixes;
	s->front = (struct dn_process)DN_PROCESS_INIT;
	if (options->memory && options->memory <= dn_supervisor_own_bytes(options)) {
		free(s);
		return dn_error_set(err, EINVAL,
				    "--memory is %llu MiB; the server itself takes up to %llu",
				    (unsigned long long)options->memory >> 20,
				    (unsigned long long)dn_supervisor_own_bytes(options) >> 20);
	}
	r = options->realtime ? dn_realtime_enter(err) : 0;
	if (r >= 0)
		r = begin(s, err);
	if (r >= 0 && event_base_dispatch(s->base) < 0)
		r = dn_error_set(err, EIO, "the event loop ended");
	if (r >= 0 && s->failed)
		r = dn_error_set(
			err, EIO,
			"the front ended %u times as soon as it was started: its last words "
			"are above",
			s->stillborn);
	supervisor_done(s);
	return r < 0 ? r : 0;
}
