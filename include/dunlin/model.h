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

/* How the rows of a text's tokens become its embedding; numbers as in GGUF. */
enum dn_pooling {
	DN_POOLING_NONE = 0, /* they do not: a row for each token */
	DN_POOLING_MEAN = 1,
	DN_POOLING_CLS = 2,  /* the first token's row */
	DN_POOLING_LAST = 3, /* the last token's */
	DN_POOLING_RANK = 4, /* scores, from a row, by the model's classification head */
	DN_POOLING_DEFAULT =
		5, /* as the file says, else the mean in encoders, the last in others */
};

/**
 * struct dn_model_info - what a model file says of itself
 * @generates: it has logits: dn_context_step() runs it
 * @encoder: each token sees its whole text, which must fit one step
 * @pooling: of dn_context_embed() where its caller does not choose
 * @scores: that its classification head gives a text, for DN_POOLING_RANK; 0: it has none
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
	uint32_t dim; /* width of the residual stream, and of embeddings */
	uint32_t n_heads;
	uint32_t n_kv_heads;
	uint32_t head_dim;
	uint32_t ffn_dim;
	uint32_t vocabulary;
	uint32_t trained_context;
	bool generates;
	bool encoder;
	enum dn_pooling pooling;
	uint32_t scores;
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
 * @context: tokens a sequence may have; 0: the lesser of trained and 4,096; where positions are
 *	learned, no more than there are
 * @sequences: whole contexts that the cache has room for; 0: one
 * @batch: most tokens one step computes; 0: 256, in encoders the context (at most 4,096)
 * @outputs: most rows of logits one step gives; 0: 8; encoders have none
 * @kv: element type of the cache
 * @memory: bytes that all may take, 0: unbounded; a @context of 0 shrinks to fit
 * @grammars: room for an index of tokens and grammars is planned too
 * @cpus: uint16[@threads]: each thread stays on a CPU of its own, the calling one, which is the
 *	first, among them, and after the context's end too; NULL: the kernel places them
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
	bool grammars;
	const uint16_t *cpus;
};

/**
 * struct dn_memory_plan - what a context will take, in bytes, before anything is allocated
 * @weights: re-laid, in anonymous memory; those of adapters too
 * @cache: keys and values, and the state of recurrent layers
 * @workspace: activations and scratch
 * @tables: the header's mapping and the tokenizer's tables
 * @grammars: what dn_grammars_memory() says, where they were asked for
 * @process: program, libraries, stacks: a measured allowance
 * @total: their sum, the peak PSS that is kept
 * @context: tokens a sequence may have under these options
 */
