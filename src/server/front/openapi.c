/* SPDX-License-Identifier: MIT */
/* The API as an OpenAPI document: openapi.json, which is built in. */

#include "server/front/front.h"

static const char document[] =
#include "server/openapi.inc.h"
	;

/* GET /openapi.json */
void dn_front_openapi(struct dn_front *front, struct dn_http_connection *connection)
{
	(void)front;
	dn_http_reply(connection, 200, DN_API_JSON, document, sizeof(document) - 1);
}
