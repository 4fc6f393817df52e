/* SPDX-License-Identifier: MIT */
/* JSON schemas from anybody: no text harms, and what compiles can be followed. */

#include "grammar-walks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	walk_grammar(DN_GRAMMAR_SCHEMA, (const char *)data, size);
	return 0;
}
