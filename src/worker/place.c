/* SPDX-License-Identifier: MIT */
/* Places: sequences, the requests that run in them, and those that are kept to continue from. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/internal.h"

struct dn_place *dn_place_find(struct dn_worker *worker, uint64_t request, bool kept)
{
	for (uint32_t i = 0; i < worker->n_places; i++) {
		struct dn_place *place = &worker->places[i];

		if (place->state != DN_PLACE_FREE && place->request == request &&
		    (place->state == DN_PLACE_KEPT) == kept)
			return place;
	}
	return NULL;
}

void dn_place_free(struct dn_place *place)
{
	dn_sequence_free(place->sequence);
	dn_sampler_free(place->sampler);
	dn_stop_free(place->stop);
	dn_matcher_free(place->matcher);
	free(place->tokens);
	dn_embed_request_free(place->embed);
	free(place->lookup);
	*place = (struct dn_place){ .state = DN_PLACE_FREE };
}

bool dn_place_runs(const struct dn_place *place)
{
	return place->state == DN_PLACE_PREFILL || place->state == DN_PLACE_DECODE;
}

bool dn_place_evict(struct dn_worker *worker)
{
	struct dn_place *oldest = NULL;

	for (uint32_t i = 0; i < worker->n_places; i++) {
		struct dn_place *place = &worker->places[i];

		if (place->state == DN_PLACE_KEPT && (!oldest || place->age < oldest->age))
			oldest = place;
	}
	if (oldest)
		dn_place_free(oldest);
	return oldest != NULL;
}

static struct dn_place *find_free(struct dn_worker *worker)
{
	for (uint32_t i = 0; i < worker->n_places; i++)
		if (worker->places[i].state == DN_PLACE_FREE)
			return &worker->places[i];
	return NULL;
}

int dn_place_new(struct dn_worker *worker, uint32_t capacity, struct dn_place **ret_place,
		 struct dn_error *err)
{
	struct dn_place *place = find_free(worker);
	int r;

	if (!place && dn_place_evict(worker))
		place = find_free(worker);
	if (!place)
		return dn_error_set(err, EAGAIN, "all %u places are taken by other requests",
				    worker->n_places);
	place->tokens = malloc((size_t)capacity * sizeof(uint32_t));
	if (!place->tokens)
		return dn_error_memory(err, "tokens", (size_t)capacity * sizeof(uint32_t));
	/* Not a page of them is made while an answer grows. */
	if (worker->realtime)
		memset(place->tokens, 0, (size_t)capacity * sizeof(uint32_t));
	r = dn_sequence_new(worker->context, &place->sequence, err);
	if (r < 0) {
		place->sequence = NULL;
		dn_place_free(place);
		return r;
	}
	place->capacity = capacity;
	place->age = ++worker->ages;
	*ret_place = place;
	return 0;
}
