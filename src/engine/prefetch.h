/* SPDX-License-Identifier: MIT */
/*
 * Whether products ask for their weights ahead of time. It changes no bit of them, only their time: one
 * core waits for memory without it, another one's own prefetcher is only disturbed. So steps of one
 * token are timed with it and without, in turns, and from time to time again.
 */
#ifndef DUNLIN_ENGINE_PREFETCH_H
#define DUNLIN_ENGINE_PREFETCH_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stdint.h>
/* IWYU pragma: end_exports */

/**
 * struct dn_prefetch - what is found, and the trial under way; zeros: nothing is known
 * @without: it is faster without
 * @turn: of the trial
 * @lead: pairs of steps that were faster with it, less those that were faster without
 * @first_ns: of the pair's first step
 * @hold: steps until the next trial
 * @held: how many they were at first: more each time that a trial ends as the one before
 */
struct dn_prefetch {
	bool without;
	uint32_t turn;
	int32_t lead;
	uint64_t first_ns;
	uint32_t hold;
	uint32_t held;
};

/* Whether the next step is to ask ahead; @timed: what it takes will be told. */
bool dn_prefetch_on(const struct dn_prefetch *prefetch, bool timed);
/* A step with @timed took so long. */
void dn_prefetch_took(struct dn_prefetch *prefetch, uint64_t ns);

#endif /* DUNLIN_ENGINE_PREFETCH_H */
