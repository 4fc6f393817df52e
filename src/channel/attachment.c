/* SPDX-License-Identifier: MIT */
/* Attachments of frames over shared memory. */

#include "channel/attachment.h"

#include <errno.h>

#include "channel/shared-memory.h"

int dn_attach(const void *data, size_t size, int *ret_fd, struct dn_error *err)
{
	if (size > 0)
		return dn_shared_from_bytes("dunlin", data, size, ret_fd, err);
	*ret_fd = -1;
	return 0;
}

int dn_mapped_open(int fd, uint64_t size, struct dn_mapped *ret_mapped, struct dn_error *err)
{
	struct dn_shared shared = { NULL, 0 };
	int r;

	if (size == 0) {
		*ret_mapped = (struct dn_mapped){ "", 0 };
		return 0;
	}
	r = dn_shared_map(fd, size, &shared, err);
	if (r == -EPERM || r == -EFBIG)
		return dn_error_prefix(err, -EBADMSG, "an attachment of %llu bytes",
				       (unsigned long long)size);
	if (r < 0)
		return r;
	if (shared.size != size) {
		r = dn_error_set(err, EBADMSG, "an attachment of %zu bytes was announced with %llu",
				 shared.size, (unsigned long long)size);
		dn_shared_unmap(&shared);
		return r;
	}
	*ret_mapped = (struct dn_mapped){ shared.data, shared.size };
	return 0;
}

void dn_mapped_done(struct dn_mapped *mapped)
{
	struct dn_shared shared = { (void *)(uintptr_t)mapped->data, mapped->size };

	/* The empty one is no mapping. */
	if (mapped->size > 0)
		dn_shared_unmap(&shared);
	*mapped = (struct dn_mapped){ NULL, 0 };
}
