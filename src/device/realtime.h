/* SPDX-License-Identifier: MIT */
/* Real-time scheduling: whether this process may have it, and having it. */
#ifndef DUNLIN_DEVICE_REALTIME_H
#define DUNLIN_DEVICE_REALTIME_H

#include <sched.h>
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

#define DN_REALTIME_CPUS_MAX 4096

/* On which CPUs a thread may run. */
struct dn_realtime_cpus {
	cpu_set_t sets[DN_REALTIME_CPUS_MAX / CPU_SETSIZE];
};

/**
 * dn_realtime_raise() - what the calling thread, which has SCHED_FIFO, starts next goes before workers
 * @cpu: where it is kept away from, if there is another one: its time there would be missing where
 *	a worker leaves others no more than the kernel wants for them
 * @ret_before: for dn_realtime_lower()
 *
 * Where a part of it is refused, it is left out.
 */
void dn_realtime_raise(uint32_t cpu, struct dn_realtime_cpus *ret_before);
/* The thread is as it was. */
void dn_realtime_lower(const struct dn_realtime_cpus *before);

/* The limit of locked memory in bytes; UINT64_MAX: none. */
uint64_t dn_realtime_lockable(void);

#endif /* DUNLIN_DEVICE_REALTIME_H */
