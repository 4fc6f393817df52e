/* SPDX-License-Identifier: MIT */
/* Parsing of command lines by table. */

#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

#define NAME_MAX_SIZE 32

static const struct dn_option help_option = {
	"help", 'h', DN_OPTION_FLAG, 0, 0, 0, NULL, "print this help", .not_in_files = true,
};

int dn_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGT";
	const char *unit;
	double scale = 1;
	double value;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	value = strtod(text, &end);
	if (errno != 0 || !isfinite(value))
		return -EINVAL;
	if (*end != '\0') {
		unit = strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end);
		if (!unit)
			return -EINVAL;
		scale = (double)((uint64_t)1 << (10 * (unit - units + 1)));
		end++;
		/* "400M", "400MB" and "400MiB" are the same. */
		if (*end == 'i')
			end++;
		if (*end == 'B')
			end++;
	}
	if (*end != '\0' || value * scale > 0x1p52)
		return -EINVAL;
	*ret_bytes = (uint64_t)(value * scale);
	return 0;
}

/* Edits (a letter more, less or other) that lead from one word to the other. */
static size_t distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_SIZE + 1];
	size_t n = strlen(b);

	if (n > NAME_MAX_SIZE || strlen(a) > NAME_MAX_SIZE)
		return SIZE_MAX;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 0; a[i] != '\0'; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < n; j++) {
			size_t change = diagonal + (a[i] != b[j]);

			diagonal = row[j + 1];
			row[j + 1] = DN_MIN(change, DN_MIN(row[j], row[j + 1]) + 1);
		}
	}
	return row[n];
}

const char *dn_nearest(const char *word, const char *const *names, size_t n)
{
	const char *best = NULL;
	size_t best_distance = 4;

	for (size_t i = 0; i < n; i++) {
		size_t length = strlen(word);
		size_t d = distance(word, names[i]);

		/* A beginning is as good as one wrong letter. */
		if (length >= 3 && strncmp(word, names[i], length) == 0)
			d = DN_MIN(d, (size_t)1);
		/* Of a short word, what is half wrong is another one. */
		if (d < best_distance && 2 * d <= DN_MAX(strlen(names[i]), length) + 1) {
			best_distance = d;
			best = names[i];
		}
	}
	return best;
}

static const struct dn_option *find_name(const struct dn_verb *verb, const char *name, size_t size)
{
	for (size_t i = 0; i < verb->n_options; i++)
		if (strlen(verb->options[i].name) == size &&
		    memcmp(verb->options[i].name, name, size) == 0)
			return &verb->options[i];
	if (size == strlen(help_option.name) && memcmp(help_option.name, name, size) == 0)
		return &help_option;
	return NULL;
}

static const struct dn_option *find_letter(const struct dn_verb *verb, char letter)
{
	for (size_t i = 0; i < verb->n_options; i++)
		if (verb->options[i].letter == letter)
			return &verb->options[i];
	return letter == help_option.letter ? &help_option : NULL;
}

static int unknown_option(const struct dn_verb *verb, const char *word, size_t size,
			  struct dn_error *err)
{
	const char *names[64] = { help_option.name };
	char name[NAME_MAX_SIZE + 1];
	const char *nearest = NULL;
	size_t n = 1;

	for (size_t i = 0; i < verb->n_options && n < DN_ARRAY_SIZE(names); i++)
		names[n++] = verb->options[i].name;
	if (size <= NAME_MAX_SIZE) {
		memcpy(name, word, size);
		name[size] = '\0';
		nearest = dn_nearest(name, names, n);
	}
	if (nearest)
		return dn_error_set(err, EINVAL, "unknown option --%.*s; did you mean --%s?",
				    (int)DN_MIN(size, (size_t)80), word, nearest);
	return dn_error_set(err, EINVAL, "unknown option --%.*s; 'dunlin %s --help' lists them",
			    (int)DN_MIN(size, (size_t)80), word, verb->name);
}

static int bad_size(const struct dn_option *option, const char *value, struct dn_error *err)
{
	if (option->min > 0)
		return dn_error_set(err, EINVAL,
				    "--%s '%.80s': takes a size such as 400M or 2G, of at least "
				    "%.0f bytes",
				    option->name, value, option->min);
	return dn_error_set(err, EINVAL, "--%s '%.80s': takes a size such as 400M or 2G",
			    option->name, value);
}

