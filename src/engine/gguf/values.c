/* SPDX-License-Identifier: MIT */
/* Look-ups in an opened GGUF file: typed values, arrays, tensors, bytes of tensors. */

#include "engine/gguf/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/pages.h"

static const struct {
	const char *name;
	size_t width;
} value_types[] = {
	[DN_GGUF_U8] = { "u8", 1 },	 [DN_GGUF_I8] = { "i8", 1 },
	[DN_GGUF_U16] = { "u16", 2 },	 [DN_GGUF_I16] = { "i16", 2 },
	[DN_GGUF_U32] = { "u32", 4 },	 [DN_GGUF_I32] = { "i32", 4 },
	[DN_GGUF_F32] = { "f32", 4 },	 [DN_GGUF_BOOL] = { "bool", 1 },
	[DN_GGUF_STRING] = { "string" }, [DN_GGUF_ARRAY] = { "array" },
	[DN_GGUF_U64] = { "u64", 8 },	 [DN_GGUF_I64] = { "i64", 8 },
	[DN_GGUF_F64] = { "f64", 8 },
};

size_t gguf_type_width(uint32_t type)
{
	return type < DN_ARRAY_SIZE(value_types) ? value_types[type].width : 0;
}

const char *gguf_type_name(uint32_t type)
{
	return type < DN_ARRAY_SIZE(value_types) ? value_types[type].name : "unknown";
}

uint32_t dn_gguf_version(const struct dn_gguf *gguf)
{
	return gguf->files[0].version;
}

size_t dn_gguf_n_files(const struct dn_gguf *gguf)
{
	return gguf->n_files;
}

uint64_t dn_gguf_file_size(const struct dn_gguf *gguf)
{
	uint64_t total = 0;

	/* Each is below 2^63, as every file, and there are few: stay below on sparse ones too. */
	for (size_t i = 0; i < gguf->n_files; i++)
		if (!dn_add_ok(total, gguf->files[i].size, &total))
			return UINT64_MAX;
	return total;
}

size_t dn_gguf_n_entries(const struct dn_gguf *gguf)
{
	return gguf->files[0].n_entries;
}

const struct dn_gguf_entry *dn_gguf_entry(const struct dn_gguf *gguf, size_t index)
{
	return index < gguf->files[0].n_entries ? &gguf->files[0].entries[index] : NULL;
}

size_t dn_gguf_n_tensors(const struct dn_gguf *gguf)
{
	return gguf->n_tensors;
}

const struct dn_gguf_tensor *dn_gguf_tensor(const struct dn_gguf *gguf, size_t index)
{
	return index < gguf->n_tensors ? &gguf->tensors[index] : NULL;
}

static struct dn_text text_of(const char *name)
{
	return (struct dn_text){ name, strlen(name) };
}

const struct dn_gguf_tensor *dn_gguf_find_tensor(const struct dn_gguf *gguf, const char *name)
{
	return gguf_index_find(&gguf->tensor_index, text_of(name));
}

static const struct dn_gguf_entry *find(const struct gguf_file *file, const char *key)
{
	return gguf_index_find(&file->entry_index, text_of(key));
}

static int wrong_type(const struct gguf_file *file, const struct dn_gguf_entry *entry,
		      const char *wanted, struct dn_error *err)
{
	return dn_error_set(err, EINVAL, "'%s' at byte %zu has type %s; expected is %s",
			    gguf_label(entry->key).text, (size_t)(entry->value - file->map),
			    gguf_type_name(entry->type), wanted);
}

static int wrong_value(const struct gguf_file *file, const struct dn_gguf_entry *entry,
		       const char *wanted, struct dn_error *err)
{
	return dn_error_set(err, EINVAL, "'%s' at byte %zu is out of range: expected is %s",
			    gguf_label(entry->key).text, (size_t)(entry->value - file->map),
			    wanted);
}

/**
 * struct integer - an integer of any width
 * @bits: two's complement where @negative
 */
struct integer {
	uint64_t bits;
	bool negative;
};

