/* SPDX-License-Identifier: MIT */
/*
 * The jail of a worker, or of the front of a server: what a process that parses untrusted bytes
 * gives up, for good, before it reads the first of them.
 *
 * Each measure stands alone: a kernel that lacks one still holds the others, and the report names
 * what is missing and why.
 */
#ifndef DUNLIN_SANDBOX_JAIL_H
#define DUNLIN_SANDBOX_JAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>

enum dn_jail_measure {
	DN_JAIL_NO_CAPABILITIES,   /* a worker started by root is not root in effect */
	DN_JAIL_NO_NEW_PRIVILEGES, /* set-user-ID and file capabilities do nothing */
	DN_JAIL_NO_CORE,	   /* no core file, no core pipe: prompts stay in memory */
	DN_JAIL_NO_TRACING,	   /* others of the user cannot attach; never in a user namespace */
	DN_JAIL_LIMITS,		   /* few descriptors, no message queues */
	DN_JAIL_MEMORY_LIMIT,	   /* RLIMIT_AS; only when asked for */
	DN_JAIL_NO_NEW_CODE,	   /* PR_SET_MDWE: memory never becomes executable */
	DN_JAIL_LANDLOCK_FILES,	   /* no path can be opened, made, moved or removed */
	DN_JAIL_LANDLOCK_NETWORK,  /* no TCP port can be bound or connected to */
	DN_JAIL_LANDLOCK_SCOPE,	   /* no signal and no abstract socket reaches outside */
	DN_JAIL_SECCOMP,	   /* a system call outside the list ends the process */
	/* Only where the start asked for them (sandbox/spawn.h). */
	DN_JAIL_USER_NAMESPACE,	   /* no user or group of the machine, no power over it */
	DN_JAIL_MOUNT_NAMESPACE,   /* its root is an empty, read-only directory */
	DN_JAIL_PID_NAMESPACE,	   /* other processes have no number */
	DN_JAIL_NETWORK_NAMESPACE, /* no interface; sockets that it was given work on */
	DN_JAIL_IPC_NAMESPACE,	   /* no System V IPC, no message queue of others */
	DN_JAIL_MEASURES
};

enum dn_jail_state {
	DN_JAIL_ABSENT = 0, /* not in force; the reason says why */
	DN_JAIL_HELD,	    /* in force (or, from dn_jail_probe(): would be) */
	DN_JAIL_NOT_ASKED,  /* the options, or the start, leave it out */
};

/* Which list of system calls the build carries. */
enum dn_jail_list {
	DN_JAIL_LIST_NONE = 0,
	DN_JAIL_LIST_RELEASE,
	DN_JAIL_LIST_SANITIZER, /* wider: what ASan, UBSan, LSan and TSan need in addition */
};

/* For whom the list of system calls is. */
enum dn_jail_profile {
	DN_JAIL_WORKER = 0, /* memory, threads, a channel */
	DN_JAIL_FRONT,	    /* an event loop, connections, channels; no thread, no process */
	DN_JAIL_PROFILES
};

#define DN_JAIL_REASON_MAX    96
#define DN_JAIL_DEFAULT_FILES 256

/**
 * struct dn_jail_options - what to hold; all zero is the strictest for a worker
 * @profile: a front gets another list, and RLIMIT_NPROC 0
 * @files: RLIMIT_NOFILE; 0: DN_JAIL_DEFAULT_FILES
 * @memory: RLIMIT_AS in bytes; 0: no limit
 * @required: bit (1 << measure) for each measure without which dn_jail_enter() fails
 * @measurable: leaves /proc/PID/smaps_rollup to processes of the same user, so that a parent
 *	without privileges can sample the memory in use; gives up DN_JAIL_NO_TRACING
 */
struct dn_jail_options {
	enum dn_jail_profile profile;
	uint32_t files;
	uint64_t memory;
	uint32_t required;
	bool measurable;
};

/**
 * struct dn_jail_report - what is in force
 *
 * Plain data without pointers: a worker may send it to its parent as it is.
 */
struct dn_jail_report {
	uint32_t landlock_abi; /* 0: the kernel has none, or does not use it */
	uint32_t list;	       /* enum dn_jail_list */
	struct {
		uint32_t state;			 /* enum dn_jail_state */
		char reason[DN_JAIL_REASON_MAX]; /* why it is absent, or what to know; may be "" */
	} measures[DN_JAIL_MEASURES];
};

/**
 * dn_jail_enter() - give up what the process does not need
 * @options: borrowed; NULL: all defaults
 * @ret_report: filled on success and on failure alike
 *
 * To be called once, after exec, before the first thread and before anything from outside is
 * parsed. There is no way back, and on failure what already holds stays in force: end the process.
 *
 * What the C library would open lazily is loaded here (time zone) or avoided (arenas of malloc).
 * What stays impossible in a jail: sysconf(_SC_NPROCESSORS_ONLN), pthread_exit(),
 * pthread_setaffinity_np() on another thread, fopen(), dlopen(), iconv_open(), backtrace().
 *
 * A front makes its event base before or after; its listening sockets are there, and non-blocking,
 * and its libraries have read their files before. What stays impossible in it, beside the above:
 * threads, and getnameinfo() on link-local IPv6 addresses, which makes glibc open a socket.
 *
 * Return: 0, also where the kernel lacks measures that are not required; -ENOTSUP when a required
 * one is absent; another negative errno when a measure that the kernel has failed.
 */
DN_MUST_CHECK int dn_jail_enter(const struct dn_jail_options *options,
				struct dn_jail_report *ret_report, struct dn_error *err);

/*
 * What dn_jail_enter() with default options would hold here, in a process that was started in all
 * namespaces; changes nothing. It starts a short-lived process to see which are permitted.
 */
void dn_jail_probe(struct dn_jail_report *ret_report);

/* "seccomp" and the like; stable, for JSON keys. */
const char *dn_jail_measure_name(enum dn_jail_measure measure);
/* What it is good for, as one line for a person. */
const char *dn_jail_measure_purpose(enum dn_jail_measure measure);
/* "held", "absent", "not asked". */
const char *dn_jail_state_name(enum dn_jail_state state);
/* "none", "release", "sanitizer". */
const char *dn_jail_list_name(enum dn_jail_list list);

#endif /* DUNLIN_SANDBOX_JAIL_H */
