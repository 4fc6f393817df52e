/* SPDX-License-Identifier: MIT */
/* The messages of a chat, checked, as the variables of a chat template. */

#include <string.h>

#include "server/front/front.h"

#define MESSAGES_MAX 4096

/* The texts of an array of parts, one a line; NULL with @error. */
static json_t *join_parts(const json_t *parts, const char *param, struct dn_api_error *error)
{
	DN_AUTO_BUFFER struct dn_buffer text = DN_BUFFER_INIT((size_t)64 << 20);
	const json_t *part;
	size_t i;

	json_array_foreach(parts, i, part)
	{
		const char *type = json_string_value(json_object_get(part, "type"));
		const json_t *value = json_object_get(part, "text");

		if (!type || strcmp(type, "text") != 0 || !json_is_string(value)) {
			(void)dn_api_bad(error, param,
					 "part %zu of a message is no text: this server takes "
					 "text alone",
					 i);
			return NULL;
		}
		if ((i > 0 && dn_buffer_append(&text, "\n", 1) < 0) ||
		    dn_buffer_append(&text, json_string_value(value), json_string_length(value)) <
			    0) {
			(void)dn_api_fail(error, 503, NULL, "out of memory");
			return NULL;
		}
	}
	return json_stringn(text.data ? text.data : "", text.size);
}

/* A copy of a message with its content as one text. */
static json_t *read_message(const json_t *message, size_t at, struct dn_api_error *error)
{
	const json_t *content = json_object_get(message, "content");
	const json_t *role = json_object_get(message, "role");
	json_t *copy;
	json_t *joined;

	if (!json_is_object(message) || !json_is_string(role)) {
		(void)dn_api_bad(error, "messages", "message %zu is no object with a 'role'", at);
		return NULL;
	}
	if (content && !json_is_string(content) && !json_is_null(content) &&
	    !json_is_array(content)) {
		(void)dn_api_bad(error, "messages",
				 "the content of message %zu is neither text nor parts", at);
		return NULL;
	}
	copy = json_copy((json_t *)message);
	if (!json_is_array(content)) {
		if (copy && !content)
			(void)json_object_set_new(copy, "content", json_string(""));
		return copy;
	}
	joined = join_parts(content, "messages", error);
	if (!joined || json_object_set_new(copy, "content", joined) < 0) {
		json_decref(copy);
		return NULL;
	}
	return copy;
}

json_t *dn_front_messages(const json_t *body, struct dn_api_error *error)
{
	const json_t *messages = json_object_get(body, "messages");
	const json_t *message;
	json_t *list;
	size_t i;

	if (!json_is_array(messages) || json_array_size(messages) == 0 ||
	    json_array_size(messages) > MESSAGES_MAX) {
		(void)dn_api_bad(error, "messages",
				 "'messages' is to be a list of 1 to %d messages", MESSAGES_MAX);
		return NULL;
	}
	(void)dn_api_fail(error, 503, NULL, "out of memory");
	list = json_array();
	json_array_foreach(messages, i, message)
	{
		json_t *copy = read_message(message, i, error);

		if (!copy || json_array_append_new(list, copy) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return json_pack("{s:o, s:b}", "messages", list, "add_generation_prompt", 1);
}
