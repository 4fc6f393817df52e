/* SPDX-License-Identifier: MIT */
/*
 * The thread pool. Three words carry it all, and each thread's share of the pieces:
 *
 * claim: how many pieces of the current job nobody has taken yet, and two flags. A piece is taken
 *   by a compare-and-swap that lowers it. Whoever succeeds holds an unfinished piece of whatever
 *   job is current, so that job cannot end, and only then reads the job's fields. A helper that
 *   was away for the whole of a job (or of a million) either fails the swap or takes a true piece
 *   of the present one: it needs no epoch, and cannot touch the memory of a job that is over.
 *   Which piece it is says the share that it takes from: a claim promises that there is one.
 * unfinished: pieces not yet done. The caller waits for this alone, so never for a helper that
 *   has no piece.
 * sleepers: one bit a helper. A helper sets its bit, looks at claim once more, and sleeps; the
 *   caller sets claim and then looks at sleepers. Both orders are sequentially consistent, so one
 *   of the two sees the other (Dekker): no wake-up is lost, and none is sent to who is awake.
 *
 * Real-time threads that share a core get on too, although none is taken off it for another of its
 * priority: a wait spins for a bounded time, then sleeps, and so lets run who holds the piece.
 *
 * C11 atomic operations alone, no fences, so that ThreadSanitizer understands the whole.
 */

#include "engine/thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

#define THREADS_MAX 64
#define STACK_BYTES ((size_t)512 * 1024)
#define STACK_TOUCH ((size_t)128 * 1024) /* more than any piece takes */
#define CPUS_MAX    4096

/* In claim, above the count of pieces. */
#define CLAIM_STOP  0x80000000u
#define CLAIM_REST  0x40000000u
#define CLAIM_COUNT 0x3fffffffu
/* In unfinished, above the count: the caller sleeps, wake it. */
#define UNFINISHED_SLEEPER 0x80000000u

/*
 * A wait spins for at most SPIN_MAX_NS. One that expired halves the next, one that paid adds a
 * little: on a busy machine, where the other thread is often off its core, waiting soon costs next
 * to nothing, and a token's few hundred good waits bring the patience back.
 */
#define SPIN_MAX_NS	 50000
#define SPIN_MIN_NS	 3000
#define SPIN_REWARD_NS	 1000
#define PAUSES_PER_CLOCK 32

/* Keeps words that different threads write on cache lines (and prefetched pairs) of their own. */
struct padding {
	char bytes[128];
};

/*
 * A thread's share of the current job, pieces side by side, so that what it reads lies in one stretch.
 * Others take from it when theirs is used up. Touched by holders of a claim, and by the caller while
 * there is none.
 */
struct share {
	atomic_uint next; /* above end where others looked */
	uint32_t end;
	struct padding padding;
};

/* The first one stands for the caller, and has its share alone. */
struct helper {
	struct dn_pool *pool;
	pthread_t thread;
	uint32_t index; /* 1 to threads - 1 */
	int cpu;	/* it stays there; -1: anywhere */
	int64_t patience;
	atomic_uint awake; /* futex: 0 while the bit in sleepers is set */
	struct padding padding;
	struct share share;
};

struct dn_pool {
	uint32_t threads;
	uint32_t started;
	int64_t patience; /* the caller's */
	struct padding padding0;
	/* The current job: written while no piece is left, read by holders of a piece. */
	dn_piece_function *function;
	void *job;
	struct padding padding1;
	atomic_uint claim;
	struct padding padding2;
	atomic_uint unfinished; /* futex of the caller */
	struct padding padding3;
	_Atomic uint64_t sleepers;
	struct padding padding4;
	struct helper helpers[];
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	/* yield is a no-op on most cores; isb waits about as long as the x86 pause. */
	__asm__ volatile("isb" ::: "memory");
#elif defined(__arm__)
	__asm__ volatile("yield" ::: "memory");
#elif defined(__riscv)
	__asm__ volatile(".word 0x0100000f" ::: "memory"); /* pause, a hint */
#endif
}

