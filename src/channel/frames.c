/* SPDX-License-Identifier: MIT */
/* The schema of include/dunlin/channel.h as a table and one check a type. */

#include "channel/frames.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include <dunlin/grammar.h>
#include <dunlin/kv.h>
#include <dunlin/model.h>

#include "base/text.h"

#define IDS_ATTACHMENT_MAX ((uint64_t)DN_LOAD_CONTEXT_MAX * sizeof(uint32_t))
#define ANY_ATTACHMENT_MAX ((uint64_t)1 << 40)
#define PENALTY_LAST_MAX   4096
#define DRY_LAST_MAX	   32768

enum attachment {
	NOTHING,
	A_FILE,	  /* a descriptor, and no size: a file, not a memfd */
	MAYBE,	  /* none when there are no bytes */
	REQUIRED, /* at least one byte */
};

typedef int body_check(const struct dn_frame *frame, struct dn_error *err);

struct frame_kind {
	const char *name;
	uint32_t type;
	uint16_t body; /* bytes in use of the union */
	uint8_t attachment;
	uint8_t multiple; /* of this many bytes the attachment is */
	uint64_t max;
	body_check *check;
};

static int wrong(struct dn_error *err, const struct dn_frame *frame, const char *field)
{
	return dn_error_set(err, EBADMSG, "frame %s: field '%s' is outside its range",
			    dn_frame_name(frame->type), field);
}

/* NUL-terminated, nothing behind the NUL, printable. */
static bool good_text(const char *field, size_t size)
{
	size_t length = strnlen(field, size);
	size_t at = 0;

	if (length == size)
		return false;
	for (size_t i = length; i < size; i++)
		if (field[i] != '\0')
			return false;
	if (!dn_utf8_valid(field, length))
		return false;
	while (at < length) {
		uint32_t point;

		at += dn_utf8_decode(field + at, length - at, &point);
		if (dn_point_is_control(point))
			return false;
	}
	return true;
}

static bool in_range(float value, float low, float high)
{
	return isfinite(value) && value >= low && value <= high;
}

static int check_options(const struct dn_frame *frame, const struct dn_frame_load *load,
			 struct dn_error *err)
{
	if (load->depth > DN_LOAD_WEIGHTS)
		return wrong(err, frame, "depth");
	if (load->threads > DN_LOAD_THREADS_MAX)
		return wrong(err, frame, "threads");
	if (load->context > DN_LOAD_CONTEXT_MAX)
		return wrong(err, frame, "context");
	if (load->sequences > DN_LOAD_SEQUENCES_MAX)
		return wrong(err, frame, "sequences");
	if (load->batch > DN_LOAD_BATCH_MAX)
		return wrong(err, frame, "batch");
	if (load->outputs > DN_LOAD_OUTPUTS_MAX)
		return wrong(err, frame, "outputs");
	if (load->kv >= DN_KV_COUNT)
		return wrong(err, frame, "kv");
	if (load->report_steps > 1)
		return wrong(err, frame, "report_steps");
	if (!good_text(load->level, sizeof(load->level)))
		return wrong(err, frame, "level");
	if (load->prepared > 1)
		return wrong(err, frame, "prepared");
	if (load->grammars > 1)
		return wrong(err, frame, "grammars");
	if (load->reserved != 0)
		return wrong(err, frame, "reserved");
	if (load->realtime > 1 || (load->realtime && load->threads == 0))
		return wrong(err, frame, "realtime");
	for (uint32_t i = 0; i < DN_LOAD_THREADS_MAX; i++)
		if (load->cpus[i] >= (load->realtime && i < load->threads ? DN_LOAD_CPUS_MAX : 1))
			return wrong(err, frame, "cpus");
	return 0;
}

static int check_load(const struct dn_frame *frame, struct dn_error *err)
{
	return check_options(frame, &frame->u.load, err);
}

static int check_file(const struct dn_frame *frame, struct dn_error *err)
{
	const struct dn_frame_file *file = &frame->u.file;
	float most = file->kind == DN_FILE_ADAPTER ? DN_FILE_SCALE_MAX : 0;

	if (file->kind > DN_FILE_ADAPTER)
		return wrong(err, frame, "kind");
	if (!in_range(file->scale, -most, most))
		return wrong(err, frame, "scale");
	return 0;
}

