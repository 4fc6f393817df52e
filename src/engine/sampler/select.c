/* SPDX-License-Identifier: MIT */
/* Windows in lists of logits: radix selection, and a faster way for the few largest. */

#include "engine/sampler/select.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/base.h"
#include "kernels/math.h"

#define LANES 16

/* Up to here the few largest are kept in a buffer; above it, radix selection. */
#define FEW_MAX	   256
#define FEW_BUFFER 1024

void dn_window_floor(struct dn_window *window, double limit)
{
	float low;

	/* Nothing clean but minus infinity is below. */
	if (limit <= -(double)FLT_MAX)
		return;
	low = (float)limit;
	if ((double)low < limit)
		low = nextafterf(low, INFINITY);
	dn_window_raise(window, low, UINT32_MAX);
}

void dn_logits_clean(const float *from, float *to, uint32_t n)
{
	/* Comparisons with NaN are false. */
	for (uint32_t i = 0; i < n; i++) {
		float x = from[i] > -INFINITY ? from[i] : -INFINITY;

		to[i] = x < FLT_MAX ? x : FLT_MAX;
	}
}

/* The first position from @i on that has @logit; @n: none. Whole blocks without it are skipped. */
static uint32_t next_equal(const float *logits, uint32_t n, uint32_t i, float logit)
{
	while (i < n) {
		uint32_t end = DN_MIN(n, i - i % DN_SELECT_BLOCK + DN_SELECT_BLOCK);
		uint32_t any = 0;

		for (uint32_t j = i; j < end; j++)
			any |= logits[j] == logit;
		for (; i < end; i++)
			if (any && logits[i] == logit)
				return i;
	}
	return n;
}

uint32_t dn_logits_argmax(const float *logits, uint32_t n, float *ret_max)
{
	float lanes[LANES];
	float max = -INFINITY;
	uint32_t i = 0;

	for (uint32_t j = 0; j < LANES; j++)
		lanes[j] = -INFINITY;
	for (; i + LANES <= n; i += LANES)
		for (uint32_t j = 0; j < LANES; j++)
			lanes[j] = logits[i + j] > lanes[j] ? logits[i + j] : lanes[j];
	for (; i < n; i++)
		max = logits[i] > max ? logits[i] : max;
	for (uint32_t j = 0; j < LANES; j++)
		max = lanes[j] > max ? lanes[j] : max;
	*ret_max = max;
	i = next_equal(logits, n, 0, max);
	return i < n ? i : 0;
}

void dn_weights(const float *logits, uint32_t n, float max, double inverse_temperature,
		uint64_t *ret_weights)
{
	double below[DN_SELECT_BLOCK];

	/* Two loops: in one, compilers make a branch of the comparison and no vectors. */
	for (uint32_t i = 0; i < n; i++) {
		double x = ((double)logits[i] - (double)max) * inverse_temperature;

		below[i] = x > -708.0 ? x : -708.0; /* rounds to nothing all the same */
	}
	/* 2^52 + w has the integer w, rounded, in its low bits. */
	for (uint32_t i = 0; i < n; i++)
		ret_weights[i] = dn_double_bits(dn_exp_unchecked(below[i]) * 0x1p43 + 0x1p52) &
				 0xfffffffffffffu;
}

