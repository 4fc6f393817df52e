/* SPDX-License-Identifier: MIT */
/* Writing the prepared form of a model, and from that the model's files again. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/io.h"
#include "engine/prepared.h"
#include "engine/tokenizer/tables.h"
#include "kernels/relay.h"

/* Bytes that are read and written at once. */
#define STRETCH ((size_t)256 << 10)

/* What is written in order, and how far that is. */
struct sink {
	int fd;
	uint64_t at;
	const char *what;
};

static int put(struct sink *sink, const void *data, size_t size, struct dn_error *err)
{
	int r = dn_write_whole(sink->fd, data, size, sink->what, err);

	sink->at += size;
	return r;
}

static int pad_to(struct sink *sink, uint64_t at, struct dn_error *err)
{
	static const uint8_t zeros[4096];
	int r = 0;

	while (r >= 0 && sink->at < at)
		r = put(sink, zeros, (size_t)DN_MIN(at - sink->at, (uint64_t)sizeof(zeros)), err);
	return r;
}

/*
 * The bytes of a file, in order, are those of its image, then by turns those of weights that the
 * region has and those that it has not: the rest.
 */
struct extent {
	const struct dn_weight *weight; /* NULL: of the rest */
	uint64_t offset;
	uint64_t size;
};

static int by_offset(const void *a, const void *b)
{
	const struct dn_weight *const *x = a;
	const struct dn_weight *const *y = b;

	return ((*x)->tensor->offset > (*y)->tensor->offset) -
	       ((*x)->tensor->offset < (*y)->tensor->offset);
}

/* The extents behind a file's header; at most 2 * n_weights + 1. Tensors do not overlap. */
static size_t list_extents(const struct dn_model *m, uint32_t file, const struct dn_weight **kept,
			   struct extent *extents)
{
	const struct dn_gguf_head head = dn_gguf_head(m->gguf, file);
	uint64_t at = head.size;
	size_t n_kept = 0;
	size_t n = 0;

	for (size_t i = 0; i < m->n_weights; i++)
		if (m->weights[i].tensor->file == file)
			kept[n_kept++] = &m->weights[i];
	qsort(kept, n_kept, sizeof(const struct dn_weight *), by_offset);
	for (size_t i = 0; i < n_kept; i++) {
		const struct dn_gguf_tensor *t = kept[i]->tensor;

		if (t->offset > at)
			extents[n++] = (struct extent){ NULL, at, t->offset - at };
		extents[n++] = (struct extent){ kept[i], t->offset, t->size };
		at = DN_MAX(at, t->offset + t->size);
	}
	if (at < head.file_bytes)
		extents[n++] = (struct extent){ NULL, at, head.file_bytes - at };
	return n;
}

/**
 * struct layout - a model's files in extents, one after the other
 * @first: of each file, and behind the last
 */
struct layout {
	struct extent *extents;
	size_t first[DN_GGUF_FILES_MAX + 1];
};

static void layout_done(struct layout *layout)
{
	free(layout->extents);
}

static int lay_out(const struct dn_model *m, struct layout *layout, struct dn_error *err)
{
	const size_t n_files = dn_gguf_n_files(m->gguf);
	const size_t most = 2 * m->n_weights + n_files;
	DN_AUTO_FREE const struct dn_weight **kept = NULL;
	size_t n = 0;

	kept = calloc(m->n_weights + 1, sizeof(*kept));
	layout->extents = calloc(most, sizeof(*layout->extents));
	if (!kept || !layout->extents)
		return dn_error_memory(err, "the places of weights",
				       most * sizeof(*layout->extents));
	for (uint32_t file = 0; file < n_files; file++) {
		layout->first[file] = n;
		n += list_extents(m, file, kept, layout->extents + n);
	}
	layout->first[n_files] = n;
	return 0;
}

static uint64_t rest_bytes(const struct layout *layout, size_t first, size_t end)
{
	uint64_t bytes = 0;

	for (size_t i = first; i < end; i++)
		if (!layout->extents[i].weight)
			bytes += layout->extents[i].size;
	return bytes;
}

static bool rest_fits(const struct layout *layout, size_t n_files, uint64_t bytes)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < layout->first[n_files]; i++)
		if (!layout->extents[i].weight && !dn_add_ok(sum, layout->extents[i].size, &sum))
			return false;
	return sum == bytes;
}

static void fill_head(const struct dn_model *m, const struct layout *layout,
		      struct dn_prepared_head *head)
{
	const size_t n_files = dn_gguf_n_files(m->gguf);
	uint64_t at = sizeof(*head);

