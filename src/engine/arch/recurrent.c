/* SPDX-License-Identifier: MIT */

#include "engine/arch/recurrent.h"

#include <string.h>

#include "engine/arch/products.h"
#include "kernels/math.h"

double dn_softplus(double x)
{
	/* Beyond it both are the same float. */
	return x > 20.0 ? x : dn_log(1.0 + dn_exp(x));
}

struct convolution_job {
	const struct dn_recurrent *layer;
	uint32_t at;
};

/* The convolution's inputs at token @index of a run; those before its first are in the history. */
static const float *inputs_at(const struct dn_step *s, const struct convolution_job *job,
			      const struct dn_run *run, int64_t index)
{
	const uint32_t kept = job->layer->convolution.w.columns - 1;
	const float *history = (const float *)(run->sequence->state + job->layer->history);

	if (index < 0)
		return history + (size_t)(kept + index) * job->layer->channels;
	return s->mixed + ((size_t)run->first + (size_t)index) * s->mixed_stride + job->at;
}

static void convolve_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct convolution_job *job = argument;
	const struct dn_matrix *w = &job->layer->convolution.w;
	const struct dn_run *run = &s->runs[s->rows[row].run];
	const float *inputs[DN_TAPS_MAX];
	struct dn_convolution c = {
		.w = w,
		.inputs = inputs,
		.out = s->convolved + row * s->mixed_stride,
	};

	for (uint32_t t = 0; t < w->columns; t++)
		inputs[t] =
			inputs_at(s, job, run, (int64_t)row - run->first + t - (w->columns - 1));
	s->kernels->convolve(&c, 0, DN_DIV_ROUND_UP(w->rows, DN_GROUP));
	if (job->layer->convolution.bias)
		s->kernels->add_scaled(c.out, job->layer->convolution.bias, 1.0f, w->rows);
}

/* The history behind the first @n tokens of a run; @to may be the history that it comes from. */
static void write_history(const struct dn_step *s, const struct convolution_job *job,
			  const struct dn_run *run, uint32_t n, uint8_t *state)
{
	const uint32_t kept = job->layer->convolution.w.columns - 1;
	const size_t channels = job->layer->channels;
	float *to = (float *)(state + job->layer->history);

	for (uint32_t i = 0; i < kept; i++)
		memmove(to + i * channels, inputs_at(s, job, run, (int64_t)n - kept + i),
			channels * sizeof(*to));
}

void dn_convolve(struct dn_step *s, const struct dn_recurrent *layer, uint32_t at)
{
	const struct convolution_job job = { layer, at };

	dn_for_rows(s, s->n, convolve_row, &job, layer->channels * layer->convolution.w.columns);
	for (uint32_t i = 0; i < s->n_runs; i++) {
		const struct dn_run *run = &s->runs[i];

		if (run->checkpoint)
			write_history(s, &job, run,
				      run->checkpoint->position - run->sequence->length,
				      run->checkpoint->state);
		write_history(s, &job, run, run->n, run->sequence->state);
	}
}

struct scan_job {
	struct dn_step *step;
	const struct dn_scan *scan;
};

static void scan_piece(void *data, uint32_t piece, uint32_t thread)
{
	const struct scan_job *job = data;
	struct dn_step *s = job->step;
	const struct dn_scan *scan = job->scan;
	const struct dn_recurrent *l = scan->layer;
	const struct dn_run *run = &s->runs[piece / l->heads];
	const uint32_t head = piece % l->heads;
	const uint32_t group = scan->grouped ? head / (l->heads / l->groups) : head % l->groups;
	const size_t elements = (size_t)l->keys * l->values;
	const size_t at = l->matrices + head * elements * sizeof(float);
	struct dn_recurrence r = {
		.state = (float *)(run->sequence->state + at),
		.n_keys = l->keys,
		.n_values = l->values,
		.delta = scan->delta,
	};

	(void)thread;
	for (uint32_t row = run->first; row < run->first + run->n; row++) {
		const float *mixed = s->convolved + row * s->mixed_stride;
		const float *gates = s->gates + row * s->gates_stride;

		r.k = mixed + scan->keys_at + (size_t)group * l->keys;
		r.q = mixed + scan->queries_at + (size_t)group * l->keys;
		r.v = mixed + scan->values_at + (size_t)head * l->values;
		r.out = s->attended.values + (size_t)row * s->attended.padded +
			(size_t)head * l->values;
		r.decay = gates[head];
		r.beta = gates[l->heads + head];
		s->kernels->recur(&r);
		if (run->checkpoint && s->rows[row].position + 1 == run->checkpoint->position)
			memcpy(run->checkpoint->state + at, r.state, elements * sizeof(*r.state));
	}
}

void dn_scan_run(struct dn_step *s, const struct dn_scan *scan)
{
	struct scan_job job = { s, scan };

	dn_pool_run(s->pool, scan_piece, &job, s->n_runs * scan->layer->heads);
}
