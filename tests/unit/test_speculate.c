/* SPDX-License-Identifier: MIT */
/*
 * Guessed tokens: what is expected of a text, and how many of the expected are worth their time, on
 * machines whose clock the test sets.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "worker/lookup.h"
#include "worker/speculate.h"

#define PLAIN_NS 1e6

static struct dn_lookup *learned(const uint32_t *tokens, uint32_t n, uint32_t n_prompt)
{
	struct dn_lookup *lookup = dn_lookup_new(1024);

	assert_non_null(lookup);
	dn_lookup_learn(lookup, tokens, n, n_prompt);
	return lookup;
}

/* What stood behind the last three tokens comes, from where they were last. */
static void test_expects_what_followed(void **state)
{
	uint32_t tokens[32] = { 9, 1, 2, 3, 4, 5, 7, 1, 2, 3, 6, 8, 1, 2, 3 };
	struct dn_lookup *lookup = learned(tokens, 14, 14);

	(void)state;
	/* "8 1 2" is new. */
	assert_true(dn_lookup_likely(lookup) == 0);
	dn_lookup_learn(lookup, tokens, 15, 14);
	assert_true(dn_lookup_likely(lookup) > 0);
	dn_lookup_draft(lookup, tokens, 4);
	assert_memory_equal(tokens + 15, ((uint32_t[]){ 6, 8, 1, 2 }), 4 * sizeof(*tokens));
	/* It came as expected; and then something else. */
	dn_lookup_learn(lookup, tokens, 17, 14);
	assert_int_equal(lookup->matched, 5);
	dn_lookup_draft(lookup, tokens, 3);
	assert_memory_equal(tokens + 17, ((uint32_t[]){ 1, 2, 3 }), 3 * sizeof(*tokens));
	tokens[17] = 11;
	dn_lookup_learn(lookup, tokens, 18, 14);
	assert_true(dn_lookup_likely(lookup) == 0);
	free(lookup);
}

/* A token that comes again and again: the draft goes on from itself. */
static void test_draft_repeats_itself(void **state)
{
	uint32_t tokens[32] = { 5, 1, 2, 1, 2, 1 };
	struct dn_lookup *lookup = learned(tokens, 6, 6);

	(void)state;
	assert_true(dn_lookup_likely(lookup) > 0);
	dn_lookup_draft(lookup, tokens, 6);
	assert_memory_equal(tokens + 6, ((uint32_t[]){ 2, 1, 2, 1, 2, 1 }), 6 * sizeof(*tokens));
	free(lookup);
}

/* More texts than places: what is expected has three tokens in common all the same. */
static void test_places_are_shared(void **state)
{
	enum { N = 20000 };
	uint32_t *tokens = calloc(N + 1, sizeof(*tokens));
	struct dn_lookup *lookup = dn_lookup_new(64);
	uint32_t expected = 0;

	(void)state;
	assert_non_null(tokens);
	assert_non_null(lookup);
	for (uint32_t i = 0; i < N; i++)
		tokens[i] = (i * 2654435761U >> 13) % 23;
	for (uint32_t n = 1; n <= N; n++) {
		dn_lookup_learn(lookup, tokens, n, N);
		if (dn_lookup_likely(lookup) == 0)
			continue;
		expected++;
		assert_in_range(lookup->next, DN_LOOKUP_LEAST, n - 1);
		assert_memory_equal(tokens + n - DN_LOOKUP_LEAST,
				    tokens + lookup->next - DN_LOOKUP_LEAST,
				    DN_LOOKUP_LEAST * sizeof(*tokens));
	}
	assert_true(expected > 0);
	free(lookup);
	free(tokens);
}

/* How good expectations are is learned from the answer, whether or not anything was drafted. */
static void test_learns_how_likely(void **state)
{
	enum { PROMPT = 40, N = 400 };
	uint32_t tokens[N];
	struct dn_lookup *lookup;
	float first;

	(void)state;
	for (uint32_t i = 0; i < N; i++)
		tokens[i] = i % 10;
	lookup = learned(tokens, PROMPT, PROMPT);
	first = dn_lookup_likely(lookup);
	dn_lookup_learn(lookup, tokens, N, PROMPT);
	assert_true(dn_lookup_likely(lookup) > 0.99F && first < 0.99F);
	free(lookup);

	/* Three tokens in common, and then always another. */
	for (uint32_t i = 0; i < N; i++)
		tokens[i] = i % 4 == 3 ? 100 + i : i % 4;
	lookup = learned(tokens, PROMPT - 1, PROMPT - 1);
	first = dn_lookup_likely(lookup);
	dn_lookup_learn(lookup, tokens, N - 1, PROMPT - 1);
	assert_true(first > 0.1F && dn_lookup_likely(lookup) < 0.1F);
	free(lookup);
}

