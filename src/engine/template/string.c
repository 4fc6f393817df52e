/* SPDX-License-Identifier: MIT */
/*
 * Strings. Concatenation makes a rope in constant time; the bytes are laid out when somebody
 * reads them. A string that keeps being extended and read (x = x + y in a loop) grows in place,
 * so that it costs its length once and not once a round.
 */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "engine/template/run.h"

/* How many halves may wait while a rope is written: the stack of write_tail(). */
#define ROPE_NEED_MAX 512

static const struct dn_tstr empty_string = { .data = "", .trust = DN_TRUST_NONE };

struct dn_tstr *dn_tstr_empty(void)
{
	/* Nothing writes to a string whose bytes are laid out and whose points are counted. */
	return (struct dn_tstr *)&empty_string;
}

int dn_tstr_borrow(struct dn_trun *run, const char *data, size_t size, enum dn_trust trust,
		   struct dn_tstr **ret)
{
	struct dn_tstr *s = NULL;

	if (size == 0) {
		*ret = dn_tstr_empty();
		return 0;
	}
	if (size > DN_TSTR_MAX)
		return dn_trun_fail(run, E2BIG, "a string of %zu bytes is above the limit of %zu",
				    size, DN_TSTR_MAX);
	s = dn_trun_alloc(run, sizeof(*s));
	if (!s)
		return dn_trun_no_memory(run);
	*s = (struct dn_tstr){
		.size = size, .points = SIZE_MAX, .data = data, .trust = (uint8_t)trust
	};
	*ret = s;
	return 0;
}

int dn_tstr_copy(struct dn_trun *run, const char *data, size_t size, struct dn_tstr **ret)
{
	char *copy;

	if (size == 0) {
		*ret = dn_tstr_empty();
		return 0;
	}
	copy = dn_trun_alloc(run, size);
	if (!copy)
		return dn_trun_no_memory(run);
	memcpy(copy, data, size);
	return dn_tstr_borrow(run, copy, size, DN_TRUST_NONE, ret);
}

int dn_tstr_concat(struct dn_trun *run, struct dn_tstr *a, struct dn_tstr *b, struct dn_tstr **ret)
{
	struct dn_tstr *s = NULL;
	size_t size;
	uint16_t need_a;
	uint16_t need_b;
	int r;

	if (a->size == 0 || b->size == 0) {
		*ret = a->size == 0 ? b : a;
		return 0;
	}
	if (!dn_add_ok(a->size, b->size, &size) || size > DN_TSTR_MAX)
		return dn_trun_fail(run, E2BIG, "a string of %zu bytes is above the limit of %zu",
				    a->size + b->size, DN_TSTR_MAX);
	if (!b->data && b->need >= ROPE_NEED_MAX - 1) {
		r = dn_tstr_flat(run, b);
		if (r < 0)
			return r;
	}
	need_a = a->data ? 0 : a->need;
	need_b = (uint16_t)(1 + (b->data ? 0 : b->need));
	s = dn_trun_alloc(run, sizeof(*s));
	if (!s)
		return dn_trun_no_memory(run);
	*s = (struct dn_tstr){
		.size = size,
		.points = SIZE_MAX,
		.left = a,
		.right = b,
		.need = DN_MAX(need_a, need_b),
		.trust = a->trust == b->trust ? a->trust : (uint8_t)DN_TRUST_MIXED,
	};
	*ret = s;
	return 0;
}

/* Writes the bytes (and marks, where not NULL) of @s from byte @from on, from the back. */
static void write_tail(const struct dn_tstr *s, size_t from, char *out, uint8_t *marks)
{
	const struct dn_tstr *waiting[ROPE_NEED_MAX];
	size_t n_waiting = 0;
	size_t at = s->size;

	for (;;) {
		while (!s->data) {
			waiting[n_waiting++] = s->left;
			s = s->right;
		}
		at -= s->size;
		memcpy(out + at, s->data, s->size);
		if (marks && s->trust == DN_TRUST_MIXED)
			memcpy(marks + at, s->marks, s->size);
		else if (marks)
			memset(marks + at, s->trust, s->size);
		if (at <= from || n_waiting == 0)
			return;
		s = waiting[--n_waiting];
	}
}

