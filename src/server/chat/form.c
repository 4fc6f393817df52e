/* SPDX-License-Identifier: MIT */
/* Which form a model's answers have, by what its chat template writes. */

#include "server/chat/chat.h"

#include <string.h>

/* The first whose word is in the template is the one. */
static const struct {
	const char *word;
	struct dn_chat_form form;
} calls[] = {
	{ "<|tool_call>",
	  { .name = "gemma4",
	    .call_open = "<|tool_call>",
	    .call_close = "<tool_call|>",
	    .decode = dn_chat_decode_gemma,
	    .control = true } },
	{ "<start_function_call>",
	  { .name = "functiongemma",
	    .call_open = "<start_function_call>",
	    .call_close = "<end_function_call>",
	    .decode = dn_chat_decode_gemma,
	    .control = true } },
	{ "<|tool_call_start|>",
	  { .name = "lfm2",
	    .call_open = "<|tool_call_start|>",
	    .call_close = "<|tool_call_end|>",
	    .decode = dn_chat_decode_python,
	    .control = true } },
	{ "List of tools: [",
	  { .name = "lfm2",
	    .call_open = "<|tool_call_start|>",
	    .call_close = "<|tool_call_end|>",
	    .decode = dn_chat_decode_python,
	    .control = true } },
	{ "<｜tool▁calls▁begin｜>",
	  { .name = "deepseek",
	    .call_open = "<｜tool▁calls▁begin｜>",
	    .call_close = "<｜tool▁calls▁end｜>",
	    .decode = dn_chat_decode_deepseek,
	    .control = true,
	    .arguments_text = true } },
	{ "[TOOL_CALLS]",
	  { .name = "mistral",
	    .call_open = "[TOOL_CALLS]",
	    .decode = dn_chat_decode_mistral,
	    .control = true,
	    .short_ids = true } },
	{ "<|tool|>",
	  { .name = "phi4",
	    .call_open = "<|tool_call|>",
	    .call_close = "<|/tool_call|>",
	    .decode = dn_chat_decode_json,
	    .control = true,
	    .system_tools = true } },
	{ "<|tool_call|>",
	  { .name = "granite3",
	    .call_open = "<|tool_call|>",
	    .decode = dn_chat_decode_json,
	    .control = true } },
	{ "<tool_call>",
	  { .name = "hermes",
	    .call_open = DN_CHAT_CALL_OPEN,
	    .call_close = DN_CHAT_CALL_CLOSE,
	    .decode = dn_chat_decode_hermes } },
	{ "ipython",
	  { .name = "llama3",
	    .call_open = "<|python_tag|>",
	    .decode = dn_chat_decode_llama,
	    .bare = true,
	    .control = true } },
	{ "tools",
	  { .name = "unknown",
	    .call_open = DN_CHAT_CALL_OPEN,
	    .call_close = DN_CHAT_CALL_CLOSE,
	    .decode = dn_chat_decode_hermes,
	    .bare = true } },
};

static const struct {
	const char *word;
	const char *open;
	const char *close;
	bool control;
} thoughts[] = {
	{ "<|channel>", "<|channel>thought", "<channel|>", true },
	{ "[THINK]", "[THINK]", "[/THINK]", true },
	{ "<think>", "<think>", "</think>", false },
	{ "</think>", "<think>", "</think>", false },
};

static bool has(const char *source, size_t size, const char *word)
{
	return memmem(source, size, word, strlen(word)) != NULL;
}

void dn_chat_form_find(const char *source, size_t size, struct dn_chat_form *ret_form)
{
	*ret_form = (struct dn_chat_form){
		.name = "none",
		.call_open = DN_CHAT_CALL_OPEN,
		.call_close = DN_CHAT_CALL_CLOSE,
		.decode = dn_chat_decode_hermes,
		.bare = true,
	};
	for (size_t i = 0; i < DN_ARRAY_SIZE(calls); i++)
		if (has(source, size, calls[i].word)) {
			*ret_form = calls[i].form;
			ret_form->shows_tools = true;
			break;
		}
	for (size_t i = 0; i < DN_ARRAY_SIZE(thoughts); i++)
		if (has(source, size, thoughts[i].word)) {
			ret_form->think_open = thoughts[i].open;
			ret_form->think_close = thoughts[i].close;
			ret_form->control = ret_form->control || thoughts[i].control;
			break;
		}
}

bool dn_chat_form_in_reasoning(const struct dn_chat_form *form, const char *prompt, size_t size)
{
	const size_t open = form->think_open ? strlen(form->think_open) : 0;

	while (size > 0 && strchr(" \n\r\t", prompt[size - 1]))
		size--;
	return open > 0 && size >= open &&
	       memcmp(prompt + size - open, form->think_open, open) == 0;
}
