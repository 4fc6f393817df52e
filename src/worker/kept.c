/* SPDX-License-Identifier: MIT */
/* Kept sequences leave as snapshots, come back from them, or are forgotten. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "channel/shared-memory.h"
#include "worker/internal.h"

#define SNAPSHOT_MAGIC	 0x4e53444eU /* "NDSN" */
#define SNAPSHOT_VERSION 1

/* Before the cache's own bytes: which tokens it is of. */
struct snapshot_header {
	uint32_t magic;
	uint32_t version;
	uint32_t vocabulary;
	uint32_t n_tokens;
};

static int find_kept(struct dn_worker *worker, uint64_t kept, struct dn_place **ret_place,
		     struct dn_error *err)
{
	*ret_place = dn_place_find(worker, kept, true);
	if (!*ret_place)
		return dn_error_set(err, ENOENT, "no sequence is kept under number %llu",
				    (unsigned long long)kept);
	return 0;
}

int dn_worker_forget(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		     struct dn_error *err)
{
	struct dn_place *place;
	int r;

	(void)fd;
	r = find_kept(worker, frame->u.sequence.kept, &place, err);
	if (r < 0)
		return r;
	dn_place_free(place);
	dn_frame_init(&worker->out, DN_FRAME_FORGOTTEN, frame->request);
	dn_worker_send(worker, &worker->out, -1);
	return 0;
}

/* Writes the first @n_tokens of a kept sequence, or as many of them as can be told apart. */
static int save(struct dn_worker *worker, const struct dn_place *place, uint32_t n_tokens, int out,
		struct dn_error *err)
{
	struct snapshot_header header = { SNAPSHOT_MAGIC, SNAPSHOT_VERSION, worker->vocabulary,
					  place->n_tokens };
	const struct dn_sequence *from = place->sequence;
	struct dn_sequence *head = NULL;
	int r = 0;

	if (n_tokens > 0 && n_tokens < dn_sequence_length(from)) {
		r = dn_sequence_new(worker->context, &head, err);
		if (r >= 0)
			r = dn_sequence_share(head, from, n_tokens, err);
		if (r >= 0)
			from = head;
		header.n_tokens = dn_sequence_length(from);
	}
	if (r >= 0)
		r = dn_write_whole(out, &header, sizeof(header), "the snapshot", err);
	if (r >= 0)
		r = dn_write_whole(out, place->tokens, header.n_tokens * sizeof(uint32_t),
				   "the snapshot", err);
	if (r >= 0)
		r = dn_sequence_save(from, out, err);
	dn_sequence_free(head);
	return r;
}

int dn_worker_snapshot(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		       struct dn_error *err)
{
	struct dn_place *place;
	DN_AUTO_FD int out = -1;
	struct stat st;
	int r;

	(void)fd;
	r = find_kept(worker, frame->u.snapshot.kept, &place, err);
	if (r < 0)
		return r;
	r = dn_shared_begin("dunlin-snapshot", &out, err);
	if (r >= 0)
		r = save(worker, place, frame->u.snapshot.tokens, out, err);
	if (r >= 0)
		r = dn_shared_seal(out, err);
	if (r < 0)
		return r;
	if (fstat(out, &st) < 0)
		return dn_error_errno(err, errno, "look at a snapshot");
	dn_frame_init(&worker->out, DN_FRAME_SNAPSHOT_OUT, frame->request);
	worker->out.attachment = (uint64_t)st.st_size;
	dn_worker_send(worker, &worker->out, out);
	return 0;
}

static int restore_into(struct dn_worker *worker, struct dn_place *place, int fd, uint32_t n_tokens,
			struct dn_error *err)
{
	int r;

	if (lseek(fd, sizeof(struct snapshot_header), SEEK_SET) < 0)
		return dn_error_errno(err, errno, "read a snapshot");
	r = dn_read_whole(fd, place->tokens, n_tokens * sizeof(uint32_t), "the snapshot", err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n_tokens; i++)
		if (place->tokens[i] >= worker->vocabulary)
			return dn_error_set(err, EINVAL,
					    "token %u of the snapshot is %u; the model has %u", i,
					    place->tokens[i], worker->vocabulary);
	r = dn_sequence_restore(place->sequence, fd, err);
	if (r < 0)
		return r;
	if (dn_sequence_length(place->sequence) != n_tokens)
		return dn_error_set(err, EINVAL, "the snapshot names %u tokens and holds %u",
				    n_tokens, dn_sequence_length(place->sequence));
	return 0;
}

int dn_worker_restore(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		      struct dn_error *err)
{
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };
	struct snapshot_header header;
	struct dn_place *place;
	int r;

	if (!worker->context)
		return dn_error_set(err, EINVAL, "no weights are loaded");
	/* Only to have it checked: sealed, and as large as announced. */
	r = dn_mapped_open(*fd, frame->attachment, &mapped, err);
	if (r < 0)
		return r;
	if (lseek(*fd, 0, SEEK_SET) < 0)
		return dn_error_errno(err, errno, "read a snapshot");
	r = dn_read_whole(*fd, &header, sizeof(header), "the snapshot", err);
	if (r < 0)
		return r;
	if (header.magic != SNAPSHOT_MAGIC || header.version != SNAPSHOT_VERSION)
		return dn_error_set(err, EINVAL, "this is no snapshot of version %d",
				    SNAPSHOT_VERSION);
	if (header.vocabulary != worker->vocabulary)
		return dn_error_set(err, EINVAL, "the snapshot is of another model");
	if (header.n_tokens > worker->length)
		return dn_error_set(err, E2BIG,
				    "the snapshot has %u tokens, the context room for %u",
				    header.n_tokens, worker->length);
	r = dn_place_new(worker, worker->length, &place, err);
	if (r < 0)
		return r;
	/* A full cache: what is kept for the longest goes, as it does for prompts. */
	do
		r = restore_into(worker, place, *fd, header.n_tokens, err);
	while (r == -ENOSPC && dn_place_evict(worker));
	if (r < 0) {
		dn_place_free(place);
		return r;
	}
	place->state = DN_PLACE_KEPT;
	place->kind = DN_PLACE_GENERATE;
	place->space = frame->u.restore.space;
	place->request = frame->request;
	place->n_tokens = header.n_tokens;
	dn_frame_init(&worker->out, DN_FRAME_RESTORED, frame->request);
	worker->out.u.restored.tokens = header.n_tokens;
	dn_worker_send(worker, &worker->out, -1);
	return 0;
}
