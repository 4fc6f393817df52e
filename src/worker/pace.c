/* SPDX-License-Identifier: MIT */
/*
 * Other programs make steps slower and never faster, so that what is faster counts at once, and
 * what is slower only where it stays so.
 */

#include "worker/pace.h"

#include "base/base.h"

#define FASTER 0.5
#define SLOWER 0.1
/* One slow step is no reason to think that all are. */
#define OUTLIER 2.0
/* Rows that a pass over the weights computes at once, and the least that is worth a step. */
#define LEAST	    8U
#define ALONE_NS    100e6
#define ALONE_LEAST 32U
/* What a row more adds to a step, where it was not measured. */
#define GROWTH 0.1

static void learn(double *estimate, double ns)
{
	if (*estimate == 0) {
		*estimate = ns;
		return;
	}
	ns = DN_MIN(ns, OUTLIER * *estimate);
	*estimate += (ns < *estimate ? FASTER : SLOWER) * (ns - *estimate);
}

void dn_pace_measured(struct dn_pace *pace, uint32_t rows, uint32_t prompt_tokens, double ns)
{
	const uint32_t at = DN_MIN(rows, (uint32_t)DN_PACE_ROWS);

	if (prompt_tokens > 0) {
		const double rest = ns - (rows > 0 ? dn_pace_decode(pace, rows) : 0);

		/* A few tokens cost mostly what the step does. */
		if (rest > 0 && prompt_tokens >= LEAST)
			learn(&pace->prompt, rest / prompt_tokens);
	} else if (rows > 0) {
		learn(&pace->decode[at - 1], ns * at / rows);
	}
}

double dn_pace_decode(const struct dn_pace *pace, uint32_t rows)
{
	const uint32_t at = DN_MIN(DN_MAX(rows, 1U), (uint32_t)DN_PACE_ROWS);
	uint32_t known = at;

	while (known > 0 && pace->decode[known - 1] == 0)
		known--;
	if (known > 0)
		return pace->decode[known - 1] * (1 + GROWTH * (DN_MAX(rows, 1U) - known));
	for (known = at; known <= DN_PACE_ROWS; known++)
		if (pace->decode[known - 1] != 0)
			return pace->decode[known - 1];
	return 0;
}

uint32_t dn_pace_chunk(const struct dn_pace *pace, uint32_t rows, uint32_t most)
{
	const double budget = rows > 0 ? dn_pace_decode(pace, rows) : ALONE_NS;
	const uint32_t least = rows > 0 ? LEAST : ALONE_LEAST;
	double tokens;

	if (pace->prompt == 0 || budget == 0)
		return most;
	tokens = budget / pace->prompt;
	if (tokens >= most)
		return most;
	return DN_MIN(most, DN_MAX(least, (uint32_t)tokens / LEAST * LEAST));
}

double dn_pace_prompt(const struct dn_pace *pace, uint32_t rows, uint32_t tokens, uint32_t most)
{
	const double step = rows > 0 ? dn_pace_decode(pace, rows) : 0;
	const uint32_t chunk = DN_MAX(dn_pace_chunk(pace, rows, most), 1U);
	const uint32_t steps = DN_DIV_ROUND_UP(tokens, chunk);

	if (pace->prompt == 0)
		return 0;
	return tokens * pace->prompt + steps * step;
}
