/* SPDX-License-Identifier: MIT */
/* dunlin run: a prompt in, an answer out. */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <dunlin/grammar.h>

#include "channel/frames.h"
#include "cli/console.h"
#include "cli/run.h"

#define FIELD(member) offsetof(struct dn_run_options, member)

static const struct dn_option options[] = {
	{ "max-tokens", 'n', DN_OPTION_U32, FIELD(max_tokens), 1, DN_LOAD_CONTEXT_MAX, "N",
	  "tokens of an answer, at most (default: what the context holds)" },
	{ "system", 's', DN_OPTION_TEXT, FIELD(system), 0, 0, "TEXT", "a system message" },
	{ "file", 'f', DN_OPTION_TEXT, FIELD(file), 0, 0, "FILE", "take the prompt from a file" },
	{ "raw", 0, DN_OPTION_FLAG, FIELD(raw), 0, 0, NULL,
	  "the prompt as it is: no chat template, special tokens recognised" },
	{ "ignore-eos", 0, DN_OPTION_FLAG, FIELD(ignore_eos), 0, 0, NULL,
	  "go on where the model would end" },
	{ "stop", 0, DN_OPTION_LIST, FIELD(stops), 0, DN_FRAME_STOP_MAX, "TEXT",
	  "end where the answer has this text; may be repeated" },
	{ "grammar", 0, DN_OPTION_TEXT, FIELD(grammar), 0, 0, "FILE",
	  "have answers keep to the grammar (GBNF) in a file" },
	{ "schema", 0, DN_OPTION_TEXT, FIELD(schema), 0, 0, "FILE",
	  "have answers be JSON that keeps to the JSON schema in a file" },
	{ "logprobs", 0, DN_OPTION_OPTIONAL, FIELD(logprobs), 0, DN_FRAME_TOP_MAX, "N",
	  "with --json: log-probabilities, and those of the N most likely tokens" },
	{ "json", 0, DN_OPTION_FLAG, FIELD(json), 0, 0, NULL, "the answer as one JSON object" },
	{ "stats", 0, DN_OPTION_FLAG, FIELD(stats), 0, 0, NULL, "figures on stderr" },
	{ "speculation", 0, DN_OPTION_CHOICE, FIELD(speculation), 0, 0, "auto|off|always",
	  "guess what repeats, for speed; same answer (default: auto)" },
	DN_OPTION_THREADS(struct dn_run_options),
	DN_OPTION_REALTIME(struct dn_run_options),
	DN_OPTION_CONTEXT(struct dn_run_options),
	DN_OPTION_KV(struct dn_run_options),
	DN_OPTION_MEMORY(struct dn_run_options),
	DN_OPTION_LORA(struct dn_run_options),
	DN_OPTION_VERIFY(struct dn_run_options),
	DN_OPTION_SANDBOX(struct dn_run_options),
	{ "temperature", 0, DN_OPTION_FLOAT, FIELD(temperature), 0, 100, "X",
	  "randomness; 0: always the most likely token (default: 0.8)", "Choosing tokens" },
	{ "dynatemp-range", 0, DN_OPTION_FLOAT, FIELD(dynatemp_range), 0, 100, "X",
	  "let the entropy move the temperature so far; 0: off (default: 0)" },
	{ "dynatemp-exp", 0, DN_OPTION_FLOAT, FIELD(dynatemp_exponent), 0, 100, "X",
	  "exponent of the entropy in that (default: 1)" },
	{ "seed", 0, DN_OPTION_OPTIONAL, FIELD(seed), 0, 0x1p53, "N",
	  "of the random choices (default: random)" },
	{ "logit-bias", 0, DN_OPTION_BIAS, FIELD(biases), 0, DN_FRAME_BIAS_MAX, "ID=BIAS",
	  "add to a token's logit, -100: never; may be repeated" },
	{ "top-n-sigma", 0, DN_OPTION_FLOAT, FIELD(top_n_sigma), -1, 100, "X",
	  "drop logits X deviations below the first; 0: off (default: 0)" },
	{ "top-k", 0, DN_OPTION_U32, FIELD(top_k), 0, DN_LOAD_CONTEXT_MAX, "N",
	  "choose among the N most likely; 0: all (default: 40)" },
	{ "typical-p", 0, DN_OPTION_FLOAT, FIELD(typical_p), 0, 1, "X",
	  "choose among the most typical that make up X; 1: off (default: 1)" },
	{ "top-p", 0, DN_OPTION_FLOAT, FIELD(top_p), 0, 1, "X",
	  "choose among the likeliest that make up X together (default: 0.95)" },
	{ "min-p", 0, DN_OPTION_FLOAT, FIELD(min_p), 0, 1, "X",
	  "drop what is X times less likely than the first (default: 0.05)" },
	{ "xtc-probability", 0, DN_OPTION_FLOAT, FIELD(xtc_probability), 0, 1, "X",
	  "how often the likeliest are left out (XTC); 0: never (default: 0)" },
	{ "xtc-threshold", 0, DN_OPTION_FLOAT, FIELD(xtc_threshold), 0, 1, "X",
	  "likely enough to be left out; above 0.5: off (default: 0.1)" },
	{ "mirostat", 0, DN_OPTION_U32, FIELD(mirostat), 0, 2, "N",
	  "filter by version N of mirostat alone; 0: off (default: 0)" },
	{ "mirostat-ent", 0, DN_OPTION_FLOAT, FIELD(mirostat_tau), 0, 100, "X",
	  "surprise to steer at, in bits (default: 5)" },
	{ "mirostat-lr", 0, DN_OPTION_FLOAT, FIELD(mirostat_eta), 0, 10, "X",
	  "how fast it learns (default: 0.1)" },
	{ "repeat-penalty", 0, DN_OPTION_FLOAT, FIELD(repeat_penalty), 0.01, 100, "X",
	  "divide logits of recent tokens; 1: off (default: 1)", "Recent tokens" },
	{ "frequency-penalty", 0, DN_OPTION_FLOAT, FIELD(frequency_penalty), -100, 100, "X",
	  "subtract for each time a token is recent (default: 0)" },
	{ "presence-penalty", 0, DN_OPTION_FLOAT, FIELD(presence_penalty), -100, 100, "X",
	  "subtract once for recent tokens (default: 0)" },
	{ "penalty-last", 0, DN_OPTION_U32, FIELD(penalty_last), 0, 4096, "N",
	  "how many tokens are recent (default: 64)" },
	{ "dry-multiplier", 0, DN_OPTION_FLOAT, FIELD(dry_multiplier), 0, 100, "X",
	  "penalise what goes on with a repetition (DRY); 0: off (default: 0)" },
	{ "dry-base", 0, DN_OPTION_FLOAT, FIELD(dry_base), 1, 100, "X",
	  "grows by this for each token repeated (default: 1.75)" },
	{ "dry-allowed-length", 0, DN_OPTION_U32, FIELD(dry_allowed_length), 0, 32768, "N",
	  "repetitions of fewer tokens cost nothing (default: 2)" },
	{ "dry-penalty-last-n", 0, DN_OPTION_U32, FIELD(dry_penalty_last), 0, 32768, "N",
	  "how many tokens DRY looks back (default: 64)" },
	{ "dry-sequence-breaker", 0, DN_OPTION_LIST, FIELD(dry_breakers), 0, DN_FRAME_BREAKER_MAX,
	  "TEXT", "no repetition across it; may be repeated (default: \\n : \" *)" },
};

