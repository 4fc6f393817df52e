/* SPDX-License-Identifier: MIT */
/*
 * How many guessed tokens are worth their time. A step with drafts (Leviathan and others 2023, Chen
 * and others 2023) costs more than one without and may give more tokens; what it costs is measured
 * here, on this machine and with this model, as it runs.
 *
 * Nothing that is decided here changes a token: only when it comes.
 */
#ifndef DUNLIN_WORKER_SPECULATE_H
#define DUNLIN_WORKER_SPECULATE_H

#include <stdbool.h>
#include <stdint.h>

/* Most sequences of a step that has drafts, and most drafted tokens of all of them. */
#define DN_SPECULATE_SEQUENCES 8
#define DN_SPECULATE_DRAFTS    15

/**
 * struct dn_speculate_cost - of a step, in nanoseconds
 * @ns: a running estimate, less sensitive to what is slower than to what is faster: other programs
 *	make steps slower and never faster
 * @n: times measured, no further than needed
 */
struct dn_speculate_cost {
	double ns;
	uint32_t n;
};

/**
 * struct dn_speculate_costs - of steps with one number of sequences
 * @costs: by drafted tokens
 * @plain: steps without drafts since the costs of others were forgotten
 * @drafted: steps with drafts since the last one without
 */
struct dn_speculate_costs {
	struct dn_speculate_cost costs[DN_SPECULATE_DRAFTS + 1];
	uint32_t plain;
	uint32_t drafted;
};

/**
 * struct dn_speculation - what a worker has measured; zeroed at first
 * @by_sequences: of steps with 1 sequence, 2, …
 * @credit: nanoseconds that drafts may lose
 * @opened: @credit has its first amount
 */
struct dn_speculation {
	struct dn_speculate_costs by_sequences[DN_SPECULATE_SEQUENCES];
	double credit;
	bool opened;
};

/**
 * struct dn_draft - of one sequence
 * @likely: how likely each token of it is the right one, given that those before it are
 * @most: tokens that it may have
 * @n: tokens that it is to have
 */
struct dn_draft {
	double likely;
	uint32_t most;
	uint32_t n;
};

/* Sets how long drafts are to be, at most @most tokens together; 0 each where none is worth it. */
void dn_speculate_choose(const struct dn_speculation *speculation, uint32_t n_sequences,
			 struct dn_draft *drafts, uint32_t n_drafts, uint32_t most);
/* What a step without prompts took, and how many of its @n_drafted tokens were the right ones. */
void dn_speculate_measured(struct dn_speculation *speculation, uint32_t n_sequences,
			   uint32_t n_drafted, uint32_t n_accepted, double ns);

#endif /* DUNLIN_WORKER_SPECULATE_H */