/* Unsigned keys in the order of clean floats; both zeros have one key. */
static inline uint32_t key_of(float x)
{
	uint32_t bits;

	x += 0.0f; /* -0 + 0 is +0 */
	memcpy(&bits, &x, sizeof(bits));
	return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static inline float of_key(uint32_t key)
{
	uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
	float x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

/* A radix selection under way: keys whose bits under @mask are @prefix are in question. */
struct radix {
	const float *logits;
	uint32_t n;
	struct dn_window window; /* only what is inside counts */
	bool weighted;
	bool near; /* by distance from the centre, in place of the logit */
	float max;
	double centre;
	uint32_t mask;
	uint32_t prefix;
};

static inline uint32_t radix_key(const struct radix *radix, float logit)
{
	if (radix->near)
		return key_of(-(float)fabs((double)logit - radix->centre));
	return key_of(logit);
}

static inline bool in_question(const struct radix *radix, float logit, uint32_t position)
{
	return (radix_key(radix, logit) & radix->mask) == radix->prefix &&
	       dn_inside(&radix->window, logit, position);
}

static void fill_block(const struct radix *radix, uint32_t at, uint32_t count, bool dense,
		       unsigned int shift, uint64_t *bins)
{
	const float *logits = radix->logits + at;
	uint64_t weights[DN_SELECT_BLOCK];

	if (dense)
		dn_weights(logits, count, radix->max, 1.0, weights);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t weight = 1;

		if (!in_question(radix, logits[i], at + i))
			continue;
		if (dense)
			weight = weights[i];
		else if (radix->weighted)
			dn_weights(&logits[i], 1, radix->max, 1.0, &weight);
		bins[(radix_key(radix, logits[i]) >> shift) & (DN_SELECT_BINS - 1)] += weight;
	}
}

/* Adds what is in question to the bins of its bits from @shift on. */
static void fill_bins(const struct radix *radix, unsigned int shift, uint64_t *bins)
{
	memset(bins, 0, DN_SELECT_BINS * sizeof(*bins));
	for (uint32_t at = 0; at < radix->n; at += DN_SELECT_BLOCK) {
		const float *logits = radix->logits + at;
		uint32_t count = DN_MIN(radix->n - at, DN_SELECT_BLOCK);
		uint32_t found = 0;

		for (uint32_t i = 0; i < count; i++)
			found += (logits[i] >= radix->window.low) &
				 (logits[i] <= radix->window.high) &
				 ((radix_key(radix, logits[i]) & radix->mask) == radix->prefix);
		if (found)
			fill_block(radix, at, count, radix->weighted && found > count / 4, shift,
				   bins);
	}
}

/* The position at which those inside that are equal to @logit reach @target. */
static uint32_t last_of_equal(const struct radix *radix, float logit, uint64_t target)
{
	uint64_t each = 1;
	uint64_t sum = 0;

	if (radix->weighted)
		dn_weights(&logit, 1, radix->max, 1.0, &each);
	for (uint32_t i = 0;; i++) {
		i = next_equal(radix->logits, radix->n, i, logit);
		if (i == radix->n)
			return UINT32_MAX;
		if (!dn_inside(&radix->window, logit, i))
			continue;
		sum += each;
		if (sum >= target)
			return i;
	}
}

/*
 * Finds the key at which the sum from above reaches *@target, at least 1, and leaves in *@target
 * what is above zero of it at that key; false: nowhere.
 */
static bool radix_select(struct radix *radix, uint64_t *target, uint64_t *bins)
{
	static const unsigned int shifts[] = { 21, 10, 0 };
	static const unsigned int widths[] = { 11, 11, 10 };

	for (int level = 0; level < 3; level++) {
		uint32_t bin = (1u << widths[level]) - 1;

		/* The lowest level has half as many bins: mask what belongs to the one above. */
		fill_bins(radix, shifts[level], bins);
		if (widths[level] == 10)
			for (uint32_t i = 0; i < 1024; i++)
				bins[i] += bins[i + 1024];
		for (; bins[bin] < *target; bin--) {
			*target -= bins[bin];
			if (bin == 0)
				return false;
		}
		radix->prefix |= bin << shifts[level];
		radix->mask |= ((1u << widths[level]) - 1) << shifts[level];
	}
	return true;
}

/* NOLINTBEGIN(clang-analyzer-core.*): it cannot see that the pivot ends both scans inside. */
/* Puts the @k largest of @values first (Hoare's selection with the median of three). */
static void partition(float *values, uint32_t n, uint32_t k)
{
	int32_t want = (int32_t)k - 1;
	int32_t low = 0;
	int32_t high = (int32_t)n - 1;

	while (low < high) {
		float a = values[low], b = values[low + (high - low) / 2], c = values[high];
		float pivot = DN_MAX(DN_MIN(a, b), DN_MIN(DN_MAX(a, b), c));
		int32_t i = low, j = high;

		while (i <= j) {
			while (values[i] > pivot)
				i++;
			while (values[j] < pivot)
				j--;
			if (i <= j) {
				a = values[i];
				values[i++] = values[j];
				values[j--] = a;
			}
		}
		if (want <= j)
			high = j;
		else if (want >= i)
			low = i;
		else
			return;
	}
}

static float smallest(const float *values, uint32_t n)
{
	float min = values[0];

	for (uint32_t i = 1; i < n; i++)
		min = values[i] < min ? values[i] : min;
	return min;
}

/* NOLINTEND(clang-analyzer-core.*) */

/*
 * The @k-th largest value, @k <= FEW_MAX: one pass that skips blocks without anything above the
 * k-th largest so far, which after the first thousand logits are nearly all.
 */
static float few_largest(const float *logits, uint32_t n, uint32_t k)
{
	float buffer[FEW_BUFFER + DN_SELECT_BLOCK];
	uint32_t used = 0;
	float floor = -INFINITY;
	bool full = false; /* at least k were seen, none of the k largest is below the floor */

	for (uint32_t at = 0; at < n; at += DN_SELECT_BLOCK) {
		uint32_t count = DN_MIN(n - at, DN_SELECT_BLOCK);
		uint32_t any = !full;

		for (uint32_t i = 0; i < count; i++)
			any |= logits[at + i] > floor;
		if (!any)
			continue;
		for (uint32_t i = 0; i < count; i++) {
			buffer[used] = logits[at + i];
			used += (!full || logits[at + i] > floor);
		}
		if (used >= FEW_BUFFER || (!full && used >= k)) {
			partition(buffer, used, k);
			used = k;
			floor = smallest(buffer, k);
			full = true;
		}
	}
	partition(buffer, used, k);
	return smallest(buffer, k);
}

struct dn_window dn_select_count(const float *logits, uint32_t n, uint32_t k,
				 uint64_t bins[DN_SELECT_BINS])
{
	struct radix radix = { .logits = logits, .n = n, .window = DN_WINDOW_ALL };
	struct dn_window window = DN_WINDOW_ALL;
	uint64_t left = k;

	if (k > FEW_MAX) {
		(void)radix_select(&radix, &left, bins);
		window.low = of_key(radix.prefix);
	} else {
		window.low = few_largest(logits, n, k);
		for (uint32_t i = 0; i < n; i++)
			left -= logits[i] > window.low;
	}
	window.last = last_of_equal(&radix, window.low, left);
	return window;
}

uint64_t dn_weigh_block(const float *logits, uint32_t n, uint32_t at,
			const struct dn_window *window, float max, double inverse_temperature,
			uint64_t *ret_weights)
{
	uint32_t count = DN_MIN(n - at, DN_SELECT_BLOCK);
	uint32_t within = 0, equal = 0;
	uint64_t sum = 0;

	logits += at;
	for (uint32_t i = 0; i < count; i++) {
		within += (logits[i] > window->low) & (logits[i] < window->high);
		equal += (logits[i] == window->low) | (logits[i] == window->high);
	}
	if (within + equal == 0)
		return 0;
	dn_weights(logits, count, max, inverse_temperature, ret_weights);
	if (within < count)
		for (uint32_t i = 0; i < count; i++)
			ret_weights[i] = dn_inside(window, logits[i], at + i) ? ret_weights[i] : 0;
	for (uint32_t i = 0; i < count; i++)
		sum += ret_weights[i];
	return sum;
}

uint64_t dn_select_sum(const float *logits, uint32_t n, const struct dn_window *window, float max,
		       double inverse_temperature)
{
	uint64_t weights[DN_SELECT_BLOCK];
	uint64_t sum = 0;

	for (uint32_t at = 0; at < n; at += DN_SELECT_BLOCK)
		sum += dn_weigh_block(logits, n, at, window, max, inverse_temperature, weights);
	return sum;
}

/* How many logits of a block are inside and above minus infinity. */
static uint32_t count_possible(const float *logits, uint32_t n, uint32_t at,
			       const struct dn_window *window)
{
	uint32_t within = 0, equal = 0;

	for (uint32_t i = 0; i < n; i++) {
		within += (logits[i] > window->low) & (logits[i] < window->high);
		equal += (logits[i] == window->low) | (logits[i] == window->high);
	}
	for (uint32_t i = 0; equal > 0 && i < n; i++)
		within += (logits[i] == window->low || logits[i] == window->high) &&
			  logits[i] > -INFINITY && dn_inside(window, logits[i], at + i);
	return within;
}

/* Adds weight times (logit - max) of a block to its lanes. */
static void add_below(const float *logits, uint32_t count, float max, const uint64_t *weights,
		      double lanes[LANES])
{
	double terms[DN_SELECT_BLOCK];

	for (uint32_t i = 0; i < count; i++) {
		/* 2^52 + w, less 2^52: w as a double, without a conversion that has no vectors. */
		double weight = dn_bits_double(weights[i] | dn_double_bits(0x1p52)) - 0x1p52;
		double below = (double)logits[i] - (double)max;

		terms[i] = weight * (below > -708.0 ? below : -708.0);
	}
	for (uint32_t i = count; i < DN_SELECT_BLOCK; i++)
		terms[i] = 0;
	for (uint32_t i = 0; i < DN_SELECT_BLOCK; i += LANES)
		for (uint32_t j = 0; j < LANES; j++)
			lanes[j] += terms[i + j];
}

void dn_select_moments(const float *logits, uint32_t n, const struct dn_window *window, float max,
		       struct dn_moments *ret_moments)
{
	uint64_t weights[DN_SELECT_BLOCK];
	struct dn_moments moments = { 0 };
	double lanes[LANES] = { 0 };

	for (uint32_t at = 0; at < n; at += DN_SELECT_BLOCK) {
		uint32_t count = DN_MIN(n - at, DN_SELECT_BLOCK);
		uint64_t sum = dn_weigh_block(logits, n, at, window, max, 1.0, weights);

		moments.count += count_possible(logits + at, count, at, window);
		if (sum > 0)
			add_below(logits + at, count, max, weights, lanes);
		moments.sum += sum;
	}
	for (uint32_t j = 0; j < LANES; j++)
		moments.below += lanes[j];
	if (moments.sum > 0)
		moments.below /= (double)moments.sum;
	*ret_moments = moments;
}

bool dn_select_share(const float *logits, uint32_t n, struct dn_window *window, float max,
		     uint64_t target, uint64_t bins[DN_SELECT_BINS])
{
	struct radix radix = {
		.logits = logits,
		.n = n,
		.window = *window,
		.weighted = true,
		.max = max,
	};

	if (!radix_select(&radix, &target, bins))
		return false;
	window->low = of_key(radix.prefix);
	window->last = last_of_equal(&radix, window->low, target);
	return true;
}

float dn_select_near(const float *logits, uint32_t n, struct dn_window *window, float *max,
		     double centre, uint64_t target, uint64_t bins[DN_SELECT_BINS])
{
	struct radix radix = {
		.logits = logits,
		.n = n,
		.window = *window,
		.weighted = true,
		.near = true,
		.max = *max,
		.centre = centre,
	};
	float low = INFINITY;
	float high = -INFINITY;

	if (!radix_select(&radix, &target, bins))
		return INFINITY;
	for (uint32_t i = 0; i < n; i++) {
		if (radix_key(&radix, logits[i]) < radix.prefix || !dn_inside(window, logits[i], i))
			continue;
		low = logits[i] < low ? logits[i] : low;
		high = logits[i] > high ? logits[i] : high;
	}
	dn_window_raise(window, low, UINT32_MAX);
	/* Its own high end, with the first position there, stays where nothing is cut off above. */
	if (high < *max) {
		window->high = high;
		window->first = 0;
	}
	*max = high;
	return -of_key(radix.prefix);
}