static void set_defaults(void *data)
{
	dn_run_sampling_defaults(data);
}

/* What the table cannot say. Return: 0, or -EINVAL after a message. */
static int check_usage(const struct dn_invocation *invocation)
{
	const struct dn_run_options *run = invocation->values;
	const char *wrong = dn_run_sampling_check(run);
	struct dn_frame_submit submit = { .n_stop = 0 };
	bool prompted = invocation->n_args > 1 || run->file || !isatty(STDIN_FILENO);

	if (invocation->n_args > 1 && run->file)
		wrong = "takes either a PROMPT or --file";
	else if (run->grammar && run->schema)
		wrong = "takes either --grammar or --schema";
	else if (run->raw && run->system)
		wrong = "--raw has no place for --system";
	else if (run->json && !prompted)
		wrong = "--json takes a prompt: PROMPT, --file, or a pipe";
	else if (run->logprobs.given && !run->json)
		wrong = "--logprobs takes --json";
	for (uint32_t i = 0; i < run->stops.count; i++)
		if (!dn_frame_add_stop(&submit, run->stops.items[i], strlen(run->stops.items[i])))
			wrong = "--stop takes texts, of 240 bytes together";
	if (wrong)
		(void)fprintf(stderr, "dunlin: run: %s\n", wrong);
	return wrong ? -EINVAL : 0;
}

