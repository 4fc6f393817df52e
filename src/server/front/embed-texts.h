/* SPDX-License-Identifier: MIT */
/* Texts that are to be vectors, as the frame EMBED has them. */
#ifndef DUNLIN_SERVER_FRONT_EMBED_TEXTS_H
#define DUNLIN_SERVER_FRONT_EMBED_TEXTS_H

/* IWYU pragma: begin_exports */
#include "server/front/models.h"
/* IWYU pragma: end_exports */

#define DN_EMBED_INPUTS_MAX 2048

/* @ids: they are token ids. */
struct dn_embed_texts {
	struct dn_buffer lengths; /* uint32_t each */
	struct dn_buffer bytes;
	uint32_t n;
	bool ids;
};

void dn_embed_texts_init(struct dn_embed_texts *texts);
void dn_embed_texts_done(struct dn_embed_texts *texts);

/* @param: the field that is said to be wrong. Return: false with @error. */
bool dn_embed_texts_add(struct dn_embed_texts *texts, const void *data, size_t size,
			const char *param, struct dn_api_error *error);
bool dn_embed_texts_add_text(struct dn_embed_texts *texts, const json_t *text, const char *param,
			     struct dn_api_error *error);
/* A text, a list of ids, or a list of either. */
bool dn_embed_texts_read(struct dn_embed_texts *texts, const json_t *input,
			 struct dn_api_error *error);
/* What an ask of EMBED has attached. */
bool dn_embed_texts_attach(const struct dn_embed_texts *texts, struct dn_ask *ask,
			   struct dn_api_error *error);

#endif /* DUNLIN_SERVER_FRONT_EMBED_TEXTS_H */
