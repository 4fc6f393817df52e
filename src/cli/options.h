/* SPDX-License-Identifier: MIT */
/* Command lines by table: the same table parses, checks ranges, and prints the help. */
#ifndef DUNLIN_CLI_OPTIONS_H
#define DUNLIN_CLI_OPTIONS_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <dunlin/error.h>
/* IWYU pragma: end_exports */

#define DN_OPTION_LIST_MAX 32

/* What an option's value is, and the type of the field that it fills. */
enum dn_option_kind {
	DN_OPTION_FLAG,	    /* bool */
	DN_OPTION_U32,	    /* uint32_t */
	DN_OPTION_OPTIONAL, /* struct dn_optional */
	DN_OPTION_FLOAT,    /* float */
	DN_OPTION_SIZE,	    /* uint64_t, bytes: 400M, 2G */
	DN_OPTION_TEXT,	    /* const char *, borrowed from argv */
	DN_OPTION_CHOICE,   /* uint32_t: which word of @argument, words separated by '|' */
	DN_OPTION_LIST,	    /* struct dn_option_list: may be repeated, @max times */
	DN_OPTION_BIAS,	    /* struct dn_option_biases: ID=BIAS, may be repeated */
};

struct dn_optional {
	uint64_t value;
	bool given;
};

struct dn_option_list {
	const char *items[DN_OPTION_LIST_MAX];
	uint32_t count;
};

struct dn_option_biases {
	struct {
		uint32_t token;
		float bias;
	} items[DN_OPTION_LIST_MAX];
	uint32_t count;
};

/**
 * struct dn_option - one option of one verb
 * @name: without the dashes
 * @letter: the short form, or 0
 * @offset: of its field in the verb's values
 * @min, @max: of numbers; of sizes @min alone; of lists, how many
 * @argument: what the help calls the value; NULL for flags
 * @help: one line; names the default
 * @group: a heading of the help, which the options from here on are under; NULL: as before
 * @not_in_files: means something on the command line alone
 */
struct dn_option {
	const char *name;
	char letter;
	enum dn_option_kind kind;
	size_t offset;
	double min;
	double max;
	const char *argument;
	const char *help;
	const char *group;
	bool not_in_files;
};

/**
 * struct dn_verb - one word after "dunlin"
 * @arguments: as the usage line shows them
 * @details: a paragraph or more for the help; may be NULL
 * @min_args, @max_args: how many arguments that are no options
 * @values_size: bytes of the struct that the options fill; zeroed first
 * @defaults: sets what is not zero; may be NULL
 * @run: returns the exit code
 */
struct dn_invocation;
struct dn_verb {
	const char *name;
	const char *arguments;
	const char *summary;
	const char *details;
	const struct dn_option *options;
	size_t n_options;
	int min_args;
	int max_args;
	size_t values_size;
	void (*defaults)(void *values);
	int (*run)(struct dn_invocation *invocation);
	bool hidden;
};

/**
 * struct dn_invocation - a verb with its command line
 * @args, @n_args: what is left beside the options; borrowed from argv
 * @help: --help was given; nothing else was checked
 * @given: a bit for each option of the verb that the command line has
 */
struct dn_invocation {
	const struct dn_verb *verb;
	char **args;
	int n_args;
	void *values;
	bool help;
	uint64_t given;
};

/**
 * dn_options_parse() - fill @invocation from the words behind the verb
 * @argv: reordered, so that the arguments stand in front
 * @invocation: @verb and @values set; values hold the defaults
 *
 * Return: 0, or -EINVAL with a message that names the option, its range, or the nearest one.
 */
DN_MUST_CHECK int dn_options_parse(int argc, char **argv, struct dn_invocation *invocation,
				   struct dn_error *err);

/**
 * dn_options_set() - an option that a file has
 * @name: without dashes
 * @value: borrowed as long as the values are used; of a flag, "true" or "false"
 *
 * What the command line has stays as it is.
 *
 * Return: as dn_options_parse().
 */
DN_MUST_CHECK int dn_options_set(struct dn_invocation *invocation, const char *name,
				 const char *value, struct dn_error *err);

/* "--help" of one verb. */
void dn_options_print_help(FILE *out, const struct dn_verb *verb);

/* Bytes from "400M", "1.5G", "65536"; binary units. Return: 0 or -EINVAL. */
DN_MUST_CHECK int dn_parse_size(const char *text, uint64_t *ret_bytes);

/* The one of @n names that @word may have meant; NULL where none is near. */
const char *dn_nearest(const char *word, const char *const *names, size_t n);

#endif /* DUNLIN_CLI_OPTIONS_H */
