/* SPDX-License-Identifier: MIT */
/*
 * The channel between a parent and the worker process that runs one model.
 *
 * A SOCK_SEQPACKET socket pair; the worker finds its end as descriptor 3. Every packet is one
 * struct dn_frame of DN_FRAME_SIZE bytes, in the machine's byte order, with at most one
 * descriptor attached; bytes that a type does not use are zero, and both sides check that, as they
 * check every field (src/channel/frames.h). What does not fit a frame goes as a sealed memfd
 * ("attachment") whose length in bytes is @attachment; no bytes, no descriptor.
 *
 * The worker speaks first (HELLO); the parent need not wait for it. Requests have a number chosen
 * by the parent, never 0 and never used twice; every frame about a request carries it. Each request
 * ends with exactly one of its closing frames or with ERROR (ECANCELED where SCORE, LOGITS or EMBED
 * were cancelled). Only SUBMIT, SCORE, LOGITS and EMBED take time, and those are computed side by
 * side, a step at a time. HELLO and STEP have request 0, and so has an ERROR about the channel
 * itself, which ends it. Any worker program that speaks this can be plugged in.
 */
#ifndef DUNLIN_CHANNEL_H
#define DUNLIN_CHANNEL_H

#include <stdint.h>

#define DN_CHANNEL_VERSION     5
#define DN_CHANNEL_FD	       3
#define DN_FRAME_SIZE	       1024
#define DN_FRAME_BODY	       (DN_FRAME_SIZE - 32)
#define DN_FRAME_TEXT_MAX      512
#define DN_FRAME_STOP_MAX      16
#define DN_FRAME_STOP_BYTES    256 /* of all, with a NUL behind each */
#define DN_FRAME_BREAKER_MAX   8
#define DN_FRAME_BREAKER_BYTES 32
#define DN_FRAME_BIAS_MAX      32
#define DN_FRAME_TOP_MAX       20

/* To the worker (1 to 99), and from it (100 and up). */
enum dn_frame_type {
	DN_FRAME_LOAD = 1,	 /* attached: the model file, or its first part; -> LOADED */
	DN_FRAME_DESCRIBE = 2,	 /* -> TEXT (attached: text or JSON) */
	DN_FRAME_TOKENIZE = 3,	 /* attached: a prompt; -> TOKENS (attached: uint32 ids) */
	DN_FRAME_DETOKENIZE = 4, /* attached: uint32 ids; -> TEXT */
	DN_FRAME_RENDER = 5,	 /* attached: JSON variables of the chat template; -> TEXT */
	DN_FRAME_SUBMIT = 6,	 /* attached: prompt; -> ACCEPTED, OUTPUT..., DONE */
	DN_FRAME_CANCEL = 7,	 /* @request is the one to cancel; no frame of its own comes back */
	DN_FRAME_SCORE = 8,	 /* attached: uint32 ids; -> SCORED */
	DN_FRAME_LOGITS = 9, /* attached: uint32 ids; -> LOGITS_OUT... (attached: float32 rows) */
	DN_FRAME_SNAPSHOT = 10,	 /* of a kept sequence; -> SNAPSHOT_OUT (attached) */
	DN_FRAME_RESTORE = 11,	 /* attached: a snapshot, kept under this number; -> RESTORED */
	DN_FRAME_FORGET = 12,	 /* drops a kept sequence; -> FORGOTTEN */
	DN_FRAME_TEMPLATE = 13,	 /* attached: template source, replaces the model's; -> READY */
	DN_FRAME_FILE = 14,	 /* attached: a further file of the coming LOAD; -> READY */
	DN_FRAME_EMBED = 15,	 /* attached: texts; -> EMBEDDED... (attached: float32 rows) */
	DN_FRAME_PREPARE = 16,	 /* attached: a file that gets the prepared form; -> PREPARED */
	DN_FRAME_GIVE_BACK = 17, /* attached: one that gets a file of the model again; -> READY */
	DN_FRAME_PLAN = 18,	 /* what LOAD with these options would take; -> PLANNED */
	DN_FRAME_RESET = 19, /* drops all requests without a word, keeps what is kept; -> READY */
	DN_FRAME_VOCABULARY = 20, /* -> TEXT (attached: n + 1 uint32 offsets, then the bytes) */
	DN_FRAME_GRAMMAR = 21,	  /* attached: a grammar's text; -> READY: see dn_frame_grammar */

