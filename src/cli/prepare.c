/* SPDX-License-Identifier: MIT */
/*
 * dunlin prepare: weights re-laid once, for every start after it. dunlin restore: the files back.
 *
 * A jailed worker reads the model and writes the prepared form into a file without a name; this
 * process, which parses nothing of it, seals the file, has another worker give the model back from
 * it, and gives it its name where that is the model.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/prepared.h"
#include "store/digest.h"
#include "store/new-file.h"

#define PROGRESS_MS 200
/* A form is as large as the model; what it has beside grows with tables and alignment. */
#define SLACK_BYTES ((uint64_t)64 << 20)

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

/* Has the worker write a file; @frame becomes its answer. */
static int have_written(struct dn_client *client, struct dn_frame *frame, int fd, uint64_t bytes,
			enum dn_frame_type answer, struct dn_error *err)
{
	const char *what = answer == DN_FRAME_PREPARED ? "preparing" : "restoring";
	int r = dn_client_send_file(client, frame, fd, err);

	if (r < 0)
		return r;
	show_progress(client, fd, bytes, what);
	return dn_client_expect(client, frame->request, answer, frame, NULL, err);
}

/* A worker that has opened a model, or its prepared form, all of which was checked. */
static int open_worker(const struct values *values, const struct dn_cli_model *files,
		       struct dn_client *client, struct dn_error *err)
{
	const struct dn_frame_load load = { .depth = DN_LOAD_FILE };
	int r = 0;

	if (files->prepared)
		r = dn_seal_check(files->fds[0], &files->seal, dn_cli_default_threads(), err);
	if (r >= 0)
		r = dn_client_start(client, values->model.no_sandbox, err);
	return r < 0 ? r : dn_client_load(client, files, &load, err);
}

/* The digest of the model's files, from the record where they were seen before. */
static int digest_of(const struct dn_prepared_store *store, const struct dn_cli_model *files,
		     const struct dn_digest *identity, struct dn_digest *ret_digest,
		     struct dn_error *err)
{
	struct dn_error ignored = DN_ERROR_INIT;

	if (dn_prepared_recall(store, identity, ret_digest, &ignored) >= 0)
		return 0;
	return dn_digest_files(files->fds, files->n_fds, ret_digest, err);
}

/* That what the worker has read is what has the digest. */
static int check_unchanged(const struct dn_cli_model *files, const struct dn_digest *identity,
			   struct dn_error *err)
{
	struct dn_digest now;
	int r = dn_files_identity(files->fds, files->n_fds, &now, err);

	if (r >= 0 && memcmp(&now, identity, sizeof(now)) != 0)
		return dn_error_set(err, EBUSY, "the model's file changes while it is read");
	return r;
}

/* Bytes of a file that a worker gives back are read from a pipe, and kept nowhere. */
static int digest_given_back(struct dn_client *client, uint32_t file, struct dn_digest *ret_digest,
			     struct dn_error *err)
{
	struct dn_frame frame;
	int ends[2];
	int r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return dn_error_errno(err, errno, "make a pipe");
	dn_client_request(client, &frame, DN_FRAME_GIVE_BACK);
	frame.u.give_back.file = file;
	r = dn_client_send_file(client, &frame, ends[1], err);
	close(ends[1]);
	if (r >= 0)
		r = dn_digest_stream(ends[0], ret_digest, err);
	close(ends[0]);
	return r < 0 ? r
		     : dn_client_expect(client, frame.request, DN_FRAME_READY, &frame, NULL, err);
}

/* That a new worker gets the model out of the prepared form: it may be all that is kept. */
static int check_gives_back(const struct values *values, const struct dn_cli_model *prepared,
			    struct dn_error *err)
{
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	struct dn_digest each[DN_FILE_PARTS_MAX];
	struct dn_digest digest;
	int r = open_worker(values, prepared, &client, err);

	for (uint32_t i = 0; r >= 0 && i < client.loaded.n_files; i++)
		r = digest_given_back(&client, i, &each[i], err);
	if (r >= 0)
		r = dn_digest_join(each, client.loaded.n_files, &digest, err);
	if (r >= 0 && memcmp(&digest, &prepared->seal.source, sizeof(digest)) != 0)
		return dn_error_set(err, EIO,
				    "what comes back from the prepared form is not the "
				    "model: please report this");
	return r;
}

