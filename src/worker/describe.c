/* SPDX-License-Identifier: MIT */
/* DESCRIBE: what a model file says of itself, and the memory that it would take, as JSON. */

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "worker/internal.h"

#define DESCRIPTION_MAX	  ((size_t)1 << 30)
#define ARRAY_ITEMS_SHOWN 8
#define TEXT_BYTES_SHOWN  ((size_t)16384)

/*
 * Sets a member; jansson takes a NULL value for the failure that it was made by, and the object
 * misses a member then, which end_of() notices.
 */
struct object {
	json_t *json;
	bool failed;
};

static void set(struct object *object, const char *key, json_t *value)
{
	if (json_object_set_new(object->json, key, value) < 0)
		object->failed = true;
}

static void append(struct object *object, json_t *value)
{
	if (json_array_append_new(object->json, value) < 0)
		object->failed = true;
}

/* Hands the JSON on, or frees it and gives NULL, so that failures go up by themselves. */
static json_t *end_of(struct object *object)
{
	if (!object->failed && object->json)
		return object->json;
	json_decref(object->json);
	return NULL;
}

/* Bytes that are no UTF-8 become U+FFFD; what is too long is cut. */
static json_t *text_json(const char *text, size_t size)
{
	DN_AUTO_FREE char *safe = NULL;
	size_t cut = DN_MIN(size, TEXT_BYTES_SHOWN);

	cut = dn_utf8_complete(text, cut);
	if (dn_utf8_valid(text, cut))
		return json_stringn(text, cut);
	/* Three bytes of U+FFFD for each. */
	safe = malloc(cut * 3 + 1);
	if (!safe)
		return NULL;
	dn_text_printable(text, cut, safe, cut * 3 + 1);
	return json_string(safe);
}

