/* SPDX-License-Identifier: MIT */
/* What the answers of ollama's API have in common. */
#ifndef DUNLIN_SERVER_FRONT_OLLAMA_H
#define DUNLIN_SERVER_FRONT_OLLAMA_H

/* IWYU pragma: begin_exports */
#include "server/front/api.h"
/* IWYU pragma: end_exports */

/* The model that a body names, without ":latest"; owned by the caller. */
json_t *dn_ollama_model(const json_t *body);
/* The time, as its answers have it. */
void dn_ollama_time(char *out, size_t size);

#endif /* DUNLIN_SERVER_FRONT_OLLAMA_H */
