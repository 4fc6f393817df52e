/* SPDX-License-Identifier: MIT */
/* Answers, taken apart by http-parser; nothing of their heads but the status is of interest. */

#include <errno.h>
#include <string.h>

#include "fetch/fetch.h"

/* 1xx is a word on the way, behind which the answer comes (RFC 9110, 15.2). */
#define IS_FINAL(status) ((status) >= 200)

static int on_headers_complete(http_parser *parser)
{
	struct dn_fetch *fetch = parser->data;

	if (IS_FINAL(parser->status_code)) {
		fetch->status = (int)parser->status_code;
		fetch->has_head = true;
	}
	return 0;
}

static int on_body(http_parser *parser, const char *at, size_t size)
{
	struct dn_fetch *fetch = parser->data;

	fetch->fault = dn_buffer_append(&fetch->body, at, size);
	return fetch->fault < 0;
}

static int on_message_complete(http_parser *parser)
{
	struct dn_fetch *fetch = parser->data;

	if (fetch->has_head) {
		fetch->whole = true;
		/* What is behind it was not asked for. */
		http_parser_pause(parser, 1);
	}
	return 0;
}

static const http_parser_settings settings = {
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

void dn_fetch_init(struct dn_fetch *fetch, size_t max_bytes)
{
	*fetch = (struct dn_fetch){
		.fd = -1,
		.wake_fd = -1,
		.body = DN_BUFFER_INIT(max_bytes),
	};
	http_parser_init(&fetch->parser, HTTP_RESPONSE);
}

static int no_http(const struct dn_fetch *fetch, struct dn_error *err)
{
	return dn_error_set(err, EBADMSG, "what listens at '%.120s' does not speak HTTP",
			    fetch->name);
}

int dn_fetch_take(struct dn_fetch *fetch, const char *data, size_t size, struct dn_error *err)
{
	enum http_errno code;

	if (fetch->whole || size == 0)
		return 0;
	fetch->parser.data = fetch;
	(void)http_parser_execute(&fetch->parser, &settings, data, size);
	code = HTTP_PARSER_ERRNO(&fetch->parser);
	if (fetch->fault == -E2BIG)
		return dn_error_set(err, E2BIG, "'%.120s' answers with more than %zu bytes",
				    fetch->name, fetch->body.max);
	if (fetch->fault < 0)
		return dn_error_memory(err, "an answer", fetch->body.size);
	if (!fetch->whole && (code != HPE_OK || fetch->parser.upgrade))
		return no_http(fetch, err);
	return 0;
}

int dn_fetch_take_end(struct dn_fetch *fetch, struct dn_error *err)
{
	if (fetch->whole)
		return 0;
	fetch->parser.data = fetch;
	/* A body without a length ends here. */
	(void)http_parser_execute(&fetch->parser, &settings, NULL, 0);
	if (fetch->whole)
		return 0;
	if (!fetch->has_head)
		return no_http(fetch, err);
	return dn_error_set(err, ECONNRESET, "'%.120s' broke off in the midst of its answer",
			    fetch->name);
}

char *dn_fetch_line(struct dn_fetch *fetch, size_t *ret_size)
{
	char *begin = fetch->body.data ? fetch->body.data + fetch->taken : NULL;
	char *end = begin ? memchr(begin, '\n', fetch->body.size - fetch->taken) : NULL;

	if (!end)
		return NULL;
	fetch->taken += (size_t)(end - begin) + 1;
	if (end > begin && end[-1] == '\r')
		end--;
	*end = '\0';
	*ret_size = (size_t)(end - begin);
	return begin;
}
