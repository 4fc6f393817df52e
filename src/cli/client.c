/* SPDX-License-Identifier: MIT */
/* A worker process and the conversation with it. */

#include "cli/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/prepared.h"
#include "device/cpu.h"
#include "device/realtime.h"
#include "channel/frames.h"

#define END_WAIT_MS 2000

int dn_client_start(struct dn_client *client, bool no_sandbox, struct dn_error *err)
{
	char *const jailed[] = { "dunlin", "worker", NULL };
	char *const free_running[] = { "dunlin", "worker", "--no-sandbox", NULL };
	DN_AUTO_CHANNEL struct dn_channel theirs = DN_CHANNEL_INIT;
	struct dn_spawn_descriptor descriptors[2];
	struct dn_spawn_options options = {
		.path = "/proc/self/exe",
		.program_fd = -1,
		.arguments = no_sandbox ? free_running : jailed,
		.descriptors = descriptors,
		.descriptor_count = DN_ARRAY_SIZE(descriptors),
	};
	int r;

	client->greeted = false;
	r = dn_channel_pair(&client->channel, &theirs, err);
	if (r < 0)
		return r;
	descriptors[0] = (struct dn_spawn_descriptor){ theirs.fd, DN_CHANNEL_FD };
	/* For the last words of a sanitizer or of the C library; the worker itself has none. */
	descriptors[1] = (struct dn_spawn_descriptor){ STDERR_FILENO, STDERR_FILENO };
	return dn_spawn(&options, &client->child, err);
}

/* The worker closed its end: say how it ended. */
static int bury(struct dn_client *client, struct dn_error *err)
{
	struct dn_child_end end;

	if (dn_child_wait(&client->child, END_WAIT_MS, &end, NULL) > 0)
		return dn_error_set(err, EOWNERDEAD, "the worker ended: %s", end.words);
	dn_child_done(&client->child);
	return dn_error_set(err, EOWNERDEAD, "the worker closed its channel");
}

void dn_client_stop(struct dn_client *client)
{
	struct dn_child_end end;

	/* The worker sees the end of the channel, and goes; at most one step later. */
	dn_channel_done(&client->channel);
	if (client->child.pid > 0 && dn_child_wait(&client->child, END_WAIT_MS, &end, NULL) <= 0)
		dn_child_done(&client->child);
}

void dn_client_request(struct dn_client *client, struct dn_frame *frame, enum dn_frame_type type)
{
	dn_frame_init(frame, type, ++client->last_request);
}

/* A worker that is gone is the reason, whatever the socket says. */
int dn_client_send_file(struct dn_client *client, const struct dn_frame *frame, int fd,
			struct dn_error *err)
{
	int r = dn_channel_send(&client->channel, frame, sizeof(*frame), fd, err);

	return r == -EPIPE ? bury(client, err) : r;
}

int dn_client_send(struct dn_client *client, struct dn_frame *frame, const void *data, size_t size,
		   struct dn_error *err)
{
	DN_AUTO_FD int fd = -1;
	int r = dn_attach(data, size, &fd, err);

	if (r < 0)
		return r;
	frame->attachment = size;
	return dn_client_send_file(client, frame, fd, err);
}

/* Until a descriptor has something to read, or the user has had enough. */
static int wait_for(const struct dn_client *client, int fd, struct dn_error *err)
{
	struct pollfd fds[2] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = client->interrupt_fd, .events = POLLIN },
	};
	struct signalfd_siginfo signal_info;
	int r;

	do
		r = poll(fds, client->interrupt_fd >= 0 ? 2 : 1, -1);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return dn_error_errno(err, errno, "wait for the worker");
	if (client->interrupt_fd >= 0 && fds[1].revents &&
	    read(client->interrupt_fd, &signal_info, sizeof(signal_info)) > 0)
		return dn_error_set(err, EINTR, "interrupted");
	return 0;
}

