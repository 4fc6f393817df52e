/* SPDX-License-Identifier: MIT */
/*
 * What steps cost, as measured while they run: how many tokens of a prompt a step may have, and when
 * a request would be done.
 */
#ifndef DUNLIN_WORKER_PACE_H
#define DUNLIN_WORKER_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* Rows whose steps are told apart; more cost as much each as these. */
#define DN_PACE_ROWS 32

/**
 * struct dn_pace - running estimates, in nanoseconds; zeroed at first
 * @decode: of steps with 1, 2, … sequences that decode, and nothing else
 * @prompt: of each token of a prompt, on top of what the step costs without it
 */
struct dn_pace {
	double decode[DN_PACE_ROWS];
	double prompt;
};

/* A step of @rows decoded tokens and @prompt_tokens of prompts took @ns. */
void dn_pace_measured(struct dn_pace *pace, uint32_t rows, uint32_t prompt_tokens, double ns);

/* What a step of @rows costs, at least 1; 0 where none was measured. */
double dn_pace_decode(const struct dn_pace *pace, uint32_t rows);

/**
 * dn_pace_chunk() - tokens of prompts that a step may have
 * @rows: sequences that decode beside them
 * @most: what it may have at most
 *
 * Beside answers, as many as double the step, so that the time between two tokens at most doubles;
 * alone, as many as a tenth of a second takes, which is what an urgent request waits at most.
 */
uint32_t dn_pace_chunk(const struct dn_pace *pace, uint32_t rows, uint32_t most);

/* How long so many tokens of prompts take beside @rows; 0 where it is not known. */
double dn_pace_prompt(const struct dn_pace *pace, uint32_t rows, uint32_t tokens, uint32_t most);

#endif /* DUNLIN_WORKER_PACE_H */
