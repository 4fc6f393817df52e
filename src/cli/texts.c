/* SPDX-License-Identifier: MIT */

#include "cli/texts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/cli.h"

void dn_texts_done(struct dn_texts *texts)
{
	dn_buffer_done(&texts->bytes);
	dn_buffer_done(&texts->lengths);
	dn_buffer_done(&texts->ends);
}

int dn_texts_add(struct dn_texts *texts, const char *text, size_t size, struct dn_error *err)
{
	const size_t before = texts->bytes.size;
	uint32_t length;
	uint32_t end;
	int r = 0;

	if (texts->prefix)
		r = dn_buffer_append_text(&texts->bytes, texts->prefix);
	if (r >= 0)
		r = dn_buffer_append(&texts->bytes, text, size);
	length = (uint32_t)(texts->bytes.size - before);
	if (r >= 0)
		r = dn_buffer_append(&texts->lengths, &length, sizeof(length));
	end = (uint32_t)texts->bytes.size;
	if (r >= 0)
		r = dn_buffer_append(&texts->ends, &end, sizeof(end));
	/* A maximum for all; -ENOMEM is memory itself. */
	if (r == -ENOMEM)
		return dn_error_memory(err, "texts", texts->bytes.size + size);
	if (r < 0 || texts->count == DN_EMBED_TEXTS_MAX ||
	    texts->bytes.size + texts->lengths.size > DN_TEXTS_MAX)
		return dn_error_set(err, EFBIG,
				    "more than %u texts or %zu MiB: give them in several runs",
				    DN_EMBED_TEXTS_MAX, DN_TEXTS_MAX >> 20);
	texts->count++;
	return 0;
}

static int add_object(struct dn_texts *texts, const char *line, size_t size, size_t number,
		      struct dn_error *err)
{
	json_error_t where;
	json_t *json = json_loadb(line, size, JSON_ALLOW_NUL, &where);
	const json_t *text = json_object_get(json, "text");
	int r;

	if (!json)
		return dn_error_set(err, EINVAL, "line %zu, column %d: %s", number, where.column,
				    where.text);
	if (json_is_string(text))
		r = dn_texts_add(texts, json_string_value(text), json_string_length(text), err);
	else
		r = dn_error_set(err, EINVAL, "line %zu: takes {\"text\": TEXT}", number);
	json_decref(json);
	return r;
}

static int add_lines(struct dn_texts *texts, bool jsonl, struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer input = DN_BUFFER_INIT(4 * DN_CLI_TEXT_MAX);
	size_t number = 0;
	size_t at = 0;
	int r;

	r = dn_cli_read_all(STDIN_FILENO, "standard input", &input, err);
	while (r >= 0 && at < input.size) {
		const char *line = input.data + at;
		const char *end = memchr(line, '\n', input.size - at);
		const size_t size = end ? (size_t)(end - line) : input.size - at;

		number++;
		if (!jsonl)
			r = dn_texts_add(texts, line, size, err);
		else if (size > 0)
			r = add_object(texts, line, size, number, err);
		at += size + 1;
	}
	return r;
}

int dn_texts_take(struct dn_texts *texts, char **args, int n, bool jsonl, struct dn_error *err)
{
	const uint32_t before = texts->count;
	int r = 0;

	for (int i = 0; r >= 0 && i < n; i++)
		r = dn_texts_add(texts, args[i], strlen(args[i]), err);
	if (n == 0)
		r = add_lines(texts, jsonl, err);
	if (r >= 0 && texts->count == before)
		return dn_error_set(err, EINVAL,
				    "no text: give some as arguments, or one a line on standard "
				    "input");
	return r;
}

int dn_texts_append_line(const struct dn_texts *texts, uint32_t i, size_t max,
			 struct dn_buffer *ret)
{
	const uint32_t *lengths = (const uint32_t *)texts->lengths.data;
	const uint32_t *ends = (const uint32_t *)texts->ends.data;
	const char *text = texts->bytes.data ? texts->bytes.data + ends[i] - lengths[i] : "";
	const size_t size = lengths[i] > max ? dn_utf8_complete(text, max) : lengths[i];
	const size_t before = ret->size;
	int r;

	r = dn_buffer_append(ret, text, size);
	if (r < 0)
		return r;
	for (size_t at = before; at < ret->size; at++)
		if (ret->data[at] == '\n')
			ret->data[at] = ' ';
	return dn_buffer_append_text(ret, lengths[i] > max ? "...\n" : "\n");
}

/* Count, lengths, bytes: see struct dn_frame_embed. */
static int send_texts(struct dn_client *client, const struct dn_texts *texts,
		      struct dn_frame *frame, struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer packed = DN_BUFFER_INIT(DN_CLI_TEXT_MAX);
	int r;

	r = dn_buffer_append(&packed, &texts->count, sizeof(texts->count));
	if (r >= 0)
		r = dn_buffer_append(&packed, texts->lengths.data, texts->lengths.size);
	if (r >= 0 && texts->bytes.size > 0)
		r = dn_buffer_append(&packed, texts->bytes.data, texts->bytes.size);
	if (r < 0)
		return dn_error_memory(err, "texts", texts->bytes.size);
	return dn_client_send(client, frame, packed.data, packed.size, err);
}

/* Where no rows are seen coming: those of embed go to a file, scores wait to be sorted. */
static bool wants_progress(const struct dn_frame_embed *how)
{
	return dn_cli_fancy() && (how->kind == DN_EMBED_PAIRS || !isatty(STDOUT_FILENO));
}

int dn_texts_embed(struct dn_client *client, const struct dn_texts *texts,
		   const struct dn_frame_embed *how, dn_rows_function *function, void *data,
		   struct dn_error *err)
{
	const uint32_t total = texts->count - (how->kind == DN_EMBED_PAIRS ? 1 : 0);
	const bool progress = wants_progress(how);
	struct dn_frame frame;
	uint64_t request;
	uint32_t done = 0;
	int r;

	dn_client_request(client, &frame, DN_FRAME_EMBED);
	frame.u.embed = *how;
	request = frame.request;
	r = send_texts(client, texts, &frame, err);
	while (r >= 0 && done < total) {
		DN_AUTO_MAPPED struct dn_mapped rows = { NULL, 0 };
		DN_AUTO_FD int fd = -1;

		r = dn_client_expect(client, request, DN_FRAME_EMBEDDED, &frame, &fd, err);
		if (progress)
			(void)fprintf(stderr, "\r\033[K");
		if (r < 0)
			return r;
		if (frame.u.embedded.first != done || frame.u.embedded.total != total)
			return dn_error_set(err, EPROTO, "the worker sent rows out of order");
		r = dn_mapped_open(fd, frame.attachment, &rows, err);
		if (r < 0)
			return dn_error_prefix(err, -EPROTO, "the worker sent nonsense");
		r = function(data, &frame.u.embedded, rows.data, err);
		done += frame.u.embedded.count;
		if (progress && r >= 0 && done < total)
			(void)fprintf(stderr, "%u of %u texts ", done, total);
	}
	return r;
}
