/* SPDX-License-Identifier: MIT */
/* ollama's questions about models: which there are, and what they can do. */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "server/front/front.h"
#include "server/front/ollama.h"

static json_t *details_json(const struct dn_model_link *model)
{
	const struct dn_frame_loaded *loaded = &model->worker.loaded;

	return json_pack("{s:s, s:s, s:s, s:[s], s:s, s:s}", "parent_model", "", "format", "gguf",
			 "family", loaded->architecture, "families", loaded->architecture,
			 "parameter_size", "", "quantization_level", loaded->quantisation);
}

/* Files have no digests here, for the front has no files: the name stands for it. */
static json_t *tag_json(const struct dn_model_link *model, const char *now)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:s, s:o}", "name", model->name, "model",
			 model->name, "modified_at", now, "size",
			 (json_int_t)model->worker.loaded.planned_bytes, "digest", model->name,
			 "details", details_json(model));
}

/* GET /api/tags */
void dn_front_ollama_tags(struct dn_front *front, struct dn_http_connection *connection)
{
	json_t *list = json_array();
	char now[32];

	dn_ollama_time(now, sizeof(now));
	for (uint32_t i = 0; i < dn_models_count(front->models); i++)
		if (dn_account_may(dn_http_request(connection)->owner, i))
			(void)json_array_append_new(list,
						    tag_json(dn_models_at(front->models, i), now));
	dn_api_reply(connection, 200, json_pack("{s:o}", "models", list));
}

static json_t *capabilities_json(const struct dn_model_link *model)
{
	const bool known = model->worker.loaded.depth > 0;
	json_t *list = json_array();

	/* Most do, and clients leave out those that do not. */
	if (!known || model->worker.loaded.generates) {
		(void)json_array_append_new(list, json_string("completion"));
		if (model->worker.loaded.has_template)
			(void)json_array_append_new(list, json_string("tools"));
		if (model->has_form && model->form.think_open)
			(void)json_array_append_new(list, json_string("thinking"));
	} else {
		(void)json_array_append_new(list, json_string("embedding"));
	}
	return list;
}

static json_t *info_json(const struct dn_model_link *model)
{
	const struct dn_frame_loaded *loaded = &model->worker.loaded;
	json_t *info = json_object();
	char key[64];

	if (loaded->depth == 0)
		return info;
	(void)json_object_set_new(info, "general.architecture", json_string(loaded->architecture));
	(void)snprintf(key, sizeof(key), "%s.context_length", loaded->architecture);
	(void)json_object_set_new(info, key, json_integer(loaded->context));
	(void)snprintf(key, sizeof(key), "%s.embedding_length", loaded->architecture);
	(void)json_object_set_new(info, key, json_integer(loaded->dim));
	return info;
}

/* POST /api/show {"model": name} */
void dn_front_ollama_show(struct dn_front *front, struct dn_http_connection *connection)
{
	struct dn_api_error error;
	struct dn_model_link *model = NULL;
	json_t *body = dn_api_body(dn_http_request(connection), &error);
	json_t *name;

	if (body) {
		name = dn_ollama_model(body);
		if (name)
			(void)json_object_set_new(body, "model", name);
		model = dn_front_model(front, dn_http_request(connection), body, &error);
		json_decref(body);
	}
	if (!model) {
		dn_api_reply_error(connection, &error);
		return;
	}
	dn_api_reply(connection, 200,
		     json_pack("{s:o, s:o, s:o}", "details", details_json(model), "model_info",
			       info_json(model), "capabilities", capabilities_json(model)));
}

/* GET /api/version */
void dn_front_ollama_version(struct dn_front *front, struct dn_http_connection *connection)
{
	const char *number = strrchr(front->start.program, ' ');

	dn_api_reply(connection, 200,
		     json_pack("{s:s}", "version", number ? number + 1 : front->start.program));
}
