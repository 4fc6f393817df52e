/* SPDX-License-Identifier: MIT */
/*
 * TLS by OpenSSL: certificates and their key from files into sealed memory, and from there into what
 * handshakes are made with. The supervisor does both, to see that they are good; the front, which
 * opens no files, the second.
 */
#ifndef DUNLIN_SERVER_TLS_H
#define DUNLIN_SERVER_TLS_H

/* IWYU pragma: begin_exports */
#include <openssl/types.h>

#include "server/control.h"
/* IWYU pragma: end_exports */

#define DN_TLS_PART_MAX ((size_t)1 << 20)

/* Of each part its file; NULL: there is none. Without a certificate there is no TLS. */
struct dn_tls_files {
	const char *paths[DN_TLS_PARTS];
};

/* What a person wants to know of a certificate. */
struct dn_tls_facts {
	char subject[128];
	char not_after[32];
	bool expired;
	bool not_yet; /* valid */
};

/**
 * dn_tls_read() - files into memory
 * @ret_fd: sealed; owned by the caller
 * @ret_tls: what of it is which part
 */
DN_MUST_CHECK int dn_tls_read(const struct dn_tls_files *files, int *ret_fd,
			      struct dn_control_tls *ret_tls, struct dn_error *err);

/**
 * dn_tls_new() - what handshakes are made with: TLS 1.2 and 1.3, HTTP/1.1
 * @fd: of dn_tls_read(); borrowed
 * @ret_context: owned by the caller: SSL_CTX_free()
 *
 * Opens no file. Return: 0; -EINVAL for what is none of these, or does not belong together.
 */
DN_MUST_CHECK int dn_tls_new(int fd, const struct dn_control_tls *tls, SSL_CTX **ret_context,
			     struct dn_error *err);
void dn_tls_describe(const SSL_CTX *context, struct dn_tls_facts *ret_facts);

/* A certificate's common name, or all of its subject, safe to print. */
void dn_tls_subject(const X509 *certificate, char *ret_text, size_t size);

#endif /* DUNLIN_SERVER_TLS_H */
