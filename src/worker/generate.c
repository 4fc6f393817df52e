/* SPDX-License-Identifier: MIT */
/* From a row of logits to the answer's next piece of text, and to its end. */

#include <stdlib.h>
#include <string.h>

#include "worker/internal.h"

#define STOP_PIECE_MAX ((size_t)4096)

/* Frames of at most DN_FRAME_TEXT_MAX bytes; only the first carries the token. */
static void send_text(struct dn_worker *worker, const char *text, size_t size)
{
	struct dn_frame_output *output = &worker->out.u.output;

	if (!text)
		text = "";
	do {
		size_t piece = DN_MIN(size, (size_t)DN_FRAME_TEXT_MAX);

		/* Not inside a code point. */
		while (piece < size && piece > 0 && ((unsigned char)text[piece] & 0xc0) == 0x80)
			piece--;
		if (piece > 0)
			memcpy(output->text, text, piece);
		output->text_size = (uint32_t)piece;
		dn_worker_send(worker, &worker->out, -1);
		memset(output, 0, sizeof(*output));
		output->token = DN_TOKEN_NONE;
		text += piece;
		size -= piece;
	} while (size > 0);
}

/* Through the stop strings. Returns true when one was met. */
static bool emit(struct dn_worker *worker, struct dn_place *place, const char *text, size_t size)
{
	bool stopped = false;

	if (!place->stop) {
		send_text(worker, text, size);
		return false;
	}
	do {
		size_t piece = DN_MIN(size, STOP_PIECE_MAX);
		const char *shown = NULL;
		size_t shown_size = 0;

		stopped = dn_stop_feed(place->stop, text, piece, &shown, &shown_size) != 0;
		send_text(worker, shown, shown_size);
		text += piece;
		size -= piece;
	} while (size > 0 && !stopped);
	return stopped;
}

static void begin_output(struct dn_worker *worker, const struct dn_place *place, uint32_t token)
{
	dn_frame_init(&worker->out, DN_FRAME_OUTPUT, place->request);
	worker->out.u.output.token = token;
}

/* What still waits: bytes that never became a character, text that might have been a stop. */
static void flush(struct dn_worker *worker, struct dn_place *place, bool stopped)
{
	const char *held = NULL;
	size_t held_size = 0;
	int n = 0;

	if (worker->tokenizer)
		n = dn_tokenizer_decode_end(worker->tokenizer, &place->detokenizer, worker->text,
					    worker->text_size);
	if (stopped)
		return;
	begin_output(worker, place, DN_TOKEN_NONE);
	if (n > 0 && emit(worker, place, worker->text, (size_t)n))
		return;
	if (!place->stop)
		return;
	dn_stop_flush(place->stop, &held, &held_size);
	if (held_size > 0)
		send_text(worker, held, held_size);
}

/* What was drafted and not confirmed is no part of the sequence. */
static void drop_draft(struct dn_place *place)
{
	if (place->doubtful > 0)
		(void)dn_sequence_cut(place->sequence,
				      dn_sequence_length(place->sequence) - place->doubtful);
	place->doubtful = 0;
}

/* FNV-1a over the ids. */
static uint64_t hash_tokens(const uint32_t *tokens, uint32_t n)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (uint32_t i = 0; i < n; i++)
		hash = (hash ^ tokens[i]) * UINT64_C(0x100000001b3);
	return n > 0 ? hash : 0;
}

void dn_generate_finish(struct dn_worker *worker, struct dn_place *place,
			enum dn_finish_reason reason)
{
	uint64_t end = place->n_output > 0 ? place->first_ns : dn_worker_now();
	uint64_t end_cpu = place->n_output > 0 ? place->first_cpu_ns : dn_worker_cpu();
	/* Room that was made may have had more of the answer computed again, and shared. */
	const uint32_t reused = DN_MIN(place->n_reused, place->n_prompt);
	struct dn_frame_done *done = &worker->out.u.done;

