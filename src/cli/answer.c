/* SPDX-License-Identifier: MIT */
/* One answer of "dunlin run": asked for, taken in, reported. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/run.h"
#include "channel/frames.h"

void dn_answer_done(struct dn_answer *answer)
{
	dn_buffer_done(&answer->text);
	dn_buffer_done(&answer->ids);
	json_decref(answer->logprobs);
	answer->logprobs = NULL;
}

const char *dn_finish_name(uint32_t reason)
{
	static const char *const names[] = { "eos", "stop", "length", "context", "cancelled" };

	return reason < DN_ARRAY_SIZE(names) ? names[reason] : "unknown";
}

void dn_run_submit(struct dn_client *client, const struct dn_run_options *options,
		   struct dn_frame *ret_frame)
{
	struct dn_frame_submit *submit = &ret_frame->u.submit;

	dn_client_request(client, ret_frame, DN_FRAME_SUBMIT);
	submit->max_tokens = options->max_tokens;
	submit->ignore_eos = options->ignore_eos;
	submit->speculation = options->speculation;
	submit->grammar = options->grammar_number;
	submit->logprobs = options->logprobs.given ? (uint32_t)options->logprobs.value + 1 : 0;
	for (uint32_t i = 0; i < options->stops.count; i++)
		(void)dn_frame_add_stop(submit, options->stops.items[i],
					strlen(options->stops.items[i]));
	dn_run_sampling_submit(options, submit);
}

/* JSON has no infinities: a probability of 0 becomes null. */
static json_t *logprob_json(uint32_t token, float logprob)
{
	return json_pack("{s:I, s:o}", "token", (json_int_t)token, "logprob",
			 logprob >= -1e30F ? json_real((double)logprob) : json_null());
}

static int take_logprobs(struct dn_answer *answer, const struct dn_frame_output *output)
{
	json_t *entry = logprob_json(output->token, output->logprob);
	json_t *top = json_array();
	int r = 0;

	for (uint32_t i = 0; i < output->n_top; i++)
		r |= json_array_append_new(
			top, logprob_json(output->top[i].token, output->top[i].logprob));
	r |= json_object_set_new(entry, "top", top);
	r |= json_array_append_new(answer->logprobs, entry);
	return r < 0 ? -ENOMEM : 0;
}

static int take_output(struct dn_answer *answer, const struct dn_frame_output *output,
		       struct dn_error *err)
{
	int r = 0;

	if (answer->first_ns == 0)
		answer->first_ns = dn_cli_now();
	if (!answer->quiet && output->text_size > 0) {
		r = dn_cli_write(output->text, output->text_size, err);
		if (r < 0)
			return r;
		answer->ends_line = output->text[output->text_size - 1] == '\n';
	}
	r = dn_buffer_append(&answer->text, output->text, output->text_size);
	if (r >= 0 && output->token != UINT32_MAX)
		r = dn_buffer_append(&answer->ids, &output->token, sizeof(output->token));
	if (r >= 0 && output->token != UINT32_MAX && answer->logprobs)
		r = take_logprobs(answer, output);
	return r < 0 ? dn_error_memory(err, "the answer", answer->text.size) : 0;
}

/* The first Ctrl-C asks the worker to end the answer; a second one does not wait for that. */
static int cancel(struct dn_client *client, struct dn_answer *answer, struct dn_error *err)
{
	struct dn_frame frame;

	if (answer->interrupted)
		return dn_error_set(err, EINTR, "interrupted");
	answer->interrupted = true;
	dn_frame_init(&frame, DN_FRAME_CANCEL, answer->request);
	return dn_client_send(client, &frame, NULL, 0, err);
}

static int unexpected(const struct dn_frame *frame, struct dn_error *err)
{
	return dn_error_set(err, EPROTO, "the worker answered %s to a prompt",
			    dn_frame_name(frame->type));
}

int dn_run_answer(struct dn_client *client, struct dn_frame *submit, const char *prompt,
		  size_t size, struct dn_answer *answer, struct dn_error *err)
{
	int r;

	answer->request = submit->request;
	if (submit->u.submit.logprobs > 0 && !answer->logprobs)
		answer->logprobs = json_array();
	r = dn_client_send(client, submit, prompt, size, err);
	while (r >= 0) {
		DN_AUTO_FD int fd = -1;
		struct dn_frame frame;

		r = dn_client_receive(client, &frame, &fd, err);
		if (r == -EINTR) {
			r = cancel(client, answer, err);
			continue;
		}
		if (r < 0)
			return r;
		if (frame.request != submit->request)
			return unexpected(&frame, err);
		switch (frame.type) {
		case DN_FRAME_ACCEPTED:
			answer->accepted = frame.u.accepted;
			break;
		case DN_FRAME_OUTPUT:
			r = take_output(answer, &frame.u.output, err);
			break;
		case DN_FRAME_DONE:
			answer->done = frame.u.done;
			return 0;
		case DN_FRAME_ERROR:
			return dn_client_failure(&frame, err);
		default:
			return unexpected(&frame, err);
		}
	}
	return r;
}

