/* SPDX-License-Identifier: MIT */

#include "server/front/models.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include <event2/event.h>
#include <event2/util.h>

#include "base/clock.h"

/* Frames that are taken from one worker before others have their turn. */
#define FRAMES_AT_ONCE 64
/* Frames for a worker that does not read: it is stuck. */
#define OUT_MAX 4096
/* Places that only urgent requests get. */
#define URGENT_PLACES 2U

struct dn_outgoing {
	struct dn_outgoing *after;
	struct dn_frame frame;
	int fd;
};

struct dn_models {
	struct event_base *base;
	uint32_t queue;
	struct dn_models_upwards upwards;
	struct event *deadline;
	struct dn_model_link *links[DN_SERVER_MODELS_MAX];
	uint32_t n;
};

static void on_deadline(evutil_socket_t fd, short what, void *data);
static void set_deadline(struct dn_models *models);

struct dn_models *dn_models_new(struct event_base *base, uint32_t queue,
				const struct dn_models_upwards *upwards)
{
	struct dn_models *models = calloc(1, sizeof(*models));

	if (!models)
		return NULL;
	models->base = base;
	models->queue = queue;
	models->upwards = *upwards;
	models->deadline = evtimer_new(base, on_deadline, models);
	if (!models->deadline) {
		free(models);
		return NULL;
	}
	return models;
}

uint32_t dn_models_count(const struct dn_models *models)
{
	return models->n;
}

struct dn_model_link *dn_models_at(struct dn_models *models, uint32_t number)
{
	return models->links[number];
}

struct dn_model_link *dn_models_find(struct dn_models *models, const char *name)
{
	for (uint32_t i = 0; i < models->n; i++)
		if (strcmp(models->links[i]->name, name) == 0)
			return models->links[i];
	return NULL;
}

int dn_models_add(struct dn_models *models, const char *name)
{
	struct dn_model_link *model;

	if (models->n == DN_SERVER_MODELS_MAX)
		return -E2BIG;
	model = calloc(1, sizeof(*model));
	if (!model)
		return -ENOMEM;
	model->models = models;
	model->number = models->n;
	model->state = DN_MODEL_LOADING;
	model->channel = (struct dn_channel)DN_CHANNEL_INIT;
	dn_control_set_text(model->name, sizeof(model->name), name);
	dn_chat_form_find("", 0, &model->form);
	models->links[models->n++] = model;
	return 0;
}

/* Sending. */

static void drop_outgoing(struct dn_model_link *model)
{
	while (model->first_out) {
		struct dn_outgoing *out = model->first_out;

		model->first_out = out->after;
		if (out->fd >= 0)
			close(out->fd);
		free(out);
	}
	model->last_out = NULL;
	model->n_out = 0;
}

static void disconnect(struct dn_model_link *model)
{
	if (model->readable)
		event_free(model->readable);
	if (model->writable)
		event_free(model->writable);
	model->readable = model->writable = NULL;
	dn_channel_done(&model->channel);
	drop_outgoing(model);
}

/* The supervisor ends such a worker, and says so. */
static void give_up(struct dn_model_link *model)
{
	if (model->readable)
		(void)event_del(model->readable);
	if (model->writable)
		(void)event_del(model->writable);
	drop_outgoing(model);
	model->models->upwards.broken(model->models->upwards.context, model->number,
				      model->worker.first_request);
}

static void on_writable(evutil_socket_t fd, short what, void *data)
{
	struct dn_model_link *model = data;
	struct dn_error err = DN_ERROR_INIT;

	(void)fd;
	(void)what;
	while (model->first_out) {
		struct dn_outgoing *out = model->first_out;
		const int r = dn_channel_try_send(&model->channel, &out->frame, sizeof(out->frame),
						  out->fd, &err);

		if (r == -EAGAIN) {
			(void)event_add(model->writable, NULL);
			return;
		}
		if (r == -EPIPE)
			return; /* its end is read as an end */
		if (r < 0) {
			give_up(model);
			return;
		}
		model->first_out = out->after;
		if (!model->first_out)
			model->last_out = NULL;
		model->n_out--;
		if (out->fd >= 0)
			close(out->fd);
		free(out);
	}
}

