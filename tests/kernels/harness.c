/* SPDX-License-Identifier: MIT */
/* test-kernels CHECK [ARGUMENT]: see harness.h. Exit status 77: nothing to compare here. */

#include "harness.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/half.h"
#include "kernels/level.h"

#define PLACE_BYTES  ((size_t)4 << 20)
#define CANARY	     0xa5
#define CANARY_BYTES ((size_t)256)
#define FAILURES_MAX 20
#define MAX_GUARD    65536 /* at least a page of any kernel */
#define EXIT_SKIPPED 77

#ifdef DN_TEST_AVXVNNI
extern const struct dn_kernels dn_kernels_avxvnni_as_avx512vl;
#endif

static struct {
	uint8_t *memory;
	uint8_t *data;
	size_t size;
	size_t gap;
} places[N_PLACES];

static const char *check_name;
static unsigned int n_failures;
static uint64_t random_state;
static sigjmp_buf fault_return;
static volatile sig_atomic_t fault_expected;

const struct level *levels(void)
{
	static struct level list[DN_LEVEL_COUNT + 2];
	int n = 0;

	if (list[0].name)
		return list;
	for (int i = DN_LEVEL_SCALAR + 1; i < DN_LEVEL_COUNT; i++) {
		const struct dn_kernels *kernels = dn_kernels_at((enum dn_level)i);

		if (kernels)
			list[n++] = (struct level){ kernels->name, kernels };
	}
#ifdef DN_TEST_AVXVNNI
	if (dn_kernels_at(DN_LEVEL_AVX512VNNI))
		list[n++] = (struct level){ "avxvnni in AVX-512's encoding",
					    &dn_kernels_avxvnni_as_avx512vl };
#endif
	return list;
}

void random_seed(uint64_t seed)
{
	random_state = seed;
}

/* splitmix64 (Steele, Lea and Flood 2014). */
uint32_t random_u32(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15U;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
	z = (z ^ z >> 27) * 0x94d049bb133111ebU;
	return (uint32_t)(z >> 32);
}

uint32_t random_below(uint32_t limit)
{
	return (uint32_t)((uint64_t)random_u32() * limit >> 32);
}

float random_unit(void)
{
	return (float)((int32_t)(random_u32() >> 8) - (1 << 23)) * 0x1p-23f;
}

void *place(unsigned int slot, size_t size, size_t gap)
{
	uint8_t *memory = places[slot].memory;

	if (size + gap > PLACE_BYTES - CANARY_BYTES) {
		(void)fprintf(stderr, "a place of %zu bytes is too large\n", size);
		exit(1);
	}
	if (!memory) {
		memory = mmap(NULL, PLACE_BYTES + MAX_GUARD, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED ||
		    mprotect(memory + PLACE_BYTES, MAX_GUARD, PROT_NONE) < 0) {
			perror("mmap");
			exit(1);
		}
		places[slot].memory = memory;
	}
	places[slot].data = memory + PLACE_BYTES - gap - size;
	places[slot].size = size;
	places[slot].gap = gap;
	memset(places[slot].data - CANARY_BYTES, CANARY, CANARY_BYTES);
	memset(places[slot].data + size, CANARY, gap);
	return places[slot].data;
}

const char *places_intact(void)
{
	static char message[80];

	for (unsigned int slot = 0; slot < N_PLACES; slot++) {
		const uint8_t *data = places[slot].data;

		for (size_t i = 1; data && i <= CANARY_BYTES; i++) {
			if (data[-(ptrdiff_t)i] == CANARY)
				continue;
			(void)snprintf(message, sizeof(message), "wrote %zu bytes before buffer %u",
				       i, slot);
			return message;
		}
		for (size_t i = 0; data && i < places[slot].gap; i++) {
			if (data[places[slot].size + i] == CANARY)
				continue;
			(void)snprintf(message, sizeof(message), "wrote %zu bytes behind buffer %u",
				       i + 1, slot);
			return message;
		}
	}
	return NULL;
}

static void on_fault(int number)
{
	if (!fault_expected) {
		(void)signal(number, SIG_DFL);
		(void)raise(number);
		return;
	}
	siglongjmp(fault_return, number);
}

bool survives(void (*call)(void *data), void *data)
{
	int number = sigsetjmp(fault_return, 1);

	if (number == 0) {
		fault_expected = 1;
		call(data);
	}
	fault_expected = 0;
	return number == 0;
}

size_t first_difference(const float *a, const float *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (dn_float_bits(a[i]) != dn_float_bits(b[i]) && !(a[i] != a[i] && b[i] != b[i]))
			return i;
	return n;
}

size_t half_offsets(enum dn_type type, size_t offsets[2])
{
	offsets[0] = 0;
	offsets[1] = 2;
	switch (type) {
	case DN_TYPE_F32:
	case DN_TYPE_BF16:
		return 0;
	case DN_TYPE_Q4_1:
	case DN_TYPE_Q5_1:
	case DN_TYPE_Q4_K:
	case DN_TYPE_Q5_K:
		return 2;
	case DN_TYPE_Q2_K:
		offsets[0] = 80;
		offsets[1] = 82;
		return 2;
	case DN_TYPE_Q3_K:
		offsets[0] = 108;
		return 1;
	case DN_TYPE_Q6_K:
		offsets[0] = 208;
		return 1;
	default:
		return 1;
	}
}

void fail(const char *format, ...)
{
	va_list arguments;

	if (n_failures++ >= FAILURES_MAX)
		return;
	(void)printf("FAIL %s: ", check_name);
	va_start(arguments, format);
	(void)vprintf(format, arguments);
	va_end(arguments);
	(void)printf("\n");
}

static const struct {
	const char *name;
	void (*run)(const char *argument);
	bool compares; /* needs a vector level */
} checks[] = {
	{ "product", check_product, true }, { "attention", check_attention, true },
	{ "vectors", check_vectors, true }, { "quantise", check_quantise, true },
	{ "blocks", check_blocks, false },  { "accuracy", check_accuracy, false },
	{ "exp", check_exp, false },	    { "half", check_half, false },
	{ "relay", check_relay, false },    { "select", check_select, false },
};

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	bool found = false;

	(void)sigaction(SIGSEGV, &action, NULL);
	(void)sigaction(SIGBUS, &action, NULL);
	(void)sigaction(SIGILL, &action, NULL);
	(void)sigaction(SIGFPE, &action, NULL);
	for (const struct level *level = levels(); level->name; level++)
		(void)printf("level %s\n", level->name);
	for (size_t i = 0; i < DN_ARRAY_SIZE(checks); i++) {
		if (argc > 1 && strcmp(argv[1], checks[i].name) != 0)
			continue;
		found = true;
		check_name = checks[i].name;
		if (checks[i].compares && !levels()->name) {
			(void)printf("SKIP %s: no vector level on this CPU\n", check_name);
			if (argc > 1)
				return EXIT_SKIPPED;
			continue;
		}
		checks[i].run(argc > 2 ? argv[2] : NULL);
	}
	if (!found) {
		(void)fprintf(stderr, "usage: test-kernels [CHECK [ARGUMENT]]\n");
		return 2;
	}
	(void)printf("%u failures\n", n_failures);
	return n_failures ? 1 : 0;
}
