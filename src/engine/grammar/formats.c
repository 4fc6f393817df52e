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

/* The same in fewer characters, for strings that have a largest length: 47 of a host's name. */
#define SHORT_LABEL    "[A-Za-z0-9]{1,15}"
#define SHORT_HOSTNAME SHORT_LABEL "(\\." SHORT_LABEL "){0,2}"
/* At most 65 and twice @n. */
#define SHORT_PATH(n) "/[A-Za-z0-9._~!$&'()*+,;=:@/-]{0," n "}"
#define SHORT_URI(n)                                                                               \
	"[A-Za-z][A-Za-z0-9+.-]{0,7}://" SHORT_HOSTNAME                                            \
	"(:[1-9]\\d{0,3})?(" SHORT_PATH(n) ")?(\\?[A-Za-z0-9._~!$&'()*+,;=:@/?-]{0," n "})?"
#define SHORT_REFERENCE(n) "(" SHORT_URI(n) "|/([A-Za-z0-9._~-]{1,20}(" SHORT_PATH(n) ")?)?)"

/* Those of one name from the longest to the shortest. */
static const struct {
	const char *name;
	const char *pattern;
} formats[] = {
	{ "date", "^" DATE "$" },
	{ "time", "^" TIME "$" },
	{ "date-time", "^" DATE "T" TIME "$" },
	{ "duration", "^P(" DURATION_DATE "(" DURATION_TIME ")?|" DURATION_TIME "|\\d{1,4}W)$" },
	{ "email", "^" ATOM "(\\." ATOM "){0,2}@" HOSTNAME "$" },
	{ "email", "^[A-Za-z0-9_-]{1,16}@" SHORT_HOSTNAME "$" },
	{ "idn-email", "^" ATOM "(\\." ATOM "){0,2}@" HOSTNAME "$" },
	{ "idn-email", "^[A-Za-z0-9_-]{1,16}@" SHORT_HOSTNAME "$" },
	{ "hostname", "^" HOSTNAME "$" },
	{ "hostname", "^" SHORT_HOSTNAME "$" },
	{ "idn-hostname", "^" HOSTNAME "$" },
	{ "idn-hostname", "^" SHORT_HOSTNAME "$" },
	{ "ipv4", "^" IPV4 "$" },
	{ "ipv6", "^" IPV6 "$" },
	{ "uri", "^" URI "$" },
	{ "uri", "^" SHORT_URI("950") "$" },
	{ "uri", "^" SHORT_URI("90") "$" },
	{ "uri", "^" SHORT_URI("15") "$" },
	{ "uri-reference", "^(" URI "|/(" PCHAR "+" PATH ")?)$" },
	{ "uri-reference", "^" SHORT_REFERENCE("950") "$" },
	{ "uri-reference", "^" SHORT_REFERENCE("90") "$" },
	{ "uri-reference", "^" SHORT_REFERENCE("15") "$" },
	{ "iri", "^" URI "$" },
	{ "iri", "^" SHORT_URI("950") "$" },
	{ "iri", "^" SHORT_URI("90") "$" },
	{ "iri", "^" SHORT_URI("15") "$" },
	{ "iri-reference", "^(" URI "|/(" PCHAR "+" PATH ")?)$" },
	{ "iri-reference", "^" SHORT_REFERENCE("950") "$" },
	{ "iri-reference", "^" SHORT_REFERENCE("90") "$" },
	{ "iri-reference", "^" SHORT_REFERENCE("15") "$" },
	{ "uuid", "^" HEX "{8}(-" HEX "{4}){3}-" HEX "{12}$" },
	{ "json-pointer", "^(/([^/~]|~[01])*)*$" },
	{ "json-pointer", "^(/[^/~]{0,20}){0,4}$" },
};

const char *dn_format_pattern(const char *format, size_t nth)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (strcmp(formats[i].name, format) == 0 && nth-- == 0)
			return formats[i].pattern;
	return NULL;
}