static bool load_integer(const struct dn_gguf_entry *entry, struct integer *ret)
{
	const uint8_t *p = entry->value;
	int64_t value;

	switch (entry->type) {
	case DN_GGUF_U8:
		*ret = (struct integer){ p[0], false };
		return true;
	case DN_GGUF_U16:
		*ret = (struct integer){ (uint64_t)p[0] | (uint64_t)p[1] << 8, false };
		return true;
	case DN_GGUF_U32:
		*ret = (struct integer){ gguf_load_u32(p), false };
		return true;
	case DN_GGUF_U64:
		*ret = (struct integer){ gguf_load_u64(p), false };
		return true;
	case DN_GGUF_I8:
		value = (int64_t)(p[0] ^ 0x80) - 0x80;
		break;
	case DN_GGUF_I16:
		value = (int16_t)(uint16_t)((unsigned int)p[0] | (unsigned int)p[1] << 8);
		break;
	case DN_GGUF_I32:
		value = (int32_t)gguf_load_u32(p);
		break;
	case DN_GGUF_I64:
		value = (int64_t)gguf_load_u64(p);
		break;
	default:
		return false;
	}
	*ret = (struct integer){ (uint64_t)value, value < 0 };
	return true;
}

int gguf_file_get_u32(const struct gguf_file *file, const char *key, uint32_t *ret,
		      struct dn_error *err)
{
	const struct dn_gguf_entry *entry = find(file, key);
	struct integer integer;

	if (!entry)
		return 0;
	if (!load_integer(entry, &integer))
		return wrong_type(file, entry, "an integer", err);
	if (integer.negative || integer.bits > UINT32_MAX)
		return wrong_value(file, entry, "0 to 4294967295", err);
	*ret = (uint32_t)integer.bits;
	return 1;
}

int dn_gguf_get_u32(const struct dn_gguf *gguf, const char *key, uint32_t *ret,
		    struct dn_error *err)
{
	return gguf_file_get_u32(gguf->files, key, ret, err);
}

/* True where @entry is a number; the value is exact, or NaN where a double cannot hold it. */
static bool load_double(const struct dn_gguf_entry *entry, double *ret)
{
	const uint64_t exact = (uint64_t)1 << 53;
	struct integer integer;
	uint32_t bits32;
	uint64_t bits64;
	float f32;

	if (entry->type == DN_GGUF_F32) {
		bits32 = gguf_load_u32(entry->value);
		memcpy(&f32, &bits32, sizeof(f32));
		*ret = (double)f32;
		return true;
	}
	if (entry->type == DN_GGUF_F64) {
		bits64 = gguf_load_u64(entry->value);
		memcpy(ret, &bits64, sizeof(*ret));
		return true;
	}
	if (!load_integer(entry, &integer))
		return false;
	bits64 = integer.negative ? 0 - integer.bits : integer.bits;
	if (bits64 > exact)
		*ret = (double)NAN;
	else
		*ret = integer.negative ? -(double)bits64 : (double)bits64;
	return true;
}

int dn_gguf_get_f64(const struct dn_gguf *gguf, const char *key, double *ret, struct dn_error *err)
{
	const struct dn_gguf_entry *entry = find(gguf->files, key);
	double value;

	if (!entry)
		return 0;
	if (!load_double(entry, &value))
		return wrong_type(gguf->files, entry, "a number", err);
	if (!isfinite(value))
		return wrong_value(gguf->files, entry, "a finite number, exact as a double", err);
	*ret = value;
	return 1;
}

int dn_gguf_get_bool(const struct dn_gguf *gguf, const char *key, bool *ret, struct dn_error *err)
{
	const struct dn_gguf_entry *entry = find(gguf->files, key);

	if (!entry)
		return 0;
	if (entry->type != DN_GGUF_BOOL)
		return wrong_type(gguf->files, entry, "bool", err);
	*ret = entry->value[0] != 0;
	return 1;
}

int dn_gguf_get_text(const struct dn_gguf *gguf, const char *key, struct dn_text *ret,
		     struct dn_error *err)
{
	const struct dn_gguf_entry *entry = find(gguf->files, key);
	const uint8_t *cursor;

