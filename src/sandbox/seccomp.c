/* SPDX-License-Identifier: MIT */
/* The filter of system calls: the table of seccomp-list.c, made into BPF by libseccomp. */

#include <errno.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/jail.h"
#include "base/base.h"
#include "sandbox/jail-internal.h"

#ifdef HAVE_SECCOMP

#include <linux/seccomp.h>
#include <seccomp.h>

/* NULL when the kernel can end a whole process on a forbidden call, else why not. */
static const char *unavailable(void)
{
	uint32_t action = SECCOMP_RET_KILL_PROCESS;

	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0)
		return NULL;
	return errno == EPERM || errno == EACCES ? "not permitted (an outer filter refuses it)"
						 : "the kernel lacks CONFIG_SECCOMP_FILTER (4.14)";
}

static int add_rule(scmp_filter_ctx filter, const struct dn_seccomp_rule *rule)
{
	int call = seccomp_syscall_resolve_name(rule->call);
	struct scmp_arg_cmp tests[2] = {
		{ .arg = rule->argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = UINT32_MAX },
		{ .arg = rule->argument + 1, .op = SCMP_CMP_MASKED_EQ, .datum_a = UINT32_MAX },
	};
	unsigned int count = 1;

	/* Negative: unknown to this architecture, or newer than the library. */
	if (call < 0)
		return 0;
	switch (rule->kind) {
	case DN_SECCOMP_ANY:
		return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
	case DN_SECCOMP_ANSWER:
		return seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)rule->value), call, 0);
	case DN_SECCOMP_SELF:
		tests[0].datum_b = (scmp_datum_t)getpid();
		break;
	case DN_SECCOMP_MASKED:
		tests[0].datum_a = rule->mask;
		tests[0].datum_b = rule->value;
		break;
	case DN_SECCOMP_OPTION:
		tests[0].datum_b = rule->value;
		tests[1].datum_b = rule->mask;
		count = 2;
		break;
	}
	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, count, tests);
}

static int add_group(scmp_filter_ctx filter, const struct dn_seccomp_group *group,
		     struct dn_error *err)
{
	for (size_t i = 0; i < group->rule_count; i++) {
		const struct dn_seccomp_rule *rule = &group->rules[i];
		int r = add_rule(filter, rule);

		/* The wider list allows anew what the narrower one allows in part. */
		if (r < 0 && r != -EEXIST)
			return dn_error_errno(err, -r, "jail: seccomp rule for '%s' (%s)",
					      rule->call, group->name);
	}
	return 0;
}

static int build(scmp_filter_ctx filter, enum dn_jail_profile profile, struct dn_error *err)
{
	int r;

	/* no_new_privs is a measure of its own. */
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
	(void)seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	/*
	 * Kernels before 5.16 switch speculative store bypass off for whoever has a filter, at
	 * the cost of speed. A worker makes no code at run time, so there is none to keep apart.
	 */
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	/* A binary tree over the numbers, where the library has it. */
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);

	for (const struct dn_seccomp_group *group = dn_seccomp_groups; group->name; group++) {
		if (!(group->profiles & (1U << profile)) ||
		    (group->list == DN_JAIL_LIST_SANITIZER && !DN_JAIL_SANITIZER))
			continue;
		r = add_group(filter, group, err);
		if (r < 0)
			return r;
	}
	return 0;
}

void dn_seccomp_probe(struct dn_jail_report *report)
{
	const char *reason = unavailable();

	report->list = DN_JAIL_LIST_NONE;
	if (reason) {
		dn_jail_absent(report, DN_JAIL_SECCOMP, "%s", reason);
		return;
	}
	report->list = DN_JAIL_SANITIZER ? DN_JAIL_LIST_SANITIZER : DN_JAIL_LIST_RELEASE;
	dn_jail_held(report, DN_JAIL_SECCOMP, "%s list",
		     dn_jail_list_name((enum dn_jail_list)report->list));
}

int dn_seccomp_enter(enum dn_jail_profile profile, struct dn_jail_report *report,
		     struct dn_error *err)
{
	scmp_filter_ctx filter;
	int persona;
	int r;

	dn_seccomp_probe(report);
	if (report->measures[DN_JAIL_SECCOMP].state != DN_JAIL_HELD)
		return 0;

	/* Inherited from an odd parent, it would make every mapping executable unseen. */
	persona = personality(UINT32_MAX);
	if (persona >= 0 && (persona & READ_IMPLIES_EXEC))
		(void)personality((unsigned long)(unsigned int)(persona & ~READ_IMPLIES_EXEC));

	filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!filter) {
		report->list = DN_JAIL_LIST_NONE;
		dn_jail_absent(report, DN_JAIL_SECCOMP, "out of memory");
		return dn_error_set(err, ENOMEM, "jail: out of memory for the seccomp filter");
	}
	r = build(filter, profile, err);
	if (r == 0) {
		r = seccomp_load(filter);
		if (r < 0)
			(void)dn_error_errno(err, -r, "jail: load the seccomp filter");
	}
	seccomp_release(filter);
	if (r < 0) {
		report->list = DN_JAIL_LIST_NONE;
		dn_jail_absent(report, DN_JAIL_SECCOMP, "%s",
			       r == -EACCES || r == -EPERM ? "not permitted without no_new_privs"
							   : "the filter could not be loaded");
		if (r == -EACCES || r == -EPERM)
			return 0;
	}
	return r;
}

#else /* !HAVE_SECCOMP */

void dn_seccomp_probe(struct dn_jail_report *report)
{
	report->list = DN_JAIL_LIST_NONE;
	dn_jail_absent(report, DN_JAIL_SECCOMP, "built without libseccomp");
}

int dn_seccomp_enter(enum dn_jail_profile profile, struct dn_jail_report *report,
		     struct dn_error *err)
{
	(void)profile;
	(void)err;
	dn_seccomp_probe(report);
	return 0;
}

#endif