static int64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void futex_wait(atomic_uint *word, unsigned int value)
{
	(void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *word)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Whether a wait that began about when this was first called is over. Short ones ask no clock. */
static bool expired(int64_t *start, int64_t patience)
{
	if (*start)
		return now_ns() - *start > patience;
	*start = now_ns();
	return false;
}

static void adapt(int64_t *patience, bool paid)
{
	if (paid)
		*patience = DN_MIN(*patience + SPIN_REWARD_NS, SPIN_MAX_NS);
	else
		*patience = DN_MAX(*patience / 2, SPIN_MIN_NS);
}

/* Wakes up to @count sleeping helpers. */
static void wake(struct dn_pool *pool, uint32_t count)
{
	uint64_t sleepers = atomic_load(&pool->sleepers);

	while (sleepers && count) {
		uint32_t index = (uint32_t)__builtin_ctzll(sleepers);
		uint64_t bit = (uint64_t)1 << index;
		struct helper *helper = &pool->helpers[index];

		sleepers &= ~bit;
		/* Helpers wake each other too: whoever clears the bit does it. */
		if (!(atomic_fetch_and(&pool->sleepers, ~bit) & bit))
			continue;
		atomic_store(&helper->awake, 1);
		futex_wake(&helper->awake);
		count--;
	}
}

static void share_out(struct dn_pool *pool, uint32_t first, uint32_t pieces)
{
	const uint32_t each = pieces / pool->threads;
	const uint32_t more = pieces % pool->threads;

	for (uint32_t i = 0; i < pool->threads; i++) {
		struct share *share = &pool->helpers[i].share;

		atomic_store_explicit(&share->next, first, memory_order_relaxed);
		first += each + (i < more);
		share->end = first;
	}
}

/* For the holder of a claim there is a piece: of its own share, or the next one's that has any. */
static uint32_t take_piece(struct dn_pool *pool, uint32_t thread)
{
	for (;; thread = (thread + 1) % pool->threads) {
		struct share *share = &pool->helpers[thread].share;
		uint32_t piece;

		if (atomic_load_explicit(&share->next, memory_order_relaxed) >= share->end)
			continue;
		piece = atomic_fetch_add_explicit(&share->next, 1, memory_order_relaxed);
		if (piece < share->end)
			return piece;
	}
}

/* Takes pieces while there are any. */
static void work(struct dn_pool *pool, uint32_t thread)
{
	uint32_t claim = atomic_load_explicit(&pool->claim, memory_order_acquire);
	uint32_t done = 0;
	uint32_t left;

	while (claim & CLAIM_COUNT) {
		if (!atomic_compare_exchange_weak_explicit(&pool->claim, &claim, claim - 1,
							   memory_order_acquire,
							   memory_order_acquire))
			continue;
		pool->function(pool->job, take_piece(pool, thread), thread);
		done++;
		claim = atomic_load_explicit(&pool->claim, memory_order_acquire);
	}
	if (!done)
		return;
	/* All at once: while the count is open the job is too, so they all belong to one job. */
	left = atomic_fetch_sub_explicit(&pool->unfinished, done, memory_order_acq_rel) - done;
	if (left == UNFINISHED_SLEEPER)
		futex_wake(&pool->unfinished);
}

/* True when there is work or the end; false when it is time to sleep. */
static bool spin_for_work(struct helper *helper)
{
	struct dn_pool *pool = helper->pool;
	int64_t start = 0;

	for (;;) {
		for (int i = 0; i < PAUSES_PER_CLOCK; i++) {
			uint32_t claim = atomic_load_explicit(&pool->claim, memory_order_acquire);

			if (claim & (CLAIM_COUNT | CLAIM_STOP)) {
				adapt(&helper->patience, true);
				return true;
			}
			if (claim & CLAIM_REST)
				return false;
			relax();
		}
		if (expired(&start, helper->patience)) {
			adapt(&helper->patience, false);
			return false;
		}
	}
}

static void sleep_for_work(struct helper *helper)
{
	struct dn_pool *pool = helper->pool;
	uint64_t bit = (uint64_t)1 << helper->index;

	atomic_store(&helper->awake, 0);
	atomic_fetch_or(&pool->sleepers, bit);
	if (atomic_load(&pool->claim) & (CLAIM_COUNT | CLAIM_STOP)) {
		/* Take the bit back; when a waker was faster, its store to awake is under way. */
		if (atomic_fetch_and(&pool->sleepers, ~bit) & bit)
			return;
	}
	while (!atomic_load(&helper->awake))
		futex_wait(&helper->awake, 0);
	/* Whoever wakes two sleepers has started a tree: the caller pays for its root alone. */
	wake(pool, DN_MIN(atomic_load(&pool->claim) & CLAIM_COUNT, 2));
}

static void pin(uint32_t cpu)
{
	cpu_set_t set[DN_DIV_ROUND_UP(CPUS_MAX, CPU_SETSIZE)];

	CPU_ZERO_S(sizeof(set), set);
	CPU_SET_S(cpu, sizeof(set), set);
	/* 0 is the calling thread; a jailed worker may place no other. */
	(void)sched_setaffinity(0, sizeof(set), set);
}

/* No page of it is made while a token is waited for. */
static __attribute__((noinline)) void touch_stack(void)
{
	volatile uint8_t bytes[STACK_TOUCH];

	for (size_t i = 0; i < sizeof(bytes); i += 4096)
		bytes[i] = 0;
}

static void settle(uint32_t cpu)
{
	pin(cpu);
	touch_stack();
}

static void *helper_main(void *argument)
{
	struct helper *helper = argument;
	struct dn_pool *pool = helper->pool;
	char name[16];

	(void)snprintf(name, sizeof(name), "dunlin-%u", helper->index);
	(void)prctl(PR_SET_NAME, name, 0, 0, 0);
	if (helper->cpu >= 0)
		settle((uint32_t)helper->cpu);
	while (!(atomic_load_explicit(&pool->claim, memory_order_acquire) & CLAIM_STOP)) {
		work(pool, helper->index);
		if (!spin_for_work(helper))
			sleep_for_work(helper);
	}
	return NULL;
}

static int start_error(struct dn_error *err, int code, uint32_t index, uint32_t threads)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	char value[24] = "unlimited";

	(void)getrlimit(RLIMIT_NPROC, &limit);
	if (limit.rlim_cur != RLIM_INFINITY)
		(void)snprintf(value, sizeof(value), "%llu", (unsigned long long)limit.rlim_cur);
	return dn_error_errno(
		err, code,
		"start thread %u of %u (limits: processes RLIMIT_NPROC %s, pids.max of "
		"the cgroup, address space RLIMIT_AS; use fewer threads)",
		index + 1, threads, value);
}

