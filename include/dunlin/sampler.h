/* SPDX-License-Identifier: MIT */
#ifndef DUNLIN_SAMPLER_H
#define DUNLIN_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>
#include <dunlin/tokenizer.h>

DN_BEGIN_DECLS

struct dn_sampler;

#define DN_LOGIT_BIAS_MAX	 64
#define DN_TOP_LOGPROBS_MAX	 20
#define DN_DRY_LAST_MAX		 32768
#define DN_DRY_BREAKERS_MAX	 16
#define DN_DRY_BREAKER_BYTES_MAX 64

struct dn_logit_bias {
	uint32_t token;
	float bias; /* added to the logit; -100 and below: never */
};

/**
 * struct dn_sampler_options - how the next token is chosen
 * @struct_size: sizeof(struct dn_sampler_options)
 * @seed: of the random numbers; the same seed and logits give the same tokens on every machine
 * @temperature: 0: the most likely of what the filters keep
 * @dynatemp_range: the temperature moves this far to both sides, with the entropy of what is
 *   left over the largest that it could have: low + (high - low) (entropy / log count)^exponent;
 *   0: not
 * @dynatemp_exponent: see @dynatemp_range
 * @top_n_sigma: keep logits at most this many standard deviations below the largest; 0 or less: all
 * @top_k: keep the largest; 0: all
 * @typical_p: keep this share of those whose surprise is nearest to the entropy; 0 or 1: all
 * @top_p: keep the fewest of the largest that make up this share; 1: all
 * @min_p: keep those with at least this part of the largest one's probability; 0: all
 * @xtc_probability: how often, of the tokens with at least @xtc_threshold, only the least likely is
 *   kept (and what is below the threshold); 0, or a threshold above 0.5: never
 * @xtc_threshold: see @xtc_probability
 * @repeat_penalty: divides positive and multiplies negative logits of recent tokens; 1: none
 * @frequency_penalty: subtracted for each time a token is among the recent; 0: none
 * @presence_penalty: subtracted once for recent tokens; 0: none
 * @penalty_last: how many recent tokens count (prompt included); at most 4096
 * @dry_multiplier: a token that continues a repetition of n tokens, at least
 *   @dry_allowed_length, loses @dry_multiplier @dry_base^(n - @dry_allowed_length); 0: none
 * @dry_base: see @dry_multiplier
 * @dry_allowed_length: see @dry_multiplier
 * @dry_penalty_last: how many recent tokens are searched (prompt included), 0: none; at most
 *   DN_DRY_LAST_MAX
 * @dry_breakers, @n_dry_breakers: no repetition reaches back across one of these strings, and a
 *   token that has one in it is not penalised. They are looked for in the tokens' bytes, one after
 *   the other, wherever the vocabulary cuts them. At most DN_DRY_BREAKERS_MAX of 1 to
 *   DN_DRY_BREAKER_BYTES_MAX bytes; borrowed for dn_sampler_new()
 * @tokenizer: for the breakers; borrowed as long as the sampler lives. NULL: no text, no breaker
 * @mirostat: 1 or 2: that version takes the place of everything from top-n-sigma to XTC and of the
 *   dynamic temperature; 0: none
 * @mirostat_tau: the surprise in bits that it steers at
 * @mirostat_eta: how fast
 * @biases, @n_biases: borrowed for dn_sampler_new()
 *
 * Order, as users of llama.cpp know it: bias, penalties, DRY, top-n-sigma, top-k, typical, top-p,
 * min-p, XTC, temperature. Each filter sees what the one before kept as the whole distribution, at
 * temperature 1. All of them keep a stretch of one order: larger logit first, of equal ones the
 * lower id. Most keep its head. Typical may leave out the beginning too, because the surprise's
 * distance from the entropy is the logit's from the mean logit; tokens at equal distances are kept
 * or left out together. XTC keeps a tail. So none of them has a bound on how many tokens it looks
 * at. Mirostat works on the logits over the temperature, after bias, penalties and DRY.
 *
 * Ranges: temperature, dynatemp_range and dynatemp_exponent 0 to 100; top_n_sigma -1 to 100;
 * typical_p, top_p, min_p, xtc_probability and xtc_threshold 0 to 1; repeat_penalty 0.01 to 100;
 * frequency_penalty and presence_penalty -100 to 100; dry_multiplier 0 to 100; dry_base 1 to 100;
 * mirostat_tau 0 to 100; mirostat_eta 0 to 10; bias at most 100; vocabulary 1 to 2^20.
 *
 * Random numbers: xoshiro256++ seeded by splitmix64, one 64-bit number for each token that is
 * drawn (none where the temperature is 0), and before it one where XTC is on. Probabilities are
 * integers, exp((logit - largest) / temperature) in units of 2^-43, and the draw walks the kept
 * tokens by id. What is not an integer is double arithmetic in one written order with exp and log
 * of our own: the same token on every machine.
 */
