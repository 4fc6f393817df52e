/* SPDX-License-Identifier: MIT */
/*
 * A chat whose last message is the beginning of the answer. Templates close every message, so the text
 * is cut where that one's own ends, as continue_final_message of Hugging Face's transformers does it.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/internal.h"

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Without what is white at its ends, for templates may leave that out. */
static void strip(const char **text, size_t *size)
{
	while (*size > 0 && is_space((*text)[*size - 1]))
		(*size)--;
	for (; *size > 0 && is_space(**text); (*text)++)
		(*size)--;
}

int dn_worker_take_open(json_t *variables, char **ret_text, struct dn_error *err)
{
	const json_t *messages = json_object_get(variables, "messages");
	const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
	const json_t *content = json_object_get(last, "content");
	const bool open = json_is_true(json_object_get(variables, "continue_final_message"));
	const char *text = json_string_value(content);
	size_t size = json_string_length(content);

	(void)json_object_del(variables, "continue_final_message");
	if (!open)
		return 0;
	if (text)
		strip(&text, &size);
	if (!text || size == 0 || memchr(text, '\0', size))
		return dn_error_set(err, EINVAL,
				    "continue_final_message: the last message has no text that "
				    "could be gone on with");
	/* To its end, with the white space there. */
	*ret_text = strdup(text);
	return *ret_text ? 0 : dn_error_memory(err, "a message", size);
}

/*
 * Where it came out as it went in, it ends the last span that is not the template's own; elsewhere, the
 * same words would be another's.
 */
int dn_worker_cut_open(struct dn_rendered *rendered, const char *text, struct dn_error *err)
{
	size_t end = rendered->size;
	size_t whole = strlen(text);
	size_t n = rendered->n_spans;
	size_t size = whole;
	const char *last;
	size_t last_size;

	for (; n > 0 && rendered->spans[n - 1].trusted; n--)
		end -= rendered->spans[n - 1].size;
	last_size = n > 0 ? rendered->spans[n - 1].size : 0;
	last = rendered->text + end - last_size;
	strip(&last, &last_size);
	strip(&text, &size);
	if (last_size < size || memcmp(last + last_size - size, text, size) != 0)
		return dn_error_set(err, EINVAL,
				    "continue_final_message: the chat template changes the last "
				    "message's text, which can then not be gone on with");
	last += last_size - size;
	/* What is white behind it, as far as the template has it too. */
	if ((size_t)(rendered->text + end - last) >= whole && memcmp(last, text, whole) == 0)
		size = whole;
	rendered->spans[n - 1].size -= (size_t)(rendered->text + end - last) - size;
	rendered->n_spans = n;
	rendered->size = (size_t)(last - rendered->text) + size;
	rendered->text[rendered->size] = '\0';
	return 0;
}
