/* SPDX-License-Identifier: MIT */
/* What every file uses: sizes, ownership, checked arithmetic. */
#ifndef DUNLIN_BASE_BASE_H
#define DUNLIN_BASE_BASE_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <dunlin/error.h>
/* IWYU pragma: end_exports */

#define DN_ARRAY_SIZE(a)      (sizeof(a) / sizeof((a)[0]))
#define DN_MIN(a, b)	      ((a) < (b) ? (a) : (b))
#define DN_MAX(a, b)	      ((a) > (b) ? (a) : (b))
#define DN_DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
#define DN_ROUND_UP(n, d)     (DN_DIV_ROUND_UP(n, d) * (d))
#define DN_LIKELY(x)	      __builtin_expect(!!(x), 1)
#define DN_UNLIKELY(x)	      __builtin_expect(!!(x), 0)

#define DN_HUGE_PAGE ((size_t)2 << 20)

/* Overflow-checked arithmetic: false, and *ret undefined, when the result does not fit. */
#define dn_mul_ok(a, b, ret) (!__builtin_mul_overflow(a, b, ret))
#define dn_add_ok(a, b, ret) (!__builtin_add_overflow(a, b, ret))

/* Ownership: DN_AUTO(free_function) on a local, DN_STEAL() to hand it on. */
#define DN_AUTO(function) __attribute__((cleanup(function)))
#define DN_STEAL(pointer)                                                                          \
	({                                                                                         \
		__typeof__(&(pointer)) dn_from_ = &(pointer);                                      \
		__typeof__(pointer) dn_taken_ = *dn_from_;                                         \
		*dn_from_ = NULL;                                                                  \
		dn_taken_;                                                                         \
	})

/* Defines name_cleanup() for pointers whose destructor is name(). */
#define DN_DEFINE_CLEANUP(type, name)                                                              \
	static inline void name##_cleanup(type *pointer)                                           \
	{                                                                                          \
		if (*pointer)                                                                      \
			name(*pointer);                                                            \
	}

static inline void dn_free_cleanup(void *pointer)
{
	free(*(void **)pointer);
}
#define DN_AUTO_FREE DN_AUTO(dn_free_cleanup)

static inline void dn_close_cleanup(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define DN_AUTO_FD DN_AUTO(dn_close_cleanup)

static inline int dn_steal_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* Fills @err with "out of memory" and what for; returns -ENOMEM. */
int dn_error_memory(struct dn_error *err, const char *what, size_t bytes);

#endif /* DUNLIN_BASE_BASE_H */
