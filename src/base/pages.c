/* SPDX-License-Identifier: MIT */

#include "base/pages.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

void dn_pages_write(void *memory, size_t bytes)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	for (size_t i = 0; i < bytes; i += page) {
		volatile uint8_t *at = (uint8_t *)memory + i;

		*at = *at;
	}
}

void dn_pages_read(const void *memory, size_t bytes)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (madvise((void *)(uintptr_t)memory, bytes, MADV_POPULATE_READ) == 0 || errno != EINVAL)
		return;
	/* An older kernel, which does not know that advice. */
	for (size_t i = 0; i < bytes; i += page)
		(void)*((const volatile uint8_t *)memory + i);
}
