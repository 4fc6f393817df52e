/* SPDX-License-Identifier: MIT */
/* The server's small parts: control packets, keys and their rates, listening sockets, metrics, the log's values. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/sha.h>

#include "failing-malloc.h"
#include "server/control.h"
#include "server/front/accounts.h"
#include "server/front/metrics.h"
#include "server/keys.h"
#include "server/listen.h"
#include "server/log.h"

static void test_control(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_control control;

	(void)state;
	dn_control_init(&control, DN_CONTROL_LOST, 1);
	dn_control_set_text(control.u.text, sizeof(control.u.text), "gone\033[2J");
	assert_int_equal(dn_control_check(&control, true, false, 2, &err), 0);
	assert_null(strchr(control.u.text, '\033'));
	/* The wrong way, with a descriptor, of a model that there is not, with more than it has. */
	assert_int_equal(dn_control_check(&control, false, false, 2, &err), -EBADMSG);
	assert_int_equal(dn_control_check(&control, true, true, 2, &err), -EBADMSG);
	assert_int_equal(dn_control_check(&control, true, false, 1, &err), -EBADMSG);
	control.u.bytes[DN_CONTROL_TEXT_MAX] = 1;
	assert_int_equal(dn_control_check(&control, true, false, 2, &err), -EBADMSG);
	dn_control_init(&control, DN_CONTROL_LOST, 1);
	memset(control.u.text, 'a', DN_CONTROL_TEXT_MAX);
	assert_int_equal(dn_control_check(&control, true, false, 2, &err), -EBADMSG);
	dn_control_init(&control, DN_CONTROL_ALIVE, 1);
	assert_int_equal(dn_control_check(&control, false, false, 2, &err), -EBADMSG);
	control.model = 0;
	assert_int_equal(dn_control_check(&control, false, false, 2, &err), 0);
	control.type = 99;
	assert_int_equal(dn_control_check(&control, false, false, 2, &err), -EBADMSG);
	dn_control_init(&control, DN_CONTROL_SAVE, 0);
	assert_int_equal(dn_control_check(&control, false, false, 2, &err), -EBADMSG);
	assert_int_equal(dn_control_check(&control, false, true, 2, &err), 0);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static struct dn_control_key keys[DN_SERVER_KEYS_MAX];

static int read_keys(const char *path, uint32_t *ret_n, struct dn_error *err)
{
	static const struct dn_key_models models = { .names = { "one", "two" }, .n = 2 };
	char unknown[DN_CONTROL_NAME_MAX];

	return dn_keys_read(path, &models, keys, ret_n, unknown, err);
}

