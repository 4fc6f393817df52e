/* SPDX-License-Identifier: MIT */
/* Small text files of the kernel. */

#include "device/source.h"
#include "base/buffer.h"
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

int dn_source_read(const char *root, const char *path, struct dn_buffer *buffer)
{
	DN_AUTO_FD int fd = -1;
	char full[PATH_MAX];
	char chunk[4096];
	int n = snprintf(full, sizeof(full), "%s%s", root, path);

	if (n < 0 || (size_t)n >= sizeof(full))
		return -ENAMETOOLONG;
	dn_buffer_clear(buffer);
	/* O_NONBLOCK: a pipe in a strange tree must not hold us up. */
	fd = open(full, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t got = read(fd, chunk, sizeof(chunk));
		int r;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		/* An empty append still makes the buffer a string. */
		r = dn_buffer_append(buffer, chunk, (size_t)got);
		if (r < 0)
			return r;
		if (got == 0)
			return buffer->data ? 0 : -ENODATA;
	}
}

int dn_source_line(const char *root, const char *path, char *line, size_t size)
{
	DN_AUTO_BUFFER struct dn_buffer buffer = DN_BUFFER_INIT(65536);
	int r = dn_source_read(root, path, &buffer);

	line[0] = '\0';
	if (r < 0)
		return r;
	(void)snprintf(line, size, "%.*s", (int)strcspn(buffer.data, "\n"), buffer.data);
	return 0;
}

bool dn_source_parse(const char *text, uint64_t *ret_value, const char **ret_end)
{
	uint64_t value = 0;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++) {
		if (!dn_mul_ok(value, UINT64_C(10), &value) ||
		    !dn_add_ok(value, (uint64_t)(*at - '0'), &value))
			return false;
	}
	if (at == text)
		return false;
	*ret_value = value;
	if (ret_end)
		*ret_end = at;
	return true;
}

static bool scale(char unit, uint64_t *value)
{
	uint64_t factor = 1;

	if (unit == 'K' || unit == 'k')
		factor = UINT64_C(1) << 10;
	else if (unit == 'M')
		factor = UINT64_C(1) << 20;
	else if (unit == 'G')
		factor = UINT64_C(1) << 30;
	return dn_mul_ok(*value, factor, value);
}

int dn_source_number(const char *root, const char *path, uint64_t *ret_value)
{
	char line[64];
	const char *end;
	uint64_t value;
	int r = dn_source_line(root, path, line, sizeof(line));

	if (r < 0)
		return r;
	if (!dn_source_parse(line, &value, &end) || !scale(*end, &value))
		return -EBADMSG;
	*ret_value = value;
	return 0;
}

bool dn_source_field(const char *text, const char *key, char *value, size_t size)
{
	size_t key_size = strlen(key);

	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *at = line + key_size;

		if (strncmp(line, key, key_size) != 0 || !strchr(" \t:", *at) || !*at)
			continue;
		at += strspn(at, " \t:");
		(void)snprintf(value, size, "%.*s", (int)strcspn(at, "\n"), at);
		return true;
	}
	return false;
}

bool dn_source_field_number(const char *text, const char *key, uint64_t *ret_value)
{
	char line[64];
	const char *end;
	uint64_t value;

	if (!dn_source_field(text, key, line, sizeof(line)) || !dn_source_parse(line, &value, &end))
		return false;
	end += strspn(end, " ");
	if (!scale(*end, &value))
		return false;
	*ret_value = value;
	return true;
}
