/* SPDX-License-Identifier: MIT */
/* What every fuzzer has. */
#ifndef DUNLIN_FUZZ_H
#define DUNLIN_FUZZ_H

#include <dunlin/error.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

/* A failure has a reason. */
static inline int failed(int r, const struct dn_error *err)
{
	MUST(r <= 0);
	MUST(r == 0 || (err->code == -r && err->message[0]));
	return r < 0;
}

#endif /* DUNLIN_FUZZ_H */
