/* SPDX-License-Identifier: MIT */

#include "store/new-file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Folders above the last that are missing, each at most once. */
static int make_folder(char *path, struct dn_error *err)
{
	for (char *at = path + 1; *at; at++) {
		int r = 0;

		if (*at != '/')
			continue;
		*at = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			r = dn_error_errno(err, errno, "make the folder '%s'", path);
		*at = '/';
		if (r < 0)
			return r;
	}
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return dn_error_errno(err, errno, "make the folder '%s'", path);
	return 0;
}

static int folder_of(const char *path, char *folder, struct dn_error *err)
{
	char copy[PATH_MAX];

	if (strlen(path) >= PATH_MAX)
		return dn_error_set(err, ENAMETOOLONG, "the path '%.64s…' is too long", path);
	(void)snprintf(copy, sizeof(copy), "%s", path);
	(void)snprintf(folder, PATH_MAX, "%s", dirname(copy));
	return make_folder(folder, err);
}

/* The one that a process which was killed has left is taken over; one in use is locked. */
int dn_new_file_begin_named(struct dn_new_file *file, const char *path, struct dn_error *err)
{
	char folder[PATH_MAX];
	int r = folder_of(path, folder, err);

	if (r < 0)
		return r;
	(void)snprintf(file->path, sizeof(file->path), "%s", path);
	(void)snprintf(file->named, sizeof(file->named), "%s.new", path);
	file->fd = open(file->named, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (file->fd >= 0 && flock(file->fd, LOCK_EX | LOCK_NB) == 0 && ftruncate(file->fd, 0) == 0)
		return 0;
	r = errno == EWOULDBLOCK
		    ? dn_error_set(err, EBUSY, "another process writes '%s'", file->path)
		    : dn_error_errno(err, errno, "make the file '%s'", file->named);
	file->named[0] = '\0';
	return r;
}

int dn_new_file_begin(struct dn_new_file *file, const char *path, struct dn_error *err)
{
	char folder[PATH_MAX];
	int r = folder_of(path, folder, err);

	if (r < 0)
		return r;
	(void)snprintf(file->path, sizeof(file->path), "%s", path);
	file->named[0] = '\0';
	/* Whatever kills us, the kernel takes it away. */
	file->fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (file->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
		return dn_error_errno(err, errno, "make a file in '%s'", folder);
	return dn_new_file_begin_named(file, path, err);
}

static int rename_to_new(const char *from, const char *to)
{
	/* By number: libraries have the function only lately. */
	if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* A file system, or a kernel, that cannot say so at once. */
	if (access(to, F_OK) == 0)
		return -EEXIST;
	return rename(from, to) < 0 ? -errno : 0;
}

/* 0, or -EEXIST where the name is taken. File systems without links have no files without names. */
static int give_name(const struct dn_new_file *file, const char *name)
{
	char self[64];

	if (file->named[0] != '\0')
		return rename_to_new(file->named, name);
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", file->fd);
	return linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* There is no link that replaces: a second name first, which then takes the place of the first. */
static int replace_name(struct dn_new_file *file)
{
	char name[PATH_MAX + 32];
	int r = 0;

	if (file->named[0] != '\0')
		return rename(file->named, file->path) < 0 ? -errno : 0;
	(void)snprintf(name, sizeof(name), "%s.new-%ld", file->path, (long)getpid());
	(void)unlink(name);
	r = give_name(file, name);
	if (r >= 0 && rename(name, file->path) < 0) {
		r = -errno;
		(void)unlink(name);
	}
	return r;
}

/* The name too has to be on disk; a file system that cannot say so has done what it can. */
static void sync_folder(const char *path)
{
	char copy[PATH_MAX];
	DN_AUTO_FD int fd = -1;

	(void)snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		(void)fsync(fd);
}

int dn_new_file_commit(struct dn_new_file *file, bool replace, struct dn_error *err)
{
	int r;

	if (fsync(file->fd) < 0)
		return dn_error_errno(err, errno, "write '%s' to disk", file->path);
	r = give_name(file, file->path);
	if (r < 0 && replace)
		r = replace_name(file);
	if (r < 0)
		return dn_error_errno(err, -r, "name the file '%s'", file->path);
	file->named[0] = '\0';
	sync_folder(file->path);
	return 0;
}

void dn_new_file_done(struct dn_new_file *file)
{
	if (file->named[0] != '\0')
		(void)unlink(file->named);
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
	file->named[0] = '\0';
}
