/* SPDX-License-Identifier: MIT */
/* Files that are whole or not there, the device's key, digests, seals, records of digests. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "store/device-key.h"
#include "store/digest.h"
#include "store/new-file.h"
#include "store/prepared.h"
#include "store/seal.h"

#define LEAF ((size_t)DN_SEAL_LEAF_BYTES)

static char folder[64];

static const char *in_folder(const char *name)
{
	static char path[4][256];
	static unsigned int next;
	char *to = path[next++ % 4];

	(void)snprintf(to, sizeof(path[0]), "%s/%s", folder, name);
	return to;
}

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/dunlin-store-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

static int entries(void)
{
	char command[128];
	FILE *pipe;
	int n = -1;

	(void)snprintf(command, sizeof(command), "find '%s' -type f | wc -l", folder);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_int_equal(fscanf(pipe, "%d", &n), 1);
	assert_int_equal(pclose(pipe), 0);
	return n;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void expect_file(const char *path, const char *text)
{
	char bytes[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, bytes, sizeof(bytes) - 1), (ssize_t)strlen(text));
	assert_string_equal(bytes, text);
	close(fd);
}

static void begin(struct dn_new_file *file, const char *path, const char *text)
{
	struct dn_error err = DN_ERROR_INIT;

	assert_int_equal(dn_new_file_begin(file, path, &err), 0);
	assert_int_equal(dn_write_whole(file->fd, text, strlen(text), "it", &err), 0);
}

static void test_new_file(void **state)
{
	const char *path = in_folder("a/b/file");
	struct dn_new_file file = DN_NEW_FILE_INIT;
	struct dn_error err = DN_ERROR_INIT;
	struct stat st;

	(void)state;
	begin(&file, path, "dropped");
	assert_int_equal(access(path, F_OK), -1);
	dn_new_file_done(&file);
	assert_int_equal(entries(), 0);

	begin(&file, path, "first");
	assert_int_equal(dn_new_file_commit(&file, false, &err), 0);
	dn_new_file_done(&file);
	expect_file(path, "first");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);

	begin(&file, path, "second");
	assert_int_equal(dn_new_file_commit(&file, false, &err), -EEXIST);
	assert_non_null(strstr(err.message, path));
	dn_new_file_done(&file);
	expect_file(path, "first");

	begin(&file, path, "third");
	assert_int_equal(dn_new_file_commit(&file, true, &err), 0);
	dn_new_file_done(&file);
	expect_file(path, "third");
	assert_int_equal(entries(), 1);
}

static void test_new_file_nowhere(void **state)
{
	struct dn_new_file file = DN_NEW_FILE_INIT;
	struct dn_error err = DN_ERROR_INIT;

	(void)state;
	write_file(in_folder("plain"), "a file", 0600);
	assert_int_equal(dn_new_file_begin(&file, in_folder("plain/in/it"), &err), -ENOTDIR);
	dn_new_file_done(&file);
	assert_int_equal(dn_new_file_begin(&file, "/proc/dunlin/file", &err), -ENOENT);
	dn_new_file_done(&file);
	assert_true(err.message[0] != '\0');
}

/* As on file systems that know no files without a name, and what a killed process leaves there. */
static void test_new_file_named(void **state)
{
	const char *path = in_folder("file");
	struct dn_new_file file = DN_NEW_FILE_INIT;
	struct dn_new_file other = DN_NEW_FILE_INIT;
	struct dn_error err = DN_ERROR_INIT;

	(void)state;
	write_file(in_folder("file.new"), "of one that was killed, and longer", 0600);
	assert_int_equal(dn_new_file_begin_named(&file, path, &err), 0);
	assert_int_equal(dn_write_whole(file.fd, "first", 5, "it", &err), 0);
	assert_int_equal(dn_new_file_begin_named(&other, path, &err), -EBUSY);
	dn_new_file_done(&other);
	assert_int_equal(dn_new_file_commit(&file, false, &err), 0);
	dn_new_file_done(&file);
	expect_file(path, "first");

	assert_int_equal(dn_new_file_begin_named(&file, path, &err), 0);
	assert_int_equal(dn_write_whole(file.fd, "second", 6, "it", &err), 0);
	assert_int_equal(dn_new_file_commit(&file, false, &err), -EEXIST);
	expect_file(path, "first");
	assert_int_equal(dn_new_file_commit(&file, true, &err), 0);
	dn_new_file_done(&file);
	expect_file(path, "second");

	assert_int_equal(dn_new_file_begin_named(&file, path, &err), 0);
	dn_new_file_done(&file);
	expect_file(path, "second");
	assert_int_equal(entries(), 1);
}

