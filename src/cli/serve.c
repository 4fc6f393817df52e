/* SPDX-License-Identifier: MIT */
/* dunlin serve: models over HTTP, by the API that programs speak to OpenAI. */

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/config.h"
#include "cli/prepared.h"
#include "device/accelerator.h"
#include "device/memory.h"
#include "server/keys.h"
#include "server/log.h"
#include "server/secrets.h"
#include "server/serve.h"
#include "server/text-file.h"
#include "server/tls.h"

#define HEAD_MS 10000U

struct values {
	struct dn_model_options model;
	const char *config;
	bool check;
	struct dn_option_list models;
	struct dn_option_list listen;
	struct dn_option_list hosts;
	const char *key_file;
	const char *tls[DN_TLS_PARTS];
	bool insecure_listen;
	const char *cache_dir;
	const char *worker;
	uint64_t cache_size;
	bool make_key;
	bool share_prefixes;
	uint32_t parallel;
	uint32_t queue;
	uint32_t connections;
	uint32_t request_timeout;
	uint32_t idle_timeout;
	uint32_t drain;
	uint64_t max_body;
};

static const struct dn_option options[] = {
	{ .name = "config",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, config),
	  .argument = "FILE",
	  .help = "more options, as lines of NAME = VALUE; those given here go first",
	  .not_in_files = true },
	{ .name = "check",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, check),
	  .help = "read all files, say what would be served, and end",
	  .not_in_files = true },
	{ .name = "model",
	  .kind = DN_OPTION_LIST,
	  .offset = offsetof(struct values, models),
	  .max = DN_OPTION_LIST_MAX,
	  .argument = "[NAME=]MODEL|FOLDER",
	  .help = "as an argument, for files of options; may be repeated" },
	{ .name = "listen",
	  .letter = 'l',
	  .kind = DN_OPTION_LIST,
	  .offset = offsetof(struct values, listen),
	  .max = DN_SERVE_LISTEN_MAX,
	  .argument = "WHERE",
	  .help = "HOST:PORT or unix:PATH (default: " DN_SERVE_DEFAULT_LISTEN "); may be repeated",
	  .group = "Network" },
	{ .name = "host",
	  .kind = DN_OPTION_LIST,
	  .offset = offsetof(struct values, hosts),
	  .max = DN_SERVER_HOSTS_MAX,
	  .argument = "NAME",
	  .help = "a name that requests may be for, beside addresses and localhost" },
	{ .name = "key-file",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, key_file),
	  .argument = "FILE",
	  .help = "API keys, one a line; without it everybody may ask" },
	{ .name = "make-key",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, make_key),
	  .help = "where there is no such file, make one, and print its key" },
	{ .name = "tls-cert",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, tls[DN_TLS_CERTIFICATE]),
	  .argument = "FILE",
	  .help = "certificate and what leads to its authority, in PEM: ports speak TLS alone" },
	{ .name = "tls-key",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, tls[DN_TLS_KEY]),
	  .argument = "FILE",
	  .help = "the certificate's private key" },
	{ .name = "tls-client-ca",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, tls[DN_TLS_CLIENT_CA]),
	  .argument = "FILE",
	  .help = "only clients with a certificate of these authorities may connect" },
	{ .name = "tls-client-crl",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, tls[DN_TLS_CLIENT_CRL]),
	  .argument = "FILE",
	  .help = "certificates of theirs that were revoked" },
	{ .name = "insecure-listen",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, insecure_listen),
	  .help = "beyond this machine too without keys (all may ask) or TLS (all can read)" },
	{ .name = "connections",
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, connections),
	  .min = 1,
	  .max = 60000,
	  .argument = "N",
	  .help = "open at once (default: 1024)" },
	{ .name = "max-body",
	  .kind = DN_OPTION_SIZE,
	  .offset = offsetof(struct values, max_body),
	  .min = 1024,
	  .argument = "SIZE",
	  .help = "of a request (default: 1M)" },
	{ .name = "request-timeout",
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, request_timeout),
	  .min = 1,
	  .max = 86400,
	  .argument = "SECONDS",
	  .help = "in which a request must come, its head in 10 at most (default: 60)" },
	{ .name = "idle-timeout",
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, idle_timeout),
	  .min = 1,
	  .max = 86400,
	  .argument = "SECONDS",
	  .help = "between requests; half of it for one that does not read (default: 60)" },
	{ .name = "drain",
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, drain),
	  .max = 86400,
	  .argument = "SECONDS",
	  .help = "what answers get to end in when the server is to stop (default: 30)" },
	{ .name = "parallel",
	  .letter = 'p',
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, parallel),
	  .min = 1,
	  .max = DN_LOAD_SEQUENCES_MAX,
	  .argument = "N",
	  .help = "whole contexts that a model's cache has room for (default: 4)",
	  .group = "Work" },
	{ .name = "queue",
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, queue),
	  .min = 1,
	  .max = 4096,
	  .argument = "N",
	  .help = "requests that may wait, for each model (default: 64)" },
	{ .name = "share-prefixes",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, share_prefixes),
	  .help = "among all clients: the time of an answer can then tell what others asked" },
	{ .name = "cache-dir",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, cache_dir),
	  .argument = "DIR",
	  .help = "prefixes that were used again are kept there, sealed, over a restart" },
	{ .name = "cache-size",
	  .kind = DN_OPTION_SIZE,
	  .offset = offsetof(struct values, cache_size),
	  .argument = "SIZE",
	  .help = "of all of them (default: 256M)" },
	{ .name = "worker",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, worker),
	  .argument = "PROGRAM",
	  .help = "that loads and runs the models, by <dunlin/channel.h> (default: dunlin "
		  "itself)" },
	DN_OPTION_MEMORY(struct values),
	DN_OPTION_CONTEXT(struct values),
	DN_OPTION_THREADS(struct values),
	DN_OPTION_KV(struct values),
	DN_OPTION_LORA(struct values),
	DN_OPTION_REALTIME(struct values),
	DN_OPTION_VERIFY(struct values),
	DN_OPTION_SANDBOX(struct values),
};

