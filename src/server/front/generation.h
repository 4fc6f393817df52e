/* SPDX-License-Identifier: MIT */
/*
 * A request for text, from its JSON to the last event: one or several choices, each an ask of the
 * model's worker, streamed as they come or kept until all are there. What differs between chats and
 * plain completions is in struct dn_generation_format.
 */
#ifndef DUNLIN_SERVER_FRONT_GENERATION_H
#define DUNLIN_SERVER_FRONT_GENERATION_H

/* IWYU pragma: begin_exports */
#include "server/front/front.h"
/* IWYU pragma: end_exports */

#define DN_CHOICES_MAX 32

struct dn_generation;

/**
 * struct dn_choice - one answer of a generation
 * @text: all of it so far, where it is not streamed
 * @logprobs: of its tokens so far; in a stream, of those not yet sent. NULL: not asked for
 * @offset: bytes of text before the next token, for the logprobs of completions
 * @finish: the API's word, once it is done
 */
struct dn_choice {
	struct dn_generation *generation;
	struct dn_ask ask;
	uint32_t index;
	struct dn_buffer text;
	json_t *logprobs;
	uint64_t offset;
	bool done;
	const char *finish;
	uint64_t last_ns;
	struct dn_frame_done end;
};

/**
 * struct dn_generation_format - how a kind of request is read and answered
 * @object, @chunk_object: the API's names of whole answers and of events
 * @prefix: of ids
 * @default_max_tokens: where a request says nothing of it; 0: as the context allows
 * @read_prompts: appends prompts by dn_generation_add_prompt()
 * @read_logprobs: sets @logprobs of the generation
 * @begin: the choice of a stream's first event; NULL: there is none
 * @piece: the choice of an event with a piece of text; both may be empty in its last
 * @whole: the choice of a whole answer
 * @add_logprobs: appends those of a token to choice->logprobs
 */
struct dn_generation_format {
	const char *object;
	const char *chunk_object;
	const char *prefix;
	uint32_t default_max_tokens;
	bool (*read_prompts)(struct dn_generation *generation, const json_t *body,
			     struct dn_api_error *error);
	bool (*read_logprobs)(struct dn_generation *generation, const json_t *body,
			      struct dn_api_error *error);
	json_t *(*begin)(const struct dn_choice *choice);
	json_t *(*piece)(struct dn_choice *choice, const char *text, size_t size);
	json_t *(*whole)(struct dn_choice *choice);
	void (*add_logprobs)(struct dn_choice *choice, const struct dn_frame_output *output);
};

struct dn_prompt {
	enum dn_prompt_kind kind;
	void *data; /* owned */
	size_t size;
};

struct dn_generation {
	struct dn_front *front;
	struct dn_http_connection *connection;
	const struct dn_generation_format *format;
	struct dn_model_link *model;
	struct dn_frame_submit submit;	 /* what all choices have in common */
	struct dn_frame_grammar grammar; /* kind 0: none */
	char *grammar_text;		 /* owned */
	const char *grammar_field;
	struct dn_ask vocabulary;
	struct dn_prompt prompts[DN_CHOICES_MAX];
	uint32_t n_prompts;
	uint32_t n;	   /* choices for each prompt */
	uint32_t logprobs; /* as in struct dn_frame_submit */
	uint32_t stream;
	uint32_t include_usage;
	bool begun; /* the stream is */
	uint32_t n_choices;
	uint32_t n_done;
	uint64_t begun_ns;
	uint64_t sent_ns;
	uint64_t first_ns;
	int64_t created;
	char id[48];
	struct dn_choice choices[];
};

/* generation-read.c: all that a body asks for. Return: false with @error. */
bool dn_generation_read(struct dn_generation *generation, json_t *body, struct dn_api_error *error);

/* Takes @data over. Return: false with @error where there are too many, or none of it. */
bool dn_generation_add_prompt(struct dn_generation *generation, enum dn_prompt_kind kind,
			      void *data, size_t size, struct dn_api_error *error);

/* The token's text for the API, and -9999 for what has no probability at all. */
json_t *dn_generation_token(const struct dn_generation *generation, uint32_t token);
double dn_generation_logprob(float logprob);

extern const struct dn_generation_format dn_chat_format;
extern const struct dn_generation_format dn_completion_format;

#endif /* DUNLIN_SERVER_FRONT_GENERATION_H */
