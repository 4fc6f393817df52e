/* SPDX-License-Identifier: MIT */
/* Requests that compute: submit, score, logits; and their cancelling. */

#include <errno.h>
#include <string.h>

#include "base/pages.h"
#include "worker/internal.h"

static int need_logits(const struct dn_worker *worker, struct dn_error *err)
{
	if (!worker->context)
		return dn_error_set(err, EINVAL, "no weights are loaded");
	if (!worker->generates)
		return dn_error_set(err, ENOTSUP,
				    "this model embeds texts and generates none: use 'dunlin "
				    "embed', or 'dunlin rerank' for a reranker");
	return 0;
}

int dn_worker_check_ids(const struct dn_worker *worker, const uint32_t *ids, size_t n,
			struct dn_error *err)
{
	for (size_t i = 0; i < n; i++)
		if (ids[i] >= worker->vocabulary)
			return dn_error_set(err, EINVAL,
					    "token %zu has the id %u; the model's end at %u", i,
					    ids[i], worker->vocabulary - 1);
	return 0;
}

static int too_long(const struct dn_worker *worker, size_t n, struct dn_error *err)
{
	return dn_error_set(err, E2BIG,
			    "the prompt has %zu tokens, the context room for %u: shorten it, or "
			    "ask for a larger context",
			    n, worker->length);
}

/* Ids as they are, for TOKENS prompts, SCORE and LOGITS. */
static int take_ids(struct dn_worker *worker, struct dn_place *place,
		    const struct dn_mapped *mapped, struct dn_error *err)
{
	size_t n = mapped->size / sizeof(uint32_t);

	if (n > place->capacity)
		return too_long(worker, n, err);
	memcpy(place->tokens, mapped->data, n * sizeof(uint32_t));
	place->n_tokens = (uint32_t)n;
	return dn_worker_check_ids(worker, place->tokens, n, err);
}

static int take_prompt(struct dn_worker *worker, struct dn_place *place,
		       const struct dn_frame_submit *submit, const struct dn_mapped *mapped,
		       struct dn_error *err)
{
	bool open = true;
	size_t n = 0;
	int r;

	if (submit->prompt_kind == DN_PROMPT_TOKENS) {
		r = take_ids(worker, place, mapped, err);
		n = place->n_tokens;
	} else if (submit->prompt_kind == DN_PROMPT_TEXT) {
		r = dn_worker_encode_text(worker, mapped->data, mapped->size, submit->parse_special,
					  place->tokens, place->capacity, &n, err);
	} else {
		r = dn_worker_encode_messages(worker, mapped->data, mapped->size, place->tokens,
					      place->capacity, &n, &open, err);
	}
	if (r < 0)
		return r;
	if (n > place->capacity)
		return too_long(worker, n, err);
	if (n == 0)
		return dn_error_set(err, EINVAL, "the prompt is empty");
	place->n_tokens = (uint32_t)n;
	/* An answer that goes on from a text keeps the space that it may begin with. */
	place->detokenizer.started = open;
	return 0;
}

/* What is off may be zero altogether, and keeps its defaults. */
static void set_dry(const struct dn_worker *worker, const struct dn_frame_submit *submit,
		    const char *breakers[DN_FRAME_BREAKER_MAX], struct dn_sampler_options *options)
{
	if (!(submit->dry_multiplier > 0))
		return;
	options->dry_multiplier = submit->dry_multiplier;
	options->dry_base = submit->dry_base;
	options->dry_allowed_length = submit->dry_allowed_length;
	options->dry_penalty_last = submit->dry_penalty_last;
	options->tokenizer = worker->tokenizer;
	options->dry_breakers = breakers;
	options->n_dry_breakers = submit->n_breaker;
	for (uint32_t i = 0; i < submit->n_breaker; i++)
		breakers[i] = submit->breaker[i];
}

static int make_sampler(struct dn_worker *worker, struct dn_place *place,
			const struct dn_frame_submit *submit, struct dn_error *err)
{
	struct dn_logit_bias biases[DN_FRAME_BIAS_MAX];
	const char *breakers[DN_FRAME_BREAKER_MAX];
	struct dn_sampler_options options;
	int r;

	dn_sampler_options_init(&options);
	options.seed = submit->seed;
	options.temperature = submit->temperature;
	options.top_k = submit->top_k;
	options.top_p = submit->top_p;
	options.min_p = submit->min_p;
	options.repeat_penalty = submit->repeat_penalty;
	options.frequency_penalty = submit->frequency_penalty;
	options.presence_penalty = submit->presence_penalty;
	options.penalty_last = submit->penalty_last;
	options.dynatemp_range = submit->dynatemp_range;
	options.dynatemp_exponent = submit->dynatemp_exponent;
	options.top_n_sigma = submit->top_n_sigma;
	options.typical_p = submit->typical_p;
	options.xtc_probability = submit->xtc_probability;
	options.xtc_threshold = submit->xtc_threshold;
	options.mirostat = submit->mirostat;
	options.mirostat_tau = submit->mirostat_tau;
	options.mirostat_eta = submit->mirostat_eta;
	set_dry(worker, submit, breakers, &options);
	options.biases = biases;
	options.n_biases = submit->n_bias;
	for (uint32_t i = 0; i < submit->n_bias; i++) {
		if (submit->bias[i].token >= worker->vocabulary)
			return dn_error_set(err, EINVAL,
					    "a bias is for token %u; the model's ids end at %u",
					    submit->bias[i].token, worker->vocabulary - 1);
		biases[i].token = submit->bias[i].token;
		biases[i].bias = submit->bias[i].bias;
	}
	r = dn_sampler_new(&options, worker->vocabulary, &place->sampler, err);
	if (r >= 0 && worker->realtime)
		dn_pages_write(place->sampler, dn_sampler_memory(&options, worker->vocabulary));
	return r;
}

