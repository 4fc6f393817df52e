/* SPDX-License-Identifier: MIT */
/*
 * One step: a token of each sequence that generates, then chunks of waiting prompts in the order
 * that schedule.c gives them, up to the limits of tokens and of rows; all of them of the highest
 * priority that there is. Where no prompt waits, what is left of rows goes to tokens guessed ahead.
 * Texts to be embedded have steps of their own.
 */

#include <errno.h>
#include <sys/resource.h>
#include <time.h>

#include "worker/internal.h"

struct step {
	size_t n_items;
	uint32_t tokens_left;
	uint32_t rows_left;
	uint32_t prefill;
	uint32_t decode;
	uint32_t drafted;
	uint32_t rank; /* whose turn it is */
};

uint64_t dn_worker_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint64_t dn_worker_cpu(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

struct dn_faults dn_worker_faults(void)
{
	struct rusage usage = { 0 };

	(void)getrusage(RUSAGE_SELF, &usage);
	return (struct dn_faults){ (uint64_t)usage.ru_minflt, (uint64_t)usage.ru_majflt };
}

uint64_t dn_worker_thread_cpu(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

bool dn_worker_busy(const struct dn_worker *worker)
{
	for (uint32_t i = 0; i < worker->n_places; i++)
		if (dn_place_runs(&worker->places[i]) || worker->places[i].state == DN_PLACE_EMBED)
			return true;
	return false;
}

static void add_item(struct dn_worker *worker, struct step *step, struct dn_place *place,
		     uint32_t n_tokens, enum dn_logits_wanted wanted)
{
	uint32_t rows = wanted == DN_LOGITS_ALL ? n_tokens : wanted == DN_LOGITS_LAST;

	if (place->begun_ns == 0)
		place->begun_ns = dn_worker_now();
	worker->chosen[step->n_items] = place;
	worker->items[step->n_items++] = (struct dn_batch_item){
		.sequence = place->sequence,
		.tokens = place->tokens + dn_sequence_length(place->sequence),
		.n_tokens = n_tokens,
		.wanted = wanted,
	};
	step->tokens_left -= n_tokens;
	step->rows_left -= rows;
	if (place->state == DN_PLACE_DECODE)
		step->decode += n_tokens;
	else
		step->prefill += n_tokens;
}

/*
 * What decodes leave of rows and tokens: one where a prompt waits, which else would wait for the end
 * of answers where as many of them run as a step has rows.
 */
static uint32_t left_to_prompts(const struct dn_worker *worker, const struct step *step)
{
	for (uint32_t i = 0; i < worker->n_places; i++)
		if (worker->places[i].state == DN_PLACE_PREFILL &&
		    dn_schedule_has_turn(&worker->places[i], step->rank))
			return DN_MIN(worker->outputs, worker->batch) > 1;
	return 0;
}

/* From @turn on, so that all get theirs where there are more of them than a step takes. */
static void add_decodes(struct dn_worker *worker, struct step *step)
{
	const uint32_t left = left_to_prompts(worker, step);

	for (uint32_t i = 0; i < worker->n_places; i++) {
		uint32_t at = (worker->turn + i) % worker->n_places;

		if (worker->places[at].state != DN_PLACE_DECODE ||
		    !dn_schedule_has_turn(&worker->places[at], step->rank))
			continue;
		if (step->tokens_left <= left || step->rows_left <= left) {
			worker->turn = at;
			return;
		}
		add_item(worker, step, &worker->places[at], 1, DN_LOGITS_LAST);
	}
}

/* The next tokens of a prompt, and which of them give logits. */
static void add_chunk(struct dn_worker *worker, struct step *step, struct dn_place *place)
{
	uint32_t length = dn_sequence_length(place->sequence);
	uint32_t chunk = DN_MIN(place->target - length, step->tokens_left);
	uint32_t silent = place->kind == DN_PLACE_SCORE ? place->first_scored - 1 : 0;
	enum dn_logits_wanted wanted = DN_LOGITS_NONE;

	if (place->kind == DN_PLACE_GENERATE) {
		if (length + chunk == place->target && step->rows_left == 0)
			chunk--;
		else if (length + chunk == place->target)
			wanted = DN_LOGITS_LAST;
	} else if (length < silent) {
		chunk = DN_MIN(chunk, silent - length);
	} else {
		chunk = DN_MIN(chunk, step->rows_left);
		wanted = DN_LOGITS_ALL;
	}
	if (chunk > 0)
		add_item(worker, step, place, chunk, wanted);
}

/*
 * Tokens that prompts do not get of what the step has left: several may come beside answers, or
 * urgently, and then a step does not last long.
 */
static uint32_t held_back(const struct dn_worker *worker, const struct step *step)
{
	if (worker->n_places <= DN_WORKER_PLACES_PER_SEQUENCE)
		return 0;
	return step->tokens_left - dn_pace_chunk(&worker->pace, step->decode, step->tokens_left);
}

static void add_prompts(struct dn_worker *worker, struct step *step)
{
	const uint64_t now = dn_worker_now();
	const uint32_t held = held_back(worker, step);
	struct dn_place *next;

	worker->steps++;
	step->tokens_left -= held;
	while (step->tokens_left > 0 &&
	       (next = dn_schedule_next_prompt(worker, step->rank, now, worker->steps))) {
		next->last_step = worker->steps;
		dn_prefix_take(worker, next);
		if (!dn_prefix_awaits(next, worker->chosen, step->n_items))
			add_chunk(worker, step, next);
	}
	/* Drafts may have them. */
	step->tokens_left += held;
}

/* What may be guessed of a sequence's next tokens: nothing behind the last that it may have. */
static struct dn_draft draft_of(struct dn_place *place)
{
	const uint32_t left = place->max_output - place->n_output - 1;

	if (!place->lookup)
		return (struct dn_draft){ 0 };
	dn_lookup_learn(place->lookup, place->tokens, place->n_tokens, place->n_prompt);
	return (struct dn_draft){
		.likely = (double)dn_lookup_likely(place->lookup),
		.most = DN_MIN(dn_sequence_drafts(place->sequence), left),
	};
}

static void set_draft(struct step *step, struct dn_batch_item *item, struct dn_place *place,
		      uint32_t n)
{
	dn_lookup_draft(place->lookup, place->tokens, n);
	item->n_tokens = 1 + n;
	item->wanted = DN_LOGITS_ALL;
	step->tokens_left -= n;
	step->rows_left -= n;
	step->decode += n;
	step->drafted += n;
}

/* Tokens guessed ahead, as many as they are worth, where the step has nothing but decodes. */
static void add_drafts(struct dn_worker *worker, struct step *step)
{
	struct dn_draft drafts[DN_SPECULATE_SEQUENCES];
	const uint32_t n = (uint32_t)step->n_items;
	uint32_t most = DN_MIN(step->tokens_left, step->rows_left);

	if (n == 0 || n > DN_SPECULATE_SEQUENCES || step->prefill > 0)
		return;
	for (uint32_t i = 0; i < n; i++)
		drafts[i] = draft_of(worker->chosen[i]);
	dn_speculate_choose(&worker->speculation, n, drafts, n, most);
	for (uint32_t i = 0; i < n; i++) {
		if (worker->chosen[i]->always)
			drafts[i].n = drafts[i].likely > 0 ? drafts[i].most : 0;
		drafts[i].n = DN_MIN(drafts[i].n, most);
		most -= drafts[i].n;
		if (drafts[i].n > 0)
			set_draft(step, &worker->items[i], worker->chosen[i], drafts[i].n);
	}
}

static void drop_drafts(struct dn_worker *worker, struct step *step)
{
	for (size_t i = 0; i < step->n_items; i++) {
		worker->items[i].n_tokens = 1;
		worker->items[i].wanted = DN_LOGITS_LAST;
	}
	step->decode -= step->drafted;
	step->drafted = 0;
}

static void fail(struct dn_worker *worker, struct dn_place *place, int r,
		 const struct dn_error *err)
{
	uint64_t request = place->request;

	dn_place_free(place);
	dn_worker_send_error(worker, request, r, err);
}

uint32_t dn_worker_holders(const struct dn_worker *worker)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < worker->n_places; i++)
		n += dn_place_runs(&worker->places[i]) &&
		     dn_sequence_length(worker->places[i].sequence) > 0;
	return n;
}

