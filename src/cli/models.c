/* SPDX-License-Identifier: MIT */
/* From a MODEL argument, and those of adapters, to open files. */

#include "cli/cli.h"
#include "cli/prepared.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_SHOWN_MAX 16
#define SUFFIX		".gguf"
#define PART_ENDING	"-00001-of-00002.gguf"

int dn_cli_xdg(const char *kind, char *path, size_t size, struct dn_error *err)
{
	static const char *const kinds[][2] = {
		{ "DATA", ".local/share" },
		{ "CACHE", ".cache" },
		{ "STATE", ".local/state" },
	};
	char variable[32];
	const char *base;
	const char *home = getenv("HOME");
	const char *fallback = "";
	int n;

	(void)snprintf(variable, sizeof(variable), "XDG_%s_HOME", kind);
	base = getenv(variable);
	for (size_t i = 0; i < DN_ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i][0], kind) == 0)
			fallback = kinds[i][1];
	/* The specification: relative paths are to be ignored. */
	if (base && base[0] == '/')
		n = snprintf(path, size, "%s/dunlin", base);
	else if (home && home[0] == '/')
		n = snprintf(path, size, "%s/%s/dunlin", home, fallback);
	else
		return dn_error_set(err, ENOENT, "neither %s nor HOME is set", variable);
	if (n < 0 || (size_t)n >= size)
		return dn_error_set(err, ENAMETOOLONG, "%s is too long", variable);
	return 0;
}

bool dn_cli_ends_in(const char *name, const char *suffix)
{
	size_t length = strlen(name);

	return length > strlen(suffix) && strcmp(name + length - strlen(suffix), suffix) == 0;
}

/* Exactly five digits: the number, or 0, which is no part's. */
static uint32_t five_digits(const char *text)
{
	uint32_t value = 0;

	for (int i = 0; i < 5; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		value = value * 10 + (uint32_t)(text[i] - '0');
	}
	return value;
}

/**
 * struct part_name - what a file's name says of a model in parts
 * @prefix: bytes of the path before "-00001-of-"
 */
struct part_name {
	size_t prefix;
	uint32_t number;
	uint32_t count;
};

static bool parse_part(const char *path, struct part_name *ret)
{
	const size_t ending = strlen(PART_ENDING);
	const size_t length = strlen(path);
	struct part_name name;
	const char *at;

	if (length <= ending)
		return false;
	at = path + length - ending;
	if (at[0] != '-' || memcmp(at + 6, "-of-", 4) != 0 || strcmp(at + 15, SUFFIX) != 0)
		return false;
	name.prefix = length - ending;
	name.number = five_digits(at + 1);
	name.count = five_digits(at + 10);
	if (name.number < 1 || name.number > name.count)
		return false;
	*ret = name;
	return true;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* @kind: "model" or "adapter", for the message. */
static int open_kind(const char *kind, const char *path, int *ret_fd, struct dn_error *err)
{
	/* Not to wait for the writer of a FIFO. */
	DN_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 && errno == EACCES)
		return dn_error_set(err, EACCES, "%s '%s': user %u may not read it", kind, path,
				    (unsigned int)geteuid());
	if (fd < 0)
		return dn_error_errno(err, errno, "open %s '%s'", kind, path);
	if (fstat(fd, &st) < 0)
		return dn_error_errno(err, errno, "look at %s '%s'", kind, path);
	if (S_ISDIR(st.st_mode))
		return dn_error_set(err, EISDIR, "%s '%s' is a directory", kind, path);
	if (!S_ISREG(st.st_mode))
		return dn_error_set(err, EINVAL, "%s '%s' is not a regular file", kind, path);
	*ret_fd = dn_steal_fd(&fd);
	return 0;
}

static int open_path(const char *path, int *ret_fd, struct dn_error *err)
{
	return open_kind("model", path, ret_fd, err);
}

