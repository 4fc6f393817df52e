/* SPDX-License-Identifier: MIT */
/* What the worker's files share. */
#ifndef DUNLIN_WORKER_INTERNAL_H
#define DUNLIN_WORKER_INTERNAL_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <dunlin/channel.h>
#include <dunlin/error.h>
#include <dunlin/grammar.h>
#include <dunlin/model.h>
#include <dunlin/sampler.h>
#include <dunlin/template.h>
#include <dunlin/tokenizer.h>

#include "base/base.h"
#include "base/buffer.h"
#include "engine/gguf/gguf.h"
#include "engine/model.h"
#include "channel/channel.h"
#include "channel/attachment.h"
#include "channel/frames.h"
#include "worker/lookup.h"
#include "worker/pace.h"
#include "worker/speculate.h"
#include "worker/worker.h"
/* IWYU pragma: end_exports */

/* Sequences that a context has places for, for each of its whole contexts. */
#define DN_WORKER_PLACES_PER_SEQUENCE 4
#define DN_WORKER_OUTPUTS_DEFAULT     8
/* Grammars that are kept. */
#define DN_WORKER_GRAMMARS 8

enum dn_place_state {
	DN_PLACE_FREE = 0,
	DN_PLACE_PREFILL, /* tokens of the prompt are still to be computed */
	DN_PLACE_DECODE,  /* the last token is to be computed, its follower chosen */
	DN_PLACE_KEPT,	  /* no request any more, a cache to continue from */
	DN_PLACE_EMBED,	  /* texts are still to be embedded; nothing of them is in the cache */
};

enum dn_place_kind {
	DN_PLACE_GENERATE,
	DN_PLACE_SCORE,
	DN_PLACE_LOGITS,
	DN_PLACE_TEXTS,
};

/* Page faults of the process up to now. */
struct dn_faults {
	uint64_t minor;
	uint64_t major;
};

struct dn_embed_request;

/**
 * struct dn_place - a sequence and the request that it belongs to
 * @request: its number; that of the request that was, once kept
 * @age: order of arrival; of a kept one, of its last use
 * @priority, @client, @space, @first_deadline_ns, @end_deadline_ns: as in struct dn_frame_submit
 * @last_step: the last step that had any of it
 * @tokens: room for @capacity ids; the prompt, then what was chosen
 * @target: how many of them are to be in the cache before the prompt is done
 * @rows: SCORE: predictions scored; LOGITS: rows sent
 * @embed: of EMBED alone: see embed.c; owned
 * @matcher: of GENERATE, where the answer keeps to a grammar; owned
 * @behind: what the answer writes before it does; empty: nothing, or it was written
 * @last_read: as many of the last bytes that it wrote
 * @lookup: of GENERATE, where tokens may be guessed ahead; owned
 * @always: they are, whatever it costs
 * @doubtful: tokens at the end of the sequence that are a draft not yet looked at; 0 between steps
 */
struct dn_place {
	enum dn_place_state state;
	enum dn_place_kind kind;
	uint64_t request;
	uint64_t age;
	uint32_t priority;
	uint64_t client;
	uint64_t space;
	uint64_t first_deadline_ns;
	uint64_t end_deadline_ns;
	uint64_t last_step;
	struct dn_sequence *sequence;
	uint32_t *tokens;
	uint32_t capacity;
	uint32_t n_tokens;
	uint32_t n_prompt;
	uint32_t n_reused;
	uint32_t n_output;
	uint32_t max_output;
	uint32_t target;
	bool ignore_eos;
	bool keep;
	bool special;
	uint32_t logprobs;
	struct dn_sampler *sampler;
	struct dn_stop *stop;
	struct dn_matcher *matcher;
	char behind[DN_FRAME_BEHIND_BYTES];
	char last_read[DN_FRAME_BEHIND_BYTES];
	struct dn_detokenizer detokenizer;
	uint32_t first_scored;
	uint32_t rows;
	double negative_log_likelihood;
	struct dn_embed_request *embed;
	struct dn_lookup *lookup;
	bool always;
	uint32_t doubtful;
	uint32_t drafted;
	uint32_t accepted;
	uint64_t accepted_ns;
	uint64_t begun_ns;
	uint64_t accepted_cpu_ns;
	uint64_t first_ns;
	uint64_t first_cpu_ns;
	uint64_t last_ns;
	uint64_t last_cpu_ns;
	struct dn_faults first_faults;
	struct dn_faults last_faults;
};

