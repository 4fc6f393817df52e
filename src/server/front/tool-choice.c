/* SPDX-License-Identifier: MIT */
/*
 * Calls that a request demands. Words cannot make a model call, so its answer keeps to the schema of a
 * list of calls, the same for all families; their own forms are for calls that they choose to make.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/front/messages.h"

/* Of calls at once: a small model would go on for ever. */
#define CALLS_AT_ONCE 8

static const json_t *name_of(const json_t *tool)
{
	return json_object_get(json_object_get(tool, "function"), "name");
}

static bool read_named(const json_t *choice, struct dn_tools *tools, struct dn_api_error *error)
{
	const char *type = json_string_value(json_object_get(choice, "type"));
	const json_t *name = name_of(choice);
	const json_t *tool;
	size_t i;

	if (!type || strcmp(type, "function") != 0 || !json_is_string(name))
		return dn_api_bad(error, "tool_choice",
				  "an object as 'tool_choice' is {\"type\": \"function\", "
				  "\"function\": {\"name\": …}}");
	json_array_foreach(tools->list, i, tool)
	{
		if (json_equal(name_of(tool), name)) {
			tools->forced = DN_TOOLS_ONE;
			tools->named = tool;
			tools->calls_max = 1;
			return true;
		}
	}
	return dn_api_bad(error, "tool_choice",
			  "no function of 'tools' is the one that is to be "
			  "called");
}

bool dn_tools_read_choice(const json_t *choice, struct dn_tools *tools, struct dn_api_error *error)
{
	const char *word = json_string_value(choice);

	if (!choice || json_is_null(choice) || (word && strcmp(word, "auto") == 0))
		return true;
	if (word && strcmp(word, "none") == 0) {
		tools->list = NULL;
		return true;
	}
	if (json_is_object(choice))
		return read_named(choice, tools, error);
	if (!word || strcmp(word, "required") != 0)
		return dn_api_bad(error, "tool_choice",
				  "'tool_choice' is 'auto', 'none', 'required' or a function");
	if (!tools->list)
		return dn_api_bad(error, "tool_choice",
				  "there are no 'tools' that could be called");
	tools->forced = tools->calls_max == 1 ? DN_TOOLS_ONE : DN_TOOLS_SOME;
	return true;
}

/* What a keyword has as it is, in which "$ref" is a word like others. */
static bool is_data(const char *keyword)
{
	static const char *const words[] = { "const", "enum", "default", "examples" };

	for (size_t i = 0; i < DN_ARRAY_SIZE(words); i++)
		if (strcmp(keyword, words[i]) == 0)
			return true;
	return false;
}

/* Has references within @schema, whose root is at @place from now on, find what they mean. */
static bool move_references(json_t *schema, const char *place)
{
	char moved[512];
	const char *key;
	json_t *value;
	size_t i;

	json_object_foreach(schema, key, value)
	{
		const char *reference = json_string_value(value);

		if (strcmp(key, "$ref") == 0 && reference && reference[0] == '#') {
			const int n = snprintf(moved, sizeof(moved), "%s%s", place, reference + 1);

			if (n >= (int)sizeof(moved) || json_string_set(value, moved) < 0)
				return false;
		} else if (!is_data(key) && !move_references(value, place)) {
			return false;
		}
	}
	json_array_foreach(schema, i, value)
	{
		if (!move_references(value, place))
			return false;
	}
	return true;
}

/* What a tool's arguments are: an object, of nothing where the tool says nothing. */
static json_t *arguments_schema(const json_t *tool, const char *place)
{
	const json_t *given = json_object_get(json_object_get(tool, "function"), "parameters");
	json_t *schema = json_object_size(given) > 0
				 ? json_deep_copy(given)
				 : json_pack("{s:b}", "additionalProperties", 0);

	/* It is a part of another document now, to which its references are moved. */
	(void)json_object_del(schema, "$id");
	if (!schema || json_object_set_new(schema, "type", json_string("object")) < 0 ||
	    !move_references(schema, place)) {
		json_decref(schema);
		return NULL;
	}
	return schema;
}

static bool add_tool(const json_t *tool, size_t at, json_t *calls, json_t *definitions)
{
	char place[32];
	char number[24];

	(void)snprintf(number, sizeof(number), "%zu", at);
	(void)snprintf(place, sizeof(place), "#/$defs/%zu", at);
	return json_object_set_new(definitions, number, arguments_schema(tool, place)) == 0 &&
	       json_array_append_new(calls, json_pack("{s:s, s:{s:{s:O}, s:{s:s}}, s:[s, s], s:b}",
						      "type", "object", "properties", "name",
						      "const", name_of(tool), "arguments", "$ref",
						      place, "required", "name", "arguments",
						      "additionalProperties", 0)) == 0;
}

char *dn_tools_schema(const struct dn_tools *tools)
{
	json_t *definitions = json_object();
	json_t *calls = json_array();
	bool good = definitions && calls;
	char *text = NULL;
	json_t *schema;
	json_t *tool;
	size_t i;

	json_array_foreach(tools->list, i, tool)
	{
		if (!tools->named || tool == tools->named)
			good = good && add_tool(tool, i, calls, definitions);
	}
	schema = json_pack("{s:o}", "anyOf", calls);
	if (tools->forced == DN_TOOLS_SOME)
		schema = json_pack("{s:s, s:i, s:i, s:o}", "type", "array", "minItems", 1,
				   "maxItems", CALLS_AT_ONCE, "items", schema);
	if (json_object_set_new(schema, "$defs", definitions) == 0 && good)
		text = json_dumps(schema, JSON_COMPACT);
	json_decref(schema);
	return text;
}
