/* SPDX-License-Identifier: MIT */
/* What the server says of itself: health, models, properties, metrics. */

#include <string.h>

#include "device/cgroup-limits.h"
#include "sandbox/jail.h"
#include "server/front/front.h"

static const char *const states[] = {
	[DN_MODEL_ABSENT] = "not loaded",
	[DN_MODEL_LOADING] = "loading",
	[DN_MODEL_READY] = "ready",
	[DN_MODEL_FAILED] = "failed",
};

/* GET /health: the process answers. */
void dn_front_health(struct dn_front *front, struct dn_http_connection *connection)
{
	(void)front;
	dn_api_reply(connection, 200, json_pack("{s:s}", "status", "ok"));
}

/* GET /ready: a request would be computed now. */
void dn_front_ready(struct dn_front *front, struct dn_http_connection *connection)
{
	uint32_t ready = 0;

	for (uint32_t i = 0; i < dn_models_count(front->models); i++)
		ready += dn_models_at(front->models, i)->state == DN_MODEL_READY;
	if (front->draining)
		ready = 0;
	if (ready == 0)
		dn_http_add_header(connection, "Retry-After", "1");
	dn_api_reply(connection, ready ? 200 : 503,
		     json_pack("{s:s, s:i}", "status",
			       front->draining ? "draining"
			       : ready	       ? "ready"
					       : "loading",
			       "models_ready", (int)ready));
}

static json_t *model_json(const struct dn_front *front, const struct dn_model_link *model)
{
	const struct dn_frame_loaded *loaded = &model->worker.loaded;

	return json_pack("{s:s, s:s, s:I, s:s, s:{s:s, s:s*, s:s*, s:I, s:I, s:s*}}", "id",
			 model->name, "object", "model", "created", (json_int_t)front->started_at,
			 "owned_by", "dunlin", "meta", "state", states[model->state],
			 "architecture", loaded->architecture[0] ? loaded->architecture : NULL,
			 "quantization", loaded->quantisation[0] ? loaded->quantisation : NULL,
			 "context_length", (json_int_t)loaded->context, "memory_bytes",
			 (json_int_t)loaded->planned_bytes, "level",
			 loaded->level[0] ? loaded->level : NULL);
}

/* GET /v1/models, GET /v1/models/NAME */
void dn_front_models(struct dn_front *front, struct dn_http_connection *connection)
{
	const struct dn_http_request *request = dn_http_request(connection);
	const char *name = strchr(request->path + 4, '/');
	struct dn_model_link *model;
	struct dn_api_error error;
	json_t *list;

	if (name) {
		model = dn_models_find(front->models, name + 1);
		if (!model || !dn_account_may(request->owner, model->number)) {
			(void)dn_api_fail(&error, 404, "model_not_found", "no model '%.64s'",
					  name + 1);
			dn_api_reply_error(connection, &error);
			return;
		}
		dn_api_reply(connection, 200, model_json(front, model));
		return;
	}
	list = json_array();
	for (uint32_t i = 0; i < dn_models_count(front->models); i++)
		if (dn_account_may(request->owner, i))
			(void)json_array_append_new(
				list, model_json(front, dn_models_at(front->models, i)));
	dn_api_reply(connection, 200, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

/* The names of measures whose bits are set. */
static json_t *measures_json(uint32_t bits)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < DN_JAIL_MEASURES; i++)
		if (bits & 1U << i)
			(void)json_array_append_new(
				list, json_string(dn_jail_measure_name((enum dn_jail_measure)i)));
	return list;
}

/* GET /props */
void dn_front_props(struct dn_front *front, struct dn_http_connection *connection)
{
	const struct dn_control_start *start = &front->start;
	const struct dn_control_figures *figures = &front->figures;
	json_t *list = json_array();

	for (uint32_t i = 0; i < dn_models_count(front->models); i++) {
		const struct dn_model_link *model = dn_models_at(front->models, i);
		json_t *json;

		if (!dn_account_may(dn_http_request(connection)->owner, i))
			continue;
		json = model_json(front, model);
		(void)json_object_update_new(
			json, json_pack("{s:i, s:i, s:i, s:i, s:{s:o, s:o, s:b, s:b}, s:s*}",
					"active", (int)model->n_active, "waiting",
					(int)model->n_waiting, "places", (int)model->worker.places,
					"restarts", (int)model->worker.restarts, "sandbox", "held",
					measures_json(model->worker.sandbox_held), "absent",
					measures_json(model->worker.sandbox_absent), "memory_group",
					(model->worker.groups_held & 1U << DN_CGROUP_MEMORY) != 0,
					"pids_group",
					(model->worker.groups_held & 1U << DN_CGROUP_PIDS) != 0,
					"reason", model->reason[0] ? model->reason : NULL));
		(void)json_array_append_new(list, json);
	}
	dn_api_reply(
		connection, 200,
		json_pack("{s:s, s:s, s:{s:I, s:I, s:I, s:I, s:I}, s:{s:i, s:i, s:I, s:I}, s:o}",
			  "version", start->program, "front_sandbox", front->jail, "memory",
			  "budget_bytes", (json_int_t)start->memory, "supervisor_bytes",
			  (json_int_t)figures->supervisor_bytes, "front_bytes",
			  (json_int_t)figures->front_bytes, "workers_bytes",
			  (json_int_t)figures->workers_bytes, "weights_bytes",
			  (json_int_t)figures->weights_bytes, "limits", "connections",
			  (int)start->connections, "queue", (int)start->queue, "body_bytes",
			  (json_int_t)start->body_bytes, "bodies_bytes",
			  (json_int_t)start->bodies_bytes, "models", list));
}