/* Takes @fd over. */
static void send_frame(struct dn_model_link *model, const struct dn_frame *frame, int fd)
{
	struct dn_outgoing *out = malloc(sizeof(*out));

	if (!out || model->n_out == OUT_MAX) {
		free(out);
		if (fd >= 0)
			close(fd);
		give_up(model);
		return;
	}
	*out = (struct dn_outgoing){ .frame = *frame, .fd = fd };
	*(model->last_out ? &model->last_out->after : &model->first_out) = out;
	model->last_out = out;
	model->n_out++;
	if (model->first_out == out)
		on_writable(-1, 0, model);
}

/* Asks. */

static void unlink_ask(struct dn_ask *ask)
{
	struct dn_model_link *model = ask->model;
	struct dn_ask **first = ask->waiting ? &model->first_waiting : &model->first_active;

	*(ask->before ? &ask->before->after : first) = ask->after;
	if (ask->after)
		ask->after->before = ask->before;
	else if (ask->waiting)
		model->last_waiting = ask->before;
	ask->before = ask->after = NULL;
	if (ask->waiting)
		model->n_waiting--;
	else
		model->n_active--;
	ask->waiting = ask->sent = false;
	ask->model = NULL;
}

static void close_attachment(struct dn_ask *ask)
{
	if (ask->attachment >= 0)
		close(ask->attachment);
	if (ask->grammar.kind && ask->grammar_text >= 0)
		close(ask->grammar_text);
	ask->attachment = ask->grammar_text = -1;
}

static void fail(struct dn_ask *ask, const struct dn_api_error *error)
{
	unlink_ask(ask);
	close_attachment(ask);
	ask->failed(ask, error);
}

static uint32_t active_of(const struct dn_model_link *model, uint64_t client)
{
	uint32_t n = 0;

	for (const struct dn_ask *ask = model->first_active; ask; ask = ask->after)
		n += ask->client == client;
	return n;
}

static bool computes(const struct dn_ask *ask)
{
	return ask->frame.type == DN_FRAME_SUBMIT || ask->frame.type == DN_FRAME_EMBED;
}

static bool has_place(const struct dn_model_link *model, const struct dn_ask *ask)
{
	const uint32_t places = model->worker.places;
	uint32_t kept = 0; /* for others */

	if (ask->priority == DN_PRIORITY_NORMAL)
		kept = URGENT_PLACES;
	else if (ask->priority == DN_PRIORITY_BATCH)
		kept = DN_MAX(URGENT_PLACES, places / 2);
	/* What does not compute is answered at once, and takes none. */
	return !computes(ask) || model->n_active + kept < DN_MAX(places, kept + 1);
}

static uint32_t waiting_of(const struct dn_model_link *model, uint64_t client)
{
	uint32_t n = 0;

	for (const struct dn_ask *ask = model->first_waiting; ask; ask = ask->after)
		n += ask->client == client;
	return n;
}

/* Whether @a's turn is before @b's, of which @b waits for longer. */
static bool is_before(const struct dn_model_link *model, const struct dn_ask *a,
		      const struct dn_ask *b)
{
	if (dn_priority_rank(a->priority) != dn_priority_rank(b->priority))
		return dn_priority_rank(a->priority) < dn_priority_rank(b->priority);
	return a->client != b->client && active_of(model, a->client) < active_of(model, b->client);
}

/* Of those that there is a place for. NULL: none is. */
static struct dn_ask *next_waiting(const struct dn_model_link *model)
{
	struct dn_ask *best = NULL;

	for (struct dn_ask *ask = model->first_waiting; ask; ask = ask->after)
		if (has_place(model, ask) && (!best || is_before(model, ask, best)))
			best = ask;
	return best;
}

/* The worker has it when the SUBMIT comes. READY is nothing to wait for, an error ends the ask. */
static void send_grammar(struct dn_model_link *model, struct dn_ask *ask)
{
	struct dn_frame frame;

	dn_frame_init(&frame, DN_FRAME_GRAMMAR, ++model->last_request);
	frame.u.grammar = ask->grammar;
	frame.attachment = ask->grammar_size;
	ask->frame.u.submit.grammar = frame.request;
	send_frame(model, &frame, dn_steal_fd(&ask->grammar_text));
}

static void submit(struct dn_model_link *model, struct dn_ask *ask)
{
	unlink_ask(ask);
	ask->model = model;
	ask->sent = true;
	ask->after = model->first_active;
	if (ask->after)
		ask->after->before = ask;
	model->first_active = ask;
	model->n_active++;
	if (ask->grammar.kind)
		send_grammar(model, ask);
	ask->frame.request = ++model->last_request;
	send_frame(model, &ask->frame, dn_steal_fd(&ask->attachment));
}

