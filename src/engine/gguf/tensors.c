/* SPDX-License-Identifier: MIT */
/* Descriptions of tensors: shapes that make sense, places inside the file that do not overlap. */

#include "engine/gguf/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* Types that other programs write and this one does not read, so that a message can name them. */
static const char *foreign_type(uint32_t type)
{
	static const char *const names[] = {
		[4] = "Q4_2",	   [5] = "Q4_3",      [9] = "Q8_1",	 [15] = "Q8_K",
		[16] = "IQ2_XXS",  [17] = "IQ2_XS",   [18] = "IQ3_XXS",	 [19] = "IQ1_S",
		[21] = "IQ3_S",	   [22] = "IQ2_S",    [24] = "I8",	 [25] = "I16",
		[26] = "I32",	   [27] = "I64",      [28] = "F64",	 [29] = "IQ1_M",
		[31] = "Q4_0_4_4", [32] = "Q4_0_4_8", [33] = "Q4_0_8_8", [34] = "TQ1_0",
		[35] = "TQ2_0",	   [39] = "MXFP4",
	};

	return type < DN_ARRAY_SIZE(names) ? names[type] : NULL;
}

static int take_shape(struct gguf_reader *reader, struct dn_gguf_tensor *tensor)
{
	uint64_t start = reader->at;
	int r;

	r = gguf_take_u32(reader, "number of dimensions", &tensor->n_dims);
	if (r < 0)
		return r;
	if (tensor->n_dims < 1 || tensor->n_dims > DN_GGUF_DIMS_MAX)
		return dn_error_set(reader->err, EINVAL,
				    "number of dimensions at byte %" PRIu64 " is %" PRIu32
				    "; it must be 1 to %d",
				    start, tensor->n_dims, DN_GGUF_DIMS_MAX);
	for (uint32_t i = 0; i < DN_GGUF_DIMS_MAX; i++) {
		tensor->dims[i] = 1;
		if (i >= tensor->n_dims)
			continue;
		start = reader->at;
		r = gguf_take_u64(reader, "dimension", &tensor->dims[i]);
		if (r < 0)
			return r;
		if (tensor->dims[i] < 1 || tensor->dims[i] > GGUF_DIM_MAX)
			return dn_error_set(reader->err, EINVAL,
					    "dimension %" PRIu32 " at byte %" PRIu64 " is %" PRIu64
					    "; it must be 1 to %" PRIu64,
					    i, start, tensor->dims[i], GGUF_DIM_MAX);
	}
	return 0;
}

static int take_type(struct gguf_reader *reader, const struct dn_type_info **ret_info,
		     struct dn_gguf_tensor *tensor)
{
	uint64_t start = reader->at;
	uint32_t type = 0;
	int r;

	r = gguf_take_u32(reader, "type", &type);
	if (r < 0)
		return r;
	*ret_info = dn_type_info(type);
	if (!*ret_info && foreign_type(type))
		return dn_error_set(reader->err, ENOTSUP,
				    "type at byte %" PRIu64 " is %" PRIu32
				    " (%s), which is not supported: use a file of another "
				    "quantisation, such as Q4_K_M or Q8_0",
				    start, type, foreign_type(type));
	if (!*ret_info)
		return dn_error_set(reader->err, EINVAL,
				    "type at byte %" PRIu64 " is %" PRIu32 ", which is unknown",
				    start, type);
	tensor->type = (enum dn_type)type;
	return 0;
}

static int compute_size(struct gguf_reader *reader, const struct dn_type_info *info,
			struct dn_gguf_tensor *tensor)
{
	uint64_t bytes = info->bytes;

	if (tensor->dims[0] % info->columns)
		return dn_error_set(reader->err, EINVAL,
				    "dimension 0 is %" PRIu64 ", no multiple of the %u columns of "
				    "a block of %s",
				    tensor->dims[0], info->columns, info->name);
	/* Each dimension is below 2^31, so the first product fits; the others are checked. */
	bytes *= tensor->dims[0] / info->columns;
	for (uint32_t i = 1; i < DN_GGUF_DIMS_MAX; i++)
		if (!dn_mul_ok(bytes, tensor->dims[i], &bytes))
			return dn_error_set(reader->err, EINVAL,
					    "the product of the dimensions (%" PRIu64 ", %" PRIu64
					    ", %" PRIu64 ", %" PRIu64 ") does not fit 64 bits",
					    tensor->dims[0], tensor->dims[1], tensor->dims[2],
					    tensor->dims[3]);
	tensor->size = bytes;
	return 0;
}

/* The offset stays as in the file, from the start of the data, until that is known. */
static int take_place(struct gguf_reader *reader, struct dn_gguf_tensor *tensor)
{
	uint64_t start = reader->at;
	int r;

	r = gguf_take_u64(reader, "offset", &tensor->offset);
	if (r < 0)
		return r;
	if (tensor->offset % reader->file->alignment)
		return dn_error_set(reader->err, EINVAL,
				    "offset at byte %" PRIu64 " is %" PRIu64
				    ", no multiple of the alignment, %" PRIu32,
				    start, tensor->offset, reader->file->alignment);
	return 0;
}