	DN_FRAME_HELLO = 100,
	DN_FRAME_LOADED = 101,
	DN_FRAME_TEXT = 102,
	DN_FRAME_TOKENS = 103,
	DN_FRAME_ACCEPTED = 104,
	DN_FRAME_OUTPUT = 105,
	DN_FRAME_DONE = 106,
	DN_FRAME_SCORED = 107,
	DN_FRAME_LOGITS_OUT = 108,
	DN_FRAME_SNAPSHOT_OUT = 109,
	DN_FRAME_RESTORED = 110,
	DN_FRAME_FORGOTTEN = 111,
	DN_FRAME_READY = 112,
	DN_FRAME_STEP = 113, /* what a step computed and how long it took, where asked for */
	DN_FRAME_ERROR = 114,
	DN_FRAME_EMBEDDED = 115,
	DN_FRAME_PREPARED = 116,
	DN_FRAME_PLANNED = 117,
};

/* What a FILE is to the model. Files come before LOAD, one a frame. */
enum dn_file_kind {
	DN_FILE_PART = 0,    /* of a model in several files: the second, then the others in order */
	DN_FILE_ADAPTER = 1, /* a LoRA adapter (GGUF), applied in the order of coming */
};

/* Parts of a model, the first among them; adapters. */
#define DN_FILE_PARTS_MAX    128
#define DN_FILE_ADAPTERS_MAX 16
#define DN_FILE_SCALE_MAX    1000.0F

struct dn_frame_file {
	uint32_t kind;
	float scale; /* of an adapter, either sign, at most DN_FILE_SCALE_MAX; 0 for parts */
};

/* How far LOAD goes. */
enum dn_load_depth {
	DN_LOAD_FILE = 0,    /* the container alone, of any architecture: describe */
	DN_LOAD_HEADER = 1,  /* vocabulary and template too: tokenize, detokenize, render */
	DN_LOAD_WEIGHTS = 2, /* all: submit, score, logits, embed */
};

/* What LOAD may ask for; a model's own limits come on top. */
#define DN_LOAD_THREADS_MAX   64
#define DN_LOAD_CONTEXT_MAX   (1U << 24)
#define DN_LOAD_SEQUENCES_MAX 64
#define DN_LOAD_BATCH_MAX     4096
#define DN_LOAD_OUTPUTS_MAX   4096
#define DN_LOAD_CPUS_MAX      4096

struct dn_frame_load {
	uint32_t depth;
	uint32_t threads;
	uint32_t context;   /* 0: default */
	uint32_t sequences; /* 0: one */
	uint32_t batch;	    /* 0: default */
	uint32_t outputs;   /* 0: default */
	uint32_t kv;	    /* enum dn_kv_type */
	uint32_t report_steps;
	uint64_t memory; /* bytes; 0: unbounded */
	char level[16];	 /* empty: the best */
	/*
	 * The worker was started with real-time scheduling: its threads stay on a CPU each, memory
	 * is locked, and a little time is left to others.
	 */
	uint32_t realtime;
	uint16_t cpus[DN_LOAD_THREADS_MAX]; /* with @realtime, one for each of @threads; else 0 */
	uint32_t prepared; /* the file is a model's prepared form, whose seal the parent checks */
	uint32_t grammars; /* there will be some: what they may take is part of the plan */
	uint32_t reserved;
};

struct dn_frame_hello {
	uint32_t version;
	uint32_t sandbox_held;	 /* bits of the measures that hold (src/sandbox/jail.h) */
	uint32_t sandbox_absent; /* bits of those that do not */
	char program[32];
};

