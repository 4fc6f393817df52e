/* SPDX-License-Identifier: MIT */

#include "server/keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <event2/event.h>
#include <event2/util.h>

#include "base/clock.h"
#include "channel/frames.h"
#include "channel/shared-memory.h"
#include "server/prefix-reader.h"

/* Workers that end before they are ready, one after the other, until nothing more is tried. */
#define FAILURES_MAX 10U
/* A worker that ended sooner after it was ready is one that fails. */
#define YOUNG_NS UINT64_C(200000000)
/* Of a group, beyond what was planned; beyond the threads that compute. */
#define WORKER_SLACK   ((uint64_t)32 << 20)
#define WORKER_THREADS 8U
/* Requests by which a worker takes prefixes back. */
#define RESTORE_NUMBERS 1000U
/* From the second on; it doubles with each, up to a second. */
#define RETRY_MS     100U
#define RETRY_DOUBLE 4U

static void on_frame(evutil_socket_t fd, short what, void *data);

/* Processes. */

/* @bytes: what it was planned to take. Its limit is some more, met by none that does as it should. */
static int start_process(struct dn_keeper *keeper, struct dn_process *process, uint64_t bytes,
			 struct dn_error *err)
{
	const struct dn_serve_options *serve = keeper->options;
	char *const jailed[] = { "dunlin", "worker", NULL };
	char *const free_running[] = { "dunlin", "worker", "--no-sandbox", NULL };
	const struct dn_process_options options = {
		.path = serve->worker,
		.arguments = serve->no_sandbox ? free_running : jailed,
		.jailed = !serve->no_sandbox,
		.groups = keeper->groups,
		.memory = serve->memory ? bytes + WORKER_SLACK : 0,
		.tasks = DN_MAX(serve->load.threads, 1U) + WORKER_THREADS,
		.callback = on_frame,
		.data = keeper,
	};

	return dn_process_start(process, keeper->base, &options, err);
}

/* Frames to a process that was just started, fewer than its channel has room for. */
static int send_frame(struct dn_process *process, const struct dn_frame *frame, int fd,
		      struct dn_error *err)
{
	return dn_channel_send(&process->channel, frame, sizeof(*frame), fd, err);
}

/* What FILE frames bring: all but the first part, and adapters. */
static int send_files(struct dn_keeper *keeper, struct dn_process *process, bool parts,
		      uint64_t *number, struct dn_error *err)
{
	const struct dn_serve_model *model = keeper->model;
	struct dn_frame frame;
	int r = 0;

	for (uint32_t i = 1; parts && i < model->n_fds && r >= 0; i++) {
		dn_frame_init(&frame, DN_FRAME_FILE, ++*number);
		frame.u.file.kind = DN_FILE_PART;
		r = send_frame(process, &frame, model->fds[i], err);
	}
	for (uint32_t i = 0; i < model->n_adapters && r >= 0; i++) {
		dn_frame_init(&frame, DN_FRAME_FILE, ++*number);
		frame.u.file.kind = DN_FILE_ADAPTER;
		frame.u.file.scale = model->scales[i];
		r = send_frame(process, &frame, model->adapters[i], err);
	}
	return r;
}

/* Endings. */

static void drop_weights(struct dn_keeper *keeper)
{
	if (keeper->checked)
		event_free(keeper->checked);
	keeper->checked = NULL;
	if (keeper->check)
		(void)dn_seal_check_end(keeper->check, NULL);
	keeper->check = NULL;
	if (keeper->weights >= 0)
		close(keeper->weights);
	keeper->weights = -1;
	keeper->weights_bytes = 0;
}

static void drop_prefixes(struct dn_keeper *keeper)
{
	if (keeper->read)
		event_free(keeper->read);
	keeper->read = NULL;
	if (keeper->reader)
		(void)dn_prefix_reader_end(keeper->reader, NULL);
	keeper->reader = NULL;
	keeper->restoring = 0;
}

