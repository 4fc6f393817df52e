/* SPDX-License-Identifier: MIT */
/* dunlin logits: the numbers behind the words, for comparison with other engines. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/client.h"

/* Rows of logits a step gives: memory for each is four bytes times the vocabulary. */
#define ROWS_A_STEP 32

struct values {
	struct dn_model_options model;
	const char *tokens;
	const char *output;
};

static const struct dn_option options[] = {
	{ .name = "tokens",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, tokens),
	  .argument = "IDS",
	  .help = "token ids, such as 1,2,3" },
	{ .name = "output",
	  .letter = 'o',
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, output),
	  .argument = "FILE",
	  .help = "where to write (default: standard output)" },
	DN_OPTION_THREADS(struct values),
	DN_OPTION_CONTEXT(struct values),
	DN_OPTION_KV(struct values),
	DN_OPTION_MEMORY(struct values),
	DN_OPTION_LORA(struct values),
	DN_OPTION_SANDBOX(struct values),
};

/* "1,2,3", with blanks where people put them. */
static int parse_ids(const char *text, struct dn_buffer *ids)
{
	for (;;) {
		unsigned long long id;
		uint32_t narrow;
		char *end;

		text += strspn(text, " \n");
		if (*text < '0' || *text > '9')
			return -EINVAL;
		errno = 0;
		id = strtoull(text, &end, 10);
		if (errno != 0 || id >= UINT32_MAX)
			return -EINVAL;
		narrow = (uint32_t)id;
		if (dn_buffer_append(ids, &narrow, sizeof(narrow)) < 0)
			return -E2BIG;
		text = end + strspn(end, " \n");
		if (*text == '\0')
			return 0;
		if (*text++ != ',')
			return -EINVAL;
	}
}

static int write_out(int fd, const char *data, size_t size, const char *name, struct dn_error *err)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return dn_error_errno(err, errno, "write '%s'", name);
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

static int receive_rows(struct dn_client *client, const struct dn_frame *request, int out,
			const char *name, struct dn_error *err)
{
	uint32_t done = 0;

	for (;;) {
		DN_AUTO_MAPPED struct dn_mapped rows = { NULL, 0 };
		DN_AUTO_FD int fd = -1;
		struct dn_frame frame;
		int r;

		r = dn_client_expect(client, request->request, DN_FRAME_LOGITS_OUT, &frame, &fd,
				     err);
		if (r < 0)
			return r;
		if (frame.u.rows.first != done || frame.u.rows.columns != client->loaded.vocabulary)
			return dn_error_set(err, EPROTO, "the worker sent rows out of order");
		r = dn_mapped_open(fd, frame.attachment, &rows, err);
		if (r < 0)
			return dn_error_prefix(err, -EPROTO, "the worker sent nonsense");
		r = write_out(out, rows.data, rows.size, name, err);
		if (r < 0)
			return r;
		done += frame.u.rows.count;
		if (done == frame.u.rows.total)
			return 0;
	}
}

static int compute(const struct dn_invocation *invocation, const struct dn_buffer *ids, int out,
		   const char *name, struct dn_error *err)
{
	const struct values *values = invocation->values;
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	struct dn_frame_load load;
	struct dn_frame frame;
	int r;

	dn_client_load_options(&values->model, &load);
	load.outputs = ROWS_A_STEP;
	r = dn_client_open(&client, invocation->args[0], &values->model, &load, err);
	if (r < 0)
		return r;
	dn_client_request(&client, &frame, DN_FRAME_LOGITS);
	r = dn_client_send(&client, &frame, ids->data, ids->size, err);
	if (r < 0)
		return r;
	return receive_rows(&client, &frame, out, name, err);
}

/* As open() would have it: mkostemp() lets nobody else read, whatever the user's mask says. */
static int set_mode(int fd)
{
	const mode_t mask = umask(077);

	(void)umask(mask);
	return fchmod(fd, 0666 & ~mask);
}

/* A new name only for what is whole; a device or a pipe is written as it is. */
static int compute_file(const struct dn_invocation *invocation, const struct dn_buffer *ids,
			const char *path, struct dn_error *err)
{
	DN_AUTO_FD int fd = -1;
	char temporary[4096];
	struct stat st;
	bool in_place = stat(path, &st) == 0 && !S_ISREG(st.st_mode);
	int n = snprintf(temporary, sizeof(temporary), in_place ? "%s" : "%s.XXXXXX", path);
	int r;

	if (n < 0 || (size_t)n >= sizeof(temporary))
		return dn_error_set(err, ENAMETOOLONG, "output: the path is too long");
	fd = in_place ? open(path, O_WRONLY | O_CLOEXEC) : mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return dn_error_errno(err, errno, "create '%s'", path);
	r = compute(invocation, ids, fd, path, err);
	if (in_place)
		return r;
	if (r >= 0 && (set_mode(fd) < 0 || close(dn_steal_fd(&fd)) < 0))
		r = dn_error_errno(err, errno, "write '%s'", path);
	if (r >= 0 && rename(temporary, path) < 0)
		r = dn_error_errno(err, errno, "rename to '%s'", path);
	if (r < 0)
		(void)unlink(temporary);
	return r;
}

static int run(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	DN_AUTO_BUFFER struct dn_buffer ids =
		DN_BUFFER_INIT(DN_LOAD_CONTEXT_MAX * sizeof(uint32_t));
	struct dn_error err = DN_ERROR_INIT;
	int r;

	if (!values->tokens || parse_ids(values->tokens, &ids) < 0) {
		(void)fprintf(stderr,
			      "dunlin: logits: --tokens takes ids with commas between, such as "
			      "1,2,3\n");
		return DN_EXIT_USAGE;
	}
	if (!values->output && isatty(STDOUT_FILENO)) {
		(void)fprintf(stderr, "dunlin: logits: float32 numbers are not for a terminal; use "
				      "--output FILE or a pipe\n");
		return DN_EXIT_USAGE;
	}
	r = values->output ? compute_file(invocation, &ids, values->output, &err)
			   : compute(invocation, &ids, STDOUT_FILENO, "standard output", &err);
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_logits = {
	.name = "logits",
	.arguments = "MODEL --tokens IDS",
	.summary = "Write the logits after each of some tokens.",
	.details = "Little-endian float32, [tokens, vocabulary]. The tokens are fed as they are, "
		   "from\n"
		   "position 0, with the kernels and the cache that 'run' uses.\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.min_args = 1,
	.max_args = 1,
	.values_size = sizeof(struct values),
	.run = run,
};
