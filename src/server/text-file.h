/* SPDX-License-Identifier: MIT */
/* Small files of whoever runs the server: keys, certificates, configuration. */
#ifndef DUNLIN_SERVER_TEXT_FILE_H
#define DUNLIN_SERVER_TEXT_FILE_H

/* IWYU pragma: begin_exports */
#include <stddef.h>

#include <dunlin/error.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

struct dn_text_file {
	char *text; /* owned; a NUL behind its bytes; NULL: none */
	size_t size;
};

/**
 * dn_text_file_read() - all of a regular file
 * @what: in messages: "keys"
 * @max: bytes
 * @secret: the file must not be open to others; its group may read it, as systemd's credentials are
 */
DN_MUST_CHECK int dn_text_file_read(const char *path, const char *what, size_t max, bool secret,
				    struct dn_text_file *ret_file, struct dn_error *err);
/* Leaves nothing of it in memory. */
void dn_text_file_done(struct dn_text_file *file);
#define DN_AUTO_TEXT_FILE DN_AUTO(dn_text_file_done)

#endif /* DUNLIN_SERVER_TEXT_FILE_H */
