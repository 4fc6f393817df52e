/* SPDX-License-Identifier: MIT */

#include "server/tls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/pem.h>
#include <openssl/pemerr.h>
#include <openssl/prov_ssl.h>
#include <openssl/ssl.h>
#include <openssl/tls1.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include "base/buffer.h"
#include "channel/attachment.h"
#include "server/text-file.h"

/* Of TLS 1.2: with forward secrecy and authenticated encryption alone (RFC 9325, 4.2). */
#define CIPHERS_12 "ECDHE+AESGCM:ECDHE+CHACHA20"
/* Certificates between a client's and its authority. */
#define DEPTH_MAX 4
/* RSA of 2048 bits and what is as strong: what Debian's own configuration asks for. */
#define SECURITY_LEVEL 2

static const struct {
	const char *what;
	bool secret;
} parts[DN_TLS_PARTS] = {
	[DN_TLS_CERTIFICATE] = { "certificates", false },
	[DN_TLS_KEY] = { "private keys", true },
	[DN_TLS_CLIENT_CA] = { "certificates of clients' authorities", false },
	[DN_TLS_CLIENT_CRL] = { "revoked certificates", false },
};

/* Files. */

static int check_files(const struct dn_tls_files *files, struct dn_error *err)
{
	const char *const *paths = files->paths;

	if (!paths[DN_TLS_CERTIFICATE] || !paths[DN_TLS_KEY])
		return dn_error_set(err, EINVAL, "TLS takes both, --tls-cert and --tls-key");
	if (paths[DN_TLS_CLIENT_CRL] && !paths[DN_TLS_CLIENT_CA])
		return dn_error_set(err, EINVAL, "--tls-client-crl goes with --tls-client-ca");
	return 0;
}

int dn_tls_read(const struct dn_tls_files *files, int *ret_fd, struct dn_control_tls *ret_tls,
		struct dn_error *err)
{
	struct dn_buffer all = DN_BUFFER_INIT(DN_TLS_PARTS * DN_TLS_PART_MAX);
	struct dn_control_tls tls = { { 0 } };
	int r = check_files(files, err);

	/* At once, so that nothing of the key is left where it grew out of. */
	if (r >= 0 && dn_buffer_reserve(&all, all.max) < 0)
		r = dn_error_memory(err, "certificates", all.max);
	for (unsigned int i = 0; i < DN_TLS_PARTS && r >= 0; i++) {
		DN_AUTO_TEXT_FILE struct dn_text_file file = { NULL, 0 };

		if (!files->paths[i])
			continue;
		r = dn_text_file_read(files->paths[i], parts[i].what, DN_TLS_PART_MAX,
				      parts[i].secret, &file, err);
		if (r < 0)
			break;
		if (file.size == 0)
			r = dn_error_set(err, EINVAL, "'%.160s' is empty", files->paths[i]);
		else if (dn_buffer_append(&all, file.text, file.size) < 0)
			r = dn_error_memory(err, "certificates", file.size);
		tls.bytes[i] = file.size;
	}
	if (r >= 0)
		r = dn_attach(all.data, all.size, ret_fd, err);
	if (all.data)
		OPENSSL_cleanse(all.data, all.size);
	dn_buffer_done(&all);
	if (r < 0)
		return dn_error_prefix(err, r, "TLS");
	*ret_tls = tls;
	return 0;
}

/* PEM. */

/* OpenSSL's reason, and an empty queue. */
static int fail(struct dn_error *err, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	(void)dn_error_set(err, EINVAL, "%s: %s", what, reason ? reason : "it is none");
	ERR_clear_error();
	return -EINVAL;
}

/* A key that asks for a password would ask the terminal. */
static int no_password(char *text, int size, int writing, void *data)
{
	(void)text;
	(void)size;
	(void)writing;
	(void)data;
	return -1;
}

/* Whether a text of PEM ended as it should. */
static bool at_end(void)
{
	const unsigned long code = ERR_peek_last_error();
	const bool end =
		ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;

	if (end)
		ERR_clear_error();
	return end;
}

static int add_chain(SSL_CTX *context, X509 *certificate)
{
	return SSL_CTX_get0_certificate(context)
		       ? (int)SSL_CTX_add1_chain_cert(context, certificate)
		       : SSL_CTX_use_certificate(context, certificate);
}

static int add_authority(SSL_CTX *context, X509 *certificate)
{
	return X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate) == 1 &&
	       SSL_CTX_add_client_CA(context, certificate) == 1;
}

static int read_certificates(SSL_CTX *context, BIO *bio, int (*add)(SSL_CTX *, X509 *),
			     const char *what, struct dn_error *err)
{
	X509 *certificate;
	unsigned int n = 0;
	int good = 1;

	while (good && (certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
		good = add(context, certificate);
		X509_free(certificate);
		n++;
	}
	return good && n > 0 && at_end() ? 0 : fail(err, what);
}

static int read_key(SSL_CTX *context, BIO *bio, struct dn_error *err)
{
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	int good;

	if (!key)
		return fail(err, "the private key");
	good = SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1;
	EVP_PKEY_free(key);
	return good ? 0 : fail(err, "the private key does not belong to the certificate");
}

static int read_revoked(SSL_CTX *context, BIO *bio, struct dn_error *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(context);
	unsigned int n = 0;
	int good = 1;
	X509_CRL *list;

	while (good && (list = PEM_read_bio_X509_CRL(bio, NULL, no_password, NULL))) {
		good = X509_STORE_add_crl(store, list);
		X509_CRL_free(list);
		n++;
	}
	if (!good || n == 0 || !at_end())
		return fail(err, "the list of revoked certificates");
	return X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) == 1
		       ? 0
		       : fail(err, "the list of revoked certificates");
}

