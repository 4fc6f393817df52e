/* SPDX-License-Identifier: MIT */
/* Fields of a GGUF header, each checked against its limit and against what is left of the file. */

#include "engine/gguf/internal.h"

#include <errno.h>
#include <inttypes.h>

static int too_short(struct gguf_reader *reader, uint64_t size, const char *what)
{
	uint64_t left = reader->end - reader->at;

	if (reader->end < reader->file->size)
		return dn_error_set(reader->err, EINVAL,
				    "%s at byte %" PRIu64 " needs %" PRIu64
				    " bytes, past the limit of %" PRIu64 " bytes for a header",
				    what, reader->at, size, reader->end);
	return dn_error_set(reader->err, EINVAL,
			    "%s at byte %" PRIu64 " needs %" PRIu64
			    " bytes, but the file has %" PRIu64 " left: it is cut short or damaged",
			    what, reader->at, size, left);
}

int gguf_take(struct gguf_reader *reader, uint64_t size, const char *what, const uint8_t **ret)
{
	if (size > reader->end - reader->at) {
		(void)too_short(reader, size, what);
		return -EINVAL;
	}
	*ret = reader->file->map + reader->at;
	reader->at += size;
	return 0;
}

int gguf_take_u32(struct gguf_reader *reader, const char *what, uint32_t *ret)
{
	const uint8_t *p = NULL;
	int r = gguf_take(reader, 4, what, &p);

	if (r == 0)
		*ret = gguf_load_u32(p);
	return r;
}

int gguf_take_u64(struct gguf_reader *reader, const char *what, uint64_t *ret)
{
	const uint8_t *p = NULL;
	int r = gguf_take(reader, 8, what, &p);

	if (r == 0)
		*ret = gguf_load_u64(p);
	return r;
}

int gguf_take_text(struct gguf_reader *reader, const char *what, uint64_t max, struct dn_text *ret)
{
	uint64_t start = reader->at;
	const uint8_t *p = NULL;
	uint64_t size = 0;
	int r;

	r = gguf_take_u64(reader, what, &size);
	if (r < 0)
		return r;
	if (size > max)
		return dn_error_set(reader->err, EINVAL,
				    "%s at byte %" PRIu64 " claims %" PRIu64
				    " bytes; the limit is %" PRIu64,
				    what, start, size, max);
	r = gguf_take(reader, size, what, &p);
	if (r < 0)
		return r;
	ret->data = (const char *)p;
	ret->size = (size_t)size;
	return 0;
}

int gguf_take_name(struct gguf_reader *reader, const char *what, uint64_t max, bool ascii,
		   struct dn_text *ret)
{
	uint64_t start = reader->at;
	struct dn_text name = { NULL, 0 };
	int r;

	r = gguf_take_text(reader, what, max, &name);
	if (r < 0)
		return r;
	if (name.size == 0)
		return dn_error_set(reader->err, EINVAL, "%s at byte %" PRIu64 " is empty", what,
				    start);
	for (size_t i = 0; i < name.size; i++) {
		unsigned char c = (unsigned char)name.data[i];

		if (c < 0x20 || c == 0x7f || (ascii && c > 0x7f))
			return dn_error_set(reader->err, EINVAL,
					    "%s at byte %" PRIu64 " ('%s') holds byte 0x%02x, %s",
					    what, start, gguf_label(name).text, c,
					    c > 0x7f ? "which is not ASCII"
						     : "a control character");
	}
	*ret = name;
	return 0;
}

static int check_bools(struct gguf_reader *reader, const uint8_t *values, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		if (values[i] > 1)
			return dn_error_set(reader->err, EINVAL,
					    "bool at byte %" PRIu64 " is %u; it must be 0 or 1",
					    reader->at - count + i, values[i]);
	return 0;
}

static int take_strings(struct gguf_reader *reader, uint64_t count)
{
	struct dn_text text;
	int r;

	/* Each takes 8 bytes at least: a false count is refused before the walk. */
	if (count > (reader->end - reader->at) / 8)
		return too_short(reader, count * 8, "array of strings");
	for (uint64_t i = 0; i < count; i++) {
		r = gguf_take_text(reader, "string of an array", GGUF_STRING_MAX, &text);
		if (r < 0)
			return r;
	}
	return 0;
}

static int take_array(struct gguf_reader *reader)
{
	uint64_t start = reader->at;
	const uint8_t *values = NULL;
	uint64_t count = 0, width;
	uint32_t type = 0;
	int r;

	r = gguf_take_u32(reader, "array's element type", &type);
	if (r < 0)
		return r;
	r = gguf_take_u64(reader, "array's count", &count);
	if (r < 0)
		return r;
	if (type == DN_GGUF_ARRAY)
		return dn_error_set(reader->err, ENOTSUP,
				    "array's element type at byte %" PRIu64
				    " is array: arrays of arrays are not supported",
				    start);
	if (count > GGUF_ELEMENTS_MAX)
		return dn_error_set(reader->err, EINVAL,
				    "array's count at byte %" PRIu64 " is %" PRIu64
				    "; the limit is %" PRIu64,
				    start + 4, count, GGUF_ELEMENTS_MAX);
	if (type == DN_GGUF_STRING)
		return take_strings(reader, count);
	width = gguf_type_width(type);
	if (!width)
		return dn_error_set(reader->err, EINVAL,
				    "array's element type at byte %" PRIu64 " is %" PRIu32
				    "; known are 0 to 12",
				    start, type);
	r = gguf_take(reader, count * width, "array", &values);
	if (r < 0)
		return r;
	return type == DN_GGUF_BOOL ? check_bools(reader, values, count) : 0;
}

int gguf_take_value(struct gguf_reader *reader, uint32_t type)
{
	const uint8_t *value = NULL;
	struct dn_text text;
	int r;

	if (type == DN_GGUF_STRING)
		return gguf_take_text(reader, "string", GGUF_STRING_MAX, &text);
	if (type == DN_GGUF_ARRAY)
		return take_array(reader);
	r = gguf_take(reader, gguf_type_width(type), "value", &value);
	if (r < 0)
		return r;
	return type == DN_GGUF_BOOL ? check_bools(reader, value, 1) : 0;
}
