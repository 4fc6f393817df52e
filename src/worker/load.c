/* SPDX-License-Identifier: MIT */
/* FILE and LOAD: as much of a model as the parent asks for, once a worker. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/prepared.h"
#include "worker/internal.h"

_Static_assert(DN_FILE_PARTS_MAX == DN_GGUF_FILES_MAX, "what can be sent can be opened");
_Static_assert(DN_FILE_ADAPTERS_MAX == DN_ADAPTERS_MAX, "what can be sent can be applied");

static int make_places(struct dn_worker *worker, uint32_t sequences, struct dn_error *err)
{
	uint32_t n = DN_WORKER_PLACES_PER_SEQUENCE * DN_MAX(sequences, 1U);

	worker->places = calloc(n, sizeof(*worker->places));
	worker->items = calloc(n, sizeof(*worker->items));
	worker->chosen = calloc(n, sizeof(struct dn_place *));
	if (!worker->places || !worker->items || !worker->chosen)
		return dn_error_memory(err, "requests", n * sizeof(*worker->places));
	worker->n_places = n;
	return 0;
}

static int load_weights(struct dn_worker *worker, const struct dn_frame_load *load,
			uint64_t *ret_planned, struct dn_error *err)
{
	struct dn_context_options options;
	struct dn_memory_plan plan;
	int r;

	dn_worker_context_options(load, &options);
	r = dn_model_plan(worker->model, &options, &plan, err);
	if (r < 0)
		return r;
	r = dn_context_new(worker->model, &options, &worker->context, err);
	if (r < 0)
		return r;
	worker->length = dn_context_length(worker->context);
	worker->batch = dn_context_batch(worker->context);
	worker->outputs = options.outputs;
	worker->report_steps = load->report_steps;
	worker->realtime = load->realtime;
	*ret_planned = plan.total;
	return make_places(worker, load->sequences, err);
}

void dn_worker_context_options(const struct dn_frame_load *load,
			       struct dn_context_options *ret_options)
{
	*ret_options = (struct dn_context_options){
		.struct_size = sizeof(*ret_options),
		.level = load->level[0] != '\0' ? load->level : NULL,
		.threads = load->threads,
		.context = load->context,
		.sequences = load->sequences,
		.batch = load->batch,
		.outputs = load->outputs ? load->outputs : DN_WORKER_OUTPUTS_DEFAULT,
		.kv = (enum dn_kv_type)load->kv,
		.memory = load->memory,
		.grammars = load->grammars,
		.cpus = load->realtime ? load->cpus : NULL,
	};
}

static int take_tokenizer(struct dn_worker *worker, struct dn_error *err)
{
	worker->tokenizer = dn_model_tokenizer(worker->model);
	if (!worker->tokenizer)
		return 0;
	worker->text_size = dn_tokenizer_longest(worker->tokenizer) + 8;
	worker->text = malloc(worker->text_size);
	return worker->text ? 0 : dn_error_memory(err, "a token's text", worker->text_size);
}

static void copy_name(char *field, size_t size, const char *name)
{
	dn_frame_set_text(field, size, name, name ? strlen(name) : 0);
}

static void answer(struct dn_worker *worker, uint64_t request, uint64_t planned, int unlocked,
		   uint64_t ns)
{
	struct dn_frame_loaded *loaded = &worker->out.u.loaded;
	struct dn_model_info info;

	dn_model_get_info(worker->model, &info);
	dn_frame_init(&worker->out, DN_FRAME_LOADED, request);
	loaded->depth = worker->depth;
	loaded->vocabulary = worker->vocabulary;
	loaded->has_template = worker->template_source != NULL || worker->template != NULL;
	loaded->has_vocabulary = worker->tokenizer != NULL;
	loaded->bos = worker->tokenizer ? dn_tokenizer_bos(worker->tokenizer) : DN_TOKEN_NONE;
	loaded->eos = worker->tokenizer ? dn_tokenizer_eos(worker->tokenizer) : DN_TOKEN_NONE;
	loaded->adds_bos = worker->tokenizer && dn_tokenizer_adds_bos(worker->tokenizer);
	loaded->generates = info.generates;
	loaded->dim = info.dim;
	loaded->pooling = info.pooling;
	loaded->scores = info.scores;
	loaded->n_files = (uint32_t)dn_gguf_n_files(worker->model->gguf);
	loaded->unlocked = (uint32_t)unlocked;
	loaded->load_ns = ns;
	if (worker->context) {
		loaded->context = worker->length;
		loaded->batch = worker->batch;
		loaded->embed_context = dn_context_embed_length(worker->context);
		loaded->planned_bytes = planned;
		loaded->bytes_per_token = info.bytes_per_token;
		loaded->operations_per_token = info.operations_per_token;
		copy_name(loaded->level, sizeof(loaded->level), dn_context_level(worker->context));
	}
	copy_name(loaded->architecture, sizeof(loaded->architecture), info.architecture);
	copy_name(loaded->quantisation, sizeof(loaded->quantisation), info.quantisation);
	dn_frame_set_text(loaded->name, sizeof(loaded->name), info.name, info.name_size);
	dn_worker_send(worker, &worker->out, -1);
}

static int add_adapters(struct dn_worker *worker, struct dn_error *err)
{
	const struct dn_worker_files *files = &worker->files;

	for (uint32_t i = 0; i < files->n_adapters; i++) {
		int r = dn_model_add_adapter(worker->model, files->adapters[i].fd,
					     files->adapters[i].scale, err);

		if (r < 0)
			return dn_error_prefix(err, r, "adapter %u", i + 1);
	}
	return 0;
}

static int open_model(struct dn_worker *worker, bool prepared, struct dn_error *err)
{
	const struct dn_worker_files *files = &worker->files;

	if (!prepared)
		return dn_model_open(files->parts, files->n_parts + 1, &worker->model, err);
	if (files->n_parts > 0)
		return dn_error_set(err, EINVAL, "a prepared model is one file");
	return dn_model_open_prepared(files->parts[0], &worker->model, err);
}

static int load(struct dn_worker *worker, const struct dn_frame_load *load_frame,
		uint64_t *ret_planned, struct dn_error *err)
{
	struct dn_model_info info;
	int r = open_model(worker, load_frame->prepared, err);

	if (r >= 0)
		r = add_adapters(worker, err);
	if (r < 0)
		return r;
	dn_model_get_info(worker->model, &info);
	worker->vocabulary = info.vocabulary;
	worker->generates = info.generates;
	worker->template_source = info.chat_template;
	worker->template_size = info.chat_template_size;
	r = take_tokenizer(worker, err);
	if (r < 0)
		return r;
	worker->depth = load_frame->depth;
	if (load_frame->depth == DN_LOAD_WEIGHTS)
		return load_weights(worker, load_frame, ret_planned, err);
	return 0;
}

int dn_worker_load(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		   struct dn_error *err)
{
	uint64_t begin = dn_worker_now();
	uint64_t planned = 0;
	int unlocked = 0;
	int r;

	if (worker->files.loaded)
		return dn_error_set(err, EALREADY, "this worker has a model already");
	/* Kept whatever happens: a worker that failed to load has nothing else to try. */
	worker->files.loaded = true;
	worker->files.parts[0] = dn_steal_fd(fd);
	r = load(worker, &frame->u.load, &planned, err);
	if (r < 0)
		return r;
	if (worker->realtime)
		unlocked = dn_worker_hold_memory(worker);
	answer(worker, frame->request, planned, unlocked, dn_worker_now() - begin);
	return 0;
}

