/* SPDX-License-Identifier: MIT */
/* Conversations at a terminal, whoever answers: "dunlin run" and "dunlin chat". */
#ifndef DUNLIN_CLI_CONSOLE_H
#define DUNLIN_CLI_CONSOLE_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>

#include "cli/cli.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_console_talk - who answers
 * @reset: begins a conversation; called before the first line too
 * @say: answers a line on standard output. A negative errno ends all: what only this line is to
 *	blame for, it says itself
 */
struct dn_console_talk {
	void *context;
	int (*reset)(void *context, struct dn_error *err);
	int (*say)(void *context, const char *line, struct dn_error *err);
};

/* SIGINT comes by a descriptor from here on, which is returned; or a negative errno. */
DN_MUST_CHECK int dn_console_catch_interrupts(struct dn_error *err);
/* Takes one Ctrl-C from that descriptor. Return: whether there was one. */
bool dn_console_take_interrupt(int interrupt_fd);

/* Reads lines, with editing and history, until their end or /bye. */
DN_MUST_CHECK int dn_console_converse(const struct dn_console_talk *talk, int interrupt_fd,
				      struct dn_error *err);

#endif /* DUNLIN_CLI_CONSOLE_H */
