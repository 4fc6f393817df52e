/* SPDX-License-Identifier: MIT */

#include "unit/tiny-model.h"

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

static void add(struct gguf_builder *b, const struct tiny_model *m, const char *name,
		enum dn_type type, uint32_t columns, uint32_t rows, uint32_t *state)
{
	const struct dn_type_info *info = dn_type_info(type);
	const uint64_t dims[2] = { columns, rows };
	size_t size = (size_t)columns / info->columns * info->bytes * rows;
	uint8_t *data = malloc(size);

	if (!data)
		abort();
	fill(data, size, type, state);
	if ((!m->without || strcmp(name, m->without) != 0) &&
	    (!m->without_too || strcmp(name, m->without_too) != 0))
		gguf_add_tensor(b, name, type, rows > 1 ? 2 : 1, dims, data);
	free(data);
}

static void add_layer(struct gguf_builder *b, const struct tiny_model *m, uint32_t i,
		      uint32_t *state)
{
	const uint32_t q = m->heads * m->head_dim;
	const uint32_t kv = m->kv_heads * m->head_dim;
	const struct {
		const char *name;
		uint32_t columns;
		uint32_t rows;
	} tensors[] = {
		{ "attn_norm", m->dim, 1 },	{ "attn_q", m->dim, q },
		{ "attn_k", m->dim, kv },	{ "attn_v", m->dim, kv },
		{ "attn_output", q, m->dim },	{ "ffn_norm", m->dim, 1 },
		{ "ffn_gate", m->dim, m->ffn }, { "ffn_up", m->dim, m->ffn },
		{ "ffn_down", m->ffn, m->dim },
	};

	for (size_t t = 0; t < DN_ARRAY_SIZE(tensors); t++) {
		const uint32_t block = dn_type_info(m->type)->columns;
		enum dn_type type = m->type;
		char name[64];

		/* As converters do: what a type's blocks do not divide is in another type. */
		if (tensors[t].rows == 1)
			type = DN_TYPE_F32;
		else if (tensors[t].columns % block)
			type = tensors[t].columns % 32 ? DN_TYPE_F16 : DN_TYPE_Q8_0;
		(void)snprintf(name, sizeof(name), "blk.%u.%s.weight", i, tensors[t].name);
		add(b, m, name, type, tensors[t].columns, tensors[t].rows, state);
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
	add(&b, m, "token_embd.weight", m->type, m->dim, m->vocabulary, &state);
	add(&b, m, "output_norm.weight", DN_TYPE_F32, m->dim, 1, &state);
	for (uint32_t i = 0; i < m->layers; i++)
		add_layer(&b, m, i, &state);
	fd = gguf_builder_fd(&b);
	gguf_builder_done(&b);
	return fd;
}
