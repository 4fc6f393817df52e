/* SPDX-License-Identifier: MIT */
/*
 * Memory that goes from one process to another as a descriptor, sealed so that neither can harm
 * the other through it.
 */
#ifndef DUNLIN_CHANNEL_SHARED_MEMORY_H
#define DUNLIN_CHANNEL_SHARED_MEMORY_H

#include <stdbool.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>

/* A mapping; @data is NULL when there is none. */
struct dn_shared {
	void *data;
	size_t size;
};

/**
 * dn_shared_from_bytes() - a descriptor whose content is @bytes, for good
 * @name: seen in /proc/PID/maps; borrowed
 * @size: at least 1
 * @ret_fd: owned by the caller, close-on-exec; nothing can write, shrink or grow it
 */
DN_MUST_CHECK int dn_shared_from_bytes(const char *name, const void *bytes, size_t size,
				       int *ret_fd, struct dn_error *err);

/* Memory that grows as it is written to, until dn_shared_seal(). */
DN_MUST_CHECK int dn_shared_begin(const char *name, int *ret_fd, struct dn_error *err);

/* As dn_shared_from_bytes(), of zero bytes that the peer may fill; its size is fixed. */
DN_MUST_CHECK int dn_shared_new(const char *name, uint64_t size, int *ret_fd, struct dn_error *err);

/* Fixes content and size of what these two made; -EBUSY while it is mapped for writing. */
DN_MUST_CHECK int dn_shared_seal(int fd, struct dn_error *err);
/* Whether nobody can change what is in it, nor its size. */
bool dn_shared_is_sealed(int fd);

/**
 * dn_shared_map() - map what another process sent, for reading
 * @fd: borrowed
 * @max: bytes that are accepted
 *
 * Accepts memory (memfd) that cannot shrink, so that a read never ends in SIGBUS, and that
 * cannot be written, so that what was checked stays as it was checked.
 *
 * Return: 0, -EPERM when a seal is missing, -EFBIG above @max, or another negative errno.
 */
DN_MUST_CHECK int dn_shared_map(int fd, uint64_t max, struct dn_shared *ret_shared,
				struct dn_error *err);

/*
 * As dn_shared_map(), for writing: the content may change under the reader at any time, so each
 * value is copied out before it is checked.
 */
DN_MUST_CHECK int dn_shared_map_writable(int fd, uint64_t max, struct dn_shared *ret_shared,
					 struct dn_error *err);

void dn_shared_unmap(struct dn_shared *shared);
#define DN_AUTO_SHARED DN_AUTO(dn_shared_unmap)

#endif /* DUNLIN_CHANNEL_SHARED_MEMORY_H */
