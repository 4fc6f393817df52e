/* SPDX-License-Identifier: MIT */

#include "store/prepared.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "store/new-file.h"

#define FORM_NAME_MAX (DN_DIGEST_TEXT + 32)

/* In a record's file. */
struct record {
	struct dn_digest digest;
	struct dn_key code;
};

/* In the order of stat(2); nothing between them. */
struct identity {
	uint64_t device;
	uint64_t inode;
	uint64_t size;
	int64_t modified[2];
	int64_t changed[2];
};

int dn_files_identity(const int *fds, size_t n_fds, struct dn_digest *ret_identity,
		      struct dn_error *err)
{
	DN_AUTO_FREE struct identity *all = calloc(n_fds, sizeof(*all));

	if (!all)
		return dn_error_memory(err, "the identity of files", n_fds * sizeof(*all));
	for (size_t i = 0; i < n_fds; i++) {
		struct stat st;

		if (fstat(fds[i], &st) < 0)
			return dn_error_errno(err, errno, "look at the model's file");
		all[i] = (struct identity){
			.device = st.st_dev,
			.inode = st.st_ino,
			.size = (uint64_t)st.st_size,
			.modified = { st.st_mtim.tv_sec, st.st_mtim.tv_nsec },
			.changed = { st.st_ctim.tv_sec, st.st_ctim.tv_nsec },
		};
	}
	return dn_digest_bytes(all, n_fds * sizeof(*all), ret_identity, err);
}

static int name_in(const struct dn_prepared_store *store, char *path, struct dn_error *err,
		   const char *format, ...) DN_PRINTF(4, 5);

static int name_in(const struct dn_prepared_store *store, char *path, struct dn_error *err,
		   const char *format, ...)
{
	char name[NAME_MAX];
	va_list args;
	int n;

	va_start(args, format);
	(void)vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	n = snprintf(path, PATH_MAX, "%s/%s", store->folder, name);
	if (n < 0 || n >= PATH_MAX)
		return dn_error_set(err, ENAMETOOLONG,
				    "the path of the prepared models is too long");
	return 0;
}

static int record_path(const struct dn_prepared_store *store, const struct dn_digest *identity,
		       char *path, struct dn_error *err)
{
	char text[DN_DIGEST_TEXT];

	dn_digest_text(identity, text);
	return name_in(store, path, err, "files/%.32s", text);
}

static int record_code(const struct dn_prepared_store *store, const struct dn_digest *identity,
		       const struct dn_digest *digest, struct dn_key *ret, struct dn_error *err)
{
	const struct dn_digest both[2] = { *identity, *digest };

	return dn_key_derive(store->device, "dunlin digest", both, sizeof(both), ret, err);
}

int dn_prepared_recall(const struct dn_prepared_store *store, const struct dn_digest *identity,
		       struct dn_digest *ret_digest, struct dn_error *err)
{
	DN_AUTO_FD int fd = -1;
	char path[PATH_MAX];
	struct record record;
	struct dn_key code;
	int r;

	r = record_path(store, identity, path, err);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return dn_error_errno(err, errno, "open '%s'", path);
	r = dn_read_whole(fd, &record, sizeof(record), path, err);
	if (r >= 0)
		r = record_code(store, identity, &record.digest, &code, err);
	if (r < 0)
		return r;
	if (!dn_key_equal(&code, &record.code))
		return dn_error_set(err, EBADMSG, "'%s' was not written by this device", path);
	*ret_digest = record.digest;
	return 0;
}

int dn_prepared_record(const struct dn_prepared_store *store, const struct dn_digest *identity,
		       const struct dn_digest *digest, struct dn_error *err)
{
	DN_AUTO_NEW_FILE struct dn_new_file file = DN_NEW_FILE_INIT;
	struct record record = { .digest = *digest };
	char path[PATH_MAX];
	int r;

	r = record_code(store, identity, digest, &record.code, err);
	if (r >= 0)
		r = record_path(store, identity, path, err);
	if (r >= 0)
		r = dn_new_file_begin(&file, path, err);
	if (r >= 0)
		r = dn_write_whole(file.fd, &record, sizeof(record), path, err);
	return r < 0 ? r : dn_new_file_commit(&file, true, err);
}

/* The name of the prepared form of files with a digest: that in hexadecimal, and the layout. */
static void form_name(const struct dn_prepared_store *store, const struct dn_digest *digest,
		      char name[FORM_NAME_MAX])
{
	char text[DN_DIGEST_TEXT];

	dn_digest_text(digest, text);
	(void)snprintf(name, FORM_NAME_MAX, "%s-%u.dunlin", text, store->layout);
}

int dn_prepared_path(const struct dn_prepared_store *store, const struct dn_digest *digest,
		     char *path, struct dn_error *err)
{
	char name[FORM_NAME_MAX];

	form_name(store, digest, name);
	return name_in(store, path, err, "%s", name);
}

void dn_prepared_drop_others(const struct dn_prepared_store *store, const struct dn_digest *digest)
{
	const size_t up_to_layout = DN_DIGEST_TEXT; /* with the dash behind the digest */
	char kept[FORM_NAME_MAX];
	DIR *folder = opendir(store->folder);
	const int at = folder ? dirfd(folder) : -1;
	struct dirent *entry;

	if (!folder)
		return;
	form_name(store, digest, kept);
	while (at >= 0 && (entry = readdir(folder)))
		if (strncmp(entry->d_name, kept, up_to_layout) == 0 &&
		    strcmp(entry->d_name, kept) != 0)
			(void)unlinkat(at, entry->d_name, 0);
	closedir(folder);
}
