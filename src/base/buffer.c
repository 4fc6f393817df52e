/* SPDX-License-Identifier: MIT */

#include "base/buffer.h"

#include "base/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int dn_buffer_reserve(struct dn_buffer *buffer, size_t more)
{
	size_t need;
	size_t capacity;
	char *data;

	if (!dn_add_ok(buffer->size, more, &need) || need > buffer->max)
		return -E2BIG;
	if (need < buffer->capacity)
		return 0;
	/* Half as much again keeps appending linear; the NUL has its byte beyond the maximum. */
	capacity = DN_MAX(need, buffer->capacity + buffer->capacity / 2);
	capacity = DN_MIN(DN_MAX(capacity, (size_t)64), buffer->max) + 1;
	data = realloc(buffer->data, capacity);
	if (!data)
		return -ENOMEM;
	buffer->data = data;
	buffer->capacity = capacity;
	return 0;
}

int dn_buffer_append(struct dn_buffer *buffer, const void *data, size_t size)
{
	int r = dn_buffer_reserve(buffer, size);

	if (r < 0)
		return r;
	if (size > 0)
		memcpy(buffer->data + buffer->size, data, size);
	buffer->size += size;
	buffer->data[buffer->size] = '\0';
	return 0;
}

int dn_buffer_append_text(struct dn_buffer *buffer, const char *text)
{
	return dn_buffer_append(buffer, text, strlen(text));
}

int dn_buffer_printf(struct dn_buffer *buffer, const char *format, ...)
{
	va_list args;
	int n;
	int r;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0)
		return -EINVAL;
	r = dn_buffer_reserve(buffer, (size_t)n);
	if (r < 0)
		return r;
	va_start(args, format);
	(void)vsnprintf(buffer->data + buffer->size, (size_t)n + 1, format, args);
	va_end(args);
	buffer->size += (size_t)n;
	return 0;
}

void dn_buffer_clear(struct dn_buffer *buffer)
{
	buffer->size = 0;
	if (buffer->data)
		buffer->data[0] = '\0';
}

void dn_buffer_done(struct dn_buffer *buffer)
{
	free(buffer->data);
	buffer->data = NULL;
	buffer->size = 0;
	buffer->capacity = 0;
}

char *dn_buffer_steal(struct dn_buffer *buffer)
{
	char *data = buffer->data;

	buffer->data = NULL;
	buffer->size = 0;
	buffer->capacity = 0;
	return data;
}
