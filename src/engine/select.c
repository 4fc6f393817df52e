/* SPDX-License-Identifier: MIT */
/* Borders in lists of logits: radix selection, and a faster way for the few largest. */

#include "engine/select.h"

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

/* Logits this far below the largest (in nats) are seldom needed for a share: try without first. */
#define SHARE_NEAR 10.0f

void dn_logits_clean(const float *from, float *to, uint32_t n)
{
	/* Comparisons with NaN are false. */
	for (uint32_t i = 0; i < n; i++) {
		float x = from[i] > -INFINITY ? from[i] : -INFINITY;

		to[i] = x < FLT_MAX ? x : FLT_MAX;
	}
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
	for (i = 0; i < n && logits[i] != max; i++)
		;
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
	struct dn_border border; /* only what is inside counts */
	bool weighted;
	float max;
	uint32_t mask;
	uint32_t prefix;
};

static inline bool in_question(const struct radix *radix, float logit, uint32_t position)
{
	return (key_of(logit) & radix->mask) == radix->prefix &&
	       dn_inside(&radix->border, logit, position);
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
		bins[(key_of(logits[i]) >> shift) & (DN_SELECT_BINS - 1)] += weight;
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
			found += (logits[i] >= radix->border.logit) &
				 ((key_of(logits[i]) & radix->mask) == radix->prefix);
		if (found)
			fill_block(radix, at, count, radix->weighted && found > count / 4, shift,
				   bins);
	}
}

/* The position at which those equal to the found logit reach @target. */
static uint32_t last_of_equal(const struct radix *radix, float logit, uint64_t target)
{
	uint64_t each = 1;
	uint64_t sum = 0;

	if (radix->weighted)
		dn_weights(&logit, 1, radix->max, 1.0, &each);
	for (uint32_t i = 0; i < radix->n; i++) {
		if (radix->logits[i] != logit)
			continue;
		sum += each;
		if (sum >= target)
			return i;
	}
	return UINT32_MAX;
}

/* Finds the border at which the sum from above reaches @target, at least 1; false: nowhere. */
static bool radix_select(struct radix *radix, uint64_t target, uint64_t *bins,
			 struct dn_border *ret_border)
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
		for (; bins[bin] < target; bin--) {
			target -= bins[bin];
			if (bin == 0)
				return false;
		}
		radix->prefix |= bin << shifts[level];
		radix->mask |= ((1u << widths[level]) - 1) << shifts[level];
	}
	ret_border->logit = of_key(radix->prefix);
	ret_border->last = last_of_equal(radix, ret_border->logit, target);
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

struct dn_border dn_select_count(const float *logits, uint32_t n, uint32_t k,
				 uint64_t bins[DN_SELECT_BINS])
{
	struct radix radix = {
		.logits = logits,
		.n = n,
		.border = { -INFINITY, UINT32_MAX },
	};
	struct dn_border border = radix.border;
	uint32_t above = 0;

	if (k > FEW_MAX) {
		(void)radix_select(&radix, k, bins, &border);
		return border;
	}
	border.logit = few_largest(logits, n, k);
	for (uint32_t i = 0; i < n; i++)
		above += logits[i] > border.logit;
	border.last = last_of_equal(&radix, border.logit, k - above);
	return border;
}

uint64_t dn_weigh_block(const float *logits, uint32_t n, uint32_t at,
			const struct dn_border *border, float max, double inverse_temperature,
			uint64_t *ret_weights)
{
	uint32_t count = DN_MIN(n - at, DN_SELECT_BLOCK);
	uint32_t above = 0, equal = 0;
	uint64_t sum = 0;

	logits += at;
	for (uint32_t i = 0; i < count; i++) {
		above += logits[i] > border->logit;
		equal += logits[i] == border->logit;
	}
	if (above + equal == 0)
		return 0;
	dn_weights(logits, count, max, inverse_temperature, ret_weights);
	if (above < count)
		for (uint32_t i = 0; i < count; i++)
			ret_weights[i] = dn_inside(border, logits[i], at + i) ? ret_weights[i] : 0;
	for (uint32_t i = 0; i < count; i++)
		sum += ret_weights[i];
	return sum;
}

static uint64_t sum_inside(const float *logits, uint32_t n, const struct dn_border *border,
			   float max)
{
	uint64_t weights[DN_SELECT_BLOCK];
	uint64_t sum = 0;

	for (uint32_t at = 0; at < n; at += DN_SELECT_BLOCK)
		sum += dn_weigh_block(logits, n, at, border, max, 1.0, weights);
	return sum;
}

struct dn_border dn_select_share(const float *logits, uint32_t n, struct dn_border border,
				 float max, double share, uint64_t bins[DN_SELECT_BINS])
{
	struct radix radix = { .logits = logits, .n = n, .weighted = true, .max = max };
	uint64_t sum = sum_inside(logits, n, &border, max);
	uint64_t target = (uint64_t)(share * (double)sum);
	struct dn_border near = { max - SHARE_NEAR, UINT32_MAX };
	struct dn_border found = border;

	target = DN_MIN(DN_MAX(target, 1), sum);
	if (near.logit > border.logit) {
		radix.border = near;
		if (radix_select(&radix, target, bins, &found))
			return found;
		radix.mask = 0;
		radix.prefix = 0;
	}
	radix.border = border;
	(void)radix_select(&radix, target, bins, &found);
	return found;
}
