/* SPDX-License-Identifier: MIT */
/* A request's body: fields by tables, ranges by the API's documentation. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <dunlin/grammar.h>

#include "server/front/generation.h"

#define MS UINT64_C(1000000)
/* A day: what a deadline may be away. */
#define DEADLINE_MAX_MS 86400000.0

/* Fields that are no part of struct dn_frame_submit. */
struct own_fields {
	uint32_t n;
	uint32_t stream;
	uint32_t max_tokens;
	uint32_t max_completion_tokens;
	uint32_t deadline_ms;
	uint32_t first_token_deadline_ms;
};

static const struct dn_api_field own_fields[] = {
	{ "n", DN_API_U32, 1, DN_CHOICES_MAX, offsetof(struct own_fields, n) },
	{ "stream", DN_API_BOOL, 0, 0, offsetof(struct own_fields, stream) },
	{ "max_tokens", DN_API_U32, 1, DN_LOAD_CONTEXT_MAX,
	  offsetof(struct own_fields, max_tokens) },
	{ "max_completion_tokens", DN_API_U32, 1, DN_LOAD_CONTEXT_MAX,
	  offsetof(struct own_fields, max_completion_tokens) },
	{ "deadline_ms", DN_API_U32, 1, DEADLINE_MAX_MS, offsetof(struct own_fields, deadline_ms) },
	{ "first_token_deadline_ms", DN_API_U32, 1, DEADLINE_MAX_MS,
	  offsetof(struct own_fields, first_token_deadline_ms) },
};

#define SUBMIT(name) offsetof(struct dn_frame_submit, name)

static const struct dn_api_field submit_fields[] = {
	{ "temperature", DN_API_FLOAT, 0, 2, SUBMIT(temperature) },
	{ "top_p", DN_API_FLOAT, 0, 1, SUBMIT(top_p) },
	{ "top_k", DN_API_U32, 0, DN_LOAD_CONTEXT_MAX, SUBMIT(top_k) },
	{ "min_p", DN_API_FLOAT, 0, 1, SUBMIT(min_p) },
	{ "frequency_penalty", DN_API_FLOAT, -2, 2, SUBMIT(frequency_penalty) },
	{ "presence_penalty", DN_API_FLOAT, -2, 2, SUBMIT(presence_penalty) },
	{ "repetition_penalty", DN_API_FLOAT, 0.01, 100, SUBMIT(repeat_penalty) },
	{ "ignore_eos", DN_API_BOOL, 0, 0, SUBMIT(ignore_eos) },
};

/* What would change the answer, and is not there: better refused than left out in silence. */
static const char *const unsupported[] = {
	"functions",
	"audio",
	"suffix",
	"best_of",
};

static bool read_stop(struct dn_frame_submit *submit, const json_t *stop,
		      struct dn_api_error *error)
{
	const size_t n = json_is_array(stop) ? json_array_size(stop) : 1;

	if (!stop || json_is_null(stop))
		return true;
	for (size_t i = 0; i < n; i++) {
		const json_t *one = json_is_array(stop) ? json_array_get(stop, i) : stop;

		if (!json_is_string(one) ||
		    !dn_frame_add_stop(submit, json_string_value(one), json_string_length(one)))
			return dn_api_bad(error, "stop",
					  "'stop' is to be a text, or a list of at most %d texts, "
					  "of %d bytes together",
					  DN_FRAME_STOP_MAX,
					  DN_FRAME_STOP_BYTES - DN_FRAME_STOP_MAX);
	}
	return true;
}

