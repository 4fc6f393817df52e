/* SPDX-License-Identifier: MIT */

#include "tiny-model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/half.h"

struct tiny_model tiny_model_default(enum dn_type type)
{
	return (struct tiny_model){
		.type = type,
		.layers = 2,
		.dim = 256,
		.heads = 6,
		.kv_heads = 2,
		.head_dim = 40,
		.ffn = 512,
		.vocabulary = 203,
		.context = 160,
		.seed = 1,
	};
}

static uint32_t next(uint32_t *state)
{
	*state = *state * 1664525U + 1013904223U;
	return *state >> 8;
}

static void put_half(uint8_t *at, float value)
{
	uint16_t half = dn_float_to_half(value);

	memcpy(at, &half, sizeof(half));
}

/* Random quants, and scales that keep a row's products near one. */
static void fill(uint8_t *data, size_t size, enum dn_type type, uint32_t *state)
{
	const struct dn_type_info *info = dn_type_info(type);

	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)next(state);
	for (size_t i = 0; i < size; i += info->bytes) {
		float unit = ((float)(next(state) % 2001) - 1000.0f) / 16000.0f;

		switch (type) {
		case DN_TYPE_F32:
			memcpy(data + i, &unit, sizeof(unit));
			break;
		case DN_TYPE_BF16: /* the upper half of a float32 */
			memcpy(data + i, (const uint8_t *)&unit + 2, 2);
			break;
		case DN_TYPE_Q8_0:
		case DN_TYPE_IQ4_NL:
			put_half(data + i, unit / 100.0f);
			break;
		case DN_TYPE_Q4_1:
			put_half(data + i + 2, -unit / 2.0f);
			put_half(data + i, unit / 8.0f);
			break;
		case DN_TYPE_Q5_1:
			put_half(data + i + 2, -unit);
			put_half(data + i, unit / 16.0f);
			break;
		case DN_TYPE_Q2_K:
			put_half(data + i + 80, unit / 12.0f);
			put_half(data + i + 82, unit / 8.0f);
			break;
		case DN_TYPE_Q3_K:
			put_half(data + i + 108, unit / 60.0f);
			break;
		case DN_TYPE_Q4_K:
			put_half(data + i, unit / 200.0f);
			put_half(data + i + 2, unit / 100.0f);
			break;
		case DN_TYPE_Q5_K:
			put_half(data + i, unit / 400.0f);
			put_half(data + i + 2, unit / 100.0f);
			break;
		case DN_TYPE_Q6_K:
			put_half(data + i + 208, unit / 2000.0f);
			break;
		case DN_TYPE_IQ4_XS:
			put_half(data + i, unit / 1600.0f);
			break;
		case DN_TYPE_Q5_0:
			put_half(data + i, unit / 16.0f);
			break;
		case DN_TYPE_Q4_0:
			put_half(data + i, unit / 8.0f);
			break;
		default:
			put_half(data + i, unit);
			break;
		}
	}
}

static void *allocate(size_t size)
{
	void *data = malloc(size);

	if (!data)
		abort();
	return data;
}

static size_t size_of(enum dn_type type, uint32_t columns, uint32_t rows)
{
	const struct dn_type_info *info = dn_type_info(type);

	return (size_t)columns / info->columns * info->bytes * rows;
}

/* @data: where it goes, filled here. */
static void make(const struct tiny_model *m, const char *name, enum dn_type type, uint32_t columns,
		 uint32_t rows, uint32_t *state, uint8_t *data)
{
	fill(data, size_of(type, columns, rows), type, state);
	if (m->edit && type == DN_TYPE_F32 && rows > 1)
		m->edit(name, (float *)data, columns, rows);
}

static void add_data(struct gguf_builder *b, const struct tiny_model *m, const char *name,
		     enum dn_type type, uint32_t columns, uint32_t rows, const uint8_t *data)
{
	const uint64_t dims[2] = { columns, rows };

	if ((!m->without || strcmp(name, m->without) != 0) &&
	    (!m->without_too || strcmp(name, m->without_too) != 0))
		gguf_add_tensor(b, name, type, rows > 1 ? 2 : 1, dims, data);
}

static void add(struct gguf_builder *b, const struct tiny_model *m, const char *name,
		enum dn_type type, uint32_t columns, uint32_t rows, uint32_t *state)
{
	uint8_t *data = allocate(size_of(type, columns, rows));

