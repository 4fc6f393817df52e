/* SPDX-License-Identifier: MIT */

#include "cli/remote.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/keys.h"
#include "server/serve.h"

#define KEY_VARIABLE "DUNLIN_API_KEY"
#define KEY_FILE_MAX ((size_t)256 << 10)
#define DIGEST_WORD  "sha256:"
#define ANSWER_MAX   ((size_t)4 << 20)

static int set_key(const char *key, const char *from, struct dn_remote *remote,
		   struct dn_error *err)
{
	if (strlen(key) >= sizeof(remote->key))
		return dn_error_set(err, EINVAL, "the key in '%.120s' is too long", from);
	memcpy(remote->key, key, strlen(key) + 1);
	return 0;
}

/* The first that can be sent: of a server's list, what has but a digest is none. */
static int read_key(const char *path, struct dn_remote *remote, struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer text = DN_BUFFER_INIT(KEY_FILE_MAX);
	int r = dn_cli_read_file(path, &text, err);
	char *at = text.data;

	if (r < 0)
		return r;
	for (unsigned int number = 1; at; number++) {
		struct dn_key_line line;

		r = dn_key_line_split(strsep(&at, "\n"), number, &line, err);
		if (r < 0)
			return dn_error_prefix(err, r, "'%.120s'", path);
		if (r > 0 && strncmp(line.key, DIGEST_WORD, strlen(DIGEST_WORD)) != 0)
			return set_key(line.key, path, remote, err);
	}
	return dn_error_set(err, ENOENT, "'%.120s' has no key that could be sent", path);
}

int dn_remote_init(const char *where, const char *key_file, const char *ca,
		   struct dn_remote *ret_remote, struct dn_error *err)
{
	const char *key = getenv(KEY_VARIABLE);
	int r;

	memset(ret_remote, 0, sizeof(*ret_remote));
	r = dn_fetch_server_parse(where ? where : DN_SERVE_DEFAULT_LISTEN, &ret_remote->server,
				  err);
	if (r < 0)
		return r;
	ret_remote->server.ca = ca;
	/* OpenSSL writes to whom has hung up. */
	if (ret_remote->server.tls)
		(void)signal(SIGPIPE, SIG_IGN);
	if (key_file)
		return read_key(key_file, ret_remote, err);
	return key && key[0] != '\0' ? set_key(key, KEY_VARIABLE, ret_remote, err) : 0;
}

static int code_of(int status)
{
	switch (status) {
	case 401:
	case 403:
		return EACCES;
	case 404:
		return ENOENT;
	case 503:
		return EAGAIN;
	default:
		return EBADMSG;
	}
}

/* What the server says, and where it helps, what to do here. */
static int refused(const struct dn_remote *remote, struct dn_fetch *fetch, struct dn_error *err)
{
	struct dn_error ignored = DN_ERROR_INIT;
	const char *message = NULL;
	const char *hint = "";
	json_t *json = NULL;

	if (dn_fetch_read_all(fetch, &ignored) >= 0)
		json = json_loadb(fetch->body.data ? fetch->body.data : "", fetch->body.size, 0,
				  NULL);
	message = json_string_value(json_object_get(json_object_get(json, "error"), "message"));
	if (fetch->status == 401)
		hint = remote->key[0] ? " (--key-file, " KEY_VARIABLE ")"
				      : ": give it by --key-file FILE or " KEY_VARIABLE;
	if (message)
		(void)dn_error_set(err, code_of(fetch->status), "'%.120s': %.300s%s",
				   remote->server.name, message, hint);
	else
		(void)dn_error_set(err, code_of(fetch->status), "'%.120s' answers %d%s",
				   remote->server.name, fetch->status, hint);
	json_decref(json);
	return -code_of(fetch->status);
}

static int unreachable(int r, struct dn_error *err)
{
	struct dn_error said = *err;

	if (r != -ECONNREFUSED && r != -ENOENT)
		return r;
	return dn_error_set(err, -r, "%.400s (is 'dunlin serve' running there?)", said.message);
}

int dn_remote_ask(const struct dn_remote *remote, const char *path, const char *body,
		  uint32_t timeout_ms, struct dn_fetch *fetch, struct dn_error *err)
{
	const struct dn_fetch_request request = {
		.method = body ? "POST" : "GET",
		.path = path,
		.key = remote->key[0] ? remote->key : NULL,
		.body = body,
		.size = body ? strlen(body) : 0,
		.timeout_ms = timeout_ms,
	};
	int r = dn_fetch_begin(fetch, &remote->server, &request, err);

	if (r < 0)
		return unreachable(r, err);
	return fetch->status == 200 ? 0 : refused(remote, fetch, err);
}

int dn_remote_get(const struct dn_remote *remote, const char *path, uint32_t timeout_ms,
		  int wake_fd, char **ret_text, struct dn_error *err)
{
	DN_AUTO_FETCH struct dn_fetch fetch;
	int r;

	dn_fetch_init(&fetch, ANSWER_MAX);
	fetch.wake_fd = wake_fd;
	r = dn_remote_ask(remote, path, NULL, timeout_ms, &fetch, err);
	if (r >= 0)
		r = dn_fetch_read_all(&fetch, err);
	if (r >= 0)
		*ret_text = dn_buffer_steal(&fetch.body);
	return r;
}

int dn_remote_get_json(const struct dn_remote *remote, const char *path, uint32_t timeout_ms,
		       int wake_fd, json_t **ret_json, struct dn_error *err)
{
	DN_AUTO_FREE char *text = NULL;
	json_t *json;
	int r = dn_remote_get(remote, path, timeout_ms, wake_fd, &text, err);

	if (r < 0)
		return r;
	json = json_loads(text, 0, NULL);
	if (!json_is_object(json)) {
		json_decref(json);
		return dn_error_set(err, EBADMSG,
				    "'%.120s' answers %s with something else than JSON",
				    remote->server.name, path);
	}
	*ret_json = json;
	return 0;
}
