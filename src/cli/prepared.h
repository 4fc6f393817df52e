/* SPDX-License-Identifier: MIT */
/* Prepared models: found, their seals checked. What they hold is the worker's to read. */
#ifndef DUNLIN_CLI_PREPARED_H
#define DUNLIN_CLI_PREPARED_H

/* IWYU pragma: begin_exports */
#include <limits.h>

#include "cli/cli.h"
#include "store/device-key.h"
#include "store/prepared.h"
/* IWYU pragma: end_exports */

#define DN_PREPARED_SUFFIX ".dunlin"

/* The user's prepared models, and the key of what this device seals. */
struct dn_cli_store {
	char folder[PATH_MAX];
	struct dn_key key;
	struct dn_prepared_store store;
};

/**
 * dn_cli_store_open() - $XDG_CACHE_HOME/dunlin/prepared, $XDG_STATE_HOME/dunlin/device.key
 * @create: make the key where there is none; else -ENOENT
 * @ret_store: to be closed with dn_cli_store_close()
 */
DN_MUST_CHECK int dn_cli_store_open(struct dn_cli_store *ret_store, bool create,
				    struct dn_error *err);
void dn_cli_store_close(struct dn_cli_store *store);
#define DN_AUTO_STORE DN_AUTO(dn_cli_store_close)

/* Makes @model, whose one file is at hand, the prepared form that the file must be. */
DN_MUST_CHECK int dn_cli_unseal(struct dn_cli_model *model, struct dn_error *err);

/* Opens the prepared form at @path of the files with digest @source; -EBADMSG for another's. */
DN_MUST_CHECK int dn_cli_open_sealed(const char *path, const struct dn_key *key,
				     const struct dn_digest *source, struct dn_cli_model *ret_model,
				     struct dn_error *err);

/**
 * dn_cli_find_prepared() - the prepared form of @model's files in place of them, where there is one
 *
 * Return: 0, whether there is one or not; a negative errno where there is one that cannot be used:
 * then @model is as it was.
 */
DN_MUST_CHECK int dn_cli_find_prepared(struct dn_cli_model *model, struct dn_error *err);

#endif /* DUNLIN_CLI_PREPARED_H */