static int greet(struct dn_client *client, const struct dn_frame *frame, struct dn_error *err)
{
	if (client->greeted || frame->type != DN_FRAME_HELLO)
		return dn_error_set(err, EPROTO, "the worker does not begin with HELLO");
	if (frame->u.hello.version != DN_CHANNEL_VERSION)
		return dn_error_set(err, EPROTO,
				    "the worker speaks version %u of the channel, this program %d",
				    frame->u.hello.version, DN_CHANNEL_VERSION);
	client->hello = frame->u.hello;
	client->greeted = true;
	return 0;
}

int dn_client_receive(struct dn_client *client, struct dn_frame *ret_frame, int *ret_fd,
		      struct dn_error *err)
{
	for (;;) {
		DN_AUTO_FD int fd = -1;
		int r;

		if (client->interrupt_fd >= 0) {
			r = wait_for(client, client->channel.fd, err);
			if (r < 0)
				return r;
		}
		r = dn_channel_receive(&client->channel, ret_frame, sizeof(*ret_frame), &fd, err);
		if (r == 0 || r == -ECONNRESET)
			return bury(client, err);
		if (r == -EBADMSG)
			return dn_error_prefix(err, -EPROTO, "the worker sent nonsense");
		if (r < 0)
			return r;
		r = dn_frame_check(ret_frame, DN_FRAME_FROM_WORKER, fd >= 0, err);
		if (r < 0)
			return dn_error_prefix(err, -EPROTO, "the worker sent nonsense");
		if (ret_frame->type == DN_FRAME_ERROR && ret_frame->request == 0)
			return dn_error_set(err, EPROTO, "the worker: %s",
					    ret_frame->u.error.message);
		if (client->greeted) {
			*ret_fd = dn_steal_fd(&fd);
			return 0;
		}
		r = greet(client, ret_frame, err);
		if (r < 0)
			return r;
	}
}

int dn_client_failure(const struct dn_frame *frame, struct dn_error *err)
{
	int code = frame->u.error.code;

	/* What a request failed with is not to be taken for the worker's own end. */
	if (code == EOWNERDEAD || code == EPROTO || code == EINTR)
		code = EIO;
	return dn_error_set(err, code, "%s", frame->u.error.message);
}

int dn_client_expect(struct dn_client *client, uint64_t request, enum dn_frame_type type,
		     struct dn_frame *ret_frame, int *ret_fd, struct dn_error *err)
{
	DN_AUTO_FD int fd = -1;
	int r;

	r = dn_client_receive(client, ret_frame, &fd, err);
	if (r < 0)
		return r;
	if (ret_frame->type == DN_FRAME_ERROR && ret_frame->request == request)
		return dn_client_failure(ret_frame, err);
	if (ret_frame->type != type || ret_frame->request != request)
		return dn_error_set(err, EPROTO, "the worker answered %s to request %llu",
				    dn_frame_name(ret_frame->type), (unsigned long long)request);
	if (ret_fd)
		*ret_fd = dn_steal_fd(&fd);
	return 0;
}

int dn_client_ask(struct dn_client *client, struct dn_frame *frame, const void *data, size_t size,
		  enum dn_frame_type answer, struct dn_mapped *ret_mapped, struct dn_error *err)
{
	struct dn_frame reply;
	DN_AUTO_FD int fd = -1;
	int r;

	r = dn_client_send(client, frame, data, size, err);
	if (r < 0)
		return r;
	r = dn_client_expect(client, frame->request, answer, &reply, &fd, err);
	if (r < 0)
		return r;
	r = dn_mapped_open(fd, reply.attachment, ret_mapped, err);
	return r == -EBADMSG ? dn_error_prefix(err, -EPROTO, "the worker sent nonsense") : r;
}

void dn_client_load_options(const struct dn_model_options *options, struct dn_frame_load *ret_load)
{
	memset(ret_load, 0, sizeof(*ret_load));
	ret_load->depth = DN_LOAD_WEIGHTS;
	ret_load->threads = options->threads;
	ret_load->context = options->context;
	ret_load->kv = options->kv;
	ret_load->memory = options->memory;
}

