/* SPDX-License-Identifier: MIT */
/* The lines of "dunlin top", cut to the terminal's width, and the same as JSON. */

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/top.h"

#define LINE_MAX  512
#define BAR_WIDTH 24
#define MIB	  1048576.0
#define NAME_MAX  22

enum style { PLAIN, BOLD };

/**
 * struct page - lines that are being written
 * @r: of the first write that failed
 */
struct page {
	const struct dn_top_view *view;
	struct dn_buffer *out;
	size_t rows;
	int r;
};

static void put(struct page *page, const char *text, size_t size)
{
	if (page->r >= 0)
		page->r = dn_buffer_append(page->out, text, size);
}

/* How many bytes the first @columns characters have. */
static size_t cut(const char *text, size_t columns)
{
	const size_t size = strlen(text);
	size_t at = 0;

	for (size_t n = 0; at < size && n < columns; n++) {
		uint32_t point;

		at += dn_utf8_decode(text + at, size - at, &point);
	}
	return at;
}

/* The rest of a line that was longer is cleared, and no line wraps or scrolls the others away. */
static void line(struct page *page, enum style style, const char *format, ...) DN_PRINTF(3, 4);
static void line(struct page *page, enum style style, const char *format, ...)
{
	const struct dn_top_view *view = page->view;
	const bool bold = style == BOLD && view->bold;
	char raw[LINE_MAX];
	char text[3 * LINE_MAX];
	va_list args;

	if (view->live && page->rows + 1 >= view->rows)
		return;
	va_start(args, format);
	(void)vsnprintf(raw, sizeof(raw), format, args);
	va_end(args);
	dn_text_printable(raw, strlen(raw), text, sizeof(text));
	if (bold)
		put(page, "\033[1m", 4);
	put(page, text, view->columns > 0 ? cut(text, view->columns) : strlen(text));
	if (bold)
		put(page, "\033[0m", 4);
	if (view->live)
		put(page, "\033[K", 3);
	put(page, "\n", 1);
	page->rows++;
}

/* "82 ms" */
static const char *duration(double seconds, char out[16])
{
	if (isnan(seconds))
		(void)snprintf(out, 16, "-");
	else if (seconds >= 1)
		(void)snprintf(out, 16, "%.1f s", DN_MIN(seconds, 99999.0));
	else
		(void)snprintf(out, 16, seconds < 0.01 ? "%.2f ms" : "%.0f ms", seconds * 1000);
	return out;
}

static void times(struct page *page, const char *name, const double *seconds)
{
	char half[16];
	char most[16];

	line(page, PLAIN, "%-16s half below %-9s 95 %% below %s", name, duration(seconds[0], half),
	     duration(seconds[1], most));
}

/* The last minute as blocks of eighths. */
static void curve(const struct dn_top_view *view, char *out, size_t size)
{
	static const char *const blocks[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	const size_t room = view->columns > 30 ? view->columns - 30 : 0;
	const size_t shown = DN_MIN(view->n_rates, DN_MIN(room, (size_t)DN_TOP_RATES));
	const double *rates = view->rates + view->n_rates - shown;
	double most = 1;
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; i < shown; i++)
		most = DN_MAX(most, rates[i]);
	for (size_t i = 0; i < shown && at + 4 < size; i++) {
		const size_t level = (size_t)DN_MIN(7.0, DN_MAX(0.0, rates[i] / most * 7.999));

		at += (size_t)snprintf(out + at, size - at, "%s", blocks[level]);
	}
}