static int read_prompt(const struct dn_invocation *invocation, struct dn_buffer *prompt,
		       struct dn_error *err)
{
	const struct dn_run_options *run = invocation->values;

	return dn_cli_read_prompt(invocation->n_args > 1 ? invocation->args[1] : NULL, run->file,
				  run->raw, prompt, err);
}

/* The prompt as the frame wants it: text, or the variables of the chat template. */
static int make_prompt(const struct dn_run_options *run, const struct dn_buffer *prompt, bool raw,
		       char **ret_text, size_t *ret_size, struct dn_error *err)
{
	json_t *messages;
	int r = 0;

	if (raw) {
		*ret_text = malloc(prompt->size + 1);
		if (!*ret_text)
			return dn_error_memory(err, "the prompt", prompt->size);
		memcpy(*ret_text, prompt->data, prompt->size);
		*ret_size = prompt->size;
		return 0;
	}
	messages = json_array();
	if (run->system)
		r = dn_run_add_message(messages, "system", run->system, strlen(run->system), err);
	if (r >= 0)
		r = dn_run_add_message(messages, "user", prompt->data, prompt->size, err);
	if (r >= 0) {
		*ret_text = dn_run_variables(messages);
		if (!*ret_text)
			r = dn_error_memory(err, "the prompt", prompt->size);
		else
			*ret_size = strlen(*ret_text);
	}
	json_decref(messages);
	return r;
}

static int answer_once(struct dn_client *client, const struct dn_invocation *invocation,
		       const struct dn_buffer *prompt, uint64_t begin_ns, struct dn_answer *answer,
		       struct dn_error *err)
{
	const struct dn_run_options *run = invocation->values;
	bool raw = run->raw || !client->loaded.has_template;
	DN_AUTO_FREE char *text = NULL;
	struct dn_frame frame;
	size_t size = 0;
	int r;

	if (raw && !run->raw)
		dn_cli_note(invocation->verb,
			    "the model has no chat template; the prompt goes as it is (--raw)");
	r = make_prompt(run, prompt, raw, &text, &size, err);
	if (r < 0)
		return r;
	dn_run_submit(client, run, &frame);
	frame.u.submit.prompt_kind = raw ? DN_PROMPT_TEXT : DN_PROMPT_CHAT;
	frame.u.submit.parse_special = raw;
	answer->quiet = run->json;
	r = dn_run_answer(client, &frame, text, size, answer, err);
	if (!run->json && !answer->ends_line && answer->text.size > 0) {
		struct dn_error ignored = DN_ERROR_INIT;
		int w = dn_cli_write("\n", 1, r < 0 ? &ignored : err);

		r = r < 0 ? r : w;
	}
	if (r >= 0 && run->json)
		r = dn_run_print_json(client, run, answer, begin_ns, err);
	if (r >= 0 && run->stats)
		dn_run_print_stats(answer, begin_ns);
	return r;
}

/* Has the worker compile the grammar, which answers then name. The parent does not parse it. */
static int send_grammar(struct dn_client *client, struct dn_run_options *run, struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer text = DN_BUFFER_INIT(DN_CLI_TEXT_MAX);
	const char *path = run->grammar ? run->grammar : run->schema;
	struct dn_frame frame;
	int r;

	if (!path)
		return 0;
	r = dn_cli_read_file(path, &text, err);
	if (r < 0)
		return r;
	if (text.size == 0 || text.size > DN_GRAMMAR_TEXT_MAX)
		return dn_error_set(err, EINVAL, "'%.128s' is to have 1 to %zu bytes", path,
				    DN_GRAMMAR_TEXT_MAX);
	dn_client_request(client, &frame, DN_FRAME_GRAMMAR);
	frame.u.grammar.kind = run->grammar ? DN_GRAMMAR_GBNF : DN_GRAMMAR_SCHEMA;
	run->grammar_number = frame.request;
	r = dn_client_send(client, &frame, text.data, text.size, err);
	if (r >= 0)
		r = dn_client_expect(client, frame.request, DN_FRAME_READY, &frame, NULL, err);
	return r < 0 ? dn_error_prefix(err, r, "'%.128s'", path) : 0;
}

