/* SPDX-License-Identifier: MIT */
/* GET / and what belongs to it: the page, which is a client of the API like any other. */

#include <string.h>

#include "server/front/front.h"
#include "server/page/page.h"

/* Scripts, styles and requests are this server's own, and nothing can be written into the page. */
#define POLICY                                                                                     \
	"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "            \
	"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

static const struct dn_page_file *find(const char *path)
{
	for (size_t i = 0; i < dn_page_count; i++)
		if (strcmp(dn_page_files[i].path, path) == 0)
			return &dn_page_files[i];
	return NULL;
}

void dn_front_page(struct dn_front *front, struct dn_http_connection *connection)
{
	const struct dn_http_request *request = dn_http_request(connection);
	const struct dn_page_file *file = find(request->path);
	const char *known = dn_http_header(request, "if-none-match");
	struct dn_api_error error;

	(void)front;
	if (!file) {
		(void)dn_api_fail(&error, 404, "not_found", "there is no %.120s here",
				  request->path);
		dn_api_reply_error(connection, &error);
		return;
	}
	dn_http_add_header(connection, "ETag", "%s", file->etag);
	dn_http_add_header(connection, "Content-Security-Policy", "%s", POLICY);
	dn_http_add_header(connection, "Referrer-Policy", "no-referrer");
	dn_http_add_header(connection, "Cross-Origin-Opener-Policy", "same-origin");
	dn_http_add_header(connection, "Cross-Origin-Resource-Policy", "same-origin");
	dn_http_allow_cache(connection);
	if (known && (strcmp(known, "*") == 0 || strstr(known, file->etag)))
		dn_http_reply(connection, 304, NULL, NULL, 0);
	else
		dn_http_reply(connection, 200, file->type, file->data, file->size);
}
