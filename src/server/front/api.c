/* SPDX-License-Identifier: MIT */

#include "server/front/api.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static void set_message(struct dn_api_error *error, int status, const char *code,
			const char *format, va_list list)
{
	char raw[DN_ERROR_MESSAGE_MAX];

	*error = (struct dn_api_error){
		.status = status,
		.type = status == 401	? "authentication_error"
			: status == 403 ? "permission_error"
			: status < 500	? "invalid_request_error"
					: "server_error",
		.code = code,
	};
	(void)vsnprintf(raw, sizeof(raw), format, list);
	(void)dn_text_printable(raw, strlen(raw), error->message, sizeof(error->message));
}

bool dn_api_bad(struct dn_api_error *error, const char *param, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	set_message(error, 400, NULL, format, list);
	va_end(list);
	(void)snprintf(error->param, sizeof(error->param), "%s", param);
	return false;
}

bool dn_api_fail(struct dn_api_error *error, int status, const char *code, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	set_message(error, status, code, format, list);
	va_end(list);
	return false;
}

void dn_api_rename_field(struct dn_api_error *error, const char *name)
{
	char message[sizeof(error->message)];
	char quoted[sizeof(error->param) + 2];
	const char *rest = error->message;
	const char *at;
	size_t used = 0;

	(void)snprintf(quoted, sizeof(quoted), "'%s'", error->param);
	while ((at = strstr(rest, quoted)) && used < sizeof(message)) {
		used += (size_t)snprintf(message + used, sizeof(message) - used, "%.*s'%s'",
					 (int)(at - rest), rest, name);
		rest = at + strlen(quoted);
	}
	if (used < sizeof(message))
		(void)snprintf(message + used, sizeof(message) - used, "%s", rest);
	(void)snprintf(error->message, sizeof(error->message), "%s", message);
	(void)snprintf(error->param, sizeof(error->param), "%s", name);
}

void dn_api_from_worker(const struct dn_frame_error *from, struct dn_api_error *ret_error)
{
	int status = 500;
	const char *code = NULL;

	switch (from->code) {
	case E2BIG:
	case ENOBUFS:
		status = 400;
		code = "context_length_exceeded";
		break;
	case EINVAL:
	case EILSEQ:
	case ENOENT:
	case ENOTSUP:
	case EOVERFLOW:
	case ERANGE:
		status = 400;
		break;
	case ETIME:
		status = 503;
		code = "deadline";
		break;
	case EAGAIN:
	case ENOSPC:
	case ENOMEM:
		status = 503;
		code = "overloaded";
		break;
	default:
		break;
	}
	(void)dn_api_fail(ret_error, status, code, "%s", from->message);
	if (from->code == ETIME) {
		/* Trying the same again at once would only ask for what was just refused. */
		ret_error->no_retry = true;
		ret_error->retry_s =
			(uint32_t)DN_MIN(1 + from->predicted_ns / 1000000000U, (uint64_t)3600);
	} else if (status == 503) {
		ret_error->retry_s = 1;
	}
}

/* Anthropic's words for a status. */
static const char *anthropic_type(int status)
{
	switch (status) {
	case 400:
		return "invalid_request_error";
	case 401:
		return "authentication_error";
	case 403:
		return "permission_error";
	case 404:
		return "not_found_error";
	case 413:
		return "request_too_large";
	case 429:
		return "rate_limit_error";
	case 503:
		return "overloaded_error";
	default:
		return status < 500 ? "invalid_request_error" : "api_error";
	}
}

json_t *dn_api_error_json(const struct dn_http_request *request, const struct dn_api_error *error)
{
	const char *path = request->path ? request->path : "";

	if (strncmp(path, "/v1/messages", 12) == 0)
		return json_pack("{s:s, s:{s:s, s:s}, s:s}", "type", "error", "error", "type",
				 anthropic_type(error->status), "message", error->message,
				 "request_id", request->id);
	if (strncmp(path, "/api/", 5) == 0)
		return json_pack("{s:s}", "error", error->message);
	return json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message", error->message, "type",
			 error->type, "param", error->param[0] ? error->param : NULL, "code",
			 error->code);
}

void dn_api_reply(struct dn_http_connection *connection, int status, json_t *json)
{
	DN_AUTO_FREE char *text = json ? json_dumps(json, DN_API_DUMP) : NULL;
	static const char short_of_memory[] =
		"{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\","
		"\"param\":null,\"code\":null}}";

	json_decref(json);
	if (text)
		dn_http_reply(connection, status, DN_API_JSON, text, strlen(text));
	else
		dn_http_reply(connection, 503, DN_API_JSON, short_of_memory,
			      sizeof(short_of_memory) - 1);
}

