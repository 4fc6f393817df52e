/* SPDX-License-Identifier: MIT */
/*
 * The values that a template computes with: Python's, as far as chat templates see them.
 *
 * Where text comes from. Every string knows of each of its bytes whether the template's author
 * wrote it ("trusted"): a literal, the text between tags, or a variable that the caller named as
 * trusted. Bytes keep their mark on every way through the interpreter: concatenation, slices,
 * methods, filters, join, replace, tojson, macros. What the interpreter makes up itself (digits
 * of computed numbers, quotes and commas of tojson, keys of JSON objects) is not trusted. So no
 * sequence of operations makes a special token out of a message, and where in doubt text is
 * untrusted. A string of one origin stores one word (DN_TRUST_NONE, DN_TRUST_ALL); only a mixed
 * one carries a byte of mark for each byte of text.
 *
 * Memory. All values live in the arena of one rendering, and die with it. Constants live in
 * the template's arena and are never written to.
 */
#ifndef DUNLIN_TEMPLATE_VALUE_H
#define DUNLIN_TEMPLATE_VALUE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h" /* IWYU pragma: export */

struct dn_trun;
struct dn_tcallable;
struct dn_tmacro;
struct dn_tloop;
struct dn_tval;

enum dn_trust {
	DN_TRUST_NONE = 0,
	DN_TRUST_ALL = 1,
	DN_TRUST_MIXED = 2,
};

/* The longest string, also an unflattened one: x + x in a loop is refused early. */
#define DN_TSTR_MAX ((size_t)32 << 20)
/* How deep lists and dictionaries may lie in each other. */
#define DN_TVAL_DEPTH 100

/* A buffer that the string at its head may be extended in. */
struct dn_tspace {
	char *data;
	uint8_t *marks;
	size_t used;
	size_t capacity;
};

/**
 * struct dn_tstr - immutable UTF-8 text
 * @size: bytes
 * @points: code points, SIZE_MAX until counted
 * @data: the bytes; NULL while it is the concatenation of @left and @right
 * @marks: DN_TRUST_MIXED only: per byte, 1 is trusted
 * @space: the buffer that @data begins, when it can grow
 * @need: how many halves wait at once while a concatenation is written out
 */
struct dn_tstr {
	size_t size;
	size_t points;
	const char *data;
	union {
		struct {
			const uint8_t *marks;
			struct dn_tspace *space;
		};
		struct {
			struct dn_tstr *left;
			struct dn_tstr *right;
		};
	};
	uint16_t need;
	uint8_t trust;
};

enum dn_ttype {
	DN_T_UNDEFINED,
	DN_T_NONE,
	DN_T_BOOL,
	DN_T_INT,
	DN_T_FLOAT,
	DN_T_STR,
	DN_T_LIST,
	DN_T_TUPLE,
	DN_T_ITER, /* what filters such as map give: read once */
	DN_T_VIEW, /* dict.items(), keys(), values() */
	DN_T_RANGE,
	DN_T_DICT,
	DN_T_NAMESPACE,
	DN_T_FUNCTION,
	DN_T_METHOD,
	DN_T_MACRO,
	DN_T_LOOP,
	DN_T_CYCLER,
	DN_T_JOINER,
};

/**
 * struct dn_tval - a value
 * @type: enum dn_ttype
 * @literal: written so in the template: its text is trusted
 */
struct dn_tval {
	uint8_t type;
	bool literal;
	union {
		bool b;
		int64_t i;
		double f;
		struct dn_tstr *s;
		struct dn_tlist *list; /* LIST, TUPLE, ITER, VIEW, CYCLER, JOINER */
		struct dn_tdict *dict; /* DICT, NAMESPACE */
		struct dn_trange *range;
		struct dn_tundef *undef; /* may be NULL */
		const struct dn_tcallable *function;
		struct dn_tmethod *method;
		struct dn_tmacro *macro;
		struct dn_tloop *loop;
	};
};

/* @taken: ITER: items already read; CYCLER, JOINER: the position. @kind: name for messages */
struct dn_tlist {
	struct dn_tval *items;
	size_t count;
	size_t capacity;
	size_t taken;
	const char *kind;
};

struct dn_tentry {
	struct dn_tval key;
	struct dn_tval value;
	uint64_t hash;
};

/* In the order of insertion; an index of slots (entry + 1) once it is larger than a few. */
struct dn_tdict {
	struct dn_tentry *entries;
	size_t count;
	size_t capacity;
	uint32_t *slots;
	size_t n_slots;
};

struct dn_trange {
	int64_t start;
	int64_t stop;
	int64_t step;
	size_t count;
};

/* Why something is undefined: @name of @object, or the variable @name when @object is undefined. */
struct dn_tundef {
	struct dn_tval object;
	struct dn_tval name;
	const char *hint; /* or a whole sentence */
};

struct dn_tmethod {
	struct dn_tval self;
	const struct dn_tcallable *callable;
};

static inline struct dn_tval dn_tval_none(void)
{
	return (struct dn_tval){ .type = DN_T_NONE };
}

static inline struct dn_tval dn_tval_bool(bool b)
{
	return (struct dn_tval){ .type = DN_T_BOOL, .b = b };
}

