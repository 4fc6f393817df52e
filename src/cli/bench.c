/* SPDX-License-Identifier: MIT */
/* dunlin bench: how fast a model is here, beside what the machine itself can do. */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dunlin/model.h>
#include <dunlin/tokenizer.h>

#include "base/text.h"
#include "cli/bench.h"
#include "channel/frames.h"

#define FIELD(member) offsetof(struct dn_bench_options, member)
#define TEXT_WORDS    2 /* before the only text of an EMBED: the count of texts, its bytes */

static const struct dn_option options[] = {
	{ "prompt", 'p', DN_OPTION_U32, FIELD(prompt), 1, 1 << 20, "N",
	  "tokens of the prompt (default: 256)" },
	{ "generate", 'n', DN_OPTION_U32, FIELD(generate), 0, 1 << 20, "N",
	  "tokens of the answer; 0: prefill alone (default: 64)" },
	{ "repetitions", 'r', DN_OPTION_U32, FIELD(repetitions), 1, DN_BENCH_REPETITIONS_MAX, "N",
	  "runs, after one that does not count (default: 5)" },
	{ "latency", 0, DN_OPTION_FLAG, FIELD(latency), 0, 0, NULL,
	  "the times between tokens too: median, 99th and 99.9th percentile" },
	{ "svg", 0, DN_OPTION_TEXT, FIELD(svg), 0, 0, "FILE", "with --latency: draw them" },
	{ "depth", 'd', DN_OPTION_U32, FIELD(depth), 1, 1 << 20, "N",
	  "tokens of context before the answer (default: those of the prompt)" },
	{ "sequences", 's', DN_OPTION_U32, FIELD(sequences), 1, DN_BENCH_SEQUENCES_MAX, "N",
	  "answers at once, beside one alone (default: 1)" },
	{ "json", 0, DN_OPTION_FLAG, FIELD(json), 0, 0, NULL, "as one JSON object" },
	DN_OPTION_THREADS(struct dn_bench_options),
	DN_OPTION_REALTIME(struct dn_bench_options),
	DN_OPTION_KV(struct dn_bench_options),
	DN_OPTION_MEMORY(struct dn_bench_options),
	DN_OPTION_LORA(struct dn_bench_options),
	DN_OPTION_VERIFY(struct dn_bench_options),
	DN_OPTION_SANDBOX(struct dn_bench_options),
};

static void set_defaults(void *data)
{
	struct dn_bench_options *bench = data;

	bench->prompt = 256;
	bench->generate = 64;
	bench->repetitions = 5;
	bench->sequences = 1;
}

/* Median, extremes, and the spread between them in parts of the median. */
static struct dn_spread spread_of(double *values, size_t n)
{
	struct dn_spread spread = { 0 };

	qsort(values, n, sizeof(*values), dn_compare_doubles);
	spread.min = values[0];
	spread.max = values[n - 1];
	spread.median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
	spread.spread = spread.median > 0 ? (spread.max - spread.min) / spread.median : 0;
	return spread;
}

void dn_bench_fill_prompt(uint32_t *ids, uint32_t n, uint32_t vocabulary, uint32_t run)
{
	uint64_t state = 0x9e3779b97f4a7c15U * (run + 1);

	for (uint32_t i = 0; i < n; i++) {
		state = state * 6364136223846793005U + 1442695040888963407U;
		ids[i] = (uint32_t)(state >> 33) % vocabulary;
	}
}

/*
 * A model that generates nothing has a text embedded, and what takes the time is its prefill too.
 * @packed: the text as EMBED wants it.
 */
static int embed_once(struct dn_client *client, const struct dn_bench_options *bench,
		      const uint32_t *packed, struct dn_frame_done *ret_done, struct dn_error *err)
{
	uint64_t begin = dn_cli_now();
	struct dn_frame frame;
	DN_AUTO_FD int fd = -1;
	int r;

	dn_client_request(client, &frame, DN_FRAME_EMBED);
	frame.u.embed =
		(struct dn_frame_embed){ .kind = DN_EMBED_TOKENS, .pooling = DN_POOLING_DEFAULT };
	r = dn_client_send(client, &frame, packed,
			   (TEXT_WORDS + (size_t)bench->prompt) * sizeof(uint32_t), err);
	if (r >= 0)
		r = dn_client_expect(client, frame.request, DN_FRAME_EMBEDDED, &frame, &fd, err);
	if (r < 0)
		return r;
	*ret_done = (struct dn_frame_done){ .prompt_tokens = bench->prompt,
					    .prefill_ns = dn_cli_now() - begin };
	return 0;
}

