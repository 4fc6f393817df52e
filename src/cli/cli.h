/* SPDX-License-Identifier: MIT */
/* What the verbs share: exit codes, output, models' names, options that several have. */
#ifndef DUNLIN_CLI_CLI_H
#define DUNLIN_CLI_CLI_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <dunlin/channel.h>
#include <dunlin/error.h>

#include "base/base.h"
#include "base/buffer.h"
#include "cli/options.h"
#include "store/seal.h"
/* IWYU pragma: end_exports */

/* Part of the interface: dunlin(1) lists them. */
enum dn_exit {
	DN_EXIT_OK = 0,
	DN_EXIT_FAILED = 1, /* the operation failed: file, model, template, server, output */
	DN_EXIT_USAGE = 2,
	DN_EXIT_WORKER = 3, /* the worker process ended or broke the protocol */
	DN_EXIT_INTERRUPTED = 130,
};

#define DN_CLI_TEXT_MAX ((size_t)64 << 20)

/* The verbs; each has a file of its own. */
extern const struct dn_verb dn_verb_bench;
extern const struct dn_verb dn_verb_chat;
extern const struct dn_verb dn_verb_completion;
extern const struct dn_verb dn_verb_doctor;
extern const struct dn_verb dn_verb_embed;
extern const struct dn_verb dn_verb_front;
extern const struct dn_verb dn_verb_health;
extern const struct dn_verb dn_verb_inspect;
extern const struct dn_verb dn_verb_key;
extern const struct dn_verb dn_verb_logits;
extern const struct dn_verb dn_verb_perplexity;
extern const struct dn_verb dn_verb_prepare;
extern const struct dn_verb dn_verb_rerank;
extern const struct dn_verb dn_verb_restore;
extern const struct dn_verb dn_verb_run;
extern const struct dn_verb dn_verb_serve;
extern const struct dn_verb dn_verb_template;
extern const struct dn_verb dn_verb_tokenize;
extern const struct dn_verb dn_verb_top;
extern const struct dn_verb dn_verb_worker;

/* All verbs in the order of the help, NULL-terminated. */
extern const struct dn_verb *const dn_verbs[];

/* Prints "dunlin: VERB: message"; returns the exit code that belongs to @r and @err. */
int dn_cli_fail(const struct dn_verb *verb, int r, const struct dn_error *err);
/* A remark that is no failure, on stderr. */
void dn_cli_note(const struct dn_verb *verb, const char *format, ...) DN_PRINTF(2, 3);

/* Whether stderr may show colours and progress: a terminal, and NO_COLOR not set. */
bool dn_cli_fancy(void);

/**
 * dn_cli_write() - text from a model or a file to standard output
 *
 * On a terminal, control characters but newline and tab become U+FFFD, so that no text can move
 * the cursor or hide itself; into a pipe or a file the bytes go as they are. Unbuffered.
 */
DN_MUST_CHECK int dn_cli_write(const char *text, size_t size, struct dn_error *err);
/* The filter itself; @ret gets at most 3 bytes for each of @size. */
DN_MUST_CHECK int dn_cli_filter(const char *text, size_t size, struct dn_buffer *ret);
/* A text from outside, such as a path, as a JSON string: what is no UTF-8 becomes U+FFFD. */
json_t *dn_cli_text_json(const char *text);
/* A JSON object and a newline to standard output. @flags: of jansson. Borrows @json. */
DN_MUST_CHECK int dn_cli_write_json(const json_t *json, size_t flags, struct dn_error *err);

/* All of a descriptor, at most @buffer's maximum. @name for the message. */
DN_MUST_CHECK int dn_cli_read_all(int fd, const char *name, struct dn_buffer *buffer,
				  struct dn_error *err);
DN_MUST_CHECK int dn_cli_read_file(const char *path, struct dn_buffer *buffer,
				   struct dn_error *err);

/*
 * A prompt: the argument, where it is one and not "-", else the file, else standard input. The last
 * line end of these is no part of it, unless it is @raw.
 */
DN_MUST_CHECK int dn_cli_read_prompt(const char *argument, const char *file, bool raw,
				     struct dn_buffer *prompt, struct dn_error *err);

/**
 * struct dn_cli_model - the open files of a model
 * @fds: owned; read-only, regular files, parts in order
 * @prepared: the one file is a prepared form, under @seal
 */
struct dn_cli_model {
	int fds[DN_FILE_PARTS_MAX];
	uint32_t n_fds;
	bool prepared;
	struct dn_seal seal;
};

/**
 * dn_cli_open_model() - the files behind a MODEL argument
 * @model: a path where it has a '/' or ends in ".gguf" or ".dunlin", else a name
 * @ret_model: to be closed with dn_cli_close_model()
 *
 * A name is looked up in $XDG_DATA_HOME/dunlin/models, then $XDG_CACHE_HOME/dunlin/models; the
 * message of a failure lists the names that are there. Of a model in parts, the first is given
 * (NAME-00001-of-00003.gguf), and the others are opened beside it, by their names alone.
 */
DN_MUST_CHECK int dn_cli_open_model(const char *model, struct dn_cli_model *ret_model,
				    struct dn_error *err);
void dn_cli_close_model(struct dn_cli_model *model);

/**
 * dn_cli_each_model() - calls @each with the path of every model in a folder, by name
 * @each: a negative errno ends it
 *
 * A prepared form whose own file lies beside it is left out.
 *
 * Return: 0; -ENOENT where there is none; what @each gave.
 */
DN_MUST_CHECK int dn_cli_each_model(const char *directory,
				    int (*each)(void *context, const char *path,
						struct dn_error *err),
				    void *context, struct dn_error *err);

/* Whether a name ends in @suffix, with something before it. */
bool dn_cli_ends_in(const char *name, const char *suffix);
#define DN_AUTO_MODEL_FILES DN_AUTO(dn_cli_close_model)

/**
 * dn_cli_open_adapter() - the file behind a FILE[:SCALE] argument
 * @ret_scale: 1 where what is behind the last colon is no number: the colon is the path's then
 *
 * Return: 0; -ERANGE for a scale beyond DN_FILE_SCALE_MAX; another negative errno.
 */
DN_MUST_CHECK int dn_cli_open_adapter(const char *argument, int *ret_fd, float *ret_scale,
				      struct dn_error *err);

/* Nanoseconds of the monotonic clock. */
uint64_t dn_cli_now(void);

/* Physical cores that this process may use, at most 16. */
uint32_t dn_cli_default_threads(void);

/* $XDG_<kind>_HOME/dunlin with the specification's default; kind: "DATA", "CACHE", "STATE". */
DN_MUST_CHECK int dn_cli_xdg(const char *kind, char *path, size_t size, struct dn_error *err);

#endif /* DUNLIN_CLI_CLI_H */
