/* SPDX-License-Identifier: MIT */

#include "engine/prefetch.h"

#include "base/base.h"

/* So many pairs more for one than for the other, or so many in all, and it is decided. */
#define LEAD	  6
#define PAIRS_MAX 32U
#define HOLD_MIN  1024U
#define HOLD_MAX  65536U

/* The type, as a bit, that is under trial in steps of @types; 0: none is. */
static uint32_t tried_now(const struct dn_prefetch *prefetch, uint32_t types)
{
	const uint32_t left = types & ~prefetch->tried;

	return prefetch->hold > 0 ? 0 : left & (~left + 1);
}

/* Pairs begin with either in turns: what drifts from step to step favours none. */
static bool turn_is_with(const struct dn_prefetch *prefetch)
{
	return (prefetch->turn / 2 + prefetch->turn) % 2 == 0;
}

uint32_t dn_prefetch_on(const struct dn_prefetch *prefetch, uint32_t types, bool timed)
{
	const uint32_t trial = timed ? tried_now(prefetch, types) : 0;

	return (~prefetch->without & ~trial) | (turn_is_with(prefetch) ? trial : 0);
}

static void end_round(struct dn_prefetch *prefetch)
{
	prefetch->held = !prefetch->changed && prefetch->held ? DN_MIN(2 * prefetch->held, HOLD_MAX)
							      : HOLD_MIN;
	prefetch->hold = prefetch->held;
	prefetch->tried = 0;
	prefetch->changed = false;
}

static void decide(struct dn_prefetch *prefetch, uint32_t type)
{
	const uint32_t before = prefetch->without;

	if (prefetch->lead > 0)
		prefetch->without &= ~type;
	else if (prefetch->lead < 0)
		prefetch->without |= type;
	prefetch->changed |= prefetch->without != before;
	prefetch->tried |= type;
	prefetch->turn = 0;
	prefetch->lead = 0;
}

void dn_prefetch_took(struct dn_prefetch *prefetch, uint32_t types, uint64_t ns)
{
	const uint32_t trial = tried_now(prefetch, types);
	const bool with = turn_is_with(prefetch);

	if (!trial) {
		prefetch->hold -= prefetch->hold > 0;
		return;
	}
	if (prefetch->turn++ % 2 == 0) {
		prefetch->first_ns = ns;
		return;
	}
	if (ns != prefetch->first_ns)
		prefetch->lead += (ns < prefetch->first_ns) == with ? 1 : -1;
	if (prefetch->lead >= LEAD || prefetch->lead <= -LEAD || prefetch->turn == 2 * PAIRS_MAX)
		decide(prefetch, trial);
	if (!tried_now(prefetch, types))
		end_round(prefetch);
}