static void set_defaults(void *data)
{
	struct values *values = data;

	values->parallel = 4;
	values->queue = 64;
	values->connections = 1024;
	values->request_timeout = 60;
	values->idle_timeout = 60;
	values->drain = 30;
	values->max_body = (uint64_t)1 << 20;
	values->cache_size = (uint64_t)256 << 20;
}

/**
 * struct served - what the server borrows
 * @files: of each model
 * @store: the device's key, where prefixes are kept
 * @config: what options borrow from
 * @credentials: names of files of systemd's
 */
struct served {
	struct dn_serve_model models[DN_SERVER_MODELS_MAX];
	struct dn_cli_model files[DN_SERVER_MODELS_MAX];
	uint32_t n;
	struct dn_cli_store store;
	struct dn_text_file config;
	struct dn_secrets *secrets;
	char credentials[2 + DN_TLS_PARTS][PATH_MAX];
};

static void served_done(struct served **served)
{
	for (uint32_t i = 0; *served && i < (*served)->n; i++) {
		dn_cli_close_model(&(*served)->files[i]);
		for (uint32_t a = 0; a < (*served)->models[i].n_adapters; a++)
			close((*served)->models[i].adapters[a]);
	}
	if (*served) {
		dn_cli_store_close(&(*served)->store);
		dn_secrets_free((*served)->secrets);
		dn_text_file_done(&(*served)->config);
	}
	free(*served);
}

/* "NAME=MODEL", or a name from the model's own: its file's without folder and ending. */
static const char *name_model(const char *argument, char *name, size_t size)
{
	const char *equals = strchr(argument, '=');
	const char *slash = strrchr(argument, '/');
	const char *base = slash ? slash + 1 : argument;
	size_t length = strlen(base);

	if (equals && (!slash || equals < slash) && equals > argument &&
	    (size_t)(equals - argument) < size) {
		(void)snprintf(name, size, "%.*s", (int)(equals - argument), argument);
		return equals + 1;
	}
	for (size_t i = 0; i < 2; i++) {
		const char *ending = i == 0 ? ".gguf" : DN_PREPARED_SUFFIX;

		if (dn_cli_ends_in(base, ending))
			length = strlen(base) - strlen(ending);
	}
	(void)snprintf(name, size, "%.*s", (int)DN_MIN(length, size - 1), base);
	return argument;
}

static int add_adapters(const struct values *values, struct dn_serve_model *model,
			struct dn_error *err)
{
	const struct dn_option_list *list = &values->model.lora;

