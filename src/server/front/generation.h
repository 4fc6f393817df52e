/* SPDX-License-Identifier: MIT */
/*
 * A request for text, from its JSON to the last event: one or several choices, each an ask of the
 * model's worker, streamed as they come or kept until all are there. What differs between chats and
 * plain completions is in struct dn_generation_format.
 */
#ifndef DUNLIN_SERVER_FRONT_GENERATION_H
#define DUNLIN_SERVER_FRONT_GENERATION_H

/* IWYU pragma: begin_exports */
#include "server/chat/chat.h"
#include "server/front/front.h"
#include "server/front/messages.h"
/* IWYU pragma: end_exports */

#define DN_CHOICES_MAX 32

struct dn_generation;

/**
 * struct dn_choice - one answer of a generation
 * @text, @reasoning: all of it so far, where it is not streamed, or the format keeps it
 * @calls: of tools so far, as [{"id", "name", "arguments"}], the arguments as text
 * @logprobs: of its tokens so far; in a stream, of those not yet sent. NULL: not asked for
 * @offset: characters of text before the next token, for the logprobs of completions; of a stream
 *	in parts: where in its text the open one begins
 * @part, @items, @n_parts: of a stream in parts: the one that is open, those that are whole, where
 *	they are told again at the end, and how many there were
 * @n_tokens: that came so far
 * @n_thought: of these, those of its reasoning, with what ends it
 * @finish: the API's word, once it is done
 */
struct dn_choice {
	struct dn_generation *generation;
	struct dn_ask ask;
	uint32_t index;
	struct dn_chat_parser parser;
	struct dn_buffer text;
	struct dn_buffer reasoning;
	json_t *calls;
	json_t *logprobs;
	uint64_t offset;
	int part;
	json_t *items;
	uint32_t n_parts;
	uint32_t n_tokens;
	uint32_t n_thought;
	bool done;
	const char *finish;
	uint64_t last_ns;
	struct dn_frame_accepted accepted;
	struct dn_frame_done end;
};

/**
 * struct dn_generation_format - how a kind of request is read and answered
 * @object, @chunk_object: OpenAI's names of whole answers and of events
 * @prefix: of ids
 * @default_max_tokens: where a request says nothing of it; 0: as the context allows
 * @chat: answers have reasoning and calls of tools
 * @keeps: a stream's choices keep their text, for its end
 * @lines: a stream is lines of JSON, and no events
 * @streams: unless the request says otherwise
 * @translate: the body of a chat as OpenAI has it, owned by the caller; NULL with @error. Without it
 *	the body is such a one
 * @field: what a field of a chat is called in the body that was translated; NULL: as in the chat
 * @read_prompts: appends prompts by dn_generation_add_prompt()
 * @read_logprobs: sets @logprobs of the generation; NULL: there are none
 * @begin: a stream's first events; NULL: there are none
 * @piece: a piece of a stream's text, a call, or no text where it has logprobs alone
 * @finish: a choice of a stream is done
 * @end: the stream's last events
 * @fail: a stream's last event, where it came to nothing; NULL: the error as in other answers
 * @whole: a whole answer
 * @loaded: the answer to a body without messages, which has the model loaded and no more; NULL: such a
 *	body is wrong
 * @add_logprobs: appends those of a token to choice->logprobs
 *
 * What sends events returns false where the generation is gone.
 */
struct dn_generation_format {
	const char *object;
	const char *chunk_object;
	const char *prefix;
	uint32_t default_max_tokens;
	bool chat;
	bool keeps;
	bool lines;
	bool streams;
	json_t *(*translate)(const json_t *body, struct dn_api_error *error);
	const char *(*field)(const char *of_chat);
	bool (*read_prompts)(struct dn_generation *generation, const json_t *body,
			     struct dn_api_error *error);
	bool (*read_logprobs)(struct dn_generation *generation, const json_t *body,
			      struct dn_api_error *error);
	bool (*begin)(struct dn_generation *generation);
	bool (*piece)(struct dn_choice *choice, const struct dn_chat_piece *piece);
	bool (*finish)(struct dn_choice *choice);
	bool (*end)(struct dn_generation *generation);
	json_t *(*fail)(struct dn_generation *generation, const struct dn_api_error *error);
	json_t *(*whole)(struct dn_generation *generation);
	json_t *(*loaded)(struct dn_generation *generation);
	void (*add_logprobs)(struct dn_choice *choice, const struct dn_frame_output *output);
};

