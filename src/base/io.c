/* SPDX-License-Identifier: MIT */

#include "base/io.h"

#include <errno.h>
#include <sys/types.h>
#include <unistd.h>

#include <dunlin/error.h>

int dn_write_whole(int fd, const void *data, size_t size, const char *what, struct dn_error *err)
{
	const char *at = data;

	while (size > 0) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return dn_error_errno(err, errno, "write %s", what);
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

int dn_read_whole(int fd, void *data, size_t size, const char *what, struct dn_error *err)
{
	char *at = data;

	while (size > 0) {
		ssize_t n = read(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return dn_error_errno(err, errno, "read %s", what);
		if (n == 0)
			return dn_error_set(err, EINVAL, "%s ends too early", what);
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

int dn_pread_whole(int fd, void *data, size_t size, uint64_t offset, const char *what,
		   struct dn_error *err)
{
	char *at = data;

	while (size > 0) {
		ssize_t n = pread(fd, at, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return dn_error_errno(err, errno, "read %s at byte %llu", what,
					      (unsigned long long)offset);
		if (n == 0)
			return dn_error_set(err, EINVAL, "%s ends too early", what);
		at += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}