static double rate(uint64_t count, uint64_t ns)
{
	return ns > 0 ? (double)count * 1e9 / (double)ns : 0;
}

struct figures {
	double prefill_rate;
	double decode_rate;
	double first_ms;
	double cpu_per_token;
};

/* Decoding begins behind the first token, which the prompt's last row gave. */
static struct figures figures_of(const struct dn_answer *answer, uint64_t begin_ns)
{
	const struct dn_frame_done *done = &answer->done;
	uint64_t decoded = done->output_tokens > 1 ? done->output_tokens - 1 : 0;

	return (struct figures){
		.prefill_rate = rate(done->prompt_tokens - done->reused_tokens, done->prefill_ns),
		.decode_rate = rate(decoded, done->decode_ns),
		.first_ms = answer->first_ns ? (double)(answer->first_ns - begin_ns) / 1e6 : 0,
		.cpu_per_token = decoded ? (double)done->decode_cpu_ns / 1e9 / (double)decoded : 0,
	};
}

void dn_run_print_stats(const struct dn_answer *answer, uint64_t begin_ns)
{
	const struct dn_frame_done *done = &answer->done;
	struct figures f = figures_of(answer, begin_ns);

	(void)fprintf(
		stderr,
		"prompt %u tokens (%u reused), %.1f tokens/s; answer %u tokens, %.1f tokens/s; "
		"first token %.1f ms; %.6f CPU-seconds/token; end: %s\n",
		done->prompt_tokens, done->reused_tokens, f.prefill_rate, done->output_tokens,
		f.decode_rate, f.first_ms, f.cpu_per_token, dn_finish_name(done->reason));
	if (done->drafted_tokens > 0)
		(void)fprintf(stderr, "speculation: %u of %u guessed tokens were right\n",
			      done->accepted_tokens, done->drafted_tokens);
}

static json_t *ids_json(const struct dn_buffer *ids)
{
	json_t *array = json_array();

	for (size_t at = 0; at < ids->size; at += sizeof(uint32_t)) {
		uint32_t id;

		memcpy(&id, ids->data + at, sizeof(id));
		if (json_array_append_new(array, json_integer(id)) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *timings_json(const struct dn_client *client, const struct dn_answer *answer,
			    uint64_t begin_ns)
{
	const struct dn_frame_done *done = &answer->done;
	struct figures f = figures_of(answer, begin_ns);

	return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "load_ms",
			 (double)client->loaded.load_ns / 1e6, "first_token_ms", f.first_ms,
			 "prefill_ms", (double)done->prefill_ns / 1e6, "decode_ms",
			 (double)done->decode_ns / 1e6, "prefill_tokens_per_second", f.prefill_rate,
			 "decode_tokens_per_second", f.decode_rate, "cpu_seconds_per_token",
			 f.cpu_per_token);
}

int dn_run_print_json(const struct dn_client *client, const struct dn_run_options *options,
		      const struct dn_answer *answer, uint64_t begin_ns, struct dn_error *err)
{
	const struct dn_frame_done *done = &answer->done;
	json_t *json = json_pack(
		"{s:s%, s:o, s:s, s:i, s:i, s:i, s:i, s:i, s:I, s:o, s:o*}", "text",
		answer->text.data ? answer->text.data : "", answer->text.size, "tokens",
		ids_json(&answer->ids), "finish_reason", dn_finish_name(done->reason),
		"prompt_tokens", (int)done->prompt_tokens, "reused_tokens",
		(int)done->reused_tokens, "output_tokens", (int)done->output_tokens,
		"drafted_tokens", (int)done->drafted_tokens, "accepted_tokens",
		(int)done->accepted_tokens, "seed", (json_int_t)options->seed.value, "timings",
		timings_json(client, answer, begin_ns), "logprobs", json_incref(answer->logprobs));
	int r;

	if (!json)
		return dn_error_memory(err, "JSON output", answer->text.size);
	r = dn_cli_write_json(json, JSON_COMPACT, err);
	json_decref(json);
	return r;
}

char *dn_run_variables(json_t *messages)
{
	json_t *root = json_pack("{s:O, s:b}", "messages", messages, "add_generation_prompt", 1);
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;

	json_decref(root);
	return text;
}

int dn_run_add_message(json_t *messages, const char *role, const char *text, size_t size,
		       struct dn_error *err)
{
	if (!dn_utf8_valid(text, size))
		return dn_error_set(err, EILSEQ, "the %s message is not valid UTF-8", role);
	if (json_array_append_new(
		    messages, json_pack("{s:s, s:s%}", "role", role, "content", text, size)) < 0)
		return dn_error_memory(err, "a message", size);
	return 0;
}
