/* SPDX-License-Identifier: MIT */
/* How fast memory can be read: what bounds the tokens per second of any model. */
#ifndef DUNLIN_DEVICE_BANDWIDTH_H
#define DUNLIN_DEVICE_BANDWIDTH_H

#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>

/**
 * struct dn_bandwidth - decimal gigabytes per second
 * @best: of the fastest pass over the whole buffer; what others call the bandwidth
 * @median: of all passes of that form, which asks ahead or not: what a busy machine leaves
 * @passes: how many there were, of both forms
 * @huge_bytes: how much of the buffer lies in huge pages
 */
struct dn_bandwidth {
	double best;
	double median;
	uint32_t passes;
	uint64_t huge_bytes;
};

/**
 * dn_bandwidth_measure() - read a buffer again and again
 * @threads: 1 to 64, each with its own part of the buffer
 * @size: bytes, at least 1 MiB; several times the last-level cache (dn_cpu.l3_total) to measure
 *	memory, less to measure a cache
 * @milliseconds: for how long; at least three passes of each form are made
 *
 * Return: 0, -EINVAL, -ENOMEM, or what making a thread failed with.
 */
DN_MUST_CHECK int dn_bandwidth_measure(uint32_t threads, size_t size, uint32_t milliseconds,
				       struct dn_bandwidth *ret_bandwidth, struct dn_error *err);

#endif /* DUNLIN_DEVICE_BANDWIDTH_H */
