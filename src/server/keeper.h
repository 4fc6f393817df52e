/* SPDX-License-Identifier: MIT */
/*
 * One model and the processes that it needs: a jailed loader, which says what the model will take
 * and lays its weights into sealed memory, and after it a worker, which maps that memory. It
 * outlives workers, so that one that ended is back without loading again.
 */
#ifndef DUNLIN_SERVER_KEEPER_H
#define DUNLIN_SERVER_KEEPER_H

/* IWYU pragma: begin_exports */
#include "server/process.h"
#include "server/serve.h"
/* IWYU pragma: end_exports */

struct event_base;
struct event;
struct dn_prefix_reader;
struct dn_keeper;

enum dn_keeper_state {
	DN_KEEPER_ABSENT = 0,
	DN_KEEPER_PLANNING,  /* a loader reads the header */
	DN_KEEPER_PLANNED,   /* what it takes is known; waits for dn_keeper_go() */
	DN_KEEPER_PREPARING, /* the loader lays the weights out, or a seal is checked */
	DN_KEEPER_STARTING,  /* a worker maps them, and takes prefixes back */
	DN_KEEPER_READY,
	DN_KEEPER_RETRYING, /* a worker ended; the next one is started in a moment */
};

/* Each may begin or release models, this one too. */
struct dn_keeper_events {
	void *context;
	void (*planned)(void *context, struct dn_keeper *keeper);
	void (*ready)(void *context, struct dn_keeper *keeper);
	/* A worker ended; the next one is on its way. */
	void (*lost)(void *context, struct dn_keeper *keeper, const char *why);
	/* Nothing more is tried until dn_keeper_begin(). */
	void (*failed)(void *context, struct dn_keeper *keeper, const char *why);
};

/**
 * struct dn_keeper - a model; for others to read
 * @weights: sealed memory with the prepared form; -1: none (yet), or the model's file is one
 * @planned_bytes: that it will take, or takes: weights, caches, a worker
 * @ready: what a front is told of the worker; of the model alone what was found so far
 * @releasing: the front was told to let go of it
 * @used: by when it was last asked for, of an order of the supervisor's
 */
struct dn_keeper {
	struct event_base *base;
	const struct dn_serve_options *options;
	const struct dn_serve_model *model;
	struct dn_keeper_events events;
	uint32_t number;
	const struct dn_cgroup_limits *groups;
	enum dn_keeper_state state;
	struct dn_process loader;
	struct dn_process worker;
	struct event *retry;
	struct event *checked;
	struct dn_seal_check *check;
	int weights;
	uint64_t planned_bytes;
	uint64_t most_bytes;
	uint64_t weights_bytes;
	struct dn_frame_hello hello;
	struct dn_control_worker ready;
	struct dn_prefix_reader *reader;
	struct event *read;
	uint32_t
		restoring; /* prefixes that the worker has not taken back yet; @reader is one more */
	uint32_t failures; /* since a worker was ready for a while */
	uint64_t ready_ns;
	uint64_t last_request;
	uint32_t loads;
	bool releasing;
	bool wanted;
	uint64_t used;
};

/* @options, @model: borrowed. */
DN_MUST_CHECK int dn_keeper_init(struct dn_keeper *keeper, struct event_base *base,
				 const struct dn_serve_options *options,
				 const struct dn_serve_model *model, uint32_t number,
				 const struct dn_cgroup_limits *groups,
				 const struct dn_keeper_events *events, struct dn_error *err);
void dn_keeper_done(struct dn_keeper *keeper);

/* From ABSENT: finds out what it takes, which is to be at most @most_bytes (0: unbounded). */
void dn_keeper_begin(struct dn_keeper *keeper, uint64_t most_bytes);
/* From PLANNED: loads it. */
void dn_keeper_go(struct dn_keeper *keeper);
/* Ends its processes and gives its memory back. */
void dn_keeper_release(struct dn_keeper *keeper);
/* Ends its worker, which does not keep to the schema; another one follows. */
void dn_keeper_kill_worker(struct dn_keeper *keeper);
/* A child of this process has ended: perhaps one of these. */
void dn_keeper_reap(struct dn_keeper *keeper);

#endif /* DUNLIN_SERVER_KEEPER_H */
