/* SPDX-License-Identifier: MIT */
/*
 * main() for a fuzzer without libFuzzer: runs it once on each file given, and on each file of each
 * folder given, in the order of their names. So every build, with any compiler, repeats the seeds
 * and the inputs that once broke something.
 */

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

#define REPLAY_MAX_BYTES ((size_t)64 << 20)

static int replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat st;
	uint8_t *data;
	size_t size;

	if (!file || fstat(fileno(file), &st) < 0 || st.st_size < 0 ||
	    (uintmax_t)st.st_size > REPLAY_MAX_BYTES) {
		fprintf(stderr, "replay: cannot read '%s': %s\n", path, strerror(errno));
		if (file)
			fclose(file);
		return -1;
	}

	/* Exactly as large as the input: the sanitizer sees a read past its end. */
	size = (size_t)st.st_size;
	data = malloc(size ? size : 1);
	if (!data || fread(data, 1, size, file) != size) {
		fprintf(stderr, "replay: cannot read all of '%s'\n", path);
		free(data);
		fclose(file);
		return -1;
	}
	fclose(file);

	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 1;
}

static int not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* Return: how many files ran, or -1. */
static int replay(const char *path)
{
	struct dirent **entries;
	struct stat st;
	int ran = 0;
	int n;

	if (stat(path, &st) < 0) {
		fprintf(stderr, "replay: no '%s': %s\n", path, strerror(errno));
		return -1;
	}
	if (!S_ISDIR(st.st_mode))
		return replay_file(path);

	n = scandir(path, &entries, not_hidden, alphasort);
	if (n < 0) {
		fprintf(stderr, "replay: cannot list '%s': %s\n", path, strerror(errno));
		return -1;
	}
	for (int i = 0; i < n; i++) {
		char name[4096];
		int len = snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);

		if (ran >= 0 && len > 0 && (size_t)len < sizeof(name))
			ran = replay_file(name) < 0 ? -1 : ran + 1;
		free(entries[i]);
	}
	free(entries);
	return ran;
}

int main(int argc, char **argv)
{
	int total = 0;

	for (int i = 1; i < argc; i++) {
		int ran = replay(argv[i]);

		if (ran < 0)
			return 1;
		total += ran;
	}
	/* An empty corpus would pass whatever the code does. */
	if (total == 0) {
		fprintf(stderr, "usage: %s FILE|FOLDER...: no input found\n", argv[0]);
		return 1;
	}
	printf("%d inputs\n", total);
	return 0;
}
