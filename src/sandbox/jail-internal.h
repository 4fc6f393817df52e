/* SPDX-License-Identifier: MIT */
/* What the files of the jail share. */
#ifndef DUNLIN_SANDBOX_JAIL_INTERNAL_H
#define DUNLIN_SANDBOX_JAIL_INTERNAL_H

#include <stdint.h>

#include "base/base.h"
#include "sandbox/jail.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DN_JAIL_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
	__has_feature(memory_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#define DN_JAIL_SANITIZER 1
#endif
#endif
#ifndef DN_JAIL_SANITIZER
#define DN_JAIL_SANITIZER 0
#endif

/* One way in which a system call is allowed; several rows for a call add up. */
struct dn_seccomp_rule {
	const char *call;
	enum {
		DN_SECCOMP_ANY = 0, /* whatever the arguments */
		DN_SECCOMP_MASKED,  /* (argument & mask) == value */
		DN_SECCOMP_OPTION,  /* argument == value, and the one after it == mask */
		DN_SECCOMP_SELF,    /* argument is the number of this process */
		DN_SECCOMP_ANSWER,  /* not done: errno is @value, the process lives */
	} kind;
	unsigned int argument;
	uint64_t mask;
	uint64_t value;
};

struct dn_seccomp_group {
	const char *name;
	const char *reason;    /* why it is needed */
	unsigned int profiles; /* 1 << enum dn_jail_profile, for each that has it */
	enum dn_jail_list list;
	const struct dn_seccomp_rule *rules;
	size_t rule_count;
};

/* Ends with a group whose name is NULL. */
extern const struct dn_seccomp_group dn_seccomp_groups[];

void dn_jail_held(struct dn_jail_report *report, enum dn_jail_measure measure, const char *format,
		  ...) DN_PRINTF(3, 4);
void dn_jail_absent(struct dn_jail_report *report, enum dn_jail_measure measure, const char *format,
		    ...) DN_PRINTF(3, 4);

void dn_jail_not_asked(struct dn_jail_report *report, enum dn_jail_measure measure);

/* Each returns 0 with its measures filled, or a negative errno. */
DN_MUST_CHECK int dn_landlock_enter(struct dn_jail_report *report, struct dn_error *err);
DN_MUST_CHECK int dn_seccomp_enter(enum dn_jail_profile profile, struct dn_jail_report *report,
				   struct dn_error *err);

/* The version of Landlock that is running, 0 without; *ret_reason says why. */
uint32_t dn_landlock_abi(const char **ret_reason);
void dn_landlock_probe(struct dn_jail_report *report);
void dn_seccomp_probe(struct dn_jail_report *report);

#endif /* DUNLIN_SANDBOX_JAIL_INTERNAL_H */