static void drop_worker(struct dn_keeper *keeper)
{
	dn_process_done(&keeper->worker);
	drop_prefixes(keeper);
}

void dn_keeper_release(struct dn_keeper *keeper)
{
	(void)evtimer_del(keeper->retry);
	dn_process_done(&keeper->loader);
	drop_worker(keeper);
	drop_weights(keeper);
	keeper->state = DN_KEEPER_ABSENT;
	keeper->releasing = false;
	keeper->planned_bytes = 0;
	keeper->failures = 0;
}

static void fail(struct dn_keeper *keeper, const char *why)
{
	dn_keeper_release(keeper);
	keeper->events.failed(keeper->events.context, keeper, why);
}

/* The loader. */

static void start_worker(struct dn_keeper *keeper);

static int begin_loader(struct dn_keeper *keeper, struct dn_error *err)
{
	uint64_t number = 0;
	struct dn_frame frame;
	int r = start_process(keeper, &keeper->loader, keeper->most_bytes, err);

	if (r >= 0)
		r = send_files(keeper, &keeper->loader, true, &number, err);
	if (r >= 0) {
		dn_frame_init(&frame, DN_FRAME_LOAD, ++number);
		frame.u.load.depth = DN_LOAD_HEADER;
		frame.u.load.prepared = keeper->model->prepared;
		r = send_frame(&keeper->loader, &frame, keeper->model->fds[0], err);
	}
	if (r >= 0) {
		dn_frame_init(&frame, DN_FRAME_PLAN, ++number);
		frame.u.load = keeper->options->load;
		frame.u.load.memory = keeper->most_bytes;
		r = send_frame(&keeper->loader, &frame, -1, err);
	}
	return r;
}

void dn_keeper_begin(struct dn_keeper *keeper, uint64_t most_bytes)
{
	struct dn_error err = DN_ERROR_INIT;
	int r;

	keeper->most_bytes = most_bytes;
	keeper->state = DN_KEEPER_PLANNING;
	r = begin_loader(keeper, &err);
	/* One that has ended: dn_keeper_reap() tells how. */
	if (r < 0 && r != -EPIPE)
		fail(keeper, err.message);
}

static void prepare(struct dn_keeper *keeper)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;
	int r = dn_shared_begin("dunlin-weights", &keeper->weights, &err);

	keeper->state = DN_KEEPER_PREPARING;
	if (r >= 0) {
		dn_frame_init(&frame, DN_FRAME_PREPARE, UINT32_MAX);
		r = send_frame(&keeper->loader, &frame, keeper->weights, &err);
	}
	if (r < 0)
		fail(keeper, err.message);
}

/* Nobody can change it any more; the loader is not needed. */
static void seal_weights(struct dn_keeper *keeper)
{
	struct dn_error err = DN_ERROR_INIT;
	struct stat st = { .st_size = 0 };

	dn_process_done(&keeper->loader);
	if (dn_shared_seal(keeper->weights, &err) < 0) {
		fail(keeper, err.message);
		return;
	}
	(void)fstat(keeper->weights, &st);
	keeper->weights_bytes = (uint64_t)st.st_size;
	start_worker(keeper);
}

static void on_checked(evutil_socket_t fd, short what, void *data)
{
	struct dn_keeper *keeper = data;
	struct dn_error err = DN_ERROR_INIT;
	int r;

	(void)fd;
	(void)what;
	event_free(keeper->checked);
	keeper->checked = NULL;
	r = dn_seal_check_end(keeper->check, &err);
	keeper->check = NULL;
	if (r < 0) {
		fail(keeper, err.message);
		return;
	}
	start_worker(keeper);
}

