/* SPDX-License-Identifier: MIT */
/*
 * Opening a GGUF file (the specification is docs/gguf.md of the ggml project). The header is read
 * once, front to back, and every field is checked before anything relies on it; what is allocated
 * is bounded by the file's own size and by the limits in gguf-internal.h, whatever it claims.
 */

#include "engine/gguf-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(offsetof(struct dn_gguf_entry, key) == 0, "the index finds the name at the start");
_Static_assert(offsetof(struct dn_gguf_tensor, name) == 0, "the index finds the name at the start");

static int check_file(int fd, uint64_t *ret_size, struct dn_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return dn_error_errno(err, errno, "read the model file's size");
	if (S_ISDIR(st.st_mode))
		return dn_error_set(err, EISDIR, "this is a directory, not a model file");
	if (!S_ISREG(st.st_mode))
		return dn_error_set(err, EINVAL, "this is not a regular file, so no model file");
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

/* Files that people hand over in place of a GGUF file, by their first bytes. */
static const char *what_else(const uint8_t *bytes, size_t size)
{
	static const struct {
		const char *magic;
		const char *what;
	} known[] = {
		{ "FUGG", "a GGUF file for big-endian machines, which is not supported" },
		{ "tjgg", "a GGJT file, which GGUF has replaced: get the model as GGUF" },
		{ "fmgg", "a GGMF file, which GGUF has replaced: get the model as GGUF" },
		{ "lmgg", "a GGML file, which GGUF has replaced: get the model as GGUF" },
		{ "version https://git-lfs", "a Git LFS pointer: fetch the file itself" },
		{ "<!DOCTYPE", "a web page: the download went wrong" },
		{ "<html", "a web page: the download went wrong" },
		{ "PK\x03\x04", "a ZIP archive: unpack it, or get the model as GGUF" },
		{ "\x1f\x8b", "a gzip archive: unpack it" },
		{ "\x28\xb5\x2f\xfd", "a zstd archive: unpack it" },
	};

	for (size_t i = 0; i < DN_ARRAY_SIZE(known); i++) {
		size_t length = strlen(known[i].magic);

		if (size >= length && memcmp(bytes, known[i].magic, length) == 0)
			return known[i].what;
	}
	return NULL;
}

static int check_magic(const struct dn_gguf *gguf, struct dn_error *err)
{
	const char *what = what_else(gguf->map, gguf->map_size);

	if (what)
		return dn_error_set(err, ENOTSUP, "the magic at byte 0 is that of %s", what);
	if (gguf->map_size < 4 || memcmp(gguf->map, "GGUF", 4) != 0)
		return dn_error_set(err, EINVAL,
				    "the magic at byte 0 is not 'GGUF': this is no GGUF file");
	if (gguf->map_size < GGUF_HEAD_BYTES)
		return dn_error_set(err, EINVAL,
				    "the file has %zu bytes, but a GGUF header has %u at least: "
				    "it is cut short",
				    gguf->map_size, GGUF_HEAD_BYTES);
	return 0;
}

static int check_version(struct dn_gguf *gguf, struct dn_error *err)
{
	uint32_t version = gguf_load_u32(gguf->map + 4);

	/* There is no mark of byte order: a version that is small when swapped gives it away. */
	if (!(version & 0xffff) && version)
		return dn_error_set(err, ENOTSUP,
				    "the version at byte 4 is 0x%08" PRIx32 ": this is a GGUF file "
				    "for big-endian machines, which is not supported",
				    version);
	if (version == 1)
		return dn_error_set(err, ENOTSUP,
				    "the version at byte 4 is 1, which is not supported: get the "
				    "model as GGUF version 2 or 3");
	if (version != 2 && version != 3)
		return dn_error_set(err, ENOTSUP,
				    "the version at byte 4 is %" PRIu32 "; supported are 2 and 3",
				    version);
	gguf->version = version;
	return 0;
}

/* A count that the rest of the file can hold, and that is below a limit. */
static int take_count(struct gguf_reader *reader, const char *what, uint64_t max,
		      uint64_t bytes_each, size_t *ret)
{
	uint64_t start = reader->at;
	uint64_t count = 0, left;
	int r;

	r = gguf_take_u64(reader, what, &count);
	if (r < 0)
		return r;
	if (count > max)
		return dn_error_set(reader->err, EINVAL,
				    "%s at byte %" PRIu64 " is %" PRIu64 "; the limit is %" PRIu64,
				    what, start, count, max);
	left = reader->gguf->file_size - GGUF_HEAD_BYTES;
	if (count > left / bytes_each)
		return dn_error_set(reader->err, EINVAL,
				    "%s at byte %" PRIu64 " is %" PRIu64 ", but the %" PRIu64
				    " bytes of file behind the header hold %" PRIu64 " at most",
				    what, start, count, left, left / bytes_each);
	*ret = (size_t)count;
	return 0;
}

static int take_typed_value(struct gguf_reader *reader, struct dn_gguf_entry *entry)
{
	uint64_t start = reader->at;
	uint32_t type = 0;
	int r;

	r = gguf_take_u32(reader, "type", &type);
	if (r < 0)
		return r;
	if (type > DN_GGUF_F64)
		return dn_error_set(reader->err, EINVAL,
				    "type at byte %" PRIu64 " is %" PRIu32 "; known are 0 to %d",
				    start, type, DN_GGUF_F64);
	entry->type = (enum dn_gguf_type)type;
	entry->value = reader->gguf->map + reader->at;
	return gguf_take_value(reader, type);
}

static int take_entry(struct gguf_reader *reader, struct dn_gguf_entry *entry)
{
	int r;

	r = gguf_take_name(reader, "key", GGUF_KEY_MAX, true, &entry->key);
	if (r < 0)
		return r;
	r = take_typed_value(reader, entry);
	if (r < 0)
		return dn_error_prefix(reader->err, r, "'%s'", gguf_label(entry->key).text);
	return 0;
}

static int take_entries(struct gguf_reader *reader)
{
	struct dn_gguf *gguf = reader->gguf;
	int r;

	for (size_t i = 0; i < gguf->n_entries; i++) {
		uint64_t start = reader->at;
		const struct dn_gguf_entry *twin;

		r = take_entry(reader, &gguf->entries[i]);
		if (r < 0)
			return dn_error_prefix(reader->err, r, "metadata entry %zu of %zu", i,
					       gguf->n_entries);
		twin = gguf_index_add(&gguf->entry_index, i);
		if (twin)
			return dn_error_set(reader->err, EINVAL,
					    "metadata entry %zu at byte %" PRIu64
					    " has the key of entry %zu, '%s'",
					    i, start, (size_t)(twin - gguf->entries),
					    gguf_label(twin->key).text);
	}
	gguf->entries_end = gguf->map + reader->at;
	return 0;
}

static int check_alignment(struct dn_gguf *gguf, struct dn_error *err)
{
	uint32_t alignment = GGUF_ALIGNMENT_DEFAULT;
	int r;

	r = dn_gguf_get_u32(gguf, "general.alignment", &alignment, err);
	if (r < 0)
		return r;
	if (alignment < GGUF_ALIGNMENT_MIN || alignment > GGUF_ALIGNMENT_MAX ||
	    (alignment & (alignment - 1)))
		return dn_error_set(err, EINVAL,
				    "'general.alignment' is %" PRIu32
				    "; it must be a power of two from %u to %u",
				    alignment, GGUF_ALIGNMENT_MIN, GGUF_ALIGNMENT_MAX);
	gguf->alignment = alignment;
	return 0;
}

static int allocate(struct dn_gguf *gguf, struct dn_error *err)
{
	size_t entries = DN_MAX(gguf->n_entries, (size_t)1);
	size_t tensors = DN_MAX(gguf->n_tensors, (size_t)1);
	int r;

	gguf->entries = calloc(entries, sizeof(*gguf->entries));
	if (!gguf->entries)
		return dn_error_memory(err, "a model file's metadata",
				       entries * sizeof(*gguf->entries));
	gguf->tensors = calloc(tensors, sizeof(*gguf->tensors));
	if (!gguf->tensors)
		return dn_error_memory(err, "a model file's tensors",
				       tensors * sizeof(*gguf->tensors));
	r = gguf_index_init(&gguf->entry_index, gguf->entries, sizeof(*gguf->entries),
			    gguf->n_entries, err);
	if (r < 0)
		return r;
	return gguf_index_init(&gguf->tensor_index, gguf->tensors, sizeof(*gguf->tensors),
			       gguf->n_tensors, err);
}

/* What lies behind the header is read with dn_gguf_read(), so it need not stay mapped. */
static void trim_map(struct dn_gguf *gguf, uint64_t header)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t keep = DN_ROUND_UP((size_t)header, page);
	size_t have = DN_ROUND_UP(gguf->map_size, page);

	if (keep < have && munmap((uint8_t *)(uintptr_t)gguf->map + keep, have - keep) == 0)
		gguf->map_size = keep;
}

