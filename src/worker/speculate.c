/* SPDX-License-Identifier: MIT */
/*
 * The choice maximises expected tokens a second. What bounds the loss where the guess is bad is an
 * account: steps without drafts pay a hundredth of their time into it, drafts pay in what they win
 * and take out what they lose, and none is made that could take out more than there is. So over
 * time drafts cost at most that hundredth more than they win.
 */

#include "worker/speculate.h"

#include <stddef.h>

#include "base/base.h"

/* A draft must promise so much more. */
#define LEAST_GAIN 1.03
/* What a drafted token adds to a step, at least, and before anything was measured. */
#define PRIOR_GROWTH 0.05
/* What steps without drafts pay in; what there is at first and at most, in such steps. */
#define PAID_IN	     0.01
#define CREDIT_FIRST 1.0
#define CREDIT_MOST  4.0
/* So many steps with drafts, and then one without, to know what that costs now. */
#define DRAFTED_MOST 32
/* What was measured so many steps ago is measured again where it might be worth it. */
#define PLAIN_FORGET 128
/* Weights of the newest measure: what is slower may be another program's doing. */
#define FASTER	       0.25
#define SLOWER	       0.0625
#define FIRST_MEASURES 4
#define OUTLIER	       1.25
#define OUTLIER_FIRST  4.0

/* The most drafted tokens, at most @n, whose cost was measured. */
static uint32_t known_below(const struct dn_speculate_costs *costs, uint32_t n)
{
	while (n > 0 && costs->costs[n].n == 0)
		n--;
	return n;
}

/* Of a step with @n drafted tokens; where none was measured, as if each of them cost the same. */
static double expected(const struct dn_speculate_costs *costs, uint32_t n)
{
	const uint32_t known = known_below(costs, n);
	const double plain = costs->costs[0].ns;
	double each = PRIOR_GROWTH * plain;

	if (known > 0)
		each = DN_MAX(each, (costs->costs[known].ns - plain) / known);
	return costs->costs[known].ns + each * (n - known);
}

/* Whether that can be trusted: a first try costs what nobody knows, so it is of few tokens. */
static bool is_near(const struct dn_speculate_costs *costs, uint32_t n)
{
	return n <= 2 * known_below(costs, n) + 1;
}

/* Which sequence's next drafted token is the likeliest to be the right one; n_drafts: no more. */
static uint32_t likeliest(const struct dn_draft *drafts, const double *reached, uint32_t n_drafts)
{
	uint32_t best = n_drafts;

	for (uint32_t i = 0; i < n_drafts; i++)
		if (drafts[i].n < drafts[i].most && drafts[i].likely > 0 &&
		    (best == n_drafts ||
		     reached[i] * drafts[i].likely > reached[best] * drafts[best].likely))
			best = i;
	return best;
}

void dn_speculate_choose(const struct dn_speculation *s, uint32_t n_sequences,
			 struct dn_draft *drafts, uint32_t n_drafts, uint32_t most)
{
	const struct dn_speculate_costs *costs = &s->by_sequences[n_sequences - 1];
	double reached[DN_SPECULATE_SEQUENCES];
	uint32_t order[DN_SPECULATE_DRAFTS];
	double tokens = n_sequences;
	uint32_t chosen = 0;
	double plain;
	double best;

	for (uint32_t i = 0; i < n_drafts; i++) {
		drafts[i].n = 0;
		reached[i] = 1;
	}
	if (costs->costs[0].n < FIRST_MEASURES || costs->drafted >= DRAFTED_MOST)
		return;
	plain = costs->costs[0].ns;
	best = LEAST_GAIN * tokens / plain;
	for (uint32_t n = 1; n <= DN_MIN(most, (uint32_t)DN_SPECULATE_DRAFTS); n++) {
		const uint32_t i = likeliest(drafts, reached, n_drafts);
		const double cost = expected(costs, n);

		if (i == n_drafts)
			break;
		order[n - 1] = i;
		drafts[i].n++;
		reached[i] *= drafts[i].likely;
		tokens += reached[i];
		if (tokens / cost > best && cost - plain <= s->credit && is_near(costs, n)) {
			best = tokens / cost;
			chosen = n;
		}
	}
	for (uint32_t i = 0; i < n_drafts; i++)
		drafts[i].n = 0;
	for (uint32_t n = 0; n < chosen; n++)
		drafts[order[n]].n++;
}

/* @before: what was expected; @plain: a step without drafts, 0: this is one */
static void update(struct dn_speculate_cost *cost, double before, double plain, double ns)
{
	const bool early = cost->n < FIRST_MEASURES;
	double weight = ns < before ? FASTER : SLOWER;

	/* Of the first the fastest counts; an expectation without any of them counts little. */
	if (early && ns < before)
		weight = 1;
	else if (early && plain > 0)
		weight = 1.0 / (cost->n + 2);
	ns = DN_MIN(ns, early && plain > 0 ? OUTLIER_FIRST * plain : OUTLIER * before);
	cost->n = DN_MIN(cost->n + 1, (uint32_t)FIRST_MEASURES);
	cost->ns = before + (ns - before) * weight;
}

static void forget(struct dn_speculate_costs *costs)
{
	costs->plain = 0;
	for (uint32_t n = 1; n <= DN_SPECULATE_DRAFTS; n++)
		costs->costs[n].n = 0;
}

void dn_speculate_measured(struct dn_speculation *s, uint32_t n_sequences, uint32_t n_drafted,
			   uint32_t n_accepted, double ns)
{
	struct dn_speculate_costs *costs;
	struct dn_speculate_cost *cost;
	double plain;
	double before;

	if (n_sequences > DN_SPECULATE_SEQUENCES || n_drafted > DN_SPECULATE_DRAFTS)
		return;
	costs = &s->by_sequences[n_sequences - 1];
	cost = &costs->costs[n_drafted];
	if (costs->costs[0].n == 0) {
		/* All else is measured by it. */
		if (n_drafted > 0)
			return;
		cost->ns = ns;
	}
	before = expected(costs, n_drafted);
	plain = costs->costs[0].ns;
	/* What was lost is charged as it was; only what is expected is slow to believe it. */
	ns = DN_MIN(ns, OUTLIER_FIRST * before);
	update(cost, before, n_drafted > 0 ? plain : 0, ns);
	if (!s->opened)
		s->credit = CREDIT_FIRST * plain;
	s->opened = true;
	if (n_drafted > 0) {
		s->credit += plain * (1.0 + (double)n_accepted / n_sequences) - ns;
		costs->drafted++;
	} else {
		s->credit += PAID_IN * ns;
		costs->drafted = 0;
		costs->plain++;
	}
	s->credit = DN_MIN(s->credit, CREDIT_MOST * plain);
	if (costs->plain >= PLAIN_FORGET)
		forget(costs);
}
