/* SPDX-License-Identifier: MIT */
/* Connections with TLS, by OpenSSL. */

#include <errno.h>
#include <poll.h>

#include <openssl/ssl.h>
#include <openssl/tls1.h>
#include <openssl/types.h>
#include <openssl/x509_vfy.h>

#include "fetch/fetch.h"

/* What OpenSSL waits for, or -EPROTONOSUPPORT where it waits for nothing. */
static int wanted(const struct dn_fetch *fetch, int result)
{
	switch (SSL_get_error(fetch->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return POLLIN;
	case SSL_ERROR_WANT_WRITE:
		return POLLOUT;
	default:
		return -EPROTONOSUPPORT;
	}
}

/* Whose certificate it is to be; an address is one by its bytes. */
static bool expect(struct dn_fetch *fetch, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(fetch->ssl);

	SSL_set_verify(fetch->ssl, SSL_VERIFY_PEER, NULL);
	return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1 ||
	       (SSL_set1_host(fetch->ssl, host) == 1 &&
		SSL_set_tlsext_host_name(fetch->ssl, host) == 1);
}

static int shake_hands(struct dn_fetch *fetch, struct dn_error *err)
{
	for (;;) {
		const int result = SSL_connect(fetch->ssl);
		int r;

		if (result == 1)
			return 0;
		r = wanted(fetch, result);
		if (r < 0)
			return dn_error_set(err, EBADMSG,
					    "no TLS with '%.120s': it speaks another protocol, or "
					    "one of the two does not trust the other",
					    fetch->name);
		r = dn_fetch_wait(fetch, fetch->fd, (short)r);
		if (r < 0)
			return dn_error_errno(err, -r, "ask '%.120s'", fetch->name);
	}
}

int dn_fetch_begin_tls(struct dn_fetch *fetch, const struct dn_fetch_server *server,
		       struct dn_error *err)
{
	const bool any = server->any_certificate && !server->ca;

	fetch->tls = SSL_CTX_new(TLS_client_method());
	if (fetch->tls && server->ca && SSL_CTX_load_verify_file(fetch->tls, server->ca) != 1)
		return dn_error_set(err, EINVAL, "'%.160s' has no certificates", server->ca);
	if (fetch->tls && !server->ca && !any)
		(void)SSL_CTX_set_default_verify_paths(fetch->tls);
	fetch->ssl = fetch->tls ? SSL_new(fetch->tls) : NULL;
	if (!fetch->ssl || SSL_set_fd(fetch->ssl, fetch->fd) != 1 ||
	    (!any && !expect(fetch, server->host)))
		return dn_error_memory(err, "TLS", 1);
	SSL_set_mode(fetch->ssl,
		     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return shake_hands(fetch, err);
}

ssize_t dn_fetch_tls_send(struct dn_fetch *fetch, const void *data, size_t size, short *ret_wait)
{
	const int n = SSL_write(fetch->ssl, data, (int)DN_MIN(size, (size_t)1 << 20));
	int r;

	if (n > 0)
		return n;
	r = wanted(fetch, n);
	if (r < 0)
		return -EPIPE;
	*ret_wait = (short)r;
	return -EAGAIN;
}

ssize_t dn_fetch_tls_receive(struct dn_fetch *fetch, void *data, size_t size, short *ret_wait)
{
	const int n = SSL_read(fetch->ssl, data, (int)size);
	int r;

	if (n > 0)
		return n;
	if (SSL_get_error(fetch->ssl, n) == SSL_ERROR_ZERO_RETURN)
		return 0;
	r = wanted(fetch, n);
	if (r < 0)
		return -ECONNRESET;
	*ret_wait = (short)r;
	return -EAGAIN;
}

void dn_fetch_end_tls(struct dn_fetch *fetch)
{
	SSL_free(fetch->ssl);
	SSL_CTX_free(fetch->tls);
	fetch->ssl = NULL;
	fetch->tls = NULL;
}
