/* SPDX-License-Identifier: MIT */
/* A model file, understood: what it is made of, and where each weight goes. */
#ifndef DUNLIN_ENGINE_MODEL_H
#define DUNLIN_ENGINE_MODEL_H

/* IWYU pragma: begin_exports */
#include <dunlin/model.h>

#include "engine/arch/arch.h"
#include "engine/gguf.h"
#include "kernels/kernels.h"
/* IWYU pragma: end_exports */

struct dn_pool;

/**
 * struct dn_model - see dunlin/model.h
 * @arch: NULL where @runs is set: why it cannot run
 * @tokenizer: NULL where @tokenizes is set: why it has none
 * @weights: what @arch asked for, in the order of asking; addresses of @region once loaded
 * @region: the re-laid weights, NULL before they are loaded
 */
struct dn_model {
	struct dn_gguf *gguf;
	struct dn_tokenizer *tokenizer;
	const struct dn_arch *arch;
	struct dn_hparams hparams;
	struct dn_error runs;
	struct dn_error tokenizes;
	struct dn_weight *weights;
	size_t n_weights;
	size_t max_weights;
	struct dn_layer *layers;
	struct dn_globals globals;
	uint8_t *region;
	size_t region_bytes;
	char architecture[64];
};

/* Reads and re-lays all weights with the pool's threads; once a model. */
DN_MUST_CHECK int dn_model_load_weights(struct dn_model *model, struct dn_pool *pool,
					struct dn_error *err);
/* Bytes that it takes for each thread while it reads. */
size_t dn_model_staging_bytes(const struct dn_model *model);
/* Bytes that dn_model_load_weights() maps. */
size_t dn_model_weights_bytes(const struct dn_model *model);

#endif /* DUNLIN_ENGINE_MODEL_H */