static int check_give_back(const struct dn_frame *frame, struct dn_error *err)
{
	if (frame->u.give_back.file >= DN_FILE_PARTS_MAX)
		return wrong(err, frame, "file");
	return 0;
}

static int check_describe(const struct dn_frame *frame, struct dn_error *err)
{
	if (frame->u.describe.format > DN_DESCRIBE_JSON)
		return wrong(err, frame, "format");
	if (frame->u.describe.all > 1)
		return wrong(err, frame, "all");
	return check_options(frame, &frame->u.describe.plan, err);
}

static int check_encode(const struct dn_frame *frame, struct dn_error *err)
{
	if (frame->u.encode.special > 1)
		return wrong(err, frame, "special");
	if (frame->u.encode.prompt_kind != DN_PROMPT_TEXT &&
	    (frame->type != DN_FRAME_TOKENIZE || frame->u.encode.prompt_kind != DN_PROMPT_CHAT))
		return wrong(err, frame, "prompt_kind");
	/* The year 9999: what strftime() can print in the usual four digits. */
	if (frame->u.encode.now < -1 || frame->u.encode.now > INT64_C(253402300799))
		return wrong(err, frame, "now");
	return 0;
}

/* The first @n of @max strings of @size bytes: not empty, NUL-terminated; nothing behind. */
static bool good_strings(const char *strings, uint32_t n, uint32_t max, size_t size)
{
	for (uint32_t i = 0; i < max; i++) {
		const char *string = strings + i * size;
		size_t length = strnlen(string, size);

		if (length == size || (length > 0) != (i < n))
			return false;
		for (size_t j = length; j < size; j++)
			if (string[j] != '\0')
				return false;
	}
	return true;
}

/* The texts one behind the other, none of them empty; nothing behind. */
static bool good_stops(const struct dn_frame_submit *submit)
{
	size_t at = 0;

	for (uint32_t i = 0; i < submit->n_stop; i++) {
		const size_t length = strnlen(submit->stop + at, sizeof(submit->stop) - at);

		if (length == 0 || at + length == sizeof(submit->stop))
			return false;
		at += length + 1;
	}
	while (at < sizeof(submit->stop) && submit->stop[at] == '\0')
		at++;
	return at == sizeof(submit->stop);
}

bool dn_frame_add_stop(struct dn_frame_submit *submit, const char *text, size_t size)
{
	size_t used = 0;

	for (uint32_t i = 0; i < submit->n_stop; i++)
		used += strlen(submit->stop + used) + 1;
	if (submit->n_stop == DN_FRAME_STOP_MAX || size == 0 ||
	    size >= sizeof(submit->stop) - used || memchr(text, '\0', size))
		return false;
	memcpy(submit->stop + used, text, size);
	submit->n_stop++;
	return true;
}

static int check_submit_lists(const struct dn_frame *frame, const struct dn_frame_submit *submit,
			      struct dn_error *err)
{
	if (submit->n_stop > DN_FRAME_STOP_MAX)
		return wrong(err, frame, "n_stop");
	if (!good_stops(submit))
		return wrong(err, frame, "stop");
	if (submit->n_breaker > DN_FRAME_BREAKER_MAX)
		return wrong(err, frame, "n_breaker");
	if (!good_strings(submit->breaker[0], submit->n_breaker, DN_FRAME_BREAKER_MAX,
			  DN_FRAME_BREAKER_BYTES))
		return wrong(err, frame, "breaker");
	if (!good_text(submit->grammar_behind, sizeof(submit->grammar_behind)) ||
	    (submit->grammar_behind[0] && !submit->grammar))
		return wrong(err, frame, "grammar_behind");
	if (submit->n_bias > DN_FRAME_BIAS_MAX)
		return wrong(err, frame, "n_bias");
	for (uint32_t i = 0; i < DN_FRAME_BIAS_MAX; i++) {
		if (i < submit->n_bias ? !in_range(submit->bias[i].bias, -100, 100)
				       : submit->bias[i].token != 0 || submit->bias[i].bias != 0)
			return wrong(err, frame, "bias");
	}
	return 0;
}

