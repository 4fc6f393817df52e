/* SPDX-License-Identifier: MIT */
/* Any text as a file of options: what is set is in its range, and what is not says where and why. */

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cli/config.h"
#include "fuzz.h"

struct values {
	bool flag;
	uint32_t number;
	struct dn_optional optional;
	float real;
	uint64_t size;
	const char *text;
	uint32_t choice;
	struct dn_option_list list;
	struct dn_option_biases biases;
};

#define OPTION(field, what, lowest, highest, word)                                                 \
	{ .name = #field,                                                                          \
	  .kind = (what),                                                                          \
	  .offset = offsetof(struct values, field),                                                \
	  .min = (lowest),                                                                         \
	  .max = (highest),                                                                        \
	  .argument = (word) }

static const struct dn_option options[] = {
	OPTION(flag, DN_OPTION_FLAG, 0, 0, NULL),
	OPTION(number, DN_OPTION_U32, 1, 99, "N"),
	OPTION(optional, DN_OPTION_OPTIONAL, 0, 0x1p64, "N"),
	OPTION(real, DN_OPTION_FLOAT, -2, 2, "X"),
	OPTION(size, DN_OPTION_SIZE, 0, 0, "SIZE"),
	OPTION(text, DN_OPTION_TEXT, 0, 0, "TEXT"),
	OPTION(choice, DN_OPTION_CHOICE, 0, 0, "a|bc|def"),
	OPTION(list, DN_OPTION_LIST, 0, 3, "ITEM"),
	OPTION(biases, DN_OPTION_BIAS, 0, 3, "ID=BIAS"),
};

static const struct dn_verb verb = {
	.name = "test",
	.arguments = "",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.values_size = sizeof(struct values),
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct values values = { .number = 1 };
	struct dn_invocation invocation = { .verb = &verb, .values = &values };
	struct dn_error err = DN_ERROR_INIT;
	char *text = malloc(size + 1);
	int r;

	MUST(text);
	memcpy(text, data, size);
	text[size] = '\0';
	r = dn_config_parse(text, size, "file", &invocation, &err);
	MUST(r == 0 || (r == -EINVAL && strncmp(err.message, "file:", 5) == 0));
	MUST(values.number >= 1 && values.number <= 99);
	MUST(values.real >= -2 && values.real <= 2);
	MUST(values.choice < 3 && values.list.count <= 3 && values.biases.count <= 3);
	for (uint32_t i = 0; i < values.list.count; i++)
		MUST(values.list.items[i] >= text && values.list.items[i] <= text + size &&
		     values.list.items[i][0]);
	MUST(!values.text || values.text[0]);
	free(text);
	return 0;
}
