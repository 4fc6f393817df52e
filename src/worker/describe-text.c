/* SPDX-License-Identifier: MIT */
/* A description for a person, from the one for programs. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "worker/internal.h"

#define VALUE_BYTES_SHOWN 120

static long long number(const json_t *json, const char *key)
{
	return (long long)json_integer_value(json_object_get(json, key));
}

/* A text of the file, on one line. */
static const char *line(const json_t *value, char *out, size_t size)
{
	const char *text = json_string_value(value);
	size_t length = json_string_length(value);
	bool cut = length > VALUE_BYTES_SHOWN;

	if (!text)
		return "-";
	if (cut)
		length = dn_utf8_complete(text, VALUE_BYTES_SHOWN);
	/* Line ends are common in templates, and harmless as spaces. */
	length = dn_text_printable(text, length, out, size - sizeof("…"));
	if (cut)
		memcpy(out + length, "…", sizeof("…"));
	return out;
}

static int add_bytes(struct dn_buffer *text, const char *label, long long bytes)
{
	double mib = (double)bytes / 0x1p20;

	return dn_buffer_printf(text, "  %-14s %8.1f MiB\n", label, mib);
}

static int add_memory(const json_t *root, struct dn_buffer *text)
{
	static const char *const labels[][2] = {
		{ "weights", "weights_bytes" },	    { "cache", "cache_bytes" },
		{ "workspace", "workspace_bytes" }, { "tables", "tables_bytes" },
		{ "process", "process_bytes" },	    { "total", "total_bytes" },
	};
	const json_t *memory = json_object_get(root, "memory");
	char reason[DN_ERROR_MESSAGE_MAX];
	int r;

	if (!json_is_object(memory))
		return dn_buffer_printf(
			text, "runs            no: %s\n",
			line(json_object_get(root, "reason"), reason, sizeof(reason)));
	r = dn_buffer_printf(
		text,
		"runs            yes\n"
		"memory          with a context of %lld tokens, %lld thread%s, cache in %s:\n",
		number(memory, "context"), number(memory, "threads"),
		number(memory, "threads") == 1 ? "" : "s",
		json_string_value(json_object_get(memory, "kv")));
	for (size_t i = 0; i < DN_ARRAY_SIZE(labels) && r >= 0; i++)
		r = add_bytes(text, labels[i][0], number(memory, labels[i][1]));
	return r;
}

static int add_shape(const json_t *root, struct dn_buffer *text)
{
	if (number(root, "layers") == 0)
		return 0;
	return dn_buffer_printf(
		text,
		"layers          %lld, %lld wide, feed-forward %lld\n"
		"heads           %lld of %lld, %lld for keys and values\n"
		"trained context %lld tokens\n"
		"a token reads   %.1f MB of weights, computes %.1f M operations\n",
		number(root, "layers"), number(root, "dim"), number(root, "ffn_dim"),
		number(root, "heads"), number(root, "head_dim"), number(root, "kv_heads"),
		number(root, "trained_context"), (double)number(root, "bytes_per_token") / 1e6,
		(double)number(root, "operations_per_token") / 1e6);
}

static int add_uses(const json_t *root, struct dn_buffer *text)
{
	const char *pooling = json_string_value(json_object_get(root, "pooling"));

	if (number(root, "scores") > 0)
		return dn_buffer_printf(text, "made for        reranking: dunlin rerank\n");
	if (!json_is_true(json_object_get(root, "encoder")))
		return 0;
	return dn_buffer_printf(text, "made for        embeddings (pooling: %s): dunlin embed\n",
				pooling);
}

static int add_tokenizer(const json_t *root, struct dn_buffer *text)
{
	const json_t *tokenizer = json_object_get(root, "tokenizer");
	char kind[160];
	char pre[160];
	char reason[DN_ERROR_MESSAGE_MAX];

	if (json_is_true(json_object_get(tokenizer, "known")))
		return dn_buffer_printf(
			text, "vocabulary      %lld tokens (%s, %s)\n", number(tokenizer, "size"),
			line(json_object_get(tokenizer, "model"), kind, sizeof(kind)),
			line(json_object_get(tokenizer, "pre"), pre, sizeof(pre)));
	return dn_buffer_printf(text, "vocabulary      %s\n",
				line(json_object_get(tokenizer, "reason"), reason, sizeof(reason)));
}