struct dn_sampler_options {
	size_t struct_size;
	uint64_t seed;
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
	const char *const *dry_breakers;
	size_t n_dry_breakers;
	const struct dn_tokenizer *tokenizer;
	uint32_t mirostat;
	float mirostat_tau;
	float mirostat_eta;
	const struct dn_logit_bias *biases;
	size_t n_biases;
};

struct dn_logprob {
	uint32_t token;
	float logprob; /* natural logarithm, from the model's own logits before any change */
};

/**
 * struct dn_sample - a chosen token
 * @logprob: of @token; only filled when @n_top or the caller's want_logprob asked for it
 * @top: the @n_top most likely tokens, in order; ties by the lower id
 */
struct dn_sample {
	uint32_t token;
	float logprob;
	uint32_t n_top;
	struct dn_logprob top[DN_TOP_LOGPROBS_MAX];
};

/*
 * Fills @options with the defaults: temperature 0.8, top_k 40, top_p 0.95, min_p 0.05, the rest
 * off. What is off has values for when it is turned on: dynatemp_exponent 1, xtc_threshold 0.1,
 * penalty_last and dry_penalty_last 64, dry_base 1.75, dry_allowed_length 2, the breakers newline,
 * colon, double quote and asterisk, mirostat_tau 5, mirostat_eta 0.1.
 */
DN_API void dn_sampler_options_init(struct dn_sampler_options *options);

/**
 * dn_sampler_new() - a sampler for a vocabulary
 *
 * Allocates everything that it will need; choosing allocates nothing.
 *
 * Return: 0, -EINVAL naming the option and its range, or -ENOMEM.
 */
DN_API DN_MUST_CHECK int dn_sampler_new(const struct dn_sampler_options *options,
					uint32_t vocabulary, struct dn_sampler **ret_sampler,
					struct dn_error *err);
DN_API struct dn_sampler *dn_sampler_free(struct dn_sampler *sampler);

/* Bytes that dn_sampler_new() allocates for options and a vocabulary that it accepts. */
DN_API size_t dn_sampler_memory(const struct dn_sampler_options *options, uint32_t vocabulary);

/* Notes a token of the prompt or of the answer, for the penalties and DRY. */
DN_API void dn_sampler_accept(struct dn_sampler *sampler, uint32_t token);

/*
 * From now on only the tokens of @mask are chosen: bit t % 64 of word t / 64 is that of token t, as
 * dn_matcher_mask() gives them; those from @n_tokens on are not chosen. NULL: all. Borrowed until the
 * next call. What is not chosen counts as minus infinity before anything else looks at the logits;
 * log-probabilities are the model's, as ever.
 */
DN_API void dn_sampler_allow(struct dn_sampler *sampler, const uint64_t *mask, uint32_t n_tokens);

/**
 * dn_sampler_sample() - choose the next token
 * @logits: float32[vocabulary]; borrowed, not changed; NaN counts as minus infinity, and
 *   plus infinity as the largest float; where no token is possible, the first that is allowed is
 *   chosen, else token 0
 * @n_top: how many most likely tokens to report, at most DN_TOP_LOGPROBS_MAX
 * @want_logprob: fill @ret_sample->logprob
 *
 * Does not accept the token: the caller does, when it keeps it. The random numbers and mirostat's
 * state move on with each call.
 */
DN_API void dn_sampler_sample(struct dn_sampler *sampler, const float *logits, uint32_t n_top,
			      int want_logprob, struct dn_sample *ret_sample);

/* log softmax of one token, summed in one fixed order; minus infinity where none is possible. */
DN_API double dn_logprob(const float *logits, uint32_t vocabulary, uint32_t token);

/*
 * Stop strings across token borders. Feed it the text of each token; it holds back what may be
 * the beginning of a stop string, and releases what cannot be.
 */
#define DN_STOP_MAX	  16
#define DN_STOP_BYTES_MAX 256
struct dn_stop;

/* @strings: borrowed for the call; at most DN_STOP_MAX, each of 1 to DN_STOP_BYTES_MAX bytes
 * of UTF-8. */
DN_API DN_MUST_CHECK int dn_stop_new(const char *const *strings, size_t n,
				     struct dn_stop **ret_stop, struct dn_error *err);
DN_API struct dn_stop *dn_stop_free(struct dn_stop *stop);
/*
 * Takes @size bytes in, gives what may be shown: *@ret_out points into @stop and is valid until
 * the next call. At most DN_STOP_BYTES_MAX + @size bytes; @size at most 4096.
 * Returns 1 when a stop string was met (what is before it is given, nothing after), else 0;
 * -E2BIG when @size is above its limit. Of several, the one that begins first counts.
 * Whole UTF-8 sequences in give whole sequences out.
 */
DN_API int dn_stop_feed(struct dn_stop *stop, const char *text, size_t size, const char **ret_out,
			size_t *ret_size);
/*
 * What was held back, at the end of an answer. Returns 1 when a stop string was met after all:
 * one that was complete, but lay inside of what might have become a longer one that began sooner.
 */
DN_API int dn_stop_flush(struct dn_stop *stop, const char **ret_out, size_t *ret_size);

DN_END_DECLS

#endif /* DUNLIN_SAMPLER_H */
