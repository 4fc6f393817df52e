/* SPDX-License-Identifier: MIT */
/* The schemas of answers that are calls, made of the tools' own. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/front/messages.h"

/* Of calls at once: a small model would go on for ever. */
#define CALLS_AT_ONCE 8

const json_t *dn_tool_name(const json_t *tool)
{
	return json_object_get(json_object_get(tool, "function"), "name");
}

/* Keywords that have values as they are, in which "$ref" is a word like others; and schemas by names. */
static const char *const of_data[] = { "const", "enum", "default", "examples", NULL };
static const char *const of_names[] = { "properties", "$defs", "definitions", NULL };

static bool is_one_of(const char *word, const char *const *words)
{
	while (*words && strcmp(word, *words) != 0)
		words++;
	return *words != NULL;
}

static bool move_references(json_t *schema, const char *place);

static bool move_all(json_t *schemas, const char *place)
{
	const char *name;
	json_t *schema;

	json_object_foreach(schemas, name, schema)
	{
		if (!move_references(schema, place))
			return false;
	}
	return true;
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
		} else if (is_one_of(key, of_names)) {
			if (!move_all(value, place))
				return false;
		} else if (!is_one_of(key, of_data) && !move_references(value, place)) {
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

/* A copy of a schema that is to be a definition at @place, owned by the caller. */
static json_t *as_definition(const json_t *schema, const char *place)
{
	json_t *copy = json_deep_copy(schema);

	/* It is no document of its own any more. */
	(void)json_object_del(copy, "$id");
	(void)json_object_del(copy, "$schema");
	if (copy && !move_references(copy, place)) {
		json_decref(copy);
		return NULL;
	}
	return copy;
}

/* What a tool's arguments are: an object, of nothing where the tool says nothing. */
static json_t *arguments_schema(const json_t *tool, const char *place)
{
	const json_t *given = json_object_get(json_object_get(tool, "function"), "parameters");
	json_t *schema = json_object_size(given) > 0
				 ? as_definition(given, place)
				 : json_pack("{s:b}", "additionalProperties", 0);

	if (schema)
		(void)json_object_set_new(schema, "type", json_string("object"));
	return schema;
}

/* A call of @tool whose arguments keep to @arguments, which is taken over. */
static json_t *call_schema(const json_t *tool, json_t *arguments)
{
	return json_pack("{s:s, s:{s:{s:O}, s:o}, s:[s, s], s:b}", "type", "object", "properties",
			 "name", "const", dn_tool_name(tool), "arguments", arguments, "required",
			 "name", "arguments", "additionalProperties", 0);
}

static bool add_tool(const json_t *tool, size_t at, json_t *calls, json_t *definitions)
{
	char place[32];
	char number[24];

	(void)snprintf(number, sizeof(number), "%zu", at);
	(void)snprintf(place, sizeof(place), "#/$defs/%zu", at);
	return json_object_set_new(definitions, number, arguments_schema(tool, place)) == 0 &&
	       json_array_append_new(calls, call_schema(tool, json_pack("{s:s}", "$ref", place))) ==
		       0;
}

/* Takes @schema and @definitions over. */
static char *dump(json_t *schema, json_t *definitions, bool good)
{
	char *text = NULL;

	if (json_object_set_new(schema, "$defs", definitions) == 0 && good)
		text = json_dumps(schema, JSON_COMPACT);
	json_decref(schema);
	return text;
}

char *dn_tools_schema(const struct dn_tools *tools)
{
	json_t *definitions = json_object();
	json_t *calls = json_array();
	bool good = true;
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
	return dump(schema, definitions, good);
}

/* What tools take was never promised where calls are free: any object will do. */
char *dn_tools_schema_or(const struct dn_tools *tools, const char *format)
{
	json_t *given = format ? json_loads(format, JSON_DECODE_ANY, NULL)
			       : json_pack("{s:s}", "type", "object");
	json_t *ways = json_array();
	bool good = json_array_append_new(ways, json_pack("{s:s}", "$ref", "#/$defs/format")) == 0;
	json_t *definitions = json_pack("{s:o}", "format", as_definition(given, "#/$defs/format"));
	json_t *tool;
	size_t i;

	json_array_foreach(tools->list, i, tool)
	{
		good = good &&
		       json_array_append_new(
			       ways, call_schema(tool, json_pack("{s:s}", "type", "object"))) == 0;
	}
	json_decref(given);
	return dump(json_pack("{s:o}", "anyOf", ways), definitions, good);
}