static json_int_t integer(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static const char *string(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "-";
}

static json_int_t sum(const json_t *models, const char *name)
{
	const json_t *model;
	json_int_t all = 0;
	size_t i;

	json_array_foreach(models, i, model) all += integer(model, name);
	return all;
}

/* Of /props, whose numbers are whole. */
static json_int_t memory_of(const struct dn_top_view *view, const char *name)
{
	return integer(json_object_get(view->props, "memory"), name);
}

static json_int_t used(const struct dn_top_view *view)
{
	return memory_of(view, "supervisor_bytes") + memory_of(view, "front_bytes") +
	       memory_of(view, "workers_bytes");
}

static void memory(struct page *page)
{
	const struct dn_top_view *view = page->view;
	const double all = (double)used(view);
	const double budget = (double)memory_of(view, "budget_bytes");
	char bar[BAR_WIDTH + 1];

	if (budget > 0) {
		const double part = DN_MAX(0.0, DN_MIN(1.0, all / budget));
		const int filled = (int)(part * BAR_WIDTH + 0.5);

		for (int i = 0; i < BAR_WIDTH; i++)
			bar[i] = i < filled ? '#' : '.';
		bar[BAR_WIDTH] = '\0';
		line(page, PLAIN, "%-16s [%s] %.0f of %.0f MiB", "memory", bar, all / MIB,
		     budget / MIB);
	} else {
		line(page, PLAIN, "%-16s %.0f MiB, no budget", "memory", all / MIB);
	}
	line(page, PLAIN, "%-16s workers %.0f, front %.0f, supervisor %.0f; weights %.0f MiB", "",
	     (double)memory_of(view, "workers_bytes") / MIB,
	     (double)memory_of(view, "front_bytes") / MIB,
	     (double)memory_of(view, "supervisor_bytes") / MIB,
	     (double)memory_of(view, "weights_bytes") / MIB);
}

/* A name of any length and script within its column. */
static void column(const char *text, char *out, size_t size)
{
	const size_t bytes = DN_MIN(cut(text, NAME_MAX), size - NAME_MAX - 1);
	size_t points = 0;

	memcpy(out, text, bytes);
	for (size_t i = 0; i < bytes; i++)
		points += ((unsigned char)text[i] & 0xc0) != 0x80;
	memset(out + bytes, ' ', NAME_MAX - DN_MIN(points, (size_t)NAME_MAX));
	out[bytes + NAME_MAX - DN_MIN(points, (size_t)NAME_MAX)] = '\0';
}

static void models(struct page *page, const json_t *list)
{
	const json_t *model;
	size_t i;

	line(page, PLAIN, "%s", "");
	line(page, BOLD, "%-*s %-10s %9s %7s %8s %9s %8s", NAME_MAX, "MODEL", "STATE", "ACTIVE",
	     "WAITING", "CONTEXT", "MEMORY", "RESTARTS");
	json_array_foreach(list, i, model)
	{
		const json_t *meta = json_object_get(model, "meta");
		char name[6 * NAME_MAX];
		char active[32];

		column(string(model, "id"), name, sizeof(name));
		(void)snprintf(active, sizeof(active), "%lld/%lld",
			       (long long)integer(model, "active"),
			       (long long)integer(model, "places"));
		line(page, PLAIN, "%s %-10s %9s %7lld %8lld %5.0f MiB %8lld", name,
		     string(meta, "state"), active, (long long)integer(model, "waiting"),
		     (long long)integer(meta, "context_length"),
		     (double)integer(meta, "memory_bytes") / MIB,
		     (long long)integer(model, "restarts"));
		if (json_object_get(model, "reason"))
			line(page, PLAIN, "  %s", string(model, "reason"));
	}
}

static void figures(struct page *page)
{
	const struct dn_top_view *view = page->view;
	const struct dn_top_figures *f = &view->figures;
	const json_t *list = json_object_get(view->props, "models");
	char text[4 * DN_TOP_RATES + 1];

	curve(view, text, sizeof(text));
	line(page, BOLD, "%-16s %-10.1f %s", "tokens/s", f->tokens_per_second, text);
	times(page, "first token", f->first_token_s);
	times(page, "between tokens", f->between_tokens_s);
	times(page, "queue", f->queue_s);
	line(page, PLAIN, "%-16s %lld active of %lld, %lld waiting of %lld", "requests",
	     (long long)sum(list, "active"), (long long)sum(list, "places"),
	     (long long)sum(list, "waiting"),
	     (long long)integer(json_object_get(view->props, "limits"), "queue") *
		     (long long)json_array_size(list));
	if (isnan(f->cpu_per_token_s))
		line(page, PLAIN, "%-16s %.2f cores", "processor", f->cores);
	else
		line(page, PLAIN, "%-16s %.2f cores, %.5f CPU-seconds/token", "processor", f->cores,
		     f->cpu_per_token_s);
	memory(page);
	line(page, PLAIN, "%-16s workers %lld, front %.0f", "restarts",
	     (long long)sum(list, "restarts"), view->sample.values[DN_TOP_FRONT_RESTARTS]);
	models(page, list);
}

/* A text that matters to its end, in as many lines as that takes. */
static void whole(struct page *page, const char *text)
{
	const size_t columns = page->view->columns;

	do {
		const size_t size = columns > 0 ? cut(text, columns) : strlen(text);

		line(page, PLAIN, "%.*s", (int)size, text);
		text += size;
	} while (*text);
}

int dn_top_print(const struct dn_top_view *view, struct dn_buffer *out)
{
	struct page page = { .view = view, .out = out };

	line(&page, BOLD, "%s at %s%s", view->props ? string(view->props, "version") : "dunlin",
	     view->where, view->live ? "   (q ends)" : "");
	line(&page, PLAIN, "%s", "");
	if (view->fault[0] != '\0')
		whole(&page, view->fault);
	else
		figures(&page);
	if (view->live)
		put(&page, "\033[J", 3);
	return page.r;
}

/* JSON has no NAN: null says that nothing happened. */
static json_t *real(double value)
{
	return isnan(value) ? json_null() : json_real(value);
}

static json_t *both(const double *seconds)
{
	return json_pack("{s:o, s:o}", "p50_ms", real(seconds[0] * 1000), "p95_ms",
			 real(seconds[1] * 1000));
}

json_t *dn_top_json(const struct dn_top_view *view)
{
	const struct dn_top_figures *f = &view->figures;
	const json_t *list = json_object_get(view->props, "models");

	return json_pack(
		"{s:s, s:s, s:f, s:f, s:o, s:o, s:o, s:I, s:I, s:f, s:o, s:I, "
		"s:{s:I, s:I, s:I}, s:O*}",
		"server", view->where, "version", string(view->props, "version"), "seconds",
		f->seconds, "tokens_per_second", f->tokens_per_second, "first_token",
		both(f->first_token_s), "between_tokens", both(f->between_tokens_s), "queue",
		both(f->queue_s), "active", sum(list, "active"), "waiting", sum(list, "waiting"),
		"cores", f->cores, "cpu_seconds_per_token", real(f->cpu_per_token_s),
		"front_restarts", (json_int_t)view->sample.values[DN_TOP_FRONT_RESTARTS], "memory",
		"used_bytes", used(view), "budget_bytes", memory_of(view, "budget_bytes"),
		"weights_bytes", memory_of(view, "weights_bytes"), "models", (json_t *)list);
}
