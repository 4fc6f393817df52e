/* SPDX-License-Identifier: MIT */
/* What decoders of calls share: a cursor over a block, and the list that they fill. */
#ifndef DUNLIN_SERVER_CHAT_DECODE_H
#define DUNLIN_SERVER_CHAT_DECODE_H

/* IWYU pragma: begin_exports */
#include "server/chat/chat.h"
/* IWYU pragma: end_exports */

struct dn_cursor {
	const char *at;
	const char *end;
};

void dn_cursor_skip_space(struct dn_cursor *cursor);
/* Whether @word comes next; it is behind the cursor then. */
bool dn_cursor_take(struct dn_cursor *cursor, const char *word);
/* What is before @word, which is behind the cursor then. Return: false where there is none. */
bool dn_cursor_until(struct dn_cursor *cursor, const char *word, struct dn_cursor *ret_part);
/* The JSON value that comes next, owned by the caller; NULL where there is none. */
json_t *dn_cursor_json(struct dn_cursor *cursor);

/* Appends a call; takes @arguments over, which are an object, or NULL for an empty one. */
bool dn_calls_add(json_t *calls, const char *name, size_t size, json_t *arguments);
/* The list where it has calls and @good; else it is dropped. */
json_t *dn_calls_end(json_t *calls, bool good);

#endif /* DUNLIN_SERVER_CHAT_DECODE_H */