	make(m, name, type, columns, rows, state, data);
	add_data(b, m, name, type, columns, rows, data);
	free(data);
}

/* A tensor of a layer; those of the same @fused name are neighbours. */
struct part {
	const char *name;
	const char *fused;
	uint32_t columns;
	uint32_t rows;
};

#define N_PARTS 9

static void list_parts(const struct tiny_model *m, struct part out[N_PARTS])
{
	const uint32_t q = m->heads * m->head_dim;
	const uint32_t kv = m->kv_heads * m->head_dim;
	const struct part parts[N_PARTS] = {
		{ "attn_norm", "attn_norm", m->dim, 1 },     { "attn_q", "attn_qkv", m->dim, q },
		{ "attn_k", "attn_qkv", m->dim, kv },	     { "attn_v", "attn_qkv", m->dim, kv },
		{ "attn_output", "attn_output", q, m->dim }, { "ffn_norm", "ffn_norm", m->dim, 1 },
		{ "ffn_gate", "ffn_up", m->dim, m->ffn },    { "ffn_up", "ffn_up", m->dim, m->ffn },
		{ "ffn_down", "ffn_down", m->ffn, m->dim },
	};

	memcpy(out, parts, sizeof(parts));
}

/* Tensors from @first on that are one in the file: how many, and rows of all. */
static uint32_t count_fused(const struct tiny_model *m, const struct part parts[N_PARTS],
			    uint32_t first, uint32_t *ret_rows)
{
	uint32_t n = 1;

	*ret_rows = parts[first].rows;
	while (m->fused && first + n < N_PARTS &&
	       strcmp(parts[first + n].fused, parts[first].fused) == 0)
		*ret_rows += parts[first + n++].rows;
	return n;
}

static void weight_name(char out[64], uint32_t layer, const char *name)
{
	(void)snprintf(out, 64, "blk.%u.%s.weight", layer, name);
}

static void add_layer(struct gguf_builder *b, const struct tiny_model *m, uint32_t i,
		      uint32_t *state)
{
	struct part parts[N_PARTS];
	uint32_t rows;
	uint32_t n;

	list_parts(m, parts);
	for (uint32_t t = 0; t < N_PARTS; t += n) {
		const uint32_t columns = parts[t].columns;
		enum dn_type type = m->type;
		uint8_t *data;
		size_t at = 0;
		char name[64];

		n = count_fused(m, parts, t, &rows);
		/* As converters do: what a type's blocks do not divide is in another type. */
		if (rows == 1)
			type = DN_TYPE_F32;
		else if (columns % dn_type_info(m->type)->columns)
			type = columns % 32 ? DN_TYPE_F16 : DN_TYPE_Q8_0;
		data = allocate(size_of(type, columns, rows));
		for (uint32_t p = t; p < t + n; p++) {
			weight_name(name, i, parts[p].name);
			make(m, name, type, columns, parts[p].rows, state, data + at);
			at += size_of(type, columns, parts[p].rows);
		}
		weight_name(name, i, m->fused ? parts[t].fused : parts[t].name);
		add_data(b, m, name, type, columns, rows, data);
		free(data);
	}
}

static void add_embedding(struct gguf_builder *b, const struct tiny_model *m, uint32_t *state)
{
	uint32_t again = *state;

	add(b, m, "token_embd.weight", m->type, m->dim, m->vocabulary, state);
	if (m->untied) {
		struct tiny_model unchanged = *m;

		unchanged.edit = NULL;
		add(b, &unchanged, "output.weight", m->type, m->dim, m->vocabulary, &again);
	}
}

