/* SPDX-License-Identifier: MIT */
/*
 * What supervisor and front say to each other: packets of one struct dn_control over a channel, with
 * at most one descriptor. The supervisor trusts nothing in what comes from the front.
 */
#ifndef DUNLIN_SERVER_CONTROL_H
#define DUNLIN_SERVER_CONTROL_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/channel.h>
#include <dunlin/error.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

#define DN_CONTROL_FD	     3 /* where the front finds its end */
#define DN_CONTROL_NAME_MAX  64
#define DN_CONTROL_TEXT_MAX  512
#define DN_CONTROL_KEY_MAX   32 /* bytes of a key's SHA-256 */
#define DN_SERVER_MODELS_MAX 64
#define DN_SERVER_KEYS_MAX   256
#define DN_SERVER_HOSTS_MAX  32

enum dn_control_type {
	/* To the front. */
	DN_CONTROL_START = 1,	 /* how it is to run: first of all */
	DN_CONTROL_LISTENER = 2, /* attached: a listening socket */
	DN_CONTROL_KEY = 3,	 /* one of all API keys; the last of them puts all in force */
	DN_CONTROL_HOST = 4,	 /* a name that requests may be for */
	DN_CONTROL_MODEL = 5,	 /* there is a model of that name */
	DN_CONTROL_WORKER = 7,	 /* attached: a channel whose worker has loaded the model */
	DN_CONTROL_LOST = 8,	 /* the model's worker ended; another one is on its way */
	DN_CONTROL_FAILED = 9,	 /* the model cannot be loaded: what waits for it fails */
	DN_CONTROL_RELEASE = 10, /* the model is to go; -> RELEASED when nothing runs */
	DN_CONTROL_DRAIN = 11,	 /* no more connections; -> DRAINED when all are answered */
	DN_CONTROL_FIGURES = 12, /* for /metrics and /props; -> ALIVE or RESTS */
	DN_CONTROL_ABSENT = 13,	 /* the model is not loaded until somebody asks for it */
	DN_CONTROL_TLS = 14, /* attached: certificates and their key, for connections from now on */

	/* From it. */
	DN_CONTROL_HELLO = 100, /* its jail holds */
	DN_CONTROL_WANT = 101,	/* a model that is not loaded */
	DN_CONTROL_RELEASED = 102,
	DN_CONTROL_BROKEN = 103, /* the model's worker does not keep to the schema */
	DN_CONTROL_DRAINED = 104,
	DN_CONTROL_ALIVE = 105, /* also when somebody connects after RESTS */
	DN_CONTROL_USED = 106,	/* the model was asked for since the figures before */
	DN_CONTROL_SAVE = 107,	/* attached: a prefix of the model's, to outlive the server */
	DN_CONTROL_RESTS = 108, /* alive, and nobody is connected */
};

/**
 * struct dn_control_start - how the front is to run
 * @share: prefixes are shared among all clients, not only those of one key
 */
struct dn_control_start {
	uint32_t connections;
	uint32_t queue; /* requests that may wait, for each model */
	uint32_t share;
	uint32_t save_prefixes; /* that were used again */
	uint64_t body_bytes;
	uint64_t bodies_bytes;
	uint64_t answers_bytes;
	uint32_t head_ms;
	uint32_t body_ms;
	uint32_t idle_ms;
	uint32_t write_ms;
	uint64_t memory;		   /* the budget; 0: none */
	char program[DN_CONTROL_NAME_MAX]; /* "dunlin 0.1.0" */
};

struct dn_control_worker {
	uint64_t first_request; /* its numbers begin here: no front before it had these */
	uint32_t places;	/* requests that the worker takes at once */
	uint32_t restarts;
	uint32_t sandbox_held;
	uint32_t sandbox_absent;
	uint32_t groups_held; /* bits of enum dn_cgroup_controller */
	uint32_t reserved;
	struct dn_frame_loaded loaded;
};