/* Bounds that hold for all; where a sampler is on it says more of its own options. */
static int check_samplers(const struct dn_frame *frame, const struct dn_frame_submit *submit,
			  struct dn_error *err)
{
	if (!in_range(submit->dynatemp_range, 0, 100))
		return wrong(err, frame, "dynatemp_range");
	if (!in_range(submit->dynatemp_exponent, 0, 100))
		return wrong(err, frame, "dynatemp_exponent");
	if (!in_range(submit->top_n_sigma, -1, 100))
		return wrong(err, frame, "top_n_sigma");
	if (!in_range(submit->typical_p, 0, 1))
		return wrong(err, frame, "typical_p");
	if (!in_range(submit->xtc_probability, 0, 1))
		return wrong(err, frame, "xtc_probability");
	if (!in_range(submit->xtc_threshold, 0, 1))
		return wrong(err, frame, "xtc_threshold");
	if (!in_range(submit->dry_multiplier, 0, 100))
		return wrong(err, frame, "dry_multiplier");
	if (!in_range(submit->dry_base, submit->dry_multiplier > 0 ? 1 : 0, 100))
		return wrong(err, frame, "dry_base");
	if (submit->dry_allowed_length > DRY_LAST_MAX)
		return wrong(err, frame, "dry_allowed_length");
	if (submit->dry_penalty_last > DRY_LAST_MAX)
		return wrong(err, frame, "dry_penalty_last");
	if (submit->mirostat > 2)
		return wrong(err, frame, "mirostat");
	if (!in_range(submit->mirostat_tau, 0, 100))
		return wrong(err, frame, "mirostat_tau");
	if (!in_range(submit->mirostat_eta, 0, 10))
		return wrong(err, frame, "mirostat_eta");
	return 0;
}

static int check_submit(const struct dn_frame *frame, struct dn_error *err)
{
	const struct dn_frame_submit *submit = &frame->u.submit;
	int r;

	if (submit->prompt_kind > DN_PROMPT_CHAT)
		return wrong(err, frame, "prompt_kind");
	if (submit->prompt_kind == DN_PROMPT_TOKENS && frame->attachment % sizeof(uint32_t) != 0)
		return wrong(err, frame, "attachment");
	if (submit->max_tokens > DN_LOAD_CONTEXT_MAX)
		return wrong(err, frame, "max_tokens");
	if (submit->ignore_eos > 1)
		return wrong(err, frame, "ignore_eos");
	if (submit->keep > 1)
		return wrong(err, frame, "keep");
	if (submit->show_special > 1 || submit->parse_special > 1)
		return wrong(err, frame, "special");
	if (submit->branch > 1)
		return wrong(err, frame, "branch");
	if (!in_range(submit->temperature, 0, 100))
		return wrong(err, frame, "temperature");
	if (submit->top_k > DN_LOAD_CONTEXT_MAX)
		return wrong(err, frame, "top_k");
	if (!in_range(submit->top_p, 0, 1))
		return wrong(err, frame, "top_p");
	if (!in_range(submit->min_p, 0, 1))
		return wrong(err, frame, "min_p");
	if (!in_range(submit->repeat_penalty, 0.01F, 100))
		return wrong(err, frame, "repeat_penalty");
	if (!in_range(submit->frequency_penalty, -100, 100))
		return wrong(err, frame, "frequency_penalty");
	if (!in_range(submit->presence_penalty, -100, 100))
		return wrong(err, frame, "presence_penalty");
	if (submit->penalty_last > PENALTY_LAST_MAX)
		return wrong(err, frame, "penalty_last");
	if (submit->logprobs > DN_FRAME_TOP_MAX + 1)
		return wrong(err, frame, "logprobs");
	if (submit->speculation > DN_SPECULATION_ALWAYS)
		return wrong(err, frame, "speculation");
	if (submit->priority > DN_PRIORITY_BATCH)
		return wrong(err, frame, "priority");
	r = check_samplers(frame, submit, err);
	return r < 0 ? r : check_submit_lists(frame, submit, err);
}

static int check_grammar(const struct dn_frame *frame, struct dn_error *err)
{
	const uint32_t kind = frame->u.grammar.kind;

	if (kind < DN_GRAMMAR_GBNF || kind > DN_GRAMMAR_JSON)
		return wrong(err, frame, "kind");
	if (frame->u.grammar.reserved != 0)
		return wrong(err, frame, "reserved");
	if ((frame->attachment == 0) != (kind == DN_GRAMMAR_JSON))
		return wrong(err, frame, "attachment");
	return 0;
}

