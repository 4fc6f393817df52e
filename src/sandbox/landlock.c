/* SPDX-License-Identifier: MIT */
/*
 * Landlock: a ruleset that handles everything the running kernel can refuse and allows nothing.
 *
 * The numbers are the kernel's uapi (Documentation/userspace-api/landlock.rst); they are spelled
 * out because the headers of a stable distribution are older than the kernels it meets.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "sandbox/jail.h"
#include "sandbox/jail-internal.h"

#define LANDLOCK_SYS_CREATE_RULESET 444
#define LANDLOCK_SYS_ADD_RULE	    445
#define LANDLOCK_SYS_RESTRICT_SELF  446
#define LANDLOCK_GET_VERSION	    1U

/* The newest version whose rights are in the table below. */
#define LANDLOCK_KNOWN_ABI 7

/* struct landlock_ruleset_attr as of version 6; older kernels take its head. */
struct landlock_ruleset {
	uint64_t files;
	uint64_t network;
	uint64_t scope;
};

/* How many rights each version knows; rights are numbered from bit 0 without gaps. */
static const struct {
	uint8_t files, network, scope;
} known_rights[LANDLOCK_KNOWN_ABI + 1] = {
	[1] = { 13, 0, 0 }, [2] = { 14, 0, 0 }, /* rename and link across directories */
	[3] = { 15, 0, 0 },			/* truncate */
	[4] = { 15, 2, 0 },			/* TCP bind, connect */
	[5] = { 16, 2, 0 },			/* ioctl on devices */
	[6] = { 16, 2, 2 },			/* abstract sockets, signals */
	[7] = { 16, 2, 2 },			/* audit; no new right */
};

static uint64_t low_bits(unsigned int count)
{
	return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

uint32_t dn_landlock_abi(const char **ret_reason)
{
	long abi = syscall(LANDLOCK_SYS_CREATE_RULESET, NULL, 0, LANDLOCK_GET_VERSION);

	if (abi > 0)
		return (uint32_t)abi;
	if (errno == ENOSYS)
		*ret_reason = "the kernel lacks Landlock (5.13 and CONFIG_SECURITY_LANDLOCK)";
	else if (errno == EOPNOTSUPP)
		*ret_reason = "Landlock is not among the kernel's lsm= at boot";
	else
		*ret_reason = "not permitted (an outer filter refuses it)";
	return 0;
}

static int create(const struct landlock_ruleset *ruleset, uint32_t abi)
{
	size_t size = abi >= 6	 ? sizeof(*ruleset)
		      : abi >= 4 ? offsetof(struct landlock_ruleset, scope)
				 : offsetof(struct landlock_ruleset, network);

	return (int)syscall(LANDLOCK_SYS_CREATE_RULESET, ruleset, size, 0);
}

/* Whether a kernel newer than this table knows the right that @ruleset names. */
static bool knows(const struct landlock_ruleset *ruleset, uint32_t abi)
{
	DN_AUTO_FD int fd = create(ruleset, abi);

	return fd >= 0;
}

static struct landlock_ruleset everything(uint32_t abi)
{
	unsigned int known = DN_MIN(abi, (uint32_t)LANDLOCK_KNOWN_ABI);
	unsigned int files = known_rights[known].files;
	unsigned int network = known_rights[known].network;
	unsigned int scope = known_rights[known].scope;

	/* A worker needs no right that a later kernel invents either: ask for the next bit. */
	if (abi > LANDLOCK_KNOWN_ABI) {
		while (files < 63 &&
		       knows(&(struct landlock_ruleset){ .files = 1ULL << files }, abi))
			files++;
		while (network < 63 &&
		       knows(&(struct landlock_ruleset){ .network = 1ULL << network }, abi))
			network++;
		while (scope < 63 &&
		       knows(&(struct landlock_ruleset){ .scope = 1ULL << scope }, abi))
			scope++;
	}
	return (struct landlock_ruleset){
		.files = low_bits(files),
		.network = low_bits(network),
		.scope = low_bits(scope),
	};
}

/* LeakSanitizer reads /proc/self at the end; no build for users has this rule. */
static void allow_proc(int ruleset)
{
	struct __attribute__((packed)) {
		uint64_t access;
		int32_t parent;
	} rule = { .access = (1U << 2) | (1U << 3) }; /* read file, read directory */
	DN_AUTO_FD int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	rule.parent = proc;
	if (proc >= 0)
		(void)syscall(LANDLOCK_SYS_ADD_RULE, ruleset, 1, &rule, 0);
}

static void mark(struct dn_jail_report *report, uint32_t abi)
{
	report->landlock_abi = abi;
	dn_jail_held(report, DN_JAIL_LANDLOCK_FILES, "Landlock ABI %u%s%s", abi,
		     abi < 3 ? "; cannot refuse truncation" : "",
		     DN_JAIL_SANITIZER ? "; sanitizer build: /proc can be read" : "");
	if (abi >= 4)
		dn_jail_held(report, DN_JAIL_LANDLOCK_NETWORK, "%s", "");
	else
		dn_jail_absent(report, DN_JAIL_LANDLOCK_NETWORK,
			       "Landlock ABI %u; needs ABI 4 (Linux 6.7)", abi);
	if (abi >= 6)
		dn_jail_held(report, DN_JAIL_LANDLOCK_SCOPE, "%s", "");
	else
		dn_jail_absent(report, DN_JAIL_LANDLOCK_SCOPE,
			       "Landlock ABI %u; needs ABI 6 (Linux 6.12)", abi);
}

static void mark_absent(struct dn_jail_report *report, const char *reason)
{
	report->landlock_abi = 0;
	dn_jail_absent(report, DN_JAIL_LANDLOCK_FILES, "%s", reason);
	dn_jail_absent(report, DN_JAIL_LANDLOCK_NETWORK, "%s", reason);
	dn_jail_absent(report, DN_JAIL_LANDLOCK_SCOPE, "%s", reason);
}

void dn_landlock_probe(struct dn_jail_report *report)
{
	const char *reason = "";
	uint32_t abi = dn_landlock_abi(&reason);

	if (abi)
		mark(report, abi);
	else
		mark_absent(report, reason);
}

int dn_landlock_enter(struct dn_jail_report *report, struct dn_error *err)
{
	const char *reason = "";
	uint32_t abi = dn_landlock_abi(&reason);
	struct landlock_ruleset ruleset;
	DN_AUTO_FD int fd = -1;

	if (!abi) {
		mark_absent(report, reason);
		return 0;
	}
	ruleset = everything(abi);
	fd = create(&ruleset, abi);
	if (fd < 0) {
		mark_absent(report, "the ruleset was refused");
		return dn_error_errno(err, errno, "jail: make a Landlock ruleset for ABI %u", abi);
	}
	if (DN_JAIL_SANITIZER)
		allow_proc(fd);
	if (syscall(LANDLOCK_SYS_RESTRICT_SELF, fd, 0) < 0) {
		/* Without no_new_privs and without CAP_SYS_ADMIN. */
		if (errno == EPERM) {
			mark_absent(report, "not permitted without no_new_privs");
			return 0;
		}
		/* 16 rulesets are in force already: those that started us hold others. */
		if (errno == E2BIG) {
			mark_absent(report, "too many Landlock layers around this process");
			return 0;
		}
		mark_absent(report, "the ruleset was refused");
		return dn_error_errno(err, errno, "jail: enter the Landlock ruleset");
	}
	mark(report, abi);
	return 0;
}
