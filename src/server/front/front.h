/* SPDX-License-Identifier: MIT */
/*
 * The front: the process that speaks HTTP and JSON with whoever comes. It has listening sockets, a
 * channel to the supervisor and one to each worker, and no files.
 */
#ifndef DUNLIN_SERVER_FRONT_FRONT_H
#define DUNLIN_SERVER_FRONT_FRONT_H

/* IWYU pragma: begin_exports */
#include "server/control.h"
#include "server/front/accounts.h"
#include "server/front/api.h"
#include "server/front/http.h"
#include "server/log.h"
#include "server/front/metrics.h"
#include "server/front/models.h"
/* IWYU pragma: end_exports */

struct event_base;

/* Names of fields that are noted, and what of each. */
#define DN_FRONT_UNKNOWN_MAX 64
#define DN_FRONT_FIELD_MAX   48

/**
 * struct dn_front - all of the process
 * @jail: in words, for /props
 * @accounts: who may ask; without any, everybody may
 * @unknown: fields of requests that nobody here knows, as far as they were noted
 */
struct dn_front {
	struct event_base *base;
	struct dn_http *http;
	struct dn_models *models;
	struct dn_metrics *metrics;
	struct dn_channel channel; /* to the supervisor */
	struct event *readable;
	struct dn_control_start start;
	struct dn_control_figures figures;
	char jail[DN_CONTROL_TEXT_MAX];
	struct dn_accounts accounts;
	char hosts[DN_SERVER_HOSTS_MAX][DN_CONTROL_NAME_MAX];
	uint32_t n_hosts;
	bool has_tls;
	char unknown[DN_FRONT_UNKNOWN_MAX][DN_FRONT_FIELD_MAX];
	uint32_t n_unknown;
	bool started;
	bool draining;
	bool resting;	    /* as the supervisor knows: nobody is connected */
	int64_t started_at; /* seconds since 1970 */
};

/* Who a request is from, as dn_front_admit() found. */
struct dn_front_client {
	uint64_t client; /* fairness */
	uint64_t space;	 /* prefixes */
};

/**
 * dn_front_admit() - whether a request may be answered at all
 *
 * Host and Origin against web pages that a browser on the device may show, media type, API key and
 * what is left of it.
 *
 * Return: false with @error.
 */
bool dn_front_admit(const struct dn_front *front, struct dn_http_connection *connection,
		    struct dn_api_error *error);
/* All of it has come: it counts, unless meanwhile it may not be answered any more; false with @error. */
bool dn_front_begin(struct dn_front *front, struct dn_http_connection *connection,
		    struct dn_api_error *error);
/* It was answered, or given up. */
void dn_front_end(struct dn_http_request *request);
struct dn_front_client dn_front_client(const struct dn_front *front,
				       const struct dn_http_request *request);

/* The model that a request names; where there is but one for its key, it need not. */
struct dn_model_link *dn_front_model(struct dn_front *front, const struct dn_http_request *request,
				     const json_t *body, struct dn_api_error *error);

/* Has the supervisor keep a prefix; @fd is borrowed. */
void dn_front_save(struct dn_front *front, uint32_t model, uint64_t space, int fd);
/* keep-prefix.c: the prefix of a request that ended, where it is worth it and kept by the worker. */
void dn_front_keep_prefix(struct dn_front *front, struct dn_model_link *model, uint64_t request,
			  uint64_t space, const struct dn_frame_done *done);

/* unknown-fields.c: notes the fields of a body that no API here has, each name once. */
void dn_front_note_unknown(struct dn_front *front, const struct dn_http_request *request,
			   const json_t *body);

/* route.c: answers a whole request. */
void dn_front_route(struct dn_front *front, struct dn_http_connection *connection);
/* Whether there is such a path, for such a method; false with @error (404, 405). */
bool dn_front_has_route(const struct dn_http_request *request, struct dn_api_error *error);
/* What watches the server: health, metrics, properties. */
bool dn_front_is_probe(const struct dn_http_request *request);

/* Each answers its connection, now or later. */
typedef void dn_front_handler(struct dn_front *front, struct dn_http_connection *connection);
/* chat-api.c */
dn_front_handler dn_front_chat;
/* completion-api.c */
dn_front_handler dn_front_completion;
/* messages-api.c */
dn_front_handler dn_front_anthropic;
dn_front_handler dn_front_count_tokens;
/* responses-api.c */
dn_front_handler dn_front_responses;
/* ollama-api.c */
dn_front_handler dn_front_ollama_chat;
dn_front_handler dn_front_ollama_generate;
/* ollama-info.c */
dn_front_handler dn_front_ollama_tags;
dn_front_handler dn_front_ollama_show;
dn_front_handler dn_front_ollama_version;
/* embeddings-api.c */
dn_front_handler dn_front_embeddings;
dn_front_handler dn_front_ollama_embed;
dn_front_handler dn_front_rerank;
/* text-api.c */
dn_front_handler dn_front_tokenize;
dn_front_handler dn_front_detokenize;
dn_front_handler dn_front_apply_template;
/* info-api.c */
dn_front_handler dn_front_health;
dn_front_handler dn_front_ready;
dn_front_handler dn_front_models;
dn_front_handler dn_front_props;
dn_front_handler dn_front_metrics;
/* page.c */
dn_front_handler dn_front_page;
/* openapi.c */
dn_front_handler dn_front_openapi;

/* @fd: the channel to the supervisor, taken over. */
DN_MUST_CHECK int dn_front_new(int fd, struct dn_front **ret_front, struct dn_error *err);
void dn_front_free(struct dn_front *front);

/* The process: its jail first, in which it may have @files descriptors. Return: 0 when the supervisor is gone or said so, a negative errno. */
DN_MUST_CHECK int dn_front_main(bool no_sandbox, uint32_t files, struct dn_error *err);

#endif /* DUNLIN_SERVER_FRONT_FRONT_H */