struct dn_frame_loaded {
	uint32_t depth;
	uint32_t vocabulary;
	uint32_t context; /* 0 below DN_LOAD_WEIGHTS, as the four 64-bit numbers below */
	uint32_t batch;
	uint32_t has_template;
	uint32_t has_vocabulary;
	uint32_t bos; /* UINT32_MAX: none */
	uint32_t eos;
	uint32_t adds_bos;
	uint32_t generates;
	uint32_t dim;	  /* of embeddings */
	uint32_t pooling; /* enum dn_pooling: what embeddings are where EMBED does not choose */
	uint32_t scores;  /* that a pair of texts gets; 0: the model is no reranker */
	uint32_t embed_context; /* tokens that an embedded text may have; 0 as @context */
	uint32_t n_files;	/* that the model is made of, or was before it was prepared */
	uint32_t unlocked;	/* with @realtime, the errno that kept memory from being locked */
	uint64_t load_ns;
	uint64_t planned_bytes;
	uint64_t bytes_per_token;
	uint64_t operations_per_token;
	char level[16];
	char architecture[32];
	char quantisation[16];
	char name[128]; /* printable UTF-8 */
};

enum dn_describe_format {
	DN_DESCRIBE_TEXT = 0,
	DN_DESCRIBE_JSON = 1,
};

struct dn_frame_describe {
	uint32_t format;
	uint32_t all;		   /* every tensor and every metadata entry */
	struct dn_frame_load plan; /* options whose memory is to be planned; @depth is not used */
};

enum dn_prompt_kind {
	DN_PROMPT_TEXT = 0,   /* raw text; BOS as the model wants it */
	DN_PROMPT_TOKENS = 1, /* uint32 ids as they are */
	/*
	 * JSON variables of the chat template ("messages", …). Where "continue_final_message" is true,
	 * the text ends with the last message's content, which the answer goes on with.
	 */
	DN_PROMPT_CHAT = 2,
};

struct dn_frame_encode {
	uint32_t special; /* recognise, or give back, special tokens */
	/* TOKENIZE: a text, without BOS, or a chat, whose ids are those that SUBMIT computes. */
	uint32_t prompt_kind;
	int64_t now; /* RENDER: strftime_now(), seconds since 1970 as UTC; negative: the clock */
};

/*
 * A step has requests of the highest priority alone that any has; the others keep what they have of
 * the cache, and wait.
 */
enum dn_priority {
	DN_PRIORITY_NORMAL = 0,
	DN_PRIORITY_URGENT = 1,
	DN_PRIORITY_BATCH = 2,
};

/* Whether tokens are guessed ahead, which changes how fast an answer comes and nothing in it. */
enum dn_speculation_mode {
	DN_SPECULATION_AUTO = 0, /* where it is measured to be faster */
	DN_SPECULATION_OFF = 1,
	DN_SPECULATION_ALWAYS = 2, /* wherever there is anything to guess: to test and to measure */
};

#define DN_FRAME_BEHIND_BYTES 16

struct dn_frame_submit {
	uint32_t prompt_kind;
	uint32_t max_tokens; /* 0: as the context allows */
	uint32_t ignore_eos;
	uint32_t keep; /* keep the sequence under this request's number, for @continues */
	/* A kept sequence whose longest common prefix is used again; 0: none, or gone meanwhile. */
	uint64_t continues;
	uint64_t seed;
	float temperature;
	uint32_t top_k;
	float top_p;
	float min_p;
	float repeat_penalty;
	float frequency_penalty;
	float presence_penalty;
	uint32_t penalty_last;
	uint32_t logprobs; /* 0: none; n: of the token and of the n - 1 most likely */
	uint32_t n_stop;
	uint32_t n_bias;
	uint32_t show_special;	/* control tokens give their text, else none */
	uint32_t parse_special; /* they are recognised in a DN_PROMPT_TEXT */
	uint32_t branch;	/* leave @continues kept and share its blocks; else it is used up */
	char stop
		[DN_FRAME_STOP_BYTES]; /* @n_stop texts, each NUL-terminated, with no room between */
	struct {
		uint32_t token;
		float bias;
	} bias[DN_FRAME_BIAS_MAX];
	/* As in struct dn_sampler_options, where zero is off too: dry_* and mirostat_* count when on. */
	float dynatemp_range;
	float dynatemp_exponent;
	float top_n_sigma;
	float typical_p;
	float xtc_probability;
	float xtc_threshold;
	float dry_multiplier;
	float dry_base;
	uint32_t dry_allowed_length;
	uint32_t dry_penalty_last;
	uint32_t mirostat;
	float mirostat_tau;
	float mirostat_eta;
	uint32_t n_breaker;
	char breaker[DN_FRAME_BREAKER_MAX][DN_FRAME_BREAKER_BYTES]; /* NUL-terminated */
	uint32_t speculation;					    /* enum dn_speculation_mode */
	uint32_t priority;					    /* enum dn_priority */
	/* Whose it is: prompts are computed in turns of the clients, not in their order alone. */
	uint64_t client;
	/* Prefixes that others of the same space have in the cache are used again; 0: none are. */
	uint64_t space;
	/*
	 * Of CLOCK_MONOTONIC, in nanoseconds; 0: none. What cannot be met, as far as steps measured
	 * so far tell, is refused with ETIME; what was not met ends, with ETIME before the first
	 * token and with DN_FINISH_DEADLINE behind it.
	 */
	uint64_t first_deadline_ns;
	uint64_t end_deadline_ns;
	uint64_t grammar; /* the number of a GRAMMAR that the answer keeps to; 0: none */
	/* It does so from behind this text on, which it writes first; empty: from its beginning. */
	char grammar_behind[DN_FRAME_BEHIND_BYTES];
};