static int bad_value(const struct dn_option *option, const char *value, struct dn_error *err)
{
	switch (option->kind) {
	case DN_OPTION_U32:
	case DN_OPTION_OPTIONAL:
		return dn_error_set(err, EINVAL, "--%s '%.80s': takes a whole number, %.0f to %.0f",
				    option->name, value, option->min, option->max);
	case DN_OPTION_FLOAT:
		return dn_error_set(err, EINVAL, "--%s '%.80s': takes a number, %g to %g",
				    option->name, value, option->min, option->max);
	case DN_OPTION_SIZE:
		return bad_size(option, value, err);
	case DN_OPTION_BIAS:
		return dn_error_set(err, EINVAL,
				    "--%s '%.80s': takes a token id and a number from -100 to "
				    "100, such as 123=-5",
				    option->name, value);
	default:
		return dn_error_set(err, EINVAL, "--%s '%.80s': takes %s", option->name, value,
				    option->argument);
	}
}

static int parse_whole(const char *text, uint64_t max, uint64_t *ret)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno != 0 || *end != '\0' || *ret > max ? -EINVAL : 0;
}

static int parse_bias(const char *text, struct dn_option_biases *biases)
{
	char id[16];
	const char *equals = strchr(text, '=');
	uint64_t token;
	double bias;
	char *end;

	if (!equals || (size_t)(equals - text) >= sizeof(id) || equals[1] == '\0')
		return -EINVAL;
	memcpy(id, text, (size_t)(equals - text));
	id[equals - text] = '\0';
	bias = strtod(equals + 1, &end);
	if (parse_whole(id, UINT32_MAX - 1, &token) < 0 || *end != '\0' || !isfinite(bias) ||
	    fabs(bias) > 100)
		return -EINVAL;
	biases->items[biases->count].token = (uint32_t)token;
	biases->items[biases->count].bias = (float)bias;
	biases->count++;
	return 0;
}

static int parse_choice(const struct dn_option *option, const char *value, uint32_t *ret)
{
	const char *word = option->argument;
	size_t size = strlen(value);

	for (uint32_t i = 0;; i++) {
		size_t length = strcspn(word, "|");

		if (length == size && memcmp(word, value, size) == 0) {
			*ret = i;
			return 0;
		}
		if (word[length] == '\0')
			return -EINVAL;
		word += length + 1;
	}
}

static int parse_float(const struct dn_option *option, const char *value, float *ret)
{
	char *end;
	double number;

	if (value[0] == '\0' || strchr(" \t\n", value[0]))
		return -EINVAL;
	number = strtod(value, &end);
	if (*end != '\0' || !(number >= option->min && number <= option->max))
		return -EINVAL;
	*ret = (float)number;
	return 0;
}

static int set_number(const struct dn_option *option, const char *value, void *field)
{
	uint64_t number;

	if (parse_whole(value, option->max >= 0x1p63 ? UINT64_MAX : (uint64_t)option->max,
			&number) < 0 ||
	    (double)number < option->min)
		return -EINVAL;
	if (option->kind == DN_OPTION_U32)
		*(uint32_t *)field = (uint32_t)number;
	else
		*(struct dn_optional *)field = (struct dn_optional){ number, true };
	return 0;
}

static int set_size(const struct dn_option *option, const char *value, uint64_t *field)
{
	uint64_t bytes;

	if (dn_parse_size(value, &bytes) < 0 || (double)bytes < option->min)
		return -EINVAL;
	*field = bytes;
	return 0;
}

static int set_value(const struct dn_option *option, const char *value, void *values,
		     struct dn_error *err)
{
	void *field = (char *)values + option->offset;
	struct dn_option_list *list = field;
	struct dn_option_biases *biases = field;
	int r = 0;

	switch (option->kind) {
	case DN_OPTION_FLAG:
		*(bool *)field = true;
		break;
	case DN_OPTION_U32:
	case DN_OPTION_OPTIONAL:
		r = set_number(option, value, field);
		break;
	case DN_OPTION_FLOAT:
		r = parse_float(option, value, field);
		break;
	case DN_OPTION_SIZE:
		r = set_size(option, value, field);
		break;
	case DN_OPTION_TEXT:
		*(const char **)field = value;
		break;
	case DN_OPTION_CHOICE:
		r = parse_choice(option, value, field);
		break;
	case DN_OPTION_LIST:
		if ((double)list->count >= option->max)
			return dn_error_set(err, EINVAL, "--%s: at most %.0f of them", option->name,
					    option->max);
		list->items[list->count++] = value;
		break;
	case DN_OPTION_BIAS:
		if ((double)biases->count >= option->max)
			return dn_error_set(err, EINVAL, "--%s: at most %.0f of them", option->name,
					    option->max);
		r = parse_bias(value, biases);
		break;
	}
	return r < 0 ? bad_value(option, value, err) : 0;
}

static uint64_t bit_of(const struct dn_verb *verb, const struct dn_option *option)
{
	return UINT64_C(1) << (option - verb->options);
}

/* One word that begins with a dash; *@i moves past a value that stands in the next word. */
static int parse_word(int argc, char **argv, int *i, struct dn_invocation *invocation,
		      struct dn_error *err)
{
	const char *word = argv[*i];
	const struct dn_option *option;
	const char *value = NULL;

