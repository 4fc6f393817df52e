/* SPDX-License-Identifier: MIT */
/* What the answers of the API have in common: errors in its shape, JSON in and out, text. */
#ifndef DUNLIN_SERVER_FRONT_API_H
#define DUNLIN_SERVER_FRONT_API_H

/* IWYU pragma: begin_exports */
#include <jansson.h>

#include <dunlin/channel.h>
#include <dunlin/error.h>

#include "base/base.h"
#include "server/front/http.h"
/* IWYU pragma: end_exports */

#define DN_API_JSON "application/json"
/* As many digits as a float has, and no more. */
#define DN_API_DUMP (JSON_COMPACT | JSON_REAL_PRECISION(9))

/**
 * struct dn_api_error - an error as clients of the API know it
 * @status: of HTTP
 * @type, @code: the API's words; static. @code may be NULL
 * @param: the field that is wrong; empty: none
 * @retry_s: seconds until another try makes sense; 0: unknown
 * @no_retry: to tell clients not to try again by themselves
 * @allow: the method that the path has; NULL: that is not what is wrong
 */
struct dn_api_error {
	int status;
	const char *type;
	const char *code;
	char param[64];
	char message[DN_ERROR_MESSAGE_MAX];
	uint32_t retry_s;
	bool no_retry;
	const char *allow;
};

/* Fill @error for a request that is wrong (400); return false, for a caller to return. */
bool dn_api_bad(struct dn_api_error *error, const char *param, const char *format, ...)
	DN_PRINTF(3, 4);
/* The same with any status; @code may be NULL. */
bool dn_api_fail(struct dn_api_error *error, int status, const char *code, const char *format, ...)
	DN_PRINTF(4, 5);
/* What is wrong is a field that its body has by another name: @error says that one. */
void dn_api_rename_field(struct dn_api_error *error, const char *name);
/* What a worker said of a request (struct dn_frame_error). */
void dn_api_from_worker(const struct dn_frame_error *from, struct dn_api_error *ret_error);

/* {"error": {…}}, or as the API has it that the request's path is of; NULL where memory is short. */
json_t *dn_api_error_json(const struct dn_http_request *request, const struct dn_api_error *error);
void dn_api_reply_error(struct dn_http_connection *connection, const struct dn_api_error *error);
/* Takes @json over; NULL: memory was short, which the answer then says. */
void dn_api_reply(struct dn_http_connection *connection, int status, json_t *json);

/* The body as a JSON object, owned by the caller; NULL with @error. */
json_t *dn_api_body(const struct dn_http_request *request, struct dn_api_error *error);

/* Bytes that may be no UTF-8 as a JSON string: what is none becomes U+FFFD. */
json_t *dn_api_text(const char *text, size_t size);

enum dn_api_kind {
	DN_API_FLOAT,
	DN_API_U32,
	DN_API_BOOL, /* of uint32_t */
};

/* A field of a request that is a number within a range, and where it goes. */
struct dn_api_field {
	const char *name;
	enum dn_api_kind kind;
	double min;
	double max;
	size_t offset;
};

/* Those that are there, and not null, into @out. */
bool dn_api_fields(const json_t *object, const struct dn_api_field *fields, size_t n, void *out,
		   struct dn_api_error *error);
/* A list of token ids, owned by the caller; NULL with @error. Models bound them further. */
uint32_t *dn_api_ids(const json_t *list, const char *param, size_t *ret_n,
		     struct dn_api_error *error);

#endif /* DUNLIN_SERVER_FRONT_API_H */
