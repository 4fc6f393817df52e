/* SPDX-License-Identifier: MIT */
/* The parent's side of a worker: started, asked, waited for. Nothing here parses a model. */
#ifndef DUNLIN_CLI_CLIENT_H
#define DUNLIN_CLI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* IWYU pragma: begin_exports */
#include <dunlin/channel.h>
#include <dunlin/error.h>

#include "base/base.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "channel/channel.h"
#include "sandbox/spawn.h"
#include "channel/attachment.h"
/* IWYU pragma: end_exports */

/* What the verbs that load a model have in common; the tables name it @model. */
struct dn_model_options {
	uint32_t threads; /* 0: the physical cores that this process may use, at most 16 */
	uint32_t context;
	uint32_t kv; /* enum dn_kv_type */
	uint64_t memory;
	bool no_sandbox;
	bool no_verify;
	bool realtime;
	struct dn_option_list lora; /* FILE[:SCALE] each */
};

#define DN_OPTION_SANDBOX(type)                                                                    \
	{ .name = "no-sandbox",                                                                    \
	  .kind = DN_OPTION_FLAG,                                                                  \
	  .offset = offsetof(type, model.no_sandbox),                                              \
	  .help = "run the worker without its jail: a hostile file could then harm you" }
#define DN_OPTION_VERIFY(type)                                                                     \
	{ .name = "no-verify",                                                                     \
	  .kind = DN_OPTION_FLAG,                                                                  \
	  .offset = offsetof(type, model.no_verify),                                               \
	  .help = "trust a prepared model without reading all of it first" }
#define DN_OPTION_REALTIME(type)                                                                   \
	{ .name = "realtime",                                                                      \
	  .kind = DN_OPTION_FLAG,                                                                  \
	  .offset = offsetof(type, model.realtime),                                                \
	  .help = "real-time scheduling, a CPU for each thread, memory locked" }
#define DN_OPTION_THREADS(type)                                                                    \
	{ .name = "threads",                                                                       \
	  .letter = 't',                                                                           \
	  .kind = DN_OPTION_U32,                                                                   \
	  .offset = offsetof(type, model.threads),                                                 \
	  .min = 1,                                                                                \
	  .max = DN_LOAD_THREADS_MAX,                                                              \
	  .argument = "N",                                                                         \
	  .help = "threads (default: physical cores, at most 16)" }
#define DN_OPTION_CONTEXT(type)                                                                    \
	{ .name = "context",                                                                       \
	  .letter = 'c',                                                                           \
	  .kind = DN_OPTION_U32,                                                                   \
	  .offset = offsetof(type, model.context),                                                 \
	  .min = 1,                                                                                \
	  .max = DN_LOAD_CONTEXT_MAX,                                                              \
	  .argument = "N",                                                                         \
	  .help = "tokens of context (default: as trained, at most 4096)" }
#define DN_OPTION_KV(type)                                                                         \
	{ .name = "kv",                                                                            \
	  .kind = DN_OPTION_CHOICE,                                                                \
	  .offset = offsetof(type, model.kv),                                                      \
	  .argument = "f16|f32|q8_0",                                                              \
	  .help = "elements of the KV cache (default: f16)" }
#define DN_OPTION_MEMORY(type)                                                                     \
	{ .name = "memory",                                                                        \
	  .letter = 'm',                                                                           \
	  .kind = DN_OPTION_SIZE,                                                                  \
	  .offset = offsetof(type, model.memory),                                                  \
	  .argument = "SIZE",                                                                      \
	  .help = "memory budget, such as 400M (default: none)" }
#define DN_OPTION_LORA(type)                                                                       \
	{ .name = "lora",                                                                          \
	  .kind = DN_OPTION_LIST,                                                                  \
	  .offset = offsetof(type, model.lora),                                                    \
	  .max = DN_FILE_ADAPTERS_MAX,                                                             \
	  .argument = "FILE[:SCALE]",                                                              \
	  .help = "apply a LoRA adapter (default scale: 1); may be repeated" }

/**
 * struct dn_client - a worker process
 * @interrupt_fd: a signalfd that ends waiting with -EINTR, or -1; borrowed
 * @no_verify: load prepared models without checking all of them
 */
