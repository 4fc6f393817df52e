/* SPDX-License-Identifier: MIT */
/*
 * Whether products ask for their weights ahead of time, for each type of weights. It changes no bit of
 * them, only their time: what a core's own prefetcher makes of a type's blocks is known of no core for
 * sure. So steps of one token are timed with it and without, in turns, a type after the other, and from
 * time to time again.
 */
#ifndef DUNLIN_ENGINE_PREFETCH_H
#define DUNLIN_ENGINE_PREFETCH_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stdint.h>
/* IWYU pragma: end_exports */

/**
 * struct dn_prefetch - what is found, and the trial under way; zeros: nothing is known
 * @without: types, as bits, that are faster without
 * @tried: types that this round of trials has decided
 * @changed: something was decided otherwise than before in this round
 * @turn: of the trial of one type
 * @lead: pairs of steps that were faster with it, less those that were faster without
 * @first_ns: of the pair's first step
 * @hold: steps until the next round
 * @held: how many they were at first: more each time that a round changes nothing
 */
struct dn_prefetch {
	uint32_t without;
	uint32_t tried;
	bool changed;
	uint32_t turn;
	int32_t lead;
	uint64_t first_ns;
	uint32_t hold;
	uint32_t held;
};

/* Bits of types that ask ahead in the next step, which has @types; @timed: its time will be told. */
uint32_t dn_prefetch_on(const struct dn_prefetch *prefetch, uint32_t types, bool timed);
/* A step with @timed, which had @types, took so long. */
void dn_prefetch_took(struct dn_prefetch *prefetch, uint32_t types, uint64_t ns);

#endif /* DUNLIN_ENGINE_PREFETCH_H */