	for (uint32_t i = 0; i < list->count; i++) {
		int r = dn_cli_open_adapter(list->items[i], &model->adapters[i], &model->scales[i],
					    err);

		if (r < 0)
			return r;
		model->n_adapters++;
	}
	return 0;
}

static int add_model(const struct dn_invocation *invocation, const char *argument,
		     struct served *served, struct dn_error *err)
{
	const struct values *values = invocation->values;
	struct dn_serve_model *model = &served->models[served->n];
	struct dn_cli_model *files = &served->files[served->n];
	struct dn_error why = DN_ERROR_INIT;
	const char *path = name_model(argument, model->name, sizeof(model->name));
	int r = dn_cli_open_model(path, files, err);

	if (r < 0)
		return r;
	served->n++;
	for (uint32_t i = 0; i + 1 < served->n; i++)
		if (strcmp(served->models[i].name, model->name) == 0)
			return dn_error_set(err, EINVAL,
					    "two models are named '%s': give one another name, "
					    "NAME=MODEL",
					    model->name);
	if (!files->prepared && dn_cli_find_prepared(files, &why) < 0)
		dn_cli_note(invocation->verb, "the prepared form of '%.128s' is not used: %s", path,
			    why.message);
	r = dn_files_identity(files->fds, files->n_fds, &model->identity, err);
	if (r < 0)
		return r;
	model->fds = files->fds;
	model->n_fds = files->n_fds;
	model->prepared = files->prepared;
	model->seal = &files->seal;
	model->no_verify = values->model.no_verify;
	return add_adapters(values, model, err);
}

struct adding {
	const struct dn_invocation *invocation;
	struct served *served;
};

static int add_found(void *context, const char *path, struct dn_error *err)
{
	const struct adding *adding = context;

	if (adding->served->n == DN_SERVER_MODELS_MAX)
		return dn_error_set(err, E2BIG, "more than %d models", DN_SERVER_MODELS_MAX);
	return add_model(adding->invocation, path, adding->served, err);
}

/* A model, or all that are in a folder. */
static int add_argument(const struct dn_invocation *invocation, const char *argument,
			struct served *served, struct dn_error *err)
{
	struct adding adding = { invocation, served };
	struct stat st;

	if (stat(argument, &st) == 0 && S_ISDIR(st.st_mode))
		return dn_cli_each_model(argument, add_found, &adding, err);
	return add_found(&adding, argument, err);
}

/* What systemd's LoadCredential= gives goes before the file that an option names. */
static void find_credential(const char *name, char *path, const char **option)
{
	const char *folder = getenv("CREDENTIALS_DIRECTORY");
	int n;

	if (!folder)
		return;
	n = snprintf(path, PATH_MAX, "%s/%s", folder, name);
	if (n > 0 && n < PATH_MAX && access(path, F_OK) == 0)
		*option = path;
}

static void find_credentials(struct values *values, struct served *served)
{
	static const char *const tls[DN_TLS_PARTS] = {
		[DN_TLS_CERTIFICATE] = "dunlin.crt",
		[DN_TLS_KEY] = "dunlin.key",
		[DN_TLS_CLIENT_CA] = "dunlin.ca",
		[DN_TLS_CLIENT_CRL] = "dunlin.crl",
	};

	find_credential("dunlin.keys", served->credentials[1], &values->key_file);
	for (unsigned int i = 0; i < DN_TLS_PARTS; i++)
		find_credential(tls[i], served->credentials[2 + i], &values->tls[i]);
}

/* The file's options, under those of the command line. */
static int read_config(struct dn_invocation *invocation, struct served *served,
		       struct dn_error *err)
{
	struct values *values = invocation->values;
	const uint32_t n_models = values->models.count;
	const char *path = values->config;
	int r = 0;

	if (!path)
		find_credential("dunlin.conf", served->credentials[0], &path);
	if (path)
		r = dn_config_read(path, invocation, &served->config, err);
	/* Models are given, so those of the file are not meant. */
	if (invocation->n_args > 0)
		values->models.count = n_models;
	if (r >= 0)
		find_credentials(values, served);
	return r;
}