static int make_stop(struct dn_place *place, const struct dn_frame_submit *submit,
		     struct dn_error *err)
{
	const char *strings[DN_FRAME_STOP_MAX];
	const char *next = submit->stop;

	if (submit->n_stop == 0)
		return 0;
	for (uint32_t i = 0; i < submit->n_stop; i++) {
		strings[i] = next;
		next += strlen(next) + 1;
	}
	return dn_stop_new(strings, submit->n_stop, &place->stop, err);
}

/* Not where one cannot take a draft back, or where a step has no row for it. */
static int make_lookup(struct dn_worker *worker, struct dn_place *place,
		       const struct dn_frame_submit *submit, struct dn_error *err)
{
	if (submit->speculation == DN_SPECULATION_OFF || worker->outputs < 2 || worker->batch < 2 ||
	    dn_sequence_drafts(place->sequence) == 0)
		return 0;
	place->always = submit->speculation == DN_SPECULATION_ALWAYS;
	place->lookup = dn_lookup_new(place->capacity);
	if (!place->lookup)
		return dn_error_memory(err, "an index of tokens", place->capacity);
	if (worker->realtime)
		dn_pages_write(place->lookup, dn_lookup_bytes(place->lookup));
	return 0;
}

/* Begins with what an earlier sequence has in the cache; at least one token is left to compute. */
static int reuse(struct dn_worker *worker, struct dn_place *place, uint64_t continues, bool branch,
		 struct dn_error *err)
{
	struct dn_place *from = continues ? dn_place_find(worker, continues, true) : NULL;
	struct dn_sequence *sequence;
	uint32_t common = 0;
	uint32_t most;
	int r;

	/* What was evicted meanwhile is computed again: slower, not wrong. */
	if (!from || from->space != place->space)
		return 0;
	most = DN_MIN(place->n_tokens - 1, from->n_tokens);
	while (common < most && place->tokens[common] == from->tokens[common])
		common++;
	if (branch) {
		r = dn_sequence_share(place->sequence, from->sequence, common, err);
		if (r == -ENOSPC)
			return 0;
		if (r < 0)
			return r;
	} else {
		sequence = place->sequence;
		place->sequence = from->sequence;
		from->sequence = sequence;
		dn_place_free(from);
		(void)dn_sequence_cut(place->sequence, common);
	}
	place->n_reused = dn_sequence_length(place->sequence);
	return 0;
}

static int prepare(struct dn_worker *worker, struct dn_place *place, const struct dn_frame *frame,
		   const struct dn_mapped *mapped, struct dn_error *err)
{
	const struct dn_frame_submit *submit = &frame->u.submit;
	int r;

	r = take_prompt(worker, place, submit, mapped, err);
	if (r < 0)
		return r;
	r = make_sampler(worker, place, submit, err);
	if (r < 0)
		return r;
	r = make_stop(place, submit, err);
	if (r < 0)
		return r;
	r = make_lookup(worker, place, submit, err);
	if (r >= 0 && submit->grammar)
		r = dn_place_follow(worker, place, submit, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < place->n_tokens; i++)
		dn_sampler_accept(place->sampler, place->tokens[i]);
	place->kind = DN_PLACE_GENERATE;
	place->n_prompt = place->n_tokens;
	place->target = place->n_tokens;
	place->max_output = submit->max_tokens ? submit->max_tokens : UINT32_MAX;
	place->ignore_eos = submit->ignore_eos;
	place->keep = submit->keep;
	place->special = submit->show_special;
	place->logprobs = submit->logprobs;
	place->priority = submit->priority;
	place->client = submit->client;
	place->space = submit->space;
	place->first_deadline_ns = submit->first_deadline_ns;
	place->end_deadline_ns = submit->end_deadline_ns;
	return reuse(worker, place, submit->continues, submit->branch, err);
}

static void send_accepted(struct dn_worker *worker, const struct dn_place *place,
			  const struct dn_prediction *prediction, uint32_t max_tokens)
{
	dn_frame_init(&worker->out, DN_FRAME_ACCEPTED, place->request);
	worker->out.u.accepted = (struct dn_frame_accepted){
		.prompt_tokens = place->n_prompt,
		.reused_tokens = DN_MAX(place->n_reused, dn_prefix_known(worker, place)),
		.max_tokens = max_tokens,
		.first_ns = prediction->first_ns,
		.end_ns = prediction->end_ns,
	};
	dn_worker_send(worker, &worker->out, -1);
}