	if (word[1] == '-') {
		size_t size = strcspn(word + 2, "=");

		option = find_name(invocation->verb, word + 2, size);
		if (!option)
			return unknown_option(invocation->verb, word + 2, size, err);
		if (word[2 + size] == '=')
			value = word + 2 + size + 1;
		if (value && option->kind == DN_OPTION_FLAG)
			return dn_error_set(err, EINVAL, "--%s takes no value", option->name);
	} else {
		option = find_letter(invocation->verb, word[1]);
		if (!option)
			return dn_error_set(err, EINVAL,
					    "unknown option -%c; 'dunlin %s --help' lists them",
					    word[1], invocation->verb->name);
		if (word[2] != '\0') {
			value = word + 2;
			if (option->kind == DN_OPTION_FLAG)
				return dn_error_set(err, EINVAL,
						    "-%c takes no value; found '%.80s'", word[1],
						    word);
		}
	}
	if (option == &help_option) {
		invocation->help = true;
		return 0;
	}
	if (option->kind != DN_OPTION_FLAG && !value) {
		if (*i + 1 >= argc)
			return dn_error_set(err, EINVAL, "--%s needs a value: %s", option->name,
					    option->argument);
		value = argv[++*i];
	}
	invocation->given |= bit_of(invocation->verb, option);
	return set_value(option, value, invocation->values, err);
}

int dn_options_set(struct dn_invocation *invocation, const char *name, const char *value,
		   struct dn_error *err)
{
	const struct dn_verb *verb = invocation->verb;
	const struct dn_option *option = find_name(verb, name, strlen(name));
	const bool yes = strcmp(value, "true") == 0;

	if (!option)
		return unknown_option(verb, name, strlen(name), err);
	if (option->not_in_files)
		return dn_error_set(err, EINVAL, "'%s' is for the command line alone", name);
	if (option->kind == DN_OPTION_FLAG && !yes && strcmp(value, "false") != 0)
		return dn_error_set(err, EINVAL, "'%s' is true or false", name);
	if (invocation->given & bit_of(verb, option) || (option->kind == DN_OPTION_FLAG && !yes))
		return 0;
	return set_value(option, value, invocation->values, err);
}

int dn_options_parse(int argc, char **argv, struct dn_invocation *invocation, struct dn_error *err)
{
	const struct dn_verb *verb = invocation->verb;
	bool ended = false;
	int n = 0;

	for (int i = 0; i < argc; i++) {
		int r;

		if (ended || argv[i][0] != '-' || argv[i][1] == '\0') {
			argv[n++] = argv[i];
			continue;
		}
		if (strcmp(argv[i], "--") == 0) {
			ended = true;
			continue;
		}
		r = parse_word(argc, argv, &i, invocation, err);
		if (r < 0 || invocation->help)
			return r;
	}
	invocation->args = argv;
	invocation->n_args = n;
	if (n < verb->min_args)
		return dn_error_set(err, EINVAL, "missing argument; usage: dunlin %s [OPTIONS] %s",
				    verb->name, verb->arguments);
	if (n > verb->max_args)
		return dn_error_set(
			err, EINVAL,
			"'%.80s' is one argument too many; usage: dunlin %s [OPTIONS] %s",
			argv[verb->max_args], verb->name, verb->arguments);
	return 0;
}

static void print_option(FILE *out, const struct dn_option *option)
{
	char left[64];
	int n;

	n = snprintf(left, sizeof(left), "%s%c%s--%s%s%s", option->letter ? "-" : "",
		     option->letter ? option->letter : ' ', option->letter ? ", " : "   ",
		     option->name, option->argument ? " " : "",
		     option->argument ? option->argument : "");
	if (n <= 28)
		(void)fprintf(out, "  %-28s %s\n", left, option->help);
	else
		(void)fprintf(out, "  %s\n  %-28s %s\n", left, "", option->help);
}

void dn_options_print_help(FILE *out, const struct dn_verb *verb)
{
	size_t i = 0;

	(void)fprintf(out, "Usage: dunlin %s [OPTIONS]%s%s\n\n%s\n", verb->name,
		      verb->arguments[0] != '\0' ? " " : "", verb->arguments, verb->summary);
	if (verb->details)
		(void)fprintf(out, "\n%s", verb->details);
	(void)fprintf(out, "\nOptions:\n");
	for (; i < verb->n_options && !verb->options[i].group; i++)
		print_option(out, &verb->options[i]);
	print_option(out, &help_option);
	for (; i < verb->n_options; i++) {
		if (verb->options[i].group)
			(void)fprintf(out, "\n%s:\n", verb->options[i].group);
		print_option(out, &verb->options[i]);
	}
}
