/* SPDX-License-Identifier: MIT */
/* Recurrent layers: a convolution over a few tokens, a matrix that each token changes. */

/*
 * A stretch of values, `vectors` vectors wide, through both passes over the state: with the delta
 * rule the first finds what the state already answers to k.
 */
INLINE void recur_stretch(const struct dn_recurrence *r, uint32_t at, uint32_t left,
			  const uint32_t vectors)
{
	const vec decay = vec_set1(r->decay);
	vec d[4];
	vec out[4];

	for (uint32_t v = 0; v < vectors; v++)
		d[v] = out[v] = vec_set1(0.0f);
	for (uint32_t i = 0; r->delta && i < r->n_keys; i++) {
		const float *row = r->state + (size_t)i * r->n_values + at;

		for (uint32_t v = 0; v < vectors; v++)
			d[v] = vec_fma(vec_mul(load_some(row + v * VEC, left - v * VEC), decay),
				       vec_set1(r->k[i]), d[v]);
	}
	for (uint32_t v = 0; v < vectors; v++)
		d[v] = vec_mul(vec_sub(load_some(r->v + at + v * VEC, left - v * VEC), d[v]),
			       vec_set1(r->beta));
	for (uint32_t i = 0; i < r->n_keys; i++) {
		float *row = r->state + (size_t)i * r->n_values + at;

		for (uint32_t v = 0; v < vectors; v++) {
			vec s = vec_mul(load_some(row + v * VEC, left - v * VEC), decay);

			s = vec_fma(vec_set1(r->k[i]), d[v], s);
			out[v] = vec_fma(s, vec_set1(r->q[i]), out[v]);
			store_some(row + v * VEC, s, left - v * VEC);
		}
	}
	for (uint32_t v = 0; v < vectors; v++)
		store_some(r->out + at + v * VEC, out[v], left - v * VEC);
}

static void recur(const struct dn_recurrence *r)
{
	uint32_t at = 0;

	for (; at + 4 * VEC <= r->n_values; at += 4 * VEC)
		recur_stretch(r, at, 4 * VEC, 4);
	for (; at < r->n_values; at += VEC)
		recur_stretch(r, at, r->n_values - at, 1);
}

static void convolve(const struct dn_convolution *c, uint32_t first, uint32_t count)
{
	const uint32_t taps = c->w->columns;

	for (uint32_t group = first; group < first + count; group++) {
		const float *w = (const float *)(c->w->data + group * c->w->group_bytes);

		for (uint32_t lane = 0; lane < DN_GROUP; lane += VEC) {
			const uint32_t channel = group * DN_GROUP + lane;
			vec sum = vec_set1(0.0f);

			if (channel >= c->w->rows)
				break;
			for (uint32_t t = 0; t < taps; t++)
				sum = vec_fma(
					vec_load(w + (size_t)t * DN_GROUP + lane),
					load_some(c->inputs[t] + channel, c->w->rows - channel),
					sum);
			store_some(c->out + channel, sum, c->w->rows - channel);
		}
	}
}
