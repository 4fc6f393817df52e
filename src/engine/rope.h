/* SPDX-License-Identifier: MIT */
/* Rotary positions: by which angle a position turns each pair of elements. */
#ifndef DUNLIN_ENGINE_ROPE_H
#define DUNLIN_ENGINE_ROPE_H

/* IWYU pragma: begin_exports */
#include <stdint.h>

#include <dunlin/error.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

enum dn_rope_index {
	DN_ROPE_GLOBAL = 0,
	DN_ROPE_WINDOW = 1, /* of layers with a window, in families where it differs */
	DN_ROPE_COUNT = 2,
	DN_ROPE_NONE = 3,
};

/**
 * struct dn_rope - how a layer's positions turn (Su and others 2021)
 * @dims: elements that turn, the first of a head; 0: unused
 * @base: pair i turns by base^(-2i / dims) a position
 * @scale: divides every position
 * @yarn: 1: pairs that turn less than @slow times over @original positions are scaled, those that
 *	turn more than @fast times are not, between them in part (Peng and others 2023); 0: all are
 * @magnitude: multiplies sines and cosines
 * @factors: divide each pair's angle; NULL: none
 * @long_factors, @short_factors: those of contexts above @original and of others
 */
struct dn_rope {
	uint32_t dims;
	double base;
	double scale;
	double yarn;
	double fast;
	double slow;
	double original;
	double magnitude;
	const float *factors;
	const float *long_factors;
	const float *short_factors;
};

/**
 * dn_rope_frequencies() - radians a position for each pair
 * @context: positions that there will be
 * @ret_frequencies: double[dims / 2]
 *
 * Return: 0, or -EINVAL where positions would turn further than sines are known for.
 */
DN_MUST_CHECK int dn_rope_frequencies(const struct dn_rope *rope, uint32_t context,
				      double *ret_frequencies, struct dn_error *err);

/* Sines and cosines of @position, float32[dims / 2] each, times the rope's magnitude. */
void dn_rope_angles(const struct dn_rope *rope, const double *frequencies, uint32_t position,
		    float *cosines, float *sines);

#endif /* DUNLIN_ENGINE_ROPE_H */
