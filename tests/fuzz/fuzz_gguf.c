/* SPDX-License-Identifier: MIT */
/* GGUF: any bytes as the files of a model. What opens is used to the last byte. */

#include "../unit/gguf-walk.h"
#include "fuzz.h"
#include "gguf-files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gguf_files files = gguf_files_open(data, size);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_gguf *gguf = NULL;
	int r;

	r = dn_gguf_open(files.fds, files.n, &gguf, &err);
	GGUF_WALK_CHECK(r <= 0);
	GGUF_WALK_CHECK((r == 0) == (gguf != NULL));
	GGUF_WALK_CHECK(r == 0 || (err.code == -r && err.message[0]));
	if (r == 0)
		(void)gguf_walk(gguf);
	dn_gguf_free(gguf);
	gguf_files_close(&files);
	return 0;
}
