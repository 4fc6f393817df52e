/* SPDX-License-Identifier: MIT */
/* The head of one file, front to back: what it is, its counts, its metadata. */

#include "engine/gguf/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

_Static_assert(offsetof(struct dn_gguf_entry, key) == 0, "the index finds the name at the start");

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
		{ "DNPREPAR", "a prepared model: give it a name that ends in .dunlin" },
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

static int check_magic(const struct gguf_file *file, struct dn_error *err)
{
	const char *what = what_else(file->map, file->map_size);

	if (what)
		return dn_error_set(err, ENOTSUP, "the magic at byte 0 is that of %s", what);
	if (file->map_size < 4 || memcmp(file->map, "GGUF", 4) != 0)
		return dn_error_set(err, EINVAL,
				    "the magic at byte 0 is not 'GGUF': this is no GGUF file");
	if (file->map_size < GGUF_HEAD_BYTES)
		return dn_error_set(err, EINVAL,
				    "the file has %zu bytes, but a GGUF header has %u at least: "
				    "it is cut short",
				    file->map_size, GGUF_HEAD_BYTES);
	return 0;
}

static int check_version(struct gguf_file *file, struct dn_error *err)
{
	uint32_t version = gguf_load_u32(file->map + 4);

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
	file->version = version;
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
	left = reader->file->size - GGUF_HEAD_BYTES;
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
	entry->value = reader->file->map + reader->at;
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
	struct gguf_file *file = reader->file;
	int r;

	for (size_t i = 0; i < file->n_entries; i++) {
		uint64_t start = reader->at;
		const struct dn_gguf_entry *twin;

		r = take_entry(reader, &file->entries[i]);
		if (r < 0)
			return dn_error_prefix(reader->err, r, "metadata entry %zu of %zu", i,
					       file->n_entries);
		twin = gguf_index_add(&file->entry_index, i);
		if (twin)
			return dn_error_set(reader->err, EINVAL,
					    "metadata entry %zu at byte %" PRIu64
					    " has the key of entry %zu, '%s'",
					    i, start, (size_t)(twin - file->entries),
					    gguf_label(twin->key).text);
	}
	file->entries_end = file->map + reader->at;
	return 0;
}

static int check_alignment(struct gguf_file *file, struct dn_error *err)
{
	uint32_t alignment = GGUF_ALIGNMENT_DEFAULT;
	int r;

	r = gguf_file_get_u32(file, "general.alignment", &alignment, err);
	if (r < 0)
		return r;
	if (alignment < GGUF_ALIGNMENT_MIN || alignment > GGUF_ALIGNMENT_MAX ||
	    (alignment & (alignment - 1)))
		return dn_error_set(err, EINVAL,
				    "'general.alignment' is %" PRIu32
				    "; it must be a power of two from %u to %u",
				    alignment, GGUF_ALIGNMENT_MIN, GGUF_ALIGNMENT_MAX);
	file->alignment = alignment;
	return 0;
}

static int map_head(struct gguf_file *file, int fd, uint64_t offset, uint64_t bytes,
		    struct dn_error *err)
{
	void *map;

	if (bytes == 0)
		return dn_error_set(err, EINVAL, "the file is empty");
	file->map_size = (size_t)DN_MIN(bytes, GGUF_HEADER_MAX);
	map = mmap(NULL, file->map_size, PROT_READ, MAP_PRIVATE, fd, (off_t)offset);
	if (map == MAP_FAILED)
		return dn_error_errno(err, errno, "map the model file's first %zu bytes",
				      file->map_size);
	file->map = map;
	return 0;
}

int gguf_file_map(struct gguf_file *file, int fd, struct dn_error *err)
{
	int r = check_file(fd, &file->size, err);

	file->fd = fd;
	return r < 0 ? r : map_head(file, fd, 0, file->size, err);
}

int gguf_file_map_image(struct gguf_file *file, int fd, const struct dn_gguf_image *image,
			struct dn_error *err)
{
	file->fd = -1;
	file->size = image->file_bytes;
	return map_head(file, fd, image->offset, DN_MIN(image->bytes, image->file_bytes), err);
}

static int allocate_entries(struct gguf_file *file, struct dn_error *err)
{
	size_t n = DN_MAX(file->n_entries, (size_t)1);

	file->entries = calloc(n, sizeof(*file->entries));
	if (!file->entries)
		return dn_error_memory(err, "a model file's metadata", n * sizeof(*file->entries));
	return gguf_index_init(&file->entry_index, file->entries, sizeof(*file->entries),
			       file->n_entries, err);
}

int gguf_file_read(struct gguf_file *file, struct dn_error *err)
{
	struct gguf_reader reader = { .file = file, .at = 8, .end = file->map_size, .err = err };
	int r;

	r = check_magic(file, err);
	if (r < 0)
		return r;
	r = check_version(file, err);
	if (r < 0)
		return r;
	r = take_count(&reader, "number of tensors", GGUF_TENSORS_MAX, GGUF_TENSOR_BYTES_MIN,
		       &file->n_tensors);
	if (r < 0)
		return r;
	r = take_count(&reader, "number of metadata entries", GGUF_ENTRIES_MAX,
		       GGUF_ENTRY_BYTES_MIN, &file->n_entries);
	if (r < 0)
		return r;
	r = allocate_entries(file, err);
	if (r < 0)
		return r;
	r = take_entries(&reader);
	if (r < 0)
		return r;
	return check_alignment(file, err);
}

/* What lies behind the header is read with dn_gguf_read(), so it need not stay mapped. */
void gguf_file_trim(struct gguf_file *file, uint64_t header)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t keep = DN_ROUND_UP((size_t)header, page);
	size_t have = DN_ROUND_UP(file->map_size, page);

	file->header_bytes = (size_t)header;
	if (keep < have && munmap((uint8_t *)(uintptr_t)file->map + keep, have - keep) == 0)
		file->map_size = keep;
}

void gguf_file_done(struct gguf_file *file)
{
	gguf_index_done(&file->entry_index);
	free(file->entries);
	if (file->map)
		(void)munmap((void *)(uintptr_t)file->map, file->map_size);
}