struct dn_memory_plan {
	uint64_t weights;
	uint64_t cache;
	uint64_t workspace;
	uint64_t tables;
	uint64_t grammars;
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
 * steps will need. The context borrows the model. Use it from one thread at a time; the first
 * context of a model loads its weights, so that no other is to be made beside it.
 *
 * Return: 0; what dn_model_plan() fails with; -EINVAL or -ENOTSUP for a level that is unknown, or
 * that this CPU has not; -ENOMEM; -EIO where a file is shorter than it was, or what read() said.
 */
DN_API DN_MUST_CHECK int dn_context_new(struct dn_model *model,
					const struct dn_context_options *options,
					struct dn_context **ret_context, struct dn_error *err);
DN_API struct dn_context *dn_context_free(struct dn_context *context);
/* The level in use, by name; the tokens a sequence may have; the most tokens of a step. */
DN_API const char *dn_context_level(const struct dn_context *context);
DN_API uint32_t dn_context_length(const struct dn_context *context);
DN_API uint32_t dn_context_batch(const struct dn_context *context);

/*
 * Touches what steps will need, so that they wait for no page: without it, cache and workspace take
 * their memory as they fill. What the kernel may take back (swap), only mlock(2) keeps.
 */
DN_API void dn_context_populate(struct dn_context *context);

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
/**
 * dn_sequence_drafts() - how many guessed tokens may follow the next token in its step
 *
 * After a step of the next token and so many more, dn_sequence_cut() takes back any of those that
 * turn out wrong, and the sequence is as if they had never been there: it can be cut back to the
 * same places. A draft must not reach over the border of a block of 32 where layers see a window.
 *
 * Return: tokens; 0 where the context ends, and always in models with recurrent layers, whose state
 * does not go back.
 */
DN_API uint32_t dn_sequence_drafts(const struct dn_sequence *sequence);
/*
 * Make @to (empty) begin with the first @length tokens of @from, or somewhat fewer, as
 * dn_sequence_cut() has it: dn_sequence_length() tells. Their blocks are shared; whoever writes into
 * a partial last one first copies it. Returns 0, or -EINVAL where @to is not empty or of another
 * context, or @from is shorter than that.
 */
DN_API DN_MUST_CHECK int dn_sequence_share(struct dn_sequence *to, const struct dn_sequence *from,
					   uint32_t length, struct dn_error *err);
/*
 * Write a sequence's keys and values, the state of its recurrent layers and its checkpoints to a
 * descriptor, and read them back into an empty sequence of a context with the same model, adapters,
 * level, cache type and layout (checked).
 *
 * Return: 0; what read() or write() said; of restoring also -EINVAL for what is no such snapshot,
 * -ENOBUFS where it is longer than the context, -ENOSPC where the cache has too few free blocks:
 * the sequence is empty then.
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
 * given twice; -ENOTSUP for an encoder, which has no logits; -ENOBUFS when a sequence would outgrow
 * the context; -ENOSPC when the cache has no free block. On failure no sequence has changed.
 */
DN_API DN_MUST_CHECK int dn_context_step(struct dn_context *context,
					 const struct dn_batch_item *items, size_t n_items,
					 struct dn_error *err);
/* Row @row of the last step: float32[vocabulary], valid until the next step; rows lie together. */
DN_API const float *dn_context_logits(const struct dn_context *context, uint32_t row);

/**
 * struct dn_embed_item - a text to be embedded
 * @tokens: uint32[@n_tokens], with what the model wants around them: dn_tokenizer_surround()
 * @second: where the second text of a pair begins, for encoders that tell the two apart; 0: there
 *	is one text
 */
struct dn_embed_item {
	const uint32_t *tokens;
	uint32_t n_tokens;
	uint32_t second;
};

/**
 * struct dn_embed_options - what becomes of a text's rows
 * @struct_size: sizeof(struct dn_embed_options)
 * @normalise: divide each row by its Euclidean length; scores stay as they are
 */
struct dn_embed_options {
	size_t struct_size;
	enum dn_pooling pooling;
	bool normalise;
};

/**
 * dn_model_embeds() - whether a model can pool in that way
 * @ret_columns: elements of a row
 *
 * Return: 0, or -ENOTSUP with the reason: DN_POOLING_RANK without a classification head,
 * DN_POOLING_CLS in a model whose first token does not see the others.
 */
DN_API DN_MUST_CHECK int dn_model_embeds(const struct dn_model *model, enum dn_pooling pooling,
					 uint32_t *ret_columns, struct dn_error *err);
/* Most tokens that a text may have: those of the context, in encoders of a step too. */
DN_API uint32_t dn_context_embed_length(const struct dn_context *context);

/**
 * dn_context_embed() - the embeddings, or scores, of texts
 * @options: NULL: as the model was trained, and normalised
 * @ret_rows: float32[rows, columns]: a row for each text in their order, or for each token of each
 *	with DN_POOLING_NONE; dn_model_embeds() gives the columns
 *
 * The rows are those that the last layer leaves, after the last norm where the model has one, pooled
 * (Reimers and Gurevych 2019). Short texts share steps, long ones take several; a text's row is the
 * same bits whatever the others are, and whatever the threads. It uses free blocks of the cache
 * and gives them back; the first call allocates some bytes that the plan has counted.
 *
 * Return: 0; -EINVAL for an empty text or an id outside the vocabulary; -ENOBUFS for a text that is
 * longer than dn_context_embed_length(); -ENOTSUP as dn_model_embeds(); -ENOSPC when the cache has
 * too few free blocks for one of the texts. What @ret_rows holds after a failure is not defined.
 */
DN_API DN_MUST_CHECK int dn_context_embed(struct dn_context *context,
					  const struct dn_embed_item *items, size_t n_items,
					  const struct dn_embed_options *options, float *ret_rows,
					  struct dn_error *err);
/* No step follows soon: the helpers sleep instead of spinning. */
DN_API void dn_context_rest(struct dn_context *context);

DN_END_DECLS

#endif /* DUNLIN_MODEL_H */