static int check_score(const struct dn_frame *frame, struct dn_error *err)
{
	if (frame->u.score.first < 1 || frame->u.score.first > DN_LOAD_CONTEXT_MAX)
		return wrong(err, frame, "first");
	return 0;
}

static int check_sequence(const struct dn_frame *frame, struct dn_error *err)
{
	return frame->u.sequence.kept == 0 ? wrong(err, frame, "kept") : 0;
}

static int check_snapshot(const struct dn_frame *frame, struct dn_error *err)
{
	if (frame->u.snapshot.kept == 0)
		return wrong(err, frame, "kept");
	if (frame->u.snapshot.tokens > DN_LOAD_CONTEXT_MAX)
		return wrong(err, frame, "tokens");
	return frame->u.snapshot.reserved != 0 ? wrong(err, frame, "reserved") : 0;
}

static int check_hello(const struct dn_frame *frame, struct dn_error *err)
{
	/* A version that is not ours is the parent's to explain. */
	if (frame->u.hello.sandbox_held & frame->u.hello.sandbox_absent)
		return wrong(err, frame, "sandbox");
	if (!good_text(frame->u.hello.program, sizeof(frame->u.hello.program)))
		return wrong(err, frame, "program");
	return 0;
}

static int check_loaded(const struct dn_frame *frame, struct dn_error *err)
{
	const struct dn_frame_loaded *loaded = &frame->u.loaded;

	if (loaded->depth > DN_LOAD_WEIGHTS)
		return wrong(err, frame, "depth");
	/* Bench draws ids from it: what has weights has a vocabulary. */
	if (loaded->vocabulary > DN_LOAD_CONTEXT_MAX ||
	    (loaded->vocabulary == 0 && loaded->depth == DN_LOAD_WEIGHTS))
		return wrong(err, frame, "vocabulary");
	if (loaded->context > DN_LOAD_CONTEXT_MAX ||
	    (loaded->context == 0) != (loaded->depth != DN_LOAD_WEIGHTS))
		return wrong(err, frame, "context");
	if (loaded->batch > DN_LOAD_BATCH_MAX)
		return wrong(err, frame, "batch");
	if (loaded->has_template > 1 || loaded->has_vocabulary > 1 || loaded->adds_bos > 1 ||
	    loaded->generates > 1)
		return wrong(err, frame, "has");
	if (loaded->pooling > DN_POOLING_RANK)
		return wrong(err, frame, "pooling");
	if (loaded->embed_context > loaded->context)
		return wrong(err, frame, "embed_context");
	if (loaded->n_files < 1 || loaded->n_files > DN_FILE_PARTS_MAX)
		return wrong(err, frame, "n_files");
	if (loaded->unlocked > 4095)
		return wrong(err, frame, "unlocked");
	if (!good_text(loaded->level, sizeof(loaded->level)) ||
	    !good_text(loaded->architecture, sizeof(loaded->architecture)) ||
	    !good_text(loaded->quantisation, sizeof(loaded->quantisation)) ||
	    !good_text(loaded->name, sizeof(loaded->name)))
		return wrong(err, frame, "text");
	return 0;
}

static int check_accepted(const struct dn_frame *frame, struct dn_error *err)
{
	const struct dn_frame_accepted *accepted = &frame->u.accepted;

	if (accepted->prompt_tokens == 0 || accepted->prompt_tokens > DN_LOAD_CONTEXT_MAX)
		return wrong(err, frame, "prompt_tokens");
	if (accepted->reused_tokens >= accepted->prompt_tokens)
		return wrong(err, frame, "reused_tokens");
	if (accepted->reserved != 0)
		return wrong(err, frame, "reserved");
	return 0;
}

static int check_output(const struct dn_frame *frame, struct dn_error *err)
{
	const struct dn_frame_output *output = &frame->u.output;

	if (output->text_size > DN_FRAME_TEXT_MAX ||
	    !dn_utf8_valid(output->text, output->text_size))
		return wrong(err, frame, "text");
	for (size_t i = output->text_size; i < DN_FRAME_TEXT_MAX; i++)
		if (output->text[i] != '\0')
			return wrong(err, frame, "text");
	if (output->n_top > DN_FRAME_TOP_MAX)
		return wrong(err, frame, "n_top");
	/* A token that a bias forced may have no probability at all: minus infinity is fine. */
	if (isnan(output->logprob) || output->logprob > 1e-3F)
		return wrong(err, frame, "logprob");
	for (uint32_t i = 0; i < DN_FRAME_TOP_MAX; i++) {
		if (i < output->n_top ? isnan(output->top[i].logprob)
				      : output->top[i].token != 0 || output->top[i].logprob != 0)
			return wrong(err, frame, "top");
	}
	return 0;
}