int dn_client_add_file(struct dn_client *client, int fd, const struct dn_frame_file *file,
		       struct dn_error *err)
{
	struct dn_frame frame;
	int r;

	dn_client_request(client, &frame, DN_FRAME_FILE);
	frame.u.file = *file;
	r = dn_client_send_file(client, &frame, fd, err);
	if (r < 0)
		return r;
	return dn_client_expect(client, frame.request, DN_FRAME_READY, &frame, NULL, err);
}

/* Begins to check what of a prepared model is going to be read. */
static int begin_check(const struct dn_client *client, const struct dn_cli_model *model,
		       const struct dn_frame_load *load, struct dn_seal_check **ret_check,
		       struct dn_error *err)
{
	const bool all = load->depth == DN_LOAD_WEIGHTS;
	const uint32_t threads = load->threads ? load->threads : dn_cli_default_threads();

	if (!model->prepared || client->no_verify)
		return 0;
	return dn_seal_check_begin(model->fds[0], &model->seal,
				   all ? model->seal.bytes : model->seal.head_bytes, threads,
				   ret_check, err);
}

static int end_check(struct dn_client *client, struct dn_seal_check *check, uint64_t begin_ns,
		     struct dn_error *err)
{
	int r = wait_for(client, dn_seal_check_fd(check), err);

	if (r < 0) {
		(void)dn_seal_check_end(check, NULL);
		return r;
	}
	r = dn_seal_check_end(check, err);
	client->verify_ns = dn_cli_now() - begin_ns;
	return r;
}

int dn_client_load(struct dn_client *client, const struct dn_cli_model *model,
		   const struct dn_frame_load *load, struct dn_error *err)
{
	const struct dn_frame_file part = { .kind = DN_FILE_PART };
	const uint64_t begin = dn_cli_now();
	struct dn_seal_check *check = NULL;
	struct dn_frame frame;
	uint64_t request;
	int r;

	client->verify_ns = 0;
	for (uint32_t i = 1; i < model->n_fds; i++) {
		r = dn_client_add_file(client, model->fds[i], &part, err);
		if (r < 0)
			return r;
	}
	dn_client_request(client, &frame, DN_FRAME_LOAD);
	frame.u.load = *load;
	frame.u.load.prepared = model->prepared;
	request = frame.request;
	r = dn_client_send_file(client, &frame, model->fds[0], err);
	if (r >= 0)
		r = begin_check(client, model, load, &check, err);
	if (r < 0)
		return r;
	r = dn_client_expect(client, request, DN_FRAME_LOADED, &frame, NULL, err);
	if (r >= 0 && check)
		r = end_check(client, check, begin, err);
	else if (check)
		(void)dn_seal_check_end(check, NULL);
	if (r < 0)
		return r;
	client->loaded = frame.u.loaded;
	return 0;
}

