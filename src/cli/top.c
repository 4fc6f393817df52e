/* SPDX-License-Identifier: MIT */
/* dunlin top: what a server does now, live. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>

#include "base/clock.h"
#include "cli/remote.h"
#include "cli/top.h"

#define SAMPLES	  10 /* that figures are about, at most: with an interval of 1, ten seconds */
#define ANSWER_MS 5000
#define MS	  UINT64_C(1000000)
#define SCREEN	  ((size_t)256 << 10)

struct values {
	const char *key_file;
	const char *ca;
	uint32_t interval;
	bool json;
};

static const struct dn_option options[] = {
	{ .name = "interval",
	  .letter = 'i',
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, interval),
	  .min = 1,
	  .max = 3600,
	  .argument = "SECONDS",
	  .help = "between two looks (default: 1)" },
	DN_OPTION_KEY_FILE(struct values),
	DN_OPTION_CA(struct values),
	{ .name = "json",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, json),
	  .help = "figures of one interval as one JSON object" },
};

static void set_defaults(void *data)
{
	struct values *values = data;

	values->interval = 1;
}

/**
 * struct top - all of it
 * @samples: the newest last
 * @signals: SIGINT, SIGTERM and SIGWINCH, live; -1: not live
 */
struct top {
	struct dn_remote remote;
	uint32_t interval;
	struct dn_top_sample samples[SAMPLES];
	size_t n_samples;
	json_t *props;
	struct dn_top_view view;
	int signals;
	struct termios terminal;
};

/* Samples. */

static void keep_sample(struct top *top, const struct dn_top_sample *sample)
{
	struct dn_top_view *view = &top->view;

	if (top->n_samples > 0 && dn_top_began_anew(sample, &top->samples[top->n_samples - 1]))
		top->n_samples = 0;
	if (top->n_samples == SAMPLES) {
		memmove(top->samples, top->samples + 1, (SAMPLES - 1) * sizeof(*sample));
		top->n_samples--;
	}
	top->samples[top->n_samples++] = *sample;
	view->sample = *sample;
	if (top->n_samples > 1) {
		struct dn_top_figures last;

		dn_top_compare(sample, &top->samples[top->n_samples - 2], &last);
		if (view->n_rates == DN_TOP_RATES) {
			memmove(view->rates, view->rates + 1,
				(DN_TOP_RATES - 1) * sizeof(*view->rates));
			view->n_rates--;
		}
		view->rates[view->n_rates++] = last.tokens_per_second;
	}
	dn_top_compare(sample, &top->samples[0], &view->figures);
}

static int look(struct top *top, struct dn_error *err)
{
	DN_AUTO_FREE char *metrics = NULL;
	struct dn_top_sample sample;
	json_t *props = NULL;
	uint64_t at;
	int r = dn_remote_get(&top->remote, "/metrics", ANSWER_MS, top->signals, &metrics, err);

	at = dn_clock_ns();
	if (r >= 0)
		r = dn_remote_get_json(&top->remote, "/props", ANSWER_MS, top->signals, &props,
				       err);
	if (r < 0)
		return r;
	json_decref(top->props);
	top->props = props;
	top->view.props = props;
	dn_top_read_sample(metrics, &sample);
	sample.at_ns = at;
	keep_sample(top, &sample);
	return 0;
}

/* Once, as text or JSON. */

static int wait_interval(const struct top *top)
{
	struct timespec left = { .tv_sec = top->interval };

	while (nanosleep(&left, &left) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int print_once(struct top *top, bool as_json, struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer out = DN_BUFFER_INIT(SCREEN);
	json_t *json;
	int r = look(top, err);

	if (r < 0)
		return r;
	r = wait_interval(top);
	if (r < 0)
		return dn_error_errno(err, -r, "wait");
	r = look(top, err);
	if (r < 0)
		return r;
	if (!as_json) {
		r = dn_top_print(&top->view, &out);
		return r < 0 ? dn_error_memory(err, "output", out.size)
			     : dn_cli_write(out.data, out.size, err);
	}
	json = dn_top_json(&top->view);
	if (!json)
		return dn_error_memory(err, "JSON output", 0);
	r = dn_cli_write_json(json, JSON_COMPACT, err);
	json_decref(json);
	return r;
}

/* On a terminal. */

static void write_screen(const char *text, size_t size)
{
	while (size > 0) {
		const ssize_t n = write(STDOUT_FILENO, text, size);

		if (n < 0 && errno != EINTR)
			return;
		text += n > 0 ? n : 0;
		size -= n > 0 ? (size_t)n : 0;
	}
}

/* Ctrl-Z would leave a terminal without echo behind. */
static int open_screen(struct top *top, struct dn_error *err)
{
	static const char begin[] = "\033[?1049h\033[?25l\033[H";
	struct termios keys;
	sigset_t signals;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGWINCH);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0 ||
	    (top->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
		return dn_error_errno(err, errno, "take signals");
	if (tcgetattr(STDIN_FILENO, &top->terminal) < 0)
		return dn_error_errno(err, errno, "the terminal");
	keys = top->terminal;
	keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	keys.c_cc[VMIN] = 1;
	keys.c_cc[VTIME] = 0;
	keys.c_cc[VSUSP] = _POSIX_VDISABLE;
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &keys) < 0)
		return dn_error_errno(err, errno, "the terminal");
	write_screen(begin, sizeof(begin) - 1);
	return 0;
}

