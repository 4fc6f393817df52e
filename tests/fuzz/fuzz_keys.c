/* SPDX-License-Identifier: MIT */
/*
 * Any text as a file of keys: it is none, and the message shows nothing of it but numbers of lines; or
 * all keys of it are within what the front takes.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "server/front/accounts.h"
#include "server/keys.h"

static struct dn_control_key keys[DN_SERVER_KEYS_MAX];

static void take(uint32_t n)
{
	static struct dn_accounts accounts;
	struct dn_error err = DN_ERROR_INIT;

	for (uint32_t i = 0; i < n; i++) {
		const struct dn_control_listed_key one = { .at = i, .n = n, .key = keys[i] };

		MUST(keys[i].models == UINT64_MAX || keys[i].models < 4);
		MUST(dn_accounts_take(&accounts, &one, 1, &err) == 0);
	}
	MUST(accounts.n == n);
	dn_accounts_done(&accounts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct dn_key_models models = { .names = { "one", "two" }, .n = 2 };
	struct dn_error err = DN_ERROR_INIT;
	char unknown[DN_CONTROL_NAME_MAX];
	char *text = malloc(size + 1);
	uint32_t n = 0;
	int r;

	MUST(text);
	memcpy(text, data, size);
	text[size] = '\0';
	r = dn_keys_parse(text, &models, keys, &n, unknown, &err);
	MUST(memchr(unknown, '\0', sizeof(unknown)));
	MUST(r <= 0 && (r == 0 || (err.code == -r && err.message[0])));
	MUST(r < 0 || (n > 0 && n <= DN_SERVER_KEYS_MAX));
	if (r == 0)
		take(n);
	free(text);
	return 0;
}