/* The model's file is its prepared form: what it holds is checked, and it is mapped as it is. */
static void check_seal(struct dn_keeper *keeper)
{
	const struct dn_serve_model *model = keeper->model;
	struct dn_error err = DN_ERROR_INIT;

	dn_process_done(&keeper->loader);
	keeper->state = DN_KEEPER_PREPARING;
	if (model->no_verify) {
		start_worker(keeper);
		return;
	}
	if (dn_seal_check_begin(model->fds[0], model->seal, model->seal->bytes,
				DN_MAX(keeper->options->load.threads, 1U), &keeper->check,
				&err) < 0) {
		fail(keeper, err.message);
		return;
	}
	keeper->checked = event_new(keeper->base, dn_seal_check_fd(keeper->check), EV_READ,
				    on_checked, keeper);
	if (!keeper->checked || event_add(keeper->checked, NULL) < 0)
		fail(keeper, "out of memory");
}

void dn_keeper_go(struct dn_keeper *keeper)
{
	if (keeper->model->prepared)
		check_seal(keeper);
	else
		prepare(keeper);
}

/* The worker. */

static int load_worker(struct dn_keeper *keeper, struct dn_error *err)
{
	uint64_t number = 0;
	struct dn_frame frame;
	int r = send_files(keeper, &keeper->worker, false, &number, err);

	if (r < 0)
		return r;
	dn_frame_init(&frame, DN_FRAME_LOAD, ++number);
	frame.u.load = keeper->options->load;
	frame.u.load.depth = DN_LOAD_WEIGHTS;
	frame.u.load.memory = keeper->most_bytes;
	frame.u.load.prepared = 1;
	frame.u.load.report_steps = 1;
	return send_frame(&keeper->worker, &frame,
			  keeper->weights >= 0 ? keeper->weights : keeper->model->fds[0], err);
}

static void retry(struct dn_keeper *keeper, const char *why)
{
	const uint32_t doubled = DN_MIN(keeper->failures, RETRY_DOUBLE);
	const uint32_t ms = doubled > 0 ? RETRY_MS << (doubled - 1) : 0;
	const struct timeval after = { ms / 1000, (suseconds_t)(ms % 1000) * 1000 };

	drop_worker(keeper);
	if (++keeper->failures > FAILURES_MAX) {
		fail(keeper, why);
		return;
	}
	keeper->state = DN_KEEPER_RETRYING;
	(void)evtimer_add(keeper->retry, &after);
}

static void start_worker(struct dn_keeper *keeper)
{
	struct dn_error err = DN_ERROR_INIT;
	int r = start_process(keeper, &keeper->worker, keeper->planned_bytes, &err);

	keeper->state = DN_KEEPER_STARTING;
	if (r >= 0)
		r = load_worker(keeper, &err);
	if (r < 0 && r != -EPIPE)
		retry(keeper, err.message);
}

static void on_retry(evutil_socket_t fd, short what, void *data)
{
	(void)fd;
	(void)what;
	start_worker(data);
}

static void become_ready(struct dn_keeper *keeper)
{
	/* From here on the front reads what this worker says. */
	event_free(keeper->worker.readable);
	keeper->worker.readable = NULL;
	keeper->state = DN_KEEPER_READY;
	keeper->ready_ns = dn_clock_ns();
	keeper->events.ready(keeper->events.context, keeper);
}

/* A prefix is there again, or does not fit any more, which is no loss. */
static void take_restored(struct dn_keeper *keeper)
{
	if (--keeper->restoring == 0)
		become_ready(keeper);
}

/* What the worker was asked before, under numbers that no front uses. */
static void on_read(evutil_socket_t fd, short what, void *data)
{
	struct dn_stored_prefix prefixes[DN_PREFIXES_MAX];
	struct dn_keeper *keeper = data;
	uint32_t n = dn_prefix_reader_end(keeper->reader, prefixes);

	(void)fd;
	(void)what;
	keeper->reader = NULL;
	/* The newest last, since the first are the first to go where there is no room. */
	while (n-- > 0) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_frame frame;

		dn_frame_init(&frame, DN_FRAME_RESTORE, RESTORE_NUMBERS + n);
		frame.u.restore.space = prefixes[n].space;
		frame.attachment = prefixes[n].bytes;
		if (send_frame(&keeper->worker, &frame, prefixes[n].fd, &err) >= 0)
			keeper->restoring++;
		close(prefixes[n].fd);
	}
	take_restored(keeper);
}

