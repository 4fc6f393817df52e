/* SPDX-License-Identifier: MIT */

#include "server/front/accounts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#define MS_NS	    UINT64_C(1000000)
#define SECOND_NS   UINT64_C(1000000000)
#define RETRY_S_MAX 86400.0

/* Keys. */

/* NULL is none. */
static void drop(struct dn_account *account)
{
	if (account && --account->holders == 0)
		free(account);
}

static struct dn_account *find_digest(const struct dn_accounts *accounts, const uint8_t *digest)
{
	struct dn_account *found = NULL;

	for (uint32_t i = 0; i < accounts->n; i++)
		if (CRYPTO_memcmp(digest, accounts->list[i]->key.sha256, DN_CONTROL_KEY_MAX) == 0)
			found = accounts->list[i];
	return found;
}

struct dn_account *dn_accounts_find(const struct dn_accounts *accounts, const char *key)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)key, strlen(key), digest);
	return find_digest(accounts, digest);
}

/* A rate that has changed begins anew. */
static void set_rate(struct dn_bucket *bucket, const struct dn_control_rate *old,
		     const struct dn_control_rate *rate, uint64_t now_ns)
{
	if (old->count == rate->count && old->period_ns == rate->period_ns)
		return;
	bucket->left = (double)rate->count;
	bucket->at_ns = now_ns;
}

static void set_key(struct dn_account *account, const struct dn_control_key *key, uint64_t now_ns)
{
	set_rate(&account->requests, &account->key.requests, &key->requests, now_ns);
	set_rate(&account->tokens, &account->key.tokens, &key->tokens, now_ns);
	account->key = *key;
}

static int put_in_force(struct dn_accounts *accounts, uint64_t now_ns, struct dn_error *err)
{
	struct dn_account *list[DN_SERVER_KEYS_MAX];
	uint32_t n = 0;

	while (n < accounts->n_coming) {
		struct dn_account *account = find_digest(accounts, accounts->coming[n].sha256);

		if (!account)
			account = calloc(1, sizeof(*account));
		if (!account)
			break;
		account->holders++;
		list[n++] = account;
	}
	if (n < accounts->n_coming) {
		while (n > 0)
			drop(list[--n]);
		return dn_error_memory(err, "keys", sizeof(**list));
	}
	for (uint32_t i = 0; i < n; i++)
		set_key(list[i], &accounts->coming[i], now_ns);
	for (uint32_t i = 0; i < accounts->n; i++)
		drop(accounts->list[i]);
	memcpy(accounts->list, list, n * sizeof(list[0]));
	accounts->n = n;
	return 0;
}

static bool good_key(const struct dn_control_key *key)
{
	return memchr(key->name, '\0', sizeof(key->name)) && key->priority <= DN_PRIORITY_BATCH &&
	       key->most <= DN_PRIORITY_BATCH &&
	       (key->requests.count == 0) == (key->requests.period_ns == 0) &&
	       (key->tokens.count == 0) == (key->tokens.period_ns == 0);
}

int dn_accounts_take(struct dn_accounts *accounts, const struct dn_control_listed_key *key,
		     uint64_t now_ns, struct dn_error *err)
{
	if (key->at == 0)
		accounts->n_coming = 0;
	if (key->n > DN_SERVER_KEYS_MAX || key->at >= key->n || key->at != accounts->n_coming ||
	    !good_key(&key->key))
		return dn_error_set(err, EBADMSG, "control: key %u of %u", key->at, key->n);
	accounts->coming[accounts->n_coming++] = key->key;
	return accounts->n_coming < key->n ? 0 : put_in_force(accounts, now_ns, err);
}

void dn_accounts_done(struct dn_accounts *accounts)
{
	while (accounts->n > 0)
		drop(accounts->list[--accounts->n]);
}

bool dn_account_is_expired(const struct dn_account *account, uint64_t now_s)
{
	return account->key.expires_s > 0 && now_s >= account->key.expires_s;
}

bool dn_account_may(const struct dn_account *account, uint32_t model)
{
	return !account || (account->key.models >> model & 1);
}

/* Rates. */

