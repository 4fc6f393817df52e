/* SPDX-License-Identifier: MIT */
/* How users name servers. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/fetch.h"

#define HTTP	   "http://"
#define HTTPS	   "https://"
#define HTTP_PORT  "80"
#define HTTPS_PORT "443"
#define PORT_MAX   65535

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static int wrong(const char *text, struct dn_error *err)
{
	return dn_error_set(err, EINVAL,
			    "'%.120s' is no server: HOST:PORT, http://HOST:PORT, "
			    "https://HOST:PORT or unix:PATH",
			    text);
}

static int parse_unix(const char *path, struct dn_fetch_server *server, struct dn_error *err)
{
	if (path[0] == '\0' || strlen(path) >= sizeof(server->path))
		return dn_error_set(err, EINVAL, "unix:%.120s: a path of 1 to %zu bytes", path,
				    sizeof(server->path) - 1);
	memcpy(server->path, path, strlen(path) + 1);
	(void)snprintf(server->name, sizeof(server->name), DN_FETCH_UNIX "%s", path);
	(void)snprintf(server->authority, sizeof(server->authority), "localhost");
	return 0;
}

/* What may stand behind the authority: nothing, or the path that clients of the API are given. */
static bool is_base(const char *path)
{
	return path[0] == '\0' || strcmp(path, "/") == 0 || strcmp(path, "/v1") == 0 ||
	       strcmp(path, "/v1/") == 0;
}

static bool is_port(const char *text, size_t size)
{
	return size >= 1 && size <= 5 && strspn(text, "0123456789") >= size &&
	       strtoul(text, NULL, 10) <= PORT_MAX;
}

/* @authority: HOST, HOST:PORT, [ADDRESS] or [ADDRESS]:PORT, of @size bytes. */
static bool parse_authority(const char *authority, size_t size, const char *port,
			    struct dn_fetch_server *server)
{
	const bool bracket = authority[0] == '[';
	const char *close = bracket ? memchr(authority, ']', size) : NULL;
	const char *host = bracket ? authority + 1 : authority;
	const char *colon = close ? close + 1 : memchr(authority, ':', size);
	const char *end = authority + size;
	size_t length;

	if (bracket && !close)
		return false;
	if (!colon || colon == end)
		colon = end;
	else if (*colon != ':' || !is_port(colon + 1, (size_t)(end - colon - 1)))
		return false;
	else
		port = colon + 1;
	length = (size_t)((close ? close : colon) - host);
	if (!port || length == 0 || length >= sizeof(server->host))
		return false;
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)authority[i] <= ' ' || authority[i] == '@')
			return false;
	memcpy(server->host, host, length);
	(void)snprintf(server->port, sizeof(server->port), "%.*s",
		       (int)(colon == end ? strlen(port) : (size_t)(end - port)), port);
	(void)snprintf(server->name, sizeof(server->name), "%.*s", (int)size, authority);
	(void)snprintf(server->authority, sizeof(server->authority), "%.*s", (int)size, authority);
	return true;
}

int dn_fetch_server_parse(const char *text, struct dn_fetch_server *ret_server,
			  struct dn_error *err)
{
	struct dn_fetch_server server = { 0 };
	const char *rest = text;
	const char *port = NULL;
	size_t size;

	if (begins(text, DN_FETCH_UNIX)) {
		int r = parse_unix(text + strlen(DN_FETCH_UNIX), &server, err);

		if (r < 0)
			return r;
		*ret_server = server;
		return 0;
	}
	if (begins(text, HTTPS)) {
		rest += strlen(HTTPS);
		port = HTTPS_PORT;
		server.tls = true;
	} else if (begins(text, HTTP)) {
		rest += strlen(HTTP);
		port = HTTP_PORT;
	}
	size = strcspn(rest, "/?#");
	if (!is_base(rest + size) || size >= sizeof(server.authority) ||
	    !parse_authority(rest, size, port, &server))
		return wrong(text, err);
	*ret_server = server;
	return 0;
}
