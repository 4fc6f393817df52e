/* SPDX-License-Identifier: MIT */
/* Only names are looked at: nothing is opened, since to open some devices powers them up. */

#include "device/accelerator.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/buffer.h"
#include "base/text.h"
#include "device/source.h"

/*
 * Where nodes are and who in sysfs knows their driver. Numbers may have gaps after a device went;
 * so many are the most that the kernel makes of each.
 */
static const struct place {
	const char *node;
	const char *class;
	unsigned int first;
	unsigned int count;
} places[] = {
	{ "/dev/accel/accel", "accel/accel", 0, 64 },
	/* As containers are given them by hand, and drivers made them before Linux 6.2. */
	{ "/dev/accel", "accel/accel", 0, 64 },
	{ "/dev/dri/renderD", "drm/renderD", 128, 64 },
};

static void read_driver(const char *root, const char *class, unsigned int number, char *ret,
			size_t size)
{
	DN_AUTO_BUFFER struct dn_buffer buffer = DN_BUFFER_INIT(4096);
	char path[128];
	char name[32];

	(void)snprintf(ret, size, "unknown");
	(void)snprintf(path, sizeof(path), "/sys/class/%s%u/device/uevent", class, number);
	if (dn_source_read(root, path, &buffer) < 0)
		return;
	for (char *at = buffer.data; *at; at++)
		*at = (char)(*at == '=' ? ':' : *at);
	if (dn_source_field(buffer.data, "DRIVER", name, sizeof(name)))
		(void)dn_text_printable(name, strlen(name), ret, size);
}

uint32_t dn_accelerators_find(const char *root, struct dn_accelerator *ret)
{
	uint32_t found = 0;

	for (size_t i = 0; i < DN_ARRAY_SIZE(places); i++) {
		const struct place *place = &places[i];

		for (unsigned int n = 0; n < place->count && found < DN_ACCELERATORS_MAX; n++) {
			struct dn_accelerator *one = &ret[found];
			const unsigned int number = place->first + n;
			char path[256];

			(void)snprintf(path, sizeof(path), "%s%s%u", root, place->node, number);
			if (access(path, F_OK) < 0)
				continue;
			found++;
			(void)snprintf(one->device, sizeof(one->device), "%s%u", place->node,
				       number);
			read_driver(root, place->class, number, one->name, sizeof(one->name));
		}
	}
	return found;
}
