/* SPDX-License-Identifier: MIT */
/* The pool: each piece once, results visible, no wake-up lost. Also run under ThreadSanitizer. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "engine/thread.h"

#define PIECES_MAX 64

static bool fail_allocation;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	return fail_allocation ? NULL : __real_calloc(count, size);
}

struct job {
	uint32_t threads;
	uint32_t value;
	uint32_t done[PIECES_MAX]; /* plain memory: the pool has to make it visible */
	uint32_t result[PIECES_MAX];
	atomic_uint bad_thread;
	atomic_uint in_use[64];
};

static void do_piece(void *argument, uint32_t piece, uint32_t thread)
{
	struct job *job = argument;

	/* A thread's scratch memory is its own. */
	if (thread >= job->threads || atomic_fetch_add(&job->in_use[thread], 1) != 0)
		atomic_fetch_add(&job->bad_thread, 1);
	job->done[piece]++;
	job->result[piece] = job->value * 31 + piece;
	for (volatile uint32_t i = 0; i < (job->value + piece) % 64; i++)
		;
	atomic_fetch_sub(&job->in_use[thread % 64], 1);
}

static uint32_t next(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

static void nap(long ns)
{
	struct timespec t = { 0, ns };

	(void)nanosleep(&t, NULL);
}

static void torture(uint32_t threads, uint32_t jobs)
{
	uint32_t state = threads;
	struct dn_pool *pool;

	assert_int_equal(dn_pool_new(threads, NULL, &pool, NULL), 0);
	assert_int_equal(dn_pool_threads(pool), threads);
	for (uint32_t j = 0; j < jobs; j++) {
		/* Each job in memory that dies with it: a late helper would be seen (ASan, TSan). */
		struct job *job = calloc(1, sizeof(*job));
		uint32_t pieces = next(&state) % PIECES_MAX;

		assert_non_null(job);
		job->threads = threads;
		job->value = j;
		dn_pool_run(pool, do_piece, job, pieces);
		assert_int_equal(atomic_load(&job->bad_thread), 0);
		for (uint32_t i = 0; i < PIECES_MAX; i++) {
			assert_int_equal(job->done[i], i < pieces ? 1 : 0);
			assert_int_equal(job->result[i], i < pieces ? j * 31 + i : 0);
		}
		free(job);
		if (next(&state) % 16 == 0)
			dn_pool_rest(pool);
		if (next(&state) % 512 == 0)
			nap((long)(next(&state) % 100000));
	}
	assert_null(dn_pool_free(pool));
}

static void test_each_piece_once(void **unused)
{
	(void)unused;
	for (uint32_t threads = 1; threads <= 8; threads++)
		torture(threads, 12500);
}

static void test_many_pools(void **unused)
{
	(void)unused;
	for (uint32_t i = 0; i < 500; i++) {
		struct dn_pool *pool;

		assert_int_equal(dn_pool_new(1 + i % 9, NULL, &pool, NULL), 0);
		if (i % 3 == 0)
			nap(100000);
		assert_null(dn_pool_free(pool));
	}
	assert_null(dn_pool_free(NULL));
}

struct observed {
	atomic_uint seen;
	pthread_barrier_t barrier;
	char names[3][16];
	bool blocked[3];
};

static void observe(void *argument, uint32_t piece, uint32_t thread)
{
	struct observed *observed = argument;
	sigset_t mask;

	(void)piece;
	(void)prctl(PR_GET_NAME, observed->names[thread], 0, 0, 0);
	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
	observed->blocked[thread] = sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM);
	(void)pthread_barrier_wait(&observed->barrier); /* one piece for each thread */
}

static void test_helpers_are_named_and_leave_signals_alone(void **unused)
{
	struct observed observed = { 0 };
	struct dn_pool *pool;

	(void)unused;
	assert_int_equal(pthread_barrier_init(&observed.barrier, NULL, 3), 0);
	assert_int_equal(dn_pool_new(3, NULL, &pool, NULL), 0);
	dn_pool_run(pool, observe, &observed, 3);
	dn_pool_free(pool);
	(void)pthread_barrier_destroy(&observed.barrier);
	assert_string_equal(observed.names[1], "dunlin-1");
	assert_string_equal(observed.names[2], "dunlin-2");
	assert_true(observed.blocked[1] && observed.blocked[2]);
	assert_false(observed.blocked[0]);
}

struct placed {
	pthread_barrier_t barrier;
	int count[2];
	int cpu[2];
};

static void note_cpu(void *argument, uint32_t piece, uint32_t thread)
{
	struct placed *placed = argument;
	cpu_set_t set;

	(void)piece;
	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	placed->count[thread] = CPU_COUNT(&set);
	placed->cpu[thread] = sched_getcpu();
	(void)pthread_barrier_wait(&placed->barrier);
}

