/* SPDX-License-Identifier: MIT */
/* Which level runs: caps by the environment and by name, and what the messages say. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

#define CAP "DUNLIN_CPU"

static const struct dn_kernels *select_level(const char *cap, const char *name)
{
	const struct dn_kernels *kernels = NULL;
	struct dn_error err = DN_ERROR_INIT;
	int r;

	if (cap)
		(void)setenv(CAP, cap, 1);
	else
		(void)unsetenv(CAP);
	r = dn_kernels_select(name, &kernels, &err);
	EXPECT(r == 0 && kernels, "cap %s, name %s: %d, %s", cap ? cap : "none",
	       name ? name : "none", r, err.message);
	return r == 0 ? kernels : dn_kernels_at(DN_LEVEL_REF);
}

static void refuse(const char *cap, const char *name, int want, const char *word)
{
	const struct dn_kernels *const before = dn_kernels_at(DN_LEVEL_REF);
	const struct dn_kernels *kernels = before;
	struct dn_error err = DN_ERROR_INIT;
	int r;

	if (cap)
		(void)setenv(CAP, cap, 1);
	else
		(void)unsetenv(CAP);
	r = dn_kernels_select(name, &kernels, &err);
	EXPECT(r == want && err.code == -want, "cap %s, name %s: %d", cap ? cap : "none",
	       name ? name : "none", r);
	EXPECT(kernels == before, "a failure wrote its result");
	EXPECT(strstr(err.message, word) && strstr(err.message, "scalar"),
	       "the message lacks '%s' or what there is: %s", word, err.message);
	EXPECT(dn_kernels_select(name, &kernels, NULL) == want, "without an error to fill");
}

/* A product cannot make more than its instruction alone; a third covers busy machines. */
static void check_rates(const struct dn_kernels *kernels)
{
	const bool vectors = kernels->level > DN_LEVEL_SCALAR;
	const double peak = dn_kernels_int8_peak(kernels);
	const double rate = dn_kernels_product_rate(kernels);

	EXPECT((peak > 0.0) == vectors, "%s: a peak of %g", kernels->name, peak);
	EXPECT(rate > 0.0 && (!vectors || rate < 1.33 * peak), "%s: a rate of %g, a peak of %g",
	       kernels->name, rate, peak);
}

void check_select(const char *unused)
{
	const struct dn_kernels *best = dn_kernels_at(DN_LEVEL_SCALAR);

	(void)unused;
	EXPECT(dn_kernels_at(DN_LEVEL_REF) && best, "ref and scalar are everywhere");
	for (int i = 0; i < DN_LEVEL_COUNT; i++) {
		const enum dn_level level = (enum dn_level)i;
		const char *name = dn_level_name(level);
		const struct dn_kernels *kernels = dn_kernels_at(level);

		if (!kernels) {
			refuse(NULL, name, -ENOTSUP, name);
			/* A cap that is not here still caps. */
			EXPECT(select_level(name, NULL)->level < level, "%s does not cap", name);
			continue;
		}
		best = kernels;
		EXPECT(kernels->level == level && strcmp(kernels->name, name) == 0, "table of %s",
		       name);
		EXPECT(select_level(name, NULL) == kernels, "cap %s", name);
		EXPECT(select_level(NULL, name) == kernels, "name %s", name);
		EXPECT(select_level("scalar", name)->level <= DN_LEVEL_SCALAR,
		       "%s was taken above the cap", name);
		check_rates(kernels);
	}
	EXPECT(select_level(NULL, NULL) == best, "not the strongest by default");
	EXPECT(select_level("", "") == best, "empty is not unset");
	refuse("sse9", NULL, -EINVAL, "DUNLIN_CPU names no kernel level: 'sse9'");
	refuse(NULL, "sse9", -EINVAL, "'sse9'");
	EXPECT(strcmp(dn_level_name(DN_LEVEL_COUNT), "unknown") == 0, "a level that is none");
	(void)unsetenv(CAP);
}
