/* SPDX-License-Identifier: MIT */
/* Files of options. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "failing-malloc.h"
#include "cli/config.h"

struct values {
	bool flag;
	uint32_t number;
	const char *text;
	struct dn_option_list list;
};

static const struct dn_option options[] = {
	{ .name = "flag", .kind = DN_OPTION_FLAG, .offset = offsetof(struct values, flag) },
	{ .name = "number",
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, number),
	  .min = 1,
	  .max = 9,
	  .argument = "N" },
	{ .name = "text",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, text),
	  .argument = "TEXT" },
	{ .name = "list",
	  .kind = DN_OPTION_LIST,
	  .offset = offsetof(struct values, list),
	  .max = 3,
	  .argument = "ITEM" },
	{ .name = "once",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, flag),
	  .not_in_files = true },
};

static const struct dn_verb verb = {
	.name = "test",
	.arguments = "",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.values_size = sizeof(struct values),
};

/* The command line is @argument alone, or nothing. @text: kept by the caller */
static int parse(char *argument, char *text, struct values *values, struct dn_error *err)
{
	struct dn_invocation invocation = { .verb = &verb, .values = values };
	char *argv[] = { argument };

	*values = (struct values){ .number = 5 };
	*err = (struct dn_error)DN_ERROR_INIT;
	assert_int_equal(dn_options_parse(argument ? 1 : 0, argv, &invocation, err), 0);
	return dn_config_parse(text, strlen(text), "a.conf", &invocation, err);
}

static void test_lines(void **state)
{
	char text[] = "# remark\n\n  flag = true\r\n"
		      "number=7 # ours\ntext = \"a # b = c\"#d\n"
		      "list = one\nlist =\ttwo words \nlist = \" three\"";
	struct dn_error err;
	struct values values;

	(void)state;
	assert_int_equal(parse(NULL, text, &values, &err), 0);
	assert_true(values.flag);
	assert_int_equal(values.number, 7);
	assert_string_equal(values.text, "a # b = c");
	assert_int_equal(values.list.count, 3);
	assert_string_equal(values.list.items[0], "one");
	assert_string_equal(values.list.items[1], "two words");
	assert_string_equal(values.list.items[2], " three");
}

/* A remark is no part of a value; what only looks like one is. */
static void test_remarks(void **state)
{
	char text[] = "text = example.org # ours\r\n"
		      "list = a#b\nlist = \"c\"\t# \"d\"\nlist = e\t#\n"
		      "flag = true #\n";
	struct dn_error err;
	struct values values;

	(void)state;
	assert_int_equal(parse(NULL, text, &values, &err), 0);
	assert_string_equal(values.text, "example.org");
	assert_int_equal(values.list.count, 3);
	assert_string_equal(values.list.items[0], "a#b");
	assert_string_equal(values.list.items[1], "c");
	assert_string_equal(values.list.items[2], "e");
	assert_true(values.flag);
}

static void test_command_line_goes_first(void **state)
{
	char list[] = "--list=mine";
	char number[] = "--number=3";
	char one[] = "list = a\nlist = b\n"
		     "number = 7\nflag = false\n";
	char two[] = "list = a\nlist = b\n"
		     "number = 7\n";
	struct dn_error err;
	struct values values;

	(void)state;
	assert_int_equal(parse(list, one, &values, &err), 0);
	assert_int_equal(values.list.count, 1);
	assert_string_equal(values.list.items[0], "mine");
	assert_int_equal(values.number, 7);
	assert_false(values.flag);
	assert_int_equal(parse(number, two, &values, &err), 0);
	assert_int_equal(values.list.count, 2);
	assert_int_equal(values.number, 3);
}

static void test_errors(void **state)
{
	static const struct {
		const char *text;
		const char *where;
		const char *what;
	} cases[] = {
		{ "flag = true\n"
		  "number\n",
		  "a.conf:2", "NAME = VALUE" },
		{ "\n\n"
		  "numbers = 7\n",
		  "a.conf:3", "did you mean --number?" },
		{ "number = 70\n", "a.conf:1", "1 to 9" },
		{ "flag = 1\n", "a.conf:1", "true or false" },
		{ "flag = \n", "a.conf:1", "no value" },
		{ "number = # 7\n", "a.conf:1", "no value" },
		{ "text = \"a\" b\n", "a.conf:1", "in quotes" },
		{ "text = \"a\n", "a.conf:1", "in quotes" },
		{ "help = true\n", "a.conf:1", "command line alone" },
		{ "once = false\n", "a.conf:1", "command line alone" },
		{ " = 1\n", "a.conf:1", "unknown option" },
		{ "list = 1\nlist = 2\nlist = 3\nlist = 4\n", "a.conf:4", "at most 3" },
	};
	struct dn_error err;
	struct values values;
	char text[128];

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(cases); i++) {
		(void)snprintf(text, sizeof(text), "%s", cases[i].text);
		assert_int_equal(parse(NULL, text, &values, &err), -EINVAL);
		assert_non_null(strstr(err.message, cases[i].where));
		assert_non_null(strstr(err.message, cases[i].what));
	}
}

static void test_file(void **state)
{
	char path[] = "/tmp/dunlin-config-XXXXXX";
	const int fd = mkstemp(path);
	struct values values = { .number = 5 };
	struct dn_invocation invocation = { .verb = &verb, .values = &values };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_text_file file = { NULL, 0 };

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "number = 8\n", 11), 11);
	failing_malloc_arm(1);
	assert_int_equal(dn_config_read(path, &invocation, &file, &err), -ENOMEM);
	assert_true(failing_malloc_disarm());
	assert_int_equal(values.number, 5);
	assert_int_equal(dn_config_read(path, &invocation, &file, &err), 0);
	assert_int_equal(values.number, 8);
	dn_text_file_done(&file);
	assert_int_equal(pwrite(fd, "\xef\xbb\xbfnumber=9", 11, 0), 11);
	assert_int_equal(dn_config_read(path, &invocation, &file, &err), 0);
	assert_int_equal(values.number, 9);
	dn_text_file_done(&file);
	assert_int_equal(write(fd, "\0", 1), 1);
	assert_int_equal(dn_config_read(path, &invocation, &file, &err), -EINVAL);
	assert_null(file.text);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(dn_config_read(path, &invocation, &file, &err), -ENOENT);
	assert_int_equal(dn_config_read("/tmp", &invocation, &file, &err), -EINVAL);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_remarks),
		cmocka_unit_test(test_command_line_goes_first),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
