/* SPDX-License-Identifier: MIT */
/*
 * Prepared models that this device keeps, found by the files that they were made from.
 *
 * In a folder, DIGEST-LAYOUT.dunlin is the sealed prepared form (src/engine/prepared.h) of files
 * with that digest. So that no start has to compute it, a record keeps the digest of files that
 * were seen once, bound to their devices, inodes, sizes and times by the device's key.
 */
#ifndef DUNLIN_STORE_PREPARED_H
#define DUNLIN_STORE_PREPARED_H

/* IWYU pragma: begin_exports */
#include <limits.h>
#include <stdint.h>

#include <dunlin/error.h>

#include "base/base.h"
#include "store/device-key.h"
#include "store/digest.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_prepared_store - where they are
 * @folder, @device: borrowed
 * @layout: of the weights, as this program lays them
 */
struct dn_prepared_store {
	const char *folder;
	const struct dn_key *device;
	uint32_t layout;
};

/* What stat() tells of files: the same, unless they were replaced or written to. */
DN_MUST_CHECK int dn_files_identity(const int *fds, size_t n_fds, struct dn_digest *ret_identity,
				    struct dn_error *err);

/* The digest that was recorded for files of that identity. -ENOENT where there is none. */
DN_MUST_CHECK int dn_prepared_recall(const struct dn_prepared_store *store,
				     const struct dn_digest *identity, struct dn_digest *ret_digest,
				     struct dn_error *err);
DN_MUST_CHECK int dn_prepared_record(const struct dn_prepared_store *store,
				     const struct dn_digest *identity,
				     const struct dn_digest *digest, struct dn_error *err);

/* Where the prepared form of files with a digest is, or would be: PATH_MAX bytes. */
DN_MUST_CHECK int dn_prepared_path(const struct dn_prepared_store *store,
				   const struct dn_digest *digest, char *path,
				   struct dn_error *err);

/* Removes forms of the same files in other layouts, which this program does not read. */
void dn_prepared_drop_others(const struct dn_prepared_store *store, const struct dn_digest *digest);

#endif /* DUNLIN_STORE_PREPARED_H */
