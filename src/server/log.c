/* SPDX-License-Identifier: MIT */

#include "server/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 1024

void dn_log_event(const char *level, const char *event, const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	va_list list;
	int n = snprintf(line, sizeof(line), "%s %s ", level, event);
	int more;

	va_start(list, format);
	more = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, list);
	va_end(list);
	if (more < 0)
		return;
	n = DN_MIN(n + more, (int)sizeof(line) - 2);
	line[n++] = '\n';
	/* In one piece, so that lines of several processes do not mix. */
	(void)!write(STDERR_FILENO, line, (size_t)n);
}

const char *dn_log_value(const char *value, char *out, size_t out_size)
{
	size_t n = 0;

	out[n++] = '"';
	for (; *value && n + 6 < out_size; value++) {
		const unsigned char c = (unsigned char)*value;

		if (c == '"' || c == '\\') {
			out[n++] = '\\';
			out[n++] = (char)c;
		} else if (c < 0x20 || c >= 0x7f) {
			n += (size_t)snprintf(out + n, out_size - n, "\\x%02x", c);
		} else {
			out[n++] = (char)c;
		}
	}
	out[n++] = '"';
	out[n] = '\0';
	return out;
}