static void fill_places(struct dn_model_link *model)
{
	while (model->state == DN_MODEL_READY && !model->releasing && model->first_waiting) {
		struct dn_ask *ask = next_waiting(model);

		if (!ask)
			return;
		submit(model, ask);
	}
}

bool dn_models_ask(struct dn_model_link *model, struct dn_ask *ask, struct dn_api_error *error)
{
	struct dn_models *models = model->models;

	/* Nobody may have all of it. */
	if (model->n_waiting >= models->queue ||
	    waiting_of(model, ask->client) >= DN_MAX(models->queue / 2, 1U)) {
		close_attachment(ask);
		(void)dn_api_fail(error, 503, "overloaded",
				  "%u requests wait for model '%s' already: try again later",
				  model->n_waiting, model->name);
		error->retry_s = 1;
		return false;
	}
	model->used = true;
	ask->model = model;
	ask->waiting = true;
	ask->sent = false;
	ask->before = model->last_waiting;
	ask->after = NULL;
	*(ask->before ? &ask->before->after : &model->first_waiting) = ask;
	model->last_waiting = ask;
	model->n_waiting++;
	if (model->state == DN_MODEL_ABSENT || model->state == DN_MODEL_FAILED) {
		model->state = DN_MODEL_LOADING;
		models->upwards.want(models->upwards.context, model->number);
	}
	fill_places(model);
	if (ask->waiting && ask->deadline_ns)
		set_deadline(models);
	return true;
}

static void check_released(struct dn_model_link *model)
{
	struct dn_models *models = model->models;

	if (!model->releasing || model->n_active > 0)
		return;
	model->releasing = false;
	disconnect(model);
	model->state = DN_MODEL_ABSENT;
	models->upwards.released(models->upwards.context, model->number);
	/* Who came meanwhile has it loaded again. */
	if (model->first_waiting) {
		model->state = DN_MODEL_LOADING;
		models->upwards.want(models->upwards.context, model->number);
	}
}

void dn_models_cancel(struct dn_ask *ask)
{
	struct dn_model_link *model = ask->model;
	struct dn_frame frame;

	if (!model)
		return;
	if (ask->sent && computes(ask)) {
		dn_frame_init(&frame, DN_FRAME_CANCEL, ask->frame.request);
		send_frame(model, &frame, -1);
	}
	unlink_ask(ask);
	close_attachment(ask);
	fill_places(model);
	check_released(model);
}

bool dn_models_take_used(struct dn_models *models, uint32_t number)
{
	const bool used = models->links[number]->used;

	models->links[number]->used = false;
	return used;
}

/* The nearest deadline of what waits; 0: there is none. */
static uint64_t nearest_deadline(const struct dn_models *models)
{
	uint64_t nearest = 0;

	for (uint32_t i = 0; i < models->n; i++)
		for (const struct dn_ask *ask = models->links[i]->first_waiting; ask;
		     ask = ask->after)
			if (ask->deadline_ns && (!nearest || ask->deadline_ns < nearest))
				nearest = ask->deadline_ns;
	return nearest;
}

static void set_deadline(struct dn_models *models)
{
	const uint64_t nearest = nearest_deadline(models);
	const uint64_t now = dn_clock_ns();
	const uint64_t us = nearest > now ? (nearest - now) / 1000 + 1 : 1;
	const struct timeval after = { (time_t)(us / 1000000), (suseconds_t)(us % 1000000) };

	if (nearest)
		(void)evtimer_add(models->deadline, &after);
	else
		(void)evtimer_del(models->deadline);
}

static void expire(struct dn_model_link *model, uint64_t now)
{
	struct dn_ask *ask = model->first_waiting;

	while (ask) {
		struct dn_api_error error;

		if (!ask->deadline_ns || ask->deadline_ns > now) {
			ask = ask->after;
			continue;
		}
		(void)dn_api_fail(&error, 503, "deadline",
				  "the deadline passed while the request waited");
		error.retry_s = 1;
		error.no_retry = true;
		fail(ask, &error);
		/* Its owner may have ended others: begin again. */
		ask = model->first_waiting;
	}
}

