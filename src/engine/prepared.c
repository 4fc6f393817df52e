/* SPDX-License-Identifier: MIT */
/* Opening a prepared model: everything that it says of itself is checked against its size. */

#include "engine/prepared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/io.h"
#include "base/pages.h"
#include "engine/thread.h"

/* Pages that a thread touches at once. */
#define TOUCH_BYTES (2 * DN_HUGE_PAGE)

#ifndef MADV_COLLAPSE /* Linux 6.1 */
#define MADV_COLLAPSE 25
#endif

static int damaged(const char *what, struct dn_error *err)
{
	return dn_error_set(err, EBADMSG,
			    "the prepared model is damaged (%s): prepare the model again", what);
}

static int stale(struct dn_error *err)
{
	return dn_error_set(err, ESTALE,
			    "the model was prepared by another version of this program: prepare "
			    "it again, or let that version give the model's file back");
}

static int read_at(int fd, void *out, size_t size, uint64_t offset, struct dn_error *err)
{
	int r = dn_pread_whole(fd, out, size, offset, "the prepared model", err);

	return r == -EINVAL ? damaged("its end is missing", err) : r;
}

/* Whether [@at, @at + @bytes) is a part of @head, behind its head. */
static bool inside(const struct dn_prepared_head *head, uint64_t at, uint64_t bytes)
{
	uint64_t end;

	return at >= sizeof(*head) && dn_add_ok(at, bytes, &end) && end <= head->bytes;
}

static bool places_fit(const struct dn_prepared_head *head)
{
	uint64_t weights_bytes;

	if (head->n_files < 1 || head->n_files > DN_GGUF_FILES_MAX)
		return false;
	for (uint32_t i = 0; i < head->n_files; i++) {
		const struct dn_gguf_image *image = &head->images[i];

		if (image->offset % DN_PREPARED_ALIGN || image->bytes > image->file_bytes ||
		    !inside(head, image->offset, image->bytes))
			return false;
	}
	return head->tables_at % DN_PREPARED_ALIGN == 0 &&
	       inside(head, head->tables_at, head->tables_bytes) &&
	       dn_mul_ok(head->n_weights, (uint64_t)sizeof(struct dn_prepared_weight),
			 &weights_bytes) &&
	       inside(head, head->weights_at, weights_bytes) &&
	       head->region_at % DN_PREPARED_ALIGN == 0 &&
	       inside(head, head->region_at, head->region_bytes) && inside(head, head->rest_at, 0);
}

static int read_head(int fd, struct dn_prepared_head *head, struct dn_error *err)
{
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return dn_error_errno(err, errno, "look at the prepared model");
	if (!S_ISREG(st.st_mode))
		return dn_error_set(err, EINVAL, "a prepared model is a regular file");
	r = read_at(fd, head, sizeof(*head), 0, err);
	if (r < 0)
		return r;
	if (memcmp(head->magic, DN_PREPARED_MAGIC, sizeof(head->magic)) != 0)
		return dn_error_set(err, EINVAL, "this is no prepared model");
	if (head->layout != DN_PREPARED_LAYOUT)
		return stale(err);
	if (head->bytes > (uint64_t)st.st_size)
		return damaged("its end is missing", err);
	return places_fit(head) ? 0 : damaged("its head", err);
}

/* Whether this version would put every weight where it is. */
static int check_weights(const struct dn_model *m, const struct dn_prepared_head *head, int fd,
			 struct dn_error *err)
{
	DN_AUTO_FREE struct dn_prepared_weight *written = NULL;
	const size_t bytes = m->n_weights * sizeof(*written);
	int r;

	if (head->n_weights != m->n_weights || head->region_bytes != m->region_bytes)
		return stale(err);
	written = malloc(DN_MAX(bytes, (size_t)1));
	if (!written)
		return dn_error_memory(err, "the list of weights", bytes);
	r = read_at(fd, written, bytes, head->weights_at, err);
	for (size_t i = 0; r >= 0 && i < m->n_weights; i++) {
		const struct dn_weight *w = &m->weights[i];

		if (written[i].tensor != (uint32_t)(w->tensor - dn_gguf_tensor(m->gguf, 0)) ||
		    written[i].type != (uint32_t)w->shape.type || written[i].offset != w->offset ||
		    written[i].bytes != w->bytes)
			return stale(err);
	}
	return r;
}

static int map_tables(int fd, const struct dn_prepared_head *head,
		      struct dn_tokenizer_tables *ret_tables, struct dn_error *err)
{
	void *map;

