/* SPDX-License-Identifier: MIT */
/* Keeping prefixes beside everything else: the disk may be slow, and nobody is to wait for it. */
#ifndef DUNLIN_SERVER_SAVER_H
#define DUNLIN_SERVER_SAVER_H

/* IWYU pragma: begin_exports */
#include <pthread.h>
#include <stdatomic.h>

#include "server/prefix-store.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_saver - one save at a time; zeroed at first
 * @store: borrowed; without a folder nothing is saved
 */
struct dn_saver {
	const struct dn_prefix_store *store;
	pthread_t thread;
	bool begun;
	atomic_bool busy;
};

/* Saves a snapshot, unless one is being saved; takes @fd over. */
void dn_saver_begin(struct dn_saver *saver, const struct dn_digest *model, uint64_t space, int fd);
/* Waits for the last. */
void dn_saver_done(struct dn_saver *saver);

#endif /* DUNLIN_SERVER_SAVER_H */
