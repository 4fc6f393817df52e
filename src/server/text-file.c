/* SPDX-License-Identifier: MIT */

#include "server/text-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <openssl/crypto.h>

#include "base/io.h"

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

void dn_text_file_done(struct dn_text_file *file)
{
	if (file->text)
		OPENSSL_cleanse(file->text, file->size);
	free(file->text);
	*file = (struct dn_text_file){ NULL, 0 };
}

/* Some editors begin texts with it; it is no part of their first word. */
static void drop_byte_order_mark(struct dn_text_file *file)
{
	const size_t mark = strlen(BYTE_ORDER_MARK);

	if (file->size < mark || memcmp(file->text, BYTE_ORDER_MARK, mark) != 0)
		return;
	file->size -= mark;
	memmove(file->text, file->text + mark, file->size);
	memset(file->text + file->size, 0, mark);
}

int dn_text_file_read(const char *path, const char *what, size_t max, bool secret,
		      struct dn_text_file *ret_file, struct dn_error *err)
{
	DN_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	DN_AUTO_TEXT_FILE struct dn_text_file file = { NULL, 0 };
	struct stat st;
	int r;

	if (fd < 0)
		return dn_error_errno(err, errno, "open the %s in '%.160s'", what, path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)max)
		return dn_error_set(err, EINVAL, "'%.160s' is no file of %s", path, what);
	if (secret && (st.st_mode & (S_IRWXG | S_IRWXO) & ~(mode_t)S_IRGRP))
		return dn_error_set(err, EPERM,
				    "the %s in '%.160s' are open to others: chmod 600 it", what,
				    path);
	file.size = (size_t)st.st_size;
	file.text = calloc(1, file.size + 1);
	if (!file.text)
		return dn_error_memory(err, what, file.size);
	r = dn_read_whole(fd, file.text, file.size, what, err);
	if (r < 0)
		return dn_error_prefix(err, r, "'%.160s'", path);
	drop_byte_order_mark(&file);
	*ret_file = file;
	file.text = NULL;
	return 0;
}
