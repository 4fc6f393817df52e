/* SPDX-License-Identifier: MIT */
/*
 * Bytes from a client, in pieces, and what it does with the answers: each request that is taken up is
 * whole, each connection ends, and what is left is nothing.
 *
 * An input is a row of: bytes of a piece (1), how it is answered (1), the piece.
 */

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "fuzz.h"
#include "server/front/http.h"

#define PIECES_MAX 64

struct client {
	struct event_base *base;
	uint8_t way;
	uint32_t begun;
	uint32_t ended;
};

static void left(void *data)
{
	(void)data;
}

static void check(void *context, struct dn_http_connection *connection)
{
	const struct dn_http_request *request = dn_http_request(connection);
	struct client *client = context;

	MUST(request->method && request->path && request->path[0] == '/');
	MUST(request->n_headers <= DN_HTTP_HEADERS_MAX);
	for (size_t i = 0; i < request->n_headers; i++)
		MUST(!strpbrk(request->headers[i].name, " \t\r\n") &&
		     !strpbrk(request->headers[i].value, "\r\n"));
	MUST(dn_http_header_count(request, "content-length") <= 1);
	MUST(!(dn_http_header(request, "content-length") &&
	       dn_http_header(request, "transfer-encoding")));
	if (client->way & 1)
		dn_http_reply(connection, 403, "text/plain", "no", 2);
}

static void handle(void *context, struct dn_http_connection *connection)
{
	struct client *client = context;

	client->begun++;
	dn_http_on_left(connection, left, client);
	switch (client->way >> 1 & 3) {
	case 0:
		dn_http_reply(connection, 200, "text/plain", "yes", 3);
		break;
	case 1:
		dn_http_begin(connection, 200, "text/plain");
		if (dn_http_write(connection, "a", 1))
			dn_http_end(connection);
		break;
	case 2:
		dn_http_abort(connection);
		break;
	default:
		dn_http_add_header(connection, "X-A", "%s", "b\r\nc");
		dn_http_reply(connection, 200, NULL, NULL, 0);
	}
}

static void ended(void *context, struct dn_http_request *request, int status, uint64_t bytes)
{
	struct client *client = context;

	(void)request;
	(void)status;
	(void)bytes;
	client->ended++;
}

static void turn(struct event_base *base)
{
	for (int i = 0; i < 4; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

static void read_all(int fd)
{
	char bytes[4096];

	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct dn_http_limits limits = {
		.connections = 4,
		.body_bytes = 4096,
		.bodies_bytes = 8192,
		.answers_bytes = 8192,
		.unsent_bytes = 4096,
		.head_ms = 1000,
		.body_ms = 1000,
		.idle_ms = 1000,
		.write_ms = 1000,
	};
	struct client client = { .way = 0 };
	const struct dn_http_handlers handlers = {
		.context = &client,
		.check = check,
		.handle = handle,
		.ended = ended,
	};
	static struct event_base *base;
	struct dn_http *http;
	int fds[2];

	if (!base)
		base = event_base_new();
	MUST(base);
	client.base = base;
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
	http = dn_http_new(base, &limits, &handlers);
	MUST(http && dn_http_accept(http, fds[0], false) == 0);
	for (int i = 0; i < PIECES_MAX && size > 2; i++) {
		const size_t piece = data[0] < size - 2 ? data[0] : size - 2;

		client.way = data[1];
		(void)!send(fds[1], data + 2, piece, MSG_NOSIGNAL | MSG_DONTWAIT);
		data += 2 + piece;
		size -= 2 + piece;
		turn(base);
		if (client.way & 8)
			read_all(fds[1]);
	}
	if (client.way & 16)
		(void)shutdown(fds[1], SHUT_WR);
	turn(base);
	close(fds[1]);
	turn(base);
	MUST(dn_http_busy(http) == 0);
	MUST(client.ended >= client.begun);
	dn_http_free(http);
	turn(base);
	return 0;
}