struct dn_client {
	struct dn_channel channel;
	struct dn_child child;
	int interrupt_fd;
	uint64_t last_request;
	bool greeted;
	struct dn_frame_hello hello;
	struct dn_frame_loaded loaded;
	bool no_verify;
	uint64_t verify_ns; /* that checking a prepared model took, beside the load */
};

#define DN_CLIENT_INIT { .channel = DN_CHANNEL_INIT, .child = DN_CHILD_INIT, .interrupt_fd = -1 }

/* Starts the process and does not wait for it. */
DN_MUST_CHECK int dn_client_start(struct dn_client *client, bool no_sandbox, struct dn_error *err);
/* Ends the process and waits until it is gone. Nothing to do is fine. */
void dn_client_stop(struct dn_client *client);
#define DN_AUTO_CLIENT DN_AUTO(dn_client_stop)

/* A frame for a new request; its number is in the frame. */
void dn_client_request(struct dn_client *client, struct dn_frame *frame, enum dn_frame_type type);
/* Sends with bytes attached, or with none. */
DN_MUST_CHECK int dn_client_send(struct dn_client *client, struct dn_frame *frame, const void *data,
				 size_t size, struct dn_error *err);

/**
 * dn_client_receive() - the worker's next frame
 * @ret_fd: what came with it, or -1; owned by the caller
 *
 * Return: 0; -EOWNERDEAD when the worker died (the message says how), -EPROTO when it broke the
 * protocol, -EINTR when @interrupt_fd had a signal.
 */
DN_MUST_CHECK int dn_client_receive(struct dn_client *client, struct dn_frame *ret_frame,
				    int *ret_fd, struct dn_error *err);

/* As above; an ERROR becomes @err and its code, a frame of another type or request -EPROTO. */
DN_MUST_CHECK int dn_client_expect(struct dn_client *client, uint64_t request,
				   enum dn_frame_type type, struct dn_frame *ret_frame, int *ret_fd,
				   struct dn_error *err);

/* A request whose answer is one frame with bytes. */
DN_MUST_CHECK int dn_client_ask(struct dn_client *client, struct dn_frame *frame, const void *data,
				size_t size, enum dn_frame_type answer,
				struct dn_mapped *ret_mapped, struct dn_error *err);

/* Real time: a CPU for each of @load's threads. */
DN_MUST_CHECK int dn_client_place_threads(struct dn_frame_load *load, struct dn_error *err);

/* An ERROR frame as a failure: @err gets its message; returns its code, negative. */
int dn_client_failure(const struct dn_frame *frame, struct dn_error *err);

/* LOAD's fields from the options. */
void dn_client_load_options(const struct dn_model_options *options, struct dn_frame_load *ret_load);
/* Sends a file for the coming load and waits until the worker has it. */
DN_MUST_CHECK int dn_client_add_file(struct dn_client *client, int fd,
				     const struct dn_frame_file *file, struct dn_error *err);
/* Sends a frame that takes a file. */
DN_MUST_CHECK int dn_client_send_file(struct dn_client *client, const struct dn_frame *frame,
				      int fd, struct dn_error *err);
/*
 * Sends the model, parts in order, and waits for LOADED, which goes to @client->loaded. The seal
 * of a prepared model is checked meanwhile: -EBADMSG where it was changed.
 */
DN_MUST_CHECK int dn_client_load(struct dn_client *client, const struct dn_cli_model *model,
				 const struct dn_frame_load *load, struct dn_error *err);
/*
 * Start, open, load, adapters too: what most verbs begin with. Sets @load's threads by the machine
 * where they are not given. Weights come from the model's prepared form where there is one that is
 * good, else from its files. With @options->realtime this thread gets real-time scheduling too, so
 * that it can pass on what the worker gives it; where that is refused, nothing is started.
 */
DN_MUST_CHECK int dn_client_open(struct dn_client *client, const char *model,
				 const struct dn_model_options *options, struct dn_frame_load *load,
				 struct dn_error *err);

/* With --realtime, a note where memory could not be locked, and what would allow it. */
void dn_client_note_unlocked(const struct dn_client *client, const struct dn_verb *verb);

#endif /* DUNLIN_CLI_CLIENT_H */
