/* SPDX-License-Identifier: MIT */
/* Takes a model's prefixes from disk in a thread of its own: slow storage holds up nobody else. */
#ifndef DUNLIN_SERVER_PREFIX_READER_H
#define DUNLIN_SERVER_PREFIX_READER_H

/* IWYU pragma: begin_exports */
#include "server/prefix-store.h"
/* IWYU pragma: end_exports */

/* Of a model, the newest. */
#define DN_PREFIXES_MAX 8U

struct dn_prefix_reader;

/* @store, @model: borrowed until the end. */
DN_MUST_CHECK int dn_prefix_reader_begin(const struct dn_prefix_store *store,
					 const struct dn_digest *model,
					 struct dn_prefix_reader **ret_reader,
					 struct dn_error *err);
/* Readable when all are there. */
int dn_prefix_reader_fd(const struct dn_prefix_reader *reader);
/**
 * dn_prefix_reader_end() - what was read, newest first
 * @prefixes: room for DN_PREFIXES_MAX; NULL: they are given back
 *
 * What is left to read is given up, behind the file that is being read. Returns how many there are.
 */
uint32_t dn_prefix_reader_end(struct dn_prefix_reader *reader, struct dn_stored_prefix *prefixes);

#endif /* DUNLIN_SERVER_PREFIX_READER_H */