static int start_helper(struct dn_pool *pool, const pthread_attr_t *attr, uint32_t index, int cpu)
{
	struct helper *helper = &pool->helpers[index];
	int r;

	helper->pool = pool;
	helper->index = index;
	helper->cpu = cpu;
	helper->patience = SPIN_MAX_NS;
	atomic_init(&helper->awake, 1);
	r = pthread_create(&helper->thread, attr, helper_main, helper);
	if (r == 0)
		pool->started++;
	return r;
}

static int start_helpers(struct dn_pool *pool, const uint16_t *cpus, struct dn_error *err)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int r;

	r = pthread_attr_init(&attr);
	if (r)
		return dn_error_errno(err, r, "prepare %u threads", pool->threads);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	/* Signals are for the threads of the program: helpers inherit a full mask. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	for (uint32_t i = 1; i < pool->threads && r == 0; i++) {
		r = start_helper(pool, &attr, i, cpus ? cpus[i] : -1);
		if (r)
			r = -start_error(err, r, i, pool->threads);
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attr);
	return -r;
}

int dn_pool_new(uint32_t threads, const uint16_t *cpus, struct dn_pool **ret_pool,
		struct dn_error *err)
{
	struct dn_pool *pool;
	size_t size;
	int r;

	if (threads < 1 || threads > THREADS_MAX)
		return dn_error_set(err, EINVAL, "threads must be 1 to %d, not %u", THREADS_MAX,
				    threads);
	size = sizeof(*pool) + threads * sizeof(pool->helpers[0]);
	pool = calloc(1, size);
	if (!pool)
		return dn_error_memory(err, "the thread pool", size);
	pool->threads = threads;
	pool->patience = SPIN_MAX_NS;
	atomic_init(&pool->claim, 0);
	atomic_init(&pool->unfinished, 0);
	atomic_init(&pool->sleepers, 0);
	r = start_helpers(pool, cpus, err);
	if (r < 0) {
		dn_pool_free(pool);
		return r;
	}
	if (cpus)
		settle(cpus[0]);
	*ret_pool = pool;
	return 0;
}

struct dn_pool *dn_pool_free(struct dn_pool *pool)
{
	if (!pool)
		return NULL;
	atomic_store(&pool->claim, CLAIM_STOP);
	wake(pool, THREADS_MAX);
	for (uint32_t i = 0; i < pool->started; i++)
		(void)pthread_join(pool->helpers[i + 1].thread, NULL);
	free(pool);
	return NULL;
}

uint32_t dn_pool_threads(const struct dn_pool *pool)
{
	return pool->threads;
}

/* Waits for pieces that helpers have taken and not finished. */
static void wait_unfinished(struct dn_pool *pool)
{
	int64_t start = 0;
	uint32_t left;

	for (;;) {
		for (int i = 0; i < PAUSES_PER_CLOCK; i++) {
			if (!atomic_load_explicit(&pool->unfinished, memory_order_acquire)) {
				adapt(&pool->patience, true);
				return;
			}
			relax();
		}
		if (expired(&start, pool->patience))
			break;
	}
	adapt(&pool->patience, false);
	left = atomic_fetch_or_explicit(&pool->unfinished, UNFINISHED_SLEEPER,
					memory_order_acq_rel) |
	       UNFINISHED_SLEEPER;
	while (left != UNFINISHED_SLEEPER) {
		futex_wait(&pool->unfinished, left);
		left = atomic_load_explicit(&pool->unfinished, memory_order_acquire);
	}
}

void dn_pool_run(struct dn_pool *pool, dn_piece_function *function, void *job, uint32_t pieces)
{
	if (pool->threads == 1 || pieces <= 1) {
		for (uint32_t i = 0; i < pieces; i++)
			function(job, i, 0);
		return;
	}
	pool->function = function;
	pool->job = job;
	for (uint32_t first = 0, n; first < pieces; first += n) {
		n = DN_MIN(pieces - first, CLAIM_COUNT);
		share_out(pool, first, n);
		atomic_store_explicit(&pool->unfinished, n, memory_order_relaxed);
		/* Sequentially consistent, as is the look at sleepers: see the head of the file. */
		atomic_store(&pool->claim, n);
		if (atomic_load(&pool->sleepers))
			wake(pool, DN_MIN(n - 1, 2));
		work(pool, 0);
		if (atomic_load_explicit(&pool->unfinished, memory_order_acquire))
			wait_unfinished(pool);
	}
}

void dn_pool_rest(struct dn_pool *pool)
{
	atomic_fetch_or(&pool->claim, CLAIM_REST);
}
