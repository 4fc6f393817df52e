/* SPDX-License-Identifier: MIT */
/* A server that a verb speaks to: where it is, the key for it, its errors in words. */
#ifndef DUNLIN_CLI_REMOTE_H
#define DUNLIN_CLI_REMOTE_H

/* IWYU pragma: begin_exports */
#include "cli/cli.h"
#include "fetch/fetch.h"
/* IWYU pragma: end_exports */

#define DN_REMOTE_KEY_MAX 256

/**
 * struct dn_remote - a server
 * @key: "": none
 */
struct dn_remote {
	struct dn_fetch_server server;
	char key[DN_REMOTE_KEY_MAX];
};

#define DN_OPTION_KEY_FILE(type)                                                                   \
	{ .name = "key-file",                                                                      \
	  .kind = DN_OPTION_TEXT,                                                                  \
	  .offset = offsetof(type, key_file),                                                      \
	  .argument = "FILE",                                                                      \
	  .help = "the first key of it is sent; without it, that of $DUNLIN_API_KEY" }

#define DN_OPTION_CA(type)                                                                         \
	{ .name = "ca",                                                                            \
	  .kind = DN_OPTION_TEXT,                                                                  \
	  .offset = offsetof(type, ca),                                                            \
	  .argument = "FILE",                                                                      \
	  .help = "whose certificates are good, of https:// (default: the system's)" }

/**
 * dn_remote_init() - a server as the command line names it
 * @where: NULL: where "dunlin serve" listens unless it is told otherwise
 * @key_file: one key a line, a name before it or not, as the server has them; NULL: the environment
 * @ca: as in struct dn_fetch_server
 */
DN_MUST_CHECK int dn_remote_init(const char *where, const char *key_file, const char *ca,
				 struct dn_remote *ret_remote, struct dn_error *err);

/**
 * dn_remote_ask() - a request, up to its answer's head
 * @fetch: initialised
 * @body: JSON; NULL: GET
 *
 * Return: 0 where the answer is 200; else a negative errno, and @err says what the server said.
 */
DN_MUST_CHECK int dn_remote_ask(const struct dn_remote *remote, const char *path, const char *body,
				uint32_t timeout_ms, struct dn_fetch *fetch, struct dn_error *err);

/**
 * dn_remote_get() - a whole answer
 * @wake_fd: as in struct dn_fetch
 * @ret_text: owned by the caller, terminated
 */
DN_MUST_CHECK int dn_remote_get(const struct dn_remote *remote, const char *path,
				uint32_t timeout_ms, int wake_fd, char **ret_text,
				struct dn_error *err);
/* The same as a JSON object, owned by the caller. */
DN_MUST_CHECK int dn_remote_get_json(const struct dn_remote *remote, const char *path,
				     uint32_t timeout_ms, int wake_fd, json_t **ret_json,
				     struct dn_error *err);

#endif /* DUNLIN_CLI_REMOTE_H */