static int make_key(const char *path, char *key, struct dn_error *err)
{
	int r = dn_keys_make(path, key, err);

	if (r == -EROFS || r == -EACCES || r == -ENOENT)
		return dn_error_set(err, -r,
				    "make the keys '%.160s': %s: user %u needs a folder that it "
				    "may write, in a container a volume (-v NAME:FOLDER)",
				    path, strerror(-r), (unsigned int)geteuid());
	return r;
}

/* A file of keys that is not there yet is made at the start, where that is asked for. */
static bool is_to_be_made(const struct values *values)
{
	return values->make_key && values->key_file && access(values->key_file, F_OK) < 0;
}

static int make_missing_key(const struct dn_invocation *invocation, struct dn_error *err)
{
	const struct values *values = invocation->values;
	char key[DN_KEY_TEXT_MAX];
	int r;

	if (values->check || !is_to_be_made(values))
		return 0;
	r = make_key(values->key_file, key, err);
	if (r >= 0)
		dn_cli_note(invocation->verb, "a new API key, which is shown this once: %s", key);
	return r;
}

/* In a container or a unit with a limit, its models are to fit into that, caches and all. */
static uint64_t find_budget(const struct values *values)
{
	struct dn_memory memory;

	if (values->model.memory || dn_memory_read("", &memory, NULL) < 0 || memory.limit == 0)
		return values->model.memory;
	dn_log_event("info", "memory", "budget_mib=%llu message=\"the cgroup's limit\"",
		     (unsigned long long)memory.limit >> 20);
	return memory.limit;
}

/* What the device has beside its processor. */
static void report_accelerators(void)
{
	struct dn_accelerator found[DN_ACCELERATORS_MAX];
	const uint32_t n = dn_accelerators_find("", found);

	for (uint32_t i = 0; i < n; i++)
		dn_log_event("info", "device",
			     "accelerator=%s driver=\"%s\" message=\"not used by this version\"",
			     found[i].device, found[i].name);
}

static int place_threads(struct dn_frame_load *load, const struct values *values,
			 struct dn_error *err)
{
	if (load->threads == 0)
		load->threads = dn_cli_default_threads();
	return values->model.realtime ? dn_client_place_threads(load, err) : 0;
}

/* Absolute, whatever the folder is from which it is started. */
static int find_worker(const char *program, char *path, struct dn_error *err)
{
	if (!realpath(program, path) || access(path, X_OK) < 0)
		return dn_error_errno(err, errno, "the worker '%.160s'", program);
	return 0;
}

static void print_check(const struct values *values, const struct dn_serve_options *serve,
			const struct dn_secrets *secrets)
{
	for (uint32_t i = 0; i < serve->n_models; i++)
		printf("model: %s\n", serve->models[i].name);
	for (uint32_t i = 0; i < serve->n_listen; i++)
		printf("listen: %s\n", serve->listen[i]);
	if (serve->n_listen == 0)
		printf("listen: " DN_SERVE_DEFAULT_LISTEN ", or what systemd hands over\n");
	if (is_to_be_made(values))
		printf("keys: one will be made\n");
	else if (values->key_file)
		printf("keys: %u\n", secrets->n_keys);
	else
		printf("keys: none, everybody who can connect may ask\n");
	if (secrets->tls >= 0)
		printf("certificate: %s, until %s%s\n", secrets->facts.subject,
		       secrets->facts.not_after,
		       values->tls[DN_TLS_CLIENT_CA] ? "; clients need one" : "");
}

/* All that can be wrong before anything is begun. @ret_secrets: of the caller, also on failure */
static int read_secrets(const struct values *values, const struct dn_serve_options *serve,
			struct dn_secrets **ret_secrets, struct dn_error *err)
{
	struct dn_serve_options files = *serve;
	int r = dn_serve_check_listen(serve, err);

	/* With --check alone: else it was made. */
	if (is_to_be_made(values))
		files.key_file = NULL;
	return r < 0 ? r : dn_secrets_read(&files, ret_secrets, err);
}