/* The worker that reads the model writes, and ends before anything of it is trusted. */
static int write_form(const struct values *values, const struct dn_cli_model *files, int fd,
		      uint64_t *ret_head_bytes, struct dn_error *err)
{
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	struct dn_frame frame;
	uint64_t bytes = 0;
	int r;

	for (uint32_t i = 0; i < files->n_fds; i++)
		bytes += size_of(files->fds[i]);
	r = open_worker(values, files, &client, err);
	if (r < 0)
		return r;
	dn_client_request(&client, &frame, DN_FRAME_PREPARE);
	r = have_written(&client, &frame, fd, bytes, DN_FRAME_PREPARED, err);
	if (r < 0)
		return r;
	*ret_head_bytes = frame.u.prepared.head_bytes;
	dn_client_stop(&client);
	if (size_of(fd) > bytes + bytes / 10 + SLACK_BYTES)
		return dn_error_set(err, EPROTO, "the worker wrote more than there is to write");
	return 0;
}

/**
 * struct source - the model that is prepared
 * @name: as it was given
 * @identity: that its files had when their digest was taken
 */
struct source {
	const char *name;
	struct dn_cli_model files;
	struct dn_digest identity;
	struct dn_digest digest;
};

static void source_done(struct source *source)
{
	dn_cli_close_model(&source->files);
}