void dn_tstr_write(const struct dn_tstr *s, char *out)
{
	if (s->size > 0)
		write_tail(s, 0, out, NULL);
}

static struct dn_tspace *space_new(struct dn_trun *run, size_t size, bool again)
{
	struct dn_tspace *space = dn_trun_alloc(run, sizeof(*space));

	if (!space)
		return NULL;
	/* The first time exactly; what is extended once more will be again. */
	space->capacity = again ? size * 2 : size;
	space->marks = NULL;
	space->used = 0;
	space->data = dn_trun_alloc(run, space->capacity);
	return space->data ? space : NULL;
}

static int space_marks(struct dn_trun *run, struct dn_tspace *space, const struct dn_tstr *head)
{
	if (space->marks)
		return 0;
	space->marks = dn_trun_alloc(run, space->capacity);
	if (!space->marks)
		return dn_trun_no_memory(run);
	/* What is there was of one origin, else there would be marks. */
	if (head)
		memset(space->marks, head->trust, head->size);
	return 0;
}

int dn_tstr_flat(struct dn_trun *run, struct dn_tstr *s)
{
	const struct dn_tstr *head = s;
	struct dn_tspace *space;
	size_t from = 0;
	int r;

	if (s->data)
		return 0;
	while (!head->data)
		head = head->left;
	space = head->space;
	if (space && space->used == head->size && space->capacity >= s->size) {
		from = head->size;
	} else {
		space = space_new(run, s->size, space != NULL);
		if (!space)
			return dn_trun_no_memory(run);
		head = NULL;
	}
	r = dn_trun_work(run, s->size - from);
	if (r == 0 && s->trust == DN_TRUST_MIXED)
		r = space_marks(run, space, head);
	if (r < 0)
		return r;
	write_tail(s, from, space->data, s->trust == DN_TRUST_MIXED ? space->marks : NULL);
	space->used = s->size;
	s->marks = s->trust == DN_TRUST_MIXED ? space->marks : NULL;
	s->space = space;
	s->data = space->data;
	return 0;
}

bool dn_tstr_trusted_at(const struct dn_tstr *s, size_t at)
{
	return s->trust == DN_TRUST_MIXED ? s->marks[at] != 0 : s->trust == DN_TRUST_ALL;
}

/* The end, at most @end, of the run of one origin that starts at byte @at. */
static size_t run_until(const struct dn_tstr *s, size_t at, size_t end)
{
	const uint8_t *other;

	if (s->trust != DN_TRUST_MIXED)
		return end;
	other = memchr(s->marks + at, !dn_tstr_trusted_at(s, at), end - at);
	return other ? (size_t)(other - s->marks) : end;
}

size_t dn_tstr_run(const struct dn_tstr *s, size_t at, bool *ret_trusted)
{
	*ret_trusted = dn_tstr_trusted_at(s, at);
	return run_until(s, at, s->size);
}

int dn_tstr_sub(struct dn_trun *run, struct dn_tstr *s, size_t offset, size_t size,
		struct dn_tstr **ret)
{
	bool trusted;
	bool mixed;
	int r;

	if (offset == 0 && size == s->size) {
		*ret = s;
		return 0;
	}
	trusted = size > 0 && dn_tstr_trusted_at(s, offset);
	mixed = size > 0 && run_until(s, offset, offset + size) < offset + size;
	r = dn_tstr_borrow(run, s->data + offset, size, trusted ? DN_TRUST_ALL : DN_TRUST_NONE,
			   ret);
	if (r == 0 && mixed) {
		(*ret)->trust = DN_TRUST_MIXED;
		(*ret)->marks = s->marks + offset;
	}
	return r;
}

size_t dn_tstr_points(struct dn_tstr *s)
{
	size_t points = 0;

	if (s->points != SIZE_MAX)
		return s->points;
	for (size_t i = 0; i < s->size; i++)
		points += (s->data[i] & 0xc0) != 0x80;
	s->points = points;
	return points;
}

