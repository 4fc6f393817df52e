/* SPDX-License-Identifier: MIT */
/* Servers' names, answers in any pieces, and the figures of "dunlin top". */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <string.h>

#include "cli/top.h"
#include "fetch/fetch.h"

static void expect_server(const char *text, const char *host, const char *port,
			  const char *authority)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_fetch_server server;

	assert_int_equal(dn_fetch_server_parse(text, &server, &err), 0);
	assert_string_equal(server.host, host);
	assert_string_equal(server.port, port);
	assert_string_equal(server.authority, authority);
}

static void refuse_server(const char *text, int code, const char *word)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_fetch_server server;

	assert_int_equal(dn_fetch_server_parse(text, &server, &err), -code);
	assert_non_null(strstr(err.message, word));
}

static void test_servers(void **state)
{
	struct dn_fetch_server server;

	(void)state;
	expect_server("127.0.0.1:8080", "127.0.0.1", "8080", "127.0.0.1:8080");
	expect_server("http://device", "device", "80", "device");
	expect_server("http://device:81/", "device", "81", "device:81");
	expect_server("http://device:81/v1", "device", "81", "device:81");
	expect_server("http://[::1]:82/v1/", "::1", "82", "[::1]:82");
	expect_server("http://[::1]", "::1", "80", "[::1]");
	assert_int_equal(dn_fetch_server_parse("unix:/run/a b", &server, NULL), 0);
	assert_string_equal(server.path, "/run/a b");
	assert_string_equal(server.authority, "localhost");
	assert_int_equal(dn_fetch_server_parse("https://device", &server, NULL), 0);
	assert_true(server.tls);
	assert_string_equal(server.port, "443");
	refuse_server("device", EINVAL, "HOST:PORT");
	refuse_server("", EINVAL, "HOST:PORT");
	refuse_server(":80", EINVAL, "HOST:PORT");
	refuse_server("[::1:80", EINVAL, "HOST:PORT");
	refuse_server("::1:80", EINVAL, "HOST:PORT");
	refuse_server("a:", EINVAL, "HOST:PORT");
	refuse_server("a:65536", EINVAL, "HOST:PORT");
	refuse_server("a:1x", EINVAL, "HOST:PORT");
	refuse_server("a b:1", EINVAL, "HOST:PORT");
	refuse_server("a\r\nB:1", EINVAL, "HOST:PORT");
	refuse_server("http://user:word@a:1", EINVAL, "HOST:PORT");
	refuse_server("http://a:1/else", EINVAL, "HOST:PORT");
	refuse_server("unix:", EINVAL, "path");
}

/* Feeds an answer in pieces of a size; returns what the last one gave, or the end. */
static int feed(struct dn_fetch *fetch, const char *answer, size_t piece, struct dn_error *err)
{
	const size_t size = strlen(answer);
	int r = 0;

	for (size_t at = 0; at < size && r >= 0; at += piece)
		r = dn_fetch_take(fetch, answer + at, DN_MIN(piece, size - at), err);
	return r < 0 ? r : dn_fetch_take_end(fetch, err);
}

static void expect_answer(const char *answer, int status, const char *body)
{
	for (size_t piece = 1; piece <= strlen(answer); piece++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_fetch fetch;

		dn_fetch_init(&fetch, 1024);
		assert_int_equal(feed(&fetch, answer, piece, &err), 0);
		assert_true(fetch.whole);
		assert_int_equal(fetch.status, status);
		assert_string_equal(fetch.body.data ? fetch.body.data : "", body);
		dn_fetch_done(&fetch);
	}
}

static void refuse_answer(const char *answer, int code, const char *word)
{
	for (size_t piece = 1; piece <= strlen(answer); piece++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_fetch fetch;

		dn_fetch_init(&fetch, 16);
		assert_int_equal(feed(&fetch, answer, piece, &err), -code);
		assert_non_null(strstr(err.message, word));
		assert_true(fetch.body.size <= 16);
		dn_fetch_done(&fetch);
	}
}

static void test_answers(void **state)
{
	(void)state;
	expect_answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello");
	expect_answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello", 200, "he");
	expect_answer("HTTP/1.1 503 No\r\n\r\nuntil the end", 503, "until the end");
	expect_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		      "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
		      200, "abcde");
	expect_answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
		      401, "");
	refuse_answer("SSH-2.0-nobody\r\n", EBADMSG, "HTTP");
	refuse_answer("HTTP/1.1", EBADMSG, "HTTP");
	refuse_answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", ECONNRESET, "broke off");
	refuse_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
		      EBADMSG, "HTTP");
	refuse_answer("HTTP/1.1 200 OK\r\n\r\nmore than sixteen bytes", E2BIG, "16 bytes");
}