static inline struct dn_tval dn_tval_int(int64_t i)
{
	return (struct dn_tval){ .type = DN_T_INT, .i = i };
}

static inline struct dn_tval dn_tval_float(double f)
{
	return (struct dn_tval){ .type = DN_T_FLOAT, .f = f };
}

static inline struct dn_tval dn_tval_str(struct dn_tstr *s)
{
	return (struct dn_tval){ .type = DN_T_STR, .s = s };
}

static inline struct dn_tval dn_tval_list(enum dn_ttype type, struct dn_tlist *list)
{
	return (struct dn_tval){ .type = (uint8_t)type, .list = list };
}

static inline struct dn_tval dn_tval_dict(struct dn_tdict *dict)
{
	return (struct dn_tval){ .type = DN_T_DICT, .dict = dict };
}

/* "str", "int", "list", …: Python's name of the type, for messages. */
const char *dn_tval_type_name(const struct dn_tval *v);
bool dn_tval_is_number(const struct dn_tval *v); /* bool, int or float */
double dn_tval_number(const struct dn_tval *v);	 /* of a number */

/* Makes an undefined value that says what @object (NULL: the template) has no @name of. */
DN_MUST_CHECK int dn_tval_undefined(struct dn_trun *run, const struct dn_tval *object,
				    const struct dn_tval *name, struct dn_tval *ret);
/* Fails with the message of an undefined value. */
void dn_tval_report_undefined(struct dn_trun *run, const struct dn_tval *v);
static inline int dn_tval_fail_undefined(struct dn_trun *run, const struct dn_tval *v)
{
	dn_tval_report_undefined(run, v);
	return -EINVAL;
}

/*
 * Strings (string.c). Each returns 0 or a negative errno. dn_tstr_flat() makes @data valid;
 * whoever reads the bytes calls it first.
 */
struct dn_tstr *dn_tstr_empty(void);

DN_MUST_CHECK int dn_tstr_flat(struct dn_trun *run, struct dn_tstr *s);
/* Borrows @data for the life of the run. */
DN_MUST_CHECK int dn_tstr_borrow(struct dn_trun *run, const char *data, size_t size,
				 enum dn_trust trust, struct dn_tstr **ret);
/* Copies @data; untrusted. */
DN_MUST_CHECK int dn_tstr_copy(struct dn_trun *run, const char *data, size_t size,
			       struct dn_tstr **ret);
DN_MUST_CHECK int dn_tstr_concat(struct dn_trun *run, struct dn_tstr *a, struct dn_tstr *b,
				 struct dn_tstr **ret);
/* A part of a flat string, in bytes. */
DN_MUST_CHECK int dn_tstr_sub(struct dn_trun *run, struct dn_tstr *s, size_t offset, size_t size,
			      struct dn_tstr **ret);
/* Code points of a flat string. */
size_t dn_tstr_points(struct dn_tstr *s);
/* The byte at which code point @point of a flat string begins; its size when past the end. */
size_t dn_tstr_offset(struct dn_tstr *s, size_t point);
/* Copies the bytes to @out, without flattening. */
void dn_tstr_write(const struct dn_tstr *s, char *out);
/* Whether the byte at @at of a flat string is trusted. */
bool dn_tstr_trusted_at(const struct dn_tstr *s, size_t at);
/* The trust of a run of bytes of one mark that begins at @at of a flat string; its end. */
size_t dn_tstr_run(const struct dn_tstr *s, size_t at, bool *ret_trusted);

/**
 * struct dn_tbuild - a string that is being made from pieces
 * @trust: of what there is so far; of nothing: DN_TRUST_MIXED with @size 0
 */
struct dn_tbuild {
	struct dn_trun *run;
	char *data;
	uint8_t *marks;
	size_t size;
	size_t capacity;
	uint8_t trust;
};

#define DN_TBUILD_INIT(r) { .run = (r) }

/* @marks: per byte when @trust is DN_TRUST_MIXED, else NULL. */
DN_MUST_CHECK int dn_tbuild_add(struct dn_tbuild *b, const char *data, size_t size,
				enum dn_trust trust, const uint8_t *marks);
DN_MUST_CHECK int dn_tbuild_str(struct dn_tbuild *b, struct dn_tstr *s);
DN_MUST_CHECK int dn_tbuild_sub(struct dn_tbuild *b, struct dn_tstr *s, size_t offset, size_t size);
/* Text that the interpreter makes up: untrusted. */
DN_MUST_CHECK int dn_tbuild_text(struct dn_tbuild *b, const char *text);
DN_MUST_CHECK int dn_tbuild_spaces(struct dn_tbuild *b, int64_t n);
DN_MUST_CHECK int dn_tbuild_end(struct dn_tbuild *b, struct dn_tstr **ret);

