/* SPDX-License-Identifier: MIT */

#include "server/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "base/io.h"
#include "base/text.h"
#include "server/text-file.h"

#define FILE_MAX    ((size_t)256 << 10)
#define DIGEST_WORD "sha256:"
#define BLANKS	    " \t\r"
#define SECRET	    24
/* As far as a double counts whole numbers. */
#define COUNT_MAX    (UINT64_C(1) << 53)
#define PARALLEL_MAX 65535U
#define SECOND_NS    UINT64_C(1000000000)
#define DAY_S	     86400
#define DATE_SIZE    10 /* YYYY-MM-DD */

/* One line that is being read. */
struct line {
	unsigned int number;
	const struct dn_key_models *models;
	struct dn_control_key *key;
	char *unknown;
	struct dn_error *err;
};

struct field {
	const char *name;
	bool (*read)(char *value, struct line *line);
	const char *takes;
};

static bool parse_digest(const char *hex, uint8_t *out)
{
	if (strlen(hex) != (size_t)2 * SHA256_DIGEST_LENGTH)
		return false;
	for (size_t i = 0; i < SHA256_DIGEST_LENGTH; i++) {
		const int high = dn_hex_value(hex[2 * i]);
		const int low = dn_hex_value(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* Digits at the head of a text. Return: what is behind them; NULL: none, or too many. */
static const char *parse_count(const char *text, uint64_t max, uint64_t *ret_count)
{
	uint64_t count = 0;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++) {
		count = 10 * count + (uint64_t)(*at - '0');
		if (count > max)
			return NULL;
	}
	if (at == text || count == 0)
		return NULL;
	*ret_count = count;
	return at;
}

static bool parse_rate(const char *text, struct dn_control_rate *rate)
{
	static const struct {
		const char *unit;
		uint64_t seconds;
	} units[] = { { "/s", 1 }, { "/m", 60 }, { "/h", 3600 }, { "/d", 86400 } };
	const char *unit = parse_count(text, COUNT_MAX, &rate->count);

	for (size_t i = 0; unit && i < DN_ARRAY_SIZE(units); i++)
		if (strcmp(unit, units[i].unit) == 0) {
			rate->period_ns = units[i].seconds * SECOND_NS;
			return true;
		}
	return false;
}

static bool read_priority(char *value, struct line *line)
{
	if (!dn_control_priority(value, &line->key->priority))
		return false;
	line->key->most = line->key->priority;
	return true;
}

static bool read_models(char *value, struct line *line)
{
	char *save = NULL;
	uint64_t models = 0;

	for (char *name = strtok_r(value, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		uint32_t i = 0;

		while (i < line->models->n && strcmp(line->models->names[i], name) != 0)
			i++;
		if (i < line->models->n)
			models |= UINT64_C(1) << i;
		else
			dn_control_set_text(line->unknown, DN_CONTROL_NAME_MAX, name);
	}
	line->key->models = models;
	return true;
}

static bool read_requests(char *value, struct line *line)
{
	return parse_rate(value, &line->key->requests);
}

static bool read_tokens(char *value, struct line *line)
{
	return parse_rate(value, &line->key->tokens);
}

static bool read_parallel(char *value, struct line *line)
{
	uint64_t count;
	const char *end = parse_count(value, PARALLEL_MAX, &count);

	if (!end || *end != '\0')
		return false;
	line->key->parallel = (uint32_t)count;
	return true;
}

/* strptime() takes shorter ones too, and the 30th of February. */
bool dn_key_expires(const char *date, uint64_t *ret_expires_s)
{
	struct tm day = { 0 };
	const char *end = strlen(date) == DATE_SIZE ? strptime(date, "%Y-%m-%d", &day) : NULL;
	const int of_month = day.tm_mday;
	time_t begin;

	if (!end || *end != '\0')
		return false;
	begin = timegm(&day);
	if (begin < 0 || day.tm_mday != of_month)
		return false;
	*ret_expires_s = (uint64_t)begin + DAY_S;
	return true;
}

static bool read_expires(char *value, struct line *line)
{
	return dn_key_expires(value, &line->key->expires_s);
}

static const struct field fields[] = {
	{ "priority", read_priority, "urgent, normal or batch" },
	{ "models", read_models, "names with commas between" },
	{ "requests", read_requests, "a number and /s, /m, /h or /d" },
	{ "tokens", read_tokens, "a number and /s, /m, /h or /d" },
	{ "parallel", read_parallel, "a number from 1 to 65535" },
	{ "expires", read_expires, "the last day that it is good on, as YYYY-MM-DD" },
};

static const struct field *find_field(const char *word)
{
	for (size_t i = 0; i < DN_ARRAY_SIZE(fields); i++) {
		const size_t size = strlen(fields[i].name);

		if (strncmp(word, fields[i].name, size) == 0 && word[size] == '=')
			return &fields[i];
	}
	return NULL;
}

/* Never shows the word: it may be a key. */
static int read_fields(char *word, char **save, struct line *line)
{
	unsigned int seen = 0;

	for (; word; word = strtok_r(NULL, BLANKS, save)) {
		const struct field *field = find_field(word);

		if (!field)
			return dn_error_set(line->err, EINVAL,
					    "line %u has more than a name, a key, priority=, "
					    "models=, requests=, tokens=, parallel= and expires=",
					    line->number);
		if (seen & 1U << (field - fields))
			return dn_error_set(line->err, EINVAL, "line %u has '%s=' twice",
					    line->number, field->name);
		seen |= 1U << (field - fields);
		if (!field->read(word + strlen(field->name) + 1, line))
			return dn_error_set(line->err, EINVAL, "line %u: '%s=' takes %s",
					    line->number, field->name, field->takes);
	}
	return 0;
}

static int read_key(const char *word, struct line *line)
{
	if (strncmp(word, DIGEST_WORD, strlen(DIGEST_WORD)) == 0) {
		if (!parse_digest(word + strlen(DIGEST_WORD), line->key->sha256))
			return dn_error_set(line->err, EINVAL,
					    "line %u: 64 hexadecimal digits belong "
					    "behind 'sha256:'",
					    line->number);
		return 0;
	}
	if (strlen(word) < DN_KEY_LEAST)
		return dn_error_set(line->err, EINVAL, "line %u: a key has at least %d characters",
				    line->number, DN_KEY_LEAST);
	SHA256((const unsigned char *)word, strlen(word), line->key->sha256);
	return 0;
}

/* What is meant for a field or a remark is not taken for a secret; base64 is padded with '='. */
static bool is_key(const char *word)
{
	const size_t bare = strcspn(word, "=");

	return word[0] != '#' && strspn(word + bare, "=") == strlen(word + bare);
}

int dn_key_line_split(char *text, unsigned int number, struct dn_key_line *ret_line,
		      struct dn_error *err)
{
	struct dn_key_line line = { .name = NULL };
	char *first = strtok_r(text, BLANKS, &line.more);
	char *second;

	if (!first || first[0] == '#')
		return 0;
	second = strtok_r(NULL, BLANKS, &line.more);
	line.key = first;
	line.field = second;
	if (second && !find_field(second)) {
		line.name = first;
		line.key = second;
		line.field = strtok_r(NULL, BLANKS, &line.more);
	}
	/* Without it, a secret that a misspelt field follows would be the name, and logged. */
	if (!is_key(line.key) || find_field(first)) {
		(void)dn_error_set(err, EINVAL,
				   "line %u has something else where its key belongs: it is "
				   "[NAME] KEY, then priority=, models=, requests=, tokens=, "
				   "parallel= and expires=; remarks have lines of their own",
				   number);
		return -EINVAL;
	}
	*ret_line = line;
	return 1;
}

/* @text: changed on the way. Return: 0 for a line without a key, 1, -EINVAL. */
static int parse_line(char *text, struct line *line)
{
	struct dn_key_line words;
	char name[16];
	int r = dn_key_line_split(text, line->number, &words, line->err);

	if (r <= 0)
		return r;
	(void)snprintf(name, sizeof(name), "key%u", line->number);
	*line->key = (struct dn_control_key){
		.models = UINT64_MAX,
		.priority = DN_PRIORITY_NORMAL,
		.most = DN_PRIORITY_URGENT,
	};
	dn_control_set_text(line->key->name, sizeof(line->key->name),
			    words.name ? words.name : name);
	r = read_key(words.key, line);
	if (r >= 0)
		r = read_fields(words.field, &words.more, line);
	return r < 0 ? r : 1;
}

int dn_keys_parse(char *text, const struct dn_key_models *models, struct dn_control_key *keys,
		  uint32_t *ret_n, char *ret_unknown, struct dn_error *err)
{
	struct dn_control_key key;
	struct line line = { .models = models, .key = &key, .unknown = ret_unknown, .err = err };
	uint32_t n = 0;

	ret_unknown[0] = '\0';
	while (text) {
		char *end = strchr(text, '\n');
		int r;

		if (end)
			*end = '\0';
		line.number++;
		r = parse_line(text, &line);
		if (r < 0)
			return r;
		if (r > 0 && n == DN_SERVER_KEYS_MAX)
			return dn_error_set(err, E2BIG, "more than %d keys", DN_SERVER_KEYS_MAX);
		if (r > 0)
			keys[n++] = key;
		text = end ? end + 1 : NULL;
	}
	if (n == 0)
		return dn_error_set(err, ENOENT, "there is no key in it");
	*ret_n = n;
	return 0;
}

int dn_keys_read(const char *path, const struct dn_key_models *models, struct dn_control_key *keys,
		 uint32_t *ret_n, char *ret_unknown, struct dn_error *err)
{
	DN_AUTO_TEXT_FILE struct dn_text_file file = { NULL, 0 };
	int r = dn_text_file_read(path, "keys", FILE_MAX, true, &file, err);

	if (r < 0)
		return r;
	if (strlen(file.text) != file.size)
		r = dn_error_set(err, EINVAL, "it has a zero byte");
	else
		r = dn_keys_parse(file.text, models, keys, ret_n, ret_unknown, err);
	return r < 0 ? dn_error_prefix(err, r, "keys '%.160s'", path) : 0;
}

int dn_key_new(char *ret_key, struct dn_error *err)
{
	uint8_t secret[SECRET];

	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		return dn_error_errno(err, errno, "get random numbers");
	(void)snprintf(ret_key, DN_KEY_TEXT_MAX, "sk-");
	for (size_t i = 0; i < sizeof(secret); i++)
		(void)snprintf(ret_key + 3 + 2 * i, 3, "%02x", secret[i]);
	OPENSSL_cleanse(secret, sizeof(secret));
	return 0;
}

void dn_key_digest(const char *key, char *ret_text)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	size_t at = strlen(DIGEST_WORD);

	SHA256((const unsigned char *)key, strlen(key), digest);
	memcpy(ret_text, DIGEST_WORD, at + 1);
	for (size_t i = 0; i < sizeof(digest); i++, at += 2)
		(void)snprintf(ret_text + at, 3, "%02x", digest[i]);
}

int dn_keys_make(const char *path, char *ret_key, struct dn_error *err)
{
	DN_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0600);
	char digest[DN_KEY_DIGEST_TEXT];
	char line[DN_KEY_DIGEST_TEXT + 8];
	int r;

	if (fd < 0)
		return dn_error_errno(err, errno, "make the keys '%.160s'", path);
	r = dn_key_new(ret_key, err);
	if (r >= 0) {
		dn_key_digest(ret_key, digest);
		(void)snprintf(line, sizeof(line), "first %s\n", digest);
		r = dn_write_whole(fd, line, strlen(line), "the keys", err);
	}
	if (r >= 0 && fsync(fd) < 0)
		r = dn_error_errno(err, errno, "write the keys '%.160s'", path);
	if (r < 0)
		(void)unlink(path);
	return r;
}
