/* SPDX-License-Identifier: MIT */
/* Standard output and standard error: filtered on a terminal, exact elsewhere. */

#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

int dn_cli_fail(const struct dn_verb *verb, int r, const struct dn_error *err)
{
	(void)fprintf(stderr, "dunlin: %s: %s\n", verb->name,
		      err->message[0] != '\0' ? err->message : strerror(-r));
	switch (-r) {
	case EOWNERDEAD:
	case EPROTO:
		return DN_EXIT_WORKER;
	case EINTR:
		return DN_EXIT_INTERRUPTED;
	default:
		return DN_EXIT_FAILED;
	}
}

void dn_cli_note(const struct dn_verb *verb, const char *format, ...)
{
	char text[DN_ERROR_MESSAGE_MAX];
	char safe[DN_ERROR_MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	dn_text_printable(text, strlen(text), safe, sizeof(safe));
	(void)fprintf(stderr, "dunlin: %s: %s\n", verb->name, safe);
}

bool dn_cli_fancy(void)
{
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	return isatty(STDERR_FILENO) && !(no_color && no_color[0] != '\0') &&
	       !(term && strcmp(term, "dumb") == 0);
}

static int write_all(const char *text, size_t size, struct dn_error *err)
{
	while (size > 0) {
		ssize_t n = write(STDOUT_FILENO, text, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return dn_error_errno(err, errno, "write to standard output");
		text += n;
		size -= (size_t)n;
	}
	return 0;
}

int dn_cli_filter(const char *text, size_t size, struct dn_buffer *ret)
{
	while (size > 0) {
		uint32_t point;
		size_t n = dn_utf8_decode(text, size, &point);
		bool hide = dn_point_is_control(point) && point != '\n' && point != '\t';
		char bytes[4];
		int r;

		r = dn_buffer_append(ret, bytes, dn_utf8_encode(hide ? 0xfffd : point, bytes));
		if (r < 0)
			return r;
		text += n;
		size -= n;
	}
	return 0;
}

int dn_cli_write(const char *text, size_t size, struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer buffer = DN_BUFFER_INIT(4 * DN_CLI_TEXT_MAX);
	int r;

	/* What stdio still holds comes first. */
	if (fflush(stdout) != 0)
		return dn_error_errno(err, errno, "write to standard output");
	if (!isatty(STDOUT_FILENO))
		return write_all(text, size, err);
	r = dn_cli_filter(text, size, &buffer);
	if (r == -ENOMEM)
		return dn_error_memory(err, "output", size);
	if (r < 0)
		return dn_error_set(err, -r, "%zu bytes are too many for a terminal", size);
	return write_all(buffer.data, buffer.size, err);
}

json_t *dn_cli_text_json(const char *text)
{
	const size_t size = strlen(text);
	DN_AUTO_FREE char *safe = NULL;

	if (dn_utf8_valid(text, size))
		return json_stringn(text, size);
	/* Three bytes of U+FFFD for each. */
	safe = malloc(3 * size + 1);
	if (!safe)
		return NULL;
	(void)dn_text_printable(text, size, safe, 3 * size + 1);
	return json_string(safe);
}

int dn_cli_write_json(const json_t *json, size_t flags, struct dn_error *err)
{
	/* Nine digits give a float back; times and rates have no more to say. */
	DN_AUTO_FREE char *text = json_dumps(json, flags | JSON_REAL_PRECISION(9));
	int r;

	if (!text)
		return dn_error_memory(err, "JSON output", 0);
	r = dn_cli_write(text, strlen(text), err);
	return r < 0 ? r : dn_cli_write("\n", 1, err);
}

int dn_cli_read_all(int fd, const char *name, struct dn_buffer *buffer, struct dn_error *err)
{
	for (;;) {
		ssize_t n;
		int r;

		r = dn_buffer_reserve(buffer, DN_MIN((size_t)65536, buffer->max - buffer->size));
		if (r < 0)
			return dn_error_memory(err, name, buffer->size);
		n = read(fd, buffer->data + buffer->size,
			 DN_MIN(buffer->capacity - 1, buffer->max) - buffer->size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return dn_error_errno(err, errno, "read '%s'", name);
		buffer->size += (size_t)n;
		buffer->data[buffer->size] = '\0';
		if (n == 0)
			return 0;
		if (buffer->size == buffer->max)
			return dn_error_set(err, EFBIG, "'%s' is larger than %zu bytes", name,
					    buffer->max - 1);
	}
}

int dn_cli_read_file(const char *path, struct dn_buffer *buffer, struct dn_error *err)
{
	DN_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return dn_error_errno(err, errno, "open '%s'", path);
	return dn_cli_read_all(fd, path, buffer, err);
}

int dn_cli_read_prompt(const char *argument, const char *file, bool raw, struct dn_buffer *prompt,
		       struct dn_error *err)
{
	int r;

	if (argument && strcmp(argument, "-") != 0) {
		r = dn_buffer_append_text(prompt, argument);
		return r < 0 ? dn_error_memory(err, "the prompt", prompt->size) : 0;
	}
	r = file ? dn_cli_read_file(file, prompt, err)
		 : dn_cli_read_all(STDIN_FILENO, "standard input", prompt, err);
	if (r < 0)
		return r;
	if (!raw && prompt->size > 0 && prompt->data[prompt->size - 1] == '\n')
		prompt->data[--prompt->size] = '\0';
	if (prompt->size == 0)
		return dn_error_set(err, EINVAL, "the prompt is empty");
	return 0;
}
