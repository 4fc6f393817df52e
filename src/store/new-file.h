/* SPDX-License-Identifier: MIT */
/* A file that has its name only when it is whole and on disk. */
#ifndef DUNLIN_STORE_NEW_FILE_H
#define DUNLIN_STORE_NEW_FILE_H

/* IWYU pragma: begin_exports */
#include <limits.h>
#include <stdbool.h>

#include <dunlin/error.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_new_file - a file in the making
 * @fd: to read and write; -1: there is none
 * @path: the name to be
 * @named: the name that it has meanwhile, where the file system knows no files without one
 */
struct dn_new_file {
	int fd;
	char path[PATH_MAX];
	char named[PATH_MAX + sizeof(".new")];
};

#define DN_NEW_FILE_INIT { .fd = -1 }

/* Makes one in the folder of @path, which is made too where it is missing (mode 700; file 600). */
DN_MUST_CHECK int dn_new_file_begin(struct dn_new_file *file, const char *path,
				    struct dn_error *err);
/* The same where the file system knows no files without a name: meanwhile it is PATH.new. */
DN_MUST_CHECK int dn_new_file_begin_named(struct dn_new_file *file, const char *path,
					  struct dn_error *err);
/**
 * dn_new_file_commit() - wait until it is on disk, and give it its name
 * @replace: another file of that name goes; else -EEXIST
 */
DN_MUST_CHECK int dn_new_file_commit(struct dn_new_file *file, bool replace, struct dn_error *err);
/* Drops one that has no name yet; closes it. */
void dn_new_file_done(struct dn_new_file *file);
#define DN_AUTO_NEW_FILE DN_AUTO(dn_new_file_done)

#endif /* DUNLIN_STORE_NEW_FILE_H */