static bool read_biases(struct dn_frame_submit *submit, json_t *biases, struct dn_api_error *error)
{
	const char *key;
	json_t *value;

	if (!biases || json_is_null(biases))
		return true;
	if (!json_is_object(biases))
		return dn_api_bad(error, "logit_bias", "'logit_bias' is to be an object");
	json_object_foreach(biases, key, value)
	{
		char *end = NULL;
		const unsigned long token = strtoul(key, &end, 10);

		if (end == key || *end != '\0' || key[0] < '0' || key[0] > '9' ||
		    token > UINT32_MAX)
			return dn_api_bad(error, "logit_bias",
					  "'%.32s' in 'logit_bias' is no token's id", key);
		if (!json_is_number(value) || !(json_number_value(value) >= -100) ||
		    !(json_number_value(value) <= 100))
			return dn_api_bad(error, "logit_bias",
					  "a bias in 'logit_bias' is a number from -100 to 100");
		if (submit->n_bias == DN_FRAME_BIAS_MAX)
			return dn_api_bad(error, "logit_bias", "at most %d tokens may have a bias",
					  DN_FRAME_BIAS_MAX);
		submit->bias[submit->n_bias].token = (uint32_t)token;
		submit->bias[submit->n_bias++].bias = (float)json_number_value(value);
	}
	return true;
}

static bool read_priority(struct dn_generation *g, const char *word, struct dn_api_error *error)
{
	const struct dn_account *account = g->account;

	if (!word || !dn_control_priority(word, &g->submit.priority))
		return dn_api_bad(error, "priority", "'priority' is 'urgent', 'normal' or 'batch'");
	if (account && dn_priority_rank(g->submit.priority) < dn_priority_rank(account->key.most)) {
		(void)dn_api_fail(error, 403, "priority", "the key '%s' may not ask for '%s'",
				  account->key.name, word);
		(void)snprintf(error->param, sizeof(error->param), "priority");
		return false;
	}
	return true;
}

/* @in_body: of the body's field; 0: it has none, and the header counts. */
static bool read_deadline(const struct dn_generation *g, uint32_t in_body, const char *header,
			  uint64_t *ret_ns, struct dn_api_error *error)
{
	const char *text = dn_http_header(dn_http_request(g->connection), header);
	double ms = in_body;
	char *end = NULL;

	if (in_body == 0 && text) {
		ms = strtod(text, &end);
		if (end == text || *end != '\0' || !(ms >= 1 && ms <= DEADLINE_MAX_MS))
			return dn_api_bad(error, header,
					  "a deadline is in milliseconds, from 1 to %.0f",
					  DEADLINE_MAX_MS);
	}
	if (ms > 0)
		*ret_ns = g->begun_ns + (uint64_t)(ms * (double)MS);
	return true;
}

/* From the body, else from a header of the request. */
static bool read_time(struct dn_generation *g, const json_t *body, const struct own_fields *own,
		      struct dn_api_error *error)
{
	const struct dn_http_request *request = dn_http_request(g->connection);
	const json_t *priority = json_object_get(body, "priority");
	const bool in_body = priority && !json_is_null(priority);
	const char *word =
		in_body ? json_string_value(priority) : dn_http_header(request, "x-priority");

	g->submit.priority = g->account ? g->account->key.priority : DN_PRIORITY_NORMAL;
	if ((in_body || word) && !read_priority(g, word, error))
		return false;
	return read_deadline(g, own->deadline_ms, "x-deadline-ms", &g->submit.end_deadline_ns,
			     error) &&
	       read_deadline(g, own->first_token_deadline_ms, "x-first-token-deadline-ms",
			     &g->submit.first_deadline_ns, error);
}

/* Guessed tokens come in bursts: who wants an even pace can do without. */
static bool read_speculation(struct dn_frame_submit *submit, const json_t *mode,
			     struct dn_api_error *error)
{
	const char *word = json_string_value(mode);

	if (!mode || json_is_null(mode))
		return true;
	if (!word || (strcmp(word, "auto") != 0 && strcmp(word, "off") != 0))
		return dn_api_bad(error, "speculation", "'speculation' is 'auto' or 'off'");
	submit->speculation = strcmp(word, "off") == 0 ? DN_SPECULATION_OFF : DN_SPECULATION_AUTO;
	return true;
}

