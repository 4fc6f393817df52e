/* SPDX-License-Identifier: MIT */
/*
 * The filters, in the order that users of llama.cpp know. Each narrows the window that the ones
 * before it left, and what it calls a probability is a part of the weights inside.
 */

#include <math.h>

#include "engine/sampler/internal.h"
#include "kernels/math.h"

#define LANES 16

/* Logits this far below the largest (in nats) are seldom needed for a share: try without first. */
#define SHARE_NEAR 10.0

/*
 * Copies what is inside the window, by position, to where the next filters find it. False, and
 * @view is as it was, where that is more than there is room for.
 */
static bool gather(struct dn_sampler *sampler, struct dn_view *view)
{
	const struct dn_window *window = &view->window;
	uint32_t used = 0;

	for (uint32_t at = 0; at < view->n; at += DN_SELECT_BLOCK) {
		uint32_t end = DN_MIN(view->n, at + DN_SELECT_BLOCK);
		uint32_t any = 0;

		for (uint32_t i = at; i < end; i++)
			any |= (view->logits[i] >= window->low) & (view->logits[i] <= window->high);
		for (uint32_t i = at; any && i < end; i++) {
			if (!dn_inside(window, view->logits[i], i))
				continue;
			if (used == DN_GATHER_MAX)
				return false;
			sampler->gathered[used] = view->logits[i];
			sampler->gathered_ids[used++] = i;
		}
	}
	view->logits = sampler->gathered;
	view->ids = sampler->gathered_ids;
	view->n = used;
	view->window = DN_WINDOW_ALL;
	return true;
}

/* The least weight that is @share of @sum; at least 1, so that something is kept. */
static uint64_t share_of(float share, uint64_t sum)
{
	uint64_t target = (uint64_t)((double)share * (double)sum);

	return DN_MIN(DN_MAX(target, 1), sum);
}

/* Standard deviation of those above minus infinity; in 16 lanes, and then in their order. */
static double deviation(const float *logits, uint32_t n, float max)
{
	double counts[LANES] = { 0 }, sums[LANES] = { 0 }, squares[LANES] = { 0 };
	double count = 0, sum = 0, square = 0, mean;

	for (uint32_t i = 0; i < n; i++) {
		sums[i % LANES] += logits[i] > -INFINITY ? (double)logits[i] - (double)max : 0.0;
		counts[i % LANES] += logits[i] > -INFINITY ? 1.0 : 0.0;
	}
	for (uint32_t j = 0; j < LANES; j++) {
		count += counts[j];
		sum += sums[j];
	}
	mean = sum / count;
	for (uint32_t i = 0; i < n; i++) {
		double off = (double)logits[i] - (double)max - mean;

		squares[i % LANES] += logits[i] > -INFINITY ? off * off : 0.0;
	}
	for (uint32_t j = 0; j < LANES; j++)
		square += squares[j];
	return sqrt(square / count);
}

/* Tang and others, "Top-n-sigma: Not All Logits Are You Need" (2024). */
static void filter_sigma(struct dn_view *view, float n)
{
	double sigma = deviation(view->logits, view->n, view->max);

	dn_window_floor(&view->window, (double)view->max - (double)n * sigma);
}

static void filter_count(struct dn_sampler *sampler, struct dn_view *view, uint32_t k)
{
	struct dn_window head = dn_select_count(view->logits, view->n, k, sampler->bins);

	dn_window_raise(&view->window, head.low, head.last);
}

/*
 * Meister and others, "Locally Typical Sampling" (2022): tokens whose surprise is nearest to the
 * entropy. With p = exp(logit) / z, surprise - entropy is what lies between the logit and the
 * mean of the logits under p: the nearest are a stretch of the order around that mean.
 */
static void filter_typical(struct dn_sampler *sampler, struct dn_view *view, float share)
{
	struct dn_view near = *view;
	struct dn_moments moments;
	double centre, edge;
	uint64_t target;

	dn_select_moments(view->logits, view->n, &view->window, view->max, &moments);
	centre = (double)view->max + moments.below;
	edge = (double)view->max - SHARE_NEAR;
	target = share_of(share, moments.sum);
	dn_window_floor(&near.window, edge);
	if (!view->ids && gather(sampler, &near)) {
		double distance = (double)dn_select_near(near.logits, near.n, &near.window,
							 &near.max, centre, target, sampler->bins);

		/* All that are so near are above the edge, the distance's rounding included. */
		if (centre - distance * (1.0 + 0x1p-20) > edge) {
			*view = near;
			return;
		}
	}
	(void)dn_select_near(view->logits, view->n, &view->window, &view->max, centre, target,
			     sampler->bins);
}

