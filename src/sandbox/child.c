/* SPDX-License-Identifier: MIT */
/* How a child ended, in words. */

#include <errno.h>
#include <features.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/poll.h>
#include <sys/wait.h>
#include <time.h>

#include "base/base.h"
#include "sandbox/spawn.h"

/* How often to look where the kernel has no pidfd. */
#define LOOK_EVERY_MS 2

static const char *signal_words(int signal)
{
	switch (signal) {
	case SIGSYS:
		return ": a system call outside its list";
	case SIGKILL:
		return ": perhaps out of memory (see the kernel's log), or ended by someone";
	case SIGSEGV:
		return ": a bad memory access";
	case SIGBUS:
		return ": a file or memory vanished under it";
	case SIGILL:
		return ": an instruction that this CPU lacks (try DUNLIN_CPU=scalar)";
	case SIGABRT:
		return ": it found itself broken";
	case SIGXCPU:
		return ": its CPU time was used up";
	default:
		return "";
	}
}

void dn_child_describe(int status, struct dn_child_end *ret_end)
{
	const char *name;

	memset(ret_end, 0, sizeof(*ret_end));
	if (WIFSIGNALED(status)) {
		ret_end->signal = WTERMSIG(status);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
		name = sigabbrev_np(ret_end->signal);
#else
		name = NULL;
#endif
		if (name)
			(void)snprintf(ret_end->words, sizeof(ret_end->words), "killed by SIG%s%s",
				       name, signal_words(ret_end->signal));
		else
			(void)snprintf(ret_end->words, sizeof(ret_end->words),
				       "killed by signal %d%s", ret_end->signal,
				       signal_words(ret_end->signal));
		return;
	}
	ret_end->code = WEXITSTATUS(status);
	(void)snprintf(ret_end->words, sizeof(ret_end->words), "exit code %d%s", ret_end->code,
		       ret_end->code == DN_CHILD_SIGNALLED + SIGABRT ? signal_words(SIGABRT) : "");
}

static int64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Sleeps until the child may have ended, at most @timeout_ms (-1: no limit). */
static void wait_a_while(const struct dn_child *child, int timeout_ms)
{
	struct pollfd one = { .fd = child->pidfd, .events = POLLIN };

	if (child->pidfd < 0 && (timeout_ms < 0 || timeout_ms > LOOK_EVERY_MS))
		timeout_ms = LOOK_EVERY_MS;
	(void)poll(&one, child->pidfd >= 0 ? 1 : 0, timeout_ms);
}

int dn_child_wait(struct dn_child *child, int timeout_ms, struct dn_child_end *ret_end,
		  struct dn_error *err)
{
	int64_t deadline = timeout_ms < 0 ? 0 : now_ms() + timeout_ms;

	if (child->pid <= 0)
		return dn_error_set(err, ECHILD, "wait for a process that is not there");
	for (;;) {
		int status;
		pid_t got = waitpid(child->pid, &status, WNOHANG);
		int64_t left = timeout_ms < 0 ? -1 : deadline - now_ms();

		if (got == child->pid) {
			dn_child_describe(status, ret_end);
			dn_close_cleanup(&child->pidfd);
			*child = (struct dn_child)DN_CHILD_INIT;
			return 1;
		}
		if (got < 0 && errno != EINTR)
			return dn_error_errno(err, errno, "wait for process %d", (int)child->pid);
		if (timeout_ms >= 0 && left <= 0)
			return 0;
		wait_a_while(child, (int)left);
	}
}

void dn_child_done(struct dn_child *child)
{
	struct dn_child_end end;

	if (!child || child->pid <= 0)
		return;
	/* Not waited for yet, so the number is still this child's. */
	(void)kill(child->pid, SIGKILL);
	if (dn_child_wait(child, -1, &end, NULL) <= 0) {
		dn_close_cleanup(&child->pidfd);
		*child = (struct dn_child)DN_CHILD_INIT;
	}
}