	*head = (struct dn_prepared_head){
		.magic = DN_PREPARED_MAGIC,
		.layout = DN_PREPARED_LAYOUT,
		.n_files = (uint32_t)n_files,
		.n_weights = m->n_weights,
		.region_bytes = m->region_bytes,
	};
	for (size_t i = 0; i < n_files; i++) {
		const struct dn_gguf_head image = dn_gguf_head(m->gguf, i);

		at = DN_ROUND_UP(at, DN_PREPARED_ALIGN);
		head->images[i] = (struct dn_gguf_image){ at, image.size, image.file_bytes };
		at += image.size;
	}
	head->tables_at = DN_ROUND_UP(at, DN_PREPARED_ALIGN);
	head->tables_bytes = m->tokenizer ? dn_tokenizer_tables_size(m->tokenizer) : 0;
	head->weights_at = DN_ROUND_UP(head->tables_at + head->tables_bytes, (uint64_t)8);
	at = head->weights_at + m->n_weights * sizeof(struct dn_prepared_weight);
	/* So that large pages can hold it. */
	head->region_at = DN_ROUND_UP(at, m->region_bytes >= DN_HUGE_PAGE ? (uint64_t)DN_HUGE_PAGE
									  : DN_PREPARED_ALIGN);
	head->rest_at = head->region_at + m->region_bytes;
	head->bytes = head->rest_at + rest_bytes(layout, 0, layout->first[n_files]);
}

static int put_table(void *data, const void *bytes, size_t size, struct dn_error *err)
{
	return put(data, bytes, size, err);
}

static int put_tables(const struct dn_model *m, const struct dn_prepared_head *head,
		      struct sink *sink, struct dn_error *err)
{
	int r = pad_to(sink, head->tables_at, err);

	if (r >= 0 && m->tokenizer)
		r = dn_tokenizer_tables_write(m->tokenizer, put_table, sink, err);
	return r < 0 ? r : pad_to(sink, head->weights_at, err);
}

static int put_weights(const struct dn_model *m, struct sink *sink, struct dn_error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < m->n_weights; i++) {
		const struct dn_weight *w = &m->weights[i];
		const struct dn_prepared_weight entry = {
			.tensor = (uint32_t)(w->tensor - dn_gguf_tensor(m->gguf, 0)),
			.type = w->shape.type,
			.offset = w->offset,
			.bytes = w->bytes,
		};

		r = put(sink, &entry, sizeof(entry), err);
	}
	return r;
}

struct region_sink {
	struct sink *sink;
	uint64_t region_at;
};

static int put_stretch(void *data, size_t offset, const uint8_t *bytes, size_t size,
		       struct dn_error *err)
{
	const struct region_sink *to = data;
	int r = pad_to(to->sink, to->region_at + offset, err);

	return r < 0 ? r : put(to->sink, bytes, size, err);
}

static int put_extent(const struct dn_model *m, uint32_t file, const struct extent *extent,
		      struct sink *sink, uint8_t *buffer, struct dn_error *err)
{
	int r = 0;

	for (uint64_t at = 0; r >= 0 && at < extent->size; at += STRETCH) {
		const size_t size = (size_t)DN_MIN(extent->size - at, (uint64_t)STRETCH);

		r = dn_gguf_read(m->gguf, file, buffer, size, extent->offset + at, err);
		if (r >= 0)
			r = put(sink, buffer, size, err);
	}
	return r;
}

static int put_rest(const struct dn_model *m, const struct layout *layout, struct sink *sink,
		    struct dn_error *err)
{
	DN_AUTO_FREE uint8_t *buffer = malloc(STRETCH);
	int r = 0;

	if (!buffer)
		return dn_error_memory(err, "preparing", STRETCH);
	for (uint32_t file = 0; file < dn_gguf_n_files(m->gguf); file++)
		for (size_t i = layout->first[file]; r >= 0 && i < layout->first[file + 1]; i++)
			if (!layout->extents[i].weight)
				r = put_extent(m, file, &layout->extents[i], sink, buffer, err);
	return r;
}

static int put_images(const struct dn_model *m, const struct dn_prepared_head *head,
		      struct sink *sink, struct dn_error *err)
{
	int r = put(sink, head, sizeof(*head), err);

	for (uint32_t i = 0; r >= 0 && i < head->n_files; i++) {
		r = pad_to(sink, head->images[i].offset, err);
		if (r >= 0)
			r = put(sink, dn_gguf_head(m->gguf, i).data, head->images[i].bytes, err);
	}
	return r;
}

int dn_model_prepare(const struct dn_model *m, int fd, uint64_t *ret_head_bytes,
		     struct dn_error *err)
{
	const struct dn_weight_set set = { m->gguf, m->weights,	     m->n_weights,
					   NULL,    m->region_bytes, 0 };
	DN_AUTO(layout_done) struct layout layout = { NULL, { 0 } };
	struct sink sink = { fd, 0, "the prepared model" };
	struct region_sink region = { .sink = &sink };
	struct dn_prepared_head head;
	int r;

