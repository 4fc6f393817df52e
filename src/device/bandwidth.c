/* SPDX-License-Identifier: MIT */
/*
 * Read bandwidth: every thread adds up its part of a buffer in eight independent sums of two words.
 * The sums are used, so that no pass can be left out. Passes ask ahead for what comes next and do not,
 * in turns: some cores alone wait for memory without it, of others it disturbs the prefetcher.
 */

#include "device/bandwidth.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "base/base.h"
#include "base/buffer.h"
#include "device/source.h"

#define THREADS_MAX 64
#define FORMS	    2
#define PASSES_MIN  3		  /* of each form */
#define PASSES_MAX  2048	  /* of each form */
#define LINE	    ((size_t)128) /* what one turn of the loop reads */
#define AHEAD	    8192

/* 16 bytes: what each 64-bit CPU has registers for, so that the sums stay in them. */
typedef uint64_t wide __attribute__((vector_size(16)));

struct reader {
	struct meter *meter;
	const wide *part;
	size_t turns; /* of LINE bytes */
	uint64_t sum;
	pthread_t thread;
};

struct meter {
	pthread_mutex_t gate; /* held until the barrier knows how many there are */
	pthread_barrier_t barrier;
	/* Written between two barriers, read after the second. */
	bool stop;
	bool ahead;
	struct reader readers[THREADS_MAX];
	double seconds[FORMS][PASSES_MAX];
};

/* Spelled out: eight sums that a compiler keeps in registers at every level of optimisation. */
static uint64_t add_up(const wide *line, size_t turns, bool ahead)
{
	wide a = { 0 }, b = a, c = a, d = a, e = a, f = a, g = a, h = a;

	for (; turns > 0; turns--, line += LINE / sizeof(*line)) {
		/* Past the end it does nothing. */
		if (ahead) {
			__builtin_prefetch((const void *)((uintptr_t)line + AHEAD));
			__builtin_prefetch((const void *)((uintptr_t)line + AHEAD + 64));
		}
		a += line[0];
		b += line[1];
		c += line[2];
		d += line[3];
		e += line[4];
		f += line[5];
		g += line[6];
		h += line[7];
	}
	a += b + c + d + e + f + g + h;
	return a[0] + a[1];
}

static void *run_reader(void *data)
{
	struct reader *reader = data;

	(void)pthread_mutex_lock(&reader->meter->gate);
	(void)pthread_mutex_unlock(&reader->meter->gate);
	for (;;) {
		(void)pthread_barrier_wait(&reader->meter->barrier);
		if (reader->meter->stop)
			return NULL;
		reader->sum += add_up(reader->part, reader->turns, reader->meter->ahead);
		(void)pthread_barrier_wait(&reader->meter->barrier);
	}
}

static double now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return (x > y) - (x < y);
}

static uint64_t huge_bytes(void)
{
	DN_AUTO_BUFFER struct dn_buffer buffer = DN_BUFFER_INIT(65536);
	uint64_t transparent = 0;
	uint64_t reserved = 0;

	if (dn_source_read("", "/proc/self/smaps_rollup", &buffer) < 0)
		return 0;
	(void)dn_source_field_number(buffer.data, "AnonHugePages", &transparent);
	(void)dn_source_field_number(buffer.data, "Private_Hugetlb", &reserved);
	return transparent + reserved;
}

/* One pass is one turn of all readers, from barrier to barrier; the caller reads the first part. */
static void measure(struct meter *meter, size_t size, uint32_t milliseconds,
		    struct dn_bandwidth *bandwidth)
{
	struct reader *own = &meter->readers[0];
	double end = now() + (double)milliseconds * 1e-3;
	uint32_t passes = 0; /* of each form */
	double gigabytes = (double)size * 1e-9;

	for (; passes < PASSES_MAX && (passes < PASSES_MIN || now() < end); passes++)
		for (int form = 0; form < FORMS; form++) {
			double start;

			meter->ahead = form != 0;
			(void)pthread_barrier_wait(&meter->barrier);
			start = now();
			own->sum += add_up(own->part, own->turns, meter->ahead);
			(void)pthread_barrier_wait(&meter->barrier);
			meter->seconds[form][passes] = DN_MAX(now() - start, 1e-9);
		}
	bandwidth->passes = FORMS * passes;
	for (int form = 0; form < FORMS; form++) {
		double *seconds = meter->seconds[form];

		qsort(seconds, passes, sizeof(*seconds), by_size);
		if (gigabytes / seconds[passes / 2] > bandwidth->median) {
			bandwidth->best = gigabytes / seconds[0];
			bandwidth->median = gigabytes / seconds[passes / 2];
		}
	}
}