static void on_deadline(evutil_socket_t fd, short what, void *data)
{
	struct dn_models *models = data;

	(void)fd;
	(void)what;
	for (uint32_t i = 0; i < models->n; i++)
		expire(models->links[i], dn_clock_ns());
	set_deadline(models);
}

/* Receiving. */

static bool is_last(const struct dn_frame *frame)
{
	switch (frame->type) {
	case DN_FRAME_ACCEPTED:
	case DN_FRAME_OUTPUT:
		return false;
	case DN_FRAME_EMBEDDED:
		return frame->u.embedded.first + frame->u.embedded.count == frame->u.embedded.total;
	case DN_FRAME_LOGITS_OUT:
		return frame->u.rows.first + frame->u.rows.count == frame->u.rows.total;
	default:
		return true;
	}
}

/* @frame may be about a grammar of the ask, where it is an error. */
static struct dn_ask *find_ask(struct dn_model_link *model, const struct dn_frame *frame)
{
	for (struct dn_ask *ask = model->first_active; ask; ask = ask->after)
		if (ask->frame.request == frame->request ||
		    (frame->type == DN_FRAME_ERROR && ask->grammar.kind &&
		     ask->frame.u.submit.grammar == frame->request))
			return ask;
	return NULL;
}

static void explain(const struct dn_ask *ask, const struct dn_frame *frame,
		    struct dn_api_error *error)
{
	dn_api_from_worker(&frame->u.error, error);
	/* Some grammars are found to need too much only when the answer comes to where they do. */
	if (ask->frame.request == frame->request &&
	    !(ask->grammar.kind && frame->u.error.code == EOVERFLOW))
		return;
	if (frame->u.error.code == E2BIG)
		error->code = NULL; /* it is not the prompt that is too long */
	(void)snprintf(error->param, sizeof(error->param), "%s", ask->grammar_field);
}

static void take_frame(struct dn_model_link *model, const struct dn_frame *frame, int fd)
{
	struct dn_models *models = model->models;
	struct dn_ask *ask;
	bool last;

	if (model->reset) {
		if (frame->request == model->reset)
			model->reset = 0;
		return;
	}
	if (frame->type == DN_FRAME_STEP) {
		models->upwards.step(models->upwards.context, model->number, &frame->u.step);
		return;
	}
	ask = find_ask(model, frame);
	/* Of what was cancelled. */
	if (!ask)
		return;
	last = is_last(frame);
	if (last)
		unlink_ask(ask);
	if (frame->type == DN_FRAME_ERROR) {
		struct dn_api_error error;

		explain(ask, frame, &error);
		ask->failed(ask, &error);
	} else {
		ask->got(ask, frame, fd, last);
	}
	if (last) {
		fill_places(model);
		check_released(model);
	}
}

static void on_readable(evutil_socket_t socket, short what, void *data)
{
	struct dn_model_link *model = data;

	(void)socket;
	(void)what;
	for (int i = 0; i < FRAMES_AT_ONCE && model->readable; i++) {
		struct dn_error err = DN_ERROR_INIT;
		DN_AUTO_FD int fd = -1;
		struct dn_frame frame;
		int r = dn_channel_try_receive(&model->channel, &frame, sizeof(frame), &fd, &err);

		if (r == -EAGAIN)
			return;
		if (r == 1)
			r = dn_frame_check(&frame, DN_FRAME_FROM_WORKER, fd >= 0, &err);
		else if (r == 0 || r == -ECONNRESET) {
			/* The supervisor knows why, and is about to say it. */
			(void)event_del(model->readable);
			return;
		}
		if (r < 0 || (frame.type == DN_FRAME_ERROR && frame.request == 0)) {
			give_up(model);
			return;
		}
		take_frame(model, &frame, fd);
	}
}

/* The supervisor. */

void dn_models_worker(struct dn_models *models, uint32_t number, int channel,
		      const struct dn_control_worker *worker)
{
	struct dn_model_link *model = models->links[number];
	struct dn_frame frame;

	disconnect(model);
	model->channel = (struct dn_channel){ .fd = channel };
	model->worker = *worker;
	model->reason[0] = '\0';
	model->last_request = worker->first_request;
	model->releasing = false;
	model->readable =
		event_new(models->base, channel, EV_READ | EV_PERSIST, on_readable, model);
	model->writable = event_new(models->base, channel, EV_WRITE, on_writable, model);
	if (!model->readable || !model->writable || event_add(model->readable, NULL) < 0) {
		give_up(model);
		return;
	}
	/* A front before this one may have asked for something. */
	model->reset = ++model->last_request;
	dn_frame_init(&frame, DN_FRAME_RESET, model->reset);
	send_frame(model, &frame, -1);
	model->state = DN_MODEL_READY;
	fill_places(model);
}

