/* SPDX-License-Identifier: MIT */
/* Text in and out of ids, and the chat template: requests that are answered at once. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"
#include "worker/internal.h"

#define TEXT_MAX      ((size_t)256 << 20)
#define NAMES_TRUSTED "bos_token", "eos_token"

int dn_worker_need_model(const struct dn_worker *worker, struct dn_error *err)
{
	return worker->model ? 0 : dn_error_set(err, EINVAL, "no model is loaded");
}

int dn_worker_need_tokenizer(const struct dn_worker *worker, struct dn_error *err)
{
	int r;

	if (worker->tokenizer)
		return 0;
	r = dn_worker_need_model(worker, err);
	return r < 0 ? r : dn_model_tokenizes(worker->model, err);
}

static int encode(struct dn_worker *worker, const struct dn_frame *frame,
		  const struct dn_mapped *mapped, uint32_t *ids, size_t max, size_t *ret_n,
		  struct dn_error *err)
{
	if (frame->u.encode.prompt_kind == DN_PROMPT_CHAT)
		return dn_worker_encode_messages(worker, mapped->data, mapped->size, ids, max,
						 ret_n, NULL, err);
	return dn_tokenizer_encode(worker->tokenizer, mapped->data, mapped->size,
				   frame->u.encode.special ? DN_ENCODE_SPECIAL : 0, ids, max, ret_n,
				   err);
}

int dn_worker_tokenize(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		       struct dn_error *err)
{
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };
	DN_AUTO_FREE uint32_t *ids = NULL;
	size_t max;
	size_t n = 0;
	int r;

	r = dn_worker_need_tokenizer(worker, err);
	if (r < 0)
		return r;
	r = dn_mapped_open(*fd, frame->attachment, &mapped, err);
	if (r < 0)
		return r;
	/* A first try that most texts fit; those that do not say what they need. */
	max = mapped.size / 2 + 16;
	for (;;) {
		free(ids);
		ids = malloc(max * sizeof(uint32_t));
		if (!ids)
			return dn_error_memory(err, "tokens", max * sizeof(uint32_t));
		r = encode(worker, frame, &mapped, ids, max, &n, err);
		if (r < 0)
			return r;
		if (n <= max)
			break;
		max = n;
	}
	dn_frame_init(&worker->out, DN_FRAME_TOKENS, frame->request);
	dn_worker_send_bytes(worker, &worker->out, ids, n * sizeof(uint32_t));
	return 0;
}

static int decode_all(struct dn_worker *worker, const uint32_t *ids, size_t n, bool special,
		      struct dn_buffer *text, struct dn_error *err)
{
	struct dn_detokenizer state;
	int size;

	memset(&state, 0, sizeof(state));
	for (size_t i = 0; i <= n; i++) {
		size = i < n ? dn_tokenizer_decode(worker->tokenizer, &state, ids[i], special,
						   worker->text, worker->text_size)
			     : dn_tokenizer_decode_end(worker->tokenizer, &state, worker->text,
						       worker->text_size);
		if (size < 0)
			return dn_error_set(err, EINVAL,
					    "token %zu has the id %u; the model's end at %u", i,
					    ids[i], dn_tokenizer_size(worker->tokenizer) - 1);
		if (dn_buffer_append(text, worker->text, (size_t)size) < 0)
			return dn_error_memory(err, "text", text->size);
	}
	return 0;
}

int dn_worker_detokenize(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
			 struct dn_error *err)
{
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };
	DN_AUTO_BUFFER struct dn_buffer text = DN_BUFFER_INIT(TEXT_MAX);
	int r;

	r = dn_worker_need_tokenizer(worker, err);
	if (r < 0)
		return r;
	r = dn_mapped_open(*fd, frame->attachment, &mapped, err);
	if (r < 0)
		return r;
	r = decode_all(worker, mapped.data, mapped.size / sizeof(uint32_t), frame->u.encode.special,
		       &text, err);
	if (r < 0)
		return r;
	dn_frame_init(&worker->out, DN_FRAME_TEXT, frame->request);
	dn_worker_send_bytes(worker, &worker->out, text.data, text.size);
	return 0;
}

/* A token's text as a JSON string; the empty string where the model has none. */
static json_t *token_json(const struct dn_tokenizer *tokenizer, uint32_t token)
{
	const char *text = NULL;
	size_t size = 0;

	if (token != DN_TOKEN_NONE)
		text = dn_tokenizer_bytes(tokenizer, token, &size);
	if (!text || !dn_utf8_valid(text, size))
		return json_string("");
	return json_stringn(text, size);
}

