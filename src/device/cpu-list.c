/* SPDX-License-Identifier: MIT */
/* Sets of CPUs. */

#include "device/cpu-list.h"

#include <string.h>

#include "device/source.h"

void dn_cpu_list_add(struct dn_cpu_list *list, uint32_t cpu)
{
	if (cpu < DN_CPU_LIST_MAX)
		list->bits[cpu / 8] = (uint8_t)(list->bits[cpu / 8] | 1U << cpu % 8);
}

bool dn_cpu_list_has(const struct dn_cpu_list *list, uint32_t cpu)
{
	return cpu < DN_CPU_LIST_MAX && (list->bits[cpu / 8] >> cpu % 8 & 1);
}

void dn_cpu_list_intersect(struct dn_cpu_list *list, const struct dn_cpu_list *other)
{
	for (size_t i = 0; i < sizeof(list->bits); i++)
		list->bits[i] &= other->bits[i];
}

uint32_t dn_cpu_list_count(const struct dn_cpu_list *list)
{
	uint32_t count = 0;

	for (size_t i = 0; i < sizeof(list->bits); i++)
		count += (uint32_t)__builtin_popcount(list->bits[i]);
	return count;
}

uint32_t dn_cpu_list_first(const struct dn_cpu_list *list)
{
	for (uint32_t i = 0; i < DN_CPU_LIST_MAX; i++) {
		if (dn_cpu_list_has(list, i))
			return i;
	}
	return DN_CPU_LIST_MAX;
}

bool dn_cpu_list_parse(const char *text, struct dn_cpu_list *ret_list)
{
	struct dn_cpu_list list = { { 0 } };
	const char *at = text;
	uint64_t first, last;

	for (;;) {
		if (!dn_source_parse(at, &first, &at))
			return false;
		last = first;
		if (*at == '-' && !dn_source_parse(at + 1, &last, &at))
			return false;
		if (last < first || last >= DN_CPU_LIST_MAX)
			return false;
		for (uint64_t cpu = first; cpu <= last; cpu++)
			dn_cpu_list_add(&list, (uint32_t)cpu);
		if (*at != ',')
			break;
		at++;
	}
	if (*at && *at != '\n')
		return false;
	*ret_list = list;
	return true;
}
