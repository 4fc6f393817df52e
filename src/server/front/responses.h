/* SPDX-License-Identifier: MIT */
/* Requests of OpenAI's Responses API as chats: one is read as the other. */
#ifndef DUNLIN_SERVER_FRONT_RESPONSES_H
#define DUNLIN_SERVER_FRONT_RESPONSES_H

/* IWYU pragma: begin_exports */
#include "server/front/api.h"
/* IWYU pragma: end_exports */

/* Owned by the caller; NULL with @error. */
json_t *dn_responses_translate(const json_t *body, struct dn_api_error *error);
/* What a field of a chat is called here; NULL: the same. */
const char *dn_responses_field(const char *of_chat);

#endif /* DUNLIN_SERVER_FRONT_RESPONSES_H */
