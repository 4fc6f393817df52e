/* SPDX-License-Identifier: MIT */
/* dunlin key: keys for 'dunlin serve --key-file', as the file has them. */

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "cli/cli.h"
#include "server/keys.h"

#define KEY_MAX 1024

struct values {
	const char *expires;
};

static const struct dn_option options[] = {
	{ .name = "expires",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, expires),
	  .argument = "YYYY-MM-DD",
	  .help = "the last day that it is good on, of UTC (default: it is good for ever)" },
};

static void print_line(const char *name, const char *key, const char *expires)
{
	char digest[DN_KEY_DIGEST_TEXT];

	dn_key_digest(key, digest);
	printf("%s %s%s%s\n", name, digest, expires ? " expires=" : "", expires ? expires : "");
}

static int new_key(const char *name, const char *expires, struct dn_error *err)
{
	char key[DN_KEY_TEXT_MAX];
	int r = dn_key_new(key, err);

	if (r < 0)
		return r;
	/* The line alone is the output, so that '>>' puts it into the file. */
	(void)fprintf(stderr, "the key, which is shown this once: %s\n", key);
	print_line(name, key, expires);
	OPENSSL_cleanse(key, sizeof(key));
	return 0;
}

/* From standard input: a command line is for all to see. */
static int hash_key(const char *name, const char *expires, struct dn_error *err)
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
	print_line(name, key.data, expires);
	OPENSSL_cleanse(key.data, key.size);
	return 0;
}

static int run(struct dn_invocation *invocation)
{
	const char *word = invocation->args[0];
	const char *name = invocation->args[1];
	const char *expires = ((const struct values *)invocation->values)->expires;
	struct dn_error err = DN_ERROR_INIT;
	uint64_t expires_s;
	int r;

	if (expires && !dn_key_expires(expires, &expires_s)) {
		(void)fprintf(stderr, "dunlin: key: --expires '%.80s': takes a day, YYYY-MM-DD\n",
			      expires);
		return DN_EXIT_USAGE;
	}
	if (name[0] == '\0' || name[0] == '#' || strpbrk(name, " \t\r\n=") ||
	    strlen(name) >= DN_CONTROL_NAME_MAX) {
		(void)fprintf(stderr, "dunlin: key: '%.80s': a name is one word, without '='\n",
			      name);
		return DN_EXIT_USAGE;
	}
	if (strcmp(word, "new") == 0) {
		r = new_key(name, expires, &err);
	} else if (strcmp(word, "hash") == 0) {
		r = hash_key(name, expires, &err);
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
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.values_size = sizeof(struct values),
	.min_args = 2,
	.max_args = 2,
	.run = run,
};
