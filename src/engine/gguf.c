/* SPDX-License-Identifier: MIT */
/* GGUF: opening. */
#include "engine/gguf.h"

#include <errno.h>

int dn_gguf_open(int fd, struct dn_gguf **ret_gguf, struct dn_error *err)
{
	(void)fd;
	(void)ret_gguf;
	return dn_error_set(err, ENOSYS, "GGUF files cannot be read yet");
}