static int take_tensor(struct gguf_reader *reader, struct dn_gguf_tensor *tensor)
{
	const struct dn_type_info *info = NULL;
	int r;

	r = gguf_take_name(reader, "name", GGUF_NAME_MAX, false, &tensor->name);
	if (r < 0)
		return r;
	r = take_shape(reader, tensor);
	if (r == 0)
		r = take_type(reader, &info, tensor);
	if (r == 0)
		r = compute_size(reader, info, tensor);
	if (r == 0)
		r = take_place(reader, tensor);
	if (r < 0)
		return dn_error_prefix(reader->err, r, "'%s'", gguf_label(tensor->name).text);
	return 0;
}

static struct dn_gguf_tensor *own_tensors(const struct gguf_reader *reader)
{
	return reader->gguf->tensors + reader->file->first_tensor;
}

/* Makes offsets count from the start of the file; all of each tensor must lie inside it. */
static int place_tensors(struct gguf_reader *reader)
{
	const struct gguf_file *file = reader->file;
	struct dn_gguf_tensor *tensors = own_tensors(reader);
	uint64_t data = DN_ROUND_UP(reader->at, (uint64_t)file->alignment);

	for (size_t i = 0; i < file->n_tensors; i++) {
		struct dn_gguf_tensor *tensor = &tensors[i];
		uint64_t from, to;

		if (!dn_add_ok(tensor->offset, data, &from) ||
		    !dn_add_ok(from, tensor->size, &to) || to > file->size)
			return dn_error_set(reader->err, EINVAL,
					    "tensor %zu '%s' of %" PRIu64
					    " bytes at offset %" PRIu64
					    " of the data (which starts at byte %" PRIu64
					    ") leaves the file of %" PRIu64
					    " bytes: it is cut short or damaged",
					    i, gguf_label(tensor->name).text, tensor->size,
					    tensor->offset, data, file->size);
		tensor->offset = from;
	}
	return 0;
}

static int compare_places(const void *a, const void *b)
{
	const struct dn_gguf_tensor *first = *(const struct dn_gguf_tensor *const *)a;
	const struct dn_gguf_tensor *second = *(const struct dn_gguf_tensor *const *)b;

	return (first->offset > second->offset) - (first->offset < second->offset);
}

static int check_overlap(struct gguf_reader *reader)
{
	const struct dn_gguf_tensor *tensors = own_tensors(reader);
	DN_AUTO_FREE const struct dn_gguf_tensor **order = NULL;
	size_t n = reader->file->n_tensors;

	if (n < 2)
		return 0;
	order = calloc(n, sizeof(*order));
	if (!order)
		return dn_error_memory(reader->err, "the order of a model file's tensors",
				       n * sizeof(*order));
	for (size_t i = 0; i < n; i++)
		order[i] = &tensors[i];
	qsort(order, n, sizeof(*order), compare_places);
	for (size_t i = 1; i < n; i++)
		if (order[i - 1]->offset + order[i - 1]->size > order[i]->offset)
			return dn_error_set(reader->err, EINVAL,
					    "tensors '%s' (bytes %" PRIu64 " to %" PRIu64
					    ") and '%s' (from byte %" PRIu64 ") overlap",
					    gguf_label(order[i - 1]->name).text,
					    order[i - 1]->offset,
					    order[i - 1]->offset + order[i - 1]->size,
					    gguf_label(order[i]->name).text, order[i]->offset);
	return 0;
}

static int refuse_twin(struct gguf_reader *reader, const struct dn_gguf_tensor *twin, size_t i,
		       uint64_t start)
{
	const struct dn_gguf_tensor *tensors = own_tensors(reader);

	if (twin->file != tensors[i].file)
		return dn_error_set(reader->err, EINVAL,
				    "tensor %zu, '%s', is in file %" PRIu32
				    " too: these are not the parts of one model",
				    i, gguf_label(twin->name).text, twin->file + 1);
	return dn_error_set(reader->err, EINVAL,
			    "tensor %zu at byte %" PRIu64 " has the name of tensor %zu, '%s'", i,
			    start, (size_t)(twin - tensors), gguf_label(twin->name).text);
}

int gguf_take_tensors(struct gguf_reader *reader)
{
	const struct gguf_file *file = reader->file;
	struct dn_gguf *gguf = reader->gguf;
	int r;

	for (size_t i = 0; i < file->n_tensors; i++) {
		uint64_t start = reader->at;
		struct dn_gguf_tensor *tensor = &own_tensors(reader)[i];
		const struct dn_gguf_tensor *twin;

		tensor->file = (uint32_t)(file - gguf->files);
		r = take_tensor(reader, tensor);
		if (r < 0)
			return dn_error_prefix(reader->err, r, "tensor %zu of %zu", i,
					       file->n_tensors);
		twin = gguf_index_add(&gguf->tensor_index, file->first_tensor + i);
		if (twin)
			return refuse_twin(reader, twin, i, start);
	}
	r = place_tensors(reader);
	if (r < 0)
		return r;
	return check_overlap(reader);
}