int dn_bench_submit(struct dn_client *client, const struct dn_bench_answer *answer,
		    uint64_t *ret_request, struct dn_error *err)
{
	struct dn_frame frame;

	dn_client_request(client, &frame, DN_FRAME_SUBMIT);
	*ret_request = frame.request;
	frame.u.submit.prompt_kind = DN_PROMPT_TOKENS;
	frame.u.submit.max_tokens = answer->n_tokens;
	frame.u.submit.ignore_eos = 1;
	/* A step a token: an answer that repeats itself would be faster, and say less. */
	frame.u.submit.speculation = DN_SPECULATION_OFF;
	frame.u.submit.keep = answer->keep;
	frame.u.submit.continues = answer->continues;
	frame.u.submit.top_p = 1;
	frame.u.submit.repeat_penalty = 1;
	return dn_client_send(client, &frame, answer->prompt, answer->n_prompt * sizeof(uint32_t),
			      err);
}

/* @latency: gets the times of its tokens; may be NULL */
static int generate_once(struct dn_client *client, const struct dn_bench_answer *answer,
			 struct dn_latency *latency, uint64_t *ret_request,
			 struct dn_frame_done *ret_done, struct dn_error *err)
{
	struct dn_frame frame;
	int r;

	if (latency)
		dn_latency_ask(latency, dn_cli_now());
	r = dn_bench_submit(client, answer, ret_request, err);
	while (r >= 0) {
		DN_AUTO_FD int fd = -1;

		r = dn_client_receive(client, &frame, &fd, err);
		if (r < 0)
			return r;
		if (frame.request != *ret_request)
			return dn_error_set(err, EPROTO, "the worker answered another request");
		if (frame.type == DN_FRAME_ERROR)
			return dn_client_failure(&frame, err);
		if (latency && frame.type == DN_FRAME_OUTPUT &&
		    frame.u.output.token != DN_TOKEN_NONE)
			dn_latency_token(latency, dn_cli_now());
		if (frame.type == DN_FRAME_DONE) {
			*ret_done = frame.u.done;
			return 0;
		}
	}
	return r;
}

/* The prompt and its answer; with a depth, an answer of its own after so many tokens of @kept. */
static int answer_once(struct dn_client *client, const struct dn_bench_options *bench,
		       uint32_t *ids, struct dn_latency *latency, uint64_t *kept,
		       struct dn_frame_done *ret_done, struct dn_error *err)
{
	/* The first token comes with the prompt. */
	struct dn_bench_answer answer = {
		.prompt = ids,
		.n_prompt = bench->prompt,
		.n_tokens = bench->depth ? 1 : DN_MAX(bench->generate, 1U),
	};
	struct dn_frame_done deep;
	uint64_t request;
	int r;

	r = generate_once(client, &answer, bench->depth ? NULL : latency, &request, ret_done, err);
	if (r < 0 || bench->depth == 0)
		return r;
	dn_bench_fill_prompt(ids, bench->depth, client->loaded.vocabulary, DN_BENCH_RUN_DEPTH);
	answer = (struct dn_bench_answer){ .prompt = ids,
					   .n_prompt = bench->depth,
					   .n_tokens = bench->generate,
					   .keep = true,
					   .continues = *kept };
	r = generate_once(client, &answer, latency, kept, &deep, err);
	if (r < 0)
		return r;
	ret_done->output_tokens = deep.output_tokens;
	ret_done->decode_ns = deep.decode_ns;
	ret_done->decode_cpu_ns = deep.decode_cpu_ns;
	ret_done->minor_faults = deep.minor_faults;
	ret_done->major_faults = deep.major_faults;
	return 0;
}

static void fill_rates(const struct dn_frame_done *done, double *ret_prefill, double *ret_decode,
		       double *ret_cpu)
{
	double decoded = fmax((double)done->output_tokens - 1, 0);

	*ret_prefill = (double)done->prompt_tokens * 1e9 / fmax((double)done->prefill_ns, 1);
	*ret_decode = decoded * 1e9 / fmax((double)done->decode_ns, 1);
	*ret_cpu = (double)done->decode_cpu_ns / 1e9 / fmax(decoded, 1);
}

