/* SPDX-License-Identifier: MIT */

#include "gguf-builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#define BUILDER_MAX ((size_t)1 << 30)

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	(void)fprintf(stderr, "gguf-builder: %s failed\n", what);
	abort();
}

static void put(struct dn_buffer *buffer, const void *data, size_t size)
{
	must(dn_buffer_append(buffer, data, size) == 0, "append");
}

/* The bytes of a little-endian number, on every host. */
static void put_number(struct dn_buffer *buffer, uint64_t value, size_t width)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < width; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
	put(buffer, bytes, width);
}

static void put_text(struct dn_buffer *buffer, const char *text)
{
	put_number(buffer, strlen(text), 8);
	put(buffer, text, strlen(text));
}

static void put_padding(struct dn_buffer *buffer, size_t alignment)
{
	static const uint8_t zeros[4096];
	size_t more = (alignment - buffer->size % alignment) % alignment;

	for (; more > 0; more -= DN_MIN(more, sizeof(zeros)))
		put(buffer, zeros, DN_MIN(more, sizeof(zeros)));
}

void gguf_builder_init(struct gguf_builder *builder)
{
	*builder = (struct gguf_builder){
		.entries = DN_BUFFER_INIT(BUILDER_MAX),
		.tensors = DN_BUFFER_INIT(BUILDER_MAX),
		.data = DN_BUFFER_INIT(BUILDER_MAX),
		.version = 3,
		.alignment = 32,
	};
}

void gguf_builder_done(struct gguf_builder *builder)
{
	dn_buffer_done(&builder->entries);
	dn_buffer_done(&builder->tensors);
	dn_buffer_done(&builder->data);
}

static struct dn_buffer *begin_entry(struct gguf_builder *builder, const char *key,
				     enum dn_gguf_type type)
{
	put_text(&builder->entries, key);
	put_number(&builder->entries, type, 4);
	builder->n_entries++;
	return &builder->entries;
}

void gguf_add_raw(struct gguf_builder *builder, const char *key, enum dn_gguf_type type,
		  const void *value, size_t size)
{
	put(begin_entry(builder, key, type), value, size);
}

void gguf_add_u32(struct gguf_builder *builder, const char *key, uint32_t value)
{
	put_number(begin_entry(builder, key, DN_GGUF_U32), value, 4);
}

void gguf_add_f32(struct gguf_builder *builder, const char *key, float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	put_number(begin_entry(builder, key, DN_GGUF_F32), bits, 4);
}

void gguf_add_bool(struct gguf_builder *builder, const char *key, bool value)
{
	put_number(begin_entry(builder, key, DN_GGUF_BOOL), value, 1);
}

void gguf_add_text(struct gguf_builder *builder, const char *key, const char *value)
{
	put_text(begin_entry(builder, key, DN_GGUF_STRING), value);
}

void gguf_add_array(struct gguf_builder *builder, const char *key, enum dn_gguf_type type,
		    uint64_t count, const void *values, size_t size)
{
	struct dn_buffer *entries = begin_entry(builder, key, DN_GGUF_ARRAY);

	put_number(entries, type, 4);
	put_number(entries, count, 8);
	put(entries, values, size);
}

void gguf_add_texts(struct gguf_builder *builder, const char *key, const char *const *values,
		    size_t count)
{
	struct dn_buffer *entries = begin_entry(builder, key, DN_GGUF_ARRAY);

	put_number(entries, DN_GGUF_STRING, 4);
	put_number(entries, count, 8);
	for (size_t i = 0; i < count; i++)
		put_text(entries, values[i]);
}

void gguf_set_alignment(struct gguf_builder *builder, uint32_t alignment)
{
	builder->alignment = alignment;
	gguf_add_u32(builder, "general.alignment", alignment);
}

void gguf_add_tensor(struct gguf_builder *builder, const char *name, enum dn_type type,
		     uint32_t n_dims, const uint64_t *dims, const void *data)
{
	const struct dn_type_info *info = dn_type_info(type);
	size_t size = 1;

	must(info != NULL, "type of a tensor");
	put_padding(&builder->data, builder->alignment);
	put_text(&builder->tensors, name);
	put_number(&builder->tensors, n_dims, 4);
	for (uint32_t i = 0; i < n_dims; i++) {
		put_number(&builder->tensors, dims[i], 8);
		size *= (size_t)dims[i];
	}
	size = size / info->columns * info->bytes;
	put_number(&builder->tensors, type, 4);
	put_number(&builder->tensors, builder->data.size, 8);
	if (data) {
		put(&builder->data, data, size);
	} else {
		must(dn_buffer_reserve(&builder->data, size) == 0, "reserve");
		for (; size > 0; size--)
			put(&builder->data, "", 1);
	}
	builder->n_tensors++;
}

uint8_t *gguf_builder_bytes(const struct gguf_builder *builder, size_t *ret_size)
{
	struct dn_buffer file = DN_BUFFER_INIT(BUILDER_MAX);

	put(&file, "GGUF", 4);
	put_number(&file, builder->version, 4);
	put_number(&file, builder->n_tensors, 8);
	put_number(&file, builder->n_entries, 8);
	if (builder->entries.size)
		put(&file, builder->entries.data, builder->entries.size);
	if (builder->tensors.size)
		put(&file, builder->tensors.data, builder->tensors.size);
	if (builder->n_tensors) {
		put_padding(&file, builder->alignment);
		put(&file, builder->data.data, builder->data.size);
	}
	*ret_size = file.size;
	return (uint8_t *)dn_buffer_steal(&file);
}

int gguf_fd_of_bytes(const void *bytes, size_t size)
{
	const uint8_t *from = bytes;
	int fd = memfd_create("test.gguf", MFD_CLOEXEC);

	must(fd >= 0, "memfd_create");
	while (size > 0) {
		ssize_t n = write(fd, from, size);

		must(n > 0, "write");
		from += n;
		size -= (size_t)n;
	}
	return fd;
}

int gguf_builder_fd(const struct gguf_builder *builder)
{
	size_t size;
	uint8_t *bytes = gguf_builder_bytes(builder, &size);
	int fd = gguf_fd_of_bytes(bytes, size);

	free(bytes);
	return fd;
}
