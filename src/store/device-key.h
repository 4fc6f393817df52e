/* SPDX-License-Identifier: MIT */
/* The secret of this device, from which the keys of what it seals come. */
#ifndef DUNLIN_STORE_DEVICE_KEY_H
#define DUNLIN_STORE_DEVICE_KEY_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

#define DN_KEY_BYTES 32

struct dn_key {
	uint8_t bytes[DN_KEY_BYTES];
};

/**
 * dn_device_key_load() - read it from a file of its 32 bytes
 * @path: in a folder that its user alone can write
 * @create: make it, of random bytes, where there is none
 * @ret_key: to be wiped with dn_key_wipe()
 *
 * Return: 0; -ENOENT where there is none; -EPERM where others may read it or own it; another
 * negative errno.
 */
DN_MUST_CHECK int dn_device_key_load(const char *path, bool create, struct dn_key *ret_key,
				     struct dn_error *err);

/* Whether nobody but this user can have changed a file, or (@secret) read it: -EPERM if not. */
DN_MUST_CHECK int dn_check_own(int fd, bool secret, const char *what, struct dn_error *err);

/**
 * dn_key_derive() - HMAC-SHA256 of a label and some bytes under @key
 * @ret: may be used as a key, or as a code that shows who wrote the bytes
 */
DN_MUST_CHECK int dn_key_derive(const struct dn_key *key, const char *label, const void *data,
				size_t size, struct dn_key *ret, struct dn_error *err);
/* Whether two are the same, in a time that does not tell where they differ. */
bool dn_key_equal(const struct dn_key *a, const struct dn_key *b);

void dn_key_wipe(struct dn_key *key);
#define DN_AUTO_KEY DN_AUTO(dn_key_wipe)

#endif /* DUNLIN_STORE_DEVICE_KEY_H */
