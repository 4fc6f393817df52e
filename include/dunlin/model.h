/* SPDX-License-Identifier: MIT */
#ifndef DUNLIN_MODEL_H
#define DUNLIN_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>
#include <dunlin/kv.h>
#include <dunlin/template.h>
#include <dunlin/tokenizer.h>

DN_BEGIN_DECLS

struct dn_model;
struct dn_context;
struct dn_sequence;

/**
 * struct dn_model_info - what a model file says of itself
 *
 * Texts are borrowed from the model, not NUL-terminated, and not safe to print as they are.
 */
struct dn_model_info {
	const char *architecture; /* NUL-terminated, one of ours */
	const char *name;
	size_t name_size;
	const char *chat_template; /* NULL where the file has none */
	size_t chat_template_size;
	uint32_t n_layers;
	uint32_t dim; /* width of the residual stream */
	uint32_t n_heads;
	uint32_t n_kv_heads;
	uint32_t head_dim;
	uint32_t ffn_dim;
	uint32_t vocabulary;
	uint32_t trained_context;
	uint64_t parameters;
	uint64_t weight_bytes;	       /* in the file */
	uint64_t bytes_per_token;      /* of weights that decoding one token reads */
	uint64_t operations_per_token; /* of the layers' matrices, a multiply-add counted as 2 */
	const char *quantisation;      /* the type that most of the weights have */
};

/**
 * dn_model_open() - read and check a model's headers; no weights yet
 * @fds: GGUF files: one, or all parts of a model in their order; borrowed for the model's life
 * @n_fds: how many
 * @ret_model: owned by the caller
 *
 * Return: 0, or a negative errno; the message names the field that is wrong, and which file where
 * there are several.
 */
DN_API DN_MUST_CHECK int dn_model_open(const int *fds, size_t n_fds, struct dn_model **ret_model,
				       struct dn_error *err);
DN_API struct dn_model *dn_model_free(struct dn_model *model);
DN_API void dn_model_get_info(const struct dn_model *model, struct dn_model_info *ret_info);
/*
 * A file whose weights or vocabulary this version does not know still opens, so that it can be
 * inspected. Each returns 0, or -ENOTSUP, -ENOENT or -EINVAL with the reason why it cannot run, or
 * why it has no tokenizer.
 */
DN_API DN_MUST_CHECK int dn_model_runs(const struct dn_model *model, struct dn_error *err);
DN_API DN_MUST_CHECK int dn_model_tokenizes(const struct dn_model *model, struct dn_error *err);
/* NULL where dn_model_tokenizes() fails. Borrowed. */
DN_API const struct dn_tokenizer *dn_model_tokenizer(const struct dn_model *model);

#define DN_ADAPTERS_MAX	     16 /* of one model */
#define DN_ADAPTER_RANK_MAX  4096
#define DN_ADAPTER_SCALE_MAX 1000.0F

/**
 * struct dn_adapter_info - what an adapter's file says of itself, and how it is applied
 * @name: borrowed from the model, not NUL-terminated; NULL where the file has none
 * @alpha: as in the file; 0: the rank of each pair
 * @scale: the caller's
 * @rank: the highest of its pairs
 * @pairs: matrices that it changes
 * @bytes: in memory; 0 where @scale is 0: nothing is loaded then
 */
struct dn_adapter_info {
	const char *name;
	size_t name_size;
	double alpha;
	float scale;
	uint32_t rank;
	uint32_t pairs;
	uint64_t bytes;
};

/**
 * dn_model_add_adapter() - change a model by a LoRA adapter (Hu and others 2021)
 * @fd: a GGUF file, as llama.cpp's convert_lora_to_gguf.py makes it; borrowed for the model's life
 * @scale: of its effect, either sign, at most DN_ADAPTER_SCALE_MAX; 0: none at all
 *
 * Each product y = W x of a matrix that the file has a pair for becomes y = W x + @scale *
 * (alpha / rank) * B (A x); adapters add in the order of the calls. A pair for the embedding adds
 * to each token's row; where the output shares the embedding's matrix, the output stays. All calls
 * come before the first dn_context_new().
 *
 * Return: 0; -EBUSY after a context was made; -E2BIG for more than DN_ADAPTERS_MAX; the reason of
 * dn_model_runs(); -EINVAL or -ENOTSUP for a file that is no adapter, or not this model's. The
 * model is unchanged on failure.
 */
DN_API DN_MUST_CHECK int dn_model_add_adapter(struct dn_model *model, int fd, float scale,
					      struct dn_error *err);
DN_API uint32_t dn_model_n_adapters(const struct dn_model *model);
/* @index below dn_model_n_adapters(). */
DN_API void dn_model_get_adapter(const struct dn_model *model, uint32_t index,
				 struct dn_adapter_info *ret_info);

/**
 * struct dn_context_options - how a model is to run
 * @struct_size: sizeof(struct dn_context_options)
 * @level: kernel level by name; NULL: the best that the CPU has, capped by DUNLIN_CPU
 * @threads: 0: one
 * @context: tokens a sequence may have; 0: the lesser of trained and 4,096
 * @sequences: whole contexts that the cache has room for; 0: one
 * @batch: most tokens one step computes; 0: 256
 * @outputs: most rows of logits one step gives; 0: 8
 * @kv: element type of the cache
 * @memory: bytes that all may take, 0: unbounded; a @context of 0 shrinks to fit
 */
struct dn_context_options {
	size_t struct_size;
	const char *level;
	uint32_t threads;
	uint32_t context;
	uint32_t sequences;
	uint32_t batch;
	uint32_t outputs;
	enum dn_kv_type kv;
	uint64_t memory;
};