	flush(worker, place, reason == DN_FINISH_STOP);
	dn_frame_init(&worker->out, DN_FRAME_DONE, place->request);
	*done = (struct dn_frame_done){
		.reason = reason,
		.prompt_tokens = place->n_prompt,
		.reused_tokens = reused,
		.output_tokens = place->n_output,
		.prefill_ns = end - place->accepted_ns,
		.decode_ns = place->n_output > 0 ? place->last_ns - place->first_ns : 0,
		.prefill_cpu_ns = end_cpu - place->accepted_cpu_ns,
		.decode_cpu_ns = place->n_output > 0 ? place->last_cpu_ns - place->first_cpu_ns : 0,
		.minor_faults = (uint32_t)(place->last_faults.minor - place->first_faults.minor),
		.major_faults = (uint32_t)(place->last_faults.major - place->first_faults.major),
		.drafted_tokens = place->drafted,
		.accepted_tokens = place->accepted,
		.reused_hash = hash_tokens(place->tokens, reused),
		.queue_ns = (place->begun_ns ? place->begun_ns : end) - place->accepted_ns,
	};
	drop_draft(place);
	if (place->keep) {
		place->state = DN_PLACE_KEPT;
		place->n_tokens = DN_MIN(place->n_tokens, dn_sequence_length(place->sequence));
		place->sampler = dn_sampler_free(place->sampler);
		place->stop = dn_stop_free(place->stop);
		place->matcher = dn_matcher_free(place->matcher);
		free(place->lookup);
		place->lookup = NULL;
		place->age = ++worker->ages;
		dn_prefix_supersede(worker, place);
	} else {
		dn_place_free(place);
	}
	dn_worker_send(worker, &worker->out, -1);
}

static void fill_logprobs(struct dn_frame_output *output, const struct dn_place *place,
			  const struct dn_sample *sample)
{
	if (place->logprobs == 0)
		return;
	output->logprob = sample->logprob;
	output->n_top = DN_MIN(sample->n_top, (uint32_t)DN_FRAME_TOP_MAX);
	for (uint32_t i = 0; i < output->n_top; i++) {
		output->top[i].token = sample->top[i].token;
		output->top[i].logprob = sample->top[i].logprob;
	}
}

static void take_row(struct dn_worker *worker, struct dn_place *place, const float *logits)
{
	struct dn_sample sample;
	bool readable;
	bool stopped;
	int n = 0;

	if (!dn_place_allow(worker, place))
		return;
	dn_sampler_sample(place->sampler, logits, place->logprobs > 0 ? place->logprobs - 1 : 0,
			  place->logprobs > 0, &sample);
	dn_sampler_accept(place->sampler, sample.token);
	place->state = DN_PLACE_DECODE;
	place->last_ns = dn_worker_now();
	place->last_cpu_ns = dn_worker_cpu();
	place->last_faults = dn_worker_faults();
	if (place->n_output == 0) {
		place->first_ns = place->last_ns;
		place->first_cpu_ns = place->last_cpu_ns;
		place->first_faults = place->last_faults;
	}
	if (!place->ignore_eos && worker->tokenizer &&
	    dn_tokenizer_ends(worker->tokenizer, sample.token)) {
		dn_generate_finish(worker, place, DN_FINISH_EOS);
		return;
	}
	if (!dn_place_accept(worker, place, sample.token))
		return;
	place->n_output++;
	/* The last token of a full context has no place in the cache, and needs none. */
	if (place->n_tokens < place->capacity)
		place->tokens[place->n_tokens++] = sample.token;

	begin_output(worker, place, sample.token);
	fill_logprobs(&worker->out.u.output, place, &sample);
	if (worker->tokenizer)
		n = dn_tokenizer_decode(worker->tokenizer, &place->detokenizer, sample.token,
					place->special, worker->text, worker->text_size);
	readable = dn_place_read(place, worker->text, n > 0 ? (size_t)n : 0);
	stopped = emit(worker, place, worker->text, n > 0 ? (size_t)n : 0);
	if (stopped)
		dn_generate_finish(worker, place, DN_FINISH_STOP);
	else if (dn_place_must_end(place))
		dn_generate_finish(worker, place, DN_FINISH_EOS);
	else if (!readable || place->n_output == place->max_output)
		dn_generate_finish(worker, place, DN_FINISH_LENGTH);
	else if (dn_sequence_length(place->sequence) - place->doubtful >= worker->length)
		dn_generate_finish(worker, place, DN_FINISH_CONTEXT);
}

uint32_t dn_generate_rows(struct dn_worker *worker, struct dn_place *place, uint32_t row,
			  uint32_t n_rows)
{
	uint32_t accepted = 0;

	place->doubtful = n_rows - 1;
	place->drafted += n_rows - 1;
	for (;;) {
		/* Where the draft has its token, what is chosen goes. */
		const uint32_t draft = place->doubtful > 0 ? place->tokens[place->n_tokens] : 0;

		take_row(worker, place, dn_context_logits(worker->context, row + accepted));
		if (place->state != DN_PLACE_DECODE || place->doubtful == 0)
			return accepted;
		if (place->tokens[place->n_tokens - 1] != draft)
			break;
		/* The row behind it is that of the right text. */
		place->doubtful--;
		place->accepted++;
		accepted++;
	}
	drop_draft(place);
	return accepted;
}
