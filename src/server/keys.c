/* SPDX-License-Identifier: MIT */

#include "server/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "base/io.h"
#include "base/text.h"

#define FILE_MAX    ((off_t)256 << 10)
#define DIGEST_WORD "sha256:"
#define KEY_LEAST   16
#define SECRET	    24

static bool parse_digest(const char *hex, uint8_t *out)
{
	if (strlen(hex) != (size_t)2 * SHA256_DIGEST_LENGTH)
		return false;
	for (size_t i = 0; i < SHA256_DIGEST_LENGTH; i++) {
		const int high = dn_hex_value(hex[2 * i]);
		const int low = dn_hex_value(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* @line: words apart by blanks, changed on the way. Return: 0 for a line without a key, 1, -EINVAL. */
static int parse_line(char *line, unsigned int number, struct dn_control_key *key,
		      struct dn_error *err)
{
	char *save = NULL;
	char *first = strtok_r(line, " \t\r", &save);
	char *second = first ? strtok_r(NULL, " \t\r", &save) : NULL;
	const char *word = second ? second : first;
	char name[16];

	if (!first || first[0] == '#')
		return 0;
	if (strtok_r(NULL, " \t\r", &save))
		return dn_error_set(err, EINVAL, "line %u has more than a name and a key", number);
	(void)snprintf(name, sizeof(name), "key%u", number);
	memset(key, 0, sizeof(*key));
	dn_control_set_text(key->name, sizeof(key->name), second ? first : name);
	if (strncmp(word, DIGEST_WORD, strlen(DIGEST_WORD)) == 0) {
		if (!parse_digest(word + strlen(DIGEST_WORD), key->sha256))
			return dn_error_set(err, EINVAL,
					    "line %u: 64 hexadecimal digits belong "
					    "behind 'sha256:'",
					    number);
		return 1;
	}
	if (strlen(word) < KEY_LEAST)
		return dn_error_set(err, EINVAL, "line %u: a key has at least %d characters",
				    number, KEY_LEAST);
	SHA256((const unsigned char *)word, strlen(word), key->sha256);
	return 1;
}

static int parse(char *text, struct dn_control_key *keys, uint32_t *ret_n, struct dn_error *err)
{
	unsigned int number = 0;
	uint32_t n = 0;

	for (char *line = text; line;) {
		char *end = strchr(line, '\n');
		struct dn_control_key key;
		int r;

		if (end)
			*end = '\0';
		r = parse_line(line, ++number, &key, err);
		if (r < 0)
			return r;
		if (r > 0 && n == DN_SERVER_KEYS_MAX)
			return dn_error_set(err, E2BIG, "more than %d keys", DN_SERVER_KEYS_MAX);
		if (r > 0)
			keys[n++] = key;
		line = end ? end + 1 : NULL;
	}
	if (n == 0)
		return dn_error_set(err, ENOENT, "there is no key in it");
	*ret_n = n;
	return 0;
}

int dn_keys_read(const char *path, struct dn_control_key *keys, uint32_t *ret_n,
		 struct dn_error *err)
{
	DN_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	DN_AUTO_FREE char *text = NULL;
	struct stat st;
	int r;

	if (fd < 0)
		return dn_error_errno(err, errno, "open the keys in '%.160s'", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
		return dn_error_set(err, EINVAL, "'%.160s' is no file of keys", path);
	if (st.st_mode & (S_IRWXG | S_IRWXO) & ~(mode_t)S_IRGRP)
		return dn_error_set(err, EPERM,
				    "the keys in '%.160s' are open to others: chmod 600 it", path);
	text = calloc(1, (size_t)st.st_size + 1);
	if (!text)
		return dn_error_memory(err, "keys", (size_t)st.st_size);
	r = dn_read_whole(fd, text, (size_t)st.st_size, "the keys", err);
	if (r >= 0)
		r = parse(text, keys, ret_n, err);
	OPENSSL_cleanse(text, (size_t)st.st_size);
	return r < 0 ? dn_error_prefix(err, r, "keys '%.160s'", path) : 0;
}

int dn_keys_make(const char *path, char *ret_key, struct dn_error *err)
{
	DN_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0600);
	uint8_t secret[SECRET];
	char line[DN_KEY_TEXT_MAX + 1];
	int r;

	if (fd < 0)
		return dn_error_errno(err, errno, "make the keys '%.160s'", path);
	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret)) {
		(void)unlink(path);
		return dn_error_errno(err, errno, "get random numbers");
	}
	(void)snprintf(ret_key, DN_KEY_TEXT_MAX, "sk-");
	for (size_t i = 0; i < sizeof(secret); i++)
		(void)snprintf(ret_key + 3 + 2 * i, 3, "%02x", secret[i]);
	(void)snprintf(line, sizeof(line), "%s\n", ret_key);
	r = dn_write_whole(fd, line, strlen(line), "the keys", err);
	if (r >= 0 && fsync(fd) < 0)
		r = dn_error_errno(err, errno, "write the keys '%.160s'", path);
	if (r < 0)
		(void)unlink(path);
	return r;
}
