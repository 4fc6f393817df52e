/* SPDX-License-Identifier: MIT */
/*
 * The system calls that a worker may make, each group with its reason. What is not here ends the
 * process. Names that an architecture does not have are passed over.
 *
 * Not here, on purpose: open and its kin, socket, connect, bind, execve, fork (clone without
 * CLONE_THREAD), ptrace, process_vm_*, kill, io_uring (a second door to all of them), bpf,
 * userfaultfd, perf_event_open, keyctl, and everything about mounts, users and modules.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <features.h>
#include <sched.h>
#include <sys/mman.h>

#include "base/base.h"
#include "sandbox/jail.h"
#include "sandbox/jail-internal.h"

#define WORD		   UINT64_C(0xffffffff) /* the kernel reads 32 bits of the register */
#define ALLOW(name)	   { .call = (name) }
#define ANSWER(name, code) { .call = (name), .kind = DN_SECCOMP_ANSWER, .value = (code) }
#define SELF(name, index)  { .call = (name), .kind = DN_SECCOMP_SELF, .argument = (index) }
#define WHERE(name, index, bits, result)                                                           \
	{                                                                                          \
		.call = (name),                                                                    \
		.kind = DN_SECCOMP_MASKED,                                                         \
		.argument = (index),                                                               \
		.mask = (bits),                                                                    \
		.value = (result),                                                                 \
	}

static const struct dn_seccomp_rule memory[] = {
	WHERE("mmap", 2, PROT_EXEC, 0), WHERE("mprotect", 2, PROT_EXEC, 0), ALLOW("munmap"),
	ALLOW("mremap"), ALLOW("madvise"), ALLOW("brk"),
	/* What is there when a model has been loaded; RLIMIT_MEMLOCK bounds it. */
	WHERE("mlockall", 0, WORD, MCL_CURRENT),
	ALLOW("sysinfo"), /* qsort() of glibc asks how much memory it may take */
};

/* What pthread_create() passes: a thread in every respect, so nothing that could be a process. */
#define THREAD_FLAGS                                                                               \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND | CLONE_THREAD |        \
	 CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

static const struct dn_seccomp_rule threads[] = {
	/* musl adds CLONE_DETACHED, which does nothing since Linux 2.6. */
	WHERE("clone", 0, ~(uint64_t)CLONE_DETACHED, THREAD_FLAGS),
	/* Its flags are in memory, out of a filter's sight; the C library falls back to clone. */
	ANSWER("clone3", ENOSYS),
	ALLOW("futex"),
	ALLOW("set_robust_list"),
	ALLOW("rseq"),
	ALLOW("membarrier"), /* musl, at the first thread */
	ALLOW("sched_yield"),
	ALLOW("sched_getaffinity"),
	WHERE("sched_setaffinity", 0, WORD, 0),
	ALLOW("getcpu"),
	WHERE("prctl", 0, WORD, PR_SET_NAME),
};

static const struct dn_seccomp_rule time_calls[] = {
	ALLOW("clock_gettime"),	  ALLOW("clock_getres"), ALLOW("gettimeofday"), ALLOW("time"),
	ALLOW("clock_nanosleep"), ALLOW("nanosleep"),	 ALLOW("getrusage"),
};

static const struct dn_seccomp_rule files[] = {
	ALLOW("read"), ALLOW("write"), ALLOW("pread64"), ALLOW("pwrite64"), ALLOW("readv"),
	ALLOW("writev"), ALLOW("lseek"), ALLOW("close"), ALLOW("fstat"),
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33) && !__GLIBC_PREREQ(2, 39)
	/*
	 * fstat() of these versions. The path behind the pointer cannot be seen from here: such a
	 * build can ask whether a path exists, not what is in it.
	 */
	WHERE("newfstatat", 3, WORD, AT_EMPTY_PATH),
#endif
	WHERE("fcntl", 1, WORD, F_GETFD), WHERE("fcntl", 1, WORD, F_GETFL),
	WHERE("fcntl", 1, WORD, F_SETFL), WHERE("fcntl", 1, WORD, F_ADD_SEALS),
	WHERE("fcntl", 1, WORD, F_GET_SEALS),
	ANSWER("ioctl", ENOTTY), /* stdio asks whether its output is a terminal */
};