int tiny_model_fd(const struct tiny_model *m)
{
	struct gguf_builder b;
	uint32_t state = m->seed;
	int fd;

	gguf_builder_init(&b);
	gguf_add_text(&b, "general.architecture", "llama");
	gguf_add_u32(&b, "llama.block_count", m->layers);
	gguf_add_u32(&b, "llama.embedding_length", m->dim);
	gguf_add_u32(&b, "llama.feed_forward_length", m->ffn);
	gguf_add_u32(&b, "llama.attention.head_count", m->heads);
	gguf_add_u32(&b, "llama.attention.head_count_kv", m->kv_heads);
	gguf_add_u32(&b, "llama.attention.key_length", m->head_dim);
	gguf_add_u32(&b, "llama.attention.value_length", m->head_dim);
	gguf_add_u32(&b, "llama.context_length", m->context);
	gguf_add_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
	gguf_add_text(&b, "tokenizer.ggml.model", "none");
	if (m->change)
		m->change(&b);
	add_embedding(&b, m, &state);
	add(&b, m, "output_norm.weight", DN_TYPE_F32, m->dim, 1, &state);
	for (uint32_t i = 0; i < m->layers; i++)
		add_layer(&b, m, i, &state);
	fd = gguf_builder_fd(&b);
	gguf_builder_done(&b);
	return fd;
}

struct tiny_adapter tiny_adapter_default(const struct tiny_model *model, uint32_t seed)
{
	return (struct tiny_adapter){
		.model = model,
		.type = DN_TYPE_F32,
		.rank = 5,
		.alpha = 20.0f,
		.seed = seed,
	};
}

/* Values of a tensor follow from its name and the seed. */
static uint8_t *adapter_data(const struct tiny_adapter *a, enum dn_type type, const char *name,
			     const char *ending, uint32_t columns, uint32_t rows)
{
	uint8_t *data = allocate(size_of(type, columns, rows));
	uint32_t state = a->seed;

	for (const char *c = name; *c; c++)
		state = (state ^ (uint8_t)*c) * 0x01000193U;
	for (const char *c = ending; *c; c++)
		state = (state ^ (uint8_t)*c) * 0x01000193U;
	fill(data, size_of(type, columns, rows), type, &state);
	return data;
}

static void unpack(const uint8_t *data, enum dn_type type, size_t n, float *out)
{
	for (size_t i = 0; i < n; i++) {
		const uint8_t *block = data + i / 32 * 34;
		uint16_t half;
		uint32_t bits;

		switch (type) {
		case DN_TYPE_F16:
			memcpy(&half, data + 2 * i, 2);
			out[i] = dn_half_to_float(half);
			break;
		case DN_TYPE_BF16:
			memcpy(&half, data + 2 * i, 2);
			bits = (uint32_t)half << 16;
			memcpy(&out[i], &bits, sizeof(bits));
			break;
		case DN_TYPE_Q8_0:
			memcpy(&half, block, 2);
			out[i] = dn_half_to_float(half) * (float)(int8_t)block[2 + i % 32];
			break;
		default:
			abort();
		}
	}
}

static void add_to_adapter(struct gguf_builder *b, const struct tiny_adapter *a, const char *name,
			   const char *ending, uint32_t columns, uint32_t rows, const uint8_t *data)
{
	const enum dn_type type = columns % dn_type_info(a->type)->columns ? DN_TYPE_F16 : a->type;
	const uint64_t dims[2] = { columns, rows };
	char full[80];

	(void)snprintf(full, sizeof(full), "%s%s", name, ending);
	if (a->unpacked) {
		float *floats = allocate((size_t)columns * rows * sizeof(*floats));

		unpack(data, type, (size_t)columns * rows, floats);
		gguf_add_tensor(b, full, DN_TYPE_F32, 2, dims, floats);
		free(floats);
	} else {
		gguf_add_tensor(b, full, type, 2, dims, data);
	}
}

static enum dn_type type_of(const struct tiny_adapter *a, uint32_t columns)
{
	return columns % dn_type_info(a->type)->columns ? DN_TYPE_F16 : a->type;
}

/* The pair of what is one tensor: rows up of each part, behind the same rows down. */
static void add_pair(struct gguf_builder *b, const struct tiny_adapter *a, uint32_t layer,
		     const struct part *parts, uint32_t n, uint32_t rows)
{
	const enum dn_type up_type = type_of(a, a->rank);
	uint8_t *up = allocate(size_of(up_type, a->rank, rows));
	uint8_t *down;
	size_t at = 0;
	char name[64];

	weight_name(name, layer, parts[0].fused);
	down = adapter_data(a, type_of(a, parts[0].columns), name, ".lora_a", parts[0].columns,
			    a->rank);
	for (uint32_t p = 0; p < n; p++) {
		const size_t size = size_of(up_type, a->rank, parts[p].rows);
		uint8_t *part;

		weight_name(name, layer, parts[p].name);
		part = adapter_data(a, up_type, name, ".lora_b", a->rank, parts[p].rows);
		memcpy(up + at, part, size);
		at += size;
		free(part);
	}
	weight_name(name, layer, a->model->fused ? parts[0].fused : parts[0].name);
	add_to_adapter(b, a, name, ".lora_a", parts[0].columns, a->rank, down);
	add_to_adapter(b, a, name, ".lora_b", a->rank, rows, up);
	free(down);
	free(up);
}