/* JSON has no infinities. */
static json_t *real_json(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static uint64_t little(const uint8_t *bytes, size_t size)
{
	uint64_t value = 0;

	for (size_t i = 0; i < size; i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

static size_t scalar_size(enum dn_gguf_type type)
{
	switch (type) {
	case DN_GGUF_U8:
	case DN_GGUF_I8:
	case DN_GGUF_BOOL:
		return 1;
	case DN_GGUF_U16:
	case DN_GGUF_I16:
		return 2;
	case DN_GGUF_U32:
	case DN_GGUF_I32:
	case DN_GGUF_F32:
		return 4;
	default:
		return 8;
	}
}

static json_t *scalar_json(enum dn_gguf_type type, const uint8_t *value)
{
	uint64_t bits = little(value, scalar_size(type));
	uint32_t low = (uint32_t)bits;
	double wide;
	float narrow;

	switch (type) {
	case DN_GGUF_I8:
		return json_integer((int8_t)bits);
	case DN_GGUF_I16:
		return json_integer((int16_t)bits);
	case DN_GGUF_I32:
		return json_integer((int32_t)low);
	case DN_GGUF_F32:
		memcpy(&narrow, &low, sizeof(narrow));
		return real_json((double)narrow);
	case DN_GGUF_F64:
		memcpy(&wide, &bits, sizeof(wide));
		return real_json(wide);
	case DN_GGUF_BOOL:
		return json_boolean(bits != 0);
	case DN_GGUF_U64:
		/* Above what JSON integers hold here: the nearest number. */
		return bits <= INT64_MAX ? json_integer((json_int_t)bits) : json_real((double)bits);
	default:
		return json_integer((json_int_t)bits);
	}
}

/* {"array": element count, "first": [...]}: vocabularies are long. */
static json_t *array_json(const uint8_t *value)
{
	enum dn_gguf_type type = (enum dn_gguf_type)little(value, 4);
	uint64_t count = little(value + 4, 8);
	const uint8_t *at = value + 12;
	struct object first = { json_array(), false };
	struct object array = { json_object(), false };

	for (uint64_t i = 0; i < DN_MIN(count, (uint64_t)ARRAY_ITEMS_SHOWN); i++) {
		if (type == DN_GGUF_STRING) {
			struct dn_text text = dn_gguf_next_text(&at);

			append(&first, text_json(text.data, text.size));
		} else {
			append(&first, scalar_json(type, at));
			at += scalar_size(type);
		}
	}
	set(&array, "count", json_integer((json_int_t)count));
	set(&array, "first", end_of(&first));
	return end_of(&array);
}

static json_t *metadata_json(const struct dn_gguf *gguf)
{
	struct object metadata = { json_object(), false };

	for (size_t i = 0; i < dn_gguf_n_entries(gguf); i++) {
		const struct dn_gguf_entry *entry = dn_gguf_entry(gguf, i);
		const uint8_t *cursor = entry->value;
		struct dn_text text;
		char key[512];
		json_t *value;

		dn_text_printable(entry->key.data, entry->key.size, key, sizeof(key));
		if (entry->type == DN_GGUF_STRING) {
			text = dn_gguf_next_text(&cursor);
			value = text_json(text.data, text.size);
		} else if (entry->type == DN_GGUF_ARRAY) {
			value = array_json(entry->value);
		} else {
			value = scalar_json(entry->type, entry->value);
		}
		set(&metadata, key, value);
	}
	return end_of(&metadata);
}

static json_t *tensor_json(const struct dn_gguf_tensor *tensor)
{
	const struct dn_type_info *type = dn_type_info(tensor->type);
	struct object shape = { json_array(), false };
	struct object object = { json_object(), false };

	for (uint32_t i = 0; i < tensor->n_dims && i < DN_GGUF_DIMS_MAX; i++)
		append(&shape, json_integer((json_int_t)tensor->dims[i]));
	set(&object, "name", text_json(tensor->name.data, tensor->name.size));
	set(&object, "type", json_string(type ? type->name : "unknown"));
	set(&object, "shape", end_of(&shape));
	set(&object, "file", json_integer((json_int_t)tensor->file + 1));
	set(&object, "offset", json_integer((json_int_t)tensor->offset));
	set(&object, "bytes", json_integer((json_int_t)tensor->size));
	return end_of(&object);
}

static json_t *tensors_json(const struct dn_gguf *gguf)
{
	struct object tensors = { json_array(), false };

	for (size_t i = 0; i < dn_gguf_n_tensors(gguf); i++)
		append(&tensors, tensor_json(dn_gguf_tensor(gguf, i)));
	return end_of(&tensors);
}

static const char *const kv_names[DN_KV_COUNT] = {
	[DN_KV_F16] = "f16",
	[DN_KV_F32] = "f32",
	[DN_KV_Q8_0] = "q8_0",
};

static json_t *memory_json(const struct dn_memory_plan *plan,
			   const struct dn_context_options *options)
{
	struct object memory = { json_object(), false };

	set(&memory, "context", json_integer(plan->context));
	set(&memory, "threads", json_integer(DN_MAX(options->threads, 1U)));
	set(&memory, "sequences", json_integer(DN_MAX(options->sequences, 1U)));
	set(&memory, "kv", json_string(kv_names[options->kv]));
	set(&memory, "weights_bytes", json_integer((json_int_t)plan->weights));
	set(&memory, "cache_bytes", json_integer((json_int_t)plan->cache));
	set(&memory, "workspace_bytes", json_integer((json_int_t)plan->workspace));
	set(&memory, "tables_bytes", json_integer((json_int_t)plan->tables));
	set(&memory, "process_bytes", json_integer((json_int_t)plan->process));
	set(&memory, "total_bytes", json_integer((json_int_t)plan->total));
	return end_of(&memory);
}

/* What keeps the file from running; a plan where nothing does. */
static void set_running(struct object *root, const struct dn_model *model,
			const struct dn_frame_load *load)
{
	struct dn_context_options options;
	struct dn_memory_plan plan;
	struct dn_error err = DN_ERROR_INIT;
	int r;

	dn_worker_context_options(load, &options);
	r = dn_model_runs(model, &err);
	if (r >= 0)
		r = dn_model_plan(model, &options, &plan, &err);
	set(root, "runs", json_boolean(r >= 0));
	set(root, "reason", r < 0 ? json_string(err.message) : json_null());
	set(root, "memory", r < 0 ? json_null() : memory_json(&plan, &options));
}

static void set_vocabulary(struct object *root, const struct dn_model *model)
{
	const struct dn_tokenizer *tokenizer = dn_model_tokenizer(model);
	struct dn_text kind = { "", 0 };
	struct dn_text pre = { "", 0 };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_error ignored = DN_ERROR_INIT;
	struct object object = { json_object(), false };
	int r = dn_model_tokenizes(model, &err);

	/* Of a wrong type is as good as absent: the reason tells. */
	(void)!dn_gguf_get_text(model->gguf, "tokenizer.ggml.model", &kind, &ignored);
	(void)!dn_gguf_get_text(model->gguf, "tokenizer.ggml.pre", &pre, &ignored);
	set(&object, "model", text_json(kind.data, kind.size));
	set(&object, "pre", text_json(pre.data, pre.size));
	set(&object, "known", json_boolean(r >= 0));
	set(&object, "reason", r < 0 ? json_string(err.message) : json_null());
	set(&object, "size", json_integer(tokenizer ? dn_tokenizer_size(tokenizer) : 0));
	set(root, "tokenizer", end_of(&object));
}

static json_t *adapters_json(const struct dn_model *model)
{
	struct object adapters = { json_array(), false };

	for (uint32_t i = 0; i < dn_model_n_adapters(model); i++) {
		struct object object = { json_object(), false };
		struct dn_adapter_info info;

		dn_model_get_adapter(model, i, &info);
		set(&object, "name",
		    info.name ? text_json(info.name, info.name_size) : json_null());
		set(&object, "rank", json_integer(info.rank));
		set(&object, "alpha", json_real(info.alpha));
		set(&object, "scale", json_real((double)info.scale));
		set(&object, "matrices", json_integer(info.pairs));
		set(&object, "bytes", json_integer((json_int_t)info.bytes));
		append(&adapters, end_of(&object));
	}
	return end_of(&adapters);
}

/* What the model is for. */
static void set_uses(struct object *root, const struct dn_model_info *info)
{
	static const char *const poolings[] = { "none", "mean", "cls", "last", "rank" };

	set(root, "generates", json_boolean(info->generates));
	set(root, "encoder", json_boolean(info->encoder));
	set(root, "pooling", json_string(poolings[info->pooling]));
	set(root, "scores", json_integer(info->scores));
}

static json_t *describe_json(const struct dn_model *model, const struct dn_frame_describe *describe)
{
	struct object root = { json_object(), false };
	struct dn_model_info info;

	dn_model_get_info(model, &info);
	set(&root, "name", info.name ? text_json(info.name, info.name_size) : json_null());
	set(&root, "architecture", json_string(info.architecture));
	set(&root, "quantisation", json_string(info.quantisation));
	set(&root, "parameters", json_integer((json_int_t)info.parameters));
	set(&root, "gguf_version", json_integer(dn_gguf_version(model->gguf)));
	set(&root, "files", json_integer((json_int_t)dn_gguf_n_files(model->gguf)));
	set(&root, "file_bytes", json_integer((json_int_t)dn_gguf_file_size(model->gguf)));
	set(&root, "weight_bytes", json_integer((json_int_t)info.weight_bytes));
	set(&root, "tensors_count", json_integer((json_int_t)dn_gguf_n_tensors(model->gguf)));
	set(&root, "metadata_count", json_integer((json_int_t)dn_gguf_n_entries(model->gguf)));
	set(&root, "layers", json_integer(info.n_layers));
	set(&root, "dim", json_integer(info.dim));
	set(&root, "heads", json_integer(info.n_heads));
	set(&root, "kv_heads", json_integer(info.n_kv_heads));
	set(&root, "head_dim", json_integer(info.head_dim));
	set(&root, "ffn_dim", json_integer(info.ffn_dim));
	set(&root, "vocabulary", json_integer(info.vocabulary));
	set(&root, "trained_context", json_integer(info.trained_context));
	set(&root, "bytes_per_token", json_integer((json_int_t)info.bytes_per_token));
	set(&root, "operations_per_token", json_integer((json_int_t)info.operations_per_token));
	set_uses(&root, &info);
	set(&root, "chat_template_bytes", json_integer((json_int_t)info.chat_template_size));
	set_vocabulary(&root, model);
	set(&root, "adapters", adapters_json(model));
	set_running(&root, model, &describe->plan);
	if (describe->all) {
		set(&root, "metadata", metadata_json(model->gguf));
		set(&root, "tensors", tensors_json(model->gguf));
	}
	return end_of(&root);
}

int dn_worker_describe(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		       struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer text = DN_BUFFER_INIT(DESCRIPTION_MAX);
	json_t *json;
	int r;

	(void)fd;
	r = dn_worker_need_model(worker, err);
	if (r < 0)
		return r;
	json = describe_json(worker->model, &frame->u.describe);
	if (!json)
		return dn_error_memory(err, "a description", 0);
	if (frame->u.describe.format == DN_DESCRIBE_JSON) {
		DN_AUTO_FREE char *dump = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(9));

		r = dump ? dn_buffer_append_text(&text, dump) : -ENOMEM;
		if (r >= 0)
			r = dn_buffer_append_text(&text, "\n");
	} else {
		r = dn_describe_text(json, &text);
	}
	json_decref(json);
	if (r < 0)
		return dn_error_memory(err, "a description", text.size);
	dn_frame_init(&worker->out, DN_FRAME_TEXT, frame->request);
	dn_worker_send_bytes(worker, &worker->out, text.data, text.size);
	return 0;
}
