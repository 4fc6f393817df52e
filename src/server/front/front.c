/* SPDX-License-Identifier: MIT */

#include "server/front/front.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <event2/event.h>
#include <event2/util.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>

#include "base/clock.h"
#include "sandbox/jail.h"
#include "server/tls.h"

/* Of an answer that its client does not read. */
#define UNSENT_BYTES ((size_t)256 << 10)

/* The supervisor. */

static void send_control(struct dn_front *front, const struct dn_control *control)
{
	struct dn_error err = DN_ERROR_INIT;

	/* Without a supervisor there is nothing to live for. */
	if (dn_channel_send(&front->channel, control, sizeof(*control), -1, &err) < 0)
		(void)event_base_loopbreak(front->base);
}

static void tell(struct dn_front *front, enum dn_control_type type, uint32_t model)
{
	struct dn_control control;

	dn_control_init(&control, type, model);
	if (type == DN_CONTROL_HELLO)
		dn_control_set_text(control.u.text, sizeof(control.u.text), front->jail);
	send_control(front, &control);
}

static void want(void *context, uint32_t model)
{
	tell(context, DN_CONTROL_WANT, model);
}

void dn_front_save(struct dn_front *front, uint32_t model, uint64_t space, int fd)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_control control;

	dn_control_init(&control, DN_CONTROL_SAVE, model);
	control.u.prefix.space = space;
	/* Not worth waiting for. */
	(void)!dn_channel_try_send(&front->channel, &control, sizeof(control), fd, &err);
}

static void broken(void *context, uint32_t model, uint64_t first_request)
{
	struct dn_control control;

	dn_control_init(&control, DN_CONTROL_BROKEN, model);
	control.u.broken.first_request = first_request;
	send_control(context, &control);
}

static void released(void *context, uint32_t model)
{
	tell(context, DN_CONTROL_RELEASED, model);
}

static void step(void *context, uint32_t model, const struct dn_frame_step *frame)
{
	const struct dn_front *front = context;

	(void)model;
	dn_metrics_add(front->metrics, DN_COUNTER_STEPS, 1);
	dn_metrics_add(front->metrics, DN_COUNTER_STEP_NS, frame->step_ns);
	dn_metrics_add(front->metrics, DN_COUNTER_STEP_CPU_NS, frame->cpu_ns);
	dn_metrics_add(front->metrics, DN_COUNTER_STEP_TOKENS,
		       frame->prefill_tokens + frame->decode_tokens);
}

/* Requests. */

static void opened(void *context)
{
	struct dn_front *front = context;

	if (front->resting)
		tell(front, DN_CONTROL_ALIVE, 0);
	front->resting = false;
}

static void check(void *context, struct dn_http_connection *connection)
{
	struct dn_api_error error;

	if (!dn_front_admit(context, connection, &error))
		dn_api_reply_error(connection, &error);
}

static void handle(void *context, struct dn_http_connection *connection)
{
	struct dn_api_error error;

	if (dn_front_begin(context, connection, &error))
		dn_front_route(context, connection);
	else
		dn_api_reply_error(connection, &error);
}

static char *fault(void *context, const struct dn_http_request *request, int status,
		   const char *message)
{
	struct dn_api_error error;
	json_t *json;
	char *text;

	(void)context;
	(void)dn_api_fail(&error, status, NULL, "%s", message);
	json = dn_api_error_json(request, &error);
	text = json_dumps(json, DN_API_DUMP);
	json_decref(json);
	return text;
}

/* By the key's name, or else the certificate's. */
static const char *client_name(const struct dn_http_request *request)
{
	const struct dn_account *account = request->owner;

	return account ? account->key.name : request->subject;
}

static void log_request(const struct dn_http_request *request, int status, uint64_t bytes)
{
	const char *name = client_name(request);
	char path[DN_LOG_VALUE_SIZE(96)];
	char client[DN_LOG_VALUE_SIZE(DN_CONTROL_NAME_MAX)] = "";

	if (name && name[0])
		(void)dn_log_value(name, client, sizeof(client));
	dn_log_event(status >= 500 ? "warning" : "info", "request",
		     "request=%s method=%s path=%s status=%d bytes=%llu ms=%.1f%s%s", request->id,
		     request->method,
		     dn_log_value(request->path ? request->path : "-", path, sizeof(path)), status,
		     (unsigned long long)bytes, (double)(dn_clock_ns() - request->begun_ns) / 1e6,
		     client[0] ? " client=" : "", client);
}

static void ended(void *context, struct dn_http_request *request, int status, uint64_t bytes)
{
	struct dn_front *front = context;

	dn_metrics_answered(front->metrics, status);
	if (status >= 400 || !dn_front_is_probe(request))
		log_request(request, status, bytes);
	dn_front_end(request);
}

static void failed(void *context, const char *why)
{
	(void)context;
	dn_log_event("info", "tls", "message=\"a handshake failed: %s\"", why);
}

/* What the supervisor says. */

