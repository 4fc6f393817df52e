/* SPDX-License-Identifier: MIT */
/*
 * Stop strings. What is held back begins where a stop string may have begun; all that is kept
 * between calls is that text, so that any split of an answer gives the same output as the whole.
 *
 * Of several matches the one that begins first counts, also where another is complete sooner: in
 * "abcdX" with the strings "abcde" and "cd" the output waits for the X, then ends after "ab".
 *
 * Comparing at each position costs at most 16 x 256 bytes a byte; the first byte decides nearly
 * all of them.
 */

#include <dunlin/sampler.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/text.h"

#define FEED_MAX 4096

struct dn_stop {
	size_t n;
	size_t sizes[DN_STOP_MAX];
	char strings[DN_STOP_MAX][DN_STOP_BYTES_MAX];
	bool first[256]; /* bytes that begin a stop string */
	bool met;
	size_t held;  /* bytes at the head of text; always fewer than DN_STOP_BYTES_MAX */
	size_t shown; /* bytes before them that the last call gave out */
	char text[DN_STOP_BYTES_MAX + FEED_MAX];
};

enum match {
	MATCH_NONE,
	MATCH_BEGUN, /* the text ends inside a stop string */
	MATCH_WHOLE,
};

static int check_string(const char *string, size_t i, struct dn_error *err)
{
	size_t size = strnlen(string, DN_STOP_BYTES_MAX + 1);

	if (size < 1 || size > DN_STOP_BYTES_MAX)
		return dn_error_set(err, EINVAL, "stop[%zu] must have 1 to %d bytes%s", i,
				    DN_STOP_BYTES_MAX, size ? "" : ", not 0");
	/* So that output is never cut inside of a character. */
	if (!dn_utf8_valid(string, size))
		return dn_error_set(err, EINVAL, "stop[%zu] must be valid UTF-8", i);
	return 0;
}

int dn_stop_new(const char *const *strings, size_t n, struct dn_stop **ret_stop,
		struct dn_error *err)
{
	struct dn_stop *stop;
	int r;

	if (n > DN_STOP_MAX)
		return dn_error_set(err, EINVAL, "stop must have 0 to %d strings, not %zu",
				    DN_STOP_MAX, n);
	for (size_t i = 0; i < n; i++) {
		r = check_string(strings[i], i, err);
		if (r < 0)
			return r;
	}
	stop = calloc(1, sizeof(*stop));
	if (!stop)
		return dn_error_memory(err, "the stop strings", sizeof(*stop));
	for (size_t i = 0; i < n; i++) {
		stop->sizes[i] = strlen(strings[i]);
		memcpy(stop->strings[i], strings[i], stop->sizes[i]);
		stop->first[(unsigned char)strings[i][0]] = true;
	}
	stop->n = n;
	*ret_stop = stop;
	return 0;
}

struct dn_stop *dn_stop_free(struct dn_stop *stop)
{
	free(stop);
	return NULL;
}

/* Whether a stop string begins at the head of @text. */
static enum match match_at(const struct dn_stop *stop, const char *text, size_t size)
{
	enum match best = MATCH_NONE;

	if (!stop->first[(unsigned char)text[0]])
		return MATCH_NONE;
	for (size_t i = 0; i < stop->n; i++) {
		if (memcmp(text, stop->strings[i], DN_MIN(size, stop->sizes[i])) != 0)
			continue;
		if (size >= stop->sizes[i])
			return MATCH_WHOLE;
		best = MATCH_BEGUN;
	}
	return best;
}

int dn_stop_feed(struct dn_stop *stop, const char *text, size_t size, const char **ret_out,
		 size_t *ret_size)
{
	size_t at = 0;
	enum match match = MATCH_NONE;

	*ret_out = stop->text;
	*ret_size = 0;
	if (size > FEED_MAX)
		return -E2BIG;
	if (stop->met)
		return 1;
	memmove(stop->text, stop->text + stop->shown, stop->held);
	memcpy(stop->text + stop->held, text, size);
	size += stop->held;
	while (at < size) {
		match = match_at(stop, stop->text + at, size - at);
		if (match != MATCH_NONE)
			break;
		at++;
	}
	stop->met = match == MATCH_WHOLE;
	stop->held = match == MATCH_BEGUN ? size - at : 0;
	stop->shown = at;
	*ret_size = at;
	return stop->met;
}

int dn_stop_flush(struct dn_stop *stop, const char **ret_out, size_t *ret_size)
{
	size_t at = 0;

	*ret_out = stop->text + stop->shown;
	while (at < stop->held && match_at(stop, *ret_out + at, stop->held - at) != MATCH_WHOLE)
		at++;
	stop->met = stop->met || at < stop->held;
	*ret_size = at;
	stop->shown += stop->held;
	stop->held = 0;
	return stop->met;
}