/**
 * struct dn_memory_plan - what a context will take, in bytes, before anything is allocated
 * @weights: re-laid, in anonymous memory; those of adapters too
 * @cache: keys and values, and the state of recurrent layers
 * @workspace: activations and scratch
 * @tables: the header's mapping and the tokenizer's tables
 * @process: program, libraries, stacks: a measured allowance
 * @total: their sum, the peak PSS that is kept
 * @context: tokens a sequence may have under these options
 */
struct dn_memory_plan {
	uint64_t weights;
	uint64_t cache;
	uint64_t workspace;
	uint64_t tables;
	uint64_t process;
	uint64_t total;
	uint32_t context;
};

/* Return: 0; -ENOMEM where @options->memory does not suffice: the message has both numbers. */
DN_API DN_MUST_CHECK int dn_model_plan(const struct dn_model *model,
				       const struct dn_context_options *options,
				       struct dn_memory_plan *ret_plan, struct dn_error *err);

/**
 * dn_context_new() - load the weights and make room for sequences
 *
 * Reads the weights with the context's threads, re-laying them as they come; allocates all that
 * steps will need. The context borrows the model. Use it from one thread at a time.
 */
DN_API DN_MUST_CHECK int dn_context_new(struct dn_model *model,
					const struct dn_context_options *options,
					struct dn_context **ret_context, struct dn_error *err);
DN_API struct dn_context *dn_context_free(struct dn_context *context);
/* The level in use, by name; the tokens a sequence may have; the most tokens of a step. */
DN_API const char *dn_context_level(const struct dn_context *context);
DN_API uint32_t dn_context_length(const struct dn_context *context);
DN_API uint32_t dn_context_batch(const struct dn_context *context);

/**
 * dn_sequence_new() - an empty sequence
 *
 * Return: 0, or -ENOSPC when as many sequences exist as the context has places for (4 times
 * @sequences).
 */
DN_API DN_MUST_CHECK int dn_sequence_new(struct dn_context *context,
					 struct dn_sequence **ret_sequence, struct dn_error *err);
DN_API struct dn_sequence *dn_sequence_free(struct dn_sequence *sequence);
/* Tokens whose keys and values are in the cache. */
DN_API uint32_t dn_sequence_length(const struct dn_sequence *sequence);
/**
 * dn_sequence_cut() - forget all but the first @length tokens, or somewhat fewer
 *
 * A model whose layers see a window, or keep a state instead of keys and values, can be cut back
 * to where that is still known: within the window, or to a checkpoint. Such a sequence keeps
 * checkpoints at multiples of 32 tokens, some, the closer to its end the denser.
 *
 * Return: the tokens that are left, at most @length; what is behind them is to be computed again.
 */
DN_API uint32_t dn_sequence_cut(struct dn_sequence *sequence, uint32_t length);
/*
 * Make @to (empty) begin with the first @length tokens of @from, or somewhat fewer, as
 * dn_sequence_cut() has it: dn_sequence_length() tells. Their blocks are shared; whoever writes into
 * a partial last one first copies it.
 */
DN_API DN_MUST_CHECK int dn_sequence_share(struct dn_sequence *to, const struct dn_sequence *from,
					   uint32_t length, struct dn_error *err);
/*
 * Write a sequence's keys and values, the state of its recurrent layers and its checkpoints to a
 * descriptor, and read them back into an empty sequence of a context with the same model, adapters,
 * level, cache type and layout (checked).
 */
DN_API DN_MUST_CHECK int dn_sequence_save(const struct dn_sequence *sequence, int fd,
					  struct dn_error *err);
DN_API DN_MUST_CHECK int dn_sequence_restore(struct dn_sequence *sequence, int fd,
					     struct dn_error *err);
/* Bytes that dn_sequence_save() writes. */
DN_API uint64_t dn_sequence_save_size(const struct dn_sequence *sequence);

enum dn_logits_wanted {
	DN_LOGITS_NONE = 0,
	DN_LOGITS_LAST = 1,
	DN_LOGITS_ALL = 2,
};

/**
 * struct dn_batch_item - the tokens that one sequence gets in a step
 * @sequence: each at most once a step
 * @tokens: uint32[@n_tokens], ids below the vocabulary; borrowed
 * @wanted: rows of logits; they come in the order of the items and their tokens
 */
struct dn_batch_item {
	struct dn_sequence *sequence;
	const uint32_t *tokens;
	uint32_t n_tokens;
	enum dn_logits_wanted wanted;
};

/**
 * dn_context_step() - compute tokens of one or several sequences
 *
 * A sequence's results do not depend on the other items, on how its tokens were cut into steps,
 * on the threads, or on whether its prefix was computed, shared or restored. Allocates nothing.
 *
 * Return: 0; -EINVAL for an id outside the vocabulary, too many tokens or outputs, a sequence
 * given twice; -ENOBUFS when a sequence would outgrow the context; -ENOSPC when the cache has no
 * free block. On failure no sequence has changed.
 */
DN_API DN_MUST_CHECK int dn_context_step(struct dn_context *context,
					 const struct dn_batch_item *items, size_t n_items,
					 struct dn_error *err);
/* Row @row of the last step: float32[vocabulary], valid until the next step; rows lie together. */
DN_API const float *dn_context_logits(const struct dn_context *context, uint32_t row);
/* No step follows soon: the helpers sleep instead of spinning. */
DN_API void dn_context_rest(struct dn_context *context);

DN_END_DECLS

#endif /* DUNLIN_MODEL_H */
