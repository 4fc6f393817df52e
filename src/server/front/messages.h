/* SPDX-License-Identifier: MIT */
/* Messages and tools of a chat, as its request has them and as its template wants them. */
#ifndef DUNLIN_SERVER_FRONT_MESSAGES_H
#define DUNLIN_SERVER_FRONT_MESSAGES_H

/* IWYU pragma: begin_exports */
#include "server/chat/chat.h"
#include "server/front/api.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_tools - what a request says of tools
 * @list: those that may be called; owned, see dn_tools_done(). NULL: there are none, or none may be
 * @only: calls of others are none, for the request says which may be called
 * @calls_max: in one answer; 0: as many as it likes
 * @forced: the answer is to be calls and nothing else
 * @named: the one of @list that is to be called; NULL: any
 * @json: calls are written as JSON, since the answer keeps to a schema
 */
struct dn_tools {
	json_t *list;
	bool only;
	uint32_t calls_max;
	enum dn_tools_forced { DN_TOOLS_FREE, DN_TOOLS_ONE, DN_TOOLS_SOME } forced;
	const json_t *named;
	bool json;
};

/* tools.c */
bool dn_tools_read(const json_t *body, struct dn_tools *ret_tools, struct dn_api_error *error);
void dn_tools_done(struct dn_tools *tools);
/* tool-choice.c */
bool dn_tools_read_choice(const json_t *choice, struct dn_tools *tools, struct dn_api_error *error);
/* tool-schema.c: of a tool, or of a choice; NULL: it has none. */
const json_t *dn_tool_name(const json_t *tool);
/*
 * Schemas of answers, as text, owned by the caller; NULL where memory is short: of one that is forced to
 * call, and of one that is a call or @format, which is a schema; NULL: any object.
 */
char *dn_tools_schema(const struct dn_tools *tools);
char *dn_tools_schema_or(const struct dn_tools *tools, const char *format);

/* tools.c: has the messages tell of the tools in words, and of calls and what came of them. */
bool dn_tools_put_in_words(json_t *messages, const json_t *tools);
/* The same for a template that takes the tools from the system message. */
bool dn_tools_put_in_system(json_t *messages, const json_t *tools);

/**
 * dn_front_messages() - the variables of the chat template that a request's body asks for
 * @form: of the model
 *
 * Return: an object, owned by the caller; NULL with @error.
 */
json_t *dn_front_messages(const json_t *body, const struct dn_chat_form *form,
			  struct dn_api_error *error);

#endif /* DUNLIN_SERVER_FRONT_MESSAGES_H */
