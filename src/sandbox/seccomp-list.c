/* SPDX-License-Identifier: MIT */
/*
 * The system calls that a worker, or the front of a server, may make, each group with its reason.
 * What is not here ends the process. Names that an architecture does not have are passed over.
 *
 * Not here, on purpose: open and its kin, socket, connect, bind, execve, fork (clone without
 * CLONE_THREAD), ptrace, process_vm_*, kill, io_uring (a second door to all of them), bpf,
 * userfaultfd, perf_event_open, keyctl, and everything about mounts, users and modules.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <features.h>
#include <netinet/in.h> /* IWYU pragma: keep; IPPROTO_TCP */
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h> /* IWYU pragma: keep; SOL_SOCKET */

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
#define OPTION(name, index, level, option)                                                         \
	{                                                                                          \
		.call = (name),                                                                    \
		.kind = DN_SECCOMP_OPTION,                                                         \
		.argument = (index),                                                               \
		.value = (level),                                                                  \
		.mask = (option),                                                                  \
	}

static const struct dn_seccomp_rule memory[] = {
	WHERE("mmap", 2, PROT_EXEC, 0),
	WHERE("mprotect", 2, PROT_EXEC, 0),
	ALLOW("munmap"),
	ALLOW("mremap"),
	ALLOW("madvise"),
	ALLOW("brk"),
	ALLOW("sysinfo"), /* qsort() of glibc asks how much memory it may take */
};

static const struct dn_seccomp_rule locking[] = {
	/* What is there when a model has been loaded; RLIMIT_MEMLOCK bounds it. */
	WHERE("mlockall", 0, WORD, MCL_CURRENT),
};

/* Taken without a thread too: pthread_once() wakes those who wait. */
static const struct dn_seccomp_rule locks[] = {
	ALLOW("futex"),
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

static const struct dn_seccomp_rule events[] = {
	ALLOW("epoll_create1"),
	ALLOW("epoll_ctl"),
	ALLOW("epoll_wait"),
	ALLOW("epoll_pwait"),
	ALLOW("epoll_pwait2"),
	ALLOW("timerfd_create"),
	ALLOW("timerfd_settime"),
	/* What wakes the loop from a signal's handler. */
	ALLOW("eventfd2"),
	ALLOW("pipe2"),
	/* libevent reads its environment only where it is no set-user-ID program. */
	ALLOW("getuid"),
	ALLOW("geteuid"),
	ALLOW("getgid"),
	ALLOW("getegid"),
};

/*
 * Of the options, those that steer a connection that is there: none that attaches a program
 * (SO_ATTACH_BPF), binds to a device, or puts another protocol on top (TCP_ULP).
 */
static const struct dn_seccomp_rule connections[] = {
	ALLOW("accept4"),
	ALLOW("recvfrom"),
	ALLOW("sendto"),
	ALLOW("shutdown"),
	ALLOW("getsockname"),
	ALLOW("getpeername"),
	ALLOW("getsockopt"),
	OPTION("setsockopt", 1, SOL_SOCKET, SO_KEEPALIVE),
	OPTION("setsockopt", 1, SOL_SOCKET, SO_LINGER),
	OPTION("setsockopt", 1, SOL_SOCKET, SO_SNDBUF),
	OPTION("setsockopt", 1, SOL_SOCKET, SO_RCVBUF),
	OPTION("setsockopt", 1, IPPROTO_TCP, TCP_NODELAY),
	OPTION("setsockopt", 1, IPPROTO_TCP, TCP_KEEPIDLE),
	OPTION("setsockopt", 1, IPPROTO_TCP, TCP_KEEPINTVL),
	OPTION("setsockopt", 1, IPPROTO_TCP, TCP_KEEPCNT),
	OPTION("setsockopt", 1, IPPROTO_TCP, TCP_USER_TIMEOUT),
	WHERE("fcntl", 1, WORD, F_SETFD),
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
	ALLOW("sched_yield"), ALLOW("uname"),	   ALLOW("getcwd"),	ALLOW("unlink"),
	ALLOW("kill"),
};

#define WORKER (1U << DN_JAIL_WORKER)
#define FRONT  (1U << DN_JAIL_FRONT)
#define BOTH   (WORKER | FRONT)

#define GROUP_OF(label, why, whose, which, table)                                                  \
	{ (label), (why), (whose), (which), (table), DN_ARRAY_SIZE(table) }
#define GROUP(label, why, whose, table) GROUP_OF(label, why, whose, DN_JAIL_LIST_RELEASE, table)

const struct dn_seccomp_group dn_seccomp_groups[] = {
	GROUP("memory", "the heap, the cache, mapping of attachments; never executable", BOTH,
	      memory),
	GROUP("locking", "real time: what is in memory stays there", WORKER, locking),
	GROUP("locks", "those of the C library and of others", BOTH, locks),
	GROUP("threads", "the pool of a step: start, wait, pin oneself; no new process", WORKER,
	      threads),
	GROUP("time", "timings, short sleeps", BOTH, time_calls),
	GROUP("files", "descriptors that it was given; none can be opened", BOTH, files),
	GROUP("attachments", "sealed memory to send: snapshots, logits, prompts", BOTH,
	      attachments),
	GROUP("channel", "frames on the sockets that it was given", BOTH, channel),
	GROUP("events", "one loop for all connections, with time-outs", FRONT, events),
	GROUP("connections", "what comes in at the sockets that listen; nothing goes out", FRONT,
	      connections),
	GROUP("process", "signals, abort() and the end of itself, random numbers", BOTH, process),
#ifdef __x86_64__
	GROUP("tiles", "to have AMX's registers, which a process must ask for", WORKER, tiles),
#endif
	GROUP_OF("sanitizer", "reports and leak checks of test builds", BOTH,
		 DN_JAIL_LIST_SANITIZER, sanitizer),
	{ .name = NULL },
};
