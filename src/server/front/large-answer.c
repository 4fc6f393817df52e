/* SPDX-License-Identifier: MIT */

#include "server/front/large-answer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of what is neither a number of many nor a text of a client's. */
#define PIECE_MAX 256

void dn_large_answer_begin(struct dn_large_answer *a, struct dn_http_connection *connection)
{
	*a = (struct dn_large_answer){
		.connection = connection,
		.text = DN_BUFFER_INIT(SIZE_MAX / 2),
	};
}

void dn_large_answer_done(struct dn_large_answer *a)
{
	dn_buffer_done(&a->text);
}

bool dn_large_answer_reserve(struct dn_large_answer *a, size_t more)
{
	const size_t before = a->text.capacity;

	if (dn_buffer_reserve(&a->text, more) < 0)
		return false;
	return dn_http_reserve(a->connection, a->text.capacity - before);
}

bool dn_large_answer_printf(struct dn_large_answer *a, const char *format, ...)
{
	va_list list;
	int n;

	if (!dn_large_answer_reserve(a, PIECE_MAX))
		return false;
	va_start(list, format);
	n = vsnprintf(a->text.data + a->text.size, PIECE_MAX, format, list);
	va_end(list);
	if (n < 0 || n >= PIECE_MAX)
		return false;
	a->text.size += (size_t)n;
	return true;
}

bool dn_large_answer_quote(struct dn_large_answer *a, const char *text)
{
	json_t *json = json_string(text);
	DN_AUTO_FREE char *quoted = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;

	json_decref(json);
	return quoted && dn_large_answer_reserve(a, strlen(quoted)) &&
	       dn_buffer_append_text(&a->text, quoted) == 0;
}

void dn_large_answer_give(struct dn_large_answer *a, bool whole)
{
	struct dn_api_error error;

	if (whole) {
		dn_http_give(a->connection, 200, DN_API_JSON, &a->text);
		return;
	}
	(void)dn_large_answer_refused(a->connection, &error);
	dn_api_reply_error(a->connection, &error);
}

bool dn_large_answer_refused(const struct dn_http_connection *connection,
			     struct dn_api_error *error)
{
	if (dn_http_reserves_all(connection))
		return dn_api_fail(error, 400, "answer_too_large",
				   "the answer would take more memory than all may (8 times "
				   "--max-body): ask for less at once");
	(void)dn_api_fail(error, 503, "overloaded",
			  "this answer and others take more memory than all may (8 times "
			  "--max-body): try again");
	error->retry_s = 1;
	return false;
}
