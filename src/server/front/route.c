/* SPDX-License-Identifier: MIT */
/* Paths and methods, and who may ask. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "server/front/front.h"

struct route {
	const char *method;
	const char *path;
	dn_front_handler *handler;
	bool prefix; /* what begins with it and a '/' too */
	bool open;   /* no key is asked for */
	bool probe;  /* asked all the time: what succeeds is no event */
};

static const struct route routes[] = {
	{ "POST", "/v1/chat/completions", dn_front_chat, false, false, false },
	{ "POST", "/v1/completions", dn_front_completion, false, false, false },
	{ "POST", "/v1/responses", dn_front_responses, false, false, false },
	{ "POST", "/v1/messages", dn_front_anthropic, false, false, false },
	{ "POST", "/v1/messages/count_tokens", dn_front_count_tokens, false, false, false },
	{ "POST", "/v1/embeddings", dn_front_embeddings, false, false, false },
	{ "POST", "/v1/rerank", dn_front_rerank, false, false, false },
	{ "GET", "/v1/models", dn_front_models, true, false, false },
	{ "POST", "/api/chat", dn_front_ollama_chat, false, false, false },
	{ "POST", "/api/generate", dn_front_ollama_generate, false, false, false },
	{ "POST", "/api/embed", dn_front_ollama_embed, false, false, false },
	{ "POST", "/api/show", dn_front_ollama_show, false, false, false },
	{ "GET", "/api/tags", dn_front_ollama_tags, false, false, false },
	{ "GET", "/api/version", dn_front_ollama_version, false, false, false },
	{ "GET", "/openapi.json", dn_front_openapi, false, true, false },
	{ "POST", "/tokenize", dn_front_tokenize, false, false, false },
	{ "POST", "/detokenize", dn_front_detokenize, false, false, false },
	{ "POST", "/apply-template", dn_front_apply_template, false, false, false },
	{ "GET", "/health", dn_front_health, false, true, true },
	{ "GET", "/ready", dn_front_ready, false, true, true },
	{ "GET", "/metrics", dn_front_metrics, false, false, true },
	{ "GET", "/props", dn_front_props, false, false, true },
	{ "GET", "/", dn_front_page, false, true, false },
	{ "GET", "/page", dn_front_page, true, true, false },
};

static bool has_path(const struct route *route, const char *path)
{
	const size_t size = strlen(route->path);

	return strncmp(path, route->path, size) == 0 &&
	       (path[size] == '\0' || (route->prefix && path[size] == '/'));
}

