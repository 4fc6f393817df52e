/* SPDX-License-Identifier: MIT */
/* Starting a worker program with nothing but what it is given, and learning how it ended. */
#ifndef DUNLIN_SANDBOX_SPAWN_H
#define DUNLIN_SANDBOX_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

#include <dunlin/error.h>

/* Descriptors reach the program under numbers below this. */
#define DN_SPAWN_TARGETS 64

/* @fd of this process is @target in the program; a target is named once. */
struct dn_spawn_descriptor {
	int fd;
	int target;
};

/**
 * struct dn_spawn_options - what to start, and with what; all borrowed
 * @path: the executable, absolute; NULL: @program_fd. "/proc/self/exe" is this program
 * @program_fd: descriptor of the executable, used when @path is NULL
 * @arguments: argv, NULL-terminated
 * @descriptors: all that the program has; 0, 1 and 2 too exist only when named, else /dev/null
 * @environment: names of the variables that it inherits, NULL-terminated; NULL: DUNLIN_CPU, LANG,
 *	TZ and the options of sanitizers
 */
struct dn_spawn_options {
	const char *path;
	int program_fd;
	char *const *arguments;
	const struct dn_spawn_descriptor *descriptors;
	size_t descriptor_count;
	const char *const *environment;
};

/* A child process that was not waited for yet; @pidfd is -1 on kernels before 5.3. */
struct dn_child {
	pid_t pid;
	int pidfd;
};

#define DN_CHILD_INIT { .pid = -1, .pidfd = -1 }

/* How it ended: @code is the exit status, or @signal (0: none) what killed it. */
struct dn_child_end {
	int code;
	int signal;
	char words[128]; /* "killed by SIGSYS: a system call outside its list" */
};

/**
 * dn_spawn() - start a program
 *
 * It runs in "/", in a session of its own (a Ctrl-C at the terminal is not for it), with default
 * signals, and is killed when the *thread* that started it ends: start workers from a thread that
 * stays.
 *
 * Return: 0 once the program has been executed, or a negative errno with the reason for which it
 * could not be.
 */
DN_MUST_CHECK int dn_spawn(const struct dn_spawn_options *options, struct dn_child *ret_child,
			   struct dn_error *err);

/**
 * dn_child_wait() - wait for the end of a child
 * @timeout_ms: 0: look only; -1: no limit
 *
 * Return: 1 when it ended: @ret_end is filled, @child is empty; 0 while it runs; negative errno.
 */
DN_MUST_CHECK int dn_child_wait(struct dn_child *child, int timeout_ms,
				struct dn_child_end *ret_end, struct dn_error *err);

/* Kills it, if there is one, and waits for its end: on return there is no such process. */
void dn_child_done(struct dn_child *child);

/* The words for a status as waitpid() gives it. */
void dn_child_describe(int status, struct dn_child_end *ret_end);

#endif /* DUNLIN_SANDBOX_SPAWN_H */
