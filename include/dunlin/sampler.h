/* SPDX-License-Identifier: MIT */
#ifndef DUNLIN_SAMPLER_H
#define DUNLIN_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>

DN_BEGIN_DECLS

struct dn_sampler;

#define DN_LOGIT_BIAS_MAX   64
#define DN_TOP_LOGPROBS_MAX 20

struct dn_logit_bias {
	uint32_t token;
	float bias; /* added to the logit; -100 and below: never */
};

/**
 * struct dn_sampler_options - how the next token is chosen
 * @struct_size: sizeof(struct dn_sampler_options)
 * @seed: of the random numbers; the same seed and logits give the same tokens on every machine
 * @temperature: 0: greedy
 * @top_k: 0: all
 * @top_p: 1: all
 * @min_p: 0: all
 * @repeat_penalty: divides positive and multiplies negative logits of recent tokens; 1: none
 * @frequency_penalty: subtracted for each time a token is among the recent; 0: none
 * @presence_penalty: subtracted once for recent tokens; 0: none
 * @penalty_last: how many recent tokens count (prompt included); at most 4096
 * @biases, @n_biases: borrowed for dn_sampler_new()
 *
 * Order, as users of llama.cpp know it: bias, penalties, top-k, top-p, min-p, temperature.
 * top-p keeps the fewest tokens that reach its share of what top-k kept; min-p those with at
 * least its part of the best one's probability. Ties go to the lower id everywhere.
 *
 * Ranges: temperature 0 to 100; top_p and min_p 0 to 1; repeat_penalty 0.01 to 100;
 * frequency_penalty and presence_penalty -100 to 100; bias at most 100; vocabulary 1 to 2^20.
 *
 * Random numbers: xoshiro256++ seeded by splitmix64, one 64-bit number for each token that is
 * drawn (none where temperature is 0). Probabilities are integers, exp((logit - largest) /
 * temperature) in units of 2^-43, and the draw walks the kept tokens by id: the same token on
 * every machine.
 */
struct dn_sampler_options {
	size_t struct_size;
	uint64_t seed;
	float temperature;
	uint32_t top_k;
	float top_p;
	float min_p;
	float repeat_penalty;
	float frequency_penalty;
	float presence_penalty;
	uint32_t penalty_last;
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

/* Fills @options with the defaults: temperature 0.8, top_k 40, top_p 0.95, min_p 0.05, rest off. */
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

/* Bytes that a sampler for @vocabulary allocates. */
DN_API size_t dn_sampler_memory(uint32_t vocabulary);

/* Notes a token of the prompt or of the answer, for the penalties. */
DN_API void dn_sampler_accept(struct dn_sampler *sampler, uint32_t token);

/**
 * dn_sampler_sample() - choose the next token
 * @logits: float32[vocabulary]; borrowed, not changed; NaN counts as minus infinity, and
 *   plus infinity as the largest float; where no token is possible, token 0 is chosen
 * @n_top: how many most likely tokens to report, at most DN_TOP_LOGPROBS_MAX
 * @want_logprob: fill @ret_sample->logprob
 *
 * Does not accept the token: the caller does, when it keeps it.
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
