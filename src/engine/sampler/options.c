/* SPDX-License-Identifier: MIT */
/* Defaults and ranges of the sampler's options. */

#include <errno.h>
#include <string.h>

#include "engine/sampler/internal.h"

static const char *const default_breakers[] = { "\n", ":", "\"", "*" };

void dn_sampler_options_init(struct dn_sampler_options *options)
{
	*options = (struct dn_sampler_options){
		.struct_size = sizeof(*options),
		.temperature = 0.8f,
		.dynatemp_exponent = 1.0f,
		.top_k = 40,
		.typical_p = 1.0f,
		.top_p = 0.95f,
		.min_p = 0.05f,
		.xtc_threshold = 0.1f,
		.repeat_penalty = 1.0f,
		.penalty_last = 64,
		.dry_base = 1.75f,
		.dry_allowed_length = 2,
		.dry_penalty_last = 64,
		.dry_breakers = default_breakers,
		.n_dry_breakers = DN_ARRAY_SIZE(default_breakers),
		.mirostat_tau = 5.0f,
		.mirostat_eta = 0.1f,
	};
}

static const struct {
	const char *name;
	size_t offset;
	float low;
	float high;
} ranges[] = {
#define RANGE(name, low, high) { #name, offsetof(struct dn_sampler_options, name), low, high }
	RANGE(temperature, 0.0f, 100.0f),
	RANGE(dynatemp_range, 0.0f, 100.0f),
	RANGE(dynatemp_exponent, 0.0f, 100.0f),
	RANGE(top_n_sigma, -1.0f, 100.0f),
	RANGE(typical_p, 0.0f, 1.0f),
	RANGE(top_p, 0.0f, 1.0f),
	RANGE(min_p, 0.0f, 1.0f),
	RANGE(xtc_probability, 0.0f, 1.0f),
	RANGE(xtc_threshold, 0.0f, 1.0f),
	RANGE(repeat_penalty, 0.01f, 100.0f),
	RANGE(frequency_penalty, -100.0f, 100.0f),
	RANGE(presence_penalty, -100.0f, 100.0f),
	RANGE(dry_multiplier, 0.0f, 100.0f),
	RANGE(dry_base, 1.0f, 100.0f),
	RANGE(mirostat_tau, 0.0f, 100.0f),
	RANGE(mirostat_eta, 0.0f, 10.0f),
#undef RANGE
};

static int check_ranges(const struct dn_sampler_options *options, struct dn_error *err)
{
	for (size_t i = 0; i < DN_ARRAY_SIZE(ranges); i++) {
		float value;

		memcpy(&value, (const char *)options + ranges[i].offset, sizeof(value));
		/* Comparisons with NaN are false: it is outside of every range. */
		if (!(value >= ranges[i].low && value <= ranges[i].high))
			return dn_error_set(err, EINVAL, "%s must be %g to %g, not %g",
					    ranges[i].name, (double)ranges[i].low,
					    (double)ranges[i].high, (double)value);
	}
	return 0;
}

static int check_whole(struct dn_error *err, const char *name, uint32_t value, uint32_t high)
{
	if (value <= high)
		return 0;
	return dn_error_set(err, EINVAL, "%s must be 0 to %u, not %u", name, high, value);
}

static int check_breakers(const struct dn_sampler_options *options, struct dn_error *err)
{
	if (options->n_dry_breakers > DN_DRY_BREAKERS_MAX)
		return dn_error_set(err, EINVAL, "dry_breakers must be 0 to %d, not %zu",
				    DN_DRY_BREAKERS_MAX, options->n_dry_breakers);
	if (options->n_dry_breakers && !options->dry_breakers)
		return dn_error_set(err, EINVAL, "dry_breakers has a count but no entries");
	for (size_t i = 0; i < options->n_dry_breakers; i++) {
		const char *text = options->dry_breakers[i];

		if (!text || text[0] == '\0' ||
		    strnlen(text, DN_DRY_BREAKER_BYTES_MAX + 1) > DN_DRY_BREAKER_BYTES_MAX)
			return dn_error_set(err, EINVAL, "dry_breakers[%zu] must be 1 to %d bytes",
					    i, DN_DRY_BREAKER_BYTES_MAX);
	}
	return 0;
}

static int check_biases(const struct dn_sampler_options *options, uint32_t vocabulary,
			struct dn_error *err)
{
	if (options->n_biases > DN_LOGIT_BIAS_MAX)
		return dn_error_set(err, EINVAL, "logit_bias must have 0 to %d entries, not %zu",
				    DN_LOGIT_BIAS_MAX, options->n_biases);
	if (options->n_biases && !options->biases)
		return dn_error_set(err, EINVAL, "logit_bias has a count but no entries");
	for (size_t i = 0; i < options->n_biases; i++) {
		const struct dn_logit_bias *bias = &options->biases[i];

		if (bias->token >= vocabulary)
			return dn_error_set(err, EINVAL,
					    "logit_bias[%zu]: token must be 0 to %u, not %u", i,
					    vocabulary - 1, bias->token);
		if (!(bias->bias <= 100.0f))
			return dn_error_set(err, EINVAL,
					    "logit_bias[%zu]: bias must be at most 100, not %g", i,
					    (double)bias->bias);
	}
	return 0;
}

int dn_sampler_check(const struct dn_sampler_options *options, uint32_t vocabulary,
		     struct dn_error *err)
{
	int r;

	if (options->struct_size != sizeof(*options))
		return dn_error_set(err, EINVAL, "sampler options of %zu bytes, %zu are known",
				    options->struct_size, sizeof(*options));
	if (vocabulary < 1 || vocabulary > DN_SELECT_MAX)
		return dn_error_set(err, EINVAL, "vocabulary must be 1 to %u tokens, not %u",
				    DN_SELECT_MAX, vocabulary);
	r = check_ranges(options, err);
	if (r == 0)
		r = check_whole(err, "penalty_last", options->penalty_last, DN_PENALTY_LAST_MAX);
	if (r == 0)
		r = check_whole(err, "dry_penalty_last", options->dry_penalty_last,
				DN_DRY_LAST_MAX);
	if (r == 0)
		r = check_whole(err, "dry_allowed_length", options->dry_allowed_length,
				DN_DRY_LAST_MAX);
	if (r == 0)
		r = check_whole(err, "mirostat", options->mirostat, 2);
	if (r == 0)
		r = check_breakers(options, err);
	return r < 0 ? r : check_biases(options, vocabulary, err);
}
