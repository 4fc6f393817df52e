/* SPDX-License-Identifier: MIT */
/*
 * What a server may answer, in pieces, to "dunlin chat", "top" and "health": lines and bodies stay
 * within their bounds, whatever it is. The body is then read as /metrics, too, and shown.
 *
 * An input is: the name of a server, up to a line end; bytes of each piece (1); the answer.
 */

#include <string.h>

#include <jansson.h>

#include "cli/top.h"
#include "fetch/fetch.h"
#include "fuzz.h"

#define MAX_BYTES 4096

static void name(const uint8_t *data, size_t size)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_fetch_server server;
	char text[512];

	if (size >= sizeof(text))
		size = sizeof(text) - 1;
	memcpy(text, data, size);
	text[size] = '\0';
	if (failed(dn_fetch_server_parse(text, &server, &err), &err))
		return;
	MUST((server.path[0] != '\0') != (server.host[0] != '\0'));
	MUST(server.path[0] || server.port[0]);
	MUST(!strpbrk(server.authority, " \t\r\n"));
}

static void take_lines(struct dn_fetch *fetch)
{
	size_t size;
	const char *line;

	while ((line = dn_fetch_line(fetch, &size)))
		MUST(strlen(line) <= size && fetch->taken <= fetch->body.size);
}

static void show(const char *text)
{
	struct dn_top_view view = { .where = "a", .fault = "", .columns = 40 };
	struct dn_top_sample before = { 0 };
	DN_AUTO_BUFFER struct dn_buffer out = DN_BUFFER_INIT(1 << 20);
	json_t *json;

	dn_top_read_sample(text, &view.sample);
	view.sample.at_ns = 1000000000;
	dn_top_compare(&view.sample, &before, &view.figures);
	MUST(dn_top_print(&view, &out) == 0);
	MUST(!memchr(out.data, '\033', out.size));
	json = dn_top_json(&view);
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
	struct dn_error err = DN_ERROR_INIT;
	struct dn_fetch fetch;
	bool lines;
	size_t piece;
	int r = 0;

	if (!end || (size_t)(end - data) + 2 > size)
		return 0;
	name(data, (size_t)(end - data));
	size -= (size_t)(end - data) + 1;
	data = end + 1;
	lines = data[0] & 1;
	piece = (size_t)data[0] + 1;
	data++;
	size--;
	dn_fetch_init(&fetch, MAX_BYTES);
	while (size > 0 && r >= 0) {
		const size_t n = piece < size ? piece : size;

		r = dn_fetch_take(&fetch, (const char *)data, n, &err);
		(void)failed(r, &err);
		MUST(fetch.body.size <= MAX_BYTES);
		if (lines)
			take_lines(&fetch);
		data += n;
		size -= n;
	}
	if (r >= 0)
		(void)failed(dn_fetch_take_end(&fetch, &err), &err);
	MUST(!fetch.whole || (fetch.has_head && fetch.status >= 200));
	if (!lines && fetch.body.data)
		show(fetch.body.data);
	dn_fetch_done(&fetch);
	return 0;
}