static void close_screen(const struct top *top)
{
	static const char end[] = "\033[?25h\033[?1049l";

	write_screen(end, sizeof(end) - 1);
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &top->terminal);
	close(top->signals);
}

static int draw(struct top *top, struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer out = DN_BUFFER_INIT(SCREEN);
	struct winsize size = { 0 };
	int r = dn_buffer_append_text(&out, "\033[H");

	(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	top->view.columns = size.ws_col > 0 ? size.ws_col : 80;
	top->view.rows = size.ws_row > 0 ? size.ws_row : 24;
	if (r >= 0)
		r = dn_top_print(&top->view, &out);
	if (r < 0)
		return dn_error_memory(err, "the screen", out.size);
	write_screen(out.data, out.size);
	return 0;
}

/* Return: whether one of them ends it. */
static bool take_signals(const struct top *top)
{
	struct signalfd_siginfo info;
	bool end = false;

	while (read(top->signals, &info, sizeof(info)) == sizeof(info))
		end = end || info.ssi_signo != SIGWINCH;
	return end;
}

/* Return: whether a key ends it, or that there are no more. */
static bool take_keys(void)
{
	char keys[64];
	const ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

	return n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN) ||
	       (n > 0 && (memchr(keys, 'q', (size_t)n) || memchr(keys, 'Q', (size_t)n)));
}

/* Until the next look is due, drawing anew where the terminal's size changes. Return: 1 to go on, 0. */
static int wait_live(struct top *top, uint64_t until_ns, struct dn_error *err)
{
	struct pollfd fds[2] = {
		{ .fd = top->signals, .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};

	for (;;) {
		const uint64_t now = dn_clock_ns();
		const int left = now < until_ns ? (int)((until_ns - now) / MS) + 1 : 0;
		const int n = poll(fds, 2, left);
		int r;

		if (n < 0 && errno != EINTR)
			return dn_error_errno(err, errno, "wait");
		if (n == 0)
			return 1;
		if (n > 0 && fds[0].revents && take_signals(top))
			return 0;
		if (n > 0 && fds[1].revents && take_keys())
			return 0;
		r = draw(top, err);
		if (r < 0)
			return r;
	}
}

/* A server that is gone may come back: it is asked again. */
static int watch(struct top *top, struct dn_error *err)
{
	struct dn_error fault = DN_ERROR_INIT;
	uint64_t due = dn_clock_ns();
	int r;

	do {
		r = look(top, &fault);
		if (r != -EINTR) {
			top->view.fault = r < 0 ? fault.message : "";
			top->n_samples = r < 0 ? 0 : top->n_samples;
			due = dn_clock_ns() + top->interval * UINT64_C(1000) * MS;
		}
		r = draw(top, err);
		if (r >= 0)
			r = wait_live(top, due, err);
	} while (r > 0);
	return r;
}

static int run_live(struct top *top, struct dn_error *err)
{
	/* A server that does not answer at the start is an error like any other. */
	int r = look(top, err);

	if (r < 0)
		return r;
	r = open_screen(top, err);
	if (r < 0)
		return r;
	r = watch(top, err);
	close_screen(top);
	return r;
}

static int run(struct dn_invocation *invocation)
{
	const struct values *values = invocation->values;
	const bool live = !values->json && isatty(STDOUT_FILENO) && isatty(STDIN_FILENO);
	const char *where = invocation->n_args > 0 ? invocation->args[0] : NULL;
	struct top top = { .interval = values->interval, .signals = -1 };
	struct dn_error err = DN_ERROR_INIT;
	int r = dn_remote_init(where, values->key_file, values->ca, &top.remote, &err);

	top.view = (struct dn_top_view){
		.where = top.remote.server.name,
		.fault = "",
		.live = live,
		.bold = live && dn_cli_fancy(),
	};
	if (r >= 0)
		r = live ? run_live(&top, &err) : print_once(&top, values->json, &err);
	json_decref(top.props);
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_top = {
	.name = "top",
	.arguments = "[SERVER]",
	.summary = "Show what a server does now, live.",
	.details = "SERVER is HOST:PORT, http(s)://HOST:PORT or unix:PATH (default: "
		   "127.0.0.1:8080).\n"
		   "At a terminal it is drawn anew each second until q or Ctrl-C; elsewhere "
		   "figures of "
		   "one\n"
		   "second are printed.\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.max_args = 1,
	.values_size = sizeof(struct values),
	.defaults = set_defaults,
	.run = run,
};
