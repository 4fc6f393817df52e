/* SPDX-License-Identifier: MIT */
/* The memory that all grammars of a vocabulary may take together: what clients send has a limit. */
#ifndef DUNLIN_ENGINE_GRAMMAR_ACCOUNT_H
#define DUNLIN_ENGINE_GRAMMAR_ACCOUNT_H

/* IWYU pragma: begin_exports */
#include <errno.h>
#include <stdint.h>
/* IWYU pragma: end_exports */

struct dn_account {
	uint64_t used;
	uint64_t most;
};

/* Before @bytes are allocated for what counts them in @held. Return: 0, or -ENOSPC. */
static inline int dn_account_take(struct dn_account *account, uint64_t bytes, uint64_t *held)
{
	if (bytes > account->most || account->used > account->most - bytes)
		return -ENOSPC;
	account->used += bytes;
	*held += bytes;
	return 0;
}

static inline void dn_account_give(struct dn_account *account, uint64_t bytes, uint64_t *held)
{
	account->used -= bytes;
	*held -= bytes;
}

#endif /* DUNLIN_ENGINE_GRAMMAR_ACCOUNT_H */
