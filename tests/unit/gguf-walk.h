/* SPDX-License-Identifier: MIT */
/* Uses all of an opened GGUF file, so that a sanitizer sees what opening failed to check. */
#ifndef TESTS_UNIT_GGUF_WALK_H
#define TESTS_UNIT_GGUF_WALK_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dunlin/error.h>

#include "engine/gguf/gguf.h"
/* IWYU pragma: end_exports */

#define GGUF_WALK_CHECK(condition)                                                                 \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			(void)fprintf(stderr, "gguf-walk: %s does not hold\n", #condition);        \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static inline uint64_t gguf_walk_bytes(const void *data, size_t size)
{
	const uint8_t *bytes = data;
	uint64_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += bytes[i];
	return sum;
}

static inline uint64_t gguf_walk_entry(const struct dn_gguf *gguf,
				       const struct dn_gguf_entry *entry)
{
	char *key = strndup(entry->key.data, entry->key.size);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_gguf_array array;
	struct dn_text text = { NULL, 0 };
	const uint8_t *cursor;
	uint64_t sum = 0;
	uint32_t u32 = 0;
	double f64 = 0;
	bool flag = false;

	GGUF_WALK_CHECK(key != NULL);
	GGUF_WALK_CHECK(dn_gguf_get_u32(gguf, key, &u32, &err) != 0);
	GGUF_WALK_CHECK(dn_gguf_get_f64(gguf, key, &f64, &err) != 0);
	GGUF_WALK_CHECK(dn_gguf_get_bool(gguf, key, &flag, &err) != 0);
	if (dn_gguf_get_text(gguf, key, &text, &err) == 1)
		sum += gguf_walk_bytes(text.data, text.size);
	for (unsigned int type = 0; type <= DN_GGUF_F64; type++) {
		if (dn_gguf_get_array(gguf, key, (enum dn_gguf_type)type, &array, &err) != 1)
			continue;
		sum += gguf_walk_bytes(array.data, array.size);
		cursor = array.data;
		for (uint64_t i = 0; type == DN_GGUF_STRING && i < array.count; i++) {
			text = dn_gguf_next_text(&cursor);
			sum += gguf_walk_bytes(text.data, text.size);
		}
		GGUF_WALK_CHECK(type != DN_GGUF_STRING || cursor == array.data + array.size);
	}
	free(key);
	return sum + u32 + flag;
}

static inline uint64_t gguf_walk(const struct dn_gguf *gguf)
{
	struct dn_error err = DN_ERROR_INIT;
	uint64_t sum = dn_gguf_version(gguf);

	for (size_t i = 0; i < dn_gguf_n_entries(gguf); i++)
		sum += gguf_walk_entry(gguf, dn_gguf_entry(gguf, i));
	GGUF_WALK_CHECK(dn_gguf_entry(gguf, dn_gguf_n_entries(gguf)) == NULL);
	for (size_t i = 0; i < dn_gguf_n_tensors(gguf); i++) {
		const struct dn_gguf_tensor *tensor = dn_gguf_tensor(gguf, i);
		char *name = strndup(tensor->name.data, tensor->name.size);
		uint8_t byte;

		GGUF_WALK_CHECK(name && dn_gguf_find_tensor(gguf, name) == tensor);
		GGUF_WALK_CHECK(tensor->size > 0);
		GGUF_WALK_CHECK(dn_gguf_read(gguf, tensor->file, &byte, 1, tensor->offset, &err) ==
				0);
		sum += byte;
		GGUF_WALK_CHECK(dn_gguf_read(gguf, tensor->file, &byte, 1,
					     tensor->offset + tensor->size - 1, &err) == 0);
		sum += byte;
		free(name);
	}
	return sum;
}

#endif /* TESTS_UNIT_GGUF_WALK_H */
