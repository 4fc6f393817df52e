/* SPDX-License-Identifier: MIT */
/*
 * Answers that a few bytes of a request can make large: written as text at once, since as JSON values
 * they would take ten times as much, and counted against what all such answers may take.
 */
#ifndef DUNLIN_SERVER_FRONT_LARGE_ANSWER_H
#define DUNLIN_SERVER_FRONT_LARGE_ANSWER_H

/* IWYU pragma: begin_exports */
#include "base/buffer.h"
#include "server/front/api.h"
/* IWYU pragma: end_exports */

struct dn_large_answer {
	struct dn_http_connection *connection;
	struct dn_buffer text;
};

void dn_large_answer_begin(struct dn_large_answer *answer, struct dn_http_connection *connection);
void dn_large_answer_done(struct dn_large_answer *answer);
/* These return false where there is no memory for it. */
bool dn_large_answer_reserve(struct dn_large_answer *answer, size_t more);
bool dn_large_answer_printf(struct dn_large_answer *answer, const char *format, ...)
	DN_PRINTF(2, 3);
/* A text in quotes. */
bool dn_large_answer_quote(struct dn_large_answer *answer, const char *text);
/* Sends it; where it is not @whole, that there was no memory for it. */
void dn_large_answer_give(struct dn_large_answer *answer, bool whole);

/* Fills @error with that, for an answer of any kind that dn_http_reserve() refused; returns false. */
bool dn_large_answer_refused(const struct dn_http_connection *connection,
			     struct dn_api_error *error);

#endif /* DUNLIN_SERVER_FRONT_LARGE_ANSWER_H */