static bool has_method(const struct route *route, const char *method)
{
	return strcmp(route->method, method) == 0 ||
	       (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

/* Of models that there are none of here. */
static bool is_media(const char *path)
{
	return strncmp(path, "/v1/audio/", 10) == 0 || strncmp(path, "/v1/images/", 11) == 0;
}

static const struct route *find(const struct dn_http_request *request, struct dn_api_error *error)
{
	const struct route *path = NULL;

	for (size_t i = 0; i < DN_ARRAY_SIZE(routes); i++) {
		if (!has_path(&routes[i], request->path))
			continue;
		if (has_method(&routes[i], request->method))
			return &routes[i];
		path = &routes[i];
	}
	if (path) {
		(void)dn_api_fail(error, 405, "method_not_allowed", "%s takes %s alone", path->path,
				  path->method);
		error->allow = path->method;
	} else if (is_media(request->path)) {
		(void)dn_api_fail(error, 404, "unsupported",
				  "this server has no models of audio or images: it takes and "
				  "gives text");
	} else {
		(void)dn_api_fail(error, 404, "not_found", "there is no %.120s here",
				  request->path);
	}
	return NULL;
}

bool dn_front_has_route(const struct dn_http_request *request, struct dn_api_error *error)
{
	return find(request, error) != NULL;
}

bool dn_front_is_probe(const struct dn_http_request *request)
{
	struct dn_api_error error;
	const struct route *route = request->path ? find(request, &error) : NULL;

	return route && route->probe;
}

void dn_front_route(struct dn_front *front, struct dn_http_connection *connection)
{
	struct dn_api_error error;
	const struct route *route = find(dn_http_request(connection), &error);

	if (route)
		route->handler(front, connection);
	else
		dn_api_reply_error(connection, &error);
}

/* "name:port", "[::1]:port", without the port. Return: false where it does not fit. */
static bool cut_port(const char *host, char *out, size_t size)
{
	const char *end = host[0] == '[' ? strchr(host, ']') : strchr(host, ':');
	size_t length = end ? (size_t)(end - host) : strlen(host);

	if (host[0] == '[') {
		if (!end)
			return false;
		host++;
		length--;
	}
	if (length == 0 || length >= size)
		return false;
	memcpy(out, host, length);
	out[length] = '\0';
	return true;
}

/*
 * Whether a name is one that this server goes by. A page that a browser shows can have its own name
 * point here (DNS rebinding), and is then seen by that name; an address cannot be made to.
 */
static bool is_our_host(const struct dn_front *front, const char *host)
{
	char name[DN_CONTROL_NAME_MAX];
	struct in6_addr address;

	if (!cut_port(host, name, sizeof(name)))
		return false;
	if (inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1 ||
	    strcasecmp(name, "localhost") == 0)
		return true;
	for (uint32_t i = 0; i < front->n_hosts; i++)
		if (strcasecmp(name, front->hosts[i]) == 0)
			return true;
	return false;
}

/* "http://HOST", which must be the one that is asked. */
static bool is_our_origin(const char *origin, const char *host)
{
	const char *at = strstr(origin, "://");

	return at && host && strcasecmp(at + 3, host) == 0;
}

static bool check_browser(const struct dn_front *front, const struct dn_http_request *request,
			  struct dn_api_error *error)
{
	const char *host = dn_http_header(request, "host");
	const char *origin = dn_http_header(request, "origin");
	const char *type = dn_http_header(request, "content-type");

	/* By TLS such a page has no certificate for its name. */
	if (!request->local && !request->secure && host && !is_our_host(front, host))
		return dn_api_fail(error, 403, "host",
				   "this server does not go by the name in 'Host': start it with "
				   "--host NAME");
	if (origin && !is_our_origin(origin, host))
		return dn_api_fail(error, 403, "origin",
				   "pages of other servers may not use this one");
	if (strcmp(request->method, "POST") == 0 && !is_media(request->path) &&
	    (!type || strncasecmp(type, "application/json", 16) != 0 ||
	     (type[16] != '\0' && type[16] != ';' && type[16] != ' ')))
		return dn_api_fail(error, 415, "media_type",
				   "the body is to be JSON: 'Content-Type: application/json'");
	return true;
}

/*
 * The key of a request; Anthropic's clients have a header of their own, beside which a proxy may have
 * put what it was let in with.
 */
static const char *bearer(const struct dn_http_request *request)
{
	const char *value = dn_http_header(request, "authorization");

	if (!value || strncasecmp(value, "bearer ", 7) != 0)
		return dn_http_header(request, "x-api-key");
	value += 7;
	return value + strspn(value, " ");
}

/* Whose key a request has; NULL where none is asked for. Return: false with @error. */
static bool find_account(const struct dn_front *front, const struct dn_http_request *request,
			 const struct route *route, struct dn_account **ret_account,
			 struct dn_api_error *error)
{
	const char *key = bearer(request);

	*ret_account = NULL;
	if (front->accounts.n == 0 || route->open)
		return true;
	if (!key)
		return dn_api_fail(error, 401, "no_api_key",
				   "this server wants an API key: 'Authorization: Bearer KEY'");
	*ret_account = dn_accounts_find(&front->accounts, key);
	if (!*ret_account)
		return dn_api_fail(error, 401, "invalid_api_key", "the API key is not known here");
	if (dn_account_is_expired(*ret_account, (uint64_t)time(NULL)))
		return dn_api_fail(error, 401, "expired_api_key",
				   "the API key has expired: ask who runs this server for another");
	return true;
}

/* What a model works for. */
static bool is_limited(const struct dn_http_request *request)
{
	return strcmp(request->method, "POST") == 0;
}

/* Whether its key has room for it; false with @error, and in the answer what is left. */
static bool check_limits(struct dn_account *account, struct dn_http_connection *connection,
			 uint64_t now, struct dn_api_error *error)
{
	if (dn_account_check(account, now, error))
		return true;
	dn_account_tell(account, now, connection);
	return false;
}

bool dn_front_admit(const struct dn_front *front, struct dn_http_connection *connection,
		    struct dn_api_error *error)
{
	const struct dn_http_request *request = dn_http_request(connection);
	struct dn_account *account;
	const struct route *route;

	if (!check_browser(front, request, error))
		return false;
	route = find(request, error);
	if (!route || !find_account(front, request, route, &account, error))
		return false;
	return !account || !is_limited(request) ||
	       check_limits(account, connection, dn_clock_ns(), error);
}

bool dn_front_begin(struct dn_front *front, struct dn_http_connection *connection,
		    struct dn_api_error *error)
{
	struct dn_http_request *request = dn_http_request(connection);
	const struct route *route = find(request, error);
	const bool limited = is_limited(request);
	const uint64_t now = dn_clock_ns();
	struct dn_account *account;

	/* While its body came, its key may have been taken away, and others of the key's have come. */
	if (!route || !find_account(front, request, route, &account, error))
		return false;
	if (!account)
		return true;
	if (limited && !check_limits(account, connection, now, error))
		return false;
	request->owner = account;
	dn_account_begin(account, limited, now);
	if (limited)
		dn_account_tell(account, now, connection);
	return true;
}

void dn_front_end(struct dn_http_request *request)
{
	if (request->owner)
		dn_account_end(request->owner, is_limited(request));
	request->owner = NULL;
}

struct dn_front_client dn_front_client(const struct dn_front *front,
				       const struct dn_http_request *request)
{
	const struct dn_account *account = request->owner;
	struct dn_front_client client = { .client = request->peer, .space = request->address };

	if (account) {
		/* Not its place in the list: prefixes on disk outlive that. */
		memcpy(&client.client, account->key.sha256, sizeof(client.client));
		client.space = client.client | 1;
	}
	if (front->start.share)
		client.space = 1;
	return client;
}

/* The only model that a key may ask; NULL where it may ask several. */
static struct dn_model_link *only_model(struct dn_front *front, const struct dn_account *account)
{
	struct dn_model_link *only = NULL;

	for (uint32_t i = 0; i < dn_models_count(front->models); i++) {
		if (!dn_account_may(account, i))
			continue;
		if (only)
			return NULL;
		only = dn_models_at(front->models, i);
	}
	return only;
}

struct dn_model_link *dn_front_model(struct dn_front *front, const struct dn_http_request *request,
				     const json_t *body, struct dn_api_error *error)
{
	const json_t *name = json_object_get(body, "model");
	struct dn_model_link *model;

	if (!name || json_is_null(name)) {
		model = only_model(front, request->owner);
		if (!model)
			(void)dn_api_bad(error, "model",
					 "'model' is missing: GET /v1/models lists them");
		return model;
	}
	if (!json_is_string(name)) {
		(void)dn_api_bad(error, "model", "'model' is to be a name");
		return NULL;
	}
	model = dn_models_find(front->models, json_string_value(name));
	if (model && !dn_account_may(request->owner, model->number))
		model = NULL;
	if (!model) {
		(void)dn_api_fail(error, 404, "model_not_found",
				  "no model '%.64s': GET /v1/models lists those that there are",
				  json_string_value(name));
		(void)snprintf(error->param, sizeof(error->param), "model");
	}
	return model;
}