/* As dn_worker_send_error(), with how long it would have taken. */
static void send_too_late(struct dn_worker *worker, uint64_t request, uint64_t predicted_ns,
			  const struct dn_error *err)
{
	dn_frame_init(&worker->out, DN_FRAME_ERROR, request);
	worker->out.u.error.code = ETIME;
	worker->out.u.error.predicted_ns = predicted_ns;
	dn_frame_set_text(worker->out.u.error.message, sizeof(worker->out.u.error.message),
			  err->message, strlen(err->message));
	dn_worker_send(worker, &worker->out, -1);
}

/* Takes a place up into the steps to come, unless it would be too late. */
static void admit(struct dn_worker *worker, struct dn_place *place)
{
	const uint32_t max_tokens = DN_MIN(place->max_output, worker->length - place->n_prompt + 1);
	struct dn_prediction prediction;
	struct dn_error err = DN_ERROR_INIT;
	uint64_t predicted_ns = 0;

	place->state = DN_PLACE_PREFILL;
	prediction = dn_schedule_predict(worker, place, max_tokens);
	if (dn_schedule_admit(place, &prediction, &predicted_ns, &err) < 0) {
		const uint64_t request = place->request;

		dn_place_free(place);
		send_too_late(worker, request, predicted_ns, &err);
		return;
	}
	send_accepted(worker, place, &prediction, max_tokens);
}

int dn_worker_submit(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		     struct dn_error *err)
{
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };
	uint64_t begin = dn_worker_now();
	uint64_t begin_cpu = dn_worker_cpu();
	struct dn_place *place;
	struct dn_place *from;
	int r;

	r = need_logits(worker, err);
	if (r < 0)
		return r;
	r = dn_mapped_open(*fd, frame->attachment, &mapped, err);
	if (r < 0)
		return r;
	/* The sequence to continue from is the last one to evict for this. */
	from = dn_place_find(worker, frame->u.submit.continues, true);
	if (from)
		from->age = ++worker->ages;
	r = dn_place_new(worker, worker->length, &place, err);
	if (r < 0)
		return r;
	r = prepare(worker, place, frame, &mapped, err);
	if (r < 0) {
		dn_place_free(place);
		return r;
	}
	place->request = frame->request;
	place->accepted_ns = begin;
	place->accepted_cpu_ns = begin_cpu;
	admit(worker, place);
	return 0;
}

static int start_rows(struct dn_worker *worker, const struct dn_frame *frame, int fd,
		      enum dn_place_kind kind, uint32_t first_scored, struct dn_error *err)
{
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };
	struct dn_place *place;
	int r;

	r = need_logits(worker, err);
	if (r < 0)
		return r;
	r = dn_mapped_open(fd, frame->attachment, &mapped, err);
	if (r < 0)
		return r;
	r = dn_place_new(worker, worker->length, &place, err);
	if (r < 0)
		return r;
	r = take_ids(worker, place, &mapped, err);
	if (r >= 0 && kind == DN_PLACE_SCORE && first_scored >= place->n_tokens)
		r = dn_error_set(err, EINVAL, "token %u is to be scored first, of %u", first_scored,
				 place->n_tokens);
	if (r < 0) {
		dn_place_free(place);
		return r;
	}
	place->kind = kind;
	place->request = frame->request;
	place->first_scored = first_scored;
	place->n_prompt = place->n_tokens;
	place->target = kind == DN_PLACE_SCORE ? place->n_tokens - 1 : place->n_tokens;
	place->state = DN_PLACE_PREFILL;
	return 0;
}

int dn_worker_score(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		    struct dn_error *err)
{
	return start_rows(worker, frame, *fd, DN_PLACE_SCORE, frame->u.score.first, err);
}

int dn_worker_logits(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		     struct dn_error *err)
{
	return start_rows(worker, frame, *fd, DN_PLACE_LOGITS, 0, err);
}

int dn_worker_cancel(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		     struct dn_error *err)
{
	struct dn_place *place = dn_place_find(worker, frame->request, false);

	(void)fd;
	(void)err;
	/* It may have ended while the frame was on its way. */
	if (!place)
		return 0;
	if (place->kind == DN_PLACE_GENERATE) {
		dn_generate_finish(worker, place, DN_FINISH_CANCELLED);
	} else {
		dn_place_free(place);
		return dn_error_set(err, ECANCELED, "cancelled");
	}
	return 0;
}

int dn_worker_reset(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		    struct dn_error *err)
{
	(void)fd;
	(void)err;
	for (uint32_t i = 0; i < worker->n_places; i++)
		if (worker->places[i].state != DN_PLACE_KEPT)
			dn_place_free(&worker->places[i]);
	dn_frame_init(&worker->out, DN_FRAME_READY, frame->request);
	dn_worker_send(worker, &worker->out, -1);
	return 0;
}
