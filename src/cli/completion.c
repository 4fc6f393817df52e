/* SPDX-License-Identifier: MIT */
/* dunlin completion: makes the files in completions/; a test compares them with the tables. */

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* Each verb's options as words; what follows a verb that takes a model or a file are files. */
static void print_words(const struct dn_verb *verb)
{
	printf("--help");
	for (size_t i = 0; i < verb->n_options; i++)
		printf(" --%s", verb->options[i].name);
}

static void print_verbs(const char *separator)
{
	for (size_t i = 0; dn_verbs[i]; i++)
		if (!dn_verbs[i]->hidden)
			printf("%s%s", dn_verbs[i]->name, separator);
}

static void print_bash(void)
{
	printf("# bash completion for dunlin; made by 'dunlin completion bash'\n"
	       "_dunlin()\n{\n"
	       "\tlocal current=${COMP_WORDS[COMP_CWORD]} words=\n"
	       "\tlocal store=${XDG_DATA_HOME:-$HOME/.local/share}/dunlin/models\n"
	       "\tlocal cache=${XDG_CACHE_HOME:-$HOME/.cache}/dunlin/models\n"
	       "\tCOMPREPLY=()\n"
	       "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W '");
	print_verbs(" ");
	printf("help --help --version' -- \"$current\"))\n"
	       "\t\treturn\n"
	       "\tfi\n"
	       "\tcase ${COMP_WORDS[1]} in\n");
	for (size_t i = 0; dn_verbs[i]; i++) {
		if (dn_verbs[i]->hidden)
			continue;
		printf("\t%s) words='", dn_verbs[i]->name);
		print_words(dn_verbs[i]);
		printf("' ;;\n");
	}
	printf("\thelp) words='");
	print_verbs(" ");
	printf("' ;;\n"
	       "\tesac\n"
	       "\tif [[ $current == -* || ${COMP_WORDS[1]} == help ]]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
	       "\telse\n"
	       "\t\tlocal names\n"
	       "\t\tnames=$(cd \"$store\" 2>/dev/null && ls -- *.gguf *.dunlin 2>/dev/null\n"
	       "\t\t\tcd \"$cache\" 2>/dev/null && ls -- *.gguf *.dunlin 2>/dev/null)\n"
	       "\t\tnames=${names//.gguf/}\n"
	       "\t\tCOMPREPLY=($(compgen -W \"${names//.dunlin/}\" -- \"$current\")\n"
	       "\t\t\t$(compgen -f -- \"$current\"))\n"
	       "\tfi\n"
	       "}\n"
	       "complete -o filenames -F _dunlin dunlin\n");
}

/* A description inside '...[...]': quotes and brackets would end it. */
static void print_description(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			printf("'\\''");
		else if (strchr("[]:\\", *text))
			printf("\\%c", *text);
		else
			printf("%c", *text);
	}
}

static void print_zsh_option(const struct dn_option *option)
{
	bool repeated = option->kind == DN_OPTION_LIST || option->kind == DN_OPTION_BIAS;

	printf("\t\t\t'%s--%s%s[", repeated ? "*" : "", option->name, option->argument ? "=" : "");
	print_description(option->help);
	printf("]");
	if (option->argument) {
		printf(":");
		print_description(option->argument);
		printf(":%s",
		       strncmp(option->argument, "FILE", strlen("FILE")) == 0 ? "_files" : "");
	}
	printf("' \\\n");
}

static void print_zsh(void)
{
	printf("#compdef dunlin\n"
	       "# zsh completion for dunlin; made by 'dunlin completion zsh'\n"
	       "_dunlin()\n{\n"
	       "\tif (( CURRENT == 2 )); then\n"
	       "\t\tlocal -a verbs=(\n");
	for (size_t i = 0; dn_verbs[i]; i++) {
		if (dn_verbs[i]->hidden)
			continue;
		printf("\t\t\t'%s:", dn_verbs[i]->name);
		print_description(dn_verbs[i]->summary);
		printf("'\n");
	}
	printf("\t\t)\n"
	       "\t\t_describe verb verbs\n"
	       "\t\treturn\n"
	       "\tfi\n"
	       "\tlocal verb=$words[2]\n"
	       "\t(( CURRENT-- ))\n"
	       "\tshift words\n"
	       "\tcase $verb in\n");
	for (size_t i = 0; dn_verbs[i]; i++) {
		if (dn_verbs[i]->hidden)
			continue;
		printf("\t%s)\n\t\t_arguments -s \\\n", dn_verbs[i]->name);
		for (size_t j = 0; j < dn_verbs[i]->n_options; j++)
			print_zsh_option(&dn_verbs[i]->options[j]);
		printf("\t\t\t'--help[print this help]' \\\n\t\t\t'*:file:_files' ;;\n");
	}
	printf("\tesac\n}\n_dunlin \"$@\"\n");
}

static int run(struct dn_invocation *invocation)
{
	if (strcmp(invocation->args[0], "bash") == 0) {
		print_bash();
	} else if (strcmp(invocation->args[0], "zsh") == 0) {
		print_zsh();
	} else {
		(void)fprintf(stderr, "dunlin: completion: takes bash or zsh\n");
		return DN_EXIT_USAGE;
	}
	return DN_EXIT_OK;
}

const struct dn_verb dn_verb_completion = {
	.name = "completion",
	.arguments = "bash|zsh",
	.summary = "Print the completion of a shell.",
	.min_args = 1,
	.max_args = 1,
	.run = run,
	.hidden = true,
};