/* A special token that may be recognised in text of the template. */
struct dn_special {
	const char *text;
	uint32_t size;
	uint32_t token;
};

/**
 * struct dn_worker_files - descriptors that FILE and LOAD brought, open to the end
 * @parts: of the model; the first is LOAD's
 * @n_parts: how many came by FILE: they are behind the first
 * @loaded: LOAD came, whether or not it succeeded
 */
struct dn_worker_files {
	int parts[DN_FILE_PARTS_MAX];
	uint32_t n_parts;
	bool loaded;
	struct {
		int fd;
		float scale;
	} adapters[DN_FILE_ADAPTERS_MAX];
	uint32_t n_adapters;
};

/**
 * struct dn_kept_grammar - one that came by GRAMMAR
 * @number: of the frame
 * @age: order of last use
 */
struct dn_kept_grammar {
	uint64_t number;
	uint64_t age;
	uint32_t kind;
	char *text;
	size_t size;
	struct dn_grammar *grammar; /* NULL: there is none here */
};

struct dn_worker {
	struct dn_channel *channel; /* borrowed */
	bool broken;		    /* the channel cannot be written any more */
	bool report_steps;
	bool realtime;
	uint64_t owed_ns; /* of that, time to be left to others: see realtime.c */
	uint32_t depth;	  /* enum dn_load_depth */
	struct dn_worker_files files;
	struct dn_model *model;
	const struct dn_tokenizer *tokenizer; /* the model's; NULL without vocabulary */
	struct dn_context *context;
	uint32_t vocabulary;
	bool generates;
	uint32_t length; /* tokens a sequence may have */
	uint32_t batch;
	uint32_t outputs;
	const char *template_source; /* borrowed from the file */
	size_t template_size;
	struct dn_template *template; /* parsed at its first use */
	struct dn_special *specials;  /* sorted by first byte, longest first; made at first use */
	size_t n_specials;
	struct dn_token_index *token_index; /* made at first use, for grammars */
	struct dn_kept_grammar grammars[DN_WORKER_GRAMMARS];
	struct dn_place *places;
	struct dn_batch_item *items; /* of a step; as many as places */
	struct dn_place **chosen;    /* whose items they are */
	uint32_t n_places;
	uint32_t turn;	     /* which place has a token decoded first */
	uint32_t embed_turn; /* which place's texts were the last */
	uint64_t ages;
	uint64_t steps;
	struct dn_pace pace;
	struct dn_speculation speculation;
	char *text; /* of one token */
	size_t text_size;
	struct dn_frame out;
};

/* loop.c: every function that sends marks the worker as broken when the parent is gone. */
void dn_worker_send(struct dn_worker *worker, const struct dn_frame *frame, int fd);
/* Sends a frame with @size bytes attached, or none; ERROR instead where memory is short. */
void dn_worker_send_bytes(struct dn_worker *worker, struct dn_frame *frame, const void *data,
			  size_t size);
void dn_worker_send_error(struct dn_worker *worker, uint64_t request, int r,
			  const struct dn_error *err);
/*
 * dispatch.c: answers a checked frame; takes @fd over (-1: none). Failures of a request are told
 * to the parent.
 */
void dn_worker_dispatch(struct dn_worker *worker, const struct dn_frame *frame, int fd);
void dn_worker_done(struct dn_worker *worker);

typedef int dn_worker_handler(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
			      struct dn_error *err);

/* load.c */
dn_worker_handler dn_worker_load;
dn_worker_handler dn_worker_file;
dn_worker_handler dn_worker_plan;
void dn_worker_close_files(struct dn_worker_files *files);
/* The engine's options from the frame's; @ret_options borrows its level's name and its CPUs. */
void dn_worker_context_options(const struct dn_frame_load *load,
			       struct dn_context_options *ret_options);
