/* SPDX-License-Identifier: MIT */
/* How "dunlin run" has its tokens chosen: defaults, what the table cannot check, the frame. */

#include <string.h>

#include "cli/run.h"

static const char *const default_breakers[] = { "\n", ":", "\"", "*" };

void dn_run_sampling_defaults(struct dn_run_options *run)
{
	run->temperature = 0.8F;
	run->dynatemp_exponent = 1;
	run->top_k = 40;
	run->typical_p = 1;
	run->top_p = 0.95F;
	run->min_p = 0.05F;
	run->xtc_threshold = 0.1F;
	run->repeat_penalty = 1;
	run->penalty_last = 64;
	run->dry_base = 1.75F;
	run->dry_allowed_length = 2;
	run->dry_penalty_last = 64;
	run->mirostat_tau = 5;
	run->mirostat_eta = 0.1F;
}

/* Newlines and tabs are awkward to type into a shell; other backslashes stay what they are. */
static size_t unescape(const char *text, char out[DN_FRAME_BREAKER_BYTES])
{
	static const char escapes[] = "n\nt\tr\r\\\\\"\"";
	size_t size = 0;

	for (; *text != '\0' && size < DN_FRAME_BREAKER_BYTES; text++) {
		const char *escape = NULL;

		for (size_t i = 0; text[0] == '\\' && escapes[i] != '\0'; i += 2)
			if (text[1] == escapes[i])
				escape = &escapes[i + 1];
		out[size++] = escape ? *escape : *text;
		text += escape != NULL;
	}
	return size;
}

const char *dn_run_sampling_check(const struct dn_run_options *run)
{
	char breaker[DN_FRAME_BREAKER_BYTES];

	for (uint32_t i = 0; i < run->dry_breakers.count; i++) {
		size_t size = unescape(run->dry_breakers.items[i], breaker);

		if (size == 0 || size == sizeof(breaker))
			return "--dry-sequence-breaker takes 1 to 31 bytes, or none";
	}
	return NULL;
}

/* The first one given clears the defaults, "none" clears what was given before it. */
static void set_breakers(const struct dn_run_options *run, struct dn_frame_submit *submit)
{
	const struct dn_option_list *given = &run->dry_breakers;
	uint32_t first = 0;

	for (uint32_t i = 0; given->count == 0 && i < DN_ARRAY_SIZE(default_breakers); i++)
		submit->breaker[submit->n_breaker++][0] = default_breakers[i][0];
	for (uint32_t i = 0; i < given->count; i++)
		if (strcmp(given->items[i], "none") == 0)
			first = i + 1;
	for (uint32_t i = first; i < given->count; i++)
		(void)unescape(given->items[i], submit->breaker[submit->n_breaker++]);
}

void dn_run_sampling_submit(const struct dn_run_options *run, struct dn_frame_submit *submit)
{
	submit->seed = run->seed.value;
	submit->temperature = run->temperature;
	submit->dynatemp_range = run->dynatemp_range;
	submit->dynatemp_exponent = run->dynatemp_exponent;
	submit->top_n_sigma = run->top_n_sigma;
	submit->top_k = run->top_k;
	submit->typical_p = run->typical_p;
	submit->top_p = run->top_p;
	submit->min_p = run->min_p;
	submit->xtc_probability = run->xtc_probability;
	submit->xtc_threshold = run->xtc_threshold;
	submit->repeat_penalty = run->repeat_penalty;
	submit->frequency_penalty = run->frequency_penalty;
	submit->presence_penalty = run->presence_penalty;
	submit->penalty_last = run->penalty_last;
	submit->dry_multiplier = run->dry_multiplier;
	submit->dry_base = run->dry_base;
	submit->dry_allowed_length = run->dry_allowed_length;
	submit->dry_penalty_last = run->dry_penalty_last;
	set_breakers(run, submit);
	submit->mirostat = run->mirostat;
	submit->mirostat_tau = run->mirostat_tau;
	submit->mirostat_eta = run->mirostat_eta;
	submit->n_bias = run->biases.count;
	for (uint32_t i = 0; i < run->biases.count; i++) {
		submit->bias[i].token = run->biases.items[i].token;
		submit->bias[i].bias = run->biases.items[i].bias;
	}
}
