/* SPDX-License-Identifier: MIT */
/* One input as the files of a model: a file begins at each magic and version of GGUF. */
#ifndef TESTS_FUZZ_GGUF_FILES_H
#define TESTS_FUZZ_GGUF_FILES_H

/* IWYU pragma: begin_exports */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>
/* IWYU pragma: end_exports */

#define GGUF_FILES_MAX 4

struct gguf_files {
	int fds[GGUF_FILES_MAX];
	size_t n;
};

static inline int gguf_files_begins(const uint8_t *data, size_t size)
{
	return size >= 8 && memcmp(data, "GGUF", 4) == 0 && (data[4] == 2 || data[4] == 3) &&
	       memcmp(data + 5, "\0\0\0", 3) == 0;
}

/* Always one file at least, if an empty one; to be closed with gguf_files_close(). */
static inline struct gguf_files gguf_files_open(const uint8_t *data, size_t size)
{
	struct gguf_files files = { .n = 0 };
	size_t begin = 0;

	while (files.n == 0 || (begin < size && files.n < GGUF_FILES_MAX)) {
		size_t end = begin + (begin < size);
		int fd = memfd_create("fuzz.gguf", MFD_CLOEXEC);

		while (end < size && !gguf_files_begins(data + end, size - end))
			end++;
		if (fd < 0 ||
		    (end > begin && write(fd, data + begin, end - begin) != (ssize_t)(end - begin)))
			abort();
		files.fds[files.n++] = fd;
		begin = end;
	}
	return files;
}

static inline void gguf_files_close(struct gguf_files *files)
{
	while (files->n > 0)
		close(files->fds[--files->n]);
}

#endif /* TESTS_FUZZ_GGUF_FILES_H */
