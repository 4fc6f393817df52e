/* SPDX-License-Identifier: MIT */
/* What decides who may ask: API keys and certificates, read from their files at the start and again. */
#ifndef DUNLIN_SERVER_SECRETS_H
#define DUNLIN_SERVER_SECRETS_H

/* IWYU pragma: begin_exports */
#include "server/keys.h"
#include "server/serve.h"
#include "server/tls.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_secrets - all of them, found good
 * @tls: sealed memory, as the front gets it; -1: there is no TLS
 */
struct dn_secrets {
	struct dn_control_key keys[DN_SERVER_KEYS_MAX];
	uint32_t n_keys;
	int tls;
	struct dn_control_tls parts;
	struct dn_tls_facts facts;
};

/* Of the options, names of files and of models are read. What is odd is logged. */
DN_MUST_CHECK int dn_secrets_read(const struct dn_serve_options *options,
				  struct dn_secrets **ret_secrets, struct dn_error *err);
/* NULL is none. */
void dn_secrets_free(struct dn_secrets *secrets);

#endif /* DUNLIN_SERVER_SECRETS_H */
