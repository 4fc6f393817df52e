/* SPDX-License-Identifier: MIT */

#include "server/prefix-store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/sha.h>

#include "base/io.h"
#include "channel/shared-memory.h"
#include "store/new-file.h"
#include "store/seal.h"

#define MAGIC	  "DNPREFIX"
#define VERSION	  1U
#define SUFFIX	  ".prefix"
#define FILES_MAX 256
#define STRETCH	  ((size_t)256 << 10)
/* Enough of a snapshot to tell it from others: which tokens it is of. */
#define NAMED_BYTES ((size_t)64 << 10)

struct head {
	char magic[8];
	uint32_t version;
	uint32_t reserved;
	uint64_t space;
	uint64_t bytes;
};

/* A file of the folder. */
struct entry {
	char name[NAME_MAX + 1];
	uint64_t bytes;
	struct timespec time;
};

static int newest_first(const void *a, const void *b)
{
	const struct entry *x = a;
	const struct entry *y = b;

	if (x->time.tv_sec != y->time.tv_sec)
		return x->time.tv_sec < y->time.tv_sec ? 1 : -1;
	return (x->time.tv_nsec < y->time.tv_nsec) - (x->time.tv_nsec > y->time.tv_nsec);
}

/* Those whose names begin with @prefix. Returns how many, at most FILES_MAX; owned by the caller. */
static size_t list(const struct dn_prefix_store *store, const char *prefix,
		   struct entry **ret_entries)
{
	struct entry *entries = calloc(FILES_MAX, sizeof(*entries));
	DIR *dir = entries ? opendir(store->folder) : NULL;
	const int at = dir ? dirfd(dir) : -1;
	struct dirent *found;
	size_t n = 0;

	while (at >= 0 && n < FILES_MAX && (found = readdir(dir))) {
		const size_t length = strlen(found->d_name);
		struct stat st;

		if (length <= strlen(SUFFIX) ||
		    strcmp(found->d_name + length - strlen(SUFFIX), SUFFIX) != 0 ||
		    strncmp(found->d_name, prefix, strlen(prefix)) != 0 ||
		    fstatat(at, found->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		memcpy(entries[n].name, found->d_name, length + 1);
		entries[n].bytes = (uint64_t)st.st_size;
		entries[n++].time = st.st_mtim;
	}
	if (dir)
		closedir(dir);
	if (n > 0)
		qsort(entries, n, sizeof(*entries), newest_first);
	*ret_entries = entries;
	return n;
}

static void path_of(const struct dn_prefix_store *store, const char *name, char *path)
{
	(void)snprintf(path, PATH_MAX, "%s/%s", store->folder, name);
}

static void drop_oldest(const struct dn_prefix_store *store)
{
	DN_AUTO_FREE struct entry *entries = NULL;
	const size_t n = list(store, "", &entries);
	uint64_t bytes = 0;

	for (size_t i = 0; i < n; i++) {
		char path[PATH_MAX];

		bytes += entries[i].bytes;
		if (bytes <= store->max_bytes && i + 1 < FILES_MAX)
			continue;
		path_of(store, entries[i].name, path);
		(void)unlink(path);
	}
}

static uint64_t number_of(const struct dn_digest *digest)
{
	uint64_t number;

	memcpy(&number, digest, sizeof(number));
	return number;
}

static int copy(int from, uint64_t offset, int to, uint64_t bytes, struct dn_error *err)
{
	DN_AUTO_FREE uint8_t *stretch = malloc(STRETCH);
	int r = stretch ? 0 : dn_error_memory(err, "a prefix", STRETCH);

	while (r >= 0 && bytes > 0) {
		const size_t size = (size_t)DN_MIN(bytes, (uint64_t)STRETCH);

		r = dn_pread_whole(from, stretch, size, offset, "a prefix", err);
		if (r >= 0)
			r = dn_write_whole(to, stretch, size, "a prefix", err);
		offset += size;
		bytes -= size;
	}
	return r;
}

/* "MODEL-SNAPSHOT.prefix" */
static int name_prefix(int fd, const struct dn_digest *model, uint64_t space, uint64_t bytes,
		       char *name, size_t size, struct dn_error *err)
{
	const size_t read = (size_t)DN_MIN(bytes, (uint64_t)NAMED_BYTES);
	DN_AUTO_FREE uint8_t *begin = malloc(read + sizeof(space));
	struct dn_digest digest;
	int r;

	if (!begin)
		return dn_error_memory(err, "a prefix", read);
	memcpy(begin, &space, sizeof(space));
	r = dn_pread_whole(fd, begin + sizeof(space), read, 0, "a prefix", err);
	if (r < 0)
		return r;
	SHA256(begin, read + sizeof(space), (unsigned char *)&digest);
	(void)snprintf(name, size, "%016llx-%016llx" SUFFIX, (unsigned long long)number_of(model),
		       (unsigned long long)number_of(&digest));
	return 0;
}

int dn_prefix_store_save(const struct dn_prefix_store *store, const struct dn_digest *model,
			 uint64_t space, int fd, struct dn_error *err)
{
	DN_AUTO_NEW_FILE struct dn_new_file file = DN_NEW_FILE_INIT;
	struct head head = { .version = VERSION, .space = space };
	char path[PATH_MAX];
	char name[64];
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0 || st.st_size <= 0)
		return dn_error_set(err, EINVAL, "a prefix without bytes");
	head.bytes = (uint64_t)st.st_size;
	if (head.bytes > store->max_bytes)
		return dn_error_set(err, EFBIG, "a prefix of %llu MiB, where all may have %llu",
				    (unsigned long long)head.bytes >> 20,
				    (unsigned long long)store->max_bytes >> 20);
	memcpy(head.magic, MAGIC, sizeof(head.magic));
	r = name_prefix(fd, model, space, head.bytes, name, sizeof(name), err);
	if (r < 0)
		return r;
	path_of(store, name, path);
	r = dn_new_file_begin(&file, path, err);
	if (r >= 0)
		r = dn_write_whole(file.fd, &head, sizeof(head), "a prefix", err);
	if (r >= 0)
		r = copy(fd, 0, file.fd, head.bytes, err);
	if (r >= 0)
		r = dn_seal_append(file.fd, store->device, model, 0, err);
	if (r >= 0)
		r = dn_new_file_commit(&file, true, err);
	if (r >= 0)
		drop_oldest(store);
	return r;
}

/* The snapshot in memory that nobody can change any more. */
static int read_sealed(int fd, const struct dn_seal *seal, struct dn_stored_prefix *ret,
		       struct dn_error *err)
{
	DN_AUTO_FD int memory = -1;
	struct head head;
	int r = dn_pread_whole(fd, &head, sizeof(head), 0, "a prefix", err);

