/* SPDX-License-Identifier: MIT */
#ifndef DUNLIN_ERROR_H
#define DUNLIN_ERROR_H

#include <stddef.h>

#ifdef __cplusplus
#define DN_BEGIN_DECLS extern "C" {
#define DN_END_DECLS   }
#else
#define DN_BEGIN_DECLS
#define DN_END_DECLS
#endif

#define DN_API		     __attribute__((visibility("default")))
#define DN_MUST_CHECK	     __attribute__((warn_unused_result))
#define DN_PRINTF(at, first) __attribute__((__format__(__printf__, at, first)))

DN_BEGIN_DECLS

#define DN_ERROR_MESSAGE_MAX 512

/**
 * struct dn_error - why an operation failed, as one line for a person
 * @code: positive errno; 0 while nothing has failed
 * @message: what was attempted, on what, and why it failed; printable UTF-8, no line end
 *
 * Owned by the caller, usually on the stack; every function that takes one accepts NULL.
 * The negative return value steers the program, the message is for its user.
 */
struct dn_error {
	int code;
	char message[DN_ERROR_MESSAGE_MAX];
};

#define DN_ERROR_INIT { 0, "" }

/**
 * dn_error_set() - fill @err with a message
 * @err: may be NULL
 * @code: positive errno
 *
 * Return: -@code, so that a function can end with `return dn_error_set(…)`.
 */
DN_API int dn_error_set(struct dn_error *err, int code, const char *format, ...) DN_PRINTF(3, 4);

/* As dn_error_set(), with ": " and the text of @code behind the message. */
DN_API int dn_error_errno(struct dn_error *err, int code, const char *format, ...) DN_PRINTF(3, 4);

/* Put "…: " before the message of @err, as an error goes up. Returns @r. */
DN_API int dn_error_prefix(struct dn_error *err, int r, const char *format, ...) DN_PRINTF(3, 4);

DN_END_DECLS

#endif /* DUNLIN_ERROR_H */
