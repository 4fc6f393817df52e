/* SPDX-License-Identifier: MIT */
/* Starting a worker program with nothing but what it is given, and learning how it ended. */
#ifndef DUNLIN_SANDBOX_SPAWN_H
#define DUNLIN_SANDBOX_SPAWN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <dunlin/error.h>

/* Descriptors reach the program under numbers below this. */
#define DN_SPAWN_TARGETS 64

/* Kinds of namespaces(7) of its own that a program can be started in, as bits. */
enum dn_spawn_namespace {
	DN_SPAWN_USER = 1U << 0, /* no power over anything outside; gives the right to the others */
	DN_SPAWN_MOUNT = 1U << 1,   /* an empty root: dn_jail_enter() makes it, after exec */
	DN_SPAWN_PID = 1U << 2,	    /* no other process is visible */
	DN_SPAWN_NETWORK = 1U << 3, /* no interface; inherited sockets stay what they were */
	DN_SPAWN_IPC = 1U << 4,	    /* no System V IPC and no message queue of others */
};
#define DN_SPAWN_KINDS 5
#define DN_SPAWN_ALL   ((1U << DN_SPAWN_KINDS) - 1)

/**
 * struct dn_namespaces - what became of them
 * @held: bits of those that it has; for the mount namespace: that it has the right to make
 * @refused: for each kind in order, the errno for which one that was asked for is not held
 */
struct dn_namespaces {
	uint32_t asked;
	uint32_t held;
	int refused[DN_SPAWN_KINDS];
};

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
 * @namespaces: bits of enum dn_spawn_namespace. Each stands alone: what is not permitted is left
 *	out, and in struct dn_child. A process without privileges needs DN_SPAWN_USER for the others
 */
struct dn_spawn_options {
	const char *path;
	int program_fd;
	char *const *arguments;
	const struct dn_spawn_descriptor *descriptors;
	size_t descriptor_count;
	const char *const *environment;
	uint32_t namespaces;
};

/* A child process that was not waited for yet; @pidfd is -1 on kernels before 5.3. */
struct dn_child {
	pid_t pid;
	int pidfd;
	struct dn_namespaces namespaces;
};

#define DN_CHILD_INIT { .pid = -1, .pidfd = -1 }

/* The exit code of a first process of a PID namespace that ended itself by a signal, less it. */
#define DN_CHILD_SIGNALLED 128

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
 * With DN_SPAWN_PID it is process 1 in there: of the signals that it has no handler for, only
 * SIGKILL and SIGSTOP reach it. What it has of the namespaces, it finds in DUNLIN_NAMESPACES; only
 * dn_jail_enter() makes use of it.
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