/* Forms of the same files in other layouts go, those of others stay. */
static void test_drop_others(void **state)
{
	const struct dn_key key = { { 1 } };
	const struct dn_prepared_store store = { folder, &key, 2 };
	const struct dn_digest digest = { { 3 } };
	const struct dn_digest other = { { 4 } };
	const struct dn_prepared_store old = { folder, &key, 1 };
	struct dn_error err = DN_ERROR_INIT;
	char path[PATH_MAX];

	(void)state;
	assert_int_equal(dn_prepared_path(&old, &digest, path, &err), 0);
	write_file(path, "old", 0600);
	assert_int_equal(dn_prepared_path(&old, &other, path, &err), 0);
	write_file(path, "another's", 0600);
	assert_int_equal(dn_prepared_path(&store, &digest, path, &err), 0);
	write_file(path, "new", 0600);
	dn_prepared_drop_others(&store, &digest);
	assert_int_equal(entries(), 2);
	expect_file(path, "new");
}

static void test_key(void **state)
{
	const char *path = in_folder("keys/device.key");
	struct dn_error err = DN_ERROR_INIT;
	struct dn_key key, again;

	(void)state;
	assert_int_equal(dn_device_key_load(path, false, &key, &err), -ENOENT);
	assert_int_equal(dn_device_key_load(path, true, &key, &err), 0);
	assert_int_equal(dn_device_key_load(path, true, &again, &err), 0);
	assert_true(dn_key_equal(&key, &again));
	again.bytes[31] ^= 1;
	assert_false(dn_key_equal(&key, &again));
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(dn_device_key_load(path, true, &again, &err), -EPERM);
	write_file(path, "short", 0600);
	assert_int_equal(dn_device_key_load(path, true, &again, &err), -EINVAL);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/dev/zero", path), 0);
	assert_int_equal(dn_device_key_load(path, true, &again, &err), -ELOOP);
}

/* Against the openssl program. */
static void test_derive(void **state)
{
	const struct dn_key key = { "0123456789abcdef0123456789abcdef" };
	/* printf 'label\0data' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef */
	static const char expected[] =
		"4b0b030935646fc621674cfe1168649f8107c5c3f7e540dd2357735a1a7575cd";
	struct dn_error err = DN_ERROR_INIT;
	struct dn_digest shown;
	struct dn_key derived;
	char text[DN_DIGEST_TEXT];

	(void)state;
	assert_int_equal(dn_key_derive(&key, "label", "data", 4, &derived, &err), 0);
	memcpy(shown.bytes, derived.bytes, sizeof(shown.bytes));
	dn_digest_text(&shown, text);
	assert_string_equal(text, expected);
}

