/* SPDX-License-Identifier: MIT */
/*
 * Opening a model of one or several GGUF files (the specification is docs/gguf.md of the ggml
 * project). Each header is read once, front to back, and every field is checked before anything
 * relies on it; what is allocated is bounded by the files' own sizes and by the limits in
 * gguf-internal.h, whatever they claim.
 */

#include "engine/gguf/internal.h"

#include <errno.h>
#include <stdlib.h>

_Static_assert(offsetof(struct dn_gguf_tensor, name) == 0, "the index finds the name at the start");

/* Which of several files a message is about. */
static int blame(const struct dn_gguf *gguf, size_t number, int r, struct dn_error *err)
{
	if (r >= 0 || gguf->n_files == 1)
		return r;
	return dn_error_prefix(err, r, "file %zu of %zu", number + 1, gguf->n_files);
}

/* What the headers are mapped from: a file each, or images in one. */
struct sources {
	const int *fds;
	int fd;
	const struct dn_gguf_image *images;
};

static int map_file(struct gguf_file *file, const struct sources *from, size_t i,
		    struct dn_error *err)
{
	if (from->fds)
		return gguf_file_map(file, from->fds[i], err);
	return gguf_file_map_image(file, from->fd, &from->images[i], err);
}

static int open_files(struct dn_gguf *gguf, const struct sources *from, struct dn_error *err)
{
	for (size_t i = 0; i < gguf->n_files; i++) {
		struct gguf_file *file = &gguf->files[i];
		int r;

		r = map_file(file, from, i, err);
		if (r >= 0)
			r = gguf_file_read(file, err);
		if (r < 0)
			return blame(gguf, i, r, err);
		file->first_tensor = gguf->n_tensors;
		gguf->n_tensors += file->n_tensors;
	}
	if (gguf->n_tensors > GGUF_TENSORS_MAX)
		return dn_error_set(err, EINVAL, "the %zu files have %zu tensors; the limit is %u",
				    gguf->n_files, gguf->n_tensors, GGUF_TENSORS_MAX);
	return gguf_check_split(gguf, err);
}

static int take_tensors(struct dn_gguf *gguf, struct dn_error *err)
{
	size_t n = DN_MAX(gguf->n_tensors, (size_t)1);
	int r;

	gguf->tensors = calloc(n, sizeof(*gguf->tensors));
	if (!gguf->tensors)
		return dn_error_memory(err, "a model file's tensors", n * sizeof(*gguf->tensors));
	r = gguf_index_init(&gguf->tensor_index, gguf->tensors, sizeof(*gguf->tensors),
			    gguf->n_tensors, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < gguf->n_files; i++) {
		struct gguf_file *file = &gguf->files[i];
		struct gguf_reader reader = {
			.gguf = gguf,
			.file = file,
			.at = (uint64_t)(file->entries_end - file->map),
			.end = file->map_size,
			.err = err,
		};

		r = gguf_take_tensors(&reader);
		if (r < 0)
			return blame(gguf, i, r, err);
		gguf_file_trim(file, reader.at);
	}
	return 0;
}

static int open_sources(const struct sources *from, size_t n, struct dn_gguf **ret_gguf,
			struct dn_error *err)
{
	DN_AUTO_GGUF struct dn_gguf *gguf = NULL;
	int r;

	if (n < 1 || n > DN_GGUF_FILES_MAX)
		return dn_error_set(err, EINVAL, "a model of %zu files; it must be 1 to %d", n,
				    DN_GGUF_FILES_MAX);
	gguf = calloc(1, sizeof(*gguf) + n * sizeof(gguf->files[0]));
	if (!gguf)
		return dn_error_memory(err, "a model file", sizeof(*gguf));
	gguf->n_files = n;
	r = open_files(gguf, from, err);
	if (r < 0)
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the cleanup attribute frees it */
		return r;
	r = take_tensors(gguf, err);
	if (r < 0)
		return r;
	*ret_gguf = DN_STEAL(gguf);
	return 0;
}

int dn_gguf_open(const int *fds, size_t n_fds, struct dn_gguf **ret_gguf, struct dn_error *err)
{
	const struct sources from = { .fds = fds };

	return open_sources(&from, n_fds, ret_gguf, err);
}

int dn_gguf_open_images(int fd, const struct dn_gguf_image *images, size_t n_images,
			struct dn_gguf **ret_gguf, struct dn_error *err)
{
	const struct sources from = { .fd = fd, .images = images };

	return open_sources(&from, n_images, ret_gguf, err);
}

struct dn_gguf *dn_gguf_free(struct dn_gguf *gguf)
{
	if (!gguf)
		return NULL;
	for (size_t i = 0; i < gguf->n_files; i++)
		gguf_file_done(&gguf->files[i]);
	gguf_index_done(&gguf->tensor_index);
	free(gguf->tensors);
	free(gguf);
	return NULL;
}
