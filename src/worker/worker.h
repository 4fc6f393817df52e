/* SPDX-License-Identifier: MIT */
/* The process that runs one model and answers the frames of include/dunlin/channel.h. */
#ifndef DUNLIN_WORKER_WORKER_H
#define DUNLIN_WORKER_WORKER_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stdint.h>

#include <dunlin/error.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

struct dn_channel;

/**
 * struct dn_worker_measures - what the sandbox gave, as HELLO says it
 */
struct dn_worker_measures {
	uint32_t held;
	uint32_t absent;
};

/**
 * dn_worker_serve() - say HELLO and answer frames until the parent closes the channel
 * @channel: borrowed
 * @measures: borrowed
 *
 * A frame against the schema ends the service with an ERROR of request 0: a parent that sends one
 * cannot be understood any more.
 *
 * Return: 0 when the parent closed the channel, or a negative errno.
 */
DN_MUST_CHECK int dn_worker_serve(struct dn_channel *channel,
				  const struct dn_worker_measures *measures, struct dn_error *err);

/**
 * dn_worker_main() - the worker process: jail, HELLO, frames
 * @no_sandbox: leave the jail out
 *
 * The channel is descriptor DN_CHANNEL_FD. What fails is told to the parent too.
 *
 * Return: 0 when the parent closed the channel, or a negative errno.
 */
DN_MUST_CHECK int dn_worker_main(bool no_sandbox, struct dn_error *err);

#endif /* DUNLIN_WORKER_WORKER_H */