static bool read_seed(struct dn_frame_submit *submit, const json_t *seed,
		      struct dn_api_error *error)
{
	if (!seed || json_is_null(seed)) {
		(void)!getrandom(&submit->seed, sizeof(submit->seed), 0);
		return true;
	}
	if (!json_is_integer(seed))
		return dn_api_bad(error, "seed", "'seed' is to be a whole number");
	submit->seed = (uint64_t)json_integer_value(seed);
	return true;
}

static bool read_stream_options(struct dn_generation *g, const json_t *body,
				struct dn_api_error *error)
{
	static const struct dn_api_field usage = { "include_usage", DN_API_BOOL, 0, 0, 0 };
	const json_t *options = json_object_get(body, "stream_options");

	if (!options || json_is_null(options))
		return true;
	if (!json_is_object(options))
		return dn_api_bad(error, "stream_options", "'stream_options' is to be an object");
	return dn_api_fields(options, &usage, 1, &g->include_usage, error);
}

static bool check_unsupported(const json_t *body, struct dn_api_error *error)
{
	for (size_t i = 0; i < DN_ARRAY_SIZE(unsupported); i++) {
		const json_t *value = json_object_get(body, unsupported[i]);

		if (value && !json_is_null(value) &&
		    !(json_is_array(value) && json_array_size(value) == 0))
			return dn_api_bad(error, unsupported[i], "this server does not do '%s'",
					  unsupported[i]);
	}
	return true;
}

/* Takes @text over, which is the model's worker's to read. */
static bool set_grammar(struct dn_generation *g, enum dn_grammar_kind kind, const char *field,
			char *text, struct dn_api_error *error)
{
	if (g->grammar.kind) {
		free(text);
		return dn_api_bad(error, field,
				  "of 'grammar', 'response_format' and a 'tool_choice' that "
				  "demands a call, one can be kept to");
	}
	if (!text && kind != DN_GRAMMAR_JSON)
		return dn_api_fail(error, 503, NULL, "out of memory");
	g->grammar.kind = kind;
	g->grammar_text = text;
	g->grammar_field = field;
	if (text && (strlen(text) == 0 || strlen(text) > DN_GRAMMAR_TEXT_MAX))
		return dn_api_bad(error, field, "a grammar is of 1 to %zu bytes",
				  DN_GRAMMAR_TEXT_MAX);
	return true;
}

static bool read_grammar(struct dn_generation *g, const json_t *grammar, struct dn_api_error *error)
{
	if (!grammar || json_is_null(grammar) ||
	    (json_is_string(grammar) && json_string_length(grammar) == 0))
		return true;
	if (!json_is_string(grammar) ||
	    strlen(json_string_value(grammar)) != json_string_length(grammar))
		return dn_api_bad(error, "grammar", "'grammar' is to be a text (GBNF)");
	return set_grammar(g, DN_GRAMMAR_GBNF, "grammar", strdup(json_string_value(grammar)),
			   error);
}

static bool read_schema(struct dn_generation *g, const json_t *schema, struct dn_api_error *error)
{
	if (!json_is_object(schema) && !json_is_boolean(schema))
		return dn_api_bad(error, "response_format",
				  "the schema of 'response_format' is to be an object");
	return set_grammar(g, DN_GRAMMAR_SCHEMA, "response_format",
			   json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY), error);
}

static bool read_format(struct dn_generation *g, const json_t *format, struct dn_api_error *error)
{
	const char *type = json_string_value(json_object_get(format, "type"));
	const json_t *of = json_object_get(format, "json_schema");
	const json_t *schema = json_object_get(format, "schema");

	if (!format || json_is_null(format) || (type && strcmp(type, "text") == 0))
		return true;
	if (type && strcmp(type, "json_object") == 0)
		return schema ? read_schema(g, schema, error)
			      : set_grammar(g, DN_GRAMMAR_JSON, "response_format", NULL, error);
	if (type && strcmp(type, "json_schema") == 0)
		return read_schema(g, of ? json_object_get(of, "schema") : schema, error);
	return dn_api_bad(error, "response_format",
			  "'response_format' is of type 'text', 'json_object' or 'json_schema'");
}

