/* SPDX-License-Identifier: MIT */
/* Whose turn it is, when a request would be done, and what has run out of time. */

#include <errno.h>

#include "worker/internal.h"

/* Who is that near to the last moment in which a prompt can begin is not to wait for others. */
#define NEARNESS 1.5

static uint32_t left_of_prompt(const struct dn_place *place)
{
	return place->state == DN_PLACE_PREFILL
		       ? place->target - dn_sequence_length(place->sequence)
		       : 0;
}

uint32_t dn_schedule_rank(const struct dn_worker *worker)
{
	uint32_t highest = UINT32_MAX;

	for (uint32_t i = 0; i < worker->n_places; i++)
		if (dn_place_runs(&worker->places[i]))
			highest = DN_MIN(highest, dn_priority_rank(worker->places[i].priority));
	return highest;
}

bool dn_schedule_has_turn(const struct dn_place *place, uint32_t rank)
{
	return dn_place_runs(place) && dn_priority_rank(place->priority) == rank;
}

bool dn_schedule_gives_way(const struct dn_place *a, const struct dn_place *b)
{
	if (dn_priority_rank(a->priority) != dn_priority_rank(b->priority))
		return dn_priority_rank(a->priority) > dn_priority_rank(b->priority);
	return a->age > b->age;
}

/* Sequences that decode in the steps that @place is in. */
static uint32_t rows_beside(const struct dn_worker *worker, const struct dn_place *place)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < worker->n_places; i++)
		n += &worker->places[i] != place && worker->places[i].state == DN_PLACE_DECODE &&
		     dn_priority_rank(worker->places[i].priority) ==
			     dn_priority_rank(place->priority);
	return n;
}

/* Requests of its client that have begun. */
static uint32_t served(const struct dn_worker *worker, const struct dn_place *place)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < worker->n_places; i++) {
		const struct dn_place *other = &worker->places[i];

		n += other != place && dn_place_runs(other) && other->client == place->client &&
		     dn_sequence_length(other->sequence) > other->n_reused;
	}
	return n;
}

/* Whether its first deadline is missed unless it begins now. */
static bool is_near(const struct dn_worker *worker, const struct dn_place *place, uint64_t now)
{
	double needed;

	if (place->first_deadline_ns == 0 || place->n_output > 0)
		return false;
	needed = NEARNESS * dn_pace_prompt(&worker->pace, rows_beside(worker, place),
					   left_of_prompt(place), worker->batch);
	return (double)place->first_deadline_ns < (double)now + needed;
}

/* Whether @a's prompt goes before @b's, both of one priority. */
static bool goes_before(const struct dn_worker *worker, const struct dn_place *a,
			const struct dn_place *b, uint64_t now)
{
	const bool near_a = is_near(worker, a, now);
	const bool near_b = is_near(worker, b, now);
	const bool begun_a = dn_sequence_length(a->sequence) > a->n_reused;
	const bool begun_b = dn_sequence_length(b->sequence) > b->n_reused;
	uint32_t served_a;
	uint32_t served_b;

	if (near_a != near_b)
		return near_a;
	if (near_a && a->first_deadline_ns != b->first_deadline_ns)
		return a->first_deadline_ns < b->first_deadline_ns;
	/* What has begun is brought to its end: two halves help nobody. */
	if (begun_a != begun_b)
		return begun_a;
	served_a = served(worker, a);
	served_b = served(worker, b);
	if (served_a != served_b)
		return served_a < served_b;
	return a->age < b->age;
}

struct dn_place *dn_schedule_next_prompt(const struct dn_worker *worker, uint32_t rank,
					 uint64_t now, uint64_t step)
{
	struct dn_place *next = NULL;

	for (uint32_t i = 0; i < worker->n_places; i++) {
		struct dn_place *place = &worker->places[i];

		if (place->state == DN_PLACE_PREFILL && place->last_step != step &&
		    dn_schedule_has_turn(place, rank) &&
		    (!next || goes_before(worker, place, next, now)))
			next = place;
	}
	return next;
}

