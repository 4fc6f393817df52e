/* SPDX-License-Identifier: MIT */
/* Pages made before they are needed, so that nothing waits for them later. */
#ifndef DUNLIN_BASE_PAGES_H
#define DUNLIN_BASE_PAGES_H

#include <stddef.h>

/*
 * By a write to each page of what is private, whose bytes stay: a mere read would map the page of
 * zeros that all share.
 */
void dn_pages_write(void *memory, size_t bytes);

/* By a read of each page of what is mapped from a file; @memory: at the border of a page. */
void dn_pages_read(const void *memory, size_t bytes);

#endif /* DUNLIN_BASE_PAGES_H */