static double per_ns(const struct dn_control_rate *rate)
{
	return (double)rate->count / (double)rate->period_ns;
}

static void fill(struct dn_bucket *bucket, const struct dn_control_rate *rate, uint64_t now_ns)
{
	const uint64_t passed = now_ns > bucket->at_ns ? now_ns - bucket->at_ns : 0;

	if (rate->count == 0)
		return;
	bucket->left = DN_MIN(bucket->left + (double)passed * per_ns(rate), (double)rate->count);
	bucket->at_ns = DN_MAX(bucket->at_ns, now_ns);
}

/* Nanoseconds until it has so much. */
static double wait_ns(const struct dn_bucket *bucket, const struct dn_control_rate *rate,
		      double wanted)
{
	return bucket->left >= wanted ? 0 : (wanted - bucket->left) / per_ns(rate);
}

static bool refuse(struct dn_api_error *error, const char *type, double retry_ns,
		   const struct dn_account *account, const char *what)
{
	const double seconds = retry_ns / (double)SECOND_NS + 1;

	(void)dn_api_fail(error, 429, "rate_limit_exceeded", "the key '%s' has %s",
			  account->key.name, what);
	error->type = type;
	error->retry_s = (uint32_t)DN_MIN(seconds, RETRY_S_MAX);
	return false;
}

bool dn_account_check(struct dn_account *account, uint64_t now_ns, struct dn_api_error *error)
{
	const struct dn_control_key *key = &account->key;

	if (key->parallel > 0 && account->running >= key->parallel)
		return refuse(error, "requests", 0, account,
			      "as many requests at once as it may: wait for one");
	if (key->requests.count > 0) {
		fill(&account->requests, &key->requests, now_ns);
		if (account->requests.left < 1)
			return refuse(error, "requests",
				      wait_ns(&account->requests, &key->requests, 1), account,
				      "made as many requests as it may for now");
	}
	if (key->tokens.count > 0) {
		fill(&account->tokens, &key->tokens, now_ns);
		/* Nobody knows yet how many it takes: the last one may overdraw. */
		if (account->tokens.left < 1)
			return refuse(error, "tokens", wait_ns(&account->tokens, &key->tokens, 1),
				      account, "had as many tokens as it may for now");
	}
	return true;
}

void dn_account_begin(struct dn_account *account, bool limited, uint64_t now_ns)
{
	account->holders++;
	if (!limited)
		return;
	account->running++;
	fill(&account->requests, &account->key.requests, now_ns);
	account->requests.left -= 1;
}

void dn_account_end(struct dn_account *account, bool limited)
{
	if (limited)
		account->running--;
	drop(account);
}

void dn_account_charge(struct dn_account *account, uint64_t tokens)
{
	if (account)
		account->tokens.left -= (double)tokens;
}

static void tell(struct dn_bucket *bucket, const struct dn_control_rate *rate, const char *what,
		 uint64_t now_ns, struct dn_http_connection *connection)
{
	char name[48];
	uint64_t ms;

	if (rate->count == 0)
		return;
	fill(bucket, rate, now_ns);
	ms = (uint64_t)(wait_ns(bucket, rate, (double)rate->count) / (double)MS_NS);
	(void)snprintf(name, sizeof(name), "X-RateLimit-Limit-%s", what);
	dn_http_add_header(connection, name, "%llu", (unsigned long long)rate->count);
	(void)snprintf(name, sizeof(name), "X-RateLimit-Remaining-%s", what);
	dn_http_add_header(connection, name, "%lld",
			   (long long)DN_MAX(bucket->left, 0.0)); /* whole ones */
	(void)snprintf(name, sizeof(name), "X-RateLimit-Reset-%s", what);
	dn_http_add_header(connection, name, "%llu.%03llus", (unsigned long long)ms / 1000,
			   (unsigned long long)ms % 1000);
}

void dn_account_tell(struct dn_account *account, uint64_t now_ns,
		     struct dn_http_connection *connection)
{
	tell(&account->requests, &account->key.requests, "Requests", now_ns, connection);
	tell(&account->tokens, &account->key.tokens, "Tokens", now_ns, connection);
}
