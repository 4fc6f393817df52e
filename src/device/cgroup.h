/* SPDX-License-Identifier: MIT */
/* Control groups, version 1 and 2: what a container or a unit allows this process. */
#ifndef DUNLIN_DEVICE_CGROUP_H
#define DUNLIN_DEVICE_CGROUP_H

#include "device/source.h"

#define DN_CGROUP_PATH_MAX 1024

/* Called with one directory of a hierarchy ("/sys/fs/cgroup/a/b"), own group first. */
typedef void dn_cgroup_visitor(void *data, const char *root, const char *directory, int version);

/**
 * dn_cgroup_visit() - show every group that binds this process
 * @controller: "cpu", "memory"; of the version 1 hierarchies the one that has it
 *
 * Each limit of an ancestor counts too, so all directories up to the top are shown. Directories
 * that are not there (another mount namespace) are shown as well: reading them fails.
 */
void dn_cgroup_visit(const char *root, const char *controller, dn_cgroup_visitor *visitor,
		     void *data);

#endif /* DUNLIN_DEVICE_CGROUP_H */
