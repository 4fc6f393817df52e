/* SPDX-License-Identifier: MIT */
/*
 * Where the supervisor listens, by which names, and what is needed before others than this machine may
 * connect.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/listen.h"
#include "server/log.h"
#include "server/supervisor.h"

/* The same for both. */
struct places {
	const char *const *addresses;
	uint32_t n;
};

static struct places asked_for(const struct dn_serve_options *options, uint32_t n_inherited)
{
	static const char *const elsewhere[] = { DN_SERVE_DEFAULT_LISTEN };

	if (options->n_listen == 0 && n_inherited == 0)
		return (struct places){ elsewhere, 1 };
	return (struct places){ options->listen, options->n_listen };
}

/* Keys in the clear, or prompts, or an open server are nothing to come about by accident. */
static int refuse_beyond(const struct dn_serve_options *options, const char *address,
			 struct dn_error *err)
{
	const bool keys = options->key_file || options->tls.paths[DN_TLS_CLIENT_CA];
	const bool tls = options->tls.paths[DN_TLS_CERTIFICATE];

	if (options->insecure_listen || (keys && tls))
		return 0;
	return dn_error_set(err, EACCES,
			    "listen at '%.120s': that is beyond this machine, where %s%s%s; "
			    "--insecure-listen has it so all the same",
			    address, keys ? "" : "everybody may ask without --key-file",
			    keys || tls ? "" : " and ",
			    tls ? "" : "everybody on the way reads along without --tls-cert");
}

static int check_address(const struct dn_serve_options *options, const char *address,
			 struct dn_error *err)
{
	bool beyond = false;
	int r = dn_listen_is_beyond(address, &beyond, err);

	return r < 0 || !beyond ? r : refuse_beyond(options, address, err);
}

int dn_serve_check_listen(const struct dn_serve_options *options, struct dn_error *err)
{
	const struct places places = asked_for(options, 0);
	int r = 0;

	for (uint32_t i = 0; i < places.n && r >= 0; i++)
		r = check_address(options, places.addresses[i], err);
	return r;
}

/*
 * Without scheme, port and pattern: it is compared with a request's as it is. Addresses are taken
 * anyway, so that one here does no harm.
 */
static int check_host(const char *name, struct dn_error *err)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-._";
	struct in6_addr address;
	const size_t size = strlen(name);

	if (inet_pton(AF_INET6, name, &address) == 1 ||
	    (size > 0 && size < DN_CONTROL_NAME_MAX && strspn(name, letters) == size))
		return 0;
	return dn_error_set(err, EINVAL,
			    "--host '%.80s': takes a name alone, such as example.org: without "
			    "scheme, port and '*', of at most %d characters",
			    name, DN_CONTROL_NAME_MAX - 1);
}

int dn_serve_check_hosts(const char *const *hosts, uint32_t n, struct dn_error *err)
{
	int r = 0;

	for (uint32_t i = 0; i < n && r >= 0; i++)
		r = check_host(hosts[i], err);
	return r;
}

static int open_one(struct supervisor *s, const char *address, struct dn_error *err)
{
	char name[DN_LISTEN_NAME_MAX];
	char value[DN_LOG_VALUE_SIZE(DN_LISTEN_NAME_MAX)];
	int r = check_address(s->options, address, err);

	if (r < 0)
		return r;
	if (s->n_listeners == DN_SERVE_LISTEN_MAX)
		return dn_error_set(err, E2BIG, "at most %d listening sockets",
				    DN_SERVE_LISTEN_MAX);
	r = dn_listen_open(address, s->secrets->tls >= 0, &s->listeners[s->n_listeners], name, err);
	if (r < 0)
		return r;
	s->n_listeners++;
	dn_log_event("info", "listen", "at=%s", dn_log_value(name, value, sizeof(value)));
	return 0;
}

int dn_supervisor_open_listeners(struct supervisor *s, struct dn_error *err)
{
	struct places places;
	int r = 0;

	s->n_inherited = dn_listen_inherited(s->listeners, DN_SERVE_LISTEN_MAX);
	s->n_listeners = s->n_inherited;
	if (s->n_listeners > 0)
		dn_log_event("info", "listen", "inherited=%u", s->n_listeners);
	for (uint32_t i = 0; i < s->n_inherited && r >= 0; i++)
		if (dn_listen_socket_is_beyond(s->listeners[i]))
			r = refuse_beyond(s->options, "a socket of systemd's", err);
	places = asked_for(s->options, s->n_inherited);
	for (uint32_t i = 0; i < places.n && r >= 0; i++)
		r = open_one(s, places.addresses[i], err);
	return r;
}

/* Who connects from now on is refused, or waits for the next server where the socket is systemd's. */
void dn_supervisor_close_listeners(struct supervisor *s)
{
	for (uint32_t i = 0; i < s->n_listeners; i++) {
		if (i < s->n_inherited)
			close(s->listeners[i]);
		else
			dn_listen_close(s->listeners[i]);
	}
	s->n_listeners = 0;
}
