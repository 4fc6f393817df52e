/* SPDX-License-Identifier: MIT */
/*
 * Who has a key, and what is left of what it is good for. A file of keys that was read again puts
 * others in force: an account whose key is still there goes on, one whose key is gone ends with its
 * last request.
 */
#ifndef DUNLIN_SERVER_FRONT_ACCOUNTS_H
#define DUNLIN_SERVER_FRONT_ACCOUNTS_H

/* IWYU pragma: begin_exports */
#include "server/control.h"
#include "server/front/api.h"
#include "server/front/http.h"
/* IWYU pragma: end_exports */

/* What is left of a rate: it fills up evenly, and may be overdrawn. */
struct dn_bucket {
	double left;
	uint64_t at_ns;
};

/**
 * struct dn_account - one key
 * @holders: requests that have it, and one while it is in force
 * @running: those of them that are limited
 */
struct dn_account {
	struct dn_control_key key;
	struct dn_bucket requests;
	struct dn_bucket tokens;
	uint32_t holders;
	uint32_t running;
};

struct dn_accounts {
	struct dn_account *list[DN_SERVER_KEYS_MAX];
	uint32_t n;
	struct dn_control_key
		coming[DN_SERVER_KEYS_MAX]; /* all but the last of those that follow */
	uint32_t n_coming;
};

/* Keys as they come; the last one puts them in force. Return: 0, -EBADMSG, -ENOMEM: none of it is. */
DN_MUST_CHECK int dn_accounts_take(struct dn_accounts *accounts,
				   const struct dn_control_listed_key *key, uint64_t now_ns,
				   struct dn_error *err);
void dn_accounts_done(struct dn_accounts *accounts);
/* NULL: it is none. All are compared, whole, so that time tells nothing. */
struct dn_account *dn_accounts_find(const struct dn_accounts *accounts, const char *key);

/* @now_s: of UTC since 1970, as this device has it */
bool dn_account_is_expired(const struct dn_account *account, uint64_t now_s);
/* Whether there is room for one more request now; false with @error (429). */
bool dn_account_check(struct dn_account *account, uint64_t now_ns, struct dn_api_error *error);
/* It is under way; @limited: it counts. */
void dn_account_begin(struct dn_account *account, bool limited, uint64_t now_ns);
/* It has ended: the account may be gone after that. */
void dn_account_end(struct dn_account *account, bool limited);
/* NULL is nobody. */
void dn_account_charge(struct dn_account *account, uint64_t tokens);
/* What is left, by the API's headers. */
void dn_account_tell(struct dn_account *account, uint64_t now_ns,
		     struct dn_http_connection *connection);
/* Whether it may know of a model; NULL is nobody, who may. */
bool dn_account_may(const struct dn_account *account, uint32_t model);

#endif /* DUNLIN_SERVER_FRONT_ACCOUNTS_H */