	if (!entry)
		return 0;
	if (entry->type != DN_GGUF_STRING)
		return wrong_type(gguf->files, entry, "string", err);
	cursor = entry->value;
	*ret = dn_gguf_next_text(&cursor);
	return 1;
}

/* Entries follow each other without gaps: a value ends where the next key's length begins. */
static const uint8_t *value_end(const struct gguf_file *file, const struct dn_gguf_entry *entry)
{
	if (entry + 1 < file->entries + file->n_entries)
		return (const uint8_t *)entry[1].key.data - 8;
	return file->entries_end;
}

int dn_gguf_get_array(const struct dn_gguf *gguf, const char *key, enum dn_gguf_type type,
		      struct dn_gguf_array *ret, struct dn_error *err)
{
	const struct dn_gguf_entry *entry = find(gguf->files, key);
	uint32_t have;

	if (!entry)
		return 0;
	if (entry->type != DN_GGUF_ARRAY)
		return wrong_type(gguf->files, entry, "array", err);
	have = gguf_load_u32(entry->value);
	if (have != type)
		return dn_error_set(
			err, EINVAL, "'%s' at byte %zu is an array of %s; expected is one of %s",
			gguf_label(entry->key).text, (size_t)(entry->value - gguf->files->map),
			gguf_type_name(have), gguf_type_name(type));
	ret->type = type;
	ret->count = gguf_load_u64(entry->value + 4);
	ret->data = entry->value + 12;
	ret->size = (size_t)(value_end(gguf->files, entry) - ret->data);
	return 1;
}

struct dn_text dn_gguf_next_text(const uint8_t **cursor)
{
	struct dn_text text;

	text.size = (size_t)gguf_load_u64(*cursor);
	text.data = (const char *)*cursor + 8;
	*cursor += 8 + text.size;
	return text;
}

int dn_gguf_read(const struct dn_gguf *gguf, uint32_t number, void *out, size_t size,
		 uint64_t offset, struct dn_error *err)
{
	const struct gguf_file *file;
	uint8_t *to = out;
	uint64_t end;

	if (number >= gguf->n_files)
		return dn_error_set(err, EINVAL, "the model has %zu files, no file %" PRIu32,
				    gguf->n_files, number + 1);
	file = &gguf->files[number];
	if (file->fd < 0)
		return dn_error_set(err, EINVAL, "the model's file is not here, only its header");
	if (!dn_add_ok(offset, (uint64_t)size, &end) || end > file->size)
		return dn_error_set(err, EINVAL,
				    "%zu bytes at byte %" PRIu64
				    " are not inside the model file of %" PRIu64 " bytes",
				    size, offset, file->size);
	while (size > 0) {
		ssize_t n = pread(file->fd, to, DN_MIN(size, (size_t)1 << 30), (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return dn_error_errno(err, errno, "read the model file at byte %" PRIu64,
					      offset);
		if (n == 0)
			return dn_error_set(err, EIO,
					    "the model file ends at byte %" PRIu64
					    ": it was cut short since it was opened with %" PRIu64
					    " bytes",
					    offset, file->size);
		to += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

void dn_gguf_drop_pages(const struct dn_gguf *gguf)
{
	/* Advice: where the kernel does not take it, nothing is lost but memory. */
	for (size_t i = 0; i < gguf->n_files; i++)
		(void)madvise((void *)(uintptr_t)gguf->files[i].map, gguf->files[i].map_size,
			      MADV_DONTNEED);
}

void dn_gguf_populate(const struct dn_gguf *gguf)
{
	for (size_t i = 0; i < gguf->n_files; i++)
		dn_pages_read(gguf->files[i].map, gguf->files[i].map_size);
}

uint64_t dn_gguf_header_size(const struct dn_gguf *gguf)
{
	uint64_t total = 0;

	for (size_t i = 0; i < gguf->n_files; i++)
		total += gguf->files[i].map_size;
	return total;
}

struct dn_gguf_head dn_gguf_head(const struct dn_gguf *gguf, size_t file)
{
	const struct gguf_file *f = &gguf->files[file];

	return (struct dn_gguf_head){ f->map, f->header_bytes, f->size };
}
