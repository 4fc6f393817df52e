/* SPDX-License-Identifier: MIT */
/*
 * Basu and others, "Mirostat: a neural text decoding algorithm that directly controls perplexity"
 * (2020). As in llama.cpp, the surprise of a token is that among the tokens it was drawn from, and
 * the limit begins at twice the target.
 */

#include <math.h>

#include "engine/sampler/internal.h"
#include "kernels/math.h"

/* How many of the largest the exponent of Zipf's law is estimated from. */
#define ESTIMATE_FROM 100

#define LN2 0x1.62e42fefa39efp-1

/* The largest logits above minus infinity, in order; returns how many. */
static uint32_t list_largest(struct dn_sampler *sampler, const struct dn_view *view,
			     float largest[ESTIMATE_FROM])
{
	uint32_t n = DN_MIN(view->n, (uint32_t)ESTIMATE_FROM);
	struct dn_window head = dn_select_count(view->logits, view->n, n, sampler->bins);
	uint32_t used = 0;

	for (uint32_t i = 0; i < view->n && used < n; i++) {
		float logit = view->logits[i];
		uint32_t place = used;

		if (!(logit > -INFINITY) || !dn_inside(&head, logit, i))
			continue;
		for (; place > 0 && largest[place - 1] < logit; place--)
			largest[place] = largest[place - 1];
		largest[place] = logit;
		used++;
	}
	return used;
}

/* The slope of log probability over log rank, by least squares over neighbours (their eq. 30). */
static double zipf_exponent(const float *largest, uint32_t n, double temperature)
{
	double products = 0, squares = 0;

	for (uint32_t i = 0; i + 1 < n; i++) {
		double t = dn_log((double)(i + 2) / (double)(i + 1));
		double b = ((double)largest[i] - (double)largest[i + 1]) / temperature;

		products += t * b;
		squares += t * t;
	}
	return products / squares;
}

/* How many tokens have the surprise that is aimed at, if Zipf's law holds (their eq. 29). */
static uint32_t rank_limit(const struct dn_sampler *sampler, double s)
{
	double epsilon = s - 1.0;
	double log_n = dn_log((double)sampler->vocabulary);
	double x = epsilon * log_n;
	/* epsilon / (1 - n^-epsilon), and its limit where epsilon vanishes. */
	double ratio = x > -1e-8 && x < 1e-8 ? 1.0 / log_n : epsilon / (1.0 - dn_exp(-x));
	double k = dn_exp((dn_log(ratio) + sampler->surprise_limit * LN2) / s);

	/* NaN is below: a flat distribution, s = 0, with just the surprise aimed at. */
	if (!(k >= 1.0))
		return 1;
	return k < (double)sampler->vocabulary ? (uint32_t)k : sampler->vocabulary;
}

static void narrow_by_rank(struct dn_sampler *sampler, struct dn_view *view, double temperature)
{
	float largest[ESTIMATE_FROM];
	uint32_t n = list_largest(sampler, view, largest);
	uint32_t k = n < 2 ? 1 : rank_limit(sampler, zipf_exponent(largest, n, temperature));

	view->window = dn_select_count(view->logits, view->n, k, sampler->bins);
}

/* Mirostat 2.0: what is more surprising than the limit is left out. */
static void narrow_by_surprise(struct dn_sampler *sampler, struct dn_view *view, double temperature)
{
	uint64_t sum =
		dn_select_sum(view->logits, view->n, &view->window, view->max, 1.0 / temperature);
	double below = dn_log((double)sum * 0x1p-43) - sampler->surprise_limit * LN2;

	if (below > 0.0)
		view->window = dn_select_count(view->logits, view->n, 1, sampler->bins);
	else
		dn_window_floor(&view->window, (double)view->max + temperature * below);
}

uint32_t dn_mirostat(struct dn_sampler *sampler, struct dn_view *view)
{
	const struct dn_sampler_options *options = &sampler->options;
	double temperature = (double)options->temperature;
	struct dn_drawn drawn;
	double surprise;

	if (options->mirostat == 1)
		narrow_by_rank(sampler, view, temperature);
	else
		narrow_by_surprise(sampler, view, temperature);
	drawn = dn_draw(sampler, view, temperature);
	surprise = (dn_log((double)drawn.sum) - dn_log((double)drawn.weight)) / LN2;
	sampler->surprise_limit -=
		(double)options->mirostat_eta * (surprise - (double)options->mirostat_tau);
	return drawn.token;
}
