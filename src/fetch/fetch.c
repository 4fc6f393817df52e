/* SPDX-License-Identifier: MIT */
/* A request and its answer, over a connection of their own. */

#include "fetch/fetch.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <openssl/ssl.h>

#include "base/clock.h"

#define MS	   UINT64_C(1000000)
#define READ_BYTES ((size_t)16 << 10)
#define HEAD_MAX   ((size_t)4096)

void dn_fetch_done(struct dn_fetch *fetch)
{
	dn_fetch_end_tls(fetch);
	if (fetch->fd >= 0)
		close(fetch->fd);
	fetch->fd = -1;
	dn_buffer_done(&fetch->body);
}

/* A key with a blank or a line end would be another request. */
static bool is_key(const char *key)
{
	for (; *key; key++)
		if (*key <= ' ' || *key > '~')
			return false;
	return true;
}

static int write_request(const struct dn_fetch_server *server,
			 const struct dn_fetch_request *request, struct dn_buffer *out,
			 struct dn_error *err)
{
	int r;

	if (request->key && !is_key(request->key))
		return dn_error_set(err, EINVAL,
				    "the API key has a character that no key has (a blank?)");
	r = dn_buffer_printf(out, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n",
			     request->method, request->path, server->authority);
	if (r >= 0 && request->key)
		r = dn_buffer_printf(out, "Authorization: Bearer %s\r\n", request->key);
	if (r >= 0 && request->body)
		r = dn_buffer_printf(out,
				     "Content-Type: application/json\r\nContent-Length: %zu\r\n",
				     request->size);
	if (r >= 0)
		r = dn_buffer_append(out, "\r\n", 2);
	if (r >= 0 && request->body)
		r = dn_buffer_append(out, request->body, request->size);
	return r < 0 ? dn_error_memory(err, "a request", request->size) : 0;
}

static int failed(const struct dn_fetch *fetch, int r, struct dn_error *err)
{
	return dn_error_errno(err, -r, "ask '%.120s'", fetch->name);
}

/* Return: bytes; -EAGAIN, after which *@wait is to be waited for; another negative errno. */
static ssize_t send_some(struct dn_fetch *fetch, const void *data, size_t size, short *wait)
{
	ssize_t n;

	if (fetch->ssl)
		return dn_fetch_tls_send(fetch, data, size, wait);
	n = send(fetch->fd, data, size, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	return n;
}

static ssize_t receive_some(struct dn_fetch *fetch, void *data, size_t size, short *wait)
{
	ssize_t n;

	if (fetch->ssl)
		return dn_fetch_tls_receive(fetch, data, size, wait);
	n = recv(fetch->fd, data, size, 0);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	return n;
}

/* A server that has read enough to refuse it may close before all is sent: its answer tells why. */
static int send_request(struct dn_fetch *fetch, const struct dn_buffer *request,
			struct dn_error *err)
{
	size_t sent = 0;

	while (sent < request->size) {
		short wait = POLLOUT;
		const ssize_t n =
			send_some(fetch, request->data + sent, request->size - sent, &wait);
		int r;

		if (n >= 0) {
			sent += (size_t)n;
			continue;
		}
		if (n == -EPIPE || n == -ECONNRESET)
			return 0;
		r = n == -EAGAIN ? dn_fetch_wait(fetch, fetch->fd, wait) : (int)n;
		if (r < 0)
			return failed(fetch, r, err);
	}
	return 0;
}

/* What was taken makes room for what comes. */
static void drop_taken(struct dn_fetch *fetch)
{
	struct dn_buffer *body = &fetch->body;

	if (fetch->taken == 0)
		return;
	memmove(body->data, body->data + fetch->taken, body->size - fetch->taken);
	body->size -= fetch->taken;
	body->data[body->size] = '\0';
	fetch->taken = 0;
}

int dn_fetch_read(struct dn_fetch *fetch, struct dn_error *err)
{
	char data[READ_BYTES];
	short wait = POLLIN;
	ssize_t n;
	int r;

	if (fetch->whole)
		return 0;
	drop_taken(fetch);
	/* Whoever wakes it is heard first; OpenSSL may have more than the socket shows. */
	if (!fetch->ssl || SSL_pending(fetch->ssl) == 0) {
		r = dn_fetch_wait(fetch, fetch->fd, wait);
		if (r < 0)
			return failed(fetch, r, err);
	}
	while ((n = receive_some(fetch, data, sizeof(data), &wait)) == -EAGAIN) {
		r = dn_fetch_wait(fetch, fetch->fd, wait);
		if (r < 0)
			return failed(fetch, r, err);
	}
	if (n < 0)
		return failed(fetch, (int)n, err);
	r = n > 0 ? dn_fetch_take(fetch, data, (size_t)n, err) : dn_fetch_take_end(fetch, err);
	return r < 0 ? r : 1;
}

int dn_fetch_read_all(struct dn_fetch *fetch, struct dn_error *err)
{
	int r;

	do
		r = dn_fetch_read(fetch, err);
	while (r > 0);
	if (r >= 0 && dn_buffer_append(&fetch->body, "", 0) < 0)
		return dn_error_memory(err, "an answer", 1);
	return r;
}

int dn_fetch_begin(struct dn_fetch *fetch, const struct dn_fetch_server *server,
		   const struct dn_fetch_request *request, struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer text = DN_BUFFER_INIT(HEAD_MAX + request->size);
	int r = write_request(server, request, &text, err);

	if (r < 0)
		return r;
	memcpy(fetch->name, server->name, sizeof(fetch->name));
	fetch->until_ns = request->timeout_ms ? dn_clock_ns() + request->timeout_ms * MS : 0;
	r = dn_fetch_connect(fetch, server, err);
	if (r >= 0 && server->tls)
		r = dn_fetch_begin_tls(fetch, server, err);
	if (r >= 0)
		r = send_request(fetch, &text, err);
	while (r >= 0 && !fetch->has_head)
		r = dn_fetch_read(fetch, err);
	return r < 0 ? r : 0;
}