static int check_done(const struct dn_frame *frame, struct dn_error *err)
{
	if (frame->u.done.reason > DN_FINISH_DEADLINE)
		return wrong(err, frame, "reason");
	if (frame->u.done.output_tokens > DN_LOAD_CONTEXT_MAX + 1)
		return wrong(err, frame, "output_tokens");
	if (frame->u.done.accepted_tokens > frame->u.done.drafted_tokens)
		return wrong(err, frame, "accepted_tokens");
	return 0;
}

static int check_scored(const struct dn_frame *frame, struct dn_error *err)
{
	if (frame->u.scored.reserved != 0)
		return wrong(err, frame, "reserved");
	if (isnan(frame->u.scored.negative_log_likelihood))
		return wrong(err, frame, "negative_log_likelihood");
	return 0;
}

static int check_rows(const struct dn_frame *frame, struct dn_error *err)
{
	const struct dn_frame_rows *rows = &frame->u.rows;
	uint64_t bytes;

	if (rows->total == 0 || rows->total > DN_LOAD_CONTEXT_MAX || rows->first >= rows->total ||
	    rows->count == 0 || rows->count > rows->total - rows->first)
		return wrong(err, frame, "count");
	if (!dn_mul_ok((uint64_t)rows->count, (uint64_t)rows->columns * sizeof(float), &bytes) ||
	    bytes != frame->attachment)
		return wrong(err, frame, "columns");
	return 0;
}

static int check_embed(const struct dn_frame *frame, struct dn_error *err)
{
	const struct dn_frame_embed *embed = &frame->u.embed;

	if (embed->kind > DN_EMBED_TOKENS)
		return wrong(err, frame, "kind");
	if (embed->kind == DN_EMBED_TOKENS && frame->attachment % sizeof(uint32_t) != 0)
		return wrong(err, frame, "attachment");
	if (embed->pooling > DN_POOLING_DEFAULT)
		return wrong(err, frame, "pooling");
	if (embed->normalise > 1)
		return wrong(err, frame, "normalise");
	if (embed->truncate > 1)
		return wrong(err, frame, "truncate");
	return 0;
}

static int check_embedded(const struct dn_frame *frame, struct dn_error *err)
{
	const struct dn_frame_embedded *embedded = &frame->u.embedded;
	uint64_t bytes;

	if (embedded->total == 0 || embedded->total > DN_EMBED_TEXTS_MAX ||
	    embedded->first >= embedded->total || embedded->count == 0 ||
	    embedded->count > embedded->total - embedded->first)
		return wrong(err, frame, "count");
	if (embedded->rows == 0 || embedded->rows > DN_LOAD_CONTEXT_MAX ||
	    (embedded->count > 1 && embedded->rows != embedded->count))
		return wrong(err, frame, "rows");
	if (!dn_mul_ok((uint64_t)embedded->rows, (uint64_t)embedded->columns * sizeof(float),
		       &bytes) ||
	    bytes != frame->attachment)
		return wrong(err, frame, "columns");
	if (embedded->truncated > embedded->count)
		return wrong(err, frame, "truncated");
	return 0;
}

static int check_planned(const struct dn_frame *frame, struct dn_error *err)
{
	if (frame->u.planned.context == 0 || frame->u.planned.context > DN_LOAD_CONTEXT_MAX)
		return wrong(err, frame, "context");
	if (frame->u.planned.reserved != 0)
		return wrong(err, frame, "reserved");
	return 0;
}

static int check_error(const struct dn_frame *frame, struct dn_error *err)
{
	if (frame->u.error.code < 1 || frame->u.error.code > 4095)
		return wrong(err, frame, "code");
	if (frame->u.error.reserved != 0)
		return wrong(err, frame, "reserved");
	if (frame->u.error.predicted_ns != 0 && frame->u.error.code != ETIME)
		return wrong(err, frame, "predicted_ns");
	if (!good_text(frame->u.error.message, sizeof(frame->u.error.message)))
		return wrong(err, frame, "message");
	return 0;
}