/* Time that requests of higher priority take, as if all of them became as long as they may. */
static double time_of_higher(const struct dn_worker *worker, const struct dn_place *place)
{
	double longest = 0;
	double prompts = 0;
	uint32_t rows = 0;

	for (uint32_t i = 0; i < worker->n_places; i++) {
		const struct dn_place *other = &worker->places[i];
		uint32_t most = worker->length - other->n_prompt;

		if (!dn_place_runs(other) ||
		    dn_priority_rank(other->priority) >= dn_priority_rank(place->priority) ||
		    other->kind != DN_PLACE_GENERATE)
			continue;
		most = DN_MIN(most, other->max_output);
		longest = DN_MAX(longest, (double)(most - DN_MIN(most, other->n_output)));
		prompts += left_of_prompt(other) * worker->pace.prompt;
		rows++;
	}
	return rows > 0 ? prompts + longest * dn_pace_decode(&worker->pace, rows) : 0;
}

struct dn_prediction dn_schedule_predict(const struct dn_worker *worker,
					 const struct dn_place *place, uint32_t max_output)
{
	struct dn_prediction prediction = { 0, 0 };
	const uint64_t now = dn_worker_now();
	const uint32_t rows = rows_beside(worker, place);
	uint32_t tokens = left_of_prompt(place);
	uint32_t waiting = 0;
	double first;

	if (worker->pace.prompt == 0 || dn_pace_decode(&worker->pace, 1) == 0)
		return prediction;
	/* What others have of it in the cache is not computed. */
	if (dn_sequence_length(place->sequence) == 0)
		tokens -= DN_MIN(tokens, dn_prefix_known(worker, place));
	for (uint32_t i = 0; i < worker->n_places; i++) {
		const struct dn_place *other = &worker->places[i];

		if (other == place || other->state != DN_PLACE_PREFILL ||
		    dn_priority_rank(other->priority) != dn_priority_rank(place->priority) ||
		    goes_before(worker, place, other, now))
			continue;
		tokens += left_of_prompt(other);
		waiting++;
	}
	first = time_of_higher(worker, place) +
		dn_pace_prompt(&worker->pace, rows, tokens, worker->batch);
	prediction.first_ns = (uint64_t)first;
	prediction.end_ns =
		(uint64_t)(first +
			   (max_output - 1) * dn_pace_decode(&worker->pace, rows + waiting + 1));
	return prediction;
}

static int too_late(struct dn_error *err, const char *what, double predicted_ns, double left_ns)
{
	return dn_error_set(err, ETIME,
			    "the deadline for %s is in %.0f ms, and as steps go it would take "
			    "%.0f ms: allow more, ask for less, or try again later",
			    what, DN_MAX(left_ns, 0.0) / 1e6, predicted_ns / 1e6);
}

int dn_schedule_admit(const struct dn_place *place, const struct dn_prediction *prediction,
		      uint64_t *ret_predicted_ns, struct dn_error *err)
{
	const double now = (double)dn_worker_now();
	const double first_left = (double)place->first_deadline_ns - now;
	const double end_left = (double)place->end_deadline_ns - now;

	if (place->first_deadline_ns &&
	    (first_left <= 0 || (double)prediction->first_ns > first_left)) {
		*ret_predicted_ns = prediction->first_ns;
		return too_late(err, "the first token", (double)prediction->first_ns, first_left);
	}
	if (place->end_deadline_ns && (end_left <= 0 || (double)prediction->end_ns > end_left)) {
		*ret_predicted_ns = prediction->end_ns;
		return too_late(err, "the end", (double)prediction->end_ns, end_left);
	}
	return 0;
}

void dn_schedule_expire(struct dn_worker *worker)
{
	const uint64_t now = dn_worker_now();

	for (uint32_t i = 0; i < worker->n_places; i++) {
		struct dn_place *place = &worker->places[i];
		struct dn_error err = DN_ERROR_INIT;
		const bool late = place->end_deadline_ns && now > place->end_deadline_ns;

		if (!dn_place_runs(place) || place->kind != DN_PLACE_GENERATE)
			continue;
		if (place->n_output > 0) {
			if (late)
				dn_generate_finish(worker, place, DN_FINISH_DEADLINE);
		} else if (late || (place->first_deadline_ns && now > place->first_deadline_ns)) {
			const uint64_t request = place->request;
			const int r =
				dn_error_set(&err, ETIME,
					     "the deadline passed before the first token: the "
					     "device has more to do than was foreseen");

			dn_place_free(place);
			dn_worker_send_error(worker, request, r, &err);
		}
	}
}
