/* SPDX-License-Identifier: MIT */
/*
 * The log: one line an event, "level event key=value …" (logfmt) on stderr. What clients send is
 * never in it but for methods, paths and names, and those are escaped.
 */
#ifndef DUNLIN_SERVER_LOG_H
#define DUNLIN_SERVER_LOG_H

/* IWYU pragma: begin_exports */
#include "base/base.h"
/* IWYU pragma: end_exports */

/* @event: a word; @format: the rest of the line, keys and values. */
void dn_log_event(const char *level, const char *event, const char *format, ...) DN_PRINTF(3, 4);

/* Room for a value of at most @n bytes, escaped and in quotes. */
#define DN_LOG_VALUE_SIZE(n) (4 * (n) + 3)
/* A value in quotes where it needs them; cut where it is longer than @out. Returns @out. */
const char *dn_log_value(const char *value, char *out, size_t out_size);

#endif /* DUNLIN_SERVER_LOG_H */
