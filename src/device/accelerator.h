/* SPDX-License-Identifier: MIT */
/* Device nodes of accelerators that this process can see. */
#ifndef DUNLIN_DEVICE_ACCELERATOR_H
#define DUNLIN_DEVICE_ACCELERATOR_H

#include <stdint.h>

#define DN_ACCELERATORS_MAX 16

/* @device: such as /dev/accel/accel0; @name: the driver's, "unknown" where sysfs does not tell. */
struct dn_accelerator {
	char device[32];
	char name[32];
};

/**
 * dn_accelerators_find() - what is at /dev/accel/accelN, /dev/accelN and /dev/dri/renderDN
 * @root: put before /sys and /dev; "" for this machine
 *
 * Return: how many of the DN_ACCELERATORS_MAX that @ret has room for were found.
 */
uint32_t dn_accelerators_find(const char *root, struct dn_accelerator *ret);

#endif /* DUNLIN_DEVICE_ACCELERATOR_H */
