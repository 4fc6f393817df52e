/* SPDX-License-Identifier: MIT */
/* Real-time scheduling: whether this process may have it, and having it. */
#ifndef DUNLIN_DEVICE_REALTIME_H
#define DUNLIN_DEVICE_REALTIME_H

#include <stdbool.h>
#include <stdint.h>

#include <dunlin/error.h>

/**
 * struct dn_realtime - what was found by trying
 * @scheduling: SCHED_FIFO is granted
 * @reason: why it is not, and what would allow it; "" where it is
 * @lockable: bytes that a process without capabilities may lock; UINT64_MAX: all
 */
struct dn_realtime {
	bool scheduling;
	char reason[DN_ERROR_MESSAGE_MAX];
	uint64_t lockable;
};

/* Tries, and leaves the calling thread and the limits as they were. */
void dn_realtime_probe(struct dn_realtime *ret_realtime);

/**
 * dn_realtime_enter() - SCHED_FIFO for the calling thread, and for what it starts from now on
 *
 * At the lowest of its priorities, which is above all that is not real-time. The limit of locked
 * memory is raised as far as this process may, for a program that it starts.
 *
 * Return: 0; -EPERM, or what else the kernel said: the message names what is missing and how to
 * allow it.
 */
DN_MUST_CHECK int dn_realtime_enter(struct dn_error *err);

/* The calling thread, which has SCHED_FIFO, goes @steps above its lowest priority, as far as allowed. */
void dn_realtime_rise(int steps);

/* The limit of locked memory in bytes; UINT64_MAX: none. */
uint64_t dn_realtime_lockable(void);

#endif /* DUNLIN_DEVICE_REALTIME_H */
