/* SPDX-License-Identifier: MIT */
/*
 * DRY ("don't repeat yourself"), a penalty that grows with the length of a repetition, as p-e-w
 * described it for text-generation-webui (pull request 5677, 2024): a token that would continue
 * the repetition of @length tokens, at least the allowed length, loses
 * multiplier * base^(length - allowed length) of its logit. Repetitions do not reach across a
 * breaker, and a token that holds a whole breaker is never penalised.
 */
#ifndef DUNLIN_ENGINE_SAMPLER_DRY_H
#define DUNLIN_ENGINE_SAMPLER_DRY_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/sampler.h>
#include <dunlin/tokenizer.h>
/* IWYU pragma: end_exports */

/* A string being looked for in text that comes token by token (Knuth, Morris, Pratt 1977). */
struct dn_breaker {
	char text[DN_DRY_BREAKER_BYTES_MAX];
	uint8_t border[DN_DRY_BREAKER_BYTES_MAX]; /* of the first i + 1 bytes */
	uint8_t size;
	uint8_t matched;
};

/**
 * struct dn_dry - the penalty's state
 * @last: how many tokens are looked at; 0: it is off
 * @since: tokens since a breaker ended; UINT32_MAX: since the beginning
 * @tokens: room for 2 * @last, of which those before @end are there; the newest last
 * @repeats: [@last], of a step
 * @longest: [vocabulary], 0 between steps
 */
struct dn_dry {
	const struct dn_tokenizer *tokenizer;
	struct dn_breaker breakers[DN_DRY_BREAKERS_MAX];
	uint32_t n_breakers;
	uint32_t last;
	uint32_t allowed_length;
	double multiplier;
	double base;
	uint32_t since;
	uint32_t end;
	uint32_t *tokens;
	uint16_t *repeats;
	uint16_t *longest;
};

/* Bytes of the arrays. */
size_t dn_dry_memory(const struct dn_sampler_options *options, uint32_t vocabulary);
/*
 * @arrays: dn_dry_memory() bytes, zero; borrowed. Options were checked. Returns what is behind the
 * arrays.
 */
uint16_t *dn_dry_init(struct dn_dry *dry, const struct dn_sampler_options *options,
		      uint32_t vocabulary, void *arrays);
/* Notes a token of the vocabulary; amortised constant time. */
void dn_dry_accept(struct dn_dry *dry, uint32_t token);
/* Whether there is anything to repeat yet. */
bool dn_dry_applies(const struct dn_dry *dry);
/* Penalises; time is linear in @last. */
void dn_dry_apply(struct dn_dry *dry, float *logits);

#endif /* DUNLIN_ENGINE_SAMPLER_DRY_H */
