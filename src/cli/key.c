/* SPDX-License-Identifier: MIT */
/* dunlin key: keys for 'dunlin serve --key-file', as the file has them. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "cli/cli.h"
#include "server/keys.h"

#define KEY_MAX 1024

static void print_line(const char *name, const char *key)
{
	char digest[DN_KEY_DIGEST_TEXT];

	dn_key_digest(key, digest);
	printf("%s %s\n", name, digest);
}

static int new_key(const char *name, struct dn_error *err)
{
	char key[DN_KEY_TEXT_MAX];
	int r = dn_key_new(key, err);

	if (r < 0)
		return r;
	/* The line alone is the output, so that '>>' puts it into the file. */
	(void)fprintf(stderr, "the key, which is shown this once: %s\n", key);
	print_line(name, key);
	OPENSSL_cleanse(key, sizeof(key));
	return 0;
}

/* From standard input: a command line is for all to see. */
static int hash_key(const char *name, struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer key = DN_BUFFER_INIT(KEY_MAX);
	int r = dn_cli_read_all(STDIN_FILENO, "standard input", &key, err);
	size_t size;

	if (r < 0)
		return r;
	size = key.data ? strcspn(key.data, "\r\n") : 0;
	if (size < DN_KEY_LEAST || strcspn(key.data, " \t") < size)
		return dn_error_set(err, EINVAL,
				    "a key has at least %d characters, none of them "
				    "blank",
				    DN_KEY_LEAST);
	key.data[size] = '\0';
	print_line(name, key.data);
	OPENSSL_cleanse(key.data, key.size);
	return 0;
}

static int run(struct dn_invocation *invocation)
{
	const char *word = invocation->args[0];
	const char *name = invocation->args[1];
	struct dn_error err = DN_ERROR_INIT;
	int r;

	if (name[0] == '\0' || name[0] == '#' || strpbrk(name, " \t\r\n") ||
	    strlen(name) >= DN_CONTROL_NAME_MAX) {
		(void)fprintf(stderr, "dunlin: key: '%.80s': a name is one word\n", name);
		return DN_EXIT_USAGE;
	}
	if (strcmp(word, "new") == 0) {
		r = new_key(name, &err);
	} else if (strcmp(word, "hash") == 0) {
		r = hash_key(name, &err);
	} else {
		(void)fprintf(stderr, "dunlin: key: takes new or hash\n");
		return DN_EXIT_USAGE;
	}
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_key = {
	.name = "key",
	.arguments = "new|hash NAME",
	.summary = "Make a key for a server, or hash one.",
	.details = "Prints the line for 'dunlin serve --key-file', which has the key's SHA-256 "
		   "alone.\n"
		   "A new key goes to standard error; one to hash is read from standard input.\n",
	.min_args = 2,
	.max_args = 2,
	.run = run,
};
