/* SPDX-License-Identifier: MIT */

#include "server/front/embed-texts.h"

#include <stdlib.h>
#include <string.h>

void dn_embed_texts_init(struct dn_embed_texts *texts)
{
	*texts = (struct dn_embed_texts){
		.lengths = DN_BUFFER_INIT((size_t)(DN_EMBED_INPUTS_MAX + 2) * sizeof(uint32_t)),
		.bytes = DN_BUFFER_INIT((size_t)DN_FRAME_ATTACHED_TEXT_MAX),
	};
}

void dn_embed_texts_done(struct dn_embed_texts *texts)
{
	dn_buffer_done(&texts->lengths);
	dn_buffer_done(&texts->bytes);
}

bool dn_embed_texts_add(struct dn_embed_texts *texts, const void *data, size_t size,
			const char *param, struct dn_api_error *error)
{
	const uint32_t length = (uint32_t)size;

	if (texts->n >= DN_EMBED_INPUTS_MAX + 1)
		return dn_api_bad(error, param, "'%s' has more than %d texts", param,
				  DN_EMBED_INPUTS_MAX);
	if (size == 0)
		return dn_api_bad(error, param, "'%s' has a text that is empty", param);
	if (size > DN_FRAME_ATTACHED_TEXT_MAX ||
	    dn_buffer_append(&texts->lengths, &length, sizeof(length)) < 0 ||
	    dn_buffer_append(&texts->bytes, data, size) < 0)
		return dn_api_fail(error, 413, NULL, "the texts are too large");
	texts->n++;
	return true;
}

bool dn_embed_texts_add_text(struct dn_embed_texts *texts, const json_t *text, const char *param,
			     struct dn_api_error *error)
{
	if (!json_is_string(text))
		return dn_api_bad(error, param, "'%s' has an item that is no text", param);
	return dn_embed_texts_add(texts, json_string_value(text), json_string_length(text), param,
				  error);
}

static bool add_ids(struct dn_embed_texts *texts, const json_t *list, struct dn_api_error *error)
{
	size_t n;
	DN_AUTO_FREE uint32_t *ids = dn_api_ids(list, "input", &n, error);

	texts->ids = true;
	return ids && dn_embed_texts_add(texts, ids, n * sizeof(*ids), "input", error);
}

bool dn_embed_texts_read(struct dn_embed_texts *texts, const json_t *input,
			 struct dn_api_error *error)
{
	const json_t *first = json_array_get(input, 0);
	const json_t *item;
	size_t i;

	if (json_is_string(input))
		return dn_embed_texts_add_text(texts, input, "input", error);
	if (!json_is_array(input) || !first || json_array_size(input) > DN_EMBED_INPUTS_MAX)
		if (!json_is_integer(first))
			return dn_api_bad(error, "input",
					  "'input' is to be a text, a list of token ids, or a list "
					  "of 1 to %d of these",
					  DN_EMBED_INPUTS_MAX);
	if (json_is_integer(first))
		return add_ids(texts, input, error);
	json_array_foreach(input, i, item)
	{
		if (json_is_array(first) && !json_is_array(item))
			return dn_api_bad(error, "input", "item %zu of 'input' is no list of ids",
					  i);
		if (json_is_array(first) ? !add_ids(texts, item, error)
					 : !dn_embed_texts_add_text(texts, item, "input", error))
			return false;
	}
	return true;
}

bool dn_embed_texts_attach(const struct dn_embed_texts *texts, struct dn_ask *ask,
			   struct dn_api_error *error)
{
	DN_AUTO_BUFFER struct dn_buffer all = DN_BUFFER_INIT((size_t)DN_FRAME_ATTACHED_TEXT_MAX);
	struct dn_error err = DN_ERROR_INIT;

	if (dn_buffer_append(&all, &texts->n, sizeof(texts->n)) < 0 ||
	    dn_buffer_append(&all, texts->lengths.data, texts->lengths.size) < 0 ||
	    dn_buffer_append(&all, texts->bytes.data, texts->bytes.size) < 0)
		return dn_api_fail(error, 413, NULL, "the texts are too large");
	ask->frame.attachment = all.size;
	if (dn_attach(all.data, all.size, &ask->attachment, &err) < 0)
		return dn_api_fail(error, 503, "overloaded", "%s", err.message);
	return true;
}
