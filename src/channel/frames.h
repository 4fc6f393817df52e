/* SPDX-License-Identifier: MIT */
/* What a frame may hold: checked by whoever receives one, before anything in it is used. */
#ifndef DUNLIN_CHANNEL_FRAMES_H
#define DUNLIN_CHANNEL_FRAMES_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/channel.h>
#include <dunlin/error.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

enum dn_frame_way {
	DN_FRAME_TO_WORKER,
	DN_FRAME_FROM_WORKER,
};

/* Zeroes @frame and fills what every frame has. */
void dn_frame_init(struct dn_frame *frame, enum dn_frame_type type, uint64_t request);

/* Bytes of a prompt, or of a text, at most. */
#define DN_FRAME_ATTACHED_TEXT_MAX ((uint64_t)64 << 20)

/* "SUBMIT"; "unknown" for a number that is none. */
const char *dn_frame_name(uint32_t type);

/* One more text that ends the answer. Return: false: there is no room, or it is none. */
bool dn_frame_add_stop(struct dn_frame_submit *submit, const char *text, size_t size);

/* The place of an enum dn_priority in their order: 0 is served first. */
uint32_t dn_priority_rank(uint32_t priority);

/**
 * dn_frame_check() - whether a received frame keeps to the schema
 * @has_fd: a descriptor came with it
 *
 * Every field of the frame's type is checked: ranges, finite numbers, terminated strings, UTF-8,
 * counts against their arrays, and that all other bytes are zero. What depends on a model (ids,
 * lengths) is its reader's to check.
 *
 * Return: 0, or -EBADMSG with a message that names type and field.
 */
DN_MUST_CHECK int dn_frame_check(const struct dn_frame *frame, enum dn_frame_way way, bool has_fd,
				 struct dn_error *err);

/* Copies text into a frame's field: printable, cut at a code point, terminated, zero-filled. */
void dn_frame_set_text(char *field, size_t field_size, const char *text, size_t size);

#endif /* DUNLIN_CHANNEL_FRAMES_H */
