/* SPDX-License-Identifier: MIT */
/*
 * dunlin prepare: weights re-laid once, for every start after it. dunlin restore: the files back.
 *
 * A jailed worker reads the model and writes the prepared form into a file without a name; this
 * process, which parses nothing of it, seals the file and gives it its name.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/prepared.h"
#include "store/new-file.h"

#define PROGRESS_MS 200

struct values {
	struct dn_model_options model;
	const char *output;
	bool json;
};

static const struct dn_option prepare_options[] = {
	{ .name = "output",
	  .letter = 'o',
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, output),
	  .argument = "FILE" DN_PREPARED_SUFFIX,
	  .help = "write this file, a MODEL by itself (default: into the cache)" },
	{ .name = "json",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, json),
	  .help = "as one JSON object" },
	DN_OPTION_SANDBOX(struct values),
};

static const struct dn_option restore_options[] = {
	DN_OPTION_SANDBOX(struct values),
};

static bool ends_with(const char *text, const char *suffix)
{
	const size_t length = strlen(text);
	const size_t n = strlen(suffix);

	return length > n && strcmp(text + length - n, suffix) == 0;
}

static uint64_t size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* How much of a file is there, until the worker answers. */
static void show_progress(const struct dn_client *client, int fd, uint64_t bytes, const char *what)
{
	struct pollfd wait = { .fd = client->channel.fd, .events = POLLIN };

	if (!dn_cli_fancy())
		return;
	while (poll(&wait, 1, PROGRESS_MS) == 0)
		(void)fprintf(stderr, "\r%s: %3.0f %%", what,
			      100.0 * (double)DN_MIN(size_of(fd), bytes) /
				      (double)DN_MAX(bytes, (uint64_t)1));
	(void)fputs("\r\033[K", stderr);
}

/* Has the worker write a file. */
static int have_written(struct dn_client *client, struct dn_frame *frame, int fd, uint64_t bytes,
			const char *what, struct dn_error *err)
{
	int r = dn_client_send_file(client, frame, fd, err);

	if (r < 0)
		return r;
	show_progress(client, fd, bytes, what);
	return dn_client_expect(client, frame->request, DN_FRAME_READY, frame, NULL, err);
}

/* The digest of the model's files, from the record where they were seen before. */
static int digest_of(const struct dn_prepared_store *store, const struct dn_cli_model *files,
		     const struct dn_digest *identity, struct dn_digest *ret_digest,
		     struct dn_error *err)
{
	struct dn_error ignored = DN_ERROR_INIT;
	struct dn_digest now;
	int r;

	if (dn_prepared_recall(store, identity, ret_digest, &ignored) >= 0)
		return 0;
	r = dn_digest_files(files->fds, files->n_fds, ret_digest, err);
	if (r >= 0)
		r = dn_files_identity(files->fds, files->n_fds, &now, err);
	if (r >= 0 && memcmp(&now, identity, sizeof(now)) != 0)
		return dn_error_set(err, EBUSY, "the model's file changes while it is read");
	return r;
}

static int write_prepared(const struct values *values, const char *model,
			  const struct dn_cli_model *files, const struct dn_key *key,
			  const struct dn_digest *digest, const char *path, struct dn_error *err)
{
	DN_AUTO_NEW_FILE struct dn_new_file file = DN_NEW_FILE_INIT;
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	const struct dn_frame_load load = { .depth = DN_LOAD_FILE };
	struct dn_frame frame;
	uint64_t bytes = 0;
	int r;

	for (uint32_t i = 0; i < files->n_fds; i++)
		bytes += size_of(files->fds[i]);
	r = dn_new_file_begin(&file, path, err);
	if (r >= 0)
		r = dn_client_start(&client, values->model.no_sandbox, err);
	if (r >= 0)
		r = dn_client_load(&client, files, &load, err);
	if (r < 0)
		return dn_error_prefix(err, r, "model '%.128s'", model);
	dn_client_request(&client, &frame, DN_FRAME_PREPARE);
	r = have_written(&client, &frame, file.fd, bytes, "preparing", err);
	if (r >= 0)
		r = dn_seal_append(file.fd, key, digest, err);
	return r < 0 ? r : dn_new_file_commit(&file, true, err);
}