static bool begin_restoring(struct dn_keeper *keeper)
{
	const struct dn_prefix_store *store = &keeper->options->prefixes;
	struct dn_error err = DN_ERROR_INIT;

	/* Where a worker ended on its way here, perhaps by one of them, without. */
	if (!store->folder || keeper->failures > 0 ||
	    dn_prefix_reader_begin(store, &keeper->model->identity, &keeper->reader, &err) < 0)
		return false;
	keeper->restoring = 1;
	keeper->read = event_new(keeper->base, dn_prefix_reader_fd(keeper->reader), EV_READ,
				 on_read, keeper);
	if (keeper->read && event_add(keeper->read, NULL) == 0)
		return true;
	drop_prefixes(keeper);
	return false;
}

static void take_loaded(struct dn_keeper *keeper, const struct dn_frame_loaded *loaded)
{
	keeper->ready = (struct dn_control_worker){
		.places = 4 * DN_MAX(keeper->options->load.sequences, 1U),
		.restarts = keeper->ready.restarts,
		.sandbox_held = keeper->hello.sandbox_held,
		.sandbox_absent = keeper->hello.sandbox_absent,
		.groups_held = keeper->worker.grouped ? keeper->worker.group.held : 0,
		.loaded = *loaded,
	};
	/* Not below what the loader told, nor beyond what there is. */
	keeper->planned_bytes = DN_MAX(keeper->planned_bytes, loaded->planned_bytes);
	if (keeper->most_bytes)
		keeper->planned_bytes = DN_MIN(keeper->planned_bytes, keeper->most_bytes);
	if (!begin_restoring(keeper))
		become_ready(keeper);
}

/* Frames, of whichever process is at work. */

static void take_loader_frame(struct dn_keeper *keeper, const struct dn_frame *frame)
{
	switch (frame->type) {
	case DN_FRAME_LOADED:
		keeper->ready.loaded = frame->u.loaded;
		break;
	case DN_FRAME_PLANNED:
		if (keeper->state != DN_KEEPER_PLANNING ||
		    (keeper->most_bytes && frame->u.planned.total > keeper->most_bytes)) {
			fail(keeper, "the loader told a plan that it was not asked for");
			break;
		}
		keeper->planned_bytes = frame->u.planned.total;
		keeper->ready.loaded.context = frame->u.planned.context;
		keeper->ready.loaded.planned_bytes = frame->u.planned.total;
		keeper->state = DN_KEEPER_PLANNED;
		keeper->loads++;
		keeper->events.planned(keeper->events.context, keeper);
		break;
	case DN_FRAME_PREPARED:
		if (keeper->state == DN_KEEPER_PREPARING && keeper->weights >= 0)
			seal_weights(keeper);
		break;
	case DN_FRAME_ERROR:
		fail(keeper, frame->u.error.message);
		break;
	default:
		break;
	}
}

static void take_worker_frame(struct dn_keeper *keeper, const struct dn_frame *frame)
{
	if (frame->type == DN_FRAME_HELLO)
		keeper->hello = frame->u.hello;
	else if (frame->type == DN_FRAME_LOADED && keeper->restoring > 0)
		fail(keeper, "the worker loaded twice");
	else if (frame->type == DN_FRAME_LOADED)
		take_loaded(keeper, &frame->u.loaded);
	else if (keeper->reader)
		fail(keeper, "the worker answered what it was not asked");
	else if (keeper->restoring > 0 && frame->request >= RESTORE_NUMBERS)
		take_restored(keeper);
	else if (frame->type == DN_FRAME_ERROR)
		fail(keeper, frame->u.error.message);
}

