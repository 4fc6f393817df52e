/* SPDX-License-Identifier: MIT */

#include "server/secrets.h"

#include <stdlib.h>

#include <openssl/ssl.h>

#include "server/log.h"

static int read_keys(const struct dn_serve_options *options, struct dn_secrets *secrets,
		     struct dn_error *err)
{
	struct dn_key_models models = { .n = options->n_models };
	char unknown[DN_CONTROL_NAME_MAX];
	char value[DN_LOG_VALUE_SIZE(DN_CONTROL_NAME_MAX)];
	int r;

	if (!options->key_file)
		return 0;
	for (uint32_t i = 0; i < options->n_models; i++)
		models.names[i] = options->models[i].name;
	r = dn_keys_read(options->key_file, &models, secrets->keys, &secrets->n_keys, unknown, err);
	/* Folders of models change: that is no reason to lock all others out. */
	if (r >= 0 && unknown[0])
		dn_log_event("warning", "keys",
			     "model=%s message=\"a key is for a model that is "
			     "not here\"",
			     dn_log_value(unknown, value, sizeof(value)));
	return r;
}

static int read_tls(const struct dn_serve_options *options, struct dn_secrets *secrets,
		    struct dn_error *err)
{
	SSL_CTX *context;
	bool any = false;
	int r;

	for (unsigned int i = 0; i < DN_TLS_PARTS; i++)
		any |= options->tls.paths[i] != NULL;
	if (!any)
		return 0;
	r = dn_tls_read(&options->tls, &secrets->tls, &secrets->parts, err);
	if (r < 0)
		return r;
	r = dn_tls_new(secrets->tls, &secrets->parts, &context, err);
	if (r < 0)
		return r;
	dn_tls_describe(context, &secrets->facts);
	SSL_CTX_free(context);
	/* No reason to end: it may be this device's clock that is wrong. */
	if (secrets->facts.expired || secrets->facts.not_yet)
		dn_log_event("warning", "tls", "not_after=%s message=\"the certificate %s\"",
			     secrets->facts.not_after,
			     secrets->facts.expired ? "has expired" : "is not valid yet");
	return 0;
}

int dn_secrets_read(const struct dn_serve_options *options, struct dn_secrets **ret_secrets,
		    struct dn_error *err)
{
	struct dn_secrets *secrets = calloc(1, sizeof(*secrets));
	int r;

	if (!secrets)
		return dn_error_memory(err, "keys", sizeof(*secrets));
	secrets->tls = -1;
	r = read_keys(options, secrets, err);
	if (r >= 0)
		r = read_tls(options, secrets, err);
	if (r < 0) {
		dn_secrets_free(secrets);
		return r;
	}
	*ret_secrets = secrets;
	return 0;
}

void dn_secrets_free(struct dn_secrets *secrets)
{
	if (!secrets)
		return;
	if (secrets->tls >= 0)
		close(secrets->tls);
	free(secrets);
}