size_t dn_tstr_offset(struct dn_tstr *s, size_t point)
{
	size_t at = 0;

	if (dn_tstr_points(s) == s->size)
		return DN_MIN(point, s->size);
	for (; at < s->size; at++) {
		if ((s->data[at] & 0xc0) != 0x80 && point-- == 0)
			break;
	}
	return at;
}

static int build_reserve(struct dn_tbuild *b, size_t more)
{
	size_t capacity;
	uint8_t *marks;
	char *data;
	size_t need;

	if (!dn_add_ok(b->size, more, &need) || need > DN_TSTR_MAX)
		return dn_trun_fail(b->run, E2BIG, "a string grows above the limit of %zu bytes",
				    DN_TSTR_MAX);
	if (need <= b->capacity)
		return 0;
	capacity = DN_MAX(need, DN_MAX(b->capacity * 2, (size_t)32));
	data = dn_trun_grow(b->run, b->data, b->size, capacity);
	if (!data)
		return dn_trun_no_memory(b->run);
	b->data = data;
	if (b->marks) {
		marks = dn_trun_grow(b->run, b->marks, b->size, capacity);
		if (!marks)
			return dn_trun_no_memory(b->run);
		b->marks = marks;
	}
	b->capacity = capacity;
	return 0;
}

int dn_tbuild_add(struct dn_tbuild *b, const char *data, size_t size, enum dn_trust trust,
		  const uint8_t *marks)
{
	int r;

	if (size == 0)
		return 0;
	r = dn_trun_work(b->run, size);
	if (r == 0)
		r = build_reserve(b, size);
	if (r < 0)
		return r;
	if (b->size == 0)
		b->trust = (uint8_t)trust;
	if (!b->marks && (trust == DN_TRUST_MIXED || b->trust != trust)) {
		b->marks = dn_trun_alloc(b->run, b->capacity);
		if (!b->marks)
			return dn_trun_no_memory(b->run);
		memset(b->marks, b->trust, b->size);
		b->trust = DN_TRUST_MIXED;
	}
	if (b->marks && trust == DN_TRUST_MIXED)
		memcpy(b->marks + b->size, marks, size);
	else if (b->marks)
		memset(b->marks + b->size, (int)trust, size);
	memcpy(b->data + b->size, data, size);
	b->size += size;
	return 0;
}

int dn_tbuild_sub(struct dn_tbuild *b, struct dn_tstr *s, size_t offset, size_t size)
{
	bool mixed = s->trust == DN_TRUST_MIXED;

	return dn_tbuild_add(b, s->data + offset, size, (enum dn_trust)s->trust,
			     mixed ? s->marks + offset : NULL);
}

int dn_tbuild_str(struct dn_tbuild *b, struct dn_tstr *s)
{
	int r = dn_tstr_flat(b->run, s);

	return r < 0 ? r : dn_tbuild_sub(b, s, 0, s->size);
}

int dn_tbuild_text(struct dn_tbuild *b, const char *text)
{
	return dn_tbuild_add(b, text, strlen(text), DN_TRUST_NONE, NULL);
}

int dn_tbuild_spaces(struct dn_tbuild *b, int64_t n)
{
	static const char spaces[] = "                                ";
	int r = 0;

	while (n > 0 && r == 0) {
		int64_t part = DN_MIN(n, (int64_t)sizeof(spaces) - 1);

		r = dn_tbuild_add(b, spaces, (size_t)part, DN_TRUST_NONE, NULL);
		n -= part;
	}
	return r;
}

int dn_tbuild_end(struct dn_tbuild *b, struct dn_tstr **ret)
{
	int r = dn_tstr_borrow(b->run, b->data, b->size,
			       b->trust == DN_TRUST_ALL ? DN_TRUST_ALL : DN_TRUST_NONE, ret);

	if (r == 0 && b->size > 0 && b->marks) {
		(*ret)->trust = DN_TRUST_MIXED;
		(*ret)->marks = b->marks;
	}
	return r;
}
