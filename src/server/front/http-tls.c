/* SPDX-License-Identifier: MIT */
/* Connections with TLS: their handshakes, whom certificates name, and how they end. */

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/bufferevent_ssl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include "server/front/http-internal.h"
#include "server/tls.h"

/* What is read of a client that is let go, to whom a reset would else hide why. */
#define UNREAD_BYTES 16384

struct bufferevent *dn_http_tls_new(struct dn_http *http, int fd, SSL **ret_ssl)
{
	SSL *ssl = http->tls ? SSL_new(http->tls) : NULL;
	struct bufferevent *bev = NULL;

	/*
	 * Callbacks from the loop alone: these bufferevents write as soon as they are given something,
	 * and one that failed on the way would take an answer from under who is writing it.
	 */
	if (ssl)
		bev = bufferevent_openssl_socket_new(http->base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING,
						     BEV_OPT_CLOSE_ON_FREE |
							     BEV_OPT_DEFER_CALLBACKS);
	if (!bev)
		return NULL;
	/* Requests say themselves how long they are. */
	bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	*ret_ssl = ssl;
	return bev;
}

/* By the subject: a certificate that follows another one is the same client's. */
static uint64_t number_of(X509 *certificate)
{
	uint8_t digest[SHA256_DIGEST_LENGTH] = { 0 };
	unsigned char *name = NULL;
	const int size = i2d_X509_NAME(X509_get_subject_name(certificate), &name);
	uint64_t number;

	if (size > 0)
		SHA256(name, (size_t)size, digest);
	OPENSSL_free(name);
	memcpy(&number, digest, sizeof(number));
	/* 0 and 1 are nobody's, and 2 is who cannot be told from others. */
	return number | 4;
}

void dn_http_tls_identify(struct dn_http_connection *c)
{
	X509 *certificate = SSL_get1_peer_certificate(c->ssl);

	c->identified = true;
	if (!certificate)
		return;
	dn_tls_subject(certificate, c->subject, sizeof(c->subject));
	c->peer = c->address = number_of(certificate);
	X509_free(certificate);
}

void dn_http_tls_end(struct dn_http_connection *c)
{
	ERR_clear_error();
	(void)SSL_shutdown(c->ssl);
	ERR_clear_error();
}

static void read_rest(int fd)
{
	char bytes[4096];
	size_t read = 0;
	ssize_t n;

	do {
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		read += n > 0 ? (size_t)n : 0;
	} while (n > 0 && read < UNREAD_BYTES);
}

/* As a server without TLS would, so that people see what is wrong. */
static void answer_plain(struct dn_http_connection *c)
{
	static const char body[] = "{\"error\":{\"message\":\"this is HTTP with TLS: https://\","
				   "\"type\":\"invalid_request_error\",\"param\":null,"
				   "\"code\":\"tls\"}}";
	char text[512];
	const int size = snprintf(text, sizeof(text),
				  "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
				  "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
				  sizeof(body) - 1, body);

	(void)!send(bufferevent_getfd(c->bev), text, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void dn_http_tls_failed(struct dn_http_connection *c)
{
	const unsigned long code = bufferevent_get_openssl_error(c->bev);
	const char *reason = ERR_reason_error_string(code);
	const long verified = SSL_get_verify_result(c->ssl);
	char why[128];

	if (SSL_is_init_finished(c->ssl))
		return;
	read_rest(bufferevent_getfd(c->bev));
	if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST)
		answer_plain(c);
	(void)snprintf(why, sizeof(why), "%s%s%s", reason ? reason : "the client left",
		       verified == X509_V_OK ? "" : ": ",
		       verified == X509_V_OK ? "" : X509_verify_cert_error_string(verified));
	if (c->http->handlers.failed)
		c->http->handlers.failed(c->http->handlers.context, why);
}
