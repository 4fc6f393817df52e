/* SPDX-License-Identifier: MIT */
/* Fields that clients send and nobody reads: who looks for a typing error finds them in the log. */

#include <stdio.h>
#include <string.h>

#include "server/front/front.h"

/* Of all APIs, what is read or means nothing here. */
static const char *const known[] = {
	"background",
	"chat_template_kwargs",
	"continue_final_message",
	"conversation",
	"deadline_ms",
	"dimensions",
	"documents",
	"encoding_format",
	"first_token_deadline_ms",
	"format",
	"frequency_penalty",
	"ignore_eos",
	"images",
	"include",
	"input",
	"instructions",
	"keep_alive",
	"logit_bias",
	"logprobs",
	"max_completion_tokens",
	"max_output_tokens",
	"max_tokens",
	"messages",
	"metadata",
	"min_p",
	"model",
	"n",
	"options",
	"parallel_tool_calls",
	"presence_penalty",
	"previous_response_id",
	"priority",
	"prompt",
	"query",
	"raw",
	"reasoning",
	"reasoning_effort",
	"repetition_penalty",
	"response_format",
	"return_documents",
	"seed",
	"service_tier",
	"speculation",
	"stop",
	"stop_sequences",
	"store",
	"stream",
	"stream_options",
	"suffix",
	"system",
	"temperature",
	"text",
	"think",
	"thinking",
	"tool_choice",
	"tools",
	"top_k",
	"top_logprobs",
	"top_n",
	"top_p",
	"truncate",
	"truncation",
	"user",
};

static bool is_known(const char *name)
{
	for (size_t i = 0; i < DN_ARRAY_SIZE(known); i++)
		if (strcmp(known[i], name) == 0)
			return true;
	return false;
}

/* Whether it is the first time; names beyond what is remembered are not noted. */
static bool is_new(struct dn_front *front, const char *name)
{
	for (uint32_t i = 0; i < front->n_unknown; i++)
		if (strcmp(front->unknown[i], name) == 0)
			return false;
	if (front->n_unknown == DN_FRONT_UNKNOWN_MAX)
		return false;
	(void)snprintf(front->unknown[front->n_unknown++], DN_FRONT_FIELD_MAX, "%s", name);
	return true;
}

void dn_front_note_unknown(struct dn_front *front, const struct dn_http_request *request,
			   const json_t *body)
{
	char value[DN_LOG_VALUE_SIZE(DN_FRONT_FIELD_MAX)];
	const char *key;
	json_t *field;

	json_object_foreach((json_t *)body, key, field)
	{
		char name[DN_FRONT_FIELD_MAX];

		(void)snprintf(name, sizeof(name), "%s", key);
		if (!is_known(name) && is_new(front, name))
			dn_log_event("debug", "field", "request=%s unknown=%s", request->id,
				     dn_log_value(name, value, sizeof(value)));
	}
}