static int add_adapters(struct dn_client *client, const struct dn_option_list *adapters,
			struct dn_error *err)
{
	for (uint32_t i = 0; i < adapters->count; i++) {
		struct dn_frame_file file = { .kind = DN_FILE_ADAPTER };
		DN_AUTO_FD int fd = -1;
		int r;

		r = dn_cli_open_adapter(adapters->items[i], &fd, &file.scale, err);
		if (r >= 0)
			r = dn_client_add_file(client, fd, &file, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int dn_client_place_threads(struct dn_frame_load *load, struct dn_error *err)
{
	uint32_t n = dn_cpu_spread("", load->cpus, load->threads);

	if (n < load->threads)
		return dn_error_set(
			err, EINVAL,
			"--realtime gives each thread a CPU of its own: %u threads, and "
			"%u CPUs that this process may use",
			load->threads, n);
	load->realtime = 1;
	return 0;
}

void dn_client_note_unlocked(const struct dn_client *client, const struct dn_verb *verb)
{
	const uint64_t needed = client->loaded.planned_bytes;
	const uint64_t lockable = dn_realtime_lockable();

	if (client->loaded.unlocked == 0)
		return;
	dn_cli_note(
		verb,
		"memory is not locked (%s): where it gets short, answers may wait for pages. Up "
		"to %llu MiB are needed, RLIMIT_MEMLOCK is %llu MiB: 'ulimit -l unlimited' "
		"(limits.conf: memlock), or LimitMEMLOCK=infinity in a systemd unit",
		strerror((int)client->loaded.unlocked), (unsigned long long)needed >> 20,
		(unsigned long long)lockable >> 20);
}

/* The model runs all the same, more slowly at its start. */
static void tell_unused(const char *model, const struct dn_error *why)
{
	(void)fprintf(stderr, "dunlin: the prepared form of '%.128s' is not used: %s\n", model,
		      why->message);
}

static int start_and_open(struct dn_client *client, const char *model,
			  const struct dn_model_options *options, struct dn_frame_load *load,
			  struct dn_cli_model *ret_files, struct dn_error *err)
{
	/* Before the worker is there, which inherits it. */
	int r = options->realtime ? dn_realtime_enter(err) : 0;

	/* First of all the process: it gets ready while file and machine are looked up. */
	if (r >= 0)
		r = dn_client_start(client, options->no_sandbox, err);
	if (r < 0)
		return r;
	client->no_verify = options->no_verify;
	if (load->threads == 0 && load->depth != DN_LOAD_HEADER)
		load->threads = dn_cli_default_threads();
	if (options->realtime)
		r = dn_client_place_threads(load, err);
	if (r < 0)
		return r;
	r = dn_cli_open_model(model, ret_files, err);
	return r < 0 ? r : add_adapters(client, &options->lora, err);
}

/*
 * From the prepared form that the cache may have. Return: 1 where that was loaded; 0 where there is
 * none; a negative errno where there is one that cannot be used, for whatever reason.
 */
static int load_prepared(struct dn_client *client, struct dn_cli_model *files,
			 const struct dn_frame_load *load, struct dn_error *err)
{
	int r;

	if (files->prepared || load->depth != DN_LOAD_WEIGHTS)
		return 0;
	r = dn_cli_find_prepared(files, err);
	if (r < 0 || !files->prepared)
		return r;
	r = dn_client_load(client, files, load, err);
	return r < 0 ? r : 1;
}

static int load_files(struct dn_client *client, const char *model, const struct dn_cli_model *files,
		      const struct dn_frame_load *load, struct dn_error *err)
{
	int r = dn_client_load(client, files, load, err);

	return r < 0 && r != -EOWNERDEAD && r != -EPROTO && r != -EINTR
		       ? dn_error_prefix(err, r, "model '%.128s'", model)
		       : r;
}

int dn_client_open(struct dn_client *client, const char *model,
		   const struct dn_model_options *options, struct dn_frame_load *load,
		   struct dn_error *err)
{
	DN_AUTO_MODEL_FILES struct dn_cli_model files = { .n_fds = 0 };
	struct dn_error why = DN_ERROR_INIT;
	int r = start_and_open(client, model, options, load, &files, err);

	if (r < 0)
		return r;
	r = load_prepared(client, &files, load, &why);
	if (r > 0)
		return 0;
	if (r == 0)
		return load_files(client, model, &files, load, err);
	if (r == -EINTR) {
		*err = why;
		return r;
	}
	/* A worker loads once. What was wrong may have been the memory, or whatever: then it is again. */
	dn_client_stop(client);
	dn_cli_close_model(&files);
	r = start_and_open(client, model, options, load, &files, err);
	if (r >= 0)
		r = load_files(client, model, &files, load, err);
	if (r >= 0)
		tell_unused(model, &why);
	return r;
}
