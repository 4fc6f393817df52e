/* SPDX-License-Identifier: MIT */
/*
 * The models that the front knows, and what it asks of their workers. An ask is one request of the
 * channel: it waits until its model is loaded and has a place for it, and its owner then gets each
 * frame that comes back, until a last one, or the reason why there will be none.
 */
#ifndef DUNLIN_SERVER_FRONT_MODELS_H
#define DUNLIN_SERVER_FRONT_MODELS_H

/* IWYU pragma: begin_exports */
#include <dunlin/channel.h>
#include <dunlin/error.h>
#include <dunlin/tokenizer.h>

#include "channel/attachment.h"
#include "channel/channel.h"
#include "channel/frames.h"
#include "server/chat/chat.h"
#include "server/control.h"
#include "server/front/api.h"
/* IWYU pragma: end_exports */

struct event_base;
struct dn_ask;
struct dn_model_link;

/* Told to the supervisor. */
struct dn_models_upwards {
	void *context;
	void (*want)(void *context, uint32_t model);
	/* @first_request: which worker of the model it was. */
	void (*broken)(void *context, uint32_t model, uint64_t first_request);
	void (*released)(void *context, uint32_t model);
	/* A worker's STEP, for the metrics. */
	void (*step)(void *context, uint32_t model, const struct dn_frame_step *step);
};

/**
 * struct dn_ask - zeroed, and then filled by its owner, who keeps it until it ends
 * @frame: type and body; dn_models_ask() gives it its number
 * @grammar, @grammar_text: a GRAMMAR that is sent right before @frame, a SUBMIT, and its attachment,
 *	as @attachment; its kind 0: none
 * @grammar_field: of the request, for errors
 * @attachment: owned by the ask from dn_models_ask() on; -1: none
 * @priority, @client: for whose turn it is while it waits
 * @deadline_ns: when waiting makes no sense any more; 0: never
 * @got: @fd is borrowed; @last: no further one comes, and the ask is the owner's again
 * @failed: nothing comes any more, and the ask is the owner's again
 */
struct dn_ask {
	struct dn_frame frame;
	int attachment;
	struct dn_frame_grammar grammar;
	uint64_t grammar_size;
	int grammar_text;
	const char *grammar_field;
	uint32_t priority;
	uint64_t client;
	uint64_t deadline_ns;
	void *owner;
	void (*got)(struct dn_ask *ask, const struct dn_frame *frame, int fd, bool last);
	void (*failed)(struct dn_ask *ask, const struct dn_api_error *error);

	/* Of models.c. */
	struct dn_model_link *model;
	struct dn_ask *before;
	struct dn_ask *after;
	bool waiting;
	bool sent;
};

/* Prefixes of which is remembered that they were used again. */
#define DN_MODEL_SAVED_MAX 32

enum dn_model_state {
	DN_MODEL_ABSENT = 0, /* loaded when somebody asks for it */
	DN_MODEL_LOADING,
	DN_MODEL_READY,
	DN_MODEL_FAILED, /* tried again when somebody asks */
};

/**
 * struct dn_model_link - a model as the front sees it; for others to read
 * @worker: of the last one; of the model what is known of it, loaded or not, where its depth is not 0
 * @vocabulary: of DN_FRAME_VOCABULARY; see dn_models_token()
 * @form: of the model's chats, where @has_form; see dn_models_form()
 */
struct dn_model_link {
	struct dn_models *models;
	uint32_t number;
	char name[DN_CONTROL_NAME_MAX];
	enum dn_model_state state;
	struct dn_control_worker worker;
	char reason[DN_CONTROL_TEXT_MAX];
	uint32_t n_active;
	uint32_t n_waiting;
	struct dn_mapped vocabulary;
	uint32_t n_vocabulary;
	struct dn_chat_form form;
	bool has_form;

	/* Of models.c. */
	struct dn_channel channel;
	struct event *readable;
	struct event *writable;
	struct dn_outgoing *first_out;
	struct dn_outgoing *last_out;
	uint32_t n_out;
	uint64_t last_request;
	uint64_t reset; /* the number of a RESET that is not answered: what comes is another's */
	bool releasing;
	bool used; /* since dn_models_take_used() */
	struct {
		uint64_t space;
		uint64_t hash;
		uint32_t times;
	} seen[DN_MODEL_SAVED_MAX]; /* prefixes that were used again, in a ring */
	uint32_t n_seen;
	struct dn_ask *first_active;
	struct dn_ask *first_waiting;
	struct dn_ask *last_waiting;
};

struct dn_models *dn_models_new(struct event_base *base, uint32_t queue,
				const struct dn_models_upwards *upwards);
void dn_models_free(struct dn_models *models);

uint32_t dn_models_count(const struct dn_models *models);
struct dn_model_link *dn_models_at(struct dn_models *models, uint32_t number);
/* NULL where there is none of that name. */
struct dn_model_link *dn_models_find(struct dn_models *models, const char *name);

/* What the supervisor says. */
DN_MUST_CHECK int dn_models_add(struct dn_models *models, const char *name);
void dn_models_worker(struct dn_models *models, uint32_t number, int channel,
		      const struct dn_control_worker *worker);
void dn_models_lost(struct dn_models *models, uint32_t number, const char *reason, bool for_good);
void dn_models_release(struct dn_models *models, uint32_t number);
void dn_models_absent(struct dn_models *models, uint32_t number,
		      const struct dn_frame_loaded *found);

/* Return: false with @error where too many wait; then the attachment is closed. */
bool dn_models_ask(struct dn_model_link *model, struct dn_ask *ask, struct dn_api_error *error);
/* Nothing of it comes any more. */
void dn_models_cancel(struct dn_ask *ask);
/* Whether a model was asked for since the last call. */
bool dn_models_take_used(struct dn_models *models, uint32_t number);

/* Counts a prefix that was used again. Return: whether it is the second time, so worth a save. */
bool dn_models_saves(struct dn_model_link *model, uint64_t space, uint64_t hash);

/* A token's bytes; empty where the vocabulary was not asked for, or has none. */
const char *dn_models_token(const struct dn_model_link *model, uint32_t token, size_t *ret_size);
/* Keeps the answer to DN_FRAME_VOCABULARY. Return: false where it is none. */
bool dn_models_keep_vocabulary(struct dn_model_link *model, const struct dn_frame *frame, int fd);

/* model-form.c: what chats look like; where it was not asked for yet, as with models that know no tools. */
const struct dn_chat_form *dn_models_form(const struct dn_model_link *model);
/* The frame that asks for it. */
void dn_models_ask_form(struct dn_frame *frame);
/* Keeps the answer; where there is none (@frame is NULL), or it says nothing, the form is the last one. */
void dn_models_keep_form(struct dn_model_link *model, const struct dn_frame *frame, int fd);

#endif /* DUNLIN_SERVER_FRONT_MODELS_H */
