/* SPDX-License-Identifier: MIT */
/* The supervisor's front: started, told everything, started again. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include <event2/event.h>
#include <event2/util.h>

#include "base/clock.h"
#include "device/realtime.h"
#include "server/listen.h"
#include "server/log.h"
#include "server/supervisor.h"

/* What a front has open beside connections: listeners, channels, what comes with frames. */
#define OTHER_FILES 256U
/* Of its control group: the kernel's part of a connection; one thread, and room for a helper's. */
#define CONNECTION_BYTES ((uint64_t)32 << 10)
/* What OpenSSL has for one. */
#define TLS_CONNECTION_BYTES ((uint64_t)64 << 10)
#define TASKS		     8
/* A front that lived for less is started again no sooner than a moment later. */
#define YOUNG_NS       UINT64_C(1000000000)
#define FRONT_RETRY_MS 100
/* So many that never said a word, one after the other, and it is no use. */
#define STILLBORN_MAX 20U
/* Numbers of a worker's requests that fronts may use, one front after the other. */
#define REQUESTS_OF_A_FRONT (UINT64_C(1) << 40)

void dn_supervisor_tell(struct supervisor *s, struct dn_control *control, int fd)
{
	struct dn_error err = DN_ERROR_INIT;

	/* What happens to models changes the figures. */
	if (control->type != DN_CONTROL_FIGURES) {
		s->stale = true;
		dn_supervisor_watch(s);
	}
	if (s->front.channel.fd >= 0 && s->front.child.pid > 0 &&
	    dn_channel_send(&s->front.channel, control, sizeof(*control), fd, &err) == -ETIMEDOUT) {
		dn_log_event("error", "front", "message=\"it does not read: ended\"");
		(void)kill(s->front.child.pid, SIGKILL);
	}
}

void dn_supervisor_tell_text(struct supervisor *s, enum dn_control_type type, uint32_t model,
			     const char *text)
{
	struct dn_control control;

	dn_control_init(&control, type, model);
	dn_control_set_text(control.u.text, sizeof(control.u.text), text);
	dn_supervisor_tell(s, &control, -1);
}

void dn_supervisor_tell_model(struct supervisor *s, enum dn_control_type type, uint32_t model)
{
	struct dn_control control;

	dn_control_init(&control, type, model);
	dn_supervisor_tell(s, &control, -1);
}

void dn_supervisor_tell_absent(struct supervisor *s, const struct dn_keeper *keeper)
{
	struct dn_control control;

	dn_control_init(&control, DN_CONTROL_ABSENT, keeper->number);
	control.u.loaded = keeper->ready.loaded;
	dn_supervisor_tell(s, &control, -1);
}

void dn_supervisor_tell_worker(struct supervisor *s, struct dn_keeper *keeper)
{
	struct dn_control control;

	dn_control_init(&control, DN_CONTROL_WORKER, keeper->number);
	keeper->last_request += REQUESTS_OF_A_FRONT;
	control.u.worker = keeper->ready;
	control.u.worker.first_request = keeper->last_request;
	dn_supervisor_tell(s, &control, keeper->worker.channel.fd);
}

void dn_supervisor_tell_secrets(struct supervisor *s)
{
	const struct dn_secrets *secrets = s->secrets;
	struct dn_control control;

	for (uint32_t i = 0; i < secrets->n_keys; i++) {
		dn_control_init(&control, DN_CONTROL_KEY, 0);
		control.u.key = (struct dn_control_listed_key){
			.at = i,
			.n = secrets->n_keys,
			.key = secrets->keys[i],
		};
		dn_supervisor_tell(s, &control, -1);
	}
	if (secrets->tls < 0)
		return;
	dn_control_init(&control, DN_CONTROL_TLS, 0);
	control.u.tls = secrets->parts;
	dn_supervisor_tell(s, &control, secrets->tls);
}