/* Of those whose rows did not all stay here, who holds any of the cache and gives way first. */
static struct dn_place *least(struct dn_worker *worker)
{
	struct dn_place *found = NULL;

	for (uint32_t i = 0; i < worker->n_places; i++) {
		struct dn_place *place = &worker->places[i];

		if (dn_place_runs(place) && place->rows == 0 &&
		    dn_sequence_length(place->sequence) > 0 &&
		    (!found || dn_schedule_gives_way(place, found)))
			found = place;
	}
	return found;
}

static void drop_last(struct dn_worker *worker, struct step *step)
{
	const struct dn_batch_item *last = &worker->items[--step->n_items];

	if (worker->chosen[step->n_items]->state == DN_PLACE_DECODE)
		step->decode -= last->n_tokens;
	else
		step->prefill -= last->n_tokens;
}

/*
 * The cache is full: drafts go first, then what is kept, then the last of the step waits for
 * another. Where even one alone finds no room, who came last gives back what it holds and computes
 * it again later, so that who came first gets on. Who has all of the cache and needs more has
 * reached its end. Returns whether the step is worth another try.
 */
static bool make_room(struct dn_worker *worker, struct step *step, int r, struct dn_error *err)
{
	struct dn_place *place = worker->chosen[0];
	struct dn_place *victim;

	if (step->drafted > 0) {
		drop_drafts(worker, step);
		return true;
	}
	if (dn_place_evict(worker))
		return true;
	if (step->n_items > 1) {
		drop_last(worker, step);
		return true;
	}
	victim = least(worker);
	if (victim && (victim != place || dn_worker_holders(worker) > 1)) {
		(void)dn_sequence_cut(victim->sequence, 0);
		if (victim->state == DN_PLACE_DECODE) {
			victim->state = DN_PLACE_PREFILL;
			victim->target = victim->n_tokens;
		}
		return victim != place;
	}
	if (place->state == DN_PLACE_DECODE)
		dn_generate_finish(worker, place, DN_FINISH_CONTEXT);
	else
		fail(worker, place, r, err);
	return false;
}

