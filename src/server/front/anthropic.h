/* SPDX-License-Identifier: MIT */
/* Requests of Anthropic's Messages API as chats of OpenAI's: one is read as the other. */
#ifndef DUNLIN_SERVER_FRONT_ANTHROPIC_H
#define DUNLIN_SERVER_FRONT_ANTHROPIC_H

/* IWYU pragma: begin_exports */
#include "server/front/api.h"
/* IWYU pragma: end_exports */

/* Owned by the caller; NULL with @error. */
json_t *dn_anthropic_translate(const json_t *body, struct dn_api_error *error);
/* The same without 'max_tokens', which counting needs not. */
json_t *dn_anthropic_translate_count(const json_t *body, struct dn_api_error *error);
/* What a field of a chat is called here; NULL: the same. */
const char *dn_anthropic_field(const char *of_chat);

#endif /* DUNLIN_SERVER_FRONT_ANTHROPIC_H */
