/* SPDX-License-Identifier: MIT */
/*
 * Reading /proc and /sys, or a tree that looks like them: every function of this room takes a
 * root, "" for the machine itself, so that tests can show it other machines.
 */
#ifndef DUNLIN_DEVICE_SOURCE_H
#define DUNLIN_DEVICE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"
#include "base/buffer.h"

/* 4,096 CPUs at 1 KiB a block. */
#define DN_SOURCE_MAX (4U << 20)

/**
 * dn_source_read() - the whole of a small file, NUL-terminated
 * @root: put before @path
 * @path: begins with "/"
 * @buffer: emptied first; its max bounds what is read
 *
 * Return: 0, -ENOENT and other negative errnos.
 */
DN_MUST_CHECK int dn_source_read(const char *root, const char *path, struct dn_buffer *buffer);

/* Its first line, cut to @size; "" and a negative errno without one. */
int dn_source_line(const char *root, const char *path, char *line, size_t size);

/* One decimal number, in the first line, perhaps with K, M or G behind it (bytes then). */
DN_MUST_CHECK int dn_source_number(const char *root, const char *path, uint64_t *ret_value);

/* Reads the number at the head of @text; false without one, or where it does not fit. */
bool dn_source_parse(const char *text, uint64_t *ret_value, const char **ret_end);

/*
 * The value of "key: value" or "key value" in @text, cut to @size; false without such a line.
 */
bool dn_source_field(const char *text, const char *key, char *value, size_t size);

/* As dn_source_field(), for a number ("MemTotal:  16384 kB" in bytes). */
bool dn_source_field_number(const char *text, const char *key, uint64_t *ret_value);

#endif /* DUNLIN_DEVICE_SOURCE_H */
