/* SPDX-License-Identifier: MIT */
/*
 * What WordPiece needs to know of characters. The tables are of one Unicode version, whatever the
 * machine has installed, so that ids are the same everywhere; scripts/make-unicode-tables makes
 * them.
 */
#ifndef DUNLIN_ENGINE_TOKENIZER_UNICODE_H
#define DUNLIN_ENGINE_TOKENIZER_UNICODE_H

#include <stdint.h>

enum dn_unicode_class {
	DN_UNICODE_OTHER = 0,
	DN_UNICODE_SPACE = 1,	    /* category Z, tab, line feed, carriage return */
	DN_UNICODE_CONTROL = 2,	    /* categories Cc, Cf, Co, and U+FFFD */
	DN_UNICODE_PUNCTUATION = 3, /* category P, and ASCII that is neither letter nor digit */
	DN_UNICODE_MARK = 4,	    /* category Mn */
};

#define DN_UNICODE_STRIP_MAX 3

/* Points above U+10FFFF are "other". */
enum dn_unicode_class dn_unicode_class(uint32_t point);

/*
 * The canonical decomposition (NFD) without its characters of class "mark"; a mark stays itself.
 * Returns their number, at least 1. Their canonical order is left out: it concerns marks.
 */
unsigned int dn_unicode_strip(uint32_t point, uint32_t out[DN_UNICODE_STRIP_MAX]);

/* The lower case, where that is one character: of all points that have one, all but U+0130. */
uint32_t dn_unicode_lower(uint32_t point);

#endif /* DUNLIN_ENGINE_TOKENIZER_UNICODE_H */
