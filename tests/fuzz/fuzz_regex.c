/* SPDX-License-Identifier: MIT */
/* Patterns of schemas from anybody, in a schema, with bounds of length from the first two bytes. */

#include <jansson.h>

#include "grammar-walks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *schema;
	char *text;

	if (size < 2)
		return 0;
	schema = json_pack("{s:s, s:o*}", "type", "string", "pattern",
			   json_stringn((const char *)data + 2, size - 2));
	if (!schema)
		return 0;
	if (data[0] & 1)
		(void)json_object_set_new(schema, "minLength", json_integer(data[0] / 8));
	if (data[1] & 1)
		(void)json_object_set_new(schema, "maxLength", json_integer(data[1]));
	text = json_dumps(schema, JSON_COMPACT);
	json_decref(schema);
	if (text)
		walk_grammar(DN_GRAMMAR_SCHEMA, text, strlen(text));
	free(text);
	return 0;
}
