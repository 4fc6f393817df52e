/* SPDX-License-Identifier: MIT */
/* GGUF: any bytes as a file. What opens is used to the last byte. */

#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include "../unit/gguf-walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_gguf *gguf = NULL;
	int fd = memfd_create("fuzz.gguf", MFD_CLOEXEC);
	int r;

	if (fd < 0 || (size && write(fd, data, size) != (ssize_t)size))
		abort();
	r = dn_gguf_open(&fd, 1, &gguf, &err);
	GGUF_WALK_CHECK(r <= 0);
	GGUF_WALK_CHECK((r == 0) == (gguf != NULL));
	GGUF_WALK_CHECK(r == 0 || (err.code == -r && err.message[0]));
	if (r == 0)
		(void)gguf_walk(gguf);
	dn_gguf_free(gguf);
	close(fd);
	return 0;
}
