/* SPDX-License-Identifier: MIT */
/*
 * What the thread pool costs: time of an empty job, and work done per CPU-second (of the process,
 * system time included) with pieces of 1 to 100 us. Run it idle and under `stress-ng --cpu 4`.
 * The loop of a piece is arithmetic in registers, so the ratio shows the pool and the scheduler,
 * not the caches.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "engine/thread.h"

#define PIECES 16
#define RUN_NS 1000000000

struct load {
	uint32_t rounds;
	uint64_t sink[64 * 16];
};

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void nothing(void *job, uint32_t piece, uint32_t thread)
{
	(void)job;
	(void)piece;
	(void)thread;
}

static void spin(void *job, uint32_t piece, uint32_t thread)
{
	struct load *load = job;
	uint64_t x = piece + 1;

	for (uint32_t i = 0; i < load->rounds; i++)
		x = x * 6364136223846793005u + 1442695040888963407u;
	load->sink[(size_t)thread * 16] += x;
}

/* Rounds that take one microsecond: the fastest of many tries, also on a busy machine. */
static uint32_t rounds_per_us(void)
{
	struct load load = { .rounds = 20000 };
	int64_t best = INT64_MAX;

	for (int i = 0; i < 500; i++) {
		int64_t before = clock_ns(CLOCK_MONOTONIC);

		spin(&load, 0, 0);
		/* Looking at the result keeps the compiler from leaving the work out. */
		if (load.sink[0] == 0)
			return 1;
		best = DN_MIN(best, clock_ns(CLOCK_MONOTONIC) - before);
	}
	return (uint32_t)((int64_t)load.rounds * 1000 / best);
}

static void measure_empty(struct dn_pool *pool)
{
	int64_t best = INT64_MAX;
	int64_t all = clock_ns(CLOCK_MONOTONIC);

	for (int i = 0; i < 200; i++) {
		int64_t before = clock_ns(CLOCK_MONOTONIC);

		for (int j = 0; j < 1000; j++)
			dn_pool_run(pool, nothing, NULL, dn_pool_threads(pool));
		best = DN_MIN(best, clock_ns(CLOCK_MONOTONIC) - before);
	}
	all = clock_ns(CLOCK_MONOTONIC) - all;
	printf("empty job: mean %.3f us, best thousand %.3f us\n", (double)all / 200e6,
	       (double)best / 1e6);
}

static void meet(void *job, uint32_t piece, uint32_t thread)
{
	atomic_uint *arrived = job;

	(void)piece;
	(void)thread;
	atomic_fetch_add(arrived, 1);
	while (atomic_load(arrived) % 2)
		;
}

static int compare_times(const void *a, const void *b)
{
	const int64_t *x = a;
	const int64_t *y = b;

	return *x < *y ? -1 : *x > *y;
}

/*
 * A job of two pieces that end only when both have begun: what it takes to get a helper in. On a
 * machine that others use the lower quantiles are the pool's, the upper ones the scheduler's.
 */
static void measure_meeting(struct dn_pool *pool)
{
	static int64_t times[20000];
	static atomic_uint arrived;

	for (size_t i = 0; i < DN_ARRAY_SIZE(times); i++) {
		times[i] = clock_ns(CLOCK_MONOTONIC);
		dn_pool_run(pool, meet, &arrived, 2);
		times[i] = clock_ns(CLOCK_MONOTONIC) - times[i];
	}
	qsort(times, DN_ARRAY_SIZE(times), sizeof(times[0]), compare_times);
	printf("two threads meet: 1st percentile %.3f us, 10th %.3f us, median %.3f us\n",
	       (double)times[DN_ARRAY_SIZE(times) / 100] / 1e3,
	       (double)times[DN_ARRAY_SIZE(times) / 10] / 1e3,
	       (double)times[DN_ARRAY_SIZE(times) / 2] / 1e3);
}

/* Tokens of 200 jobs and a rest, as a small model's; @us: length of a piece. */
static void measure_work(struct dn_pool *pool, uint32_t us, uint32_t rounds)
{
	static struct load load;
	int64_t wall = clock_ns(CLOCK_MONOTONIC);
	int64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	uint64_t jobs = 0;
	double work;

	load.rounds = rounds * us;
	do {
		for (int i = 0; i < 200; i++, jobs++)
			dn_pool_run(pool, spin, &load, PIECES);
		dn_pool_rest(pool);
	} while (clock_ns(CLOCK_MONOTONIC) - wall < RUN_NS);
	wall = clock_ns(CLOCK_MONOTONIC) - wall;
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	work = (double)jobs * PIECES * us * 1e3;
	printf("pieces of %3" PRIu32
	       " us: %.3f of each CPU-second is work; %.2f of a core in all\n",
	       us, work / (double)cpu, work / (double)wall);
}

int main(int argc, char **argv)
{
	static const uint32_t lengths[] = { 1, 3, 10, 30, 100 };
	uint32_t threads = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 2;
	uint32_t rounds = rounds_per_us();
	struct dn_error err = DN_ERROR_INIT;
	struct dn_pool *pool;

	if (dn_pool_new(threads, NULL, &pool, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	printf("%" PRIu32 " threads, %" PRIu32 " rounds a microsecond\n", threads, rounds);
	measure_empty(pool);
	if (threads > 1)
		measure_meeting(pool);
	for (size_t i = 0; i < DN_ARRAY_SIZE(lengths); i++)
		measure_work(pool, lengths[i], rounds);
	dn_pool_free(pool);
	return 0;
}
