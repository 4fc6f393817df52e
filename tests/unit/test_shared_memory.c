/* SPDX-License-Identifier: MIT */
/* Sealed memory: what it refuses to map, and that its seals are the kernel's. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "channel/shared-memory.h"

static void test_from_bytes(void **state)
{
	DN_AUTO_SHARED struct dn_shared shared = { 0 };
	DN_AUTO_FD int fd = -1;
	char bytes[10000];

	(void)state;
	memset(bytes, 7, sizeof(bytes));
	assert_int_equal(dn_shared_from_bytes("test", bytes, sizeof(bytes), &fd, NULL), 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(dn_shared_map(fd, sizeof(bytes), &shared, NULL), 0);
	assert_int_equal(shared.size, sizeof(bytes));
	assert_memory_equal(shared.data, bytes, sizeof(bytes));

	/* For good: by no way can whoever holds it change it. */
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(ftruncate(fd, 20000), -1);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(dn_shared_map_writable(fd, sizeof(bytes), &shared, NULL), -EPERM);
}

static void test_peer_fills(void **state)
{
	DN_AUTO_SHARED struct dn_shared theirs = { 0 };
	DN_AUTO_SHARED struct dn_shared ours = { 0 };
	DN_AUTO_FD int fd = -1;

	(void)state;
	assert_int_equal(dn_shared_new("test", 5000, &fd, NULL), 0);
	/* Its content may still change: not for a reader that trusts what it checked. */
	assert_int_equal(dn_shared_map(fd, 5000, &ours, NULL), -EPERM);
	assert_int_equal(dn_shared_map_writable(fd, 5000, &theirs, NULL), 0);
	((char *)theirs.data)[4999] = 9;
	assert_int_equal(ftruncate(fd, 100), -1);
	assert_int_equal(dn_shared_seal(fd, NULL), -EBUSY);
	dn_shared_unmap(&theirs);
	assert_null(theirs.data);
	assert_int_equal(dn_shared_seal(fd, NULL), 0);
	assert_int_equal(dn_shared_map(fd, 5000, &ours, NULL), 0);
	assert_int_equal(((const char *)ours.data)[4999], 9);
}

static void assert_refused(int fd, uint64_t max, int code, const char *word)
{
	struct dn_shared shared = { 0 };
	struct dn_error err = DN_ERROR_INIT;

	assert_int_equal(dn_shared_map(fd, max, &shared, &err), -code);
	assert_null(shared.data);
	assert_non_null(strstr(err.message, word));
	assert_int_equal(err.code, code);
}

static void test_refused(void **state)
{
	DN_AUTO_FD int memory = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	DN_AUTO_FD int empty = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	DN_AUTO_FD int file = open("/dev/null", O_RDWR | O_CLOEXEC);
	DN_AUTO_FD int plain = -1;
	FILE *temporary = tmpfile();
	struct dn_shared shared = { 0 };

	(void)state;
	assert_non_null(temporary);
	plain = dup(fileno(temporary));
	(void)fclose(temporary);
	assert_int_equal(ftruncate(plain, 4096), 0);
	assert_int_equal(ftruncate(memory, 4096), 0);
	assert_refused(file, 1 << 20, EPERM, "no shared memory");
	assert_refused(-1, 1 << 20, EBADF, "no shared memory");
	/* A file can be truncated under its reader. On tmpfs it is told by its missing seals. */
	assert_int_equal(dn_shared_map(plain, 1 << 20, &shared, NULL), -EPERM);

	assert_refused(memory, 1 << 20, EPERM, "shrinking");
	assert_int_equal(dn_shared_map_writable(memory, 1 << 20, &shared, NULL), -EPERM);
	assert_int_equal(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_refused(memory, 1 << 20, EPERM, "writing");
	assert_int_equal(fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_refused(memory, 4095, EFBIG, "4096 bytes, at most 4095");
	assert_int_equal(dn_shared_map(memory, 4096, &shared, NULL), 0);
	dn_shared_unmap(&shared);

	assert_int_equal(fcntl(empty, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE), 0);
	assert_refused(empty, 1 << 20, EINVAL, "empty");
}

static void test_sizes(void **state)
{
	int fd = -1;

	(void)state;
	assert_int_equal(dn_shared_new("test", 0, &fd, NULL), -EINVAL);
	assert_int_equal(dn_shared_new("test", UINT64_MAX, &fd, NULL), -EINVAL);
	assert_true(dn_shared_new("test", INT64_MAX, &fd, NULL) < 0 || close(fd) == 0);
	assert_int_equal(dn_shared_from_bytes("test", "", 0, &fd, NULL), -EINVAL);
	dn_shared_unmap(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_from_bytes),
		cmocka_unit_test(test_peer_fills),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests_name("shared-memory", tests, NULL, NULL);
}