static int start(struct dn_front *front, const struct dn_control_start *options,
		 struct dn_error *err)
{
	const struct dn_http_limits limits = {
		.connections = options->connections,
		.body_bytes = options->body_bytes,
		.bodies_bytes = options->bodies_bytes,
		.answers_bytes = options->answers_bytes,
		.unsent_bytes = UNSENT_BYTES,
		.head_ms = options->head_ms,
		.body_ms = options->body_ms,
		.idle_ms = options->idle_ms,
		.write_ms = options->write_ms,
	};
	const struct dn_http_handlers handlers = {
		.context = front,
		.opened = opened,
		.check = check,
		.handle = handle,
		.fault = fault,
		.ended = ended,
		.failed = failed,
	};
	const struct dn_models_upwards upwards = {
		.context = front,
		.want = want,
		.broken = broken,
		.released = released,
		.step = step,
	};

	if (front->started)
		return dn_error_set(err, EBADMSG, "control: a second start");
	front->started = true;
	front->start = *options;
	front->models = dn_models_new(front->base, options->queue, &upwards);
	front->http = dn_http_new(front->base, &limits, &handlers);
	if (!front->models || !front->http)
		return dn_error_memory(err, "the front", sizeof(*front));
	return 0;
}

/* What was read again, and is not to be had: those that there are stay in force. */
static int or_keep(bool there, int r, const struct dn_error *err)
{
	if (r >= 0 || r == -EBADMSG || !there)
		return r;
	dn_log_event("error", "reload", "message=\"%s\"", err->message);
	return 0;
}

static int take_key(struct dn_front *front, const struct dn_control_listed_key *key,
		    struct dn_error *err)
{
	const bool there = front->accounts.n > 0;

	return or_keep(there, dn_accounts_take(&front->accounts, key, dn_clock_ns(), err), err);
}

static int take_tls(struct dn_front *front, int fd, const struct dn_control_tls *tls,
		    struct dn_error *err)
{
	SSL_CTX *context;
	int r = dn_tls_new(fd, tls, &context, err);

	if (r < 0)
		return or_keep(front->has_tls, r, err);
	dn_http_set_tls(front->http, context);
	front->has_tls = true;
	return 0;
}

static void take_figures(struct dn_front *front, const struct dn_control_figures *figures)
{
	front->figures = *figures;
	for (uint32_t i = 0; i < dn_models_count(front->models); i++)
		if (dn_models_take_used(front->models, i))
			tell(front, DN_CONTROL_USED, i);
	front->resting = !front->draining && dn_http_connections(front->http) == 0;
	tell(front, front->resting ? DN_CONTROL_RESTS : DN_CONTROL_ALIVE, 0);
}

static int take(struct dn_front *front, const struct dn_control *control, int *fd,
		struct dn_error *err)
{
	switch (control->type) {
	case DN_CONTROL_LISTENER:
		if (dn_http_listen(front->http, dn_steal_fd(fd), control->u.listener.tls) < 0)
			return dn_error_memory(err, "a listener", 1);
		return 0;
	case DN_CONTROL_KEY:
		return take_key(front, &control->u.key, err);
	case DN_CONTROL_TLS:
		return take_tls(front, *fd, &control->u.tls, err);
	case DN_CONTROL_HOST:
		if (front->n_hosts == DN_SERVER_HOSTS_MAX)
			return dn_error_set(err, EBADMSG, "control: too many names");
		dn_control_set_text(front->hosts[front->n_hosts++], DN_CONTROL_NAME_MAX,
				    control->u.text);
		return 0;
	case DN_CONTROL_MODEL:
		return dn_models_add(front->models, control->u.text) < 0
			       ? dn_error_memory(err, "a model", 1)
			       : 0;
	case DN_CONTROL_WORKER:
		dn_models_worker(front->models, control->model, dn_steal_fd(fd),
				 &control->u.worker);
		return 0;
	case DN_CONTROL_LOST:
	case DN_CONTROL_FAILED:
		dn_models_lost(front->models, control->model, control->u.text,
			       control->type == DN_CONTROL_FAILED);
		return 0;
	case DN_CONTROL_ABSENT:
		dn_models_absent(front->models, control->model, &control->u.loaded);
		return 0;
	case DN_CONTROL_RELEASE:
		dn_models_release(front->models, control->model);
		return 0;
	case DN_CONTROL_DRAIN:
		front->draining = true;
		dn_http_drain(front->http);
		return 0;
	case DN_CONTROL_FIGURES:
		take_figures(front, &control->u.figures);
		return 0;
	default:
		return 0;
	}
}

static void check_drained(struct dn_front *front)
{
	if (front->draining && dn_http_connections(front->http) == 0)
		tell(front, DN_CONTROL_DRAINED, 0);
}

/* Return: 1 for a packet, -EAGAIN for none, 0 at the end, another negative errno. */
static int read_control(struct dn_front *front, struct dn_error *err)
{
	DN_AUTO_FD int fd = -1;
	struct dn_control control;
	int r = dn_channel_try_receive(&front->channel, &control, sizeof(control), &fd, err);

	if (r <= 0)
		return r == -ECONNRESET ? 0 : r;
	r = dn_control_check(&control, true, fd >= 0,
			     front->models ? dn_models_count(front->models) : 0, err);
	if (r >= 0 && control.type == DN_CONTROL_START)
		r = start(front, &control.u.start, err);
	else if (r >= 0 && !front->started)
		r = dn_error_set(err, EBADMSG, "control: packet %u before the start", control.type);
	else if (r >= 0)
		r = take(front, &control, &fd, err);
	return r < 0 ? r : 1;
}