/* describe.c */
dn_worker_handler dn_worker_describe;
/* describe-text.c: the same for a person. */
DN_MUST_CHECK int dn_describe_text(const json_t *json, struct dn_buffer *text);
/* text.c */
dn_worker_handler dn_worker_tokenize;
dn_worker_handler dn_worker_detokenize;
dn_worker_handler dn_worker_render;
dn_worker_handler dn_worker_template;
dn_worker_handler dn_worker_vocabulary;
/* request.c */
dn_worker_handler dn_worker_submit;
dn_worker_handler dn_worker_score;
dn_worker_handler dn_worker_logits;
dn_worker_handler dn_worker_cancel;
dn_worker_handler dn_worker_reset;
/* grammar.c */
dn_worker_handler dn_worker_grammar;
void dn_worker_drop_grammars(struct dn_worker *worker);
/* embed.c */
dn_worker_handler dn_worker_embed;
/* Computes the next texts of one request, where there is any. */
void dn_worker_embed_step(struct dn_worker *worker);
void dn_embed_request_free(struct dn_embed_request *request);
/* kept.c */
dn_worker_handler dn_worker_snapshot;
dn_worker_handler dn_worker_restore;
dn_worker_handler dn_worker_forget;

/* prepare.c */
dn_worker_handler dn_worker_prepare;
dn_worker_handler dn_worker_give_back;

/* text.c: a model, or a tokenizer, or the reason why there is none. */
DN_MUST_CHECK int dn_worker_need_model(const struct dn_worker *worker, struct dn_error *err);
DN_MUST_CHECK int dn_worker_need_tokenizer(const struct dn_worker *worker, struct dn_error *err);
/* request.c: whether all ids that came from outside are the model's. */
DN_MUST_CHECK int dn_worker_check_ids(const struct dn_worker *worker, const uint32_t *ids, size_t n,
				      struct dn_error *err);
/*
 * Renders the chat template with JSON variables. bos_token and eos_token are the model's own: with
 * @force whatever the variables say, else where they are missing. @ret_open: the last message is, as
 * "continue_final_message" of the variables asks for; may be NULL.
 */
DN_MUST_CHECK int dn_worker_render_json(struct dn_worker *worker, const char *json, size_t size,
					int64_t now, bool force, struct dn_rendered *ret_rendered,
					bool *ret_open, struct dn_error *err);

/* open-message.c: takes that out of the variables. @ret_text: of the message, owned; set where asked. */
DN_MUST_CHECK int dn_worker_take_open(json_t *variables, char **ret_text, struct dn_error *err);
/* Cuts what follows @text, the last message's. */
DN_MUST_CHECK int dn_worker_cut_open(struct dn_rendered *rendered, const char *text,
				     struct dn_error *err);

/*
 * prompt.c: the ids of a prompt, at most @capacity of them into @tokens; @ret_count tells how many
 * there are, however many fit.
 */
DN_MUST_CHECK int dn_worker_encode_text(struct dn_worker *worker, const char *text, size_t size,
					bool special, uint32_t *tokens, size_t capacity,
					size_t *ret_count, struct dn_error *err);
DN_MUST_CHECK int dn_worker_encode_chat(struct dn_worker *worker,
					const struct dn_rendered *rendered, uint32_t *tokens,
					size_t capacity, size_t *ret_count, struct dn_error *err);
/* Of a chat as SUBMIT has it: JSON variables of the template. @ret_open: as above. */
DN_MUST_CHECK int dn_worker_encode_messages(struct dn_worker *worker, const char *json, size_t size,
					    uint32_t *tokens, size_t capacity, size_t *ret_count,
					    bool *ret_open, struct dn_error *err);

/* grammar.c: has the answer keep to @submit's grammar; -ENOENT where it is not kept. */
DN_MUST_CHECK int dn_place_follow(struct dn_worker *worker, struct dn_place *place,
				  const struct dn_frame_submit *submit, struct dn_error *err);
/*
 * Before a token is chosen, and behind it. Return: false where the request ended, because the text
 * cannot go on or the grammar's memory is at its end.
 */
bool dn_place_allow(struct dn_worker *worker, struct dn_place *place);
bool dn_place_accept(struct dn_worker *worker, struct dn_place *place, uint32_t token);
/* What the answer wrote. Return: false where that cannot be followed by any text of its grammar. */
bool dn_place_read(struct dn_place *place, const char *text, size_t size);
/* Whether nothing can follow what the answer's grammar has had. */
bool dn_place_must_end(const struct dn_place *place);

/* A text to be embedded, or a document with its query. */
struct dn_embed_text {
	struct dn_text query; /* without data: there is none */
	struct dn_text text;
	bool truncate;
};