	if (!head->tables_bytes)
		return 0;
	map = mmap(NULL, head->tables_bytes, PROT_READ, MAP_PRIVATE, fd, (off_t)head->tables_at);
	if (map == MAP_FAILED)
		return dn_error_memory(err, "the tokenizer's tables", head->tables_bytes);
	*ret_tables = (struct dn_tokenizer_tables){ map, head->tables_bytes };
	return 0;
}

int dn_model_open_prepared(int fd, struct dn_model **ret_model, struct dn_error *err)
{
	struct dn_tokenizer_tables tables = { NULL, 0 };
	struct dn_error own = DN_ERROR_INIT;
	struct dn_prepared_head head = { .n_files = 0 };
	DN_AUTO_GGUF struct dn_gguf *gguf = NULL;
	struct dn_model *m = NULL;
	int r;

	if (!err)
		err = &own;
	r = read_head(fd, &head, err);
	if (r >= 0)
		r = dn_gguf_open_images(fd, head.images, head.n_files, &gguf, err);
	if (r >= 0)
		r = map_tables(fd, &head, &tables, err);
	if (r >= 0)
		r = dn_model_of_gguf(DN_STEAL(gguf), &tables, &m, err);
	if (r >= 0 && !m->runs.code)
		r = check_weights(m, &head, fd, err);
	if (r < 0) {
		dn_model_free(m);
		return r;
	}
	m->prepared = (struct dn_prepared){ fd, head.region_at, head.rest_at, head.bytes };
	*ret_model = m;
	return 0;
}

/**
 * struct touch_job - pages to be mapped before they are read
 * @collapse: memory, which large pages can hold; the first process that maps it makes them, those
 *	after it find them
 */
struct touch_job {
	uint8_t *region;
	size_t bytes;
	bool collapse;
};

static void touch_piece(void *data, uint32_t piece, uint32_t thread)
{
	const struct touch_job *job = data;
	const size_t at = piece * TOUCH_BYTES;
	const size_t bytes = DN_MIN(TOUCH_BYTES, job->bytes - at);

	(void)thread;
	/* Where the kernel has none to give, small ones do. */
	if (job->collapse && bytes >= DN_HUGE_PAGE)
		(void)madvise(job->region + at, bytes / DN_HUGE_PAGE * DN_HUGE_PAGE, MADV_COLLAPSE);
	dn_pages_read(job->region + at, bytes);
}

/*
 * Maps @bytes of @fd where an address and the place in the file are multiples of large pages alike.
 * Private, as all mappings of a prepared form: nobody writes, and before Linux 6.7 what is sealed
 * against writing maps in no other way.
 */
static void *map_aligned(int fd, uint64_t offset, size_t bytes)
{
	uint8_t *room;
	size_t before;
	void *map;

	if (offset % DN_HUGE_PAGE || bytes < DN_HUGE_PAGE)
		return mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, (off_t)offset);
	room = mmap(NULL, bytes + DN_HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		return MAP_FAILED;
	before = DN_ROUND_UP((uintptr_t)room, DN_HUGE_PAGE) - (uintptr_t)room;
	map = mmap(room + before, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, (off_t)offset);
	if (map == MAP_FAILED) {
		(void)munmap(room, bytes + DN_HUGE_PAGE);
		return MAP_FAILED;
	}
	if (before > 0)
		(void)munmap(room, before);
	/* The mapping ends with its last page; what is behind that is given back. */
	room += before + DN_ROUND_UP(bytes, (size_t)sysconf(_SC_PAGESIZE));
	if (before < DN_HUGE_PAGE)
		(void)munmap(room, DN_HUGE_PAGE - before);
	return map;
}

int dn_prepared_map(const struct dn_prepared *prepared, struct dn_weight_set *set,
		    struct dn_pool *pool, struct dn_error *err)
{
	struct touch_job job = {
		.bytes = set->region_bytes,
		.collapse = fcntl(prepared->fd, F_GET_SEALS) >= 0,
	};
	void *region;

	if (!set->region_bytes)
		return 0;
	region = map_aligned(prepared->fd, prepared->region_at, set->region_bytes);
	if (region == MAP_FAILED)
		return dn_error_memory(err, "the weights", set->region_bytes);
	set->region = region;
	set->mapped_bytes = set->region_bytes;
	job.region = region;
	if (pool)
		dn_pool_run(pool, touch_piece, &job,
			    (uint32_t)DN_DIV_ROUND_UP(job.bytes, TOUCH_BYTES));
	dn_weights_set_addresses(set);
	return 0;
}
