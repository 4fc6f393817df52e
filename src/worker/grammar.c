/* SPDX-License-Identifier: MIT */
/* Grammars that requests name, kept for others that ask for the same; and answers that keep to one. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/internal.h"

static void drop(struct dn_kept_grammar *kept)
{
	dn_grammar_unref(kept->grammar);
	free(kept->text);
	*kept = (struct dn_kept_grammar){ .number = 0 };
}

static void drop_kept(struct dn_worker *worker)
{
	for (uint32_t i = 0; i < DN_WORKER_GRAMMARS; i++)
		drop(&worker->grammars[i]);
}

void dn_worker_drop_grammars(struct dn_worker *worker)
{
	drop_kept(worker);
	worker->token_index = dn_token_index_free(worker->token_index);
}

/* What is kept of the same text; else NULL, and *ret_free is where there is room for it. */
static struct dn_kept_grammar *find_text(struct dn_worker *worker, uint32_t kind,
					 const struct dn_mapped *text,
					 struct dn_kept_grammar **ret_free)
{
	struct dn_kept_grammar *oldest = &worker->grammars[0];

	for (uint32_t i = 0; i < DN_WORKER_GRAMMARS; i++) {
		struct dn_kept_grammar *kept = &worker->grammars[i];

		if (kept->grammar && kept->kind == kind && kept->size == text->size &&
		    memcmp(kept->text, text->data, text->size) == 0)
			return kept;
		if (kept->age < oldest->age)
			oldest = kept;
	}
	*ret_free = oldest;
	return NULL;
}

static int compile(struct dn_worker *worker, uint32_t kind, const struct dn_mapped *text,
		   struct dn_grammar **ret_grammar, struct dn_error *err)
{
	int r = 0;

	if (!worker->token_index)
		r = dn_token_index_new(worker->tokenizer, &worker->token_index, err);
	if (r >= 0)
		r = dn_grammar_new((enum dn_grammar_kind)kind, text->data, text->size,
				   worker->token_index, ret_grammar, err);
	if (r != -ENOSPC)
		return r;
	drop_kept(worker);
	return dn_grammar_new((enum dn_grammar_kind)kind, text->data, text->size,
			      worker->token_index, ret_grammar, err);
}

static int keep(struct dn_worker *worker, uint32_t kind, const struct dn_mapped *text,
		struct dn_kept_grammar *kept, struct dn_error *err)
{
	struct dn_grammar *grammar = NULL;
	int r = compile(worker, kind, text, &grammar, err);
	char *copy;

	if (r < 0)
		return r;
	copy = malloc(text->size + 1);
	if (!copy) {
		dn_grammar_unref(grammar);
		return dn_error_memory(err, "a grammar's text", text->size);
	}
	memcpy(copy, text->data, text->size);
	drop(kept);
	*kept = (struct dn_kept_grammar){
		.kind = kind,
		.text = copy,
		.size = text->size,
		.grammar = grammar,
	};
	return 0;
}

int dn_worker_grammar(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		      struct dn_error *err)
{
	const uint32_t kind = frame->u.grammar.kind;
	DN_AUTO_MAPPED struct dn_mapped text = { NULL, 0 };
	struct dn_kept_grammar *room = NULL;
	struct dn_kept_grammar *kept;
	int r;

	r = dn_worker_need_tokenizer(worker, err);
	if (r >= 0)
		r = dn_mapped_open(*fd, frame->attachment, &text, err);
	if (r < 0)
		return r;
	kept = find_text(worker, kind, &text, &room);
	if (!kept) {
		r = keep(worker, kind, &text, room, err);
		if (r < 0)
			return r;
		kept = room;
	}
	kept->number = frame->request;
	kept->age = ++worker->ages;
	dn_frame_init(&worker->out, DN_FRAME_READY, frame->request);
	dn_worker_send(worker, &worker->out, -1);
	return 0;
}

int dn_place_follow(struct dn_worker *worker, struct dn_place *place,
		    const struct dn_frame_submit *submit, struct dn_error *err)
{
	for (uint32_t i = 0; i < DN_WORKER_GRAMMARS; i++) {
		struct dn_kept_grammar *kept = &worker->grammars[i];

		if (!kept->grammar || kept->number != submit->grammar)
			continue;
		kept->age = ++worker->ages;
		memcpy(place->behind, submit->grammar_behind, sizeof(place->behind));
		/* All bytes of an answer are its grammar's, the first space too. */
		if (!place->behind[0])
			place->detokenizer.started = true;
		return dn_matcher_new(kept->grammar, &place->matcher, err);
	}
	return dn_error_set(err, ENOENT, "the grammar %llu is not kept any more",
			    (unsigned long long)submit->grammar);
}

static void fail(struct dn_worker *worker, struct dn_place *place, int r,
		 const struct dn_error *err)
{
	const uint64_t request = place->request;

	dn_place_free(place);
	dn_worker_send_error(worker, request, r, err);
}

bool dn_place_allow(struct dn_worker *worker, struct dn_place *place)
{
	struct dn_error err = DN_ERROR_INIT;
	const uint64_t *mask = NULL;
	int r;

	if (!place->matcher || place->behind[0])
		return true;
	if (dn_matcher_must_end(place->matcher)) {
		dn_generate_finish(worker, place, DN_FINISH_EOS);
		return false;
	}
	r = dn_matcher_mask(place->matcher, !place->ignore_eos, &mask, &err);
	if (r < 0) {
		fail(worker, place, r, &err);
		return false;
	}
	/* No token of the vocabulary can go on: the text is cut here. */
	if (r == 0) {
		dn_generate_finish(worker, place, DN_FINISH_LENGTH);
		return false;
	}
	dn_sampler_allow(place->sampler, mask, dn_tokenizer_size(worker->tokenizer));
	return true;
}

bool dn_place_accept(struct dn_worker *worker, struct dn_place *place, uint32_t token)
{
	struct dn_error err = DN_ERROR_INIT;
	int r;

	if (!place->matcher || place->behind[0])
		return true;
	r = dn_matcher_accept(place->matcher, token, &err);
	if (r < 0)
		fail(worker, place, r, &err);
	return r >= 0;
}

bool dn_place_read(struct dn_place *place, const char *text, size_t size)
{
	const size_t n = strlen(place->behind);
	size_t at = 0;

	if (n == 0)
		return true;
	while (at < size && memcmp(place->last_read, place->behind, n) != 0) {
		memmove(place->last_read, place->last_read + 1, n - 1);
		place->last_read[n - 1] = text[at++];
	}
	if (memcmp(place->last_read, place->behind, n) != 0)
		return true;
	place->behind[0] = '\0';
	while (at < size && strchr(" \n\r\t", text[at]))
		at++;
	return dn_matcher_accept_bytes(place->matcher, text + at, size - at, NULL) == 0;
}

bool dn_place_must_end(const struct dn_place *place)
{
	return place->matcher && !place->behind[0] && dn_matcher_must_end(place->matcher);
}
