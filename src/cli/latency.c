/* SPDX-License-Identifier: MIT */
/* Times between tokens: taken, sorted, and shown as a table, as JSON and as a picture. */

#include "cli/latency.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	double percent;
	const char *name;
	const char *key;
} shown[] = {
	{ 50, "p50", "p50_ms" },
	{ 99, "p99", "p99_ms" },
	{ 99.9, "p99.9", "p99_9_ms" },
};

int dn_latency_init(struct dn_latency *latency, uint32_t answers, uint32_t tokens,
		    struct dn_error *err)
{
	size_t n = (size_t)answers * (DN_MAX(tokens, 1U) - 1);

	*latency = (struct dn_latency){ .capacity = n, .first_capacity = answers };
	if (n > DN_LATENCY_MAX)
		return dn_error_set(err, E2BIG, "times of %zu tokens: at most %zu", n,
				    DN_LATENCY_MAX);
	latency->gaps = calloc(DN_MAX(n, (size_t)1), sizeof(*latency->gaps));
	latency->first = calloc(DN_MAX(answers, 1U), sizeof(*latency->first));
	if (!latency->gaps || !latency->first) {
		dn_latency_done(latency);
		return dn_error_memory(err, "times", n * sizeof(*latency->gaps));
	}
	return 0;
}

void dn_latency_done(struct dn_latency *latency)
{
	free(latency->gaps);
	free(latency->first);
	*latency = (struct dn_latency){ .gaps = NULL };
}

void dn_latency_ask(struct dn_latency *latency, uint64_t now_ns)
{
	latency->asked_ns = now_ns;
	latency->last_ns = 0;
}

void dn_latency_token(struct dn_latency *latency, uint64_t now_ns)
{
	if (latency->last_ns && latency->n < latency->capacity)
		latency->gaps[latency->n++] = (double)(now_ns - latency->last_ns) / 1e6;
	else if (!latency->last_ns && latency->n_first < latency->first_capacity)
		latency->first[latency->n_first++] = (double)(now_ns - latency->asked_ns) / 1e6;
	latency->last_ns = now_ns;
}

void dn_latency_reset(struct dn_latency *latency)
{
	latency->n = latency->n_first = 0;
}

int dn_compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return (x > y) - (x < y);
}

void dn_latency_sort(struct dn_latency *latency)
{
	/* Never made, it has no arrays. */
	if (!latency->gaps)
		return;
	qsort(latency->gaps, latency->n, sizeof(*latency->gaps), dn_compare_doubles);
	qsort(latency->first, latency->n_first, sizeof(*latency->first), dn_compare_doubles);
}

size_t dn_latency_needed(double percent)
{
	/* 99.9 is a little less than that as a double: the count is of whole times. */
	return percent < 100 ? (size_t)llround(100 / (100 - percent)) : 1;
}

/* Nearest rank: a time that was seen, never one between two. */
static double at_rank(const double *sorted, size_t n, double percent)
{
	size_t rank = (size_t)ceil((double)n * percent / 100 - 1e-9);

	return sorted[DN_MAX(rank, (size_t)1) - 1];
}

static bool percentile(const double *sorted, size_t n, double percent, double *ret_ms)
{
	if (n < dn_latency_needed(percent))
		return false;
	*ret_ms = at_rank(sorted, n, percent);
	return true;
}

bool dn_latency_percentile(const struct dn_latency *latency, double percent, double *ret_ms)
{
	return percentile(latency->gaps, latency->n, percent, ret_ms);
}

static void print_times(const char *what, const double *sorted, size_t n)
{
	double ms = 0;

	printf("%-15s %zu times:", what, n);
	for (size_t i = 0; i < DN_ARRAY_SIZE(shown); i++) {
		if (percentile(sorted, n, shown[i].percent, &ms))
			printf(" %s %.2f ms,", shown[i].name, ms);
		else
			printf(" %s (takes %zu times),", shown[i].name,
			       dn_latency_needed(shown[i].percent));
	}
	printf(" max %.2f ms\n", n ? sorted[n - 1] : 0);
}

void dn_latency_print(const struct dn_latency *latency)
{
	print_times("between tokens", latency->gaps, latency->n);
	if (latency->n_first)
		print_times("first token", latency->first, latency->n_first);
}

