/* SPDX-License-Identifier: MIT */
/*
 * The server: a supervisor that starts, watches and restarts the others and parses nothing from
 * outside; a front that speaks HTTP; a worker for each model that is loaded.
 */
#ifndef DUNLIN_SERVER_SERVE_H
#define DUNLIN_SERVER_SERVE_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/channel.h>
#include <dunlin/error.h>

#include "base/base.h"
#include "server/control.h"
#include "server/prefix-store.h"
#include "server/tls.h"
#include "store/seal.h"
/* IWYU pragma: end_exports */

struct dn_secrets;

#define DN_SERVE_LISTEN_MAX 16
/* Where no socket is handed over, and none asked for. */
#define DN_SERVE_DEFAULT_LISTEN "127.0.0.1:8080"

/**
 * struct dn_serve_model - a model that can be asked for; all borrowed
 * @fds: its files in order; or one, its prepared form, under @seal
 * @identity: of its files
 * @no_verify: the seal is not checked
 */
struct dn_serve_model {
	char name[DN_CONTROL_NAME_MAX];
	const int *fds;
	uint32_t n_fds;
	bool prepared;
	bool no_verify;
	const struct dn_seal *seal;
	struct dn_digest identity;
	int adapters[DN_FILE_ADAPTERS_MAX];
	float scales[DN_FILE_ADAPTERS_MAX];
	uint32_t n_adapters;
};

/**
 * struct dn_serve_options - what to serve, and how; all borrowed
 * @program: for Server headers and logs: "dunlin 0.1.0"
 * @worker: the program that workers and loaders run, absolute; NULL: this one
 * @load: of every worker; @load.memory and @load.prepared are not read
 * @memory: bytes for all processes together, mapped weights among them; 0: no budget
 * @listen: HOST:PORT or unix:PATH
 * @hosts: names beside addresses and "localhost" that requests may be for
 * @key_file: who may ask; NULL: everybody
 * @tls: certificates for connections to ports
 * @secrets: what these files had (dn_secrets_read()); SIGHUP has them read again
 * @insecure_listen: beyond this machine too without keys or without TLS
 * @front: how it is to run; what else is in these options is filled in
 * @prefixes: where prefixes outlive the server; without a folder they do not
 * @drain_ms: what answers get to end in, when the server is told to
 */
struct dn_serve_options {
	const char *program;
	const struct dn_serve_model *models;
	uint32_t n_models;
	const char *worker;
	struct dn_frame_load load;
	uint64_t memory;
	const char *const *listen;
	uint32_t n_listen;
	const char *const *hosts;
	uint32_t n_hosts;
	const char *key_file;
	struct dn_tls_files tls;
	const struct dn_secrets *secrets;
	bool insecure_listen;
	struct dn_control_start front;
	struct dn_prefix_store prefixes;
	uint32_t drain_ms;
	bool no_sandbox;
	bool realtime;
};

/* Whether dn_serve() may listen where it is to, as far as that can be told before; opens nothing. */
DN_MUST_CHECK int dn_serve_check_listen(const struct dn_serve_options *options,
					struct dn_error *err);

/* Whether requests can be for these names. */
DN_MUST_CHECK int dn_serve_check_hosts(const char *const *hosts, uint32_t n, struct dn_error *err);

/**
 * dn_serve() - serve until SIGTERM or SIGINT
 *
 * A SIGHUP that the caller had blocked is heeded, and blocked no more.
 *
 * Return: 0 after an orderly end; a negative errno where it could not begin.
 */
DN_MUST_CHECK int dn_serve(const struct dn_serve_options *options, struct dn_error *err);

#endif /* DUNLIN_SERVER_SERVE_H */