static int measure(struct dn_client *client, const struct dn_bench_options *bench,
		   struct dn_bench_result *result, struct dn_error *err)
{
	double prefill[DN_BENCH_REPETITIONS_MAX];
	double decode[DN_BENCH_REPETITIONS_MAX];
	double cpu[DN_BENCH_REPETITIONS_MAX];
	double batched[DN_BENCH_REPETITIONS_MAX] = { 0 };
	uint64_t requests[DN_BENCH_SEQUENCES_MAX] = { 0 };
	uint64_t kept = 0;
	const size_t size =
		(TEXT_WORDS + (size_t)DN_MAX(bench->prompt, bench->depth)) * sizeof(uint32_t);
	DN_AUTO_FREE uint32_t *packed = malloc(size);
	struct dn_frame_done done = { 0 };

	if (!packed)
		return dn_error_memory(err, "a prompt", size);
	packed[0] = 1;
	packed[1] = bench->prompt * (uint32_t)sizeof(uint32_t);
	result->decodes = client->loaded.generates && bench->generate > 0;
	if (bench->latency && !result->decodes)
		return dn_error_set(err, ENOTSUP, "--latency: there are no tokens to wait for");
	if (!result->decodes && (bench->depth > 0 || bench->sequences > 1))
		return dn_error_set(err, ENOTSUP,
				    "--depth and --sequences: the model generates nothing");
	/* The first run, 0, warms caches and clocks. */
	for (uint32_t run = 0; run <= bench->repetitions; run++) {
		uint32_t at = run > 0 ? run - 1 : 0;
		int r;

		dn_bench_fill_prompt(packed + TEXT_WORDS, bench->prompt, client->loaded.vocabulary,
				     run);
		r = client->loaded.generates ? answer_once(client, bench, packed + TEXT_WORDS,
							   &result->latency, &kept, &done, err)
					     : embed_once(client, bench, packed, &done, err);
		if (r < 0)
			return r;
		if (result->decodes && done.output_tokens < 2)
			return dn_error_set(err, EINVAL, "the context of %u tokens ended the run",
					    client->loaded.context);
		fill_rates(&done, &prefill[at], &decode[at], &cpu[at]);
		if (run == 0) {
			dn_latency_reset(&result->latency);
		} else {
			result->minor_faults += done.minor_faults;
			result->major_faults += done.major_faults;
		}
		if (result->decodes && bench->sequences > 1)
			r = dn_bench_batch(client, bench, packed + TEXT_WORDS, requests,
					   &batched[at], err);
		if (r < 0)
			return r;
		if (dn_cli_fancy() && result->decodes)
			(void)fprintf(stderr, "\rrun %u of %u: prefill %.1f, decode %.1f tokens/s ",
				      run, bench->repetitions, prefill[at], decode[at]);
		else if (dn_cli_fancy())
			(void)fprintf(stderr, "\rrun %u of %u: prefill %.1f tokens/s ", run,
				      bench->repetitions, prefill[at]);
	}
	if (dn_cli_fancy())
		(void)fprintf(stderr, "\r\033[K");
	result->prefill = spread_of(prefill, bench->repetitions);
	result->decode = spread_of(decode, bench->repetitions);
	result->cpu_per_token = spread_of(cpu, bench->repetitions);
	result->batched = spread_of(batched, bench->repetitions);
	return 0;
}

/* The worker's peak as the kernel counts it; 0 where it does not tell. */
static uint64_t peak_bytes(const struct dn_client *client)
{
	char path[64];
	char line[256];
	unsigned long long kib = 0;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)client->child.pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, "VmHWM:", 6) == 0)
			kib = strtoull(line + 6, NULL, 10);
	(void)fclose(file);
	return kib * 1024;
}

static int bench_model(const struct dn_invocation *invocation, struct dn_bench_result *result,
		       struct dn_error *err)
{
	const struct dn_bench_options *bench = invocation->values;
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	struct dn_model_options model = bench->model;
	struct dn_frame_load load;
	uint64_t begin = dn_cli_now();
	int r;

	model.context = DN_MAX(bench->prompt, bench->depth) + bench->generate;
	dn_client_load_options(&model, &load);
	/* Room for the prompt beside all that is kept from run to run. */
	load.sequences = 1 + (bench->depth > 0);
	if (bench->sequences > 1) {
		load.sequences += bench->sequences;
		load.outputs = bench->sequences;
	}
	r = dn_client_open(&client, invocation->args[0], &model, &load, err);
	if (r < 0)
		return r;
	dn_client_note_unlocked(&client, invocation->verb);
	result->start_ms = (double)(dn_cli_now() - begin) / 1e6;
	result->verify_ms = (double)client.verify_ns / 1e6;
	result->loaded = client.loaded;
	result->threads = load.threads;
	r = measure(&client, bench, result, err);
	if (r < 0)
		return r;
	result->peak_bytes = peak_bytes(&client);
	return 0;
}