/**
 * dn_worker_encode_embed() - its tokens, with what the model wants around them (embed-tokens.c)
 * @tokens: room for @capacity
 * @ret_count: how many there are; more than @capacity where they do not fit
 * @ret_cut: they were too many, and some are left out
 * @ret_second: as in struct dn_embed_item
 */
DN_MUST_CHECK int dn_worker_encode_embed(struct dn_worker *worker, const struct dn_embed_text *text,
					 uint32_t *tokens, size_t capacity, size_t *ret_count,
					 bool *ret_cut, size_t *ret_second, struct dn_error *err);

/* place.c */
struct dn_place *dn_place_find(struct dn_worker *worker, uint64_t request, bool kept);
/* A free place with an empty sequence, if need be that of the oldest kept one. */
DN_MUST_CHECK int dn_place_new(struct dn_worker *worker, uint32_t capacity,
			       struct dn_place **ret_place, struct dn_error *err);
void dn_place_free(struct dn_place *place);
/* Whether it is of a request that steps compute; texts to be embedded have their own. */
bool dn_place_runs(const struct dn_place *place);
/* Frees the sequence kept for the longest; false where none is kept. */
bool dn_place_evict(struct dn_worker *worker);

/* From now on; 0: not known. */
struct dn_prediction {
	uint64_t first_ns;
	uint64_t end_ns;
};

/* schedule.c: whose turn it is: the highest rank of those that run (dn_priority_rank()). */
uint32_t dn_schedule_rank(const struct dn_worker *worker);
bool dn_schedule_has_turn(const struct dn_place *place, uint32_t rank);
/* Whether @a is to give back what it holds of the cache before @b does. */
bool dn_schedule_gives_way(const struct dn_place *a, const struct dn_place *b);
/* Whose prompt of that rank is to be computed next, of those that step @step has not looked at. */
struct dn_place *dn_schedule_next_prompt(const struct dn_worker *worker, uint32_t rank,
					 uint64_t now, uint64_t step);
struct dn_prediction dn_schedule_predict(const struct dn_worker *worker,
					 const struct dn_place *place, uint32_t max_output);
/* Return: 0, or -ETIME where a deadline cannot be met, and what it would take. */
DN_MUST_CHECK int dn_schedule_admit(const struct dn_place *place,
				    const struct dn_prediction *prediction,
				    uint64_t *ret_predicted_ns, struct dn_error *err);
/* Ends what is past its deadline. */
void dn_schedule_expire(struct dn_worker *worker);

/* prefix.c: how many of its tokens others of its space have in the cache. */
uint32_t dn_prefix_known(const struct dn_worker *worker, const struct dn_place *place);
/* Begins a sequence without tokens with those. */
void dn_prefix_take(struct dn_worker *worker, struct dn_place *place);
/* Whether one of @others, which a step has, is about to compute tokens that @place needs too. */
bool dn_prefix_awaits(const struct dn_place *place, struct dn_place *const *others,
		      size_t n_others);
/* Forgets kept sequences that a new one to be kept begins with. */
void dn_prefix_supersede(struct dn_worker *worker, const struct dn_place *place);

/* step.c: whether any request wants a step; one step of all that do. */
bool dn_worker_busy(const struct dn_worker *worker);
/* How many running sequences hold any of the cache. */
uint32_t dn_worker_holders(const struct dn_worker *worker);
void dn_worker_step(struct dn_worker *worker);

/*
 * generate.c: what rows of logits mean for a request, the first @row of the last step's: behind one
 * there are those of a draft, as far as it is right. Returns how many drafted tokens were.
 */
uint32_t dn_generate_rows(struct dn_worker *worker, struct dn_place *place, uint32_t row,
			  uint32_t n_rows);
/* The end of a request. */
void dn_generate_finish(struct dn_worker *worker, struct dn_place *place,
			enum dn_finish_reason reason);

uint64_t dn_worker_now(void);
uint64_t dn_worker_cpu(void);
/* Of the calling thread alone: not what it waited. */
uint64_t dn_worker_thread_cpu(void);
struct dn_faults dn_worker_faults(void);

/* realtime.c: everything in memory, for good where that is allowed: else the errno of why not. */
int dn_worker_hold_memory(struct dn_worker *worker);
/* Leaves some of @busy_ns, which a step took, to programs that are not real-time. */
void dn_worker_breathe(struct dn_worker *worker, uint64_t busy_ns);

#endif /* DUNLIN_WORKER_INTERNAL_H */
