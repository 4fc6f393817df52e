/* SPDX-License-Identifier: MIT */
/* From a MODEL argument to an open file. */

#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAMES_SHOWN_MAX 16
#define SUFFIX		".gguf"

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

static bool ends_in_gguf(const char *name)
{
	size_t length = strlen(name);

	return length > strlen(SUFFIX) && strcmp(name + length - strlen(SUFFIX), SUFFIX) == 0;
}

static int open_path(const char *path, int *ret_fd, struct dn_error *err)
{
	/* Not to wait for the writer of a FIFO. */
	DN_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return dn_error_errno(err, errno, "open model '%s'", path);
	if (fstat(fd, &st) < 0)
		return dn_error_errno(err, errno, "look at model '%s'", path);
	if (S_ISDIR(st.st_mode))
		return dn_error_set(err, EISDIR, "model '%s' is a directory", path);
	if (!S_ISREG(st.st_mode))
		return dn_error_set(err, EINVAL, "model '%s' is not a regular file", path);
	*ret_fd = dn_steal_fd(&fd);
	return 0;
}

static void list_names(const char *directory, struct dn_buffer *names, unsigned int *n)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	if (!dir)
		return;
	while (*n < NAMES_SHOWN_MAX && (entry = readdir(dir))) {
		int length = (int)strlen(entry->d_name) - (int)strlen(SUFFIX);

		if (entry->d_name[0] == '.' || !ends_in_gguf(entry->d_name))
			continue;
		/* A list that was cut short is still a list. */
		if (dn_buffer_printf(names, "%s%.*s", *n > 0 ? ", " : "", length, entry->d_name) <
		    0)
			break;
		(*n)++;
	}
	closedir(dir);
}

static int open_name(const char *name, int *ret_fd, struct dn_error *err)
{
	static const char *const kinds[] = { "DATA", "CACHE" };
	DN_AUTO_BUFFER struct dn_buffer names = DN_BUFFER_INIT(256);
	char directory[3072];
	char path[4096];
	unsigned int n = 0;

	if (name[0] == '\0' || name[0] == '.')
		return dn_error_set(err, EINVAL, "'%s' is no model's name", name);
	for (size_t i = 0; i < DN_ARRAY_SIZE(kinds); i++) {
		struct dn_error ignored = DN_ERROR_INIT;
		int r;

		if (dn_cli_xdg(kinds[i], directory, sizeof(directory) - sizeof("/models"),
			       &ignored) < 0)
			continue;
		memcpy(directory + strlen(directory), "/models", sizeof("/models"));
		(void)snprintf(path, sizeof(path), "%s/%.512s" SUFFIX, directory, name);
		r = open_path(path, ret_fd, err);
		if (r != -ENOENT)
			return r;
		list_names(directory, &names, &n);
	}
	if (n == 0)
		return dn_error_set(
			err, ENOENT,
			"no model named '%.80s': there is none in %.200s; a path has a '/' "
			"or ends in .gguf",
			name, directory);
	return dn_error_set(err, ENOENT, "no model named '%.80s'; there are: %s", name, names.data);
}

int dn_cli_open_model(const char *model, int *ret_fd, struct dn_error *err)
{
	if (strchr(model, '/') || ends_in_gguf(model))
		return open_path(model, ret_fd, err);
	return open_name(model, ret_fd, err);
}