/* Has an answer that keeps to a schema, or is any object, be a call instead where the model calls. */
static bool allow_calls(struct dn_generation *g, struct dn_api_error *error)
{
	DN_AUTO_FREE char *format = g->grammar_text;
	const char *field = g->grammar_field;

	g->tools.json = true;
	g->grammar.kind = 0;
	g->grammar_text = NULL;
	return set_grammar(g, DN_GRAMMAR_SCHEMA, field, dn_tools_schema_or(&g->tools, format),
			   error);
}

static bool read_tools(struct dn_generation *g, const json_t *body, struct dn_api_error *error)
{
	if (!g->format->chat)
		return true;
	if (!dn_tools_read(body, &g->tools, error))
		return false;
	if (g->tools.forced) {
		g->tools.json = true;
		return set_grammar(g, DN_GRAMMAR_SCHEMA, "tools", dn_tools_schema(&g->tools),
				   error);
	}
	/* Answers in a form do not keep a model from calling first; a grammar has to say so itself. */
	if (!g->tools.list || !g->grammar.kind || g->grammar.kind == DN_GRAMMAR_GBNF)
		return true;
	return allow_calls(g, error);
}

bool dn_generation_read(struct dn_generation *g, json_t *body, struct dn_api_error *error)
{
	const struct dn_front_client client =
		dn_front_client(g->front, dn_http_request(g->connection));
	struct own_fields own = { .n = 1, .stream = g->format->streams };

	g->submit = (struct dn_frame_submit){
		.temperature = 1,
		.top_p = 1,
		.repeat_penalty = 1,
		.dynatemp_exponent = 1,
		.typical_p = 1,
		.xtc_threshold = 0.1F,
		.mirostat_tau = 5,
		.mirostat_eta = 0.1F,
		.penalty_last = 64,
		.keep = client.space != 0,
		.client = client.client,
		.space = client.space,
	};
	if (!check_unsupported(body, error) ||
	    !dn_api_fields(body, own_fields, DN_ARRAY_SIZE(own_fields), &own, error) ||
	    !dn_api_fields(body, submit_fields, DN_ARRAY_SIZE(submit_fields), &g->submit, error) ||
	    !read_stop(&g->submit, json_object_get(body, "stop"), error) ||
	    !read_biases(&g->submit, json_object_get(body, "logit_bias"), error) ||
	    !read_seed(&g->submit, json_object_get(body, "seed"), error) ||
	    !read_speculation(&g->submit, json_object_get(body, "speculation"), error) ||
	    !read_grammar(g, json_object_get(body, "grammar"), error) ||
	    !read_format(g, json_object_get(body, "response_format"), error) ||
	    !read_time(g, body, &own, error) || !read_stream_options(g, body, error) ||
	    (g->format->read_logprobs && !g->format->read_logprobs(g, body, error)) ||
	    !read_tools(g, body, error))
		return false;
	/* The penalties of the API are about all of the answer. */
	if (g->submit.frequency_penalty != 0 || g->submit.presence_penalty != 0)
		g->submit.penalty_last = 4096;
	g->submit.max_tokens = own.max_completion_tokens ? own.max_completion_tokens
			       : own.max_tokens		 ? own.max_tokens
							 : g->format->default_max_tokens;
	g->submit.logprobs = g->logprobs;
	g->stream = own.stream;
	g->n = own.n;
	return true;
}

bool dn_generation_add_prompt(struct dn_generation *g, enum dn_prompt_kind kind, void *data,
			      size_t size, struct dn_api_error *error)
{
	if (!data)
		return dn_api_fail(error, 503, NULL, "out of memory");
	if ((g->n_prompts + 1) * g->n > DN_CHOICES_MAX) {
		free(data);
		return dn_api_bad(error, "n",
				  "at most %d answers for one request, all prompts together",
				  DN_CHOICES_MAX);
	}
	g->prompts[g->n_prompts++] = (struct dn_prompt){ kind, data, size };
	return true;
}