/* Reads the parts for as long as asked, with as many threads as asked or not at all. */
static int run_readers(struct meter *meter, uint32_t threads, size_t size, uint32_t milliseconds,
		       struct dn_bandwidth *bandwidth, struct dn_error *err)
{
	uint32_t started = 1;
	int code = 0;

	(void)pthread_mutex_init(&meter->gate, NULL);
	(void)pthread_mutex_lock(&meter->gate);
	for (; !code && started < threads; started += !code)
		code = pthread_create(&meter->readers[started].thread, NULL, run_reader,
				      &meter->readers[started]);
	(void)pthread_barrier_init(&meter->barrier, NULL, started);
	(void)pthread_mutex_unlock(&meter->gate);

	if (!code)
		measure(meter, size, milliseconds, bandwidth);
	meter->stop = true;
	(void)pthread_barrier_wait(&meter->barrier);
	for (uint32_t i = 1; i < started; i++)
		(void)pthread_join(meter->readers[i].thread, NULL);
	(void)pthread_barrier_destroy(&meter->barrier);
	(void)pthread_mutex_destroy(&meter->gate);
	if (code)
		return dn_error_errno(err, code, "bandwidth: make thread %u of %u", started + 1,
				      threads);
	return 0;
}

/* Distinct values, so that no two pages are the same to anyone who merges pages. */
static void fill(uint64_t *words, size_t size)
{
	for (size_t i = 0; i < size / sizeof(*words); i++)
		words[i] = i * UINT64_C(0x9e3779b97f4a7c15);
}

/* A mapping of whole huge pages, aligned to them; *ret_base and *ret_mapped are for munmap(). */
static void *map_huge(size_t size, void **ret_base, size_t *ret_mapped)
{
	size_t mapped = DN_ROUND_UP(size, DN_HUGE_PAGE) + DN_HUGE_PAGE;
	void *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *data;

	if (base == MAP_FAILED)
		return NULL;
	data = (char *)base + (DN_HUGE_PAGE - (uintptr_t)base % DN_HUGE_PAGE) % DN_HUGE_PAGE;
	(void)madvise(data, mapped - DN_HUGE_PAGE, MADV_HUGEPAGE);
	*ret_base = base;
	*ret_mapped = mapped;
	return data;
}

int dn_bandwidth_measure(uint32_t threads, size_t size, uint32_t milliseconds,
			 struct dn_bandwidth *ret_bandwidth, struct dn_error *err)
{
	DN_AUTO_FREE struct meter *meter = NULL;
	struct dn_bandwidth bandwidth = { 0 };
	volatile uint64_t sink = 0;
	uint64_t before;
	size_t mapped, turns;
	void *data;
	void *base;
	int r;

	if (threads < 1 || threads > THREADS_MAX || size < ((size_t)1 << 20) || size > SIZE_MAX / 4)
		return dn_error_set(err, EINVAL,
				    "bandwidth: %u threads (1 to %d), %zu bytes (1 MiB or more)",
				    threads, THREADS_MAX, size);
	meter = calloc(1, sizeof(*meter));
	if (!meter)
		return dn_error_memory(err, "the bandwidth measurement", sizeof(*meter));
	before = huge_bytes();
	data = map_huge(size, &base, &mapped);
	if (!data)
		return dn_error_memory(err, "the bandwidth measurement", size);
	fill(data, size);

	turns = size / threads / LINE;
	for (uint32_t i = 0; i < threads; i++)
		meter->readers[i] = (struct reader){
			.meter = meter,
			.part = (const wide *)data + i * turns * (LINE / sizeof(wide)),
			.turns = turns,
		};
	r = run_readers(meter, threads, turns * LINE * threads, milliseconds, &bandwidth, err);
	for (uint32_t i = 0; i < threads; i++)
		sink += meter->readers[i].sum;
	if (r == 0) {
		uint64_t after = huge_bytes();

		bandwidth.huge_bytes = after > before ? after - before : 0;
		*ret_bandwidth = bandwidth;
	}
	(void)munmap(base, mapped);
	return r;
}
