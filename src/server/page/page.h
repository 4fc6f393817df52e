/* SPDX-License-Identifier: MIT */
/* The page's files, put into the program when it is built (embed.py). */
#ifndef DUNLIN_SERVER_PAGE_PAGE_H
#define DUNLIN_SERVER_PAGE_PAGE_H

#include <stddef.h>

/**
 * struct dn_page_file - one file
 * @path: where it is asked for: "/", "/page/style.css"
 * @type: of its content
 * @etag: a digest of it, in quotes
 */
struct dn_page_file {
	const char *path;
	const char *type;
	const char *etag;
	const unsigned char *data;
	size_t size;
};

extern const struct dn_page_file dn_page_files[];
extern const size_t dn_page_count;

#endif /* DUNLIN_SERVER_PAGE_PAGE_H */