/*
 * The text is compiled, and kept under the frame's number for SUBMIT. Some are kept, the oldest are
 * forgotten: a SUBMIT right behind finds its own for sure. Of one text there is one, under the
 * number it came with last. Errors: EINVAL, ENOTSUP and E2BIG say what is wrong with the text.
 */
struct dn_frame_grammar {
	uint32_t kind; /* enum dn_grammar_kind */
	uint32_t reserved;
};

struct dn_frame_accepted {
	uint32_t prompt_tokens;
	uint32_t reused_tokens; /* as it is now; DONE tells what came of it */
	uint32_t max_tokens;
	uint32_t reserved;
	uint64_t
		first_ns; /* from now to the first token, as predicted; 0: nothing was measured yet */
	uint64_t end_ns; /* to the last of @max_tokens */
};

struct dn_frame_output {
	uint32_t token; /* DN_TOKEN_NONE in a frame that only carries on or flushes text */
	uint32_t text_size;
	uint32_t n_top;
	float logprob;
	struct {
		uint32_t token;
		float logprob;
	} top[DN_FRAME_TOP_MAX];
	char text[DN_FRAME_TEXT_MAX]; /* not NUL-terminated; whole UTF-8 sequences */
};

enum dn_finish_reason {
	DN_FINISH_EOS = 0,     /* the model ended */
	DN_FINISH_STOP = 1,    /* a stop string */
	DN_FINISH_LENGTH = 2,  /* max_tokens */
	DN_FINISH_CONTEXT = 3, /* the context is full */
	DN_FINISH_CANCELLED = 4,
	DN_FINISH_DEADLINE = 5, /* the one for the end */
};

struct dn_frame_done {
	uint32_t reason;
	uint32_t prompt_tokens;
	uint32_t reused_tokens;
	uint32_t output_tokens;
	uint64_t prefill_ns;	 /* from acceptance to the first token */
	uint64_t decode_ns;	 /* from the first token to the last */
	uint64_t prefill_cpu_ns; /* CPU time of the worker in these, all its threads and requests */
	uint64_t decode_cpu_ns;
	uint32_t minor_faults;	  /* page faults of the worker, from the first token to the last */
	uint32_t major_faults;	  /* those that waited for a disk */
	uint32_t drafted_tokens;  /* guessed ahead and computed */
	uint32_t accepted_tokens; /* of these, the right ones, which @output_tokens has too */
	uint64_t queue_ns;	  /* of @prefill_ns, until its first step */
	uint64_t reused_hash;	  /* tells prefixes of @reused_tokens from others; 0: none */
};

struct dn_frame_score {
	uint32_t first; /* score the predictions of tokens @first to the last; at least 1 */
};

/* Rows come in order; the frame whose @first + @count is @total closes the request. */
struct dn_frame_rows {
	uint32_t first;
	uint32_t count;
	uint32_t total;
	uint32_t columns;
};

#define DN_EMBED_TEXTS_MAX (1U << 20)

