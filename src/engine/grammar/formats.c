/* SPDX-License-Identifier: MIT */
/*
 * The formats of JSON Schema as patterns. Each matches a part of what its standard allows, never
 * more: it is to be written, not to be checked.
 */

#include <stddef.h>
#include <string.h>

#include "engine/grammar/regex.h"

/* RFC 3339; years from 1000 on, so that all programs take them. */
#define YEAR	  "[1-9]\\d{3}"
#define LONG	  "(0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])"
#define SHORT	  "(0[469]|11)-(0[1-9]|[12]\\d|30)"
#define FEBRUARY  "02-(0[1-9]|1\\d|2[0-8])"
#define LEAP_YEAR "[1-9]\\d(0[48]|[2468][048]|[13579][26])"
#define DATE	  "(" YEAR "-(" LONG "|" SHORT "|" FEBRUARY ")|" LEAP_YEAR "-02-29)"
#define HOUR	  "([01]\\d|2[0-3])"
#define TIME	  HOUR ":[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]" HOUR ":[0-5]\\d)"
/* RFC 3339, appendix A. */
#define DURATION_DATE "(\\d{1,4}Y(\\d{1,2}M(\\d{1,3}D)?)?|\\d{1,2}M(\\d{1,3}D)?|\\d{1,3}D)"
#define DURATION_TIME "T(\\d{1,3}H(\\d{1,3}M(\\d{1,3}S)?)?|\\d{1,3}M(\\d{1,3}S)?|\\d{1,3}S)"
/* RFC 1123: three labels of at most 63 are less than what a name may have. */
#define LABEL	 "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define HOSTNAME LABEL "(\\." LABEL "){0,2}"
#define ATOM	 "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}"
#define OCTET	 "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define IPV4	 OCTET "(\\." OCTET "){3}"
/* RFC 4291: eight groups, or fewer with a gap. */
#define GROUP	  "[0-9A-Fa-f]{1,4}"
#define GROUPS(n) "(:" GROUP "){1," n "}"
#define IPV6                                                                                       \
	"(" GROUP "(:" GROUP "){7}|" GROUP                                                         \
	":" GROUPS("6") "|(" GROUP ":){2}" GROUPS("5") "|(" GROUP ":){3}" GROUPS(                  \
		"4") "|(" GROUP ":){4}" GROUPS("3") "|(" GROUP                                     \
						    ":){5}" GROUPS("2") "|(" GROUP ":){6}:" GROUP  \
									"|:" GROUPS("7") "|::)"
#define HEX "[0-9A-Fa-f]"
/* RFC 3986 */
#define PCHAR "([A-Za-z0-9._~!$&'()*+,;=:@-]|%" HEX HEX ")"
#define PATH  "(/" PCHAR "*)*"
#define TAIL  PATH "(\\?(" PCHAR "|[/?])*)?(#(" PCHAR "|[/?])*)?"
#define URI   "[A-Za-z][A-Za-z0-9+.-]{0,15}://" HOSTNAME "(:[1-9]\\d{0,3})?" TAIL

static const struct {
	const char *name;
	const char *pattern;
} formats[] = {
	{ "date", "^" DATE "$" },
	{ "time", "^" TIME "$" },
	{ "date-time", "^" DATE "T" TIME "$" },
	{ "duration", "^P(" DURATION_DATE "(" DURATION_TIME ")?|" DURATION_TIME "|\\d{1,4}W)$" },
	{ "email", "^" ATOM "(\\." ATOM "){0,2}@" HOSTNAME "$" },
	{ "idn-email", "^" ATOM "(\\." ATOM "){0,2}@" HOSTNAME "$" },
	{ "hostname", "^" HOSTNAME "$" },
	{ "idn-hostname", "^" HOSTNAME "$" },
	{ "ipv4", "^" IPV4 "$" },
	{ "ipv6", "^" IPV6 "$" },
	{ "uri", "^" URI "$" },
	{ "uri-reference", "^(" URI "|/(" PCHAR "+" PATH ")?)$" },
	{ "iri", "^" URI "$" },
	{ "iri-reference", "^(" URI "|/(" PCHAR "+" PATH ")?)$" },
	{ "uuid", "^" HEX "{8}(-" HEX "{4}){3}-" HEX "{12}$" },
	{ "json-pointer", "^(/([^/~]|~[01])*)*$" },
};

const char *dn_format_pattern(const char *format)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (strcmp(formats[i].name, format) == 0)
			return formats[i].pattern;
	return NULL;
}