static void score_rows(struct dn_worker *worker, struct dn_place *place, uint32_t first,
		       uint32_t n_rows, uint32_t row)
{
	for (uint32_t i = 0; i < n_rows; i++) {
		const float *logits = dn_context_logits(worker->context, row + i);

		place->negative_log_likelihood -=
			dn_logprob(logits, worker->vocabulary, place->tokens[first + i + 1]);
		place->rows++;
	}
	if (dn_sequence_length(place->sequence) < place->target)
		return;
	dn_frame_init(&worker->out, DN_FRAME_SCORED, place->request);
	worker->out.u.scored.n_scored = place->rows;
	worker->out.u.scored.negative_log_likelihood = place->negative_log_likelihood;
	dn_place_free(place);
	dn_worker_send(worker, &worker->out, -1);
}

static void send_rows(struct dn_worker *worker, struct dn_place *place, uint32_t first,
		      uint32_t n_rows, uint32_t row)
{
	size_t row_size = (size_t)worker->vocabulary * sizeof(float);

	dn_frame_init(&worker->out, DN_FRAME_LOGITS_OUT, place->request);
	worker->out.u.rows = (struct dn_frame_rows){
		.first = first,
		.count = n_rows,
		.total = place->target,
		.columns = worker->vocabulary,
	};
	/* Rows of a step follow each other. */
	if (dn_sequence_length(place->sequence) == place->target)
		dn_place_free(place);
	dn_worker_send_bytes(worker, &worker->out, dn_context_logits(worker->context, row),
			     n_rows * row_size);
}

/* Returns how many drafted tokens were the right ones. */
static uint32_t deliver(struct dn_worker *worker, const struct step *step)
{
	uint32_t accepted = 0;
	uint32_t row = 0;

	for (size_t i = 0; i < step->n_items && !worker->broken; i++) {
		const struct dn_batch_item *item = &worker->items[i];
		struct dn_place *place = worker->chosen[i];
		uint32_t first = dn_sequence_length(place->sequence) - item->n_tokens;
		uint32_t n_rows = item->wanted == DN_LOGITS_ALL ? item->n_tokens
								: item->wanted == DN_LOGITS_LAST;

		if (n_rows > 0 && place->kind == DN_PLACE_GENERATE)
			accepted += dn_generate_rows(worker, place, row, n_rows);
		else if (n_rows > 0 && place->kind == DN_PLACE_SCORE)
			score_rows(worker, place, first, n_rows, row);
		else if (n_rows > 0)
			send_rows(worker, place, first, n_rows, row);
		row += n_rows;
	}
	return accepted;
}

static void report(struct dn_worker *worker, const struct step *step, uint64_t ns, uint64_t cpu_ns)
{
	dn_frame_init(&worker->out, DN_FRAME_STEP, 0);
	worker->out.u.step = (struct dn_frame_step){
		.prefill_tokens = step->prefill,
		.decode_tokens = step->decode,
		.step_ns = ns,
		.cpu_ns = cpu_ns,
	};
	dn_worker_send(worker, &worker->out, -1);
}

void dn_worker_step(struct dn_worker *worker)
{
	struct step step = {
		.tokens_left = worker->batch,
		.rows_left = worker->outputs,
	};
	struct dn_error err = DN_ERROR_INIT;
	uint64_t begin_cpu;
	uint64_t begin;
	uint64_t ns;
	uint32_t accepted;
	int r;

	dn_schedule_expire(worker);
	step.rank = dn_schedule_rank(worker);
	dn_worker_embed_step(worker);
	add_decodes(worker, &step);
	add_prompts(worker, &step);
	add_drafts(worker, &step);
	if (step.n_items == 0)
		return;
	for (;;) {
		begin = dn_worker_now();
		begin_cpu = dn_worker_cpu();
		r = dn_context_step(worker->context, worker->items, step.n_items, &err);
		if (r >= 0)
			break;
		if (r == -ENOSPC) {
			if (!make_room(worker, &step, r, &err))
				return;
			continue;
		}
		/* Not to happen: nothing of what was asked for can be trusted to work again. */
		for (size_t i = 0; i < step.n_items; i++)
			fail(worker, worker->chosen[i], r, &err);
		return;
	}
	ns = dn_worker_now() - begin;
	if (worker->report_steps)
		report(worker, &step, ns, dn_worker_cpu() - begin_cpu);
	if (step.drafted == 0)
		dn_pace_measured(&worker->pace, step.decode, step.prefill, (double)ns);
	accepted = deliver(worker, &step);
	if (step.prefill == 0)
		dn_speculate_measured(&worker->speculation, (uint32_t)step.n_items, step.drafted,
				      accepted, (double)ns);
}
