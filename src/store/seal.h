/* SPDX-License-Identifier: MIT */
/*
 * A seal behind the bytes of a file, which shows that this device wrote them: a code (AES-GMAC,
 * NIST SP 800-38D) for each leaf of 4 MiB, and behind these a foot with a code of its own over
 * itself and them. Keys come from the device's key and a random salt, one a file.
 *
 *   what is sealed | 16 bytes for each leaf | struct dn_seal_foot
 */
#ifndef DUNLIN_STORE_SEAL_H
#define DUNLIN_STORE_SEAL_H

/* IWYU pragma: begin_exports */
#include <stdint.h>

#include <dunlin/error.h>

#include "base/base.h"
#include "store/device-key.h"
#include "store/digest.h"
/* IWYU pragma: end_exports */

#define DN_SEAL_MAGIC	   "DNSEALED"
#define DN_SEAL_VERSION	   1U
#define DN_SEAL_LEAF_BYTES (4U << 20)
#define DN_SEAL_TAG_BYTES  16
#define DN_SEAL_SALT_BYTES 16

/* The last bytes of the file; little-endian. */
struct dn_seal_foot {
	char magic[8];
	uint32_t version;
	uint32_t leaf_bytes;
	uint64_t bytes;
	uint64_t head_bytes;
	uint8_t salt[DN_SEAL_SALT_BYTES];
	struct dn_digest source;
	uint8_t reserved[16];
	struct dn_key code; /* over the leaves' codes and all of the foot before this */
};

/**
 * struct dn_seal - one that was found good
 * @bytes: that are sealed
 * @head_bytes: of these, what is read by who does not want all
 * @source: what they were made from
 * @key: of the leaves
 * @tags: owned; DN_SEAL_TAG_BYTES for each leaf
 */
struct dn_seal {
	uint64_t bytes;
	uint64_t head_bytes;
	struct dn_digest source;
	struct dn_key key;
	uint8_t *tags;
};

#define DN_SEAL_INIT { .tags = NULL }

/* Seals all bytes that a file has, from its first on: appends the seal. Nobody else may write. */
DN_MUST_CHECK int dn_seal_append(int fd, const struct dn_key *device,
				 const struct dn_digest *source, uint64_t head_bytes,
				 struct dn_error *err);
/**
 * dn_seal_open() - read the seal and check its own code; the leaves are not yet read
 *
 * Return: 0; -ENOMSG where there is none; -EBADMSG for one that this device did not make, or that
 * was changed since; another negative errno.
 */
DN_MUST_CHECK int dn_seal_open(int fd, const struct dn_key *device, struct dn_seal *ret_seal,
			       struct dn_error *err);
void dn_seal_done(struct dn_seal *seal);
#define DN_AUTO_SEAL DN_AUTO(dn_seal_done)

struct dn_seal_check;

/**
 * dn_seal_check_begin() - compute the codes of leaves, in threads of its own
 * @fd, @seal: borrowed until the end
 * @bytes: the leaves that have any of the first so many
 * @threads: at most 16 are used
 *
 * Reads the file in order, in large stretches.
 */
DN_MUST_CHECK int dn_seal_check_begin(int fd, const struct dn_seal *seal, uint64_t bytes,
				      uint32_t threads, struct dn_seal_check **ret_check,
				      struct dn_error *err);
/* Readable when nothing is left to compute. */
int dn_seal_check_fd(const struct dn_seal_check *check);
/**
 * dn_seal_check_end() - the result; what is left to compute is given up
 *
 * Return: 0; -EBADMSG where a leaf was changed; -ECANCELED where some were given up; another
 * negative errno.
 */
int dn_seal_check_end(struct dn_seal_check *check, struct dn_error *err);
/* From the beginning to the end. */
DN_MUST_CHECK int dn_seal_check(int fd, const struct dn_seal *seal, uint32_t threads,
				struct dn_error *err);

#endif /* DUNLIN_STORE_SEAL_H */