static void test_threads_stay_on_their_cpus(void **unused)
{
	struct placed placed = { 0 };
	uint16_t cpus[2];
	uint32_t n = 0;
	cpu_set_t before;
	struct dn_pool *pool;

	(void)unused;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	for (uint16_t i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &before))
			cpus[n++] = i;
	if (n < 2)
		skip();
	assert_int_equal(pthread_barrier_init(&placed.barrier, NULL, 2), 0);
	assert_int_equal(dn_pool_new(2, cpus, &pool, NULL), 0);
	dn_pool_run(pool, note_cpu, &placed, 2);
	dn_pool_free(pool);
	(void)pthread_barrier_destroy(&placed.barrier);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(placed.count[i], 1);
		assert_int_equal(placed.cpu[i], cpus[i]);
	}
}

/* Of a child, which has no assertions: they would go on in its copy of the tests. */
enum { DONE, WRONG, NOT_HERE = 77 };

static int run_on_one_core(void)
{
	struct sched_param lowest = { .sched_priority = sched_get_priority_min(SCHED_FIFO) };
	uint16_t cpus[3];
	struct dn_pool *pool;

	for (int i = 0; i < 3; i++)
		cpus[i] = (uint16_t)sched_getcpu();
	if (sched_setscheduler(0, SCHED_FIFO, &lowest) < 0)
		return NOT_HERE;
	(void)alarm(60);
	if (dn_pool_new(3, cpus, &pool, NULL) < 0)
		return WRONG;
	for (uint32_t i = 0; i < 500; i++) {
		struct job job = { .threads = 3 };

		dn_pool_run(pool, do_piece, &job, 7);
		for (int j = 0; j < 7; j++)
			if (job.done[j] != 1)
				return WRONG;
	}
	dn_pool_free(pool);
	return DONE;
}

/* None is taken off the core for another of its priority: who waited by spinning alone would hang. */
static void test_real_time_threads_on_one_core_get_on(void **unused)
{
	pid_t child = fork();
	int status;

	(void)unused;
	if (child == 0)
		_exit(run_on_one_core());
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NOT_HERE)
		skip();
	assert_int_equal(WEXITSTATUS(status), DONE);
}

static int64_t process_cpu_ns(void)
{
	struct timespec t;

	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void test_rests_cost_nothing(void **unused)
{
	struct job job = { .threads = 4 };
	struct dn_pool *pool;
	int64_t before;

	(void)unused;
	assert_int_equal(dn_pool_new(4, NULL, &pool, NULL), 0);
	dn_pool_run(pool, do_piece, &job, 4);
	dn_pool_rest(pool);
	nap(20000000);
	before = process_cpu_ns();
	nap(200000000);
	assert_true(process_cpu_ns() - before < 20000000);
	dn_pool_run(pool, do_piece, &job, 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(job.done[i], 2);
	dn_pool_free(pool);
}

static void test_refuses_bad_counts(void **unused)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_pool *pool = NULL;

	(void)unused;
	assert_int_equal(dn_pool_new(0, NULL, &pool, &err), -EINVAL);
	assert_int_equal(dn_pool_new(65, NULL, &pool, &err), -EINVAL);
	assert_non_null(strstr(err.message, "65"));
	assert_non_null(strstr(err.message, "1 to 64"));
	assert_null(pool);
	fail_allocation = true;
	assert_int_equal(dn_pool_new(2, NULL, &pool, &err), -ENOMEM);
	fail_allocation = false;
	assert_null(pool);
}

static void test_a_thread_too_many_names_the_limits(void **unused)
{
	pid_t child;
	int status;

	(void)unused;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip();
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
	skip();
#endif
#endif
	child = fork();
	if (child == 0) {
		struct rlimit limit = { 1 << 20, 1 << 20 };
		struct dn_error err = DN_ERROR_INIT;
		struct dn_pool *pool = NULL;

		/* Less address space than is in use already: no stack can be mapped. */
		if (setrlimit(RLIMIT_AS, &limit) < 0)
			_exit(2);
		_exit(dn_pool_new(64, NULL, &pool, &err) < 0 && !pool &&
				      strstr(err.message, "of 64") &&
				      strstr(err.message, "RLIMIT_NPROC")
			      ? 0
			      : 1);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_piece_once),
		cmocka_unit_test(test_many_pools),
		cmocka_unit_test(test_helpers_are_named_and_leave_signals_alone),
		cmocka_unit_test(test_threads_stay_on_their_cpus),
		cmocka_unit_test(test_real_time_threads_on_one_core_get_on),
		cmocka_unit_test(test_rests_cost_nothing),
		cmocka_unit_test(test_refuses_bad_counts),
		cmocka_unit_test(test_a_thread_too_many_names_the_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
