/* SPDX-License-Identifier: MIT */
/* The server's small parts: control packets, keys, listening sockets, metrics, the log's values. */

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

#include "server/control.h"
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

static void test_keys(void **state)
{
	static struct dn_control_key keys[DN_SERVER_KEYS_MAX];
	char folder[] = "/tmp/dunlin-keys-XXXXXX";
	char path[64];
	char made[DN_KEY_TEXT_MAX];
	struct dn_error err = DN_ERROR_INIT;
	uint32_t n = 0;

	(void)state;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/keys", folder);
	assert_int_equal(dn_keys_read(path, keys, &n, &err), -ENOENT);
	write_file(path,
		   "# people\n\nalice sk-0123456789abcdef\nsk-aaaaaaaaaaaaaaaa\n"
		   "bob sha256:"
		   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
		   0600);
	assert_int_equal(dn_keys_read(path, keys, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_string_equal(keys[0].name, "alice");
	assert_string_equal(keys[1].name, "key4");
	assert_string_equal(keys[2].name, "bob");
	assert_int_equal(keys[2].sha256[0], 0xba);
	assert_int_equal(keys[2].sha256[31], 0xad);
	write_file(path, "alice sk-0123456789abcdef\n", 0644);
	assert_int_equal(dn_keys_read(path, keys, &n, &err), -EPERM);
	write_file(path, "short\n", 0600);
	assert_int_equal(dn_keys_read(path, keys, &n, &err), -EINVAL);
	assert_non_null(strstr(err.message, "line 1"));
	write_file(path, "\na sk-0123456789abcdef more\n", 0600);
	assert_int_equal(dn_keys_read(path, keys, &n, &err), -EINVAL);
	assert_non_null(strstr(err.message, "line 2"));
	write_file(path, "a sha256:12\n", 0600);
	assert_int_equal(dn_keys_read(path, keys, &n, &err), -EINVAL);
	write_file(path, "# none\n", 0600);
	assert_int_equal(dn_keys_read(path, keys, &n, &err), -ENOENT);
	assert_int_equal(dn_keys_make(path, made, &err), -EEXIST);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(dn_keys_make(path, made, &err), 0);
	assert_int_equal(strlen(made), 3 + 48);
	assert_int_equal(dn_keys_read(path, keys, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
}

static void listens(const char *address)
{
	struct dn_error err = DN_ERROR_INIT;
	char name[DN_LISTEN_NAME_MAX];
	int value = 0;
	socklen_t size = sizeof(value);
	int fd = -1;

	if (dn_listen_open(address, &fd, name, &err) < 0)
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

	assert_int_equal(dn_listen_open(address, &fd, name, &err), -code);
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
	assert_int_equal(dn_listen_open(address, &fd, name, &err), 0);
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
		cmocka_unit_test(test_control),	   cmocka_unit_test(test_keys),
		cmocka_unit_test(test_listen),	   cmocka_unit_test(test_metrics),
		cmocka_unit_test(test_log_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