/* Lists and dictionaries (container.c). */
DN_MUST_CHECK int dn_tlist_new(struct dn_trun *run, size_t capacity, struct dn_tlist **ret);
DN_MUST_CHECK int dn_tlist_add(struct dn_trun *run, struct dn_tlist *list, struct dn_tval v);
DN_MUST_CHECK int dn_tdict_new(struct dn_trun *run, size_t capacity, struct dn_tdict **ret);
/* NULL in @ret when the key is absent; fails on a key that cannot be hashed. */
DN_MUST_CHECK int dn_tdict_get(struct dn_trun *run, const struct dn_tdict *dict,
			       const struct dn_tval *key, struct dn_tval **ret);
DN_MUST_CHECK int dn_tdict_set(struct dn_trun *run, struct dn_tdict *dict, struct dn_tval key,
			       struct dn_tval value);
/* Whether there was one. */
DN_MUST_CHECK int dn_tdict_remove(struct dn_trun *run, struct dn_tdict *dict,
				  const struct dn_tval *key, bool *ret_found);

/**
 * struct dn_tseq - anything that can be walked over, as an array
 *
 * Ranges are not written out; strings and dictionaries are; an ITER is used up by it.
 */
struct dn_tseq {
	const struct dn_tval *items; /* NULL: a range */
	size_t count;
	int64_t start;
	int64_t step;
};

DN_MUST_CHECK int dn_tseq_of(struct dn_trun *run, const struct dn_tval *v, struct dn_tseq *ret);
struct dn_tval dn_tseq_at(const struct dn_tseq *seq, size_t i);
/* A new list of the same items. */
DN_MUST_CHECK int dn_tseq_list(struct dn_trun *run, const struct dn_tseq *seq,
			       struct dn_tlist **ret);

/* Text of values (text.c): Python's str(), repr() and json.dumps(). */
DN_MUST_CHECK int dn_tval_to_str(struct dn_trun *run, const struct dn_tval *v,
				 struct dn_tstr **ret);
DN_MUST_CHECK int dn_tval_repr(struct dn_tbuild *b, const struct dn_tval *v, unsigned int depth);
/* @out has room for 32 bytes; Python's repr() of a float. */
void dn_float_text(double f, char *out);

struct dn_tjson {
	struct dn_tstr *item;	/* ", " */
	struct dn_tstr *key;	/* ": " */
	struct dn_tstr *indent; /* one level's; NULL: all on one line */
	bool ascii;
	bool sort;
};

DN_MUST_CHECK int dn_tval_to_json(struct dn_tbuild *b, const struct dn_tval *v,
				  const struct dn_tjson *style, unsigned int depth);

/* Operators (ops.c, compare.c, item.c). */
bool dn_tval_truth(const struct dn_tval *v);
DN_MUST_CHECK int dn_tval_equal(struct dn_trun *run, const struct dn_tval *a,
				const struct dn_tval *b, unsigned int depth, bool *ret);
/* Negative, zero, positive in @ret; fails when the types have no order. @op for the message. */
DN_MUST_CHECK int dn_tval_order(struct dn_trun *run, const struct dn_tval *a,
				const struct dn_tval *b, const char *op, unsigned int depth,
				int *ret);
DN_MUST_CHECK int dn_tval_contains(struct dn_trun *run, const struct dn_tval *haystack,
				   const struct dn_tval *needle, bool *ret);
DN_MUST_CHECK int dn_tval_length(struct dn_trun *run, const struct dn_tval *v, size_t *ret);

enum dn_top {
	DN_OP_ADD,
	DN_OP_SUB,
	DN_OP_MUL,
	DN_OP_DIV,
	DN_OP_FLOORDIV,
	DN_OP_MOD,
	DN_OP_POW,
	DN_OP_CONCAT,
	DN_OP_EQ,
	DN_OP_NE,
	DN_OP_LT,
	DN_OP_LE,
	DN_OP_GT,
	DN_OP_GE,
	DN_OP_IN,
	DN_OP_NOT_IN,
};

DN_MUST_CHECK int dn_tval_binary(struct dn_trun *run, enum dn_top op, const struct dn_tval *a,
				 const struct dn_tval *b, struct dn_tval *ret);
DN_MUST_CHECK int dn_tval_compare(struct dn_trun *run, enum dn_top op, const struct dn_tval *a,
				  const struct dn_tval *b, bool *ret);
DN_MUST_CHECK int dn_tval_negate(struct dn_trun *run, const struct dn_tval *v, struct dn_tval *ret);

/* a.name: methods first; a[key]: items first; both give an undefined value for what is missing. */
DN_MUST_CHECK int dn_tval_attribute(struct dn_trun *run, const struct dn_tval *object,
				    const struct dn_tval *name, struct dn_tval *ret);
DN_MUST_CHECK int dn_tval_item(struct dn_trun *run, const struct dn_tval *object,
			       const struct dn_tval *key, struct dn_tval *ret);
/* a[start:stop:step]; none where left out. */
DN_MUST_CHECK int dn_tval_slice(struct dn_trun *run, const struct dn_tval *object,
				const struct dn_tval part[3], struct dn_tval *ret);

/* Casing (casing.c): the simple mappings of Unicode, and what Python calls white space. */
uint32_t dn_point_upper(uint32_t point);
uint32_t dn_point_lower(uint32_t point);
bool dn_point_is_space(uint32_t point);

#endif /* DUNLIN_TEMPLATE_VALUE_H */
