/* SPDX-License-Identifier: MIT */
/* The form of a model's chats, from the template that its worker describes. */

#include <string.h>

#include "server/front/models.h"

const struct dn_chat_form *dn_models_form(const struct dn_model_link *model)
{
	return &model->form;
}

void dn_models_ask_form(struct dn_frame *frame)
{
	dn_frame_init(frame, DN_FRAME_DESCRIBE, 1);
	frame->u.describe.format = DN_DESCRIBE_JSON;
	frame->u.describe.all = 1;
}

void dn_models_keep_form(struct dn_model_link *model, const struct dn_frame *frame, int fd)
{
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };
	const json_t *source;
	json_t *json = NULL;

	if (frame && dn_mapped_open(fd, frame->attachment, &mapped, NULL) == 0)
		json = json_loadb(mapped.data, mapped.size, 0, NULL);
	source = json_object_get(json_object_get(json, "metadata"), "tokenizer.chat_template");
	dn_chat_form_find(json_is_string(source) ? json_string_value(source) : "",
			  json_string_length(source), &model->form);
	model->has_form = true;
	json_decref(json);
}