struct dn_prompt {
	enum dn_prompt_kind kind;
	void *data; /* owned */
	size_t size;
};

/**
 * struct dn_generation - a request, from its body to the end of its answer
 * @given: the body as it came
 * @body: the same as OpenAI has it
 * @question: what is asked of the worker before the prompts are
 * @submit: what all choices have in common
 * @in_reasoning: the prompt ends with its beginning
 * @n: choices for each prompt
 * @logprobs: as in struct dn_frame_submit
 * @begun: the stream is
 * @sequence: of a stream's numbered events, the next one's
 */
struct dn_generation {
	struct dn_front *front;
	struct dn_http_connection *connection;
	struct dn_account *account; /* the request's */
	const struct dn_generation_format *format;
	struct dn_model_link *model;
	json_t *given;
	json_t *body;
	struct dn_ask question;
	struct dn_frame_submit submit;	 /* what all choices have in common */
	struct dn_frame_grammar grammar; /* kind 0: none */
	char *grammar_text;		 /* owned */
	const char *grammar_field;
	struct dn_tools tools;
	bool in_reasoning;
	struct dn_prompt prompts[DN_CHOICES_MAX];
	uint32_t n_prompts;
	uint32_t n;
	uint32_t logprobs;
	uint32_t stream;
	uint32_t include_usage;
	bool begun;
	uint32_t n_choices;
	uint32_t n_done;
	uint64_t begun_ns;
	uint64_t sent_ns;
	uint64_t first_ns;
	int64_t created;
	json_int_t sequence;
	char id[48];
	struct dn_choice choices[];
};

/* generation.c */
void dn_generation_start(struct dn_front *front, struct dn_http_connection *connection,
			 const struct dn_generation_format *format);
/* Ends it with an error, in the answer or in its stream. */
void dn_generation_fail(struct dn_generation *generation, const struct dn_api_error *error);
void dn_generation_free(struct dn_generation *generation);
void dn_generation_log(const struct dn_generation *generation, const char *how);
/* A number that nobody has seen; @out has room for @size bytes, at least 33. */
void dn_generation_make_id(const char *prefix, char *out, size_t size);

/* generation-answer.c: frames of a choice's worker. */
void dn_generation_got(struct dn_ask *ask, const struct dn_frame *frame, int fd, bool last);
/* Takes @json over. @event: its name; NULL: it has none. Return: false where it is gone. */
bool dn_generation_send(struct dn_generation *generation, const char *event, json_t *json);

struct dn_usage {
	json_int_t prompt;
	json_int_t cached; /* of these */
	json_int_t output;
	json_int_t reasoning; /* of these */
};

struct dn_usage dn_generation_usage(const struct dn_generation *generation);
json_t *dn_generation_timings(const struct dn_generation *generation);
json_t *dn_choice_text(const struct dn_choice *choice);
json_t *dn_choice_reasoning(const struct dn_choice *choice);

/* generation-read.c: all that a body asks for, but its prompts. Return: false with @error. */
bool dn_generation_read(struct dn_generation *generation, json_t *body, struct dn_api_error *error);

/* Takes @data over. Return: false with @error where there are too many, or none of it. */
bool dn_generation_add_prompt(struct dn_generation *generation, enum dn_prompt_kind kind,
			      void *data, size_t size, struct dn_api_error *error);

/* The token's text for the API, and -9999 for what has no probability at all. */
json_t *dn_generation_token(const struct dn_generation *generation, uint32_t token);
double dn_generation_logprob(float logprob);

/* The prompt of a chat: the variables of its template. */
bool dn_generation_read_chat(struct dn_generation *generation, const json_t *body,
			     struct dn_api_error *error);
/* What is around the choices of OpenAI's answers and events; takes @choices over. */
json_t *dn_openai_envelope(const struct dn_generation *generation, const char *object,
			   json_t *choices);
json_t *dn_openai_usage(const struct dn_generation *generation);
bool dn_openai_send_choice(const struct dn_choice *choice, json_t *json);
bool dn_openai_end(struct dn_generation *generation);
/* @choice_json: a choice of a whole answer. */
json_t *dn_openai_whole(struct dn_generation *generation,
			json_t *(*choice_json)(struct dn_choice *choice));

#endif /* DUNLIN_SERVER_FRONT_GENERATION_H */
