/* SPDX-License-Identifier: MIT */
/* The conversation at a terminal: line editing, history, and what begins with a slash. */

#include "cli/console.h"

#include <errno.h>
#include <wchar.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/poll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

#define HISTORY_LINES 1000

/* What libedit hands to its callbacks. */
struct console {
	EditLine *edit;
	History *history;
	char history_path[4096];
	int interrupt_fd;
	bool interrupted;
};

static char *prompt_text(EditLine *edit)
{
	static char text[] = ">>> ";

	(void)edit;
	return text;
}

/* One byte of standard input; Ctrl-C comes by the other descriptor and ends the line. */
static int read_byte(struct console *console, unsigned char *ret_byte)
{
	struct pollfd fds[2] = {
		{ .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = console->interrupt_fd, .events = POLLIN },
	};

	for (;;) {
		ssize_t n;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return -1;
		if (fds[1].revents && dn_console_take_interrupt(console->interrupt_fd)) {
			console->interrupted = true;
			return 0;
		}
		if (!fds[0].revents)
			continue;
		n = read(STDIN_FILENO, ret_byte, 1);
		if (n < 0 && errno == EINTR)
			continue;
		return (int)n;
	}
}

/* A character, whatever number of bytes it has: what libedit expects of EL_GETCFN. */
static int read_character(EditLine *edit, wchar_t *ret_character)
{
	struct console *console = NULL;
	unsigned char byte;
	char bytes[4];
	size_t n = 0;

	if (el_get(edit, EL_CLIENTDATA, &console) < 0 || !console)
		return -1;
	while (n < sizeof(bytes)) {
		uint32_t point;
		int r = read_byte(console, &byte);

		if (r <= 0)
			return r;
		bytes[n++] = (char)byte;
		if (dn_utf8_complete(bytes, n) < n)
			continue;
		(void)dn_utf8_decode(bytes, n, &point);
		*ret_character = (wchar_t)point;
		return 1;
	}
	*ret_character = 0xfffd;
	return 1;
}

/* Makes the folders that lead to the history; a history that cannot be kept is no failure. */
static void find_history(struct console *console)
{
	struct dn_error ignored = DN_ERROR_INIT;
	char *path = console->history_path;
	size_t length;

	if (dn_cli_xdg("STATE", path, sizeof(console->history_path) - 16, &ignored) < 0) {
		path[0] = '\0';
		return;
	}
	length = strlen(path);
	for (size_t i = 1; i <= length; i++) {
		char was = path[i];

		if (was != '/' && was != '\0')
			continue;
		path[i] = '\0';
		(void)mkdir(path, 0700);
		path[i] = was;
	}
	memcpy(path + length, "/history", sizeof("/history"));
}

static int open_console(struct console *console, int interrupt_fd, struct dn_error *err)
{
	HistEvent event;

	console->interrupt_fd = interrupt_fd;
	/* Only how characters are read and drawn; numbers stay as they are. */
	(void)setlocale(LC_CTYPE, "");
	/* Where nobody has set one, libedit would lose every letter that is not ASCII. */
	if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		(void)setlocale(LC_CTYPE, "C.UTF-8");
	console->edit = el_init("dunlin", stdin, stdout, stderr);
	console->history = history_init();
	if (!console->edit || !console->history)
		return dn_error_memory(err, "line editing", 0);
	find_history(console);
	(void)history(console->history, &event, H_SETSIZE, HISTORY_LINES);
	(void)history(console->history, &event, H_SETUNIQUE, 1);
	if (console->history_path[0] != '\0')
		(void)history(console->history, &event, H_LOAD, console->history_path);
	(void)el_set(console->edit, EL_CLIENTDATA, console);
	(void)el_set(console->edit, EL_PROMPT, prompt_text);
	(void)el_set(console->edit, EL_SIGNAL, 0);
	(void)el_set(console->edit, EL_EDITOR, "emacs");
	(void)el_set(console->edit, EL_HIST, history, console->history);
	(void)el_source(console->edit, NULL);
	(void)el_set(console->edit, EL_GETCFN, read_character);
	return 0;
}

static void close_console(struct console *console)
{
	if (console->history)
		history_end(console->history);
	if (console->edit)
		el_end(console->edit);
}

static void remember(struct console *console, const char *line)
{
	HistEvent event;

	(void)history(console->history, &event, H_ENTER, line);
	if (console->history_path[0] == '\0')
		return;
	/* Prompts are nobody else's business. */
	(void)umask(077);
	(void)history(console->history, &event, H_SAVE, console->history_path);
}

/* Return: 1 with a line, 0 at the end. */
static int read_line(struct console *console, char *line, size_t size)
{
	for (;;) {
		const char *text;
		int count = 0;

		console->interrupted = false;
		el_resize(console->edit);
		/* Before the prompt shows: a Ctrl-D that comes right after it would be lost. */
		(void)el_set(console->edit, EL_PREP_TERM, 1);
		text = el_gets(console->edit, &count);
		if (console->interrupted) {
			printf("\n(/bye or Ctrl-D ends the conversation)\n");
			(void)fflush(stdout);
			continue;
		}
		if (!text || count <= 0) {
			printf("\n");
			return 0;
		}
		if ((size_t)count >= size) {
			printf("(a line has at most %zu bytes)\n", size - 1);
			continue;
		}
		memcpy(line, text, (size_t)count);
		line[count] = '\0';
		line[strcspn(line, "\n")] = '\0';
		if (line[strspn(line, " \t")] == '\0')
			continue;
		remember(console, line);
		return 1;
	}
}

int dn_console_catch_interrupts(struct dn_error *err)
{
	sigset_t signals;
	int fd;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGINT);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return dn_error_errno(err, errno, "block SIGINT");
	fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? dn_error_errno(err, errno, "take SIGINT") : fd;
}

bool dn_console_take_interrupt(int interrupt_fd)
{
	struct signalfd_siginfo info;

	return read(interrupt_fd, &info, sizeof(info)) == sizeof(info);
}

/* Return: 1 to go on, 0 to end, or a negative errno. */
static int command(const struct dn_console_talk *talk, const char *line, struct dn_error *err)
{
	int r;

	if (strcmp(line, "/bye") == 0)
		return 0;
	if (strcmp(line, "/reset") == 0) {
		r = talk->reset(talk->context, err);
		if (r >= 0)
			printf("(a new conversation)\n");
		return r < 0 ? r : 1;
	}
	if (strcmp(line, "/help") != 0)
		printf("unknown command; ");
	printf("/reset starts over, /bye or Ctrl-D ends, Ctrl-C stops an answer, /help is this\n");
	return 1;
}

static int converse(const struct dn_console_talk *talk, struct console *console,
		    struct dn_error *err)
{
	char line[65536];
	int r = talk->reset(talk->context, err);

	while (r >= 0 && read_line(console, line, sizeof(line)) > 0) {
		if (line[0] == '/') {
			r = command(talk, line, err);
			if (r <= 0)
				return r;
			continue;
		}
		r = talk->say(talk->context, line, err);
	}
	return r;
}

int dn_console_converse(const struct dn_console_talk *talk, int interrupt_fd, struct dn_error *err)
{
	struct console console = { .interrupt_fd = interrupt_fd };
	int r = open_console(&console, interrupt_fd, err);

	if (r >= 0)
		r = converse(talk, &console, err);
	close_console(&console);
	return r;
}