static json_t *times_json(const double *sorted, size_t n)
{
	json_t *json = json_pack("{s:I}", "samples", (json_int_t)n);
	double ms = 0;
	int failed = json ? 0 : -1;

	for (size_t i = 0; i < DN_ARRAY_SIZE(shown); i++) {
		bool enough = percentile(sorted, n, shown[i].percent, &ms);

		failed |= json_object_set_new(json, shown[i].key,
					      enough ? json_real(ms) : json_null());
	}
	if (n)
		failed |= json_object_set_new(json, "max_ms", json_real(sorted[n - 1]));
	if (failed == 0)
		return json;
	json_decref(json);
	return NULL;
}

json_t *dn_latency_json(const struct dn_latency *latency)
{
	json_t *json = times_json(latency->gaps, latency->n);

	if (!json || !latency->n_first)
		return json;
	if (json_object_set_new(json, "first_token",
				times_json(latency->first, latency->n_first)) == 0)
		return json;
	json_decref(json);
	return NULL;
}

/* The picture's frame, in pixels. */
#define SVG_WIDTH  640
#define SVG_HEIGHT 360
#define SVG_LEFT   60
#define SVG_RIGHT  20
#define SVG_TOP	   40
#define SVG_BOTTOM 50
#define SVG_POINTS 240

/* Nines on the x axis: 0 is the least time, 1 is 90 %, 2 is 99 %, as far as times were seen. */
static double x_of(double nines, double most)
{
	return SVG_LEFT + (SVG_WIDTH - SVG_LEFT - SVG_RIGHT) * nines / most;
}

static double y_of(double ms, double top)
{
	return SVG_HEIGHT - SVG_BOTTOM - (SVG_HEIGHT - SVG_TOP - SVG_BOTTOM) * ms / top;
}

/* 1, 2 or 5 times a power of ten: about five of them up to @top. */
static double round_step(double top)
{
	double power = pow(10, floor(log10(top / 5)));
	double part = top / 5 / power;

	return power * (part > 5 ? 10 : part > 2 ? 5 : part > 1 ? 2 : 1);
}

static void put_escaped(const char *text, FILE *out)
{
	for (; *text; text++) {
		if (strchr("<>&\"", *text))
			(void)fprintf(out, "&#%d;", *text);
		else
			(void)fputc((unsigned char)*text < 0x20 ? ' ' : *text, out);
	}
}

static void draw_axes(double most, double top, FILE *out)
{
	const double step = round_step(top);

	for (int i = 0; i * step <= top; i++)
		(void)fprintf(out,
			      "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/>"
			      "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
			      SVG_LEFT, y_of(i * step, top), SVG_WIDTH - SVG_RIGHT, SVG_LEFT - 6,
			      y_of(i * step, top) + 4, i * step);
	for (int nines = 0; nines <= most; nines++)
		(void)fprintf(out,
			      "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.10g %%</text>\n",
			      x_of(nines, most), SVG_HEIGHT - SVG_BOTTOM + 18,
			      100 - 100 / pow(10, nines));
	(void)fprintf(out,
		      "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">of the times between tokens "
		      "are at most so many ms</text>\n",
		      SVG_WIDTH / 2, SVG_HEIGHT - 10);
}

void dn_latency_svg(const struct dn_latency *latency, const char *title, FILE *out)
{
	/* One time in @n is the furthest that was seen. */
	const double most = fmax(log10(fmax((double)latency->n, 1)), 1);
	const double top = latency->n ? fmax(latency->gaps[latency->n - 1], 1e-3) * 1.05 : 1;

	(void)fprintf(out,
		      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
		      "font-family=\"sans-serif\" font-size=\"12\">\n"
		      "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
		      "<text x=\"%d\" y=\"20\" font-size=\"14\">",
		      SVG_WIDTH, SVG_HEIGHT, SVG_LEFT);
	put_escaped(title, out);
	(void)fprintf(out, "</text>\n");
	draw_axes(most, top, out);
	(void)fprintf(out, "<polyline fill=\"none\" stroke=\"#06c\" stroke-width=\"2\" points=\"");
	for (int i = 0; latency->n && i <= SVG_POINTS; i++) {
		double nines = most * i / SVG_POINTS;
		double percent = 100 - 100 / pow(10, nines);

		(void)fprintf(out, "%.1f,%.1f ", x_of(nines, most),
			      y_of(at_rank(latency->gaps, latency->n, percent), top));
	}
	(void)fprintf(out, "\"/>\n</svg>\n");
}