#define KIND(type, body, attachment, multiple, max, check)                                         \
	{ #type, DN_FRAME_##type, body, attachment, multiple, max, check }
#define BODY(member) sizeof(((struct dn_frame *)0)->u.member)

static const struct frame_kind to_worker[] = {
	KIND(LOAD, BODY(load), A_FILE, 1, 0, check_load),
	KIND(DESCRIBE, BODY(describe), NOTHING, 1, 0, check_describe),
	KIND(TOKENIZE, BODY(encode), MAYBE, 1, DN_FRAME_ATTACHED_TEXT_MAX, check_encode),
	KIND(DETOKENIZE, BODY(encode), MAYBE, 4, IDS_ATTACHMENT_MAX, check_encode),
	KIND(RENDER, BODY(encode), REQUIRED, 1, DN_FRAME_ATTACHED_TEXT_MAX, check_encode),
	KIND(SUBMIT, BODY(submit), MAYBE, 1, DN_FRAME_ATTACHED_TEXT_MAX, check_submit),
	KIND(CANCEL, 0, NOTHING, 1, 0, NULL),
	KIND(SCORE, BODY(score), REQUIRED, 4, IDS_ATTACHMENT_MAX, check_score),
	KIND(LOGITS, 0, REQUIRED, 4, IDS_ATTACHMENT_MAX, NULL),
	KIND(SNAPSHOT, BODY(snapshot), NOTHING, 1, 0, check_snapshot),
	KIND(RESTORE, BODY(restore), REQUIRED, 1, ANY_ATTACHMENT_MAX, NULL),
	KIND(FORGET, BODY(sequence), NOTHING, 1, 0, check_sequence),
	KIND(TEMPLATE, 0, MAYBE, 1, DN_FRAME_ATTACHED_TEXT_MAX, NULL),
	KIND(FILE, BODY(file), A_FILE, 1, 0, check_file),
	KIND(EMBED, BODY(embed), REQUIRED, 1, DN_FRAME_ATTACHED_TEXT_MAX, check_embed),
	KIND(PREPARE, 0, A_FILE, 1, 0, NULL),
	KIND(GIVE_BACK, BODY(give_back), A_FILE, 1, 0, check_give_back),
	KIND(PLAN, BODY(load), NOTHING, 1, 0, check_load),
	KIND(RESET, 0, NOTHING, 1, 0, NULL),
	KIND(VOCABULARY, 0, NOTHING, 1, 0, NULL),
	KIND(GRAMMAR, BODY(grammar), MAYBE, 1, DN_GRAMMAR_TEXT_MAX, check_grammar),
};

static const struct frame_kind from_worker[] = {
	KIND(HELLO, BODY(hello), NOTHING, 1, 0, check_hello),
	KIND(LOADED, BODY(loaded), NOTHING, 1, 0, check_loaded),
	KIND(TEXT, 0, MAYBE, 1, ANY_ATTACHMENT_MAX, NULL),
	KIND(TOKENS, 0, MAYBE, 4, ANY_ATTACHMENT_MAX, NULL),
	KIND(ACCEPTED, BODY(accepted), NOTHING, 1, 0, check_accepted),
	KIND(OUTPUT, BODY(output), NOTHING, 1, 0, check_output),
	KIND(DONE, BODY(done), NOTHING, 1, 0, check_done),
	KIND(SCORED, BODY(scored), NOTHING, 1, 0, check_scored),
	KIND(LOGITS_OUT, BODY(rows), REQUIRED, 4, ANY_ATTACHMENT_MAX, check_rows),
	KIND(SNAPSHOT_OUT, 0, REQUIRED, 1, ANY_ATTACHMENT_MAX, NULL),
	KIND(RESTORED, BODY(restored), NOTHING, 1, 0, NULL),
	KIND(FORGOTTEN, 0, NOTHING, 1, 0, NULL),
	KIND(READY, 0, NOTHING, 1, 0, NULL),
	KIND(STEP, BODY(step), NOTHING, 1, 0, NULL),
	KIND(ERROR, BODY(error), NOTHING, 1, 0, check_error),
	KIND(EMBEDDED, BODY(embedded), REQUIRED, 4, ANY_ATTACHMENT_MAX, check_embedded),
	KIND(PREPARED, BODY(prepared), NOTHING, 1, 0, NULL),
	KIND(PLANNED, BODY(planned), NOTHING, 1, 0, check_planned),
};

static const struct frame_kind *find_kind(uint32_t type)
{
	if (type >= DN_FRAME_LOAD && type - DN_FRAME_LOAD < DN_ARRAY_SIZE(to_worker))
		return &to_worker[type - DN_FRAME_LOAD];
	if (type >= DN_FRAME_HELLO && type - DN_FRAME_HELLO < DN_ARRAY_SIZE(from_worker))
		return &from_worker[type - DN_FRAME_HELLO];
	return NULL;
}

const char *dn_frame_name(uint32_t type)
{
	const struct frame_kind *kind = find_kind(type);

	return kind ? kind->name : "unknown";
}

void dn_frame_init(struct dn_frame *frame, enum dn_frame_type type, uint64_t request)
{
	memset(frame, 0, sizeof(*frame));
	frame->version = DN_CHANNEL_VERSION;
	frame->type = type;
	frame->request = request;
}

static int check_attachment(const struct frame_kind *kind, const struct dn_frame *frame,
			    bool has_fd, struct dn_error *err)
{
	bool want_fd = kind->attachment == A_FILE || frame->attachment > 0;

	if (has_fd != want_fd)
		return dn_error_set(err, EBADMSG, "frame %s: %s", kind->name,
				    has_fd ? "a descriptor that it does not announce"
					   : "the descriptor is missing");
	if (kind->attachment == REQUIRED && frame->attachment == 0)
		return dn_error_set(err, EBADMSG, "frame %s: the attachment is missing",
				    kind->name);
	if ((kind->attachment == A_FILE || kind->attachment == NOTHING) && frame->attachment != 0)
		return dn_error_set(err, EBADMSG, "frame %s takes no attachment", kind->name);
	if (frame->attachment > kind->max && kind->max > 0)
		return dn_error_set(err, EBADMSG,
				    "frame %s: an attachment of %llu bytes; at most %llu",
				    kind->name, (unsigned long long)frame->attachment,
				    (unsigned long long)kind->max);
	if (frame->attachment % kind->multiple != 0)
		return dn_error_set(
			err, EBADMSG, "frame %s: an attachment of %llu bytes is no multiple of %u",
			kind->name, (unsigned long long)frame->attachment, kind->multiple);
	return 0;
}

int dn_frame_check(const struct dn_frame *frame, enum dn_frame_way way, bool has_fd,
		   struct dn_error *err)
{
	const struct frame_kind *kind = find_kind(frame->type);
	bool may_be_0;
	int r;

	if (frame->version != DN_CHANNEL_VERSION)
		return dn_error_set(err, EBADMSG, "a frame of version %u; this program speaks %u",
				    frame->version, DN_CHANNEL_VERSION);
	if (!kind || (way == DN_FRAME_FROM_WORKER) != (frame->type >= DN_FRAME_HELLO))
		return dn_error_set(err, EBADMSG, "a frame of type %u, which is none %s",
				    frame->type,
				    way == DN_FRAME_FROM_WORKER ? "from a worker" : "to a worker");
	if (frame->reserved != 0)
		return wrong(err, frame, "reserved");
	may_be_0 = frame->type == DN_FRAME_HELLO || frame->type == DN_FRAME_STEP ||
		   frame->type == DN_FRAME_ERROR;
	if (frame->request == 0 && !may_be_0)
		return wrong(err, frame, "request");
	r = check_attachment(kind, frame, has_fd, err);
	if (r < 0)
		return r;
	for (size_t i = kind->body; i < sizeof(frame->u.bytes); i++)
		if (frame->u.bytes[i] != 0)
			return dn_error_set(err, EBADMSG, "frame %s: unused bytes are not zero",
					    kind->name);
	return kind->check ? kind->check(frame, err) : 0;
}

void dn_frame_set_text(char *field, size_t field_size, const char *text, size_t size)
{
	size_t used = text ? dn_text_printable(text, size, field, field_size) : 0;

	memset(field + used, 0, field_size - used);
}

uint32_t dn_priority_rank(uint32_t priority)
{
	static const uint32_t ranks[] = {
		[DN_PRIORITY_URGENT] = 0,
		[DN_PRIORITY_NORMAL] = 1,
		[DN_PRIORITY_BATCH] = 2,
	};

	return ranks[priority];
}