enum dn_embed_kind {
	DN_EMBED_EACH = 0,   /* each text by itself */
	DN_EMBED_PAIRS = 1,  /* the first text, a query, with each of the others */
	DN_EMBED_TOKENS = 2, /* each text is uint32 ids, computed as they are */
};

/*
 * What is attached is a uint32 count of texts, a uint32 of each one's bytes, and the texts one
 * behind the other. The worker puts around them what the model wants there, but around ids nothing.
 */
struct dn_frame_embed {
	uint32_t kind;
	uint32_t pooling; /* enum dn_pooling */
	uint32_t normalise;
	uint32_t truncate; /* cut what is too long for the model at its end; else it is an error */
};

/* Texts (pairs) come in order; the frame whose @first + @count is @total closes the request. */
struct dn_frame_embedded {
	uint32_t first;
	uint32_t count;
	uint32_t total;
	uint32_t rows; /* @count, or with DN_POOLING_NONE the tokens of one text */
	uint32_t columns;
	uint32_t truncated; /* how many of @count were cut */
	uint64_t tokens;    /* that were computed for them */
};

struct dn_frame_planned {
	uint64_t total; /* bytes, as in struct dn_memory_plan */
	uint64_t weights;
	uint64_t cache;
	uint32_t context;
	uint32_t reserved;
};

struct dn_frame_prepared {
	uint64_t head_bytes; /* what loading less than DN_LOAD_WEIGHTS reads, from the first byte */
};

/* GIVE_BACK: which of the model's files, from 0. */
struct dn_frame_give_back {
	uint32_t file;
};

/* FORGET: which kept sequence. */
struct dn_frame_sequence {
	uint64_t kept;
};

struct dn_frame_snapshot {
	uint64_t kept;
	uint32_t tokens; /* at its head, or somewhat fewer; 0: all */
	uint32_t reserved;
};

/* RESTORE: where others may use it; 0: whoever continues from it by its number alone. */
struct dn_frame_restore {
	uint64_t space;
};

struct dn_frame_restored {
	uint32_t tokens;
};

struct dn_frame_scored {
	uint32_t n_scored;
	uint32_t reserved;
	double negative_log_likelihood; /* sum, natural logarithm */
};

struct dn_frame_step {
	uint32_t prefill_tokens;
	uint32_t decode_tokens; /* drafted ones too, whether right or wrong */
	uint64_t step_ns;
	uint64_t cpu_ns; /* of all threads */
};

struct dn_frame_error {
	int32_t code; /* positive errno */
	uint32_t reserved;
	uint64_t predicted_ns; /* with ETIME: how long it would have taken; else 0 */
	char message[DN_FRAME_TEXT_MAX];
};

struct dn_frame {
	uint32_t version; /* DN_CHANNEL_VERSION */
	uint32_t type;
	uint64_t request;
	uint64_t attachment; /* bytes in the attached memfd; 0 with none */
	uint64_t reserved;
	union {
		struct dn_frame_load load;
		struct dn_frame_file file;
		struct dn_frame_hello hello;
		struct dn_frame_loaded loaded;
		struct dn_frame_describe describe;
		struct dn_frame_encode encode;
		struct dn_frame_submit submit;
		struct dn_frame_grammar grammar;
		struct dn_frame_accepted accepted;
		struct dn_frame_output output;
		struct dn_frame_done done;
		struct dn_frame_score score;
		struct dn_frame_scored scored;
		struct dn_frame_rows rows;
		struct dn_frame_embed embed;
		struct dn_frame_embedded embedded;
		struct dn_frame_prepared prepared;
		struct dn_frame_planned planned;
		struct dn_frame_give_back give_back;
		struct dn_frame_sequence sequence;
		struct dn_frame_snapshot snapshot;
		struct dn_frame_restore restore;
		struct dn_frame_restored restored;
		struct dn_frame_step step;
		struct dn_frame_error error;
		uint8_t bytes[DN_FRAME_BODY];
	} u;
};

#ifdef __cplusplus
static_assert(sizeof(struct dn_frame) == DN_FRAME_SIZE, "frames have one size");
#else
_Static_assert(sizeof(struct dn_frame) == DN_FRAME_SIZE, "frames have one size");
#endif

#endif /* DUNLIN_CHANNEL_H */
