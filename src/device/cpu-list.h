/* SPDX-License-Identifier: MIT */
/* Sets of CPUs as the kernel prints them: "0-3,8". */
#ifndef DUNLIN_DEVICE_CPU_LIST_H
#define DUNLIN_DEVICE_CPU_LIST_H

#include "base/base.h"

#define DN_CPU_LIST_MAX 4096

struct dn_cpu_list {
	uint8_t bits[DN_CPU_LIST_MAX / 8];
};

/* False when @text is no such list, or names a CPU past the maximum. */
bool dn_cpu_list_parse(const char *text, struct dn_cpu_list *ret_list);
void dn_cpu_list_add(struct dn_cpu_list *list, uint32_t cpu);
bool dn_cpu_list_has(const struct dn_cpu_list *list, uint32_t cpu);
/* Leaves in @list what @other has too. */
void dn_cpu_list_intersect(struct dn_cpu_list *list, const struct dn_cpu_list *other);
uint32_t dn_cpu_list_count(const struct dn_cpu_list *list);
/* The lowest number in it; DN_CPU_LIST_MAX when it is empty. */
uint32_t dn_cpu_list_first(const struct dn_cpu_list *list);

#endif /* DUNLIN_DEVICE_CPU_LIST_H */
