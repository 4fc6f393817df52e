/* SPDX-License-Identifier: MIT */
/* LoRA adapters: files that change the products of a model's matrices by some of low rank. */
#ifndef DUNLIN_ENGINE_ADAPTER_H
#define DUNLIN_ENGINE_ADAPTER_H

/* IWYU pragma: begin_exports */
#include <dunlin/model.h>

#include "engine/model.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_adapter_pair - the two tensors for one of the model's
 * @parts: as many as the model's tensor has; they share the matrix down
 * @chains: where each is to be appended
 */
struct dn_adapter_pair {
	struct dn_low_rank parts[DN_PARTS_MAX];
	struct dn_low_rank **chains[DN_PARTS_MAX];
	uint32_t n_parts;
};

/**
 * struct dn_adapter - an adapter's file, checked against a model
 * @scale, @alpha, @rank: see struct dn_adapter_info
 * @weights: two for each pair; @set has them too, or none where @scale is 0
 */
struct dn_adapter {
	struct dn_gguf *gguf;
	float scale;
	double alpha;
	uint32_t rank;
	struct dn_adapter_pair *pairs;
	size_t n_pairs;
	struct dn_weight *weights;
	struct dn_weight_set set;
};

DN_MUST_CHECK int dn_adapter_load(struct dn_adapter *adapter, struct dn_pool *pool,
				  struct dn_error *err);
void dn_adapter_unload(struct dn_adapter *adapter);
struct dn_adapter *dn_adapter_free(struct dn_adapter *adapter);

/* The largest sum of ranks that one of the model's products has. */
uint32_t dn_adapters_rank(const struct dn_model *model);
/* Bytes of the headers and lists of all. */
uint64_t dn_adapters_tables(const struct dn_model *model);
/* Adds what decoding a token reads and computes of them. */
void dn_adapters_count(const struct dn_model *model, struct dn_model_info *info);

#endif /* DUNLIN_ENGINE_ADAPTER_H */
