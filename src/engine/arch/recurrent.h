/* SPDX-License-Identifier: MIT */
/* The parts of recurrent layers: a convolution over the last tokens, then a scan by heads. */
#ifndef DUNLIN_ENGINE_RECURRENT_H
#define DUNLIN_ENGINE_RECURRENT_H

/* IWYU pragma: begin_exports */
#include "engine/context.h"
/* IWYU pragma: end_exports */

/* Taps of a convolution at most. */
#define DN_TAPS_MAX 8

/**
 * dn_convolve() - step.convolved = the layer's convolution over step.mixed
 * @at: the column of @mixed where its inputs begin
 *
 * Moves the history of each run's sequence on, and keeps that of its checkpoint.
 */
void dn_convolve(struct dn_step *step, const struct dn_recurrent *layer, uint32_t at);

/**
 * struct dn_scan - a recurrence over the tokens of each run, for each head
 * @keys_at, @queries_at, @values_at: columns of step.convolved
 * @grouped: head h has the keys of group h / (heads / groups), else of h % groups
 *
 * step.gates holds the heads' decays, then their betas, of each row. Results go to
 * step.attended, head by head.
 */
struct dn_scan {
	const struct dn_recurrent *layer;
	uint32_t keys_at;
	uint32_t queries_at;
	uint32_t values_at;
	bool grouped;
	bool delta;
};

void dn_scan_run(struct dn_step *step, const struct dn_scan *scan);

/* log(1 + e^x) */
double dn_softplus(double x);

#endif /* DUNLIN_ENGINE_RECURRENT_H */