static void test_keys(void **state)
{
	char folder[] = "/tmp/dunlin-keys-XXXXXX";
	char path[64];
	char made[DN_KEY_TEXT_MAX];
	struct dn_error err = DN_ERROR_INIT;
	uint32_t n = 0;

	(void)state;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/keys", folder);
	assert_int_equal(read_keys(path, &n, &err), -ENOENT);
	write_file(path,
		   "# people\n\nalice sk-0123456789abcdef\nsk-aaaaaaaaaaaaaaaa\n"
		   "bob sha256:"
		   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
		   0600);
	assert_int_equal(read_keys(path, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_string_equal(keys[0].name, "alice");
	assert_string_equal(keys[1].name, "key4");
	assert_string_equal(keys[2].name, "bob");
	assert_int_equal(keys[2].sha256[0], 0xba);
	assert_int_equal(keys[2].sha256[31], 0xad);
	/* Without fields, all is as it was before there were any. */
	assert_true(keys[0].models == UINT64_MAX && keys[0].parallel == 0);
	assert_true(keys[0].requests.count == 0 && keys[0].tokens.count == 0);
	assert_int_equal(keys[0].priority, DN_PRIORITY_NORMAL);
	assert_int_equal(keys[0].most, DN_PRIORITY_URGENT);
	write_file(path, "alice sk-0123456789abcdef\n", 0644);
	assert_int_equal(read_keys(path, &n, &err), -EPERM);
	/* A byte-order mark neither is a name nor makes a key of a remark. */
	write_file(path, "\xef\xbb\xbf# remarks-of-some-length\n", 0600);
	assert_int_equal(read_keys(path, &n, &err), -ENOENT);
	write_file(path, "short\n", 0600);
	assert_int_equal(read_keys(path, &n, &err), -EINVAL);
	assert_non_null(strstr(err.message, "line 1"));
	write_file(path, "\na sk-0123456789abcdef more\n", 0600);
	assert_int_equal(read_keys(path, &n, &err), -EINVAL);
	assert_non_null(strstr(err.message, "line 2"));
	write_file(path, "a sha256:12\n", 0600);
	assert_int_equal(read_keys(path, &n, &err), -EINVAL);
	write_file(path, "# none\n", 0600);
	assert_int_equal(read_keys(path, &n, &err), -ENOENT);
	assert_int_equal(dn_keys_make(path, made, &err), -EEXIST);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(dn_keys_make(path, made, &err), 0);
	assert_int_equal(strlen(made), 3 + 48);
	assert_int_equal(read_keys(path, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
}

/* Of one line, what is read or why not; NULL: it is good. */
static const char *why_not(const char *line)
{
	static const struct dn_key_models models = { .names = { "one", "two" }, .n = 2 };
	static struct dn_error err;
	char unknown[DN_CONTROL_NAME_MAX];
	char text[256];
	uint32_t n;

	err = (struct dn_error)DN_ERROR_INIT;
	(void)snprintf(text, sizeof(text), "%s", line);
	return dn_keys_parse(text, &models, keys, &n, unknown, &err) < 0 ? err.message : NULL;
}

/* What is long enough to be a key and is none: the key beside it is neither a name nor unlimited. */
static void test_key_takers(void **state)
{
	static const char *const bad[] = {
		"sk-0123456789abcdef request=1000000/d",
		"sk-0123456789abcdef prioritty=urgent",
		"sk-0123456789abcdef expired=2027-01-01",
		"sk-0123456789abcdef #alices-laptop-key",
		"sk-0123456789abcdef # alice",
		"requests=1/d sk-0123456789abcdef",
		"requests=1000000/d",
	};

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(bad); i++) {
		const char *why = why_not(bad[i]);

		assert_non_null(why);
		assert_non_null(strstr(why, "line 1"));
		assert_null(strstr(why, "0123456789"));
	}
}

static void test_key_fields(void **state)
{
	static const char *const bad[] = {
		"priority=low",
		"priority=",
		"requests=60",
		"requests=0/m",
		"requests=-1/m",
		"requests=1/w",
		"requests=1.5/m",
		"tokens=/m",
		"tokens=m",
		"tokens=1/m/m",
		"parallel=0",
		"parallel=65536",
		"parallel=1/m",
		"requests=99999999999999999999/m",
		"parallel=2 parallel=2",
		"expires=2027-02-29",
		"expires=2027-13-01",
		"expires=2027-1-001",
		"expires=27-01-01",
		"expires=2027-01-01x",
		"expires=0202-01-01",
		"expires=",
		"colour=red",
		"models=one more",
	};
	char line[256];

	(void)state;
	assert_null(
		why_not("alice sk-0123456789abcdef priority=batch models=two,nobody requests=60/m "
			"tokens=10000/h parallel=4"));
	assert_int_equal(keys[0].priority, DN_PRIORITY_BATCH);
	assert_int_equal(keys[0].most, DN_PRIORITY_BATCH);
	assert_true(keys[0].models == 2);
	assert_true(keys[0].requests.count == 60);
	assert_true(keys[0].requests.period_ns == UINT64_C(60000000000));
	assert_true(keys[0].tokens.count == 10000);
	assert_true(keys[0].tokens.period_ns == UINT64_C(3600000000000));
	assert_int_equal(keys[0].parallel, 4);
	assert_true(keys[0].expires_s == 0);
	assert_null(why_not("alice sk-0123456789abcdef expires=2028-02-29"));
	assert_true(keys[0].expires_s == UINT64_C(1835481600));
	/* Fields of a key without a name; a key that looks like one, behind a name. */
	assert_null(why_not("sk-0123456789abcdef parallel=2"));
	assert_string_equal(keys[0].name, "key1");
	assert_int_equal(keys[0].parallel, 2);
	assert_null(why_not("alice c2VjcmV0c2VjcmV0c2VjcmU="));
	assert_string_equal(keys[0].name, "alice");
	assert_null(why_not("c2VjcmV0c2VjcmV0c2VjcmU= tokens=1/s"));
	assert_string_equal(keys[0].name, "key1");
	for (size_t i = 0; i < DN_ARRAY_SIZE(bad); i++) {
		const char *why;

		(void)snprintf(line, sizeof(line), "alice sk-0123456789abcdef %s", bad[i]);
		why = why_not(line);
		assert_non_null(why);
		assert_non_null(strstr(why, "line 1"));
		assert_null(strstr(why, "0123456789"));
	}
}

static struct dn_control_listed_key listed(uint32_t at, uint32_t n, const char *key)
{
	struct dn_control_listed_key one = { .at = at, .n = n, .key = { .models = UINT64_MAX } };

	dn_control_set_text(one.key.name, sizeof(one.key.name), key);
	SHA256((const unsigned char *)key, strlen(key), one.key.sha256);
	return one;
}

/* Which are in force, and what goes on with those that are no more. */
static void test_accounts(void **state)
{
	static struct dn_accounts accounts;
	struct dn_control_listed_key a = listed(0, 2, "key-of-a");
	struct dn_control_listed_key b = listed(1, 2, "key-of-b");
	struct dn_error err = DN_ERROR_INIT;
	struct dn_account *account;

	(void)state;
	assert_int_equal(dn_accounts_take(&accounts, &b, 0, &err), -EBADMSG);
	assert_int_equal(dn_accounts_take(&accounts, &a, 0, &err), 0);
	assert_null(dn_accounts_find(&accounts, "key-of-a"));
	assert_int_equal(dn_accounts_take(&accounts, &b, 0, &err), 0);
	account = dn_accounts_find(&accounts, "key-of-a");
	assert_non_null(account);
	assert_ptr_not_equal(dn_accounts_find(&accounts, "key-of-b"), account);
	assert_null(dn_accounts_find(&accounts, ""));
	assert_null(dn_accounts_find(&accounts, "key-of-c"));
	/* A request of a's goes on when a is gone, and the account with it. */
	dn_account_begin(account, true, 0);
	b = listed(0, 1, "key-of-b");
	assert_int_equal(dn_accounts_take(&accounts, &b, 0, &err), 0);
	assert_null(dn_accounts_find(&accounts, "key-of-a"));
	assert_non_null(dn_accounts_find(&accounts, "key-of-b"));
	assert_string_equal(account->key.name, "key-of-a");
	dn_account_end(account, true);
	b.n = DN_SERVER_KEYS_MAX + 1;
	assert_int_equal(dn_accounts_take(&accounts, &b, 0, &err), -EBADMSG);
	dn_accounts_done(&accounts);
}

static void test_expired(void **state)
{
	struct dn_account account = { .key = { .expires_s = 0 } };

	(void)state;
	assert_false(dn_account_is_expired(&account, UINT64_MAX));
	account.key.expires_s = 1835481600;
	assert_false(dn_account_is_expired(&account, 1835481599));
	assert_true(dn_account_is_expired(&account, 1835481600));
}

#define SECOND UINT64_C(1000000000)

static void test_rates(void **state)
{
	static struct dn_accounts accounts;
	struct dn_control_listed_key one = listed(0, 1, "key-of-one");
	struct dn_error err = DN_ERROR_INIT;
	struct dn_api_error error;
	struct dn_account *account;

	(void)state;
	one.key.requests = (struct dn_control_rate){ 2, 60 * SECOND };
	one.key.tokens = (struct dn_control_rate){ 100, 60 * SECOND };
	one.key.parallel = 1;
	assert_int_equal(dn_accounts_take(&accounts, &one, 0, &err), 0);
	account = dn_accounts_find(&accounts, "key-of-one");
	assert_true(dn_account_check(account, 0, &error));
	dn_account_begin(account, true, 0);
	/* One at a time. */
	assert_false(dn_account_check(account, 0, &error));
	assert_int_equal(error.status, 429);
	assert_int_equal(error.retry_s, 1);
	dn_account_end(account, true);
	assert_true(dn_account_check(account, 0, &error));
	dn_account_begin(account, true, 0);
	dn_account_end(account, true);
	/* Two a minute: the third in half of one. */
	assert_false(dn_account_check(account, 0, &error));
	assert_int_equal(error.retry_s, 31);
	assert_string_equal(error.type, "requests");
	assert_string_equal(error.code, "rate_limit_exceeded");
	assert_false(dn_account_check(account, 29 * SECOND, &error));
	/* What is read again and is the same forgets nothing. */
	assert_int_equal(dn_accounts_take(&accounts, &one, 29 * SECOND, &err), 0);
	assert_false(dn_account_check(account, 29 * SECOND, &error));
	assert_true(dn_account_check(account, 31 * SECOND, &error));
	/* The last one overdraws, and the next waits for that. */
	dn_account_charge(account, 150);
	assert_false(dn_account_check(account, 31 * SECOND, &error));
	assert_string_equal(error.type, "tokens");
	assert_int_equal(error.retry_s, 31);
	assert_true(dn_account_check(account, 63 * SECOND, &error));
	/* A clock that stands, or another rate. */
	one.key.requests.count = 5;
	assert_int_equal(dn_accounts_take(&accounts, &one, 0, &err), 0);
	assert_true(account->requests.left == 5);
	dn_accounts_done(&accounts);
}

/* None of several keys is in force where memory is short for one. */
static void test_accounts_memory(void **state)
{
	static struct dn_accounts accounts;
	struct dn_control_listed_key old = listed(0, 1, "key-of-old");
	struct dn_error err = DN_ERROR_INIT;
	int r = -ENOMEM;

	(void)state;
	assert_int_equal(dn_accounts_take(&accounts, &old, 0, &err), 0);
	for (size_t nth = 1; r < 0; nth++) {
		struct dn_control_listed_key a = listed(0, 2, "key-of-a");
		struct dn_control_listed_key b = listed(1, 2, "key-of-b");

		assert_int_equal(dn_accounts_take(&accounts, &a, 0, &err), 0);
		failing_malloc_arm(nth);
		r = dn_accounts_take(&accounts, &b, 0, &err);
		assert_int_equal(failing_malloc_disarm(), r < 0);
		assert_int_equal(r, r < 0 ? -ENOMEM : 0);
		assert_int_equal(dn_accounts_find(&accounts, "key-of-old") != NULL, r < 0);
		assert_int_equal(dn_accounts_find(&accounts, "key-of-a") != NULL, r == 0);
	}
	dn_accounts_done(&accounts);
}

/*
 * A wrong key costs as many comparisons as a right one, wherever that stands: counted where the
 * program compares, so that no clock has a say.
 */
int __real_CRYPTO_memcmp(const volatile void *a, const volatile void *b, size_t size);
int __wrap_CRYPTO_memcmp(const volatile void *a, const volatile void *b, size_t size);

static uint32_t compared;

int __wrap_CRYPTO_memcmp(const volatile void *a, const volatile void *b, size_t size)
{
	compared += (uint32_t)size;
	return __real_CRYPTO_memcmp(a, b, size);
}

static uint32_t comparisons(const struct dn_accounts *accounts, const char *key)
{
	compared = 0;
	(void)dn_accounts_find(accounts, key);
	return compared;
}

static void test_comparisons(void **state)
{
	static struct dn_accounts accounts;
	struct dn_error err = DN_ERROR_INIT;
	char name[16];

	(void)state;
	for (uint32_t i = 0; i < DN_SERVER_KEYS_MAX; i++) {
		struct dn_control_listed_key one;

		(void)snprintf(name, sizeof(name), "key-of-%u", i);
		one = listed(i, DN_SERVER_KEYS_MAX, name);
		assert_int_equal(dn_accounts_take(&accounts, &one, 0, &err), 0);
	}
	assert_int_equal(comparisons(&accounts, "key-of-0"), DN_SERVER_KEYS_MAX * 32);
	assert_int_equal(comparisons(&accounts, "key-of-128"), DN_SERVER_KEYS_MAX * 32);
	assert_int_equal(comparisons(&accounts, "key-of-255"), DN_SERVER_KEYS_MAX * 32);
	assert_int_equal(comparisons(&accounts, "nobody"), DN_SERVER_KEYS_MAX * 32);
	assert_int_equal(comparisons(&accounts, ""), DN_SERVER_KEYS_MAX * 32);
	dn_accounts_done(&accounts);
}

static void reaches(const char *address, bool expected)
{
	struct dn_error err = DN_ERROR_INIT;
	bool beyond = !expected;

	assert_int_equal(dn_listen_is_beyond(address, &beyond, &err), 0);
	assert_int_equal(beyond, expected);
}

static void test_beyond(void **state)
{
	(void)state;
	reaches("127.0.0.1:80", false);
	reaches("127.8.9.1:80", false);
	reaches("[::1]:80", false);
	reaches("[::ffff:127.0.0.1]:80", false);
	reaches("unix:/run/x", false);
	reaches("0.0.0.0:80", true);
	reaches("[::]:80", true);
	reaches(":80", true);
	reaches("192.0.2.1:80", true);
	reaches("[::ffff:192.0.2.1]:80", true);
	reaches("[fe80::1]:80", true);
}

static void listens(const char *address)
{
	struct dn_error err = DN_ERROR_INIT;
	char name[DN_LISTEN_NAME_MAX];
	int value = 0;
	socklen_t size = sizeof(value);
	int fd = -1;

	if (dn_listen_open(address, false, &fd, name, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size), 0);
	assert_int_equal(value, 1);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

static void refuses(const char *address, int code)
{
	struct dn_error err = DN_ERROR_INIT;
	char name[DN_LISTEN_NAME_MAX];
	int fd = -1;

	assert_int_equal(dn_listen_open(address, false, &fd, name, &err), -code);
	assert_true(err.message[0] != '\0');
}

static void test_listen(void **state)
{
	char folder[] = "/tmp/dunlin-listen-XXXXXX";
	char address[128];
	char name[DN_LISTEN_NAME_MAX];
	struct dn_error err = DN_ERROR_INIT;
	int fd = -1;

	(void)state;
	listens("127.0.0.1:0");
	listens("localhost:0");
	refuses("127.0.0.1", EINVAL);
	refuses("127.0.0.1:x", EINVAL);
	refuses("127.0.0.1:", EINVAL);
	refuses("unix:", EINVAL);
	refuses("unix:/nowhere/at/all", ENOENT);
	refuses("no.such.name.invalid:80", EADDRNOTAVAIL);
	assert_non_null(mkdtemp(folder));
	(void)snprintf(address, sizeof(address), "unix:%s/socket", folder);
	assert_int_equal(dn_listen_open(address, false, &fd, name, &err), 0);
	/* In use; and a leftover, once nobody listens any more. */
	refuses(address, EADDRINUSE);
	close(fd);
	listens(address);
	assert_int_equal(unlink(address + strlen("unix:")), 0);
	/* What is no socket stays. */
	write_file(address + strlen("unix:"), "precious", 0600);
	refuses(address, EADDRINUSE);
	assert_int_equal(unlink(address + strlen("unix:")), 0);
	assert_int_equal(rmdir(folder), 0);
}

static void test_metrics(void **state)
{
	struct dn_metrics *metrics = dn_metrics_new();
	DN_AUTO_BUFFER struct dn_buffer out = DN_BUFFER_INIT(1 << 16);

	(void)state;
	dn_metrics_observe(metrics, DN_HISTOGRAM_FIRST_TOKEN, 4000000);
	dn_metrics_observe(metrics, DN_HISTOGRAM_FIRST_TOKEN, UINT64_C(100000000000));
	dn_metrics_add(metrics, DN_COUNTER_STEP_CPU_NS, 1500000000);
	dn_metrics_answered(metrics, 200);
	dn_metrics_answered(metrics, 503);
	dn_metrics_answered(metrics, 200);
	assert_int_equal(dn_metrics_print(metrics, &out), 0);
	assert_non_null(strstr(out.data, "dunlin_first_token_seconds_bucket{le=\"0.003\"} 0\n"));
	assert_non_null(strstr(out.data, "dunlin_first_token_seconds_bucket{le=\"0.005\"} 1\n"));
	assert_non_null(strstr(out.data, "dunlin_first_token_seconds_bucket{le=\"60\"} 1\n"));
	assert_non_null(strstr(out.data, "dunlin_first_token_seconds_bucket{le=\"+Inf\"} 2\n"));
	assert_non_null(strstr(out.data, "dunlin_first_token_seconds_count 2\n"));
	assert_non_null(strstr(out.data, "dunlin_step_cpu_seconds_total 1.5\n"));
	assert_non_null(strstr(out.data, "dunlin_requests_total{status=\"200\"} 2\n"));
	assert_non_null(strstr(out.data, "dunlin_requests_total{status=\"503\"} 1\n"));
	dn_metrics_free(metrics);
}

static void test_log_values(void **state)
{
	char out[32];

	(void)state;
	assert_string_equal(dn_log_value("a b", out, sizeof(out)), "\"a b\"");
	assert_string_equal(dn_log_value("a\n\"\\\xff", out, sizeof(out)),
			    "\"a\\x0a\\\"\\\\\\xff\"");
	assert_true(strlen(dn_log_value("0123456789012345678901234567890123456789", out,
					sizeof(out))) < sizeof(out));
	assert_int_equal(out[strlen(out) - 1], '"');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_control),	    cmocka_unit_test(test_keys),
		cmocka_unit_test(test_key_takers),  cmocka_unit_test(test_key_fields),
		cmocka_unit_test(test_accounts),    cmocka_unit_test(test_rates),
		cmocka_unit_test(test_expired),	    cmocka_unit_test(test_accounts_memory),
		cmocka_unit_test(test_comparisons), cmocka_unit_test(test_beyond),
		cmocka_unit_test(test_listen),	    cmocka_unit_test(test_metrics),
		cmocka_unit_test(test_log_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