void dn_api_reply_error(struct dn_http_connection *connection, const struct dn_api_error *error)
{
	if (error->retry_s)
		dn_http_add_header(connection, "Retry-After", "%u", error->retry_s);
	if (error->no_retry)
		dn_http_add_header(connection, "X-Should-Retry", "false");
	if (error->allow)
		dn_http_add_header(connection, "Allow", "%s", error->allow);
	if (error->status == 401)
		dn_http_add_header(connection, "WWW-Authenticate", "Bearer");
	dn_api_reply(connection, error->status,
		     dn_api_error_json(dn_http_request(connection), error));
}

json_t *dn_api_body(const struct dn_http_request *request, struct dn_api_error *error)
{
	json_error_t where;
	json_t *json = json_loadb(request->body.data ? request->body.data : "", request->body.size,
				  JSON_REJECT_DUPLICATES, &where);

	if (!json) {
		(void)dn_api_fail(error, 400, "invalid_json",
				  "the body is no JSON: line %d, column %d: %s", where.line,
				  where.column, where.text);
		return NULL;
	}
	if (!json_is_object(json)) {
		json_decref(json);
		(void)dn_api_fail(error, 400, "invalid_json", "the body is no JSON object");
		return NULL;
	}
	return json;
}

json_t *dn_api_text(const char *text, size_t size)
{
	DN_AUTO_BUFFER struct dn_buffer valid = DN_BUFFER_INIT(3 * size + 4);
	size_t at = 0;

	if (dn_utf8_valid(text, size))
		return json_stringn_nocheck(text, size);
	while (at < size) {
		char out[4];
		uint32_t point;

		at += dn_utf8_decode(text + at, size - at, &point);
		if (dn_buffer_append(&valid, out, dn_utf8_encode(point, out)) < 0)
			return NULL;
	}
	return json_stringn_nocheck(valid.data ? valid.data : "", valid.size);
}

static bool read_field(const json_t *value, const struct dn_api_field *field, void *out,
		       struct dn_api_error *error)
{
	void *to = (char *)out + field->offset;
	double number;

	if (field->kind == DN_API_BOOL) {
		if (!json_is_boolean(value))
			return dn_api_bad(error, field->name, "'%s' is to be true or false",
					  field->name);
		*(uint32_t *)to = json_is_true(value);
		return true;
	}
	if (!json_is_number(value) || (field->kind == DN_API_U32 && !json_is_integer(value)))
		return dn_api_bad(error, field->name, "'%s' is to be %s", field->name,
				  field->kind == DN_API_U32 ? "a whole number" : "a number");
	number = json_number_value(value);
	if (!(number >= field->min && number <= field->max))
		return dn_api_bad(error, field->name, "'%s' is %g; it must be from %g to %g",
				  field->name, number, field->min, field->max);
	if (field->kind == DN_API_U32)
		*(uint32_t *)to = (uint32_t)number;
	else
		*(float *)to = (float)number;
	return true;
}

bool dn_api_fields(const json_t *object, const struct dn_api_field *fields, size_t n, void *out,
		   struct dn_api_error *error)
{
	for (size_t i = 0; i < n; i++) {
		const json_t *value = json_object_get(object, fields[i].name);

		if (value && !json_is_null(value) && !read_field(value, &fields[i], out, error))
			return false;
	}
	return true;
}

uint32_t *dn_api_ids(const json_t *list, const char *param, size_t *ret_n,
		     struct dn_api_error *error)
{
	const size_t n = json_array_size(list);
	uint32_t *ids = calloc(n + 1, sizeof(*ids));

	if (!ids)
		(void)dn_api_fail(error, 503, NULL, "out of memory");
	for (size_t i = 0; ids && i < n; i++) {
		const json_t *id = json_array_get(list, i);

		if (!json_is_integer(id) || json_integer_value(id) < 0 ||
		    json_integer_value(id) > UINT32_MAX) {
			(void)dn_api_bad(error, param, "item %zu of '%s' is no token's id", i,
					 param);
			free(ids);
			return NULL;
		}
		ids[i] = (uint32_t)json_integer_value(id);
	}
	*ret_n = n;
	return ids;
}
