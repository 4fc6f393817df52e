/* SPDX-License-Identifier: MIT */
/*
 * Which calls a request allows, and which it demands. Words cannot make a model call, so an answer that
 * has to be calls keeps to the schema of a list of them, the same for all families; their own forms are
 * for calls that they choose to make.
 */

#include <string.h>

#include "server/front/messages.h"

/* The tool of @list that @choice, {"type": "function", "function": {"name": …}}, is; NULL with @error. */
static json_t *find_tool(const json_t *list, const json_t *choice, struct dn_api_error *error)
{
	const char *type = json_string_value(json_object_get(choice, "type"));
	const json_t *name = dn_tool_name(choice);
	json_t *tool;
	size_t i;

	if (!type || strcmp(type, "function") != 0 || !json_is_string(name)) {
		(void)dn_api_bad(error, "tool_choice",
				 "an object as 'tool_choice' is {\"type\": \"function\", "
				 "\"function\": {\"name\": …}}, or has a list of these as "
				 "\"allowed_tools\"");
		return NULL;
	}
	json_array_foreach(list, i, tool)
	{
		if (json_equal(dn_tool_name(tool), name))
			return tool;
	}
	(void)dn_api_bad(error, "tool_choice",
			 "no function of 'tools' is '%.64s', which is to be called",
			 json_string_value(name));
	return NULL;
}

static bool read_named(const json_t *choice, struct dn_tools *tools, struct dn_api_error *error)
{
	tools->named = find_tool(tools->list, choice, error);
	if (!tools->named)
		return false;
	tools->forced = DN_TOOLS_ONE;
	tools->calls_max = 1;
	return true;
}

static bool read_word(const char *word, struct dn_tools *tools, struct dn_api_error *error)
{
	if (word && strcmp(word, "auto") == 0)
		return true;
	if (word && strcmp(word, "none") == 0) {
		dn_tools_done(tools);
		return true;
	}
	if (!word || strcmp(word, "required") != 0)
		return dn_api_bad(error, "tool_choice",
				  "'tool_choice' is 'auto', 'none', 'required', a function or "
				  "'allowed_tools'");
	if (!tools->list)
		return dn_api_bad(error, "tool_choice",
				  "there are no 'tools' that could be called");
	tools->forced = tools->calls_max == 1 ? DN_TOOLS_ONE : DN_TOOLS_SOME;
	return true;
}

static bool has(const json_t *list, const json_t *item)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (json_array_get(list, i) == item)
			return true;
	return false;
}

/* In the order of the request's tools, which is that of other requests' prompts too. */
static bool keep(const json_t *allowed, struct dn_tools *tools)
{
	json_t *kept = json_array();
	bool good = kept != NULL;
	json_t *tool;
	size_t i;

	json_array_foreach(tools->list, i, tool)
	{
		if (has(allowed, tool))
			good = good && json_array_append(kept, tool) == 0;
	}
	dn_tools_done(tools);
	tools->only = true;
	if (json_array_size(kept) > 0)
		tools->list = json_incref(kept);
	json_decref(kept);
	return good;
}

static bool keep_allowed(const json_t *choices, struct dn_tools *tools, struct dn_api_error *error)
{
	json_t *allowed = json_array();
	const json_t *choice;
	bool good;
	size_t i;

	(void)dn_api_fail(error, 503, NULL, "out of memory");
	json_array_foreach(choices, i, choice)
	{
		json_t *tool = find_tool(tools->list, choice, error);

		if (!tool || json_array_append(allowed, tool) < 0)
			break;
	}
	good = i == json_array_size(choices) && keep(allowed, tools);
	json_decref(allowed);
	return good;
}

/* {"type": "allowed_tools", "allowed_tools": {"mode": "auto" or "required", "tools": […]}} */
static bool read_allowed(const json_t *allowed, struct dn_tools *tools, struct dn_api_error *error)
{
	const char *mode = json_string_value(json_object_get(allowed, "mode"));
	const json_t *choices = json_object_get(allowed, "tools");

	if (!mode || (strcmp(mode, "auto") != 0 && strcmp(mode, "required") != 0) ||
	    !json_is_array(choices) || json_array_size(choices) > json_array_size(tools->list))
		return dn_api_bad(error, "tool_choice",
				  "'allowed_tools' in 'tool_choice' has 'mode', 'auto' or "
				  "'required', and a list of some of 'tools'");
	return keep_allowed(choices, tools, error) && read_word(mode, tools, error);
}

bool dn_tools_read_choice(const json_t *choice, struct dn_tools *tools, struct dn_api_error *error)
{
	const char *type = json_string_value(json_object_get(choice, "type"));

	if (!choice || json_is_null(choice))
		return true;
	if (type && strcmp(type, "allowed_tools") == 0)
		return read_allowed(json_object_get(choice, "allowed_tools"), tools, error);
	if (json_is_object(choice))
		return read_named(choice, tools, error);
	return read_word(json_string_value(choice), tools, error);
}