static int tell(const struct values *values, const char *path, const struct dn_digest *digest,
		bool made, double seconds, struct dn_error *err)
{
	char text[DN_DIGEST_TEXT];
	struct stat st;
	json_t *json;
	int r;

	if (stat(path, &st) < 0)
		return dn_error_errno(err, errno, "look at '%s'", path);
	dn_digest_text(digest, text);
	if (!values->json) {
		if (made)
			printf("%s\n%.1f MiB, made in %.2f s\n", path, (double)st.st_size / 0x1p20,
			       seconds);
		else
			printf("%s\n%.1f MiB, made before\n", path, (double)st.st_size / 0x1p20);
		return 0;
	}
	json = json_pack("{s:o, s:I, s:s, s:b, s:f}", "path", dn_cli_text_json(path), "bytes",
			 (json_int_t)st.st_size, "sha256", text, "made", made, "seconds", seconds);
	if (!json)
		return dn_error_memory(err, "the answer", 0);
	r = dn_cli_write_json(json, JSON_INDENT(2), err);
	json_decref(json);
	return r;
}

/* Whether a prepared form of that model is there and whole. */
static bool is_whole(const char *path, const struct dn_key *key, const struct dn_digest *digest)
{
	DN_AUTO_SEAL struct dn_seal seal = DN_SEAL_INIT;
	struct dn_error ignored = DN_ERROR_INIT;
	DN_AUTO_FD int fd = -1;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	return fd >= 0 && dn_seal_open(fd, key, &seal, &ignored) >= 0 &&
	       memcmp(&seal.source, digest, sizeof(*digest)) == 0 &&
	       dn_seal_check(fd, &seal, dn_cli_default_threads(), &ignored) >= 0;
}

static int prepare(const struct dn_invocation *invocation, struct dn_error *err)
{
	const struct values *values = invocation->values;
	const uint64_t begin = dn_cli_now();
	DN_AUTO_MODEL_FILES struct dn_cli_model files = { .n_fds = 0 };
	DN_AUTO_STORE struct dn_cli_store store = { .folder = "" };
	struct dn_digest identity, digest;
	char path[PATH_MAX];
	bool made = false;
	int r;

	r = dn_cli_open_model(invocation->args[0], &files, err);
	if (r >= 0 && files.prepared)
		r = dn_error_set(err, EALREADY, "model '%.128s' is prepared already",
				 invocation->args[0]);
	if (r >= 0)
		r = dn_cli_store_open(&store, true, err);
	if (r >= 0)
		r = dn_files_identity(files.fds, files.n_fds, &identity, err);
	if (r >= 0)
		r = digest_of(&store.store, &files, &identity, &digest, err);
	if (r >= 0 && values->output)
		(void)snprintf(path, sizeof(path), "%s", values->output);
	else if (r >= 0)
		r = dn_prepared_path(&store.store, &digest, path, err);
	if (r < 0)
		return r;
	if (!is_whole(path, &store.key, &digest)) {
		r = write_prepared(values, invocation->args[0], &files, &store.key, &digest, path,
				   err);
		made = true;
	}
	if (r >= 0 && !values->output)
		r = dn_prepared_record(&store.store, &identity, &digest, err);
	if (r < 0)
		return r;
	return tell(values, path, &digest, made, 1e-9 * (double)(dn_cli_now() - begin), err);
}

