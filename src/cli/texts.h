/* SPDX-License-Identifier: MIT */
/* Texts of a command line or of standard input, and their embeddings from a worker. */
#ifndef DUNLIN_CLI_TEXTS_H
#define DUNLIN_CLI_TEXTS_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>
#include <dunlin/model.h>

#include "base/base.h"
#include "base/buffer.h"
#include "cli/client.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_texts - texts one behind the other
 * @lengths: uint32[@count]
 * @ends: uint32[@count]: where each ends in @bytes
 * @prefix: put before each text that is read from now on; NULL: nothing; borrowed
 */
struct dn_texts {
	struct dn_buffer bytes;
	struct dn_buffer lengths;
	struct dn_buffer ends;
	uint32_t count;
	const char *prefix;
};

#define DN_TEXTS_INIT                                                                              \
	{ .bytes = DN_BUFFER_INIT(DN_TEXTS_MAX),                                                   \
	  .lengths = DN_BUFFER_INIT(DN_TEXTS_MAX),                                                 \
	  .ends = DN_BUFFER_INIT(DN_TEXTS_MAX) }
#define DN_TEXTS_MAX ((size_t)63 << 20) /* with their lengths they fit one attachment */

void dn_texts_done(struct dn_texts *texts);
#define DN_AUTO_TEXTS DN_AUTO(dn_texts_done)

DN_MUST_CHECK int dn_texts_add(struct dn_texts *texts, const char *text, size_t size,
			       struct dn_error *err);
/**
 * dn_texts_take() - the texts of a verb
 * @args, @n: arguments; with none, standard input's lines
 * @jsonl: those lines are objects with a "text"
 *
 * Return: 0, or a negative errno; -EINVAL where a line is no such object, or there is no text.
 */
DN_MUST_CHECK int dn_texts_take(struct dn_texts *texts, char **args, int n, bool jsonl,
				struct dn_error *err);
/**
 * dn_texts_append_line() - text @i as one line, whatever lines it has
 * @max: bytes; "..." stands for what is behind them
 *
 * Return: 0, or -ENOMEM.
 */
DN_MUST_CHECK int dn_texts_append_line(const struct dn_texts *texts, uint32_t i, size_t max,
				       struct dn_buffer *ret);

/* Called with each frame of rows: float32[@embedded->rows, @embedded->columns]. */
typedef int dn_rows_function(void *data, const struct dn_frame_embedded *embedded,
			     const float *rows, struct dn_error *err);

/* Sends the texts and hands on what comes back, in order. */
DN_MUST_CHECK int dn_texts_embed(struct dn_client *client, const struct dn_texts *texts,
				 const struct dn_frame_embed *how, dn_rows_function *function,
				 void *data, struct dn_error *err);

#endif /* DUNLIN_CLI_TEXTS_H */
