/* SPDX-License-Identifier: MIT */
/*
 * Models in several files, as llama.cpp's gguf-split writes them: NAME-00001-of-00003.gguf has all
 * metadata, the others have tensors, and each says which of how many it is.
 */

#include "engine/gguf/internal.h"

#include <errno.h>
#include <inttypes.h>

/**
 * struct split - what a file says of itself
 * @number: from 0; @count: of files; @tensors: of all files
 * @has_count: false in a file that is a model by itself
 */
struct split {
	uint32_t number;
	uint32_t count;
	uint32_t tensors;
	bool has_count;
	bool has_tensors;
};

static int read_split(const struct gguf_file *file, struct split *ret, struct dn_error *err)
{
	struct split split = { .count = 1 };
	int r;

	*ret = split;
	r = gguf_file_get_u32(file, "split.count", &split.count, err);
	if (r < 0)
		return r;
	split.has_count = r > 0;
	r = gguf_file_get_u32(file, "split.no", &split.number, err);
	if (r < 0)
		return r;
	r = gguf_file_get_u32(file, "split.tensors.count", &split.tensors, err);
	if (r < 0)
		return r;
	split.has_tensors = r > 0;
	/* Zero is what a writer leaves that did not split after all. */
	if (split.count == 0)
		split.count = 1;
	if (split.number >= split.count)
		return dn_error_set(err, EINVAL,
				    "'split.no' is %" PRIu32 ", but 'split.count' is %" PRIu32
				    ": the file is damaged",
				    split.number, split.count);
	*ret = split;
	return 0;
}

static int check_alone(const struct split *split, struct dn_error *err)
{
	if (split->count > DN_GGUF_FILES_MAX)
		return dn_error_set(err, ENOTSUP,
				    "this is a part of a model in %" PRIu32
				    " files; at most %d are supported",
				    split->count, DN_GGUF_FILES_MAX);
	if (split->number > 0)
		return dn_error_set(err, EINVAL,
				    "this is part %" PRIu32 " of %" PRIu32
				    " of a model: give the first part, whose name ends in "
				    "-00001-of-%05" PRIu32 ".gguf",
				    split->number + 1, split->count, split->count);
	if (split->count > 1)
		return dn_error_set(err, EINVAL,
				    "this is part 1 of %" PRIu32
				    " of a model, without the others: keep them in one folder, "
				    "their names ending in -00001-of-%05" PRIu32
				    ".gguf, -00002-of-%05" PRIu32 ".gguf and so on",
				    split->count, split->count, split->count);
	return 0;
}

/* @first: what the first file says, for all others to agree with. */
static int check_part(const struct dn_gguf *gguf, size_t number, const struct split *split,
		      const struct split *first, struct dn_error *err)
{
	if (!split->has_count)
		return dn_error_set(err, EINVAL,
				    "it lacks 'split.count', so it is no part of a model: give "
				    "a model in one file under a name without -of-");
	if (split->count != gguf->n_files)
		return dn_error_set(err, EINVAL,
				    "it is a part of a model in %" PRIu32
				    " files: fetch all parts of one model",
				    split->count);
	if (split->number != number)
		return dn_error_set(err, EINVAL,
				    "it says that it is part %" PRIu32
				    ": the files were renamed or are in another order",
				    split->number + 1);
	if (!split->has_tensors)
		return dn_error_set(err, EINVAL, "it lacks 'split.tensors.count'");
	if (split->tensors != first->tensors)
		return dn_error_set(err, EINVAL,
				    "it is a part of a model of %" PRIu32
				    " tensors, but file 1 of one of %" PRIu32
				    ": fetch all parts of one model",
				    split->tensors, first->tensors);
	return 0;
}

int gguf_check_split(const struct dn_gguf *gguf, struct dn_error *err)
{
	struct split first;
	int r;

	r = read_split(&gguf->files[0], &first, err);
	if (gguf->n_files == 1)
		return r < 0 ? r : check_alone(&first, err);
	for (size_t i = 0; i < gguf->n_files; i++) {
		struct split split;

		r = read_split(&gguf->files[i], &split, err);
		if (r >= 0)
			r = check_part(gguf, i, &split, &first, err);
		if (r < 0)
			return dn_error_prefix(err, r, "file %zu of %zu", i + 1, gguf->n_files);
	}
	if (gguf->n_tensors != first.tensors)
		return dn_error_set(err, EINVAL,
				    "the %zu files have %zu tensors, but 'split.tensors.count' "
				    "is %" PRIu32 ": a part is of another model, or damaged",
				    gguf->n_files, gguf->n_tensors, first.tensors);
	return 0;
}
