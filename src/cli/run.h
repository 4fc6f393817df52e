/* SPDX-License-Identifier: MIT */
/* What the files of "dunlin run" share. */
#ifndef DUNLIN_CLI_RUN_H
#define DUNLIN_CLI_RUN_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stdint.h>

/* IWYU pragma: begin_exports */
#include "cli/cli.h"
#include "cli/client.h"
/* IWYU pragma: end_exports */
/* IWYU pragma: end_exports */

struct dn_run_options {
	struct dn_model_options model;
	bool raw;
	bool ignore_eos;
	bool json;
	bool stats;
	const char *system;
	const char *file;
	const char *grammar;
	const char *schema;
	uint64_t grammar_number; /* that the worker has it under; 0: none */
	uint32_t max_tokens;
	uint32_t speculation; /* enum dn_speculation_mode */
	float temperature;
	float dynatemp_range;
	float dynatemp_exponent;
	float top_n_sigma;
	uint32_t top_k;
	float typical_p;
	float top_p;
	float min_p;
	float xtc_probability;
	float xtc_threshold;
	float repeat_penalty;
	float frequency_penalty;
	float presence_penalty;
	uint32_t penalty_last;
	float dry_multiplier;
	float dry_base;
	uint32_t dry_allowed_length;
	uint32_t dry_penalty_last;
	struct dn_option_list dry_breakers;
	uint32_t mirostat;
	float mirostat_tau;
	float mirostat_eta;
	struct dn_option_biases biases;
	struct dn_option_list stops;
	struct dn_optional seed;
	struct dn_optional logprobs;
};

/**
 * struct dn_answer - what came back for one prompt
 * @quiet: nothing is written while it comes
 * @text, @ids: all of it
 * @logprobs: JSON array, or NULL where none were asked for
 * @first_ns: when its first piece came, by the monotonic clock; 0: none came
 * @interrupted: Ctrl-C ended it
 * @ends_line: what was written last was a newline
 */
struct dn_answer {
	bool quiet;
	struct dn_buffer text;
	struct dn_buffer ids;
	json_t *logprobs;
	struct dn_frame_accepted accepted;
	struct dn_frame_done done;
	uint64_t request;
	uint64_t first_ns;
	bool interrupted;
	bool ends_line;
};

#define DN_ANSWER_INIT                                                                             \
	{ .text = DN_BUFFER_INIT(DN_CLI_TEXT_MAX),                                                 \
	  .ids = DN_BUFFER_INIT(DN_LOAD_CONTEXT_MAX * sizeof(uint32_t) * 2) }

void dn_answer_done(struct dn_answer *answer);
#define DN_AUTO_ANSWER DN_AUTO(dn_answer_done)

/* sampling.c */
void dn_run_sampling_defaults(struct dn_run_options *run);
/* What is wrong with the options beyond their ranges; NULL: nothing. */
const char *dn_run_sampling_check(const struct dn_run_options *run);
/* Fills in what concerns the choice of tokens. */
void dn_run_sampling_submit(const struct dn_run_options *run, struct dn_frame_submit *submit);

/* A SUBMIT frame with everything but the prompt. */
void dn_run_submit(struct dn_client *client, const struct dn_run_options *options,
		   struct dn_frame *ret_frame);
/*
 * Sends a prompt and takes the answer in, writing it to standard output as it comes. Ctrl-C
 * (@client->interrupt_fd) cancels it, which is no failure.
 */
DN_MUST_CHECK int dn_run_answer(struct dn_client *client, struct dn_frame *submit,
				const char *prompt, size_t size, struct dn_answer *answer,
				struct dn_error *err);

/* "eos", "stop", "length", "context", "cancelled". */
const char *dn_finish_name(uint32_t reason);
/* One line of figures to stderr. @begin_ns: when waiting began. */
void dn_run_print_stats(const struct dn_answer *answer, uint64_t begin_ns);
/* The answer as one JSON object. */
DN_MUST_CHECK int dn_run_print_json(const struct dn_client *client,
				    const struct dn_run_options *options,
				    const struct dn_answer *answer, uint64_t begin_ns,
				    struct dn_error *err);

/* {"messages": @messages, "add_generation_prompt": true} as text, to be freed; or NULL. */
char *dn_run_variables(json_t *messages);
/* Appends {"role": @role, "content": text}. */
DN_MUST_CHECK int dn_run_add_message(json_t *messages, const char *role, const char *text,
				     size_t size, struct dn_error *err);

/* The conversation at a terminal. */
DN_MUST_CHECK int dn_run_interactive(struct dn_client *client, const struct dn_verb *verb,
				     const struct dn_run_options *options, struct dn_error *err);

#endif /* DUNLIN_CLI_RUN_H */