int dn_cli_open_adapter(const char *argument, int *ret_fd, float *ret_scale, struct dn_error *err)
{
	const char *colon = strrchr(argument, ':');
	char path[PATH_MAX];
	double scale = 1.0;
	char *end = NULL;
	int n;

	if (colon && colon[1] != '\0' && !strchr(" \t\n", colon[1]))
		scale = strtod(colon + 1, &end);
	if (!end || *end != '\0') {
		scale = 1.0;
		colon = argument + strlen(argument);
	}
	if (!(scale >= -(double)DN_FILE_SCALE_MAX && scale <= (double)DN_FILE_SCALE_MAX))
		return dn_error_set(err, ERANGE, "adapter '%.160s': a scale is from %g to %g",
				    argument, -(double)DN_FILE_SCALE_MAX,
				    (double)DN_FILE_SCALE_MAX);
	n = snprintf(path, sizeof(path), "%.*s", (int)DN_MIN(colon - argument, PATH_MAX), argument);
	if (n < 0 || (size_t)n >= sizeof(path))
		return dn_error_set(err, ENAMETOOLONG, "the adapter's path is too long");
	*ret_scale = (float)scale;
	return open_kind("adapter", path, ret_fd, err);
}

static int open_other_parts(const char *first, const struct part_name *name,
			    struct dn_cli_model *model, struct dn_error *err)
{
	char path[PATH_MAX];

	for (uint32_t i = 2; i <= name->count; i++) {
		int n = snprintf(path, sizeof(path), "%.*s-%05u-of-%05u" SUFFIX, (int)name->prefix,
				 first, i, name->count);
		int r;

		if (n < 0 || (size_t)n >= sizeof(path))
			return dn_error_set(err, ENAMETOOLONG, "the model's path is too long");
		r = open_path(path, &model->fds[model->n_fds], err);
		if (r == -ENOENT)
			return dn_error_set(err, ENOENT,
					    "model '%.160s' is in %u files, and '%.160s' is not "
					    "beside it: fetch all of them into one folder",
					    base_name(first), name->count, base_name(path));
		if (r < 0)
			return r;
		model->n_fds++;
	}
	return 0;
}

/* @fd: of the file at @path, which may be a part; taken over. */
static int add_parts(const char *path, int fd, struct dn_cli_model *ret_model, struct dn_error *err)
{
	DN_AUTO_MODEL_FILES struct dn_cli_model model = { .fds = { fd }, .n_fds = 1 };
	const char *base = base_name(path);
	struct part_name name;

	if (dn_cli_ends_in(path, DN_PREPARED_SUFFIX)) {
		int r = dn_cli_unseal(&model, err);

		if (r < 0)
			return dn_error_prefix(err, r, "model '%.160s'", path);
	}
	if (parse_part(path, &name)) {
		int stem = (int)DN_MIN(name.prefix - (size_t)(base - path), (size_t)128);
		int r;

		if (name.number > 1)
			return dn_error_set(err, EINVAL,
					    "'%.160s' is part %u of a model: give the first, "
					    "'%.*s-00001-of-%05u" SUFFIX "'",
					    base, name.number, stem, base, name.count);
		if (name.count > DN_FILE_PARTS_MAX)
			return dn_error_set(err, ENOTSUP,
					    "model '%.160s' is in %u files; at most %d", base,
					    name.count, DN_FILE_PARTS_MAX);
		r = open_other_parts(path, &name, &model, err);
		if (r < 0)
			return r;
	}
	*ret_model = model;
	model.n_fds = 0;
	model.seal.tags = NULL;
	return 0;
}

static int open_file(const char *path, struct dn_cli_model *ret_model, struct dn_error *err)
{
	int fd = -1;
	int r = open_path(path, &fd, err);

	return r < 0 ? r : add_parts(path, fd, ret_model, err);
}

void dn_cli_close_model(struct dn_cli_model *model)
{
	for (uint32_t i = 0; i < model->n_fds; i++)
		close(model->fds[i]);
	model->n_fds = 0;
	dn_seal_done(&model->seal);
}

/* Bytes of a file's name before the ending of a model; 0: it is none. */
static int stem_of(const char *name)
{
	if (name[0] == '.')
		return 0;
	if (dn_cli_ends_in(name, SUFFIX))
		return (int)(strlen(name) - strlen(SUFFIX));
	if (dn_cli_ends_in(name, DN_PREPARED_SUFFIX))
		return (int)(strlen(name) - strlen(DN_PREPARED_SUFFIX));
	return 0;
}

static void list_names(const char *directory, struct dn_buffer *names, unsigned int *n)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	if (!dir)
		return;
	while (*n < NAMES_SHOWN_MAX && (entry = readdir(dir))) {
		int length = stem_of(entry->d_name);

		if (length == 0)
			continue;
		/* A list that was cut short is still a list. */
		if (dn_buffer_printf(names, "%s%.*s", *n > 0 ? ", " : "", length, entry->d_name) <
		    0)
			break;
		(*n)++;
	}
	closedir(dir);
}