static int serve(const struct dn_invocation *invocation, struct served *served,
		 struct dn_error *err)
{
	const struct values *values = invocation->values;
	struct dn_serve_options serve = {
		.program = "dunlin " DN_VERSION,
		.models = served->models,
		.n_models = served->n,
		.listen = values->listen.items,
		.n_listen = values->listen.count,
		.hosts = values->hosts.items,
		.n_hosts = values->hosts.count,
		.key_file = values->key_file,
		.insecure_listen = values->insecure_listen,
		.front = { .connections = values->connections,
			   .queue = values->queue,
			   .body_bytes = values->max_body,
			   .bodies_bytes = 4 * values->max_body,
			   .answers_bytes = 8 * values->max_body,
			   .head_ms = DN_MIN(HEAD_MS, values->request_timeout * 1000),
			   .body_ms = values->request_timeout * 1000,
			   .idle_ms = values->idle_timeout * 1000,
			   .write_ms = values->idle_timeout * 500,
			   .share = values->share_prefixes },
		.prefixes = { values->cache_dir, &served->store.key, values->cache_size },
		.drain_ms = values->drain * 1000,
		.no_sandbox = values->model.no_sandbox,
		.realtime = values->model.realtime,
	};
	char worker[PATH_MAX];
	int r;

	if (values->worker) {
		r = find_worker(values->worker, worker, err);
		if (r < 0)
			return r;
		serve.worker = worker;
	}
	memcpy(serve.tls.paths, values->tls, sizeof(serve.tls.paths));
	r = read_secrets(values, &serve, &served->secrets, err);
	if (r >= 0 && values->check)
		print_check(values, &serve, served->secrets);
	if (r < 0 || values->check)
		return r;
	serve.secrets = served->secrets;
	serve.memory = find_budget(values);
	report_accelerators();
	dn_client_load_options(&values->model, &serve.load);
	serve.load.sequences = values->parallel;
	serve.load.grammars = 1;
	serve.load.outputs = DN_MAX(8U, 4 * values->parallel);
	r = place_threads(&serve.load, values, err);
	if (r < 0)
		return r;
	return dn_serve(&serve, err);
}

static int add_models(const struct dn_invocation *invocation, struct served *served,
		      struct dn_error *err)
{
	const struct dn_option_list *list = &((const struct values *)invocation->values)->models;
	int r = 0;

	for (int i = 0; i < invocation->n_args && r >= 0; i++)
		r = add_argument(invocation, invocation->args[i], served, err);
	for (uint32_t i = 0; i < list->count && r >= 0; i++)
		r = add_argument(invocation, list->items[i], served, err);
	return r;
}

/* By itself it would end the process: one that comes before dn_serve() can heed it waits for that. */
static void hold_reload(void)
{
	sigset_t reload;

	(void)sigemptyset(&reload);
	(void)sigaddset(&reload, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &reload, NULL);
}

static int run(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	DN_AUTO(served_done) struct served *served = calloc(1, sizeof(*served));
	struct dn_error err = DN_ERROR_INIT;
	int r;

	hold_reload();
	if (!served) {
		r = dn_error_memory(&err, "models", sizeof(*served));
		return dn_cli_fail(invocation->verb, r, &err);
	}
	r = read_config(invocation, served, &err);
	if (r >= 0)
		r = dn_serve_check_hosts(values->hosts.items, values->hosts.count, &err);
	/* A mistake in options, wherever they are from. */
	if (r == -EINVAL) {
		(void)dn_cli_fail(invocation->verb, r, &err);
		return DN_EXIT_USAGE;
	}
	if (r >= 0 && invocation->n_args == 0 && values->models.count == 0) {
		(void)fprintf(stderr, "dunlin: serve: missing argument; usage: dunlin serve "
				      "[OPTIONS] [NAME=]MODEL|FOLDER…\n");
		return DN_EXIT_USAGE;
	}
	if (r >= 0)
		r = add_models(invocation, served, &err);
	if (r >= 0)
		r = make_missing_key(invocation, &err);
	if (r >= 0 && values->cache_dir)
		r = dn_cli_store_open(&served->store, true, &err);
	if (r >= 0)
		r = serve(invocation, served, &err);
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_serve = {
	.name = "serve",
	.arguments = "[[NAME=]MODEL|FOLDER…]",
	.summary = "Serve models over HTTP, by OpenAI's API.",
	.details = "Of a folder, all models in it. They are loaded as they are asked for, where "
		   "--memory\n"
		   "or a cgroup bounds them, and all at once where they fit. SIGTERM and Ctrl-C "
		   "end it\n"
		   "when all is answered; SIGHUP has keys and certificates read again.\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.max_args = DN_SERVER_MODELS_MAX,
	.values_size = sizeof(struct values),
	.defaults = set_defaults,
	.run = run,
};