static const struct dn_seccomp_rule attachments[] = {
	ALLOW("memfd_create"),
	ALLOW("ftruncate"),
	ALLOW("fallocate"),
};

static const struct dn_seccomp_rule channel[] = {
	ALLOW("sendmsg"),
	ALLOW("recvmsg"),
	ALLOW("poll"),
	ALLOW("ppoll"),
};

static const struct dn_seccomp_rule process[] = {
	ALLOW("exit"),		 ALLOW("exit_group"),
	ALLOW("getpid"),	 ALLOW("gettid"),
	SELF("tgkill", 0),	 ALLOW("rt_sigaction"),
	ALLOW("rt_sigprocmask"), ALLOW("rt_sigreturn"),
	ALLOW("sigaltstack"),	 ALLOW("restart_syscall"),
	ALLOW("getrandom"),
};

#ifdef __x86_64__
#define ARCH_REQ_XCOMP_PERM 0x1023 /* <asm/prctl.h> of Linux 5.16 and later */

static const struct dn_seccomp_rule tiles[] = {
	WHERE("arch_prctl", 0, WORD, ARCH_REQ_XCOMP_PERM),
};
#endif

/* Opening is still Landlock's to refuse; sockets, exec and new processes of their own are not here. */
static const struct dn_seccomp_rule sanitizer[] = {
	ALLOW("clone"), /* LeakSanitizer stops the threads from a task of its own */
	ALLOW("ptrace"),      ALLOW("wait4"),	   ALLOW("openat"),	ALLOW("open"),
	ALLOW("readlink"),    ALLOW("readlinkat"), ALLOW("newfstatat"), ALLOW("stat"),
	ALLOW("access"),      ALLOW("getdents"),   ALLOW("getdents64"), ALLOW("prctl"),
	ALLOW("prlimit64"),   ALLOW("getrlimit"),  ALLOW("setrlimit"),	ALLOW("sched_setaffinity"),
	ALLOW("getppid"),     ALLOW("getuid"),	   ALLOW("geteuid"),	ALLOW("getgid"),
	ALLOW("getegid"),     ALLOW("pipe2"),	   ALLOW("pipe"),	ALLOW("dup"),
	ALLOW("personality"), ALLOW("mincore"),	   ALLOW("mlock"),	ALLOW("munlock"),
	ALLOW("uname"),	      ALLOW("getcwd"),	   ALLOW("unlink"),	ALLOW("kill"),
};

#define GROUP(label, why, which, table) { (label), (why), (which), (table), DN_ARRAY_SIZE(table) }

const struct dn_seccomp_group dn_seccomp_groups[] = {
	GROUP("memory", "the heap, the cache, mapping of attachments; never executable",
	      DN_JAIL_LIST_RELEASE, memory),
	GROUP("threads", "the pool of a step: start, wait, pin oneself; no new process",
	      DN_JAIL_LIST_RELEASE, threads),
	GROUP("time", "timings, short sleeps", DN_JAIL_LIST_RELEASE, time_calls),
	GROUP("files", "descriptors that it was given; none can be opened", DN_JAIL_LIST_RELEASE,
	      files),
	GROUP("attachments", "sealed memory to send: snapshots, logits", DN_JAIL_LIST_RELEASE,
	      attachments),
	GROUP("channel", "frames on the socket that it was given", DN_JAIL_LIST_RELEASE, channel),
	GROUP("process", "signals, abort() and the end of itself, random numbers",
	      DN_JAIL_LIST_RELEASE, process),
#ifdef __x86_64__
	GROUP("tiles", "to have AMX's registers, which a process must ask for",
	      DN_JAIL_LIST_RELEASE, tiles),
#endif
	GROUP("sanitizer", "reports and leak checks of test builds", DN_JAIL_LIST_SANITIZER,
	      sanitizer),
	{ .name = NULL },
};