int dn_worker_plan(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		   struct dn_error *err)
{
	struct dn_context_options options;
	struct dn_memory_plan plan;
	int r = dn_worker_need_model(worker, err);

	(void)fd;
	if (r < 0)
		return r;
	dn_worker_context_options(&frame->u.load, &options);
	r = dn_model_plan(worker->model, &options, &plan, err);
	if (r < 0)
		return r;
	dn_frame_init(&worker->out, DN_FRAME_PLANNED, frame->request);
	worker->out.u.planned = (struct dn_frame_planned){
		.total = plan.total,
		.weights = plan.weights,
		.cache = plan.cache,
		.context = plan.context,
	};
	dn_worker_send(worker, &worker->out, -1);
	return 0;
}

int dn_worker_file(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		   struct dn_error *err)
{
	const struct dn_frame_file *file = &frame->u.file;
	struct dn_worker_files *files = &worker->files;

	if (files->loaded)
		return dn_error_set(err, EALREADY, "files come before the model is loaded");
	if (file->kind == DN_FILE_PART) {
		if (files->n_parts + 1 >= DN_FILE_PARTS_MAX)
			return dn_error_set(err, E2BIG, "a model of more than %d files",
					    DN_FILE_PARTS_MAX);
		files->parts[++files->n_parts] = dn_steal_fd(fd);
	} else {
		if (files->n_adapters >= DN_FILE_ADAPTERS_MAX)
			return dn_error_set(err, E2BIG, "more than %d adapters",
					    DN_FILE_ADAPTERS_MAX);
		files->adapters[files->n_adapters].fd = dn_steal_fd(fd);
		files->adapters[files->n_adapters++].scale = file->scale;
	}
	dn_frame_init(&worker->out, DN_FRAME_READY, frame->request);
	dn_worker_send(worker, &worker->out, -1);
	return 0;
}

void dn_worker_close_files(struct dn_worker_files *files)
{
	if (files->loaded)
		close(files->parts[0]);
	for (uint32_t i = 1; i <= files->n_parts; i++)
		close(files->parts[i]);
	for (uint32_t i = 0; i < files->n_adapters; i++)
		close(files->adapters[i].fd);
	*files = (struct dn_worker_files){ .n_parts = 0 };
}