/* A label's value, as Prometheus wants it: UTF-8 with three escapes. */
static int print_label(struct dn_buffer *out, const char *value)
{
	int r = dn_buffer_append(out, "\"", 1);

	for (; *value && r >= 0; value++) {
		if (*value == '"' || *value == '\\')
			r = dn_buffer_append(out, "\\", 1);
		if (r >= 0)
			r = dn_buffer_append(out, value, 1);
	}
	return r < 0 ? r : dn_buffer_append(out, "\"", 1);
}

enum model_value { MODEL_ACTIVE, MODEL_WAITING, MODEL_RESTARTS, MODEL_VALUES };

static uint32_t value_of(const struct dn_model_link *model, enum model_value value)
{
	switch (value) {
	case MODEL_ACTIVE:
		return model->n_active;
	case MODEL_WAITING:
		return model->n_waiting;
	default:
		return model->worker.restarts;
	}
}

static int print_models(const struct dn_front *front, const struct dn_account *account,
			struct dn_buffer *out)
{
	static const struct {
		const char *name;
		const char *type;
		const char *help;
	} values[MODEL_VALUES] = {
		[MODEL_ACTIVE] = { "dunlin_active_requests", "gauge", "Requests in a worker." },
		[MODEL_WAITING] = { "dunlin_waiting_requests", "gauge",
				    "Requests that wait for a place." },
		[MODEL_RESTARTS] = { "dunlin_worker_restarts_total", "counter",
				     "Workers that ended unasked." },
	};
	int r = 0;

	for (int v = 0; v < MODEL_VALUES && r >= 0; v++) {
		r = dn_metrics_print_head(out, values[v].name, values[v].type, values[v].help);
		for (uint32_t i = 0; i < dn_models_count(front->models) && r >= 0; i++) {
			const struct dn_model_link *model = dn_models_at(front->models, i);

			if (!dn_account_may(account, i))
				continue;
			r = dn_buffer_printf(out, "%s{model=", values[v].name);
			if (r >= 0)
				r = print_label(out, model->name);
			if (r >= 0)
				r = dn_buffer_printf(out, "} %u\n",
						     value_of(model, (enum model_value)v));
		}
	}
	return r;
}

static int print_figures(const struct dn_front *front, struct dn_buffer *out)
{
	const struct dn_control_figures *figures = &front->figures;
	const struct {
		const char *name;
		const char *type;
		const char *help;
		double value;
	} values[] = {
		{ "dunlin_connections", "gauge", "Connections that are open.",
		  dn_http_connections(front->http) },
		{ "dunlin_memory_budget_bytes", "gauge", "What --memory gave; 0: no budget.",
		  (double)front->start.memory },
		{ "dunlin_supervisor_memory_bytes", "gauge", "Resident memory of the supervisor.",
		  (double)figures->supervisor_bytes },
		{ "dunlin_front_memory_bytes", "gauge", "Resident memory of the front.",
		  (double)figures->front_bytes },
		{ "dunlin_workers_memory_bytes", "gauge",
		  "Resident memory of workers, weights among it.", (double)figures->workers_bytes },
		{ "dunlin_weights_memory_bytes", "gauge", "Sealed memory that holds weights.",
		  (double)figures->weights_bytes },
		{ "dunlin_cpu_seconds_total", "counter", "CPU time of all processes.",
		  (double)figures->cpu_ns * 1e-9 },
		{ "dunlin_front_restarts_total", "counter", "Fronts that ended unasked.",
		  figures->front_restarts },
		{ "dunlin_model_loads_total", "counter", "Models that were loaded.",
		  figures->loads },
	};
	int r = 0;

	for (size_t i = 0; i < DN_ARRAY_SIZE(values) && r >= 0; i++)
		r = dn_metrics_print_value(out, values[i].name, values[i].type, values[i].help,
					   values[i].value);
	return r;
}

/* GET /metrics */
void dn_front_metrics(struct dn_front *front, struct dn_http_connection *connection)
{
	DN_AUTO_BUFFER struct dn_buffer out = DN_BUFFER_INIT((size_t)1 << 20);
	int r = dn_metrics_print(front->metrics, &out);

	if (r >= 0)
		r = print_figures(front, &out);
	if (r >= 0)
		r = print_models(front, dn_http_request(connection)->owner, &out);
	if (r < 0)
		dn_api_reply(connection, 503, NULL);
	else
		dn_http_reply(connection, 200, "text/plain; version=0.0.4; charset=utf-8", out.data,
			      out.size);
}
