/* SPDX-License-Identifier: MIT */
/*
 * API keys in a file, one a line: "KEY", "NAME KEY", or "NAME sha256:HEX" of a key; '#' begins a
 * remark. Only digests leave this file's functions.
 */
#ifndef DUNLIN_SERVER_KEYS_H
#define DUNLIN_SERVER_KEYS_H

/* IWYU pragma: begin_exports */
#include "server/control.h"
/* IWYU pragma: end_exports */

#define DN_KEY_TEXT_MAX 64

/**
 * dn_keys_read() - the digests of a file's keys
 * @keys: room for DN_SERVER_KEYS_MAX
 *
 * Return: 0; -EINVAL for a line that is none, whose number the message has; -ENOENT for a file
 * without keys; what open() and read() said.
 */
DN_MUST_CHECK int dn_keys_read(const char *path, struct dn_control_key *keys, uint32_t *ret_n,
			       struct dn_error *err);

/* Makes a key, and a file (mode 600) that has it alone; -EEXIST where there is one. */
DN_MUST_CHECK int dn_keys_make(const char *path, char *ret_key, struct dn_error *err);

#endif /* DUNLIN_SERVER_KEYS_H */