/* @ret_open: of the message that the answer goes on with; both are owned by the caller. */
static int complete(struct dn_worker *worker, const char *json, size_t size, bool force,
		    char **ret_text, char **ret_open, struct dn_error *err)
{
	static const char *const names[] = { NAMES_TRUSTED };
	uint32_t tokens[DN_ARRAY_SIZE(names)];
	json_error_t where;
	json_t *root = json_loadb(json, size, JSON_REJECT_DUPLICATES, &where);
	int r;

	if (!root)
		return dn_error_set(err, EINVAL, "variables: line %d, column %d: %s", where.line,
				    where.column, where.text);
	if (!json_is_object(root)) {
		json_decref(root);
		return dn_error_set(err, EINVAL, "variables: not a JSON object");
	}
	tokens[0] = worker->tokenizer ? dn_tokenizer_bos(worker->tokenizer) : DN_TOKEN_NONE;
	tokens[1] = worker->tokenizer ? dn_tokenizer_eos(worker->tokenizer) : DN_TOKEN_NONE;
	for (size_t i = 0; i < DN_ARRAY_SIZE(names) && worker->tokenizer; i++) {
		if (!force && json_object_get(root, names[i]))
			continue;
		/* NULL where memory is short: json_object_set_new() takes and reports it. */
		if (json_object_set_new(root, names[i], token_json(worker->tokenizer, tokens[i])) <
		    0) {
			json_decref(root);
			return dn_error_memory(err, "variables", size);
		}
	}
	r = dn_worker_take_open(root, ret_open, err);
	if (r >= 0)
		*ret_text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	return r < 0 || *ret_text ? r : dn_error_memory(err, "variables", size);
}

static int need_template(struct dn_worker *worker, struct dn_error *err)
{
	int r;

	if (worker->template)
		return 0;
	if (!worker->template_source)
		return dn_error_set(err, ENOENT, "the model has no chat template");
	r = dn_template_new(worker->template_source, worker->template_size, &worker->template, err);
	return r < 0 ? dn_error_prefix(err, r, "chat template") : 0;
}

int dn_worker_render_json(struct dn_worker *worker, const char *json, size_t size, int64_t now,
			  bool force, struct dn_rendered *ret_rendered, bool *ret_open,
			  struct dn_error *err)
{
	static const char *const trusted[] = { NAMES_TRUSTED, NULL };
	struct dn_template_options options = { .struct_size = sizeof(options), .now = now };
	DN_AUTO_FREE char *variables = NULL;
	DN_AUTO_FREE char *open = NULL;
	struct dn_rendered rendered;
	int r;

	r = need_template(worker, err);
	if (r < 0)
		return r;
	r = complete(worker, json, size, force, &variables, &open, err);
	if (r < 0 || !variables)
		return r;
	r = dn_template_render(worker->template, variables, strlen(variables), trusted, &options,
			       &rendered, err);
	if (r < 0)
		return r;
	r = open ? dn_worker_cut_open(&rendered, open, err) : 0;
	if (r < 0) {
		dn_rendered_done(&rendered);
		return r;
	}
	if (ret_open)
		*ret_open = open != NULL;
	*ret_rendered = rendered;
	return 0;
}

int dn_worker_render(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		     struct dn_error *err)
{
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };
	struct dn_rendered rendered;
	int r;

	r = dn_mapped_open(*fd, frame->attachment, &mapped, err);
	if (r < 0)
		return r;
	r = dn_worker_render_json(worker, mapped.data, mapped.size, frame->u.encode.now, false,
				  &rendered, NULL, err);
	if (r < 0)
		return r;
	dn_frame_init(&worker->out, DN_FRAME_TEXT, frame->request);
	dn_worker_send_bytes(worker, &worker->out, rendered.text, rendered.size);
	dn_rendered_done(&rendered);
	return 0;
}

int dn_worker_template(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		       struct dn_error *err)
{
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };
	struct dn_template *template = NULL;
	int r;

	r = dn_mapped_open(*fd, frame->attachment, &mapped, err);
	if (r < 0)
		return r;
	r = dn_template_new(mapped.size > 0 ? mapped.data : "", mapped.size, &template, err);
	if (r < 0)
		return r;
	dn_template_free(worker->template);
	worker->template = template;
	dn_frame_init(&worker->out, DN_FRAME_READY, frame->request);
	dn_worker_send(worker, &worker->out, -1);
	return 0;
}

int dn_worker_vocabulary(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
			 struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer out = DN_BUFFER_INIT((size_t)256 << 20);
	uint32_t n;
	uint32_t at = 0;
	int r = dn_worker_need_tokenizer(worker, err);

	(void)fd;
	if (r < 0)
		return r;
	/* The embedding may have more rows than there are tokens: these have no bytes. */
	n = worker->vocabulary;
	for (int pass = 0; pass < 2 && r >= 0; pass++) {
		if (pass == 0)
			r = dn_buffer_append(&out, &at, sizeof(at));
		for (uint32_t i = 0; i < n && r >= 0; i++) {
			size_t size = 0;
			const char *bytes =
				i < dn_tokenizer_size(worker->tokenizer)
					? dn_tokenizer_bytes(worker->tokenizer, i, &size)
					: "";

			at += (uint32_t)size;
			r = pass == 0 ? dn_buffer_append(&out, &at, sizeof(at))
				      : dn_buffer_append(&out, bytes, size);
		}
	}
	if (r < 0)
		return dn_error_memory(err, "the vocabulary", out.size);
	dn_frame_init(&worker->out, DN_FRAME_TEXT, frame->request);
	dn_worker_send_bytes(worker, &worker->out, out.data, out.size);
	return 0;
}
