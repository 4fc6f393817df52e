/* SPDX-License-Identifier: MIT */
/* Documentation/admin-guide/cgroup-v2.rst, and cgroup-v1/memory.rst and pids.rst beside it. */

#include "device/cgroup-limits.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "device/cgroup.h"
#include "device/source.h"

#define LEAF "dunlin-supervisor"

static const char *const controller_names[DN_CGROUP_CONTROLLERS] = {
	[DN_CGROUP_MEMORY] = "memory",
	[DN_CGROUP_PIDS] = "pids",
};

static int join(char *out, const char *directory, const char *name)
{
	int n = snprintf(out, DN_CGROUP_PATH_MAX, "%s/%s", directory, name);

	return n < 0 || n >= DN_CGROUP_PATH_MAX ? -ENAMETOOLONG : 0;
}

/* The kernel takes a value in one write, and answers it there. */
static int put(const char *directory, const char *file, const char *value)
{
	char path[DN_CGROUP_PATH_MAX];
	DN_AUTO_FD int fd = -1;
	int r = join(path, directory, file);

	if (r < 0)
		return r;
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

static int put_number(const char *directory, const char *file, uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	return put(directory, file, text);
}

static void absent(struct dn_cgroup_limits *limits, enum dn_cgroup_controller controller,
		   const char *format, ...) DN_PRINTF(3, 4);

static void absent(struct dn_cgroup_limits *limits, enum dn_cgroup_controller controller,
		   const char *format, ...)
{
	va_list args;

	limits->controllers[controller].base[0] = '\0';
	va_start(args, format);
	(void)vsnprintf(limits->controllers[controller].reason, DN_CGROUP_REASON_MAX, format, args);
	va_end(args);
}

/* The first directory that is shown and is there: the own group. */
struct search {
	int version;
	bool top; /* nothing above it can be seen */
	char directory[DN_CGROUP_PATH_MAX];
};

static void take_first(void *data, const char *root, const char *directory, int version)
{
	struct search *search = data;
	char path[DN_CGROUP_PATH_MAX];
	int n;

	if (search->directory[0] || version != search->version)
		return;
	n = snprintf(search->directory, DN_CGROUP_PATH_MAX, "%s%s", root, directory);
	if (n < 0 || n >= DN_CGROUP_PATH_MAX || join(path, search->directory, "cgroup.procs") < 0 ||
	    access(path, F_OK) < 0) {
		search->directory[0] = '\0';
		return;
	}
	search->top = strcmp(directory, "/sys/fs/cgroup") == 0 ||
		      strcmp(directory, "/sys/fs/cgroup/unified") == 0;
}

static bool find(const char *root, const char *controller, int version, struct search *ret_search)
{
	*ret_search = (struct search){ .version = version };
	dn_cgroup_visit(root, controller, take_first, ret_search);
	return ret_search->directory[0] != '\0';
}

/* Root may write to every group; those of systemd's own are systemd's all the same. */
static bool is_delegated(const struct search *group)
{
	if (group->top || geteuid() != 0)
		return true;
	return getxattr(group->directory, "trusted.delegate", NULL, 0) > 0 ||
	       getxattr(group->directory, "user.delegate", NULL, 0) > 0;
}

static bool has_controller(const char *directory, const char *file, const char *controller)
{
	char path[DN_CGROUP_PATH_MAX];
	char line[256];
	char *rest = NULL;

	if (join(path, directory, file) < 0 || dn_source_line("", path, line, sizeof(line)) < 0)
		return false;
	for (char *word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (strcmp(word, controller) == 0)
			return true;
	}
	return false;
}

static int make(const char *directory)
{
	return mkdir(directory, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* A group with limits for those below it must have no process itself: into a leaf with us. */
static int move_to_leaf(struct dn_cgroup_limits *limits, const char *base)
{
	int r = join(limits->leaf, base, LEAF);

	if (r == 0)
		r = make(limits->leaf);
	/* 0 is the process that writes. */
	if (r == 0)
		r = put(limits->leaf, "cgroup.procs", "0");
	if (r < 0) {
		(void)rmdir(limits->leaf);
		limits->leaf[0] = '\0';
	}
	return r;
}

static void enable(struct dn_cgroup_limits *limits, enum dn_cgroup_controller controller,
		   const char *base)
{
	const char *name = controller_names[controller];
	char word[16];
	int r = 0;

	if (!has_controller(base, "cgroup.controllers", name)) {
		absent(limits, controller, "no controller '%s' in %s", name, base);
		return;
	}
	if (!has_controller(base, "cgroup.subtree_control", name)) {
		(void)snprintf(word, sizeof(word), "+%s", name);
		r = put(base, "cgroup.subtree_control", word);
	}
	if (r < 0)
		absent(limits, controller, "cgroup.subtree_control: %s: %s",
		       r == -EBUSY ? "other processes are in the group" : strerror(-r), base);
	else
		(void)snprintf(limits->controllers[controller].base, DN_CGROUP_PATH_MAX, "%s",
			       base);
}

static bool open_version_2(const char *root, struct dn_cgroup_limits *limits)
{
	struct search group;
	int r;

	/* Where memory is not here, it may be in a hierarchy of version 1 beside it. */
	if (!find(root, "", 2, &group) ||
	    !has_controller(group.directory, "cgroup.controllers", "memory"))
		return false;
	limits->version = 2;
	r = is_delegated(&group) ? move_to_leaf(limits, group.directory) : -EPERM;
	for (unsigned int i = 0; i < DN_CGROUP_CONTROLLERS; i++) {
		enum dn_cgroup_controller controller = (enum dn_cgroup_controller)i;

		if (r == 0)
			enable(limits, controller, group.directory);
		else
			absent(limits, controller, "not delegated (systemd: Delegate=yes): %s: %s",
			       strerror(-r), group.directory);
	}
	return true;
}

static bool open_version_1(const char *root, struct dn_cgroup_limits *limits)
{
	bool some = false;

	for (unsigned int i = 0; i < DN_CGROUP_CONTROLLERS; i++) {
		enum dn_cgroup_controller controller = (enum dn_cgroup_controller)i;
		struct search group;

		if (!find(root, controller_names[i], 1, &group)) {
			absent(limits, controller, "no hierarchy has the controller '%s'",
			       controller_names[i]);
			continue;
		}
		some = true;
		if (access(group.directory, W_OK) < 0)
			absent(limits, controller, "%s: %s", strerror(errno), group.directory);
		else
			(void)snprintf(limits->controllers[i].base, DN_CGROUP_PATH_MAX, "%s",
				       group.directory);
	}
	if (some)
		limits->version = 1;
	return some;
}

void dn_cgroup_limits_open(const char *root, struct dn_cgroup_limits *ret_limits)
{
	memset(ret_limits, 0, sizeof(*ret_limits));
	if (open_version_2(root, ret_limits) || open_version_1(root, ret_limits))
		return;
	for (unsigned int i = 0; i < DN_CGROUP_CONTROLLERS; i++)
		absent(ret_limits, (enum dn_cgroup_controller)i, "no control groups with '%s' here",
		       controller_names[i]);
}

void dn_cgroup_limits_done(struct dn_cgroup_limits *limits)
{
	char *slash = strrchr(limits->leaf, '/');
	char base[DN_CGROUP_PATH_MAX];

	if (limits->version != 2 || !slash)
		return;
	(void)snprintf(base, sizeof(base), "%.*s", (int)(slash - limits->leaf), limits->leaf);
	/* While it has controllers for groups below, no process may come in. */
	(void)put(base, "cgroup.subtree_control", "-memory");
	(void)put(base, "cgroup.subtree_control", "-pids");
	if (put(base, "cgroup.procs", "0") == 0)
		(void)rmdir(limits->leaf);
	memset(limits, 0, sizeof(*limits));
}

static int limit_memory(int version, const char *directory, uint64_t bytes)
{
	int r;

	if (version == 2) {
		r = put_number(directory, "memory.max", bytes);
		/* Absent where the kernel has no swap, and before 5.19 for the second. */
		(void)put(directory, "memory.swap.max", "0");
		(void)put(directory, "memory.oom.group", "1");
		return r;
	}
	r = put_number(directory, "memory.limit_in_bytes", bytes);
	/* Memory and swap together; where swap is not counted, as little of it as can be. */
	if (r == 0 && put_number(directory, "memory.memsw.limit_in_bytes", bytes) < 0)
		(void)put(directory, "memory.swappiness", "0");
	return r;
}

static int limit(const struct dn_cgroup_limits *limits, enum dn_cgroup_controller controller,
		 const char *name, uint64_t value, char *ret_directory)
{
	char directory[DN_CGROUP_PATH_MAX];
	int r;

	if (!limits->controllers[controller].base[0])
		return -ENOTSUP;
	r = join(directory, limits->controllers[controller].base, name);
	if (r == 0)
		r = make(directory);
	if (r < 0)
		return r;
	memcpy(ret_directory, directory, sizeof(directory));
	return controller == DN_CGROUP_MEMORY ? limit_memory(limits->version, directory, value)
					      : put_number(directory, "pids.max", value);
}

int dn_cgroup_group_new(const struct dn_cgroup_limits *limits, const char *name, uint64_t memory,
			uint32_t processes, struct dn_cgroup_group *ret_group, struct dn_error *err)
{
	const uint64_t values[DN_CGROUP_CONTROLLERS] = {
		[DN_CGROUP_MEMORY] = memory,
		[DN_CGROUP_PIDS] = processes,
	};
	int result = 0;

	memset(ret_group, 0, sizeof(*ret_group));
	if (!name[0] || name[0] == '.' || strchr(name, '/'))
		return dn_error_set(err, EINVAL, "'%s' is no name of a control group", name);
	for (unsigned int i = 0; i < DN_CGROUP_CONTROLLERS; i++) {
		const char *reason = limits->controllers[i].reason;
		int r;

		if (!values[i])
			continue;
		r = limit(limits, (enum dn_cgroup_controller)i, name, values[i],
			  ret_group->directory[i]);
		if (r == 0)
			ret_group->held |= 1U << i;
		else if (result == 0)
			result = dn_error_set(err, -r, "limit %s of the control group '%s': %s",
					      controller_names[i], name,
					      reason[0] ? reason : strerror(-r));
	}
	return result;
}

int dn_cgroup_group_add(const struct dn_cgroup_group *group, pid_t pid, struct dn_error *err)
{
	int result = 0;

	for (unsigned int i = 0; i < DN_CGROUP_CONTROLLERS; i++) {
		int r;

		/* In version 2 both are the same directory. */
		if (!group->directory[i][0] ||
		    (i > 0 && strcmp(group->directory[i], group->directory[i - 1]) == 0))
			continue;
		r = put_number(group->directory[i], "cgroup.procs", (uint64_t)pid);
		if (r < 0 && result == 0)
			result = dn_error_errno(err, -r, "move process %d into %s", (int)pid,
						group->directory[i]);
	}
	return result;
}

void dn_cgroup_group_done(struct dn_cgroup_group *group)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	for (unsigned int i = 0; i < DN_CGROUP_CONTROLLERS; i++) {
		/* A process that was waited for is still leaving its group for a moment. */
		for (int tries = 0; group->directory[i][0] && tries < 50; tries++) {
			if (rmdir(group->directory[i]) == 0 || errno != EBUSY)
				break;
			(void)nanosleep(&moment, NULL);
		}
	}
	memset(group, 0, sizeof(*group));
}