struct dn_control_prefix {
	uint64_t space;
};

/* Which of the model's workers, by what it was introduced with. */
struct dn_control_broken {
	uint64_t first_request;
};

/* @tls: connections begin with a handshake. */
struct dn_control_listener {
	uint32_t tls;
	uint32_t reserved;
};

/* So many in so much time; @count is 0 where there is no limit. */
struct dn_control_rate {
	uint64_t count;
	uint64_t period_ns;
};

/**
 * struct dn_control_key - who has it, and what it is good for
 * @models: a bit for the number of each that it may ask
 * @requests, @tokens: in prompts and answers together
 * @expires_s: of UTC since 1970, from which on it is refused; 0: never
 * @parallel: requests at once; 0: as many as there are
 * @priority: of a request that says nothing of it
 * @most: the highest that a request may ask for
 */
struct dn_control_key {
	uint8_t sha256[DN_CONTROL_KEY_MAX];
	char name[DN_CONTROL_NAME_MAX];
	uint64_t models;
	struct dn_control_rate requests;
	struct dn_control_rate tokens;
	uint64_t expires_s;
	uint32_t parallel;
	uint32_t priority;
	uint32_t most;
	uint32_t reserved;
};

/* The one at place @at of @n. */
struct dn_control_listed_key {
	uint32_t at;
	uint32_t n;
	struct dn_control_key key;
};

/* What is in the memory for TLS, in PEM, one behind the other. */
enum dn_tls_part {
	DN_TLS_CERTIFICATE = 0, /* and those that lead to its authority */
	DN_TLS_KEY,
	DN_TLS_CLIENT_CA,  /* whose clients are let in; none: all */
	DN_TLS_CLIENT_CRL, /* which of them no more */
	DN_TLS_PARTS
};

struct dn_control_tls {
	uint64_t bytes[DN_TLS_PARTS];
};

/* Memory in bytes as /proc tells it, CPU time of all processes; of one model where @model is one. */
struct dn_control_figures {
	uint64_t supervisor_bytes;
	uint64_t front_bytes;
	uint64_t workers_bytes;
	uint64_t weights_bytes; /* sealed memory */
	uint64_t cpu_ns;
	uint32_t front_restarts;
	uint32_t loads;
};

struct dn_control {
	uint32_t type;
	uint32_t model; /* its number, where the type has one; else 0 */
	union {
		struct dn_control_start start;
		struct dn_control_listener listener;
		struct dn_control_listed_key key;
		struct dn_control_tls tls;
		struct dn_control_worker worker;
		struct dn_frame_loaded loaded; /* ABSENT: what a loader found; depth 0: nothing */
		struct dn_control_figures figures;
		struct dn_control_prefix prefix;
		struct dn_control_broken broken;
		char text
			[DN_CONTROL_TEXT_MAX]; /* HOST, MODEL: a name; LOST, FAILED: why; HELLO: jail */
		uint8_t bytes[1016];
	} u;
};

_Static_assert(sizeof(struct dn_control) == DN_FRAME_SIZE, "packets have one size");

void dn_control_init(struct dn_control *control, enum dn_control_type type, uint32_t model);

/* Copies text into a field: printable, cut at a code point, terminated, zero-filled. */
void dn_control_set_text(char *field, size_t field_size, const char *text);

/* The enum dn_priority behind "urgent", "normal" or "batch". Return: whether it is one of them. */
bool dn_control_priority(const char *word, uint32_t *ret_priority);

/**
 * dn_control_check() - whether a packet is one that the other side may send
 * @to_front: the way that it came
 * @n_models: numbers of models are below this; of MODEL it is the next
 *
 * Return: 0, or -EBADMSG with what is wrong.
 */
DN_MUST_CHECK int dn_control_check(const struct dn_control *control, bool to_front, bool has_fd,
				   uint32_t n_models, struct dn_error *err);

#endif /* DUNLIN_SERVER_CONTROL_H */