void dn_models_lost(struct dn_models *models, uint32_t number, const char *reason, bool for_good)
{
	struct dn_model_link *model = models->links[number];
	struct dn_api_error error;

	disconnect(model);
	model->state = for_good ? DN_MODEL_FAILED : DN_MODEL_LOADING;
	dn_control_set_text(model->reason, sizeof(model->reason), reason);
	(void)dn_api_fail(&error, for_good ? 503 : 500,
			  for_good ? "model_unavailable" : "worker_lost", "model '%s': %s",
			  model->name, reason);
	error.retry_s = 1;
	while (model->first_active)
		fail(model->first_active, &error);
	while (for_good && model->first_waiting)
		fail(model->first_waiting, &error);
	check_released(model);
}

void dn_models_release(struct dn_models *models, uint32_t number)
{
	models->links[number]->releasing = true;
	check_released(models->links[number]);
}

/* Where somebody asked meanwhile, it is wanted. */
void dn_models_absent(struct dn_models *models, uint32_t number,
		      const struct dn_frame_loaded *found)
{
	struct dn_model_link *model = models->links[number];

	model->state = DN_MODEL_ABSENT;
	model->worker.loaded = *found;
	if (model->first_waiting) {
		model->state = DN_MODEL_LOADING;
		models->upwards.want(models->upwards.context, number);
	}
}

bool dn_models_saves(struct dn_model_link *model, uint64_t space, uint64_t hash)
{
	for (uint32_t i = 0; i < DN_MODEL_SAVED_MAX; i++)
		if (model->seen[i].space == space && model->seen[i].hash == hash)
			return model->seen[i].times++ == 1;
	model->seen[model->n_seen % DN_MODEL_SAVED_MAX].space = space;
	model->seen[model->n_seen % DN_MODEL_SAVED_MAX].hash = hash;
	model->seen[model->n_seen++ % DN_MODEL_SAVED_MAX].times = 1;
	return false;
}

void dn_models_free(struct dn_models *models)
{
	struct dn_api_error error;

	if (!models)
		return;
	(void)dn_api_fail(&error, 503, NULL, "the server ends");
	for (uint32_t i = 0; i < models->n; i++) {
		struct dn_model_link *model = models->links[i];

		while (model->first_active)
			fail(model->first_active, &error);
		while (model->first_waiting)
			fail(model->first_waiting, &error);
		disconnect(model);
		dn_mapped_done(&model->vocabulary);
		free(model);
	}
	event_free(models->deadline);
	free(models);
}

/* The vocabulary: n + 1 offsets, and the bytes. */

bool dn_models_keep_vocabulary(struct dn_model_link *model, const struct dn_frame *frame, int fd)
{
	const uint32_t n = model->worker.loaded.vocabulary;
	struct dn_mapped mapped = { NULL, 0 };
	const uint32_t *offsets;
	bool good;

	if (dn_mapped_open(fd, frame->attachment, &mapped, NULL) < 0)
		return false;
	offsets = mapped.data;
	good = mapped.size >= ((size_t)n + 1) * sizeof(*offsets);
	for (uint32_t i = 0; good && i < n; i++)
		good = offsets[i] <= offsets[i + 1];
	good = good && offsets[n] == mapped.size - ((size_t)n + 1) * sizeof(*offsets);
	if (!good) {
		dn_mapped_done(&mapped);
		return false;
	}
	dn_mapped_done(&model->vocabulary);
	model->vocabulary = mapped;
	model->n_vocabulary = n;
	return true;
}

const char *dn_models_token(const struct dn_model_link *model, uint32_t token, size_t *ret_size)
{
	const uint32_t *offsets = model->vocabulary.data;

	*ret_size = 0;
	if (token >= model->n_vocabulary)
		return "";
	*ret_size = offsets[token + 1] - offsets[token];
	return (const char *)(offsets + model->n_vocabulary + 1) + offsets[token];
}
