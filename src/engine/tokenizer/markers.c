/* SPDX-License-Identifier: MIT */
/*
 * Tokens known by their text. Files name an EOS, seldom the other tokens that end an answer, and
 * some call their markers "user-defined" or "normal", so that text could forge them. llama.cpp
 * goes by the same names; its behaviour is what model authors have tested with.
 */

#include <dunlin/error.h>
#include <dunlin/tokenizer.h>

#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/tokenizer-internal.h"

enum marker_use {
	MARKER_CONTROL = 0, /* a control token, whatever the file calls it */
	MARKER_ENDS = 1,    /* and it ends an answer */
	MARKER_MAY_END = 2, /* that too, unless the file calls it a normal token: it can be HTML */
};

#define TOOL_RESPONSE "<|tool_response>"

static const struct {
	const char *text;
	enum marker_use use;
} markers[] = {
	{ "<|eot_id|>", MARKER_ENDS },
	{ "<|im_end|>", MARKER_ENDS },
	{ "<|end|>", MARKER_ENDS },
	{ "<|return|>", MARKER_ENDS },
	{ "<|call|>", MARKER_ENDS },
	{ "<|calls|>", MARKER_ENDS },
	{ "<|flush|>", MARKER_ENDS },
	{ "<end_of_turn>", MARKER_ENDS },
	{ "<|endoftext|>", MARKER_ENDS },
	{ "<|eom_id|>", MARKER_ENDS },
	{ "<|end_of_text|>", MARKER_ENDS },
	{ "<end_of_utterance>", MARKER_ENDS },
	{ "<turn|>", MARKER_ENDS },
	{ TOOL_RESPONSE, MARKER_ENDS },
	{ "[e~[", MARKER_ENDS },
	{ "<\xef\xbd\x9c"
	  "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
	  MARKER_ENDS },
	{ "<EOT>", MARKER_MAY_END },
	{ "_<EOT>", MARKER_MAY_END },
	{ "[EOT]", MARKER_MAY_END },
	{ "[EOS]", MARKER_MAY_END },
	{ "</s>", MARKER_MAY_END },
	{ "<eos>", MARKER_MAY_END },
	{ "<|fim_pad|>", MARKER_ENDS },
	{ "<fim-pad>", MARKER_ENDS },
	{ "<fim_pad>", MARKER_ENDS },
	{ "<|fim_repo|>", MARKER_ENDS },
	{ "<|repo_name|>", MARKER_ENDS },
	{ "<fim-repo>", MARKER_ENDS },
	{ "<reponame>", MARKER_ENDS },
	{ "<|file_sep|>", MARKER_ENDS },
	{ "<|fim_prefix|>", MARKER_CONTROL },
	{ "<fim-prefix>", MARKER_CONTROL },
	{ "<fim_prefix>", MARKER_CONTROL },
	{ "<|fim_suffix|>", MARKER_CONTROL },
	{ "<fim-suffix>", MARKER_CONTROL },
	{ "<fim_suffix>", MARKER_CONTROL },
	{ "<|fim_middle|>", MARKER_CONTROL },
	{ "<fim-middle>", MARKER_CONTROL },
	{ "<fim_middle>", MARKER_CONTROL },
};

static const char *const end_keys[] = {
	"tokenizer.ggml.eot_token_id",
	"tokenizer.ggml.eom_token_id",
};

static uint32_t find_marker(const struct dn_vocabulary *vocabulary, const char *text)
{
	return dn_vocabulary_find(vocabulary, text, strlen(text));
}

int dn_markers_apply(struct dn_vocabulary *vocabulary, const struct dn_gguf *gguf, uint32_t eos,
		     struct dn_error *err)
{
	uint32_t end, token;
	int r;

	for (size_t i = 0; i < DN_ARRAY_SIZE(markers); i++) {
		token = find_marker(vocabulary, markers[i].text);
		if (token == DN_TOKEN_NONE)
			continue;
		if (markers[i].use == MARKER_MAY_END &&
		    vocabulary->entries[token].kind == DN_TOKEN_NORMAL)
			continue;
		vocabulary->entries[token].kind = DN_TOKEN_CONTROL;
		vocabulary->entries[token].ends = markers[i].use != MARKER_CONTROL;
	}

	/* In gpt-oss and its kin <|end|> ends a message, after which the answer goes on. */
	end = find_marker(vocabulary, "<|end|>");
	if (end != DN_TOKEN_NONE) {
		bool returns = find_marker(vocabulary, "<|return|>") != DN_TOKEN_NONE ||
			       find_marker(vocabulary, "<|flush|>") != DN_TOKEN_NONE;
		bool calls = find_marker(vocabulary, "<|call|>") != DN_TOKEN_NONE ||
			     find_marker(vocabulary, "<|calls|>") != DN_TOKEN_NONE;

		if (returns && calls)
			vocabulary->entries[end].ends = false;
	}

	/* Gemma 4 has the tags of HTML among its tokens, whatever their kind. */
	token = find_marker(vocabulary, "</s>");
	if (token != DN_TOKEN_NONE && find_marker(vocabulary, TOOL_RESPONSE) != DN_TOKEN_NONE) {
		vocabulary->entries[token].kind = DN_TOKEN_NORMAL;
		vocabulary->entries[token].ends = false;
	}

	if (eos != DN_TOKEN_NONE)
		vocabulary->entries[eos].ends = true;
	for (size_t i = 0; i < DN_ARRAY_SIZE(end_keys); i++) {
		r = dn_gguf_get_u32(gguf, end_keys[i], &token, err);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		if (token >= vocabulary->n_tokens)
			return dn_error_set(err, EINVAL, "%s is %u; the vocabulary has %u tokens",
					    end_keys[i], token, vocabulary->n_tokens);
		vocabulary->entries[token].ends = true;
	}
	return 0;
}
