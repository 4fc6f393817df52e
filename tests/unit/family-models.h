/* SPDX-License-Identifier: MIT */
/* The files of $DUNLIN_FAMILIES, a model of each family. */
#ifndef DUNLIN_FAMILY_MODELS_H
#define DUNLIN_FAMILY_MODELS_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAMILIES_MAX 32

static char *families[FAMILIES_MAX];
static size_t n_families;

static inline int is_model(const struct dirent *entry)
{
	const size_t size = strlen(entry->d_name);

	return size > 5 && strcmp(entry->d_name + size - 5, ".gguf") == 0;
}

/* Their names, in order. Return: how many; 0, and a word why, where there are none. */
static inline size_t list_families(void)
{
	struct dirent **entries = NULL;
	int n = -1;

	if (getenv("DUNLIN_FAMILIES"))
		n = scandir(getenv("DUNLIN_FAMILIES"), &entries, is_model, alphasort);
	for (int i = 0; i < n; i++) {
		if (n_families < FAMILIES_MAX)
			families[n_families++] = strdup(entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	if (n_families == 0)
		(void)puts("skipped: DUNLIN_FAMILIES names no folder with models");
	return n_families;
}

static inline void free_families(void)
{
	for (size_t i = 0; i < n_families; i++)
		free(families[i]);
}

#endif /* DUNLIN_FAMILY_MODELS_H */
