/* SPDX-License-Identifier: MIT */
/*
 * Every level that this CPU has against the portable one, bit for bit (in the manner of dav1d's
 * checkasm): odd sizes, guard pages behind every buffer, extreme values. Inputs come from a seed,
 * so that a failure's line is enough to see it again.
 */
#ifndef DUNLIN_TESTS_KERNELS_HARNESS_H
#define DUNLIN_TESTS_KERNELS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

struct level {
	const char *name;
	const struct dn_kernels *kernels;
};

/* The vector levels of this CPU; the list ends with a NULL name. */
const struct level *levels(void);

/* Numbers of a seed: the same on every machine. */
void random_seed(uint64_t seed);
uint32_t random_u32(void);
/* 0 to below @limit. */
uint32_t random_below(uint32_t limit);
/* Evenly in (-1, 1). */
float random_unit(void);

/*
 * @size bytes in place @slot (its earlier content is gone) that end @gap bytes before a page
 * which faults; bytes before and behind are checked by places_intact().
 */
#define N_PLACES 32
void *place(unsigned int slot, size_t size, size_t gap);
/* NULL, or what was found written outside a place. */
const char *places_intact(void);

/* Runs @call(@data); false where it touched a guard page or another fault ended it. */
bool survives(void (*call)(void *data), void *data);

/* Equal bits, or both NaN; the index of the first difference, or @n. */
size_t first_difference(const float *a, const float *b, size_t n);

/* Where in a file's block the F16 scales and minima of @type are; returns how many. */
size_t half_offsets(enum dn_type type, size_t offsets[2]);

/* Counts a failure and prints it with the present check's name; quiet after the first few. */
void fail(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));
/* Checks @condition; the message names what was expected. */
#define EXPECT(condition, ...)                                                                     \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail(__VA_ARGS__);                                                         \
	} while (0)

/* The checks, one file each. */
void check_product(const char *type);
void check_attention(const char *head_dims);
void check_vectors(const char *unused);
void check_quantise(const char *unused);
void check_blocks(const char *unused);
void check_accuracy(const char *unused);
void check_exp(const char *unused);
void check_half(const char *unused);
void check_relay(const char *unused);
void check_select(const char *unused);

#endif /* DUNLIN_TESTS_KERNELS_HARNESS_H */
