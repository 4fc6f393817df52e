/* SPDX-License-Identifier: MIT */
/*
 * Prefixes that outlive the server: snapshots of a worker's cache, sealed with the device's key,
 * since they hold what was asked. What a snapshot says is its worker's to read, not this file's.
 *
 *   struct head | the snapshot | the seal (store/seal.h)
 */
#ifndef DUNLIN_SERVER_PREFIX_STORE_H
#define DUNLIN_SERVER_PREFIX_STORE_H

/* IWYU pragma: begin_exports */
#include <stdatomic.h>

#include "base/base.h"
#include "store/device-key.h"
#include "store/digest.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_prefix_store - where they are; all borrowed
 * @folder: made where it is missing
 * @max_bytes: of all of them; the oldest go first
 */
struct dn_prefix_store {
	const char *folder;
	const struct dn_key *device;
	uint64_t max_bytes;
};

/* One that was read: sealed memory with the snapshot, owned by who gets it. */
struct dn_stored_prefix {
	int fd;
	uint64_t bytes;
	uint64_t space;
};

/**
 * dn_prefix_store_save() - keep a snapshot
 * @model: what tells its model from others
 * @fd: sealed memory; borrowed
 *
 * Return: 0; -EFBIG for one that is larger than all may be; another negative errno.
 */
DN_MUST_CHECK int dn_prefix_store_save(const struct dn_prefix_store *store,
				       const struct dn_digest *model, uint64_t space, int fd,
				       struct dn_error *err);

/**
 * dn_prefix_store_load() - the newest snapshots of a model, newest first
 * @prefixes: room for @max
 * @give_up: once true, no further file is read
 *
 * One that this device did not seal, or that was changed, is removed. Returns how many there are.
 */
uint32_t dn_prefix_store_load(const struct dn_prefix_store *store, const struct dn_digest *model,
			      struct dn_stored_prefix *prefixes, uint32_t max,
			      const atomic_bool *give_up);

#endif /* DUNLIN_SERVER_PREFIX_STORE_H */