static int run_prepare(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	struct dn_error err = DN_ERROR_INIT;
	int r;

	if (values->output && !ends_with(values->output, DN_PREPARED_SUFFIX)) {
		(void)dn_error_set(&err, EINVAL, "--output '%.128s': the name must end in %s",
				   values->output, DN_PREPARED_SUFFIX);
		(void)dn_cli_fail(invocation->verb, -EINVAL, &err);
		return DN_EXIT_USAGE;
	}
	r = prepare(invocation, &err);
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

/* Of a model in several files, each gets the name that gguf-split would give it. */
static int part_path(const char *output, uint32_t number, uint32_t count, char *path,
		     struct dn_error *err)
{
	int n;

	if (count == 1)
		n = snprintf(path, PATH_MAX, "%s", output);
	else
		n = snprintf(path, PATH_MAX, "%.*s-%05u-of-%05u.gguf",
			     (int)(strlen(output) - strlen(".gguf")), output, number + 1, count);
	if (n < 0 || n >= PATH_MAX)
		return dn_error_set(err, ENAMETOOLONG, "the path of the output is too long");
	return 0;
}

static int restore_file(struct dn_client *client, const char *output, uint32_t number,
			uint64_t bytes, struct dn_error *err)
{
	DN_AUTO_NEW_FILE struct dn_new_file file = DN_NEW_FILE_INIT;
	struct dn_frame frame;
	char path[PATH_MAX];
	int r;

	r = part_path(output, number, client->loaded.n_files, path, err);
	if (r >= 0)
		r = dn_new_file_begin(&file, path, err);
	if (r < 0)
		return r;
	dn_client_request(client, &frame, DN_FRAME_GIVE_BACK);
	frame.u.give_back.file = number;
	r = have_written(client, &frame, file.fd, bytes, "restoring", err);
	if (r >= 0)
		r = dn_new_file_commit(&file, false, err);
	if (r >= 0)
		printf("%s\n", path);
	return r;
}

static int restore(const struct dn_invocation *invocation, struct dn_error *err)
{
	const struct values *values = invocation->values;
	DN_AUTO_MODEL_FILES struct dn_cli_model files = { .n_fds = 0 };
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	const struct dn_frame_load load = { .depth = DN_LOAD_FILE };
	int r;

	r = dn_cli_open_model(invocation->args[0], &files, err);
	if (r < 0)
		return r;
	if (!files.prepared)
		return dn_error_set(err, EINVAL, "model '%.128s' is not prepared: nothing to restore",
				    invocation->args[0]);
	r = dn_client_start(&client, values->model.no_sandbox, err);
	if (r >= 0)
		r = dn_client_load(&client, &files, &load, err);
	if (r < 0)
		return dn_error_prefix(err, r, "model '%.128s'", invocation->args[0]);
	for (uint32_t i = 0; r >= 0 && i < client.loaded.n_files; i++)
		r = restore_file(&client, invocation->args[1], i,
				 files.seal.bytes / client.loaded.n_files, err);
	return r;
}

static int run_restore(struct dn_invocation *invocation)
{
	struct dn_error err = DN_ERROR_INIT;
	int r;

	if (!ends_with(invocation->args[1], ".gguf")) {
		(void)dn_error_set(&err, EINVAL, "'%.128s': the name must end in .gguf",
				   invocation->args[1]);
		(void)dn_cli_fail(invocation->verb, -EINVAL, &err);
		return DN_EXIT_USAGE;
	}
	r = restore(invocation, &err);
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_prepare = {
	.name = "prepare",
	.arguments = "MODEL",
	.summary = "Lay a model's weights out once, so that each start is fast.",
	.details = "The prepared form is kept in $XDG_CACHE_HOME/dunlin/prepared, and used from "
		   "then on\n"
		   "whenever MODEL is. With --output it is a file that stands for the model by "
		   "itself:\n"
		   "MODEL can then be removed, and 'dunlin restore' gives it back, byte for byte.\n"
		   "Only this device can use it: a seal shows that nobody changed it.\n",
	.options = prepare_options,
	.n_options = DN_ARRAY_SIZE(prepare_options),
	.min_args = 1,
	.max_args = 1,
	.values_size = sizeof(struct values),
	.run = run_prepare,
};

const struct dn_verb dn_verb_restore = {
	.name = "restore",
	.arguments = "MODEL" DN_PREPARED_SUFFIX " FILE.gguf",
	.summary = "Give back the file that a prepared model was made from.",
	.details = "Byte for byte. A model in several files gets several again.\n",
	.options = restore_options,
	.n_options = DN_ARRAY_SIZE(restore_options),
	.min_args = 2,
	.max_args = 2,
	.values_size = sizeof(struct values),
	.run = run_restore,
};