static int read_part(SSL_CTX *context, enum dn_tls_part part, BIO *bio, struct dn_error *err)
{
	int r;

	switch (part) {
	case DN_TLS_CERTIFICATE:
		return read_certificates(context, bio, add_chain, "the certificate", err);
	case DN_TLS_KEY:
		return read_key(context, bio, err);
	case DN_TLS_CLIENT_CA:
		r = read_certificates(context, bio, add_authority,
				      "the certificates of clients' authorities", err);
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
				   NULL);
		return r;
	default:
		return read_revoked(context, bio, err);
	}
}

static int read_parts(SSL_CTX *context, const char *text, const struct dn_control_tls *tls,
		      struct dn_error *err)
{
	int r = 0;

	for (unsigned int i = 0; i < DN_TLS_PARTS && r >= 0; i++) {
		BIO *bio;

		if (tls->bytes[i] == 0)
			continue;
		bio = BIO_new_mem_buf(text, (int)tls->bytes[i]);
		r = bio ? read_part(context, (enum dn_tls_part)i, bio, err)
			: dn_error_memory(err, "certificates", (size_t)tls->bytes[i]);
		BIO_free(bio);
		text += tls->bytes[i];
	}
	return r;
}

/* Handshakes. */

/* HTTP/1.1 to who says what it speaks; who speaks other things alone is told so (RFC 7301, 3.2). */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size,
			   const unsigned char *in, unsigned int in_size, void *data)
{
	static const unsigned char own[] = "\x08http/1.1";

	(void)ssl;
	(void)data;
	return SSL_select_next_proto((unsigned char **)out, out_size, own, sizeof(own) - 1, in,
				     in_size) == OPENSSL_NPN_NEGOTIATED
		       ? SSL_TLSEXT_ERR_OK
		       : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/*
 * Without tickets and sessions: whose certificate was revoked does not come back by one, and no key
 * of tickets has to be kept and changed. Clients keep their connections.
 */
static bool set_up(SSL_CTX *context)
{
	SSL_CTX_set_security_level(context, SECURITY_LEVEL);
	/* Whose cipher it is does not matter: clients know best which they have in hardware. */
	SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
					     SSL_OP_NO_TICKET | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
					  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					  SSL_MODE_RELEASE_BUFFERS);
	(void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify_depth(context, DEPTH_MAX);
	SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
	return SSL_CTX_set_num_tickets(context, 0) == 1 &&
	       SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
	       SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_cipher_list(context, CIPHERS_12) == 1;
}

int dn_tls_new(int fd, const struct dn_control_tls *tls, SSL_CTX **ret_context,
	       struct dn_error *err)
{
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };
	uint64_t bytes = 0;
	SSL_CTX *context;
	int r;

	for (unsigned int i = 0; i < DN_TLS_PARTS; i++) {
		if (tls->bytes[i] > DN_TLS_PART_MAX)
			return dn_error_set(err, EBADMSG, "TLS: a part is too large");
		bytes += tls->bytes[i];
	}
	if (tls->bytes[DN_TLS_CERTIFICATE] == 0 || tls->bytes[DN_TLS_KEY] == 0)
		return dn_error_set(err, EBADMSG, "TLS: no certificate, or no key");
	r = dn_mapped_open(fd, bytes, &mapped, err);
	if (r < 0)
		return dn_error_prefix(err, r, "TLS");
	ERR_clear_error();
	context = SSL_CTX_new(TLS_server_method());
	r = context && set_up(context) ? read_parts(context, mapped.data, tls, err)
				       : fail(err, "begin");
	if (r < 0) {
		SSL_CTX_free(context);
		return dn_error_prefix(err, r, "TLS");
	}
	*ret_context = context;
	return 0;
}

/* What certificates say. */

void dn_tls_subject(const X509 *certificate, char *ret_text, size_t size)
{
	const X509_NAME *name = X509_get_subject_name(certificate);
	char text[256] = "";

	if (X509_NAME_get_text_by_NID(name, NID_commonName, text, sizeof(text)) <= 0)
		(void)X509_NAME_oneline(name, text, sizeof(text));
	dn_control_set_text(ret_text, size, text);
}

static void print_time(const ASN1_TIME *when, char *text, size_t size)
{
	struct tm tm = { 0 };

	if (ASN1_TIME_to_tm(when, &tm) != 1 || strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		(void)snprintf(text, size, "?");
}

void dn_tls_describe(const SSL_CTX *context, struct dn_tls_facts *ret_facts)
{
	const X509 *certificate = SSL_CTX_get0_certificate(context);

	*ret_facts = (struct dn_tls_facts){ .expired = false };
	if (!certificate)
		return;
	dn_tls_subject(certificate, ret_facts->subject, sizeof(ret_facts->subject));
	print_time(X509_get0_notAfter(certificate), ret_facts->not_after,
		   sizeof(ret_facts->not_after));
	ret_facts->expired = X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0;
	ret_facts->not_yet = X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0;
}