static int add_adapters(const json_t *root, struct dn_buffer *text)
{
	char name[VALUE_BYTES_SHOWN * 3 + 8];
	const json_t *adapter;
	size_t i;
	int r = 0;

	json_array_foreach(json_object_get(root, "adapters"), i, adapter)
	{
		if (r >= 0)
			r = dn_buffer_printf(
				text,
				"adapter         %s: rank %lld, alpha %g, scale %g, %lld matrices, "
				"%.1f MiB\n",
				line(json_object_get(adapter, "name"), name, sizeof(name)),
				number(adapter, "rank"),
				json_real_value(json_object_get(adapter, "alpha")),
				json_real_value(json_object_get(adapter, "scale")),
				number(adapter, "matrices"),
				(double)number(adapter, "bytes") / 0x1p20);
	}
	return r;
}

static int add_value(const json_t *value, struct dn_buffer *text)
{
	char out[VALUE_BYTES_SHOWN * 3 + 8];
	char *dump;
	int r;

	if (json_is_string(value))
		return dn_buffer_printf(text, "%s\n", line(value, out, sizeof(out)));
	if (json_is_object(value)) {
		const json_t *item;
		size_t i;

		r = dn_buffer_printf(text, "%lld elements:", number(value, "count"));
		json_array_foreach(json_object_get(value, "first"), i, item)
		{
			dump = json_dumps(item, JSON_ENCODE_ANY | JSON_REAL_PRECISION(7));
			if (r >= 0)
				r = dump ? dn_buffer_printf(text, " %.40s", dump) : -1;
			free(dump);
		}
		return r < 0 ? r : dn_buffer_append_text(text, " …\n");
	}
	dump = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(7));
	r = dump ? dn_buffer_printf(text, "%s\n", dump) : -1;
	free(dump);
	return r;
}

static int add_metadata(json_t *root, struct dn_buffer *text)
{
	json_t *metadata = json_object_get(root, "metadata");
	const char *key;
	json_t *value;
	int r = 0;

	if (!metadata)
		return 0;
	r = dn_buffer_append_text(text, "\nmetadata\n");
	json_object_foreach(metadata, key, value)
	{
		if (r >= 0)
			r = dn_buffer_printf(text, "  %-44s ", key);
		if (r >= 0)
			r = add_value(value, text);
	}
	return r;
}

static int add_tensors(const json_t *root, struct dn_buffer *text)
{
	const json_t *tensors = json_object_get(root, "tensors");
	const json_t *tensor;
	size_t i;
	int r = 0;

	if (!tensors)
		return 0;
	r = dn_buffer_append_text(text, "\ntensors\n");
	json_array_foreach(tensors, i, tensor)
	{
		char name[VALUE_BYTES_SHOWN * 3 + 8];
		char *shape = json_dumps(json_object_get(tensor, "shape"), 0);

		if (r >= 0)
			r = shape ? dn_buffer_printf(
					    text, "  %-44s %-6s %12lld bytes  %s\n",
					    line(json_object_get(tensor, "name"), name,
						 sizeof(name)),
					    json_string_value(json_object_get(tensor, "type")),
					    number(tensor, "bytes"), shape)
				  : -1;
		free(shape);
	}
	return r;
}

int dn_describe_text(const json_t *json, struct dn_buffer *text)
{
	/* json_object_foreach() wants it writable; nothing is written. */
	json_t *root = (json_t *)json;
	char name[VALUE_BYTES_SHOWN * 3 + 8];
	char architecture[160];
	char label[32] = "file";
	int r;

	if (number(root, "files") > 1)
		(void)snprintf(label, sizeof(label), "%lld files", number(root, "files"));
	r = dn_buffer_printf(
		text,
		"name            %s\n"
		"architecture    %s\n"
		"weights         %.1f M parameters, mostly %s, %.1f MiB\n"
		"%-15s GGUF version %lld, %lld tensors, %lld metadata entries, %.1f MiB\n",
		line(json_object_get(root, "name"), name, sizeof(name)),
		line(json_object_get(root, "architecture"), architecture, sizeof(architecture)),
		(double)number(root, "parameters") / 1e6,
		json_string_value(json_object_get(root, "quantisation")),
		(double)number(root, "weight_bytes") / 0x1p20, label, number(root, "gguf_version"),
		number(root, "tensors_count"), number(root, "metadata_count"),
		(double)number(root, "file_bytes") / 0x1p20);
	if (r >= 0)
		r = add_shape(root, text);
	if (r >= 0)
		r = add_uses(root, text);
	if (r >= 0)
		r = add_tokenizer(root, text);
	if (r >= 0)
		r = number(root, "chat_template_bytes") > 0
			    ? dn_buffer_printf(text, "chat template   %lld bytes\n",
					       number(root, "chat_template_bytes"))
			    : dn_buffer_append_text(text, "chat template   none\n");
	if (r >= 0)
		r = add_adapters(root, text);
	if (r >= 0)
		r = add_memory(root, text);
	if (r >= 0)
		r = add_metadata(root, text);
	return r < 0 ? r : add_tensors(root, text);
}