/* NAME with an ending of models, in a folder; -ENOENT where there is none. */
static int find_in(const char *directory, const char *name, char *path, size_t size, int *ret_fd,
		   struct dn_error *err)
{
	static const char *const endings[] = { SUFFIX, DN_PREPARED_SUFFIX };
	int r = -ENOENT;

	for (size_t i = 0; r == -ENOENT && i < DN_ARRAY_SIZE(endings); i++) {
		(void)snprintf(path, size, "%s/%.512s%s", directory, name, endings[i]);
		r = open_path(path, ret_fd, err);
	}
	return r;
}

static int open_name(const char *name, struct dn_cli_model *ret_model, struct dn_error *err)
{
	static const char *const kinds[] = { "DATA", "CACHE" };
	DN_AUTO_BUFFER struct dn_buffer names = DN_BUFFER_INIT(256);
	char directory[3072];
	char path[4096];
	unsigned int n = 0;
	int fd = -1;

	if (name[0] == '\0' || name[0] == '.')
		return dn_error_set(err, EINVAL, "'%s' is no model's name", name);
	for (size_t i = 0; i < DN_ARRAY_SIZE(kinds); i++) {
		struct dn_error ignored = DN_ERROR_INIT;
		int r;

		if (dn_cli_xdg(kinds[i], directory, sizeof(directory) - sizeof("/models"),
			       &ignored) < 0)
			continue;
		memcpy(directory + strlen(directory), "/models", sizeof("/models"));
		r = find_in(directory, name, path, sizeof(path), &fd, err);
		if (r == 0)
			return add_parts(path, fd, ret_model, err);
		if (r != -ENOENT)
			return r;
		list_names(directory, &names, &n);
	}
	if (n == 0)
		return dn_error_set(
			err, ENOENT,
			"no model named '%.80s': there is none in %.200s; a path has a '/' "
			"or ends in .gguf or .dunlin",
			name, directory);
	return dn_error_set(err, ENOENT, "no model named '%.80s'; there are: %s", name, names.data);
}

int dn_cli_open_model(const char *model, struct dn_cli_model *ret_model, struct dn_error *err)
{
	if (strchr(model, '/') || dn_cli_ends_in(model, SUFFIX) ||
	    dn_cli_ends_in(model, DN_PREPARED_SUFFIX))
		return open_file(model, ret_model, err);
	return open_name(model, ret_model, err);
}

/* Models, of those in parts the first one. */
static int is_model(const struct dirent *entry)
{
	struct part_name part;

	return stem_of(entry->d_name) > 0 &&
	       (!parse_part(entry->d_name, &part) || part.number == 1);
}

/* Whether the file that a prepared form was made from lies beside it. */
static bool has_source(const char *directory, const char *name)
{
	char path[PATH_MAX];
	const int n =
		snprintf(path, sizeof(path), "%s/%.*s" SUFFIX, directory, stem_of(name), name);

	return dn_cli_ends_in(name, DN_PREPARED_SUFFIX) && n > 0 && (size_t)n < sizeof(path) &&
	       access(path, F_OK) == 0;
}

static int no_models(const char *directory, struct dn_error *err)
{
	return dn_error_set(err, ENOENT,
			    "no model in '%.160s': put one there that ends in .gguf; into a "
			    "container by a volume, such as -v ./models:%.160s:ro",
			    directory, directory);
}

int dn_cli_each_model(const char *directory,
		      int (*each)(void *context, const char *path, struct dn_error *err),
		      void *context, struct dn_error *err)
{
	struct dirent **entries = NULL;
	const int n = scandir(directory, &entries, is_model, alphasort);
	int r = 0;

	if (n < 0)
		return dn_error_errno(err, errno, "look for models in '%.160s'", directory);
	if (n == 0)
		r = no_models(directory, err);
	for (int i = 0; i < n; i++) {
		char path[PATH_MAX];
		const int length =
			snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);

		if (r >= 0 && (length < 0 || (size_t)length >= sizeof(path)))
			r = dn_error_set(err, ENAMETOOLONG, "the model's path is too long");
		else if (r >= 0 && !has_source(directory, entries[i]->d_name))
			r = each(context, path, err);
		free(entries[i]);
	}
	free(entries);
	return r < 0 ? r : 0;
}
