/* SPDX-License-Identifier: MIT */

#include "engine/prefetch.h"

/* So many pairs more for one than for the other, or so many in all, and it is decided. */
#define LEAD	   6
#define PAIRS_MAX  32U
#define HOLD_STEPS 1024U

/* Pairs begin with either in turns: what drifts from step to step favours none. */
bool dn_prefetch_on(const struct dn_prefetch *prefetch)
{
	if (prefetch->hold > 0)
		return !prefetch->without;
	return (prefetch->turn / 2 + prefetch->turn) % 2 == 0;
}

static void decide(struct dn_prefetch *prefetch)
{
	if (prefetch->lead != 0)
		prefetch->without = prefetch->lead < 0;
	prefetch->turn = 0;
	prefetch->lead = 0;
	prefetch->hold = HOLD_STEPS;
}

void dn_prefetch_took(struct dn_prefetch *prefetch, uint64_t ns)
{
	const bool on = dn_prefetch_on(prefetch);

	if (prefetch->hold > 0) {
		prefetch->hold--;
		return;
	}
	if (prefetch->turn++ % 2 == 0) {
		prefetch->first_ns = ns;
		return;
	}
	if (ns != prefetch->first_ns)
		prefetch->lead += (ns < prefetch->first_ns) == on ? 1 : -1;
	if (prefetch->lead >= LEAD || prefetch->lead <= -LEAD || prefetch->turn == 2 * PAIRS_MAX)
		decide(prefetch);
}