/* FIPS 180-2's "abc", and the files of a model in two parts. */
static void test_digest(void **state)
{
	static const char abc[] =
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
	struct dn_error err = DN_ERROR_INIT;
	struct dn_digest digest, pair[2], both;
	char text[DN_DIGEST_TEXT];
	int fds[2];

	(void)state;
	write_file(in_folder("abc"), "abc", 0600);
	write_file(in_folder("abd"), "abd", 0600);
	fds[0] = open(in_folder("abc"), O_RDONLY | O_CLOEXEC);
	fds[1] = open(in_folder("abd"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(dn_digest_files(fds, 1, &digest, &err), 0);
	dn_digest_text(&digest, text);
	assert_string_equal(text, abc);
	pair[0] = digest;
	assert_int_equal(dn_digest_bytes("abd", 3, &pair[1], &err), 0);
	assert_int_equal(dn_digest_bytes(pair, sizeof(pair), &both, &err), 0);
	assert_int_equal(dn_digest_files(fds, 2, &digest, &err), 0);
	assert_memory_equal(&both, &digest, sizeof(both));
	close(fds[0]);
	close(fds[1]);
}

static int sealed_fd(size_t size, const struct dn_key *key)
{
	const struct dn_digest source = { { 7 } };
	struct dn_error err = DN_ERROR_INIT;
	int fd = memfd_create("sealed", MFD_CLOEXEC);
	uint8_t *bytes = malloc(size + 1);

	assert_non_null(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i * 7 + (i >> 9) + (i >> 22));
	assert_true(fd >= 0);
	assert_int_equal(dn_write_whole(fd, bytes, size, "it", &err), 0);
	free(bytes);
	assert_int_equal(dn_seal_append(fd, key, &source, size / 2, &err), 0);
	return fd;
}

static int check(int fd, const struct dn_key *key, uint32_t threads)
{
	DN_AUTO_SEAL struct dn_seal seal = DN_SEAL_INIT;
	struct dn_error err = DN_ERROR_INIT;
	int r = dn_seal_open(fd, key, &seal, &err);

	if (r >= 0)
		r = dn_seal_check(fd, &seal, threads, &err);
	assert_int_equal(err.code, -r);
	assert_true(r == 0 || err.message[0] != '\0');
	return r;
}

/* The leaves of the head alone; one that is changed behind them is not seen. */
static int check_head(int fd, const struct dn_key *key)
{
	DN_AUTO_SEAL struct dn_seal seal = DN_SEAL_INIT;
	struct dn_seal_check *check = NULL;
	struct dn_error err = DN_ERROR_INIT;
	struct pollfd over;

	assert_int_equal(dn_seal_open(fd, key, &seal, &err), 0);
	assert_int_equal(dn_seal_check_begin(fd, &seal, seal.head_bytes, 2, &check, &err), 0);
	over = (struct pollfd){ .fd = dn_seal_check_fd(check), .events = POLLIN };
	assert_int_equal(poll(&over, 1, 10000), 1);
	return dn_seal_check_end(check, &err);
}

static void flip(int fd, off_t at)
{
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static void test_seal(void **state)
{
	static const size_t sizes[] = { 0, 1, LEAF - 1, LEAF, LEAF + 1, 3 * LEAF + 12345 };
	const struct dn_key key = { { 1 } };
	const struct dn_key other = { { 2 } };

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(sizes); i++) {
		int fd = sealed_fd(sizes[i], &key);

		for (uint32_t threads = 1; threads <= 20; threads += 19)
			assert_int_equal(check(fd, &key, threads), 0);
		assert_int_equal(check(fd, &other, 1), -EBADMSG);
		close(fd);
	}
}

/* One bit anywhere: in what is sealed, in the codes, in each byte of the foot. */
static void test_seal_changed(void **state)
{
	const struct dn_key key = { { 1 } };
	const size_t size = 2 * LEAF + 100;
	int fd = sealed_fd(size, &key);
	const off_t ends[] = { 0, 1, (off_t)LEAF - 1, (off_t)LEAF, (off_t)size - 1 };
	struct stat st;

	(void)state;
	assert_int_equal(fstat(fd, &st), 0);
	for (size_t i = 0; i < DN_ARRAY_SIZE(ends); i++) {
		flip(fd, ends[i]);
		assert_int_equal(check(fd, &key, 2), -EBADMSG);
		flip(fd, ends[i]);
	}
	for (off_t at = (off_t)size; at < st.st_size; at++) {
		int r;

		flip(fd, at);
		r = check(fd, &key, 1);
		assert_true(r == -EBADMSG || r == -ENOMSG);
		flip(fd, at);
	}
	assert_int_equal(check(fd, &key, 2), 0);
	close(fd);
}

/* Leaves in another order are not what was sealed; nor is less, or more. */
static void test_seal_moved(void **state)
{
	const struct dn_key key = { { 1 } };
	int fd = sealed_fd(2 * LEAF, &key);
	uint8_t *leaves = malloc(2 * LEAF);
	struct stat st;

	(void)state;
	assert_non_null(leaves);
	assert_int_equal(pread(fd, leaves, 2 * LEAF, 0), (ssize_t)(2 * LEAF));
	assert_int_equal(pwrite(fd, leaves + LEAF, LEAF, 0), (ssize_t)LEAF);
	assert_int_equal(pwrite(fd, leaves, LEAF, (off_t)LEAF), (ssize_t)LEAF);
	assert_int_equal(check(fd, &key, 1), -EBADMSG);
	assert_int_equal(pwrite(fd, leaves, 2 * LEAF, 0), (ssize_t)(2 * LEAF));
	assert_int_equal(check(fd, &key, 1), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(ftruncate(fd, st.st_size - 1), 0);
	assert_int_equal(check(fd, &key, 1), -ENOMSG);
	assert_int_equal(ftruncate(fd, 10), 0);
	assert_int_equal(check(fd, &key, 1), -ENOMSG);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(check(fd, &key, 1), -ENOMSG);
	free(leaves);
	close(fd);
}

static void test_seal_head(void **state)
{
	const struct dn_key key = { { 1 } };
	int fd = sealed_fd(4 * LEAF, &key);

	(void)state;
	assert_int_equal(check_head(fd, &key), 0);
	flip(fd, (off_t)(3 * LEAF));
	assert_int_equal(check_head(fd, &key), 0);
	assert_int_equal(check(fd, &key, 1), -EBADMSG);
	flip(fd, (off_t)LEAF);
	assert_int_equal(check_head(fd, &key), -EBADMSG);
	close(fd);
}

/* Ended before it is over, it is no success. */
static void test_seal_given_up(void **state)
{
	const struct dn_key key = { { 1 } };
	int fd = sealed_fd(8 * LEAF, &key);
	DN_AUTO_SEAL struct dn_seal seal = DN_SEAL_INIT;
	int given_up = 0;

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_seal_check *check = NULL;
		int r;

		dn_seal_done(&seal);
		assert_int_equal(dn_seal_open(fd, &key, &seal, &err), 0);
		assert_int_equal(dn_seal_check_begin(fd, &seal, seal.bytes, 1, &check, &err), 0);
		r = dn_seal_check_end(check, &err);
		assert_true(r == 0 || r == -ECANCELED);
		given_up += r == -ECANCELED;
	}
	assert_true(given_up > 0);
	close(fd);
}

/* A file that is cut short between opening and checking. */
static void test_seal_shrinks(void **state)
{
	const struct dn_key key = { { 1 } };
	int fd = sealed_fd(LEAF + 5, &key);
	DN_AUTO_SEAL struct dn_seal seal = DN_SEAL_INIT;
	struct dn_error err = DN_ERROR_INIT;

	(void)state;
	assert_int_equal(dn_seal_open(fd, &key, &seal, &err), 0);
	assert_int_equal(ftruncate(fd, (off_t)LEAF), 0);
	assert_int_equal(dn_seal_check(fd, &seal, 2, &err), -EBADMSG);
	close(fd);
}

static void test_records(void **state)
{
	const struct dn_key key = { { 1 } };
	const struct dn_key other = { { 2 } };
	const struct dn_prepared_store store = { in_folder("prepared"), &key, 1 };
	const struct dn_prepared_store stolen = { store.folder, &other, 1 };
	const struct dn_digest digest = { { 3 } };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_digest identity, changed, found;
	char path[PATH_MAX];
	int fd;

	(void)state;
	write_file(in_folder("model"), "weights", 0600);
	fd = open(in_folder("model"), O_RDWR | O_CLOEXEC);
	assert_int_equal(dn_files_identity(&fd, 1, &identity, &err), 0);
	assert_int_equal(dn_prepared_recall(&store, &identity, &found, &err), -ENOENT);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(dn_prepared_record(&store, &identity, &digest, &err), 0);
		assert_int_equal(dn_prepared_recall(&store, &identity, &found, &err), 0);
		assert_memory_equal(&found, &digest, sizeof(found));
	}
	assert_int_equal(dn_prepared_recall(&stolen, &identity, &found, &err), -EBADMSG);
	assert_int_equal(dn_prepared_path(&store, &digest, path, &err), 0);
	assert_non_null(strstr(path, "/prepared/0300000000"));
	assert_non_null(strstr(path, "00-1.dunlin"));
	/* Written to, it is another file. */
	assert_int_equal(write(fd, "W", 1), 1);
	assert_int_equal(dn_files_identity(&fd, 1, &changed, &err), 0);
	assert_memory_not_equal(&changed, &identity, sizeof(changed));
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_new_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_new_file_nowhere, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_key, set_up, tear_down),
		cmocka_unit_test(test_derive),
		cmocka_unit_test_setup_teardown(test_digest, set_up, tear_down),
		cmocka_unit_test(test_seal),
		cmocka_unit_test(test_seal_changed),
		cmocka_unit_test(test_seal_moved),
		cmocka_unit_test(test_seal_shrinks),
		cmocka_unit_test(test_seal_head),
		cmocka_unit_test(test_seal_given_up),
		cmocka_unit_test_setup_teardown(test_new_file_named, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_drop_others, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_records, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
