/* SPDX-License-Identifier: MIT */

#include "cli/config.h"

#include <errno.h>
#include <string.h>

#define FILE_MAX ((size_t)64 << 10)
#define BLANKS	 " \t\r"

/* Without blanks at both ends; changes the text. */
static char *trim(char *text)
{
	size_t size;

	text += strspn(text, BLANKS);
	size = strlen(text);
	while (size > 0 && strchr(BLANKS, text[size - 1]))
		text[--size] = '\0';
	return text;
}

/* Behind what the line says: nothing, or a remark. */
static bool is_end(const char *text)
{
	text += strspn(text, BLANKS);
	return *text == '\0' || *text == '#';
}

/*
 * What is behind the '=', without a remark; it may stand in quotes, as it has to in TOML. A '#' within
 * a word begins none. Return: NULL where a quote has no other one at the value's end.
 */
static char *find_value(char *text)
{
	text = trim(text);
	if (text[0] == '"') {
		char *end = strchr(text + 1, '"');

		if (!end || !is_end(end + 1))
			return NULL;
		*end = '\0';
		return text + 1;
	}
	for (char *at = text; *at != '\0'; at++)
		if (*at == '#' && (at == text || strchr(BLANKS, at[-1]))) {
			*at = '\0';
			break;
		}
	return trim(text);
}

static int parse_line(char *line, struct dn_invocation *invocation, struct dn_error *err)
{
	char *equals;
	char *name;
	char *value;

	line = trim(line);
	if (line[0] == '\0' || line[0] == '#')
		return 0;
	equals = strchr(line, '=');
	if (!equals)
		return dn_error_set(err, EINVAL, "'%.80s' is no NAME = VALUE", line);
	*equals = '\0';
	name = trim(line);
	value = find_value(equals + 1);
	if (!value)
		return dn_error_set(err, EINVAL,
				    "'%.80s': a value in quotes ends with the second one", name);
	if (value[0] == '\0')
		return dn_error_set(err, EINVAL, "'%.80s' has no value", name);
	return dn_options_set(invocation, name, value, err);
}

int dn_config_parse(char *text, size_t size, const char *path, struct dn_invocation *invocation,
		    struct dn_error *err)
{
	unsigned int number = 0;

	if (strlen(text) != size)
		return dn_error_set(err, EINVAL, "%.160s: it has a zero byte", path);
	while (text) {
		char *end = strchr(text, '\n');
		int r;

		if (end)
			*end = '\0';
		number++;
		r = parse_line(text, invocation, err);
		if (r < 0)
			return dn_error_prefix(err, r, "%.160s:%u", path, number);
		text = end ? end + 1 : NULL;
	}
	return 0;
}

int dn_config_read(const char *path, struct dn_invocation *invocation,
		   struct dn_text_file *ret_file, struct dn_error *err)
{
	DN_AUTO_TEXT_FILE struct dn_text_file file = { NULL, 0 };
	int r = dn_text_file_read(path, "options", FILE_MAX, false, &file, err);

	if (r >= 0)
		r = dn_config_parse(file.text, file.size, path, invocation, err);
	if (r < 0)
		return r;
	*ret_file = file;
	file.text = NULL;
	return 0;
}