static void on_frame(evutil_socket_t socket, short what, void *data)
{
	struct dn_keeper *keeper = data;
	const bool of_loader = keeper->loader.readable && socket == keeper->loader.channel.fd;
	struct dn_process *process = of_loader ? &keeper->loader : &keeper->worker;
	struct dn_error err = DN_ERROR_INIT;
	DN_AUTO_FD int fd = -1;
	struct dn_frame frame;
	int r;

	(void)what;
	r = dn_channel_try_receive(&process->channel, &frame, sizeof(frame), &fd, &err);
	if (r == -EAGAIN)
		return;
	if (r > 0)
		r = dn_frame_check(&frame, DN_FRAME_FROM_WORKER, fd >= 0, &err);
	else if (r == 0 || r == -ECONNRESET) {
		/* dn_keeper_reap() tells how it ended. */
		(void)event_del(process->readable);
		return;
	}
	if (r >= 0 && frame.type == DN_FRAME_HELLO && frame.u.hello.version != DN_CHANNEL_VERSION)
		r = dn_error_set(&err, EPROTO, "a worker of another version");
	if (r < 0)
		fail(keeper, err.message);
	else if (of_loader)
		take_loader_frame(keeper, &frame);
	else
		take_worker_frame(keeper, &frame);
}

static void lose_worker(struct dn_keeper *keeper, const struct dn_child_end *end)
{
	const bool was_ready = keeper->state == DN_KEEPER_READY;
	char why[sizeof(end->words) + 32];

	(void)snprintf(why, sizeof(why), "the worker ended: %s", end->words);
	keeper->ready.restarts++;
	/* One that was ready could be loaded: it is tried again for ever, though not all the time. */
	if (was_ready && dn_clock_ns() - keeper->ready_ns > YOUNG_NS)
		keeper->failures = 0;
	else if (was_ready)
		keeper->failures = DN_MIN(keeper->failures, RETRY_DOUBLE);
	drop_worker(keeper);
	if (was_ready)
		keeper->events.lost(keeper->events.context, keeper, why);
	/* It may have been released by whom that was told. */
	if (keeper->state == DN_KEEPER_READY || keeper->state == DN_KEEPER_STARTING)
		retry(keeper, why);
}

void dn_keeper_reap(struct dn_keeper *keeper)
{
	struct dn_child_end end;

	if (keeper->loader.child.pid > 0 &&
	    dn_child_wait(&keeper->loader.child, 0, &end, NULL) > 0) {
		char why[sizeof(end.words) + 32];

		(void)snprintf(why, sizeof(why), "the loader ended: %s", end.words);
		fail(keeper, why);
	}
	if (keeper->worker.child.pid > 0 && dn_child_wait(&keeper->worker.child, 0, &end, NULL) > 0)
		lose_worker(keeper, &end);
}

void dn_keeper_kill_worker(struct dn_keeper *keeper)
{
	if (keeper->worker.child.pid > 0)
		(void)kill(keeper->worker.child.pid, SIGKILL);
}

int dn_keeper_init(struct dn_keeper *keeper, struct event_base *base,
		   const struct dn_serve_options *options, const struct dn_serve_model *model,
		   uint32_t number, const struct dn_cgroup_limits *groups,
		   const struct dn_keeper_events *events, struct dn_error *err)
{
	*keeper = (struct dn_keeper){
		.base = base,
		.options = options,
		.model = model,
		.events = *events,
		.number = number,
		.groups = groups,
		.loader = DN_PROCESS_INIT,
		.worker = DN_PROCESS_INIT,
		.weights = -1,
	};
	keeper->retry = evtimer_new(base, on_retry, keeper);
	return keeper->retry ? 0 : dn_error_memory(err, "a timer", 1);
}

void dn_keeper_done(struct dn_keeper *keeper)
{
	if (!keeper->retry)
		return;
	dn_keeper_release(keeper);
	event_free(keeper->retry);
	keeper->retry = NULL;
}