static void on_control(evutil_socket_t fd, short what, void *data)
{
	struct dn_front *front = data;
	struct dn_error err = DN_ERROR_INIT;
	int r;

	(void)fd;
	(void)what;
	do
		r = read_control(front, &err);
	while (r > 0);
	if (r == -EAGAIN) {
		check_drained(front);
		return;
	}
	/* A supervisor that is gone needs no word. */
	if (r < 0)
		dn_log_event("error", "control", "message=\"%s\"", err.message);
	(void)event_base_loopbreak(front->base);
}

/* The process. */

static int enter_jail(struct dn_front *front, uint32_t files, struct dn_error *err)
{
	const struct dn_jail_options options = { .profile = DN_JAIL_FRONT, .files = files };
	struct dn_jail_report report;
	int r = dn_jail_enter(&options, &report, err);
	size_t at = 0;

	if (r < 0)
		return r;
	for (unsigned int i = 0; i < DN_JAIL_MEASURES; i++) {
		const int n = snprintf(front->jail + at, sizeof(front->jail) - at, "%s%s%s",
				       at > 0 ? ", " : "",
				       report.measures[i].state == DN_JAIL_HELD ? "" : "no ",
				       dn_jail_measure_name((enum dn_jail_measure)i));

		if (report.measures[i].state == DN_JAIL_NOT_ASKED)
			continue;
		if (n < 0 || (size_t)n >= sizeof(front->jail) - at)
			break;
		at += (size_t)n;
	}
	front->jail[at] = '\0';
	return 0;
}

void dn_front_free(struct dn_front *front)
{
	if (!front)
		return;
	dn_http_free(front->http);
	dn_models_free(front->models);
	dn_metrics_free(front->metrics);
	dn_accounts_done(&front->accounts);
	if (front->readable)
		event_free(front->readable);
	if (front->base)
		event_base_free(front->base);
	dn_channel_done(&front->channel);
	free(front);
}

int dn_front_new(int fd, struct dn_front **ret_front, struct dn_error *err)
{
	struct dn_front *front = calloc(1, sizeof(*front));
	int r;

	if (!front)
		return dn_error_memory(err, "the front", sizeof(*front));
	front->channel = (struct dn_channel)DN_CHANNEL_INIT;
	front->started_at = (int64_t)time(NULL);
	(void)snprintf(front->jail, sizeof(front->jail), "no sandbox");
	r = dn_channel_open(fd, &front->channel, err);
	if (r < 0) {
		dn_front_free(front);
		return r;
	}
	front->base = event_base_new();
	front->metrics = dn_metrics_new();
	if (front->base)
		front->readable =
			event_new(front->base, fd, EV_READ | EV_PERSIST, on_control, front);
	if (!front->metrics || !front->readable || event_add(front->readable, NULL) < 0) {
		dn_front_free(front);
		return dn_error_memory(err, "the front", sizeof(*front));
	}
	*ret_front = front;
	return 0;
}

static int run(struct dn_front *front, bool no_sandbox, uint32_t files, struct dn_error *err)
{
	if (!no_sandbox) {
		int r = enter_jail(front, files, err);

		if (r < 0)
			return r;
	}
	tell(front, DN_CONTROL_HELLO, 0);
	return event_base_dispatch(front->base) < 0 ? dn_error_set(err, EIO, "the event loop ended")
						    : 0;
}

/* jansson would open /dev/urandom at its first object, which a jail does not allow. */
static void seed_json(void)
{
	size_t seed = 0;

	if (getrandom(&seed, sizeof(seed), 0) == sizeof(seed) && seed != 0)
		json_object_seed(seed);
}

/* libc reads the time zone before the first date, even one of UTC; a jail does not allow that. */
static void begin_dates(void)
{
	const time_t now = 0;
	struct tm tm;

	(void)gmtime_r(&now, &tm);
}

/* OpenSSL reads its configuration before its first use, which a jail does not allow either. */
static int begin_openssl(struct dn_error *err)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1 ||
	    !SHA256((const unsigned char *)"", 0, digest))
		return dn_error_set(err, EIO, "OpenSSL does not start");
	return 0;
}

int dn_front_main(bool no_sandbox, uint32_t files, struct dn_error *err)
{
	struct dn_front *front = NULL;
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	/* The supervisor's: 'pkill -HUP dunlin' tells all to read keys again, and ends none. */
	(void)signal(SIGHUP, SIG_IGN);
	seed_json();
	begin_dates();
	r = begin_openssl(err);
	if (r < 0)
		return r;
	/* Before the jail: it opens what tells it of time and of descriptors. */
	r = dn_front_new(DN_CONTROL_FD, &front, err);
	if (r < 0 || !front)
		return r;
	r = run(front, no_sandbox, files, err);
	dn_front_free(front);
	return r;
}
