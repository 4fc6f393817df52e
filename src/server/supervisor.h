/* SPDX-License-Identifier: MIT */
/* What the supervisor's files share. */
#ifndef DUNLIN_SERVER_SUPERVISOR_H
#define DUNLIN_SERVER_SUPERVISOR_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stdint.h>

#include "server/keeper.h"
#include "server/saver.h"
#include "server/secrets.h"
#include "server/serve.h"
/* IWYU pragma: end_exports */

/**
 * struct supervisor - all of the process
 * @waiting: on listeners, while it rests
 * @resting: nobody is connected: the front is not watched
 * @stale: something was told since the last figures
 * @silence: how often the front was asked since it said anything
 * @uses: counts what was asked for, so that models have an order
 * @stillborn: fronts that ended before they said a word, one after the other
 * @announced: the service manager knows that it serves
 */
struct supervisor {
	const struct dn_serve_options *options;
	struct event_base *base;
	struct event *signals[4];
	struct event *tick;
	struct event *front_retry;
	struct dn_cgroup_limits groups;
	struct dn_secrets *reloaded;
	const struct dn_secrets *secrets; /* these, or those of the options */
	struct dn_keeper keepers[DN_SERVER_MODELS_MAX];
	int listeners[DN_SERVE_LISTEN_MAX];
	uint32_t n_listeners;
	uint32_t n_inherited; /* the first of them */
	struct event *waiting[DN_SERVE_LISTEN_MAX];
	uint32_t n_waiting;
	bool resting;
	bool stale;
	struct dn_process front;
	uint64_t front_begun_ns;
	uint32_t front_restarts;
	uint32_t silence;
	uint64_t uses;
	uint32_t stillborn;
	uint64_t drain_until_ns;
	struct dn_saver saver;
	bool announced;
	bool failed;
	bool draining;
};

void dn_supervisor_end(struct supervisor *s);
/* Loads what is planned and fits; makes room for what was asked for. */
void dn_supervisor_settle(struct supervisor *s);
/* Takes what the front says: an event's callback. */
void dn_supervisor_on_control(int fd, short what, void *data);

/* What supervisor and front take, at most. */
uint64_t dn_supervisor_own_bytes(const struct dn_serve_options *options);

/* supervisor-listen.c: sockets handed over and asked for, none of them beyond what is allowed. */
DN_MUST_CHECK int dn_supervisor_open_listeners(struct supervisor *s, struct dn_error *err);
void dn_supervisor_close_listeners(struct supervisor *s);

/* supervisor-watch.c: whether the front lives, while there is anything that it does */
DN_MUST_CHECK int dn_supervisor_watch_begin(struct supervisor *s, struct dn_error *err);
void dn_supervisor_watch_end(struct supervisor *s);
/* Something happens: no more rest. */
void dn_supervisor_watch(struct supervisor *s);
/* The front lives; where it @rests, it has nobody and is not asked again before something happens. */
void dn_supervisor_heard(struct supervisor *s, bool rests);

/* supervisor-reload.c: reads keys and certificates again; where they are not good, the old ones stay. */
void dn_supervisor_reload(struct supervisor *s);

/* supervisor-front.c */
DN_MUST_CHECK int dn_supervisor_start_front(struct supervisor *s, struct dn_error *err);
void dn_supervisor_on_front_retry(int fd, short what, void *data);
void dn_supervisor_lose_front(struct supervisor *s, const struct dn_child_end *how);
/* A front that is gone is noticed elsewhere. */
void dn_supervisor_tell(struct supervisor *s, struct dn_control *control, int fd);
void dn_supervisor_tell_text(struct supervisor *s, enum dn_control_type type, uint32_t model,
			     const char *text);
void dn_supervisor_tell_model(struct supervisor *s, enum dn_control_type type, uint32_t model);
void dn_supervisor_tell_absent(struct supervisor *s, const struct dn_keeper *keeper);
void dn_supervisor_tell_secrets(struct supervisor *s);
void dn_supervisor_tell_worker(struct supervisor *s, struct dn_keeper *keeper);

#endif /* DUNLIN_SERVER_SUPERVISOR_H */
