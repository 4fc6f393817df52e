/* SPDX-License-Identifier: MIT */
/* dunlin: one program, one verb a file. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

const struct dn_verb *const dn_verbs[] = {
	&dn_verb_run,	   &dn_verb_serve,   &dn_verb_chat,
	&dn_verb_top,	   &dn_verb_health,  &dn_verb_key,
	&dn_verb_embed,	   &dn_verb_rerank,  &dn_verb_inspect,
	&dn_verb_prepare,  &dn_verb_restore, &dn_verb_tokenize,
	&dn_verb_template, &dn_verb_logits,  &dn_verb_perplexity,
	&dn_verb_bench,	   &dn_verb_doctor,  &dn_verb_completion,
	&dn_verb_worker,   &dn_verb_front,   NULL,
};

static const struct dn_verb *find_verb(const char *name)
{
	for (size_t i = 0; dn_verbs[i]; i++)
		if (strcmp(dn_verbs[i]->name, name) == 0)
			return dn_verbs[i];
	return NULL;
}

static void print_help(FILE *out)
{
	(void)fprintf(out, "Usage: dunlin VERB [OPTIONS] [ARGUMENTS]\n\n"
			   "Runs generative AI on Linux devices.\n\nVerbs:\n");
	for (size_t i = 0; dn_verbs[i]; i++)
		if (!dn_verbs[i]->hidden)
			(void)fprintf(out, "  %-11s %s\n", dn_verbs[i]->name, dn_verbs[i]->summary);
	(void)fprintf(out, "  %-11s %s\n", "help", "Print the help of a verb.");
	(void)fprintf(out,
		      "\nOptions:\n"
		      "  -h, --help     print this help, or that of a verb\n"
		      "      --version  print the version\n\n"
		      "A MODEL with a '/', or ending in .gguf or .dunlin, is a path, else a name.\n"
		      "The manual: man dunlin, man dunlin-VERB\n");
}

static int finish_stdout(const char *name, int code)
{
	if (fflush(stdout) != 0 || ferror(stdout)) {
		(void)fprintf(stderr, "dunlin: %s: write to standard output: %s\n", name,
			      strerror(errno));
		return code == DN_EXIT_OK ? DN_EXIT_FAILED : code;
	}
	return code;
}

static int unknown_verb(const char *name)
{
	const char *names[32];
	const char *nearest;
	size_t n = 0;

	for (size_t i = 0; dn_verbs[i] && n < DN_ARRAY_SIZE(names); i++)
		if (!dn_verbs[i]->hidden)
			names[n++] = dn_verbs[i]->name;
	nearest = dn_nearest(name, names, n);
	if (nearest)
		(void)fprintf(stderr, "dunlin: unknown verb '%.80s'; did you mean '%s'?\n", name,
			      nearest);
	else
		(void)fprintf(stderr, "dunlin: unknown verb '%.80s'; 'dunlin --help' lists them\n",
			      name);
	return DN_EXIT_USAGE;
}

static int help_verb(int argc, char **argv)
{
	const struct dn_verb *verb;

	if (argc < 1) {
		print_help(stdout);
		return DN_EXIT_OK;
	}
	verb = find_verb(argv[0]);
	if (!verb)
		return unknown_verb(argv[0]);
	dn_options_print_help(stdout, verb);
	return DN_EXIT_OK;
}

static int run_verb(const struct dn_verb *verb, int argc, char **argv)
{
	struct dn_invocation invocation = { .verb = verb };
	struct dn_error err = DN_ERROR_INIT;
	DN_AUTO_FREE void *values = calloc(1, DN_MAX(verb->values_size, (size_t)1));

	if (!values) {
		(void)fprintf(stderr, "dunlin: %s: out of memory\n", verb->name);
		return DN_EXIT_FAILED;
	}
	invocation.values = values;
	if (verb->defaults)
		verb->defaults(values);
	if (dn_options_parse(argc, argv, &invocation, &err) < 0) {
		(void)fprintf(stderr, "dunlin: %s: %s\n", verb->name, err.message);
		return DN_EXIT_USAGE;
	}
	if (invocation.help) {
		dn_options_print_help(stdout, verb);
		return DN_EXIT_OK;
	}
	return verb->run(&invocation);
}

/*
 * A caller may have closed standard streams, and what is opened next would get their numbers: an
 * answer would go to the worker's channel. What stands in for them fails when it is used.
 */
static int fill_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		const int flags = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;

		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags) != fd)
			return -errno;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct dn_verb *verb;
	const char *word = argc > 1 ? argv[1] : "";

	/* A file that may not grow is an error of the write, in the worker too. */
	(void)signal(SIGXFSZ, SIG_IGN);
	/* Worker and front have but the descriptors that it was given. */
	if (strcmp(word, dn_verb_worker.name) != 0 && strcmp(word, dn_verb_front.name) != 0 &&
	    fill_standard_streams() < 0)
		return DN_EXIT_FAILED;
	if (argc < 2) {
		print_help(stderr);
		return DN_EXIT_USAGE;
	}
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
		print_help(stdout);
		return finish_stdout("help", DN_EXIT_OK);
	}
	if (strcmp(word, "--version") == 0) {
		printf("dunlin %s\n", DN_VERSION);
		return finish_stdout("version", DN_EXIT_OK);
	}
	if (strcmp(word, "help") == 0)
		return finish_stdout("help", help_verb(argc - 2, argv + 2));
	verb = find_verb(word);
	if (!verb)
		return unknown_verb(word);
	return finish_stdout(verb->name, run_verb(verb, argc - 2, argv + 2));
}