static void narrow_to(struct dn_sampler *sampler, struct dn_view *view, uint64_t target)
{
	struct dn_view near = *view;

	/* A gathered list is short, and must not be gathered over before it is certain. */
	if (!view->ids) {
		dn_window_floor(&near.window, (double)view->max - SHARE_NEAR);
		(void)gather(sampler, &near);
		if (dn_select_share(near.logits, near.n, &near.window, near.max, target,
				    sampler->bins)) {
			*view = near;
			return;
		}
	}
	(void)dn_select_share(view->logits, view->n, &view->window, view->max, target,
			      sampler->bins);
}

/*
 * Top-p and min-p: both keep a head, so that which is first does not matter but for the weights
 * that top-p's share is of; those are counted before. What min-p leaves is little to look through.
 */
static void filter_heads(struct dn_sampler *sampler, struct dn_view *view)
{
	const struct dn_sampler_options *options = &sampler->options;
	uint64_t target = 0;

	if (options->top_p < 1.0f)
		target = share_of(options->top_p, dn_select_sum(view->logits, view->n,
								&view->window, view->max, 1.0));
	if (options->min_p > 0.0f)
		dn_window_floor(&view->window, (double)view->max + dn_log((double)options->min_p));
	if (target > 0)
		narrow_to(sampler, view, target);
}

/*
 * Exclude top choices (p-e-w, text-generation-webui pull request 6335, 2024): of the tokens with
 * at least the threshold's probability, all but the last in the order are left out.
 */
static void filter_xtc(struct dn_sampler *sampler, struct dn_view *view)
{
	double least = (double)sampler->options.xtc_threshold *
		       (double)dn_select_sum(view->logits, view->n, &view->window, view->max, 1.0);
	struct dn_window head = view->window;
	uint64_t weights[DN_SELECT_BLOCK];
	uint32_t count = 0, position = 0;
	float last = INFINITY;

	/* A weight is least at log(least 2^-43) below the largest; 1 more for rounding. */
	dn_window_floor(&head, (double)view->max + dn_log(DN_MAX(least, 0.5) * 0x1p-43) - 1.0);
	for (uint32_t at = 0; at < view->n; at += DN_SELECT_BLOCK) {
		uint32_t end = DN_MIN(view->n, at + DN_SELECT_BLOCK);

		if (!dn_weigh_block(view->logits, view->n, at, &head, view->max, 1.0, weights))
			continue;
		for (uint32_t i = at; i < end; i++) {
			if (weights[i - at] == 0 || (double)weights[i - at] < least)
				continue;
			count++;
			if (view->logits[i] <= last) {
				last = view->logits[i];
				position = i;
			}
		}
	}
	if (count < 2)
		return;
	view->window.high = last;
	view->window.first = position;
	view->max = last;
}

void dn_filter(struct dn_sampler *sampler, struct dn_view *view)
{
	const struct dn_sampler_options *options = &sampler->options;
	bool narrowed = false;

	if (options->top_n_sigma > 0.0f) {
		filter_sigma(view, options->top_n_sigma);
		narrowed = true;
	}
	if (options->top_k && options->top_k < view->n) {
		filter_count(sampler, view, options->top_k);
		narrowed = true;
	}
	if (narrowed)
		(void)gather(sampler, view);
	if (dn_is_typical(options))
		filter_typical(sampler, view, options->typical_p);
	filter_heads(sampler, view);
	/* A number is drawn for each token, whether or not there is a choice to leave out. */
	if (dn_is_xtc(options) && (double)(dn_next_random(sampler->random) >> 11) * 0x1p-53 <
					  (double)options->xtc_probability)
		filter_xtc(sampler, view);
}

/* From koboldcpp's dynamic temperature (kalomaze, 2023). */
double dn_temperature(const struct dn_sampler *sampler, const struct dn_view *view)
{
	const struct dn_sampler_options *options = &sampler->options;
	double middle = (double)options->temperature;
	double range = (double)options->dynatemp_range;
	double low = middle > range ? middle - range : 0.0;
	struct dn_moments moments;
	double entropy;

	if (!(range > 0.0))
		return middle;
	dn_select_moments(view->logits, view->n, &view->window, view->max, &moments);
	if (moments.count < 2)
		return middle;
	entropy = dn_log((double)moments.sum * 0x1p-43) - moments.below;
	entropy /= dn_log((double)moments.count);
	/* Rounding may lead a little below nothing and above all. */
	entropy = DN_MIN(DN_MAX(entropy, 0.0), 1.0);
	return low + (middle + range - low) * dn_pow(entropy, (double)options->dynatemp_exponent);
}