static int start(const struct dn_invocation *invocation, struct dn_client *client,
		 struct dn_error *err)
{
	const struct dn_run_options *run = invocation->values;
	struct dn_frame_load load;
	int r;

	dn_client_load_options(&run->model, &load);
	load.grammars = run->grammar || run->schema;
	r = dn_client_open(client, invocation->args[0], &run->model, &load, err);
	if (r >= 0)
		dn_client_note_unlocked(client, invocation->verb);
	if (r >= 0 && !client->loaded.generates)
		return dn_error_set(err, ENOTSUP,
				    "model '%.128s' generates no text: it is made for 'dunlin %s'",
				    invocation->args[0],
				    client->loaded.scores > 0 ? "rerank" : "embed");
	if (r >= 0 && run->system && !client->loaded.has_template)
		return dn_error_set(err, ENOTSUP,
				    "model '%.128s' has no chat template, and so no place for "
				    "--system: put it into the prompt",
				    invocation->args[0]);
	return r;
}

static int run_verb(const struct dn_invocation *invocation, bool *ret_cancelled,
		    struct dn_error *err)
{
	struct dn_run_options *run = invocation->values;
	DN_AUTO_CLIENT struct dn_client client = DN_CLIENT_INIT;
	DN_AUTO_BUFFER struct dn_buffer prompt = DN_BUFFER_INIT(DN_CLI_TEXT_MAX);
	DN_AUTO_ANSWER struct dn_answer answer = DN_ANSWER_INIT;
	DN_AUTO_FD int interrupts = -1;
	uint64_t begin = dn_cli_now();
	bool interactive = invocation->n_args < 2 && !run->file && isatty(STDIN_FILENO);
	uint32_t seed;
	int r;

	if (!run->seed.given) {
		if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
			return dn_error_errno(err, errno, "get a random seed");
		run->seed.value = seed;
	}
	/* A prompt that is still to come through a pipe needs no model yet. */
	if (!interactive) {
		r = read_prompt(invocation, &prompt, err);
		if (r < 0)
			return r;
	}
	/* The worker ignores it. */
	interrupts = dn_console_catch_interrupts(err);
	if (interrupts < 0)
		return interrupts;
	client.interrupt_fd = interrupts;
	r = start(invocation, &client, err);
	if (r < 0)
		return r;
	r = send_grammar(&client, run, err);
	if (r < 0)
		return r;
	if (interactive)
		return dn_run_interactive(&client, invocation->verb, run, err);
	r = answer_once(&client, invocation, &prompt, begin, &answer, err);
	*ret_cancelled = answer.interrupted;
	return r;
}

static int run_main(struct dn_invocation *invocation)
{
	struct dn_error err = DN_ERROR_INIT;
	bool cancelled = false;
	int r;

	if (check_usage(invocation) < 0)
		return DN_EXIT_USAGE;
	r = run_verb(invocation, &cancelled, &err);
	if (r < 0)
		return dn_cli_fail(invocation->verb, r, &err);
	return cancelled ? DN_EXIT_INTERRUPTED : DN_EXIT_OK;
}

const struct dn_verb dn_verb_run = {
	.name = "run",
	.arguments = "MODEL [PROMPT]",
	.summary = "Answer a prompt, or hold a conversation.",
	.details = "Without PROMPT and --file, the prompt is what a pipe gives; at a terminal a\n"
		   "conversation begins, with line editing and history. Ctrl-C ends an answer,\n"
		   "/bye or Ctrl-D the conversation.\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.min_args = 1,
	.max_args = 2,
	.values_size = sizeof(struct dn_run_options),
	.defaults = set_defaults,
	.run = run_main,
};