static void test_lines(void **state)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\n\r\ndata: a\r\n\ndata: b";
	struct dn_fetch fetch;
	size_t size;

	(void)state;
	dn_fetch_init(&fetch, 1024);
	assert_null(dn_fetch_line(&fetch, &size));
	assert_int_equal(dn_fetch_take(&fetch, answer, sizeof(answer) - 1, NULL), 0);
	assert_string_equal(dn_fetch_line(&fetch, &size), "data: a");
	assert_int_equal(size, 7);
	assert_string_equal(dn_fetch_line(&fetch, &size), "");
	assert_null(dn_fetch_line(&fetch, &size));
	assert_int_equal(dn_fetch_take(&fetch, "c\n", 2, NULL), 0);
	assert_string_equal(dn_fetch_line(&fetch, &size), "data: bc");
	dn_fetch_done(&fetch);
}

static const char before_text[] = "# TYPE dunlin_first_token_seconds histogram\n"
				  "dunlin_first_token_seconds_bucket{le=\"0.1\"} 10\n"
				  "dunlin_first_token_seconds_bucket{le=\"0.2\"} 10\n"
				  "dunlin_first_token_seconds_bucket{le=\"+Inf\"} 10\n"
				  "dunlin_first_token_seconds_count 10\n"
				  "dunlin_step_tokens_total 100\n"
				  "dunlin_step_cpu_seconds_total 1\n"
				  "dunlin_cpu_seconds_total 5\n"
				  "dunlin_steps_total 50\n";
static const char now_text[] = "dunlin_first_token_seconds_bucket{le=\"0.1\"} 10\n"
			       "dunlin_first_token_seconds_bucket{le=\"0.2\"} 14\n"
			       "dunlin_first_token_seconds_bucket{le=\"+Inf\"} 14\n"
			       "dunlin_first_token_seconds_count 14\n"
			       "dunlin_between_tokens_seconds_count 16\n"
			       "dunlin_step_tokens_total 140\n"
			       "dunlin_step_cpu_seconds_total 3\n"
			       "dunlin_cpu_seconds_total 8\n"
			       "dunlin_steps_total 60\n"
			       "dunlin_steps_total_of_another 7\n"
			       "garbage {{{ \n";

static void near(double value, double wanted)
{
	assert_true(fabs(value - wanted) < 1e-9);
}

static void test_figures(void **state)
{
	struct dn_top_sample before;
	struct dn_top_sample now;
	struct dn_top_figures f;

	(void)state;
	dn_top_read_sample(before_text, &before);
	dn_top_read_sample(now_text, &now);
	before.at_ns = 1000000000;
	now.at_ns = 3000000000;
	dn_top_compare(&now, &before, &f);
	near(f.seconds, 2);
	near(f.tokens_per_second, 10);
	near(f.cores, 1.5);
	near(f.cpu_per_token_s, 0.05);
	/* All four were between 0.1 and 0.2. */
	near(f.first_token_s[0], 0.15);
	near(f.first_token_s[1], 0.195);
	assert_true(isnan(f.between_tokens_s[0]));
	assert_false(dn_top_began_anew(&now, &before));
	assert_true(dn_top_began_anew(&before, &now));
	dn_top_compare(&now, &now, &f);
	near(f.tokens_per_second, 0);
	assert_true(isnan(f.first_token_s[0]));
}

/* No line is longer than the terminal, and what a server says cannot move its cursor. */
static void test_view(void **state)
{
	json_t *props = json_pack("{s:s, s:{s:i, s:i}, s:[{s:s, s:{s:s}, s:s}]}", "version",
				  "dunlin\033[2J", "memory", "workers_bytes", 1048576,
				  "front_bytes", -5, "models", "id",
				  "a very long name of a model, longer than its column, ÄÖÜ",
				  "meta", "state", "failed", "reason", "no\nmemory\033[0m");
	struct dn_top_view view = {
		.where = "here",
		.props = props,
		.fault = "",
		.columns = 40,
	};
	DN_AUTO_BUFFER struct dn_buffer out = DN_BUFFER_INIT(65536);
	json_t *json;

	(void)state;
	assert_non_null(props);
	dn_top_read_sample(now_text, &view.sample);
	dn_top_compare(&view.sample, &view.sample, &view.figures);
	assert_int_equal(dn_top_print(&view, &out), 0);
	assert_null(strchr(out.data, '\033'));
	assert_non_null(strstr(out.data, "1 MiB, no budget"));
	for (char *line = strtok(out.data, "\n"); line; line = strtok(NULL, "\n")) {
		size_t points = 0;

		for (const char *c = line; *c; c++)
			points += ((unsigned char)*c & 0xc0) != 0x80;
		assert_true(points <= 40);
	}
	json = dn_top_json(&view);
	assert_true(json_is_null(json_object_get(json_object_get(json, "first_token"), "p50_ms")));
	json_decref(json);
	json_decref(props);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_servers), cmocka_unit_test(test_answers),
		cmocka_unit_test(test_lines),	cmocka_unit_test(test_figures),
		cmocka_unit_test(test_view),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