static int write_prepared(const struct values *values, const struct source *source,
			  const struct dn_key *key, const char *path, struct dn_error *err)
{
	DN_AUTO_NEW_FILE struct dn_new_file file = DN_NEW_FILE_INIT;
	DN_AUTO_SEAL struct dn_seal seal = DN_SEAL_INIT;
	uint64_t head_bytes = 0;
	int r;

	r = dn_new_file_begin(&file, path, err);
	if (r < 0)
		return r;
	r = write_form(values, &source->files, file.fd, &head_bytes, err);
	if (r >= 0)
		r = check_unchanged(&source->files, &source->identity, err);
	if (r < 0)
		return dn_error_prefix(err, r, "model '%.128s'", source->name);
	r = dn_seal_append(file.fd, key, &source->digest, head_bytes, err);
	if (r >= 0)
		r = dn_seal_open(file.fd, key, &seal, err);
	if (r >= 0) {
		const struct dn_cli_model form = {
			.fds = { file.fd }, .n_fds = 1, .prepared = true, .seal = seal
		};

		r = check_gives_back(values, &form, err);
	}
	/* The cache's is ours to replace; what a user names was looked at. */
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

/* 1: a form of that model is there, whole, and of this version; 0: none is, or one to be replaced. */
static int look_at_old(const struct values *values, const char *path, const struct dn_key *key,
		       const struct dn_digest *digest, struct dn_error *err)
{
	DN_AUTO_MODEL_FILES struct dn_cli_model old = { .n_fds = 0 };
	struct dn_error why = DN_ERROR_INIT;
	int r = dn_cli_open_sealed(path, key, digest, &old, &why);

	if (r == -ENOENT)
		return 0;
	/* The cache is ours; a user's file is replaced only where it is this model's. */
	if (r < 0 && values->output)
		return dn_error_set(err, EEXIST,
				    "'%.160s' exists, and is no prepared form of this "
				    "model (%.160s): remove it, or choose another name",
				    path, why.message);
	return r >= 0 && check_gives_back(values, &old, &why) >= 0;
}

static int output_path(const struct values *values, const struct dn_prepared_store *store,
		       const struct dn_digest *digest, char *path, struct dn_error *err)
{
	if (!values->output)
		return dn_prepared_path(store, digest, path, err);
	if (strlen(values->output) >= PATH_MAX)
		return dn_error_set(err, ENAMETOOLONG, "the path of the output is too long");
	(void)snprintf(path, PATH_MAX, "%s", values->output);
	return 0;
}

static int open_source(const char *model, const struct dn_prepared_store *store,
		       struct source *source, struct dn_error *err)
{
	int r = dn_cli_open_model(model, &source->files, err);

	source->name = model;
	if (r >= 0 && source->files.prepared)
		r = dn_error_set(err, EALREADY, "model '%.128s' is prepared already", model);
	if (r >= 0)
		r = dn_files_identity(source->files.fds, source->files.n_fds, &source->identity,
				      err);
	if (r >= 0)
		r = digest_of(store, &source->files, &source->identity, &source->digest, err);
	return r;
}

static int prepare(const struct dn_invocation *invocation, struct dn_error *err)
{
	const struct values *values = invocation->values;
	const uint64_t begin = dn_cli_now();
	DN_AUTO_STORE struct dn_cli_store store = { .folder = "" };
	DN_AUTO(source_done) struct source source = { .name = "" };
	char path[PATH_MAX];
	bool made = false;
	int r;

	r = dn_cli_store_open(&store, true, err);
	if (r >= 0)
		r = open_source(invocation->args[0], &store.store, &source, err);
	if (r >= 0)
		r = output_path(values, &store.store, &source.digest, path, err);
	if (r >= 0)
		r = look_at_old(values, path, &store.key, &source.digest, err);
	if (r == 0) {
		made = true;
		r = write_prepared(values, &source, &store.key, path, err);
	}
	if (r >= 0 && !values->output) {
		r = dn_prepared_record(&store.store, &source.identity, &source.digest, err);
		dn_prepared_drop_others(&store.store, &source.digest);
	}
	if (r < 0)
		return r;
	return tell(values, path, &source.digest, made, 1e-9 * (double)(dn_cli_now() - begin), err);
}

static int run_prepare(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	struct dn_error err = DN_ERROR_INIT;
	int r;

	if (values->output && !dn_cli_ends_in(values->output, DN_PREPARED_SUFFIX)) {
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
	return access(path, F_OK) < 0
		       ? 0
		       : dn_error_set(err, EEXIST, "'%.160s' exists: nothing is written over it",
				      path);
}

/**
 * struct restored - the files of a model in the making
 * @files: owned, @n of them
 */
struct restored {
	struct dn_new_file *files;
	uint32_t n;
};

static void restored_done(struct restored *restored)
{
	for (uint32_t i = 0; i < restored->n; i++)
		dn_new_file_done(&restored->files[i]);
	free(restored->files);
}

/* All names are looked at before anything is written. */
static int begin_files(const char *output, uint32_t n, struct restored *restored,
		       struct dn_error *err)
{
	const struct dn_new_file none = DN_NEW_FILE_INIT;
	char path[PATH_MAX];
	int r = 0;

	restored->files = calloc(n, sizeof(*restored->files));
	if (!restored->files)
		return dn_error_memory(err, "restoring", n * sizeof(*restored->files));
	for (uint32_t i = 0; i < n; i++)
		restored->files[i] = none;
	restored->n = n;
	for (uint32_t i = 0; r >= 0 && i < n; i++)
		r = part_path(output, i, n, path, err);
	for (uint32_t i = 0; r >= 0 && i < n; i++) {
		r = part_path(output, i, n, path, err);
		if (r >= 0)
			r = dn_new_file_begin(&restored->files[i], path, err);
	}
	return r;
}

static int restore_file(struct dn_client *client, uint32_t number, int fd, uint64_t bytes,
			struct dn_error *err)
{
	struct dn_frame frame;

	dn_client_request(client, &frame, DN_FRAME_GIVE_BACK);
	frame.u.give_back.file = number;
	return have_written(client, &frame, fd, bytes, DN_FRAME_READY, err);
}

/* What is written is the model, or it gets no name. */
static int check_restored(const struct restored *restored, const struct dn_digest *source,
			  struct dn_error *err)
{
	int fds[DN_FILE_PARTS_MAX];
	struct dn_digest digest;
	int r;

	for (uint32_t i = 0; i < restored->n; i++)
		fds[i] = restored->files[i].fd;
	r = dn_digest_files(fds, restored->n, &digest, err);
	if (r >= 0 && memcmp(&digest, source, sizeof(digest)) != 0)
		return dn_error_set(err, EIO,
				    "what comes back is not the model: please report this");
	return r;
}

static int name_files(const struct restored *restored, struct dn_error *err)
{
	const mode_t mask = umask(0);
	int r = 0;

	(void)umask(mask);
	for (uint32_t i = 0; r >= 0 && i < restored->n; i++) {
		(void)fchmod(restored->files[i].fd, 0666 & ~mask);
		r = dn_new_file_commit(&restored->files[i], false, err);
		if (r >= 0)
			printf("%s\n", restored->files[i].path);
	}
	return r;
}

static int restore(const struct dn_invocation *invocation, struct dn_error *err)
{
	const struct values *values = invocation->values;
	DN_AUTO_MODEL_FILES struct dn_cli_model files = { .n_fds = 0 };
	DN_AUTO(restored_done) struct restored restored = { NULL, 0 };
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	int r;

	r = dn_cli_open_model(invocation->args[0], &files, err);
	if (r < 0)
		return r;
	if (!files.prepared)
		return dn_error_set(err, EINVAL,
				    "model '%.128s' is not prepared: nothing to restore",
				    invocation->args[0]);
	r = open_worker(values, &files, &client, err);
	if (r < 0)
		return dn_error_prefix(err, r, "model '%.128s'", invocation->args[0]);
	r = begin_files(invocation->args[1], client.loaded.n_files, &restored, err);
	for (uint32_t i = 0; r >= 0 && i < restored.n; i++)
		r = restore_file(&client, i, restored.files[i].fd, files.seal.bytes / restored.n,
				 err);
	if (r >= 0)
		r = check_restored(&restored, &files.seal.source, err);
	return r < 0 ? r : name_files(&restored, err);
}

static int run_restore(struct dn_invocation *invocation)
{
	struct dn_error err = DN_ERROR_INIT;
	int r;

	if (!dn_cli_ends_in(invocation->args[1], ".gguf")) {
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