	r = dn_model_runs(m, err);
	if (r >= 0 && m->prepared.bytes)
		r = dn_error_set(err, EALREADY, "the model is prepared already");
	if (r >= 0)
		r = lay_out(m, &layout, err);
	if (r < 0)
		return r;
	fill_head(m, &layout, &head);
	*ret_head_bytes = head.region_at;
	region.region_at = head.region_at;
	r = put_images(m, &head, &sink, err);
	if (r >= 0)
		r = put_tables(m, &head, &sink, err);
	if (r >= 0)
		r = put_weights(m, &sink, err);
	if (r >= 0)
		r = dn_weights_each_stretch(&set, put_stretch, &region, err);
	if (r >= 0)
		r = pad_to(&sink, head.rest_at, err);
	return r < 0 ? r : put_rest(m, &layout, &sink, err);
}

/* A weight's rows as they were, from its groups. */
static int give_weight(const struct dn_weight *w, const uint8_t *region, struct sink *sink,
		       uint8_t *rows, struct dn_error *err)
{
	const uint8_t *group = region + w->offset;
	const size_t row_bytes = dn_relay_row_bytes(w->shape.type, w->shape.columns);
	int r = 0;

	if (w->vector)
		return put(sink, group, w->bytes, err);
	for (uint32_t row = 0; r >= 0 && row < w->shape.rows; row += DN_GROUP) {
		const uint32_t n = DN_MIN(w->shape.rows - row, (uint32_t)DN_GROUP);

		dn_unrelay_group(w->shape.type, w->shape.columns, group, n, rows);
		r = put(sink, rows, n * row_bytes, err);
		group += w->shape.group_bytes;
	}
	return r;
}

/* Bytes that the rows of a group take, at most. */
static size_t widest_rows(const struct dn_model *m)
{
	size_t most = 1;

	for (size_t i = 0; i < m->n_weights; i++)
		if (!m->weights[i].vector)
			most = DN_MAX(most, m->weights[i].shape.group_bytes);
	return most;
}

static int give_extents(const struct dn_model *m, const struct layout *layout, uint32_t file,
			const uint8_t *prepared, struct sink *sink, struct dn_error *err)
{
	const uint8_t *region = prepared + m->prepared.region_at;
	const uint8_t *rest =
		prepared + m->prepared.rest_at + rest_bytes(layout, 0, layout->first[file]);
	DN_AUTO_FREE uint8_t *rows = malloc(widest_rows(m));
	int r = 0;

	if (!rows)
		return dn_error_memory(err, "giving a model's file back", widest_rows(m));
	for (size_t i = layout->first[file]; r >= 0 && i < layout->first[file + 1]; i++) {
		const struct extent *extent = &layout->extents[i];

		if (extent->weight) {
			r = give_weight(extent->weight, region, sink, rows, err);
		} else {
			r = put(sink, rest, extent->size, err);
			rest += extent->size;
		}
	}
	return r;
}

int dn_model_give_back(const struct dn_model *m, uint32_t file, int fd, struct dn_error *err)
{
	DN_AUTO(layout_done) struct layout layout = { NULL, { 0 } };
	struct sink sink = { fd, 0, "the model's file" };
	struct dn_gguf_head head;
	void *prepared;
	int r;

	if (!m->prepared.bytes)
		return dn_error_set(err, EINVAL, "this is a model's file, not a prepared form");
	if (file >= dn_gguf_n_files(m->gguf))
		return dn_error_set(err, EINVAL, "the model was made of %zu files, it has no %u",
				    dn_gguf_n_files(m->gguf), file + 1);
	r = dn_model_runs(m, err);
	if (r >= 0)
		r = lay_out(m, &layout, err);
	if (r < 0)
		return r;
	/* The sizes of files are what the form says; what it has of them is another thing. */
	if (!rest_fits(&layout, dn_gguf_n_files(m->gguf), m->prepared.bytes - m->prepared.rest_at))
		return dn_error_set(err, EBADMSG,
				    "the prepared model is damaged (its rest): "
				    "prepare the model again");
	prepared = mmap(NULL, m->prepared.bytes, PROT_READ, MAP_PRIVATE, m->prepared.fd, 0);
	if (prepared == MAP_FAILED)
		return dn_error_memory(err, "the prepared model", m->prepared.bytes);
	head = dn_gguf_head(m->gguf, file);
	r = put(&sink, head.data, head.size, err);
	if (r >= 0)
		r = give_extents(m, &layout, file, prepared, &sink, err);
	(void)munmap(prepared, m->prepared.bytes);
	return r;
}
