/* SPDX-License-Identifier: MIT */
/* cgroups(7): /proc/self/cgroup names the groups, /sys/fs/cgroup holds their files. */

#include "device/cgroup.h"
#include "base/buffer.h"
#include "device/source.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Whether @word is one of the comma-separated words at @list. */
static bool has_word(const char *list, size_t size, const char *word)
{
	size_t word_size = strlen(word);

	for (size_t at = 0; at < size;) {
		size_t end = at;

		while (end < size && list[end] != ',')
			end++;
		if (end - at == word_size && memcmp(list + at, word, word_size) == 0)
			return true;
		at = end + 1;
	}
	return false;
}

/* From @path ("/a/b") up to the top of the hierarchy mounted at @mount. */
static void visit_up(const char *root, const char *mount, const char *path, int version,
		     dn_cgroup_visitor *visitor, void *data)
{
	char directory[DN_CGROUP_PATH_MAX];
	size_t mount_size = strlen(mount);
	int n;

	/* "/../.." is a group outside of our namespace: only the top can be seen. */
	if (strstr(path, "/..") || strcmp(path, "/") == 0)
		path = "";
	n = snprintf(directory, sizeof(directory), "%s%s", mount, path);
	if (n < 0 || (size_t)n >= sizeof(directory))
		return;
	for (;;) {
		char *slash;

		visitor(data, root, directory, version);
		slash = strrchr(directory, '/');
		if (!slash || (size_t)(slash - directory) < mount_size)
			return;
		*slash = '\0';
	}
}

static void visit_line(const char *root, const char *line, size_t size, const char *controller,
		       dn_cgroup_visitor *visitor, void *data)
{
	char copy[DN_CGROUP_PATH_MAX];
	char mount[128];
	const char *names;
	char *path;

	if (size >= sizeof(copy))
		return;
	memcpy(copy, line, size);
	copy[size] = '\0';
	names = strchr(copy, ':');
	path = names ? strchr(names + 1, ':') : NULL;
	if (!path)
		return;
	names++;
	*path++ = '\0';
	if (names[0] == '\0') {
		visit_up(root, "/sys/fs/cgroup", path, 2, visitor, data);
		visit_up(root, "/sys/fs/cgroup/unified", path, 2, visitor, data);
	} else if (has_word(names, strlen(names), controller)) {
		(void)snprintf(mount, sizeof(mount), "/sys/fs/cgroup/%s", controller);
		visit_up(root, mount, path, 1, visitor, data);
	}
}

void dn_cgroup_visit(const char *root, const char *controller, dn_cgroup_visitor *visitor,
		     void *data)
{
	DN_AUTO_BUFFER struct dn_buffer buffer = DN_BUFFER_INIT(65536);

	if (dn_source_read(root, "/proc/self/cgroup", &buffer) < 0)
		return;
	for (const char *line = buffer.data; *line;) {
		size_t size = strcspn(line, "\n");

		visit_line(root, line, size, controller, visitor, data);
		line += size;
		line += *line == '\n';
	}
}
