/* SPDX-License-Identifier: MIT */
/* Error messages: made once, wrapped on the way up, never holding a raw control byte. */

#include <dunlin/error.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/text.h"

/* Names from files end up in messages: whatever a terminal would act on is replaced. */
static void write_message(struct dn_error *err, const char *format, va_list args)
{
	char raw[DN_ERROR_MESSAGE_MAX];
	int n = vsnprintf(raw, sizeof(raw), format, args);

	if (n < 0)
		raw[0] = '\0';
	dn_text_printable(raw, strlen(raw), err->message, sizeof(err->message));
}

int dn_error_set(struct dn_error *err, int code, const char *format, ...)
{
	va_list args;

	if (err) {
		err->code = code;
		va_start(args, format);
		write_message(err, format, args);
		va_end(args);
	}
	return -code;
}

int dn_error_errno(struct dn_error *err, int code, const char *format, ...)
{
	va_list args;
	char reason[128];
	size_t used;

	if (!err)
		return -code;
	err->code = code;
	va_start(args, format);
	write_message(err, format, args);
	va_end(args);

	/* The GNU strerror_r(): thread-safe, and its result need not be the buffer. */
	used = strlen(err->message);
	(void)snprintf(err->message + used, sizeof(err->message) - used, ": %s",
		       strerror_r(code, reason, sizeof(reason)));
	return -code;
}

int dn_error_prefix(struct dn_error *err, int r, const char *format, ...)
{
	va_list args;
	char inner[DN_ERROR_MESSAGE_MAX];
	size_t used;

	if (!err)
		return r;
	memcpy(inner, err->message, sizeof(inner));
	va_start(args, format);
	write_message(err, format, args);
	va_end(args);
	used = strlen(err->message);
	(void)snprintf(err->message + used, sizeof(err->message) - used, ": %s", inner);
	if (!err->code)
		err->code = -r;
	return r;
}

int dn_error_memory(struct dn_error *err, const char *what, size_t bytes)
{
	return dn_error_set(err, ENOMEM, "out of memory: %zu bytes for %s", bytes, what);
}
