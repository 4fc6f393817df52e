/* SPDX-License-Identifier: MIT */
/* What is attached to frames: sealed memory, or nothing where there are no bytes. */
#ifndef DUNLIN_CHANNEL_ATTACHMENT_H
#define DUNLIN_CHANNEL_ATTACHMENT_H

/* IWYU pragma: begin_exports */
#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

/* A descriptor that holds @data for good; -1 in @ret_fd for no bytes. */
DN_MUST_CHECK int dn_attach(const void *data, size_t size, int *ret_fd, struct dn_error *err);

/* An attachment that is mapped for reading; @data is never NULL once opened. */
struct dn_mapped {
	const void *data;
	size_t size;
};

/**
 * dn_mapped_open() - look at an attachment
 * @fd: borrowed; -1 where @size is 0
 * @size: as the frame announced it; anything else is refused
 *
 * Return: 0; -EBADMSG where the sender did not keep to the schema; another negative errno.
 */
DN_MUST_CHECK int dn_mapped_open(int fd, uint64_t size, struct dn_mapped *ret_mapped,
				 struct dn_error *err);
void dn_mapped_done(struct dn_mapped *mapped);
#define DN_AUTO_MAPPED DN_AUTO(dn_mapped_done)

#endif /* DUNLIN_CHANNEL_ATTACHMENT_H */