/*
 * Makes room for the times and opens the picture's file, so that nothing is measured in vain; says
 * where the times will be too few.
 */
static int prepare_latency(const struct dn_verb *verb, const struct dn_bench_options *bench,
			   struct dn_bench_result *result, FILE **picture, struct dn_error *err)
{
	const size_t needed = dn_latency_needed(99.9);
	int r;

	if (!bench->latency)
		return 0;
	if (bench->svg) {
		*picture = fopen(bench->svg, "we");
		if (!*picture)
			return dn_error_errno(err, errno, "write '%s'", bench->svg);
	}
	r = dn_latency_init(&result->latency, bench->repetitions, bench->generate, err);
	if (r >= 0 && bench->generate > 0 && result->latency.capacity < needed)
		dn_cli_note(verb,
			    "%zu times between tokens are too few for the 99.9th percentile: "
			    "take --generate %zu or more, or more --repetitions",
			    result->latency.capacity,
			    DN_DIV_ROUND_UP(needed, (size_t)bench->repetitions) + 1);
	return r;
}

/* Closes the file in any case. */
static int draw(const struct dn_bench_options *bench, const char *model,
		const struct dn_bench_result *result, FILE *out, struct dn_error *err)
{
	char title[256];
	char name[96];
	bool failed;

	(void)dn_text_printable(model, strlen(model), name, sizeof(name));
	(void)snprintf(title, sizeof(title), "%s, %s, %u threads%s: %zu times between tokens", name,
		       result->loaded.level, result->threads,
		       bench->model.realtime ? ", real-time" : "", result->latency.n);
	dn_latency_svg(&result->latency, title, out);
	failed = ferror(out) != 0;
	failed |= fclose(out) != 0;
	return failed ? dn_error_set(err, EIO, "write '%s': not all of it could be", bench->svg)
		      : 0;
}

static int run(struct dn_invocation *invocation)
{
	const struct dn_bench_options *bench = invocation->values;
	struct dn_bench_result result = { 0 };
	FILE *picture = NULL;
	struct dn_error err = DN_ERROR_INIT;
	int r;

	if (bench->svg && !bench->latency) {
		(void)fprintf(stderr, "dunlin: bench: --svg takes --latency\n");
		return DN_EXIT_USAGE;
	}
	if (bench->generate == 1) {
		(void)fprintf(stderr, "dunlin: bench: --generate 1 leaves nothing to measure: the "
				      "first token comes with the prompt; take 0, or 2 and more\n");
		return DN_EXIT_USAGE;
	}
	if (bench->generate == 0 && (bench->depth > 0 || bench->sequences > 1)) {
		(void)fprintf(stderr,
			      "dunlin: bench: --depth and --sequences measure answers: take "
			      "--generate 2 or more\n");
		return DN_EXIT_USAGE;
	}
	r = prepare_latency(invocation->verb, bench, &result, &picture, &err);
	if (r >= 0)
		r = bench_model(invocation, &result, &err);
	dn_latency_sort(&result.latency);
	if (r >= 0 && picture)
		r = draw(bench, invocation->args[0], &result, picture, &err);
	else if (picture)
		(void)fclose(picture);
	/* The machine's own limits, once the worker is gone and the cores are free. */
	if (r >= 0)
		r = dn_bench_machine(&result, &err);
	if (r >= 0)
		r = bench->json ? dn_bench_print_json(bench, &result, &err)
				: dn_bench_print(bench, &result);
	dn_latency_done(&result.latency);
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_bench = {
	.name = "bench",
	.arguments = "MODEL",
	.summary = "Measure how fast a model is here, beside the machine's limits.",
	.details =
		"Prefill is limited by arithmetic, decode by memory: each token reads all weights\n"
		"once. The spread is (max - min) / median over the runs. Models that embed texts\n"
		"have prefill alone. What --depth computes is kept from run to run.\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.min_args = 1,
	.max_args = 1,
	.values_size = sizeof(struct dn_bench_options),
	.defaults = set_defaults,
	.run = run,
};
