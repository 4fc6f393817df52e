/* SPDX-License-Identifier: MIT */
/* Reads and writes that are whole or a failure. */
#ifndef DUNLIN_BASE_IO_H
#define DUNLIN_BASE_IO_H

#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

/*
 * Write, or read, @size bytes at the descriptor's position; @what names the thing in messages.
 * A file that ends before is -EINVAL: "NAME ends too early".
 */
DN_MUST_CHECK int dn_write_whole(int fd, const void *data, size_t size, const char *what,
				 struct dn_error *err);
DN_MUST_CHECK int dn_read_whole(int fd, void *data, size_t size, const char *what,
				struct dn_error *err);

/* The same at @offset; the position stays. */
DN_MUST_CHECK int dn_pread_whole(int fd, void *data, size_t size, uint64_t offset, const char *what,
				 struct dn_error *err);

#endif /* DUNLIN_BASE_IO_H */
