/* SPDX-License-Identifier: MIT */
/* Prefixes on disk: sealed, of one model, bounded, and none that was changed. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/prefix-reader.h"

#define SIZE  ((size_t)300 << 10)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

struct fixture {
	char folder[64];
	struct dn_key key;
	struct dn_digest model;
	struct dn_prefix_store store;
};

static int setup(void **state)
{
	static struct fixture f;
	char base[] = "/tmp/dunlin-prefix-XXXXXX";

	if (!mkdtemp(base))
		return -1;
	memset(&f, 0, sizeof(f));
	(void)snprintf(f.folder, sizeof(f.folder), "%s/prefixes", base);
	memset(&f.key, 7, sizeof(f.key));
	memset(&f.model, 9, sizeof(f.model));
	f.store = (struct dn_prefix_store){ f.folder, &f.key, 4 * SIZE };
	*state = &f;
	return 0;
}

/* Calls @each with the path of every file that is there; returns how many. */
static size_t walk(const struct fixture *f, void (*each)(const char *path))
{
	DIR *dir = opendir(f->folder);
	struct dirent *entry;
	size_t n = 0;

	while (dir && (entry = readdir(dir))) {
		char path[512];

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", f->folder, entry->d_name);
		n++;
		if (each)
			each(path);
	}
	if (dir)
		closedir(dir);
	return n;
}

static void remove_file(const char *path)
{
	(void)unlink(path);
}

static int teardown(void **state)
{
	const struct fixture *f = *state;
	char base[64];

	(void)walk(f, remove_file);
	(void)rmdir(f->folder);
	memcpy(base, f->folder, sizeof(base));
	*strrchr(base, '/') = '\0';
	return rmdir(base);
}

static int snapshot(uint8_t first)
{
	static uint8_t bytes[SIZE];
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(first + i * 31);
	assert_int_equal(write(fd, bytes, SIZE), (ssize_t)SIZE);
	return fd;
}

static void save(const struct fixture *f, uint8_t first, uint64_t space)
{
	struct dn_error err = DN_ERROR_INIT;
	int fd = snapshot(first);

	if (dn_prefix_store_save(&f->store, &f->model, space, fd, &err) < 0)
		fail_msg("%s", err.message);
	close(fd);
}

static uint32_t load(const struct fixture *f, const struct dn_digest *model,
		     struct dn_stored_prefix *prefixes, uint32_t max)
{
	const atomic_bool go_on = false;
	const uint32_t n = dn_prefix_store_load(&f->store, model, prefixes, max, &go_on);

	for (uint32_t i = 0; i < n; i++) {
		uint8_t bytes[16];

		assert_int_equal(prefixes[i].bytes, SIZE);
		assert_int_equal(pread(prefixes[i].fd, bytes, sizeof(bytes), 0), sizeof(bytes));
		for (size_t b = 1; b < sizeof(bytes); b++)
			assert_int_equal(bytes[b], (uint8_t)(bytes[0] + b * 31));
		/* Nobody can change what a worker is about to read. */
		assert_int_equal(fcntl(prefixes[i].fd, F_GET_SEALS) & SEALS, SEALS);
		close(prefixes[i].fd);
	}
	return n;
}

/* In a thread of its own; what is not waited for is given up and given back. */
static void test_read_beside(void **state)
{
	const struct fixture *f = *state;
	struct dn_stored_prefix prefixes[DN_PREFIXES_MAX];
	struct dn_prefix_reader *reader = NULL;
	struct pollfd wait = { .events = POLLIN };

	save(f, 1, 5);
	save(f, 2, 5);
	for (int turn = 0; turn < 3; turn++) {
		assert_int_equal(dn_prefix_reader_begin(&f->store, &f->model, &reader, NULL), 0);
		(void)dn_prefix_reader_end(reader, NULL);
	}
	assert_int_equal(dn_prefix_reader_begin(&f->store, &f->model, &reader, NULL), 0);
	wait.fd = dn_prefix_reader_fd(reader);
	assert_int_equal(poll(&wait, 1, -1), 1);
	assert_int_equal(dn_prefix_reader_end(reader, prefixes), 2);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(prefixes[i].bytes, SIZE);
		close(prefixes[i].fd);
	}
}

static void test_saved_is_loaded(void **state)
{
	struct fixture *f = *state;
	struct dn_stored_prefix prefixes[4];
	struct dn_digest other = f->model;
	struct stat st;

	assert_int_equal(load(f, &f->model, prefixes, 4), 0);
	save(f, 1, 77);
	save(f, 2, 78);
	assert_int_equal(load(f, &f->model, prefixes, 4), 2);
	assert_int_equal(prefixes[0].space + prefixes[1].space, 77 + 78);
	assert_int_equal(load(f, &f->model, prefixes, 1), 1);
	/* The same once more is the same file; of another space it is another. */
	save(f, 1, 77);
	assert_int_equal(walk(f, NULL), 2);
	save(f, 1, 79);
	assert_int_equal(walk(f, NULL), 3);
	other.bytes[0]++;
	assert_int_equal(load(f, &other, prefixes, 4), 0);
	assert_int_equal(stat(f->folder, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

static void flip(const char *path)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, 1000), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, 1000), 1);
	close(fd);
}

static void cut(const char *path)
{
	assert_int_equal(truncate(path, 100), 0);
}

/* What was changed is not loaded, and does not stay. */
static void test_changed(void **state)
{
	struct fixture *f = *state;
	struct dn_stored_prefix prefixes[4];
	struct dn_key key = f->key;

	save(f, 1, 77);
	(void)walk(f, flip);
	assert_int_equal(load(f, &f->model, prefixes, 4), 0);
	assert_int_equal(walk(f, NULL), 0);
	save(f, 1, 77);
	(void)walk(f, cut);
	assert_int_equal(load(f, &f->model, prefixes, 4), 0);
	assert_int_equal(walk(f, NULL), 0);
	/* Another device's. */
	save(f, 1, 77);
	key.bytes[3] ^= 1;
	f->store.device = &key;
	assert_int_equal(load(f, &f->model, prefixes, 4), 0);
	assert_int_equal(walk(f, NULL), 0);
}

static void test_bounded(void **state)
{
	struct fixture *f = *state;
	struct dn_stored_prefix prefixes[8];
	struct dn_error err = DN_ERROR_INIT;
	int fd;

	for (uint8_t i = 0; i < 6; i++) {
		save(f, i, i + 1U);
		(void)usleep(20000); /* times of files are no finer everywhere */
	}
	/* A seal and a head each: three of 300 KiB fit into 1,200. */
	assert_int_equal(walk(f, NULL), 3);
	assert_int_equal(load(f, &f->model, prefixes, 8), 3);
	assert_int_equal(prefixes[0].space, 6);
	assert_int_equal(prefixes[2].space, 4);
	f->store.max_bytes = SIZE - 1;
	fd = snapshot(1);
	assert_int_equal(dn_prefix_store_save(&f->store, &f->model, 1, fd, &err), -EFBIG);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_saved_is_loaded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_beside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
