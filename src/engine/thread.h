/* SPDX-License-Identifier: MIT */
/* A pool of threads for one step's arithmetic, which shares its cores with others. */
#ifndef DUNLIN_ENGINE_THREAD_H
#define DUNLIN_ENGINE_THREAD_H

#include <stdint.h>

#include <dunlin/error.h>

#include "base/base.h"

struct dn_pool;

/* Does piece @piece of a job; @thread (0 to threads - 1) picks scratch memory. */
typedef void dn_piece_function(void *job, uint32_t piece, uint32_t thread);

/**
 * dn_pool_new() - a pool of @threads, the caller's among them
 * @threads: 1 to 64; 1 makes no thread
 * @cpus: uint16[@threads]: thread i, the caller being 0, stays on CPU cpus[i], and touches its
 *	stack beforehand; NULL: the kernel places them. Borrowed for the call
 *
 * The helpers have the caller's scheduling policy. A CPU that went away leaves its thread to the
 * kernel.
 */
DN_MUST_CHECK int dn_pool_new(uint32_t threads, const uint16_t *cpus, struct dn_pool **ret_pool,
			      struct dn_error *err);
struct dn_pool *dn_pool_free(struct dn_pool *pool);
uint32_t dn_pool_threads(const struct dn_pool *pool);

/**
 * dn_pool_run() - do pieces 0 to @pieces - 1 of a job, and return when all are done
 *
 * Pieces are taken one by one by whoever is running: a thread that lost its core holds up only
 * the piece it has, and what a piece computes does not depend on who does it. Waits spin for
 * some microseconds, then sleep. Everything written by the pieces is visible on return.
 * One job at a time, from the thread that made the pool.
 */
void dn_pool_run(struct dn_pool *pool, dn_piece_function *function, void *job, uint32_t pieces);

/* Tells the helpers that no work follows soon (end of a step): they sleep at once. */
void dn_pool_rest(struct dn_pool *pool);

#endif /* DUNLIN_ENGINE_THREAD_H */
