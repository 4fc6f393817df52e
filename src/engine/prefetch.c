/* SPDX-License-Identifier: MIT */

#include "engine/prefetch.h"

#include "base/base.h"

/* So many pairs more for one than for the other, or so many in all, and it is decided. */
#define LEAD	  6
#define PAIRS_MAX 32U
#define HOLD_MIN  1024U
#define HOLD_MAX  65536U

/* Pairs begin with either in turns: what drifts from step to step favours none. */
bool dn_prefetch_on(const struct dn_prefetch *prefetch, bool timed)
{
	if (prefetch->hold > 0 || !timed)
		return !prefetch->without;
	return (prefetch->turn / 2 + prefetch->turn) % 2 == 0;
}

static void decide(struct dn_prefetch *prefetch)
{
	const bool without = prefetch->lead < 0 || (prefetch->lead == 0 && prefetch->without);

	prefetch->held = without == prefetch->without && prefetch->held
				 ? DN_MIN(2 * prefetch->held, HOLD_MAX)
				 : HOLD_MIN;
	prefetch->hold = prefetch->held;
	prefetch->without = without;
	prefetch->turn = 0;
	prefetch->lead = 0;
}

void dn_prefetch_took(struct dn_prefetch *prefetch, uint64_t ns)
{
	const bool on = dn_prefetch_on(prefetch, true);

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
