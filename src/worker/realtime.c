/* SPDX-License-Identifier: MIT */
/* What a worker does beside its work where it was started with real-time scheduling. */

#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#include "worker/internal.h"

/*
 * Linux gives programs that are not real-time 5 % of each core: where they got less, it takes 50 ms
 * of a second at once from those that are (sched_rt_runtime_us, since 6.12 the fair server), and
 * an answer stands still for as long. Who leaves twice as much after every step is never stopped: the
 * front and the kernel take their time of it.
 */
#define BREATH_PARTS  10
#define BREATH_MIN_NS 50000	/* shorter sleeps cost more than they give */
#define BREATH_MAX_NS 100000000 /* whoever was frozen owes nobody a longer one */

int dn_worker_hold_memory(struct dn_worker *worker)
{
	int code;

	/* Faults everything in, stacks and the program too; what comes later is small. */
	if (mlockall(MCL_CURRENT) == 0)
		return 0;
	code = errno;
	if (worker->context)
		dn_context_populate(worker->context);
	return code;
}

void dn_worker_breathe(struct dn_worker *worker, uint64_t busy_ns)
{
	struct timespec breath = { 0, 0 };

	worker->owed_ns = DN_MIN(worker->owed_ns + busy_ns / BREATH_PARTS, (uint64_t)BREATH_MAX_NS);
	if (worker->owed_ns < BREATH_MIN_NS)
		return;
	breath.tv_nsec = (long)worker->owed_ns;
	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &breath, NULL);
	worker->owed_ns = 0;
}