	if (r < 0)
		return r;
	if (memcmp(head.magic, MAGIC, sizeof(head.magic)) != 0 || head.version != VERSION ||
	    head.bytes != seal->bytes - sizeof(head))
		return dn_error_set(err, EBADMSG, "this is no prefix");
	r = dn_shared_begin("dunlin-prefix", &memory, err);
	if (r >= 0)
		r = copy(fd, sizeof(head), memory, head.bytes, err);
	if (r >= 0)
		r = dn_shared_seal(memory, err);
	if (r < 0)
		return r;
	*ret = (struct dn_stored_prefix){ dn_steal_fd(&memory), head.bytes, head.space };
	return 0;
}

static int load(const struct dn_prefix_store *store, const char *path,
		const struct dn_digest *model, struct dn_stored_prefix *ret, struct dn_error *err)
{
	DN_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	DN_AUTO_SEAL struct dn_seal seal = DN_SEAL_INIT;
	int r;

	if (fd < 0)
		return dn_error_errno(err, errno, "open '%s'", path);
	r = dn_check_own(fd, true, "a prefix", err);
	if (r >= 0)
		r = dn_seal_open(fd, store->device, &seal, err);
	if (r >= 0 &&
	    (memcmp(&seal.source, model, sizeof(*model)) != 0 || seal.bytes < sizeof(struct head)))
		r = dn_error_set(err, EBADMSG, "a prefix of another model");
	if (r >= 0)
		r = dn_seal_check(fd, &seal, 1, err);
	return r < 0 ? r : read_sealed(fd, &seal, ret, err);
}

uint32_t dn_prefix_store_load(const struct dn_prefix_store *store, const struct dn_digest *model,
			      struct dn_stored_prefix *prefixes, uint32_t max,
			      const atomic_bool *give_up)
{
	DN_AUTO_FREE struct entry *entries = NULL;
	char prefix[32];
	uint32_t n = 0;
	size_t n_entries;

	(void)snprintf(prefix, sizeof(prefix), "%016llx-", (unsigned long long)number_of(model));
	n_entries = list(store, prefix, &entries);
	for (size_t i = 0; i < n_entries && n < max && !atomic_load(give_up); i++) {
		struct dn_error err = DN_ERROR_INIT;
		char path[PATH_MAX];
		int r;

		path_of(store, entries[i].name, path);
		r = load(store, path, model, &prefixes[n], &err);
		if (r >= 0)
			n++;
		else if (r == -EBADMSG || r == -ENOMSG || r == -EINVAL)
			(void)unlink(path);
	}
	return n;
}