/**
 * struct machine - one that never was
 * @growth: what a drafted token adds to a step, in steps without
 * @right: how likely a drafted token is right
 * @claimed: how likely it is said to be
 * @spikes: one step in so many takes ten times as long; 0: none
 * @slower: from the middle on all takes so many times as long
 */
struct machine {
	double growth;
	double right;
	double claimed;
	uint32_t spikes;
	double slower;
	uint32_t n_sequences;
	uint64_t random;
};

static double draw(struct machine *m)
{
	m->random = m->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return (double)(m->random >> 11) / 0x1p53;
}

static uint32_t right_ones(struct machine *m, uint32_t n)
{
	uint32_t right = 0;

	while (right < n && draw(m) < m->right)
		right++;
	return right;
}

/*
 * Time that @n_tokens take, as a part of what they take without drafts: spikes count in neither,
 * they come to both alike.
 */
static double run(struct machine *m, struct dn_speculation *s, uint32_t n_tokens)
{
	double time = 0;
	double without = 0;

	m->random = 7;
	m->n_sequences = m->n_sequences ? m->n_sequences : 1;
	for (uint32_t tokens = 0; tokens < n_tokens;) {
		const double unit =
			PLAIN_NS * (m->slower > 0 && tokens > n_tokens / 2 ? m->slower : 1);
		struct dn_draft drafts[DN_SPECULATE_SEQUENCES];
		uint32_t drafted = 0;
		uint32_t accepted = 0;
		double ns;

		for (uint32_t i = 0; i < m->n_sequences; i++)
			drafts[i] = (struct dn_draft){ .likely = m->claimed, .most = 7 };
		dn_speculate_choose(s, m->n_sequences, drafts, m->n_sequences, 8 - m->n_sequences);
		for (uint32_t i = 0; i < m->n_sequences; i++) {
			drafted += drafts[i].n;
			accepted += right_ones(m, drafts[i].n);
		}
		assert_in_range(drafted, 0, 8 - m->n_sequences);
		ns = unit * (1 + m->growth * drafted);
		time += ns;
		without += unit * (1 + (double)accepted / m->n_sequences);
		tokens += m->n_sequences + accepted;
		if (m->spikes && draw(m) * m->spikes < 1)
			ns *= 10;
		dn_speculate_measured(s, m->n_sequences, drafted, accepted, ns);
	}
	return time / without;
}

static double run_fresh(struct machine *m, uint32_t n_tokens)
{
	struct dn_speculation s = { 0 };

	return run(m, &s, n_tokens);
}

static void test_wins_where_text_repeats(void **state)
{
	struct machine cheap = { .growth = 0.15, .right = 0.95, .claimed = 0.95 };
	struct machine noisy = cheap;
	struct machine slower = cheap;
	struct machine faster = cheap;
	struct machine beside = cheap;

	(void)state;
	noisy.spikes = 10;
	slower.slower = 5;
	faster.slower = 0.2;
	beside.n_sequences = 3;
	assert_true(run_fresh(&cheap, 256) < 1 / 1.8);
	assert_true(run_fresh(&noisy, 256) < 1 / 1.8);
	assert_true(run_fresh(&slower, 512) < 1 / 1.8);
	assert_true(run_fresh(&faster, 512) < 1 / 1.8);
	assert_true(run_fresh(&beside, 512) < 1 / 1.3);
}

