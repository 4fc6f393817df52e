/* SPDX-License-Identifier: MIT */
/*
 * The tokens of a text or a pair that is to be embedded. A reranker may have a prompt of its own
 * for its pairs ("tokenizer.chat_template.rerank", with {query} and {document} in it): special
 * tokens count where that prompt wrote them, not where a query or a document did.
 */

#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "worker/internal.h"

#define PROMPT_MAX ((size_t)128 << 20)
#define SPANS_MAX  17

/* A list of tokens with an end: what does not fit is counted, not stored. */
struct list {
	uint32_t *tokens;
	size_t capacity;
	size_t n;
};

static void add(struct list *list, uint32_t token)
{
	if (token == DN_TOKEN_NONE)
		return;
	if (list->n < list->capacity)
		list->tokens[list->n] = token;
	list->n++;
}

static int add_text(const struct dn_worker *worker, struct list *list, struct dn_text text,
		    struct dn_error *err)
{
	const size_t used = DN_MIN(list->n, list->capacity);
	size_t n = 0;
	int r;

	r = dn_tokenizer_encode(worker->tokenizer, text.data, text.size, 0, list->tokens + used,
				list->capacity - used, &n, err);
	if (r >= 0)
		list->n += n;
	return r;
}

/* What the model wants around its texts; a cut takes from the end and leaves the mark there. */
static int surround(const struct dn_worker *worker, const struct dn_embed_text *text,
		    struct list *list, size_t *second, struct dn_error *err)
{
	struct dn_surround around;
	int r = 0;

	dn_tokenizer_surround(worker->tokenizer, &around);
	add(list, around.before);
	if (text->query.data) {
		r = add_text(worker, list, text->query, err);
		add(list, around.between[0]);
		add(list, around.between[1]);
		*second = list->n;
	}
	if (r >= 0)
		r = add_text(worker, list, text->text, err);
	add(list, around.after);
	if (r >= 0 && list->n > list->capacity && text->truncate && around.after != DN_TOKEN_NONE)
		list->tokens[list->capacity - 1] = around.after;
	return r;
}

/* A prompt being filled: its text, and who wrote which part. */
struct prompt {
	struct dn_buffer text;
	struct dn_template_span spans[SPANS_MAX];
	size_t n;
};

static int append(struct prompt *prompt, struct dn_text text, bool trusted, struct dn_error *err)
{
	if (text.size == 0)
		return 0;
	if (prompt->n == 0 || prompt->spans[prompt->n - 1].trusted != trusted) {
		if (prompt->n == SPANS_MAX)
			return dn_error_set(err, E2BIG, "the model's prompt has too many places");
		prompt->spans[prompt->n++] = (struct dn_template_span){ .trusted = trusted };
	}
	prompt->spans[prompt->n - 1].size += text.size;
	if (dn_buffer_append(&prompt->text, text.data, text.size) < 0)
		return dn_error_memory(err, "a prompt", prompt->text.size + text.size);
	return 0;
}

/* @format's text with the pair in its places. */
static int fill(struct dn_text format, const struct dn_embed_text *text, struct prompt *prompt,
		struct dn_error *err)
{
	static const struct dn_text query = { "{query}", 7 };
	static const struct dn_text document = { "{document}", 10 };
	int r = 0;

	while (r >= 0 && format.size > 0) {
		const char *q = memmem(format.data, format.size, query.data, query.size);
		const char *d = memmem(format.data, format.size, document.data, document.size);
		const bool is_query = q && (!d || q < d);
		const char *place = is_query ? q : d;
		const struct dn_text before = { format.data, place ? (size_t)(place - format.data)
								   : format.size };
		const size_t done = before.size + (!place     ? 0
						   : is_query ? query.size
							      : document.size);

		r = append(prompt, before, true, err);
		if (r >= 0 && place)
			r = append(prompt, is_query ? text->query : text->text, false, err);
		format.data += done;
		format.size -= done;
	}
	return r;
}

static int encode_prompt(struct dn_worker *worker, struct dn_text format,
			 const struct dn_embed_text *text, struct list *list, struct dn_error *err)
{
	struct prompt prompt = { .text = DN_BUFFER_INIT(PROMPT_MAX) };
	struct dn_rendered rendered;
	int r;

	r = fill(format, text, &prompt, err);
	rendered =
		(struct dn_rendered){ prompt.text.data, prompt.text.size, prompt.spans, prompt.n };
	if (r >= 0)
		r = dn_worker_encode_chat(worker, &rendered, list->tokens, list->capacity, &list->n,
					  err);
	dn_buffer_done(&prompt.text);
	return r;
}

/* What is cut is the document, for the prompt goes on behind it. */
static int encode_prompted(struct dn_worker *worker, struct dn_text format,
			   struct dn_embed_text text, struct list *list, bool *ret_cut,
			   struct dn_error *err)
{
	int r = encode_prompt(worker, format, &text, list, err);

	*ret_cut = text.truncate && list->n > list->capacity;
	while (r >= 0 && text.truncate && list->n > list->capacity && text.text.size > 0) {
		const size_t over = list->n - list->capacity;
		/* A token has a byte at least, and most have as many as the others. */
		const size_t share =
			(size_t)((double)text.text.size * (double)list->capacity / (double)list->n);

		text.text.size = DN_MIN(share, text.text.size - DN_MIN(over, text.text.size));
		text.text.size = dn_utf8_complete(text.text.data, text.text.size);
		r = encode_prompt(worker, format, &text, list, err);
	}
	return r;
}

int dn_worker_encode_embed(struct dn_worker *worker, const struct dn_embed_text *text,
			   uint32_t *tokens, size_t capacity, size_t *ret_count, bool *ret_cut,
			   size_t *ret_second, struct dn_error *err)
{
	struct list list = { tokens, capacity, 0 };
	struct dn_text format = { NULL, 0 };
	struct dn_error ignored = DN_ERROR_INIT;
	size_t second = 0;
	bool prompted;
	int r;

	/* A wrong type here is as good as nothing. */
	prompted = text->query.data &&
		   dn_gguf_get_text(worker->model->gguf, "tokenizer.chat_template.rerank", &format,
				    &ignored) > 0;
	if (prompted) {
		r = encode_prompted(worker, format, *text, &list, ret_cut, err);
	} else {
		r = surround(worker, text, &list, &second, err);
		*ret_cut = text->truncate && list.n > capacity && second < capacity;
		if (*ret_cut)
			list.n = capacity;
	}
	*ret_count = list.n;
	*ret_second = second;
	return r;
}