static int parse(struct dn_gguf *gguf, struct dn_error *err)
{
	struct gguf_reader reader = {
		.gguf = gguf,
		.at = 8,
		.end = gguf->map_size,
		.err = err,
	};
	int r;

	r = check_magic(gguf, err);
	if (r < 0)
		return r;
	r = check_version(gguf, err);
	if (r < 0)
		return r;
	r = take_count(&reader, "number of tensors", GGUF_TENSORS_MAX, GGUF_TENSOR_BYTES_MIN,
		       &gguf->n_tensors);
	if (r < 0)
		return r;
	r = take_count(&reader, "number of metadata entries", GGUF_ENTRIES_MAX,
		       GGUF_ENTRY_BYTES_MIN, &gguf->n_entries);
	if (r < 0)
		return r;
	r = allocate(gguf, err);
	if (r < 0)
		return r;
	r = take_entries(&reader);
	if (r < 0)
		return r;
	r = check_alignment(gguf, err);
	if (r < 0)
		return r;
	r = gguf_take_tensors(&reader);
	if (r < 0)
		return r;
	trim_map(gguf, reader.at);
	return 0;
}

int dn_gguf_open(int fd, struct dn_gguf **ret_gguf, struct dn_error *err)
{
	DN_AUTO_GGUF struct dn_gguf *gguf = NULL;
	uint64_t file_size = 0;
	void *map;
	int r;

	r = check_file(fd, &file_size, err);
	if (r < 0)
		return r;
	if (file_size == 0)
		return dn_error_set(err, EINVAL, "the file is empty");
	gguf = calloc(1, sizeof(*gguf));
	if (!gguf)
		return dn_error_memory(err, "a model file", sizeof(*gguf));
	gguf->fd = fd;
	gguf->file_size = file_size;
	gguf->map_size = (size_t)DN_MIN(file_size, GGUF_HEADER_MAX);
	map = mmap(NULL, gguf->map_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the cleanup attribute frees it */
		return dn_error_errno(err, errno, "map the model file's first %zu bytes",
				      gguf->map_size);
	gguf->map = map;
	r = parse(gguf, err);
	if (r < 0)
		return r;
	*ret_gguf = DN_STEAL(gguf);
	return 0;
}

struct dn_gguf *dn_gguf_free(struct dn_gguf *gguf)
{
	if (!gguf)
		return NULL;
	gguf_index_done(&gguf->entry_index);
	gguf_index_done(&gguf->tensor_index);
	free(gguf->entries);
	free(gguf->tensors);
	if (gguf->map)
		(void)munmap((void *)(uintptr_t)gguf->map, gguf->map_size);
	free(gguf);
	return NULL;
}