/* Whatever is claimed, and whatever a step costs, little is lost. */
static void test_loses_little(void **state)
{
	static const double growths[] = { 0.02, 0.1, 0.3, 0.6, 1, 3 };
	static const double rights[] = { 0, 0.1, 0.3, 0.6, 0.9, 1 };
	static const double claims[] = { 0.1, 0.5, 0.9, 1 };
	static const uint32_t spikes[] = { 0, 50, 8 };

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(growths) * DN_ARRAY_SIZE(rights) *
				       DN_ARRAY_SIZE(claims) * DN_ARRAY_SIZE(spikes);
	     i++) {
		struct machine m = {
			.growth = growths[i % 6],
			.right = rights[i / 6 % 6],
			.claimed = claims[i / 36 % 4],
			.spikes = spikes[i / 144],
		};
		double part = run_fresh(&m, 256);

		if (part > 1.03)
			fail_msg("growth %g, right %g, claimed %g, spikes %u: %g of the time",
				 m.growth, m.right, m.claimed, m.spikes, part);
		m.n_sequences = 4;
		part = run_fresh(&m, 1024);
		if (part > 1.03)
			fail_msg("growth %g, right %g, claimed %g, spikes %u, 4 sequences: %g of "
				 "the time",
				 m.growth, m.right, m.claimed, m.spikes, part);
	}
}

/* A text that repeats, and then one that only seems to: what was won is not lost again. */
static void test_credit_ends(void **state)
{
	struct dn_speculation s = { 0 };
	struct machine good = { .growth = 0.2, .right = 0.95, .claimed = 0.95 };
	struct machine bad = { .growth = 0.2, .right = 0, .claimed = 0.95 };

	(void)state;
	assert_true(run(&good, &s, 1000) < 1 / 1.8);
	assert_true(run(&bad, &s, 500) < 1.03);
	assert_true(run(&good, &s, 1000) < 1 / 1.8);
}

/* Nothing is drafted before it is known what a step costs, nor where nothing is expected. */
static void test_nothing_without_reason(void **state)
{
	struct dn_speculation s = { 0 };
	struct dn_draft draft = { .likely = 0.99, .most = 7 };

	(void)state;
	dn_speculate_choose(&s, 1, &draft, 1, 7);
	assert_int_equal(draft.n, 0);
	for (int i = 0; i < 8; i++)
		dn_speculate_measured(&s, 1, 0, 0, PLAIN_NS);
	/* The first tries are short. */
	for (uint32_t n = 1; n <= 7; n = 2 * n + 1) {
		dn_speculate_choose(&s, 1, &draft, 1, 7);
		assert_int_equal(draft.n, n);
		dn_speculate_measured(&s, 1, n, n, PLAIN_NS);
	}
	dn_speculate_choose(&s, 1, &draft, 1, 7);
	assert_int_equal(draft.n, 7);
	dn_speculate_choose(&s, 1, &draft, 1, 2);
	assert_int_equal(draft.n, 2);
	draft.most = 3;
	dn_speculate_choose(&s, 1, &draft, 1, 7);
	assert_int_equal(draft.n, 3);
	dn_speculate_choose(&s, 1, &draft, 1, 0);
	assert_int_equal(draft.n, 0);
	draft.likely = 0;
	dn_speculate_choose(&s, 1, &draft, 1, 7);
	assert_int_equal(draft.n, 0);
	/* Two sequences are another matter. */
	draft.likely = 0.99;
	dn_speculate_choose(&s, 2, &draft, 1, 7);
	assert_int_equal(draft.n, 0);
}

/* Of two sequences the one whose tokens are the likelier gets the longer draft. */
static void test_shares_rows(void **state)
{
	struct dn_speculation s = { 0 };
	struct dn_draft drafts[2] = { { .likely = 0.6, .most = 7 }, { .likely = 0.95, .most = 7 } };

	(void)state;
	for (int i = 0; i < 8; i++)
		dn_speculate_measured(&s, 2, 0, 0, PLAIN_NS);
	for (uint32_t n = 1; n <= 3; n++)
		dn_speculate_measured(&s, 2, n, n, PLAIN_NS);
	dn_speculate_choose(&s, 2, drafts, 2, 6);
	assert_true(drafts[0].n + drafts[1].n > 0);
	assert_true(drafts[1].n > drafts[0].n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expects_what_followed),
		cmocka_unit_test(test_draft_repeats_itself),
		cmocka_unit_test(test_places_are_shared),
		cmocka_unit_test(test_learns_how_likely),
		cmocka_unit_test(test_wins_where_text_repeats),
		cmocka_unit_test(test_loses_little),
		cmocka_unit_test(test_credit_ends),
		cmocka_unit_test(test_nothing_without_reason),
		cmocka_unit_test(test_shares_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