static void add_embedding_pair(struct gguf_builder *b, const struct tiny_adapter *a)
{
	static const char name[] = "token_embd.weight";
	const enum dn_type type = type_of(a, a->rank);
	uint8_t *down = adapter_data(a, type, name, ".lora_a", a->rank, a->model->vocabulary);
	uint8_t *up = adapter_data(a, type, name, ".lora_b", a->rank, a->model->dim);

	add_to_adapter(b, a, name, ".lora_a", a->rank, a->model->vocabulary, down);
	add_to_adapter(b, a, name, ".lora_b", a->rank, a->model->dim, up);
	free(down);
	free(up);
}

int tiny_adapter_fd(const struct tiny_adapter *a)
{
	struct part parts[N_PARTS];
	struct gguf_builder b;
	uint32_t rows;
	uint32_t n;
	int fd;

	gguf_builder_init(&b);
	gguf_add_text(&b, "general.type", "adapter");
	gguf_add_text(&b, "general.architecture", "llama");
	gguf_add_text(&b, "general.name", "tiny adapter");
	gguf_add_text(&b, "adapter.type", "lora");
	gguf_add_f32(&b, "adapter.lora.alpha", a->alpha);
	list_parts(a->model, parts);
	for (uint32_t i = 0; i < a->model->layers; i++) {
		for (uint32_t t = 0; t < N_PARTS; t += n) {
			n = count_fused(a->model, parts, t, &rows);
			if (rows > 1)
				add_pair(&b, a, i, &parts[t], n, rows);
		}
	}
	if (a->embedding)
		add_embedding_pair(&b, a);
	fd = gguf_builder_fd(&b);
	gguf_builder_done(&b);
	return fd;
}

static void merge(float factor, const float *down, size_t down_step, size_t rank_step,
		  const float *up, uint32_t rank, float *values, uint32_t columns, uint32_t rows)
{
	for (size_t i = 0; i < (size_t)columns * rows; i++) {
		const float *from = down + i % columns * down_step;
		const float *to = up + i / columns * rank;
		double sum = 0.0;

		for (uint32_t r = 0; r < rank; r++)
			sum += (double)from[r * rank_step] * (double)to[r];
		values[i] += (float)((double)factor * sum);
	}
}

void tiny_adapter_merge(const struct tiny_adapter *a, float scale, const char *name, float *values,
			uint32_t columns, uint32_t rows)
{
	const float factor = scale * (a->alpha != 0.0f ? a->alpha / (float)a->rank : 1.0f);
	struct part parts[N_PARTS];
	uint8_t *down = NULL;
	uint8_t *up = NULL;
	char have[64];

	list_parts(a->model, parts);
	for (uint32_t i = 0; i < a->model->layers * N_PARTS; i++) {
		weight_name(have, i / N_PARTS, parts[i % N_PARTS].name);
		if (strcmp(have, name) != 0)
			continue;
		up = adapter_data(a, a->type, name, ".lora_b", a->rank, rows);
		weight_name(have, i / N_PARTS, parts[i % N_PARTS].fused);
		down = adapter_data(a, a->type, have, ".lora_a", columns, a->rank);
		merge(factor, (const float *)down, 1, columns, (const float *)up, a->rank, values,
		      columns, rows);
	}
	if (a->embedding && strcmp(name, "token_embd.weight") == 0) {
		/* Rows of both matrices are looked up by token and by element. */
		up = adapter_data(a, a->type, name, ".lora_a", a->rank, rows);
		down = adapter_data(a, a->type, name, ".lora_b", a->rank, columns);
		merge(factor, (const float *)down, a->rank, 1, (const float *)up, a->rank, values,
		      columns, rows);
	}
	free(down);
	free(up);
}