static void introduce(struct supervisor *s)
{
	const struct dn_serve_options *o = s->options;
	struct dn_control control;

	dn_control_init(&control, DN_CONTROL_START, 0);
	control.u.start = o->front;
	control.u.start.memory = o->memory;
	control.u.start.save_prefixes = o->prefixes.folder != NULL;
	dn_control_set_text(control.u.start.program, sizeof(control.u.start.program), o->program);
	dn_supervisor_tell(s, &control, -1);
	dn_supervisor_tell_secrets(s);
	for (uint32_t i = 0; i < o->n_hosts; i++)
		dn_supervisor_tell_text(s, DN_CONTROL_HOST, 0, o->hosts[i]);
	for (uint32_t i = 0; i < o->n_models; i++)
		dn_supervisor_tell_text(s, DN_CONTROL_MODEL, 0, o->models[i].name);
	for (uint32_t i = 0; i < o->n_models; i++) {
		if (s->keepers[i].state == DN_KEEPER_READY)
			dn_supervisor_tell_worker(s, &s->keepers[i]);
		else if (s->keepers[i].state == DN_KEEPER_ABSENT)
			dn_supervisor_tell_absent(s, &s->keepers[i]);
	}
	for (uint32_t i = 0; i < s->n_listeners; i++) {
		dn_control_init(&control, DN_CONTROL_LISTENER, 0);
		control.u.listener.tls =
			s->secrets->tls >= 0 && !dn_listen_is_local(s->listeners[i]);
		dn_supervisor_tell(s, &control, s->listeners[i]);
	}
}

int dn_supervisor_start_front(struct supervisor *s, struct dn_error *err)
{
	char files[16];
	const struct dn_serve_options *o = s->options;
	char *const jailed[] = { "dunlin", "front", "--files", files, NULL };
	char *const free_running[] = { "dunlin", "front", "--no-sandbox", NULL };
	const uint64_t connection_bytes =
		CONNECTION_BYTES + (s->secrets->tls >= 0 ? TLS_CONNECTION_BYTES : 0);
	const struct dn_process_options options = {
		.arguments = o->no_sandbox ? free_running : jailed,
		.jailed = !o->no_sandbox,
		.groups = &s->groups,
		.memory = o->memory ? dn_supervisor_own_bytes(o) +
					      o->front.connections * connection_bytes
				    : 0,
		.tasks = TASKS,
		.callback = dn_supervisor_on_control,
		.data = s,
	};
	struct dn_realtime_cpus before;
	int r;

	(void)snprintf(files, sizeof(files), "%u",
		       o->front.connections + OTHER_FILES + o->n_models * o->front.queue);
	/* It passes tokens on while workers compute: one that waited for their cores would be late. */
	if (o->realtime)
		dn_realtime_raise(o->load.cpus[0], &before);
	r = dn_process_start(&s->front, s->base, &options, err);
	if (o->realtime)
		dn_realtime_lower(&before);
	if (r < 0)
		return r;
	s->front_begun_ns = dn_clock_ns();
	s->silence = 0;
	introduce(s);
	return 0;
}

void dn_supervisor_on_front_retry(evutil_socket_t fd, short what, void *data)
{
	struct supervisor *s = data;
	struct dn_error err = DN_ERROR_INIT;
	const struct timeval after = { 0, FRONT_RETRY_MS * 1000 };

	(void)fd;
	(void)what;
	if (dn_supervisor_start_front(s, &err) >= 0)
		return;
	dn_log_event("error", "front", "message=\"%s\"", err.message);
	(void)evtimer_add(s->front_retry, &after);
}

void dn_supervisor_lose_front(struct supervisor *s, const struct dn_child_end *how)
{
	const bool young = dn_clock_ns() - s->front_begun_ns < YOUNG_NS;
	const struct timeval after = { 0, young ? FRONT_RETRY_MS * 1000 : 0 };

	dn_process_done(&s->front);
	if (s->draining) {
		dn_supervisor_end(s);
		return;
	}
	dn_log_event("error", "front", "message=\"it ended: %s\" restarts=%u", how->words,
		     ++s->front_restarts);
	/* Until the next one speaks. */
	if (++s->stillborn > STILLBORN_MAX) {
		s->failed = true;
		dn_supervisor_end(s);
		return;
	}
	/* Nobody waits for a release any more. */
	for (uint32_t i = 0; i < s->options->n_models; i++)
		if (s->keepers[i].releasing)
			dn_keeper_release(&s->keepers[i]);
	dn_supervisor_settle(s);
	(void)evtimer_add(s->front_retry, &after);
}
