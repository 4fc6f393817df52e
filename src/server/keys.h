/* SPDX-License-Identifier: MIT */
/*
 * API keys in a file, one a line; a line that begins with '#' is a remark:
 *
 *	[NAME] KEY|sha256:HEX [priority=urgent|normal|batch] [models=NAME,NAME] [requests=N/m]
 *		[tokens=N/m] [parallel=N] [expires=YYYY-MM-DD]
 *
 * Only digests leave this file's functions.
 */
#ifndef DUNLIN_SERVER_KEYS_H
#define DUNLIN_SERVER_KEYS_H

/* IWYU pragma: begin_exports */
#include "server/control.h"
/* IWYU pragma: end_exports */

#define DN_KEY_TEXT_MAX 64
#define DN_KEY_LEAST	16 /* characters */
/* "sha256:", and 64 digits. */
#define DN_KEY_DIGEST_TEXT 72

/* What models are called, by their numbers; all borrowed. */
struct dn_key_models {
	const char *names[DN_SERVER_MODELS_MAX];
	uint32_t n;
};

/* Words of a line, borrowed from it; @name and @field are NULL where there is none. */
struct dn_key_line {
	char *name;
	char *key;
	char *field; /* the first; strtok_r() of @more has the others */
	char *more;
};

/**
 * dn_key_line_split() - what of a line is its key
 * @text: without its end; changed on the way
 * @number: of the line, for the message, which has nothing else of it
 *
 * Return: 1; 0 for a line without a key; -EINVAL where something else stands in a key's place.
 */
DN_MUST_CHECK int dn_key_line_split(char *text, unsigned int number, struct dn_key_line *ret_line,
				    struct dn_error *err);

/**
 * dn_keys_parse() - the keys that a text has
 * @text: changed on the way
 * @models: for the numbers of those that a line names
 * @keys: room for DN_SERVER_KEYS_MAX
 * @ret_unknown: a name that no model has, of the last such line, or ""; DN_CONTROL_NAME_MAX bytes
 *
 * Return: 0; -EINVAL for a line that is none, whose number the message has, and nothing else of it;
 * -ENOENT for a text without keys.
 */
DN_MUST_CHECK int dn_keys_parse(char *text, const struct dn_key_models *models,
				struct dn_control_key *keys, uint32_t *ret_n, char *ret_unknown,
				struct dn_error *err);
/* The same of a file that others cannot read. Return: also what open() and read() said. */
DN_MUST_CHECK int dn_keys_read(const char *path, const struct dn_key_models *models,
			       struct dn_control_key *keys, uint32_t *ret_n, char *ret_unknown,
			       struct dn_error *err);

/* Whether a text is a day, YYYY-MM-DD, and the second of UTC at which it is over. */
bool dn_key_expires(const char *date, uint64_t *ret_expires_s);

/* A new random one, of DN_KEY_TEXT_MAX bytes. */
DN_MUST_CHECK int dn_key_new(char *ret_key, struct dn_error *err);
/* A key as a file of keys has it: DN_KEY_DIGEST_TEXT bytes. */
void dn_key_digest(const char *key, char *ret_text);
/* Makes a key, and a file (mode 600) that has its digest alone; -EEXIST where there is one. */
DN_MUST_CHECK int dn_keys_make(const char *path, char *ret_key, struct dn_error *err);

#endif /* DUNLIN_SERVER_KEYS_H */
