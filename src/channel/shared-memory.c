/* SPDX-License-Identifier: MIT */
/* Sealed memory: memfd_create(2), and the seals of fcntl(2). */

#include "channel/shared-memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/base.h"

/* Linux 6.3; absent from older headers. */
#define NOEXEC_SEAL 0x0008U

#define FIXED (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)

static int create(const char *name, struct dn_error *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return dn_error_errno(err, errno, "make shared memory '%s'", name);
	return fd;
}

static int write_all(int fd, const char *bytes, size_t size)
{
	ssize_t n;

	while (size > 0) {
		n = write(fd, bytes, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes += n;
		size -= (size_t)n;
	}
	return 0;
}

int dn_shared_from_bytes(const char *name, const void *bytes, size_t size, int *ret_fd,
			 struct dn_error *err)
{
	DN_AUTO_FD int fd = -1;
	int r;

	if (size == 0)
		return dn_error_set(err, EINVAL, "shared memory '%s' of no bytes", name);
	fd = create(name, err);
	if (fd < 0)
		return fd;
	r = write_all(fd, bytes, size);
	if (r < 0)
		return dn_error_errno(err, -r, "fill shared memory '%s' (%zu bytes)", name, size);
	if (fcntl(fd, F_ADD_SEALS, FIXED | F_SEAL_SEAL) < 0)
		return dn_error_errno(err, errno, "seal shared memory '%s'", name);
	*ret_fd = dn_steal_fd(&fd);
	return 0;
}

int dn_shared_begin(const char *name, int *ret_fd, struct dn_error *err)
{
	int fd = create(name, err);

	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

int dn_shared_new(const char *name, uint64_t size, int *ret_fd, struct dn_error *err)
{
	DN_AUTO_FD int fd = -1;

	if (size == 0 || size > INT64_MAX)
		return dn_error_set(err, EINVAL, "shared memory '%s' of %llu bytes", name,
				    (unsigned long long)size);
	fd = create(name, err);
	if (fd < 0)
		return fd;
	if (ftruncate(fd, (off_t)size) < 0)
		return dn_error_errno(err, errno, "size shared memory '%s' to %llu bytes", name,
				      (unsigned long long)size);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return dn_error_errno(err, errno, "seal shared memory '%s'", name);
	*ret_fd = dn_steal_fd(&fd);
	return 0;
}

int dn_shared_seal(int fd, struct dn_error *err)
{
	if (fcntl(fd, F_ADD_SEALS, FIXED | F_SEAL_SEAL) < 0)
		return dn_error_errno(err, errno, "seal shared memory (still mapped?)");
	return 0;
}

bool dn_shared_is_sealed(int fd)
{
	const int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & FIXED) == FIXED;
}

/* Checks the seals first: only they make the size that is read after them lasting. */
static int check(int fd, int needed, uint64_t max, size_t *ret_size, struct dn_error *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat status;

	if (seals < 0)
		return dn_error_set(err, errno == EINVAL ? EPERM : errno,
				    "the descriptor received is no shared memory");
	if ((seals & needed) != needed)
		return dn_error_set(err, EPERM,
				    "the shared memory received lacks the seal against %s",
				    seals & F_SEAL_SHRINK ? "writing" : "shrinking");
	if (fstat(fd, &status) < 0)
		return dn_error_errno(err, errno, "size of the shared memory received");
	if (status.st_size <= 0)
		return dn_error_set(err, EINVAL, "the shared memory received is empty");
	if ((uint64_t)status.st_size > max || (uint64_t)status.st_size > SIZE_MAX)
		return dn_error_set(err, EFBIG,
				    "the shared memory received has %lld bytes, at most %llu go",
				    (long long)status.st_size, (unsigned long long)max);
	*ret_size = (size_t)status.st_size;
	return 0;
}

static int map(int fd, int protection, int flags, size_t size, struct dn_shared *ret_shared,
	       struct dn_error *err)
{
	// NOLINTNEXTLINE(clang-analyzer-unix.StdCLibraryFunctions): check() refuses a size of 0
	void *data = mmap(NULL, size, protection, flags, fd, 0);

	if (data == MAP_FAILED)
		return dn_error_errno(err, errno, "map %zu bytes of shared memory", size);
	*ret_shared = (struct dn_shared){ .data = data, .size = size };
	return 0;
}

int dn_shared_map(int fd, uint64_t max, struct dn_shared *ret_shared, struct dn_error *err)
{
	size_t size = 0;
	int r = check(fd, F_SEAL_SHRINK | F_SEAL_WRITE, max, &size, err);

	if (r < 0)
		return r;
	/* Before Linux 6.7, what is sealed against writing maps as private only. */
	return map(fd, PROT_READ, MAP_PRIVATE, size, ret_shared, err);
}

int dn_shared_map_writable(int fd, uint64_t max, struct dn_shared *ret_shared, struct dn_error *err)
{
	size_t size = 0;
	int r = check(fd, F_SEAL_SHRINK, max, &size, err);

	if (r < 0)
		return r;
	return map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, size, ret_shared, err);
}

void dn_shared_unmap(struct dn_shared *shared)
{
	if (!shared || !shared->data)
		return;
	(void)munmap(shared->data, shared->size);
	*shared = (struct dn_shared){ 0 };
}
