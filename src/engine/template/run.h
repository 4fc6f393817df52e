/* SPDX-License-Identifier: MIT */
/* One rendering: its bounds, its scopes, and what can be called. */
#ifndef DUNLIN_TEMPLATE_RUN_H
#define DUNLIN_TEMPLATE_RUN_H

#include <errno.h>
#include <stdint.h>

#include "base/arena.h"
#include "engine/template/ast.h"   /* IWYU pragma: export */
#include "engine/template/value.h" /* IWYU pragma: export */

/* How deep evaluation may nest, macros' calls included: at most 140 KiB of stack (x86-64, -O2). */
#define DN_TRUN_DEPTH 250
/* Memory for the values of one rendering. */
#define DN_TRUN_MEMORY ((size_t)64 << 20)
/* The longest range(), as in Jinja's sandbox. */
#define DN_TRUN_RANGE 100000

/* A byte that is looked at as part of a code point costs as much as this many that are copied. */
#define DN_TRUN_SLOW 8

struct dn_tbinding {
	uint32_t symbol;
	struct dn_tval value;
};

/* The root, which has no parent, has a place for each symbol; the others list those they set. */
struct dn_tscope {
	struct dn_tscope *parent;
	struct dn_tbinding *bindings;
	size_t count;
	size_t capacity;
};

/* What a block writes: pieces, joined at the end. */
struct dn_tsink {
	struct dn_tstr **pieces;
	size_t count;
	size_t capacity;
	size_t size;
};

struct dn_trun {
	const struct dn_template *tmpl;
	struct dn_arena arena;
	struct dn_error *err;
	uint64_t steps; /* left */
	uint64_t max_steps;
	size_t max_output;
	uint64_t seed;
	int64_t now;
	uint32_t line;
	unsigned int depth;
	struct dn_tscope *scope;
	struct dn_tscope *root;
	struct dn_tsink *sink;
	struct dn_tval block_input; /* of the filter block that is being evaluated */
};

struct dn_tmacro {
	const struct dn_tnode *node;
	struct dn_tscope *scope;
};

struct dn_tloop {
	struct dn_tseq seq;
	size_t at;
	size_t depth; /* 0: not inside another loop */
	struct dn_tlist *changed;
};

/* Arguments of a call; @names has one entry for each of the last @n_named values. */
struct dn_targs {
	const struct dn_tval *values;
	size_t n;
	size_t n_named;
	struct dn_tstr *const *names;
};

#define DN_TCALL_ARGS 6

/**
 * struct dn_tcall - one call of a filter, test, method or function
 * @self: what is filtered or tested, or the method's object; NULL for functions
 * @arg: in the order of the callable's parameters; NULL where not given
 * @args: as given
 */
struct dn_tcall {
	struct dn_trun *run;
	const struct dn_tcallable *callable;
	const struct dn_tval *self;
	const struct dn_tval *arg[DN_TCALL_ARGS];
	const struct dn_targs *args;
};

/**
 * struct dn_tcallable - a filter, test, method or function
 * @params: names in order, separated by commas; a '*' at the end: any further argument
 * @required: how many of them must be given
 */
struct dn_tcallable {
	const char *name;
	const char *params;
	unsigned int required;
	int (*run)(struct dn_tcall *call, struct dn_tval *ret);
};

/* Sets the error to "line N: …" and is -@code: compilers and analyzers see that it is negative. */
void dn_trun_report(struct dn_trun *run, int code, const char *format, ...) DN_PRINTF(3, 4);
#define dn_trun_fail(run, code, ...) (dn_trun_report(run, code, __VA_ARGS__), -(code))
/* Counts work in proportion to @bytes, so that the step limit bounds time. */
DN_MUST_CHECK int dn_trun_work(struct dn_trun *run, size_t bytes);
/* Memory of the rendering; NULL with the error set. */
void *dn_trun_alloc(struct dn_trun *run, size_t size);
void *dn_trun_grow(struct dn_trun *run, void *old, size_t old_size, size_t new_size);
/* -ENOMEM or -E2BIG, whichever made the last allocation fail. */
void dn_trun_report_memory(const struct dn_trun *run);
static inline int dn_trun_no_memory(const struct dn_trun *run)
{
	dn_trun_report_memory(run);
	return run->arena.full ? -E2BIG : -ENOMEM;
}

DN_MUST_CHECK int dn_tscope_set(struct dn_trun *run, struct dn_tscope *scope, uint32_t symbol,
				struct dn_tval v);
struct dn_tval *dn_tscope_find(struct dn_trun *run, struct dn_tscope *scope, uint32_t symbol);
DN_MUST_CHECK int dn_tscope_init_root(struct dn_trun *run, struct dn_tscope *root);

DN_MUST_CHECK int dn_tsink_add(struct dn_trun *run, struct dn_tsink *sink, struct dn_tstr *s);
DN_MUST_CHECK int dn_tsink_join(struct dn_trun *run, const struct dn_tsink *sink,
				struct dn_tstr **ret);

/* Expressions (eval.c) and statements (exec.c). exec: 0, or how a loop's body ended. */
enum dn_tflow {
	DN_FLOW_NEXT = 0,
	DN_FLOW_BREAK = 1,
	DN_FLOW_CONTINUE = 2,
};

DN_MUST_CHECK int dn_trun_eval(struct dn_trun *run, const struct dn_tnode *node,
			       struct dn_tval *ret);
DN_MUST_CHECK int dn_trun_exec(struct dn_trun *run, const struct dn_tnode *node);
/* A call node, with @caller (may be NULL) as one more argument of that name. */
DN_MUST_CHECK int dn_trun_eval_call(struct dn_trun *run, const struct dn_tnode *node,
				    const struct dn_tval *caller, struct dn_tval *ret);
DN_MUST_CHECK int dn_trun_call_macro(struct dn_trun *run, const struct dn_tmacro *macro,
				     const struct dn_targs *args, struct dn_tval *ret);

/* Binds arguments to parameters and calls (call.c). */
DN_MUST_CHECK int dn_trun_invoke(struct dn_trun *run, const struct dn_tcallable *callable,
				 const struct dn_tval *self, const struct dn_targs *args,
				 struct dn_tval *ret);
/* Calls a value. */
DN_MUST_CHECK int dn_trun_call(struct dn_trun *run, const struct dn_tval *callee,
			       const struct dn_targs *args, struct dn_tval *ret);

/* By name; NULL when there is none. */
const struct dn_tcallable *dn_tfilter_find(const char *name, size_t size);
const struct dn_tcallable *dn_ttest_find(const char *name, size_t size);
const struct dn_tcallable *dn_tglobal_find(const char *name, size_t size);
const struct dn_tcallable *dn_tmethod_find(const struct dn_tval *object, const char *name,
					   size_t size);
const struct dn_tcallable *dn_tcallable_find(const struct dn_tcallable *table, size_t n,
					     const char *name, size_t size);

extern const struct dn_tcallable dn_tfilters_text[];
extern const size_t dn_tfilters_text_count;
extern const struct dn_tcallable dn_tfilters_list[];
extern const size_t dn_tfilters_list_count;
extern const struct dn_tcallable dn_tmethods_str[];
extern const size_t dn_tmethods_str_count;

/* Shared by filters and methods. */
DN_MUST_CHECK int dn_targ_int(struct dn_tcall *call, size_t i, int64_t fallback, int64_t *ret);
DN_MUST_CHECK int dn_targ_str(struct dn_tcall *call, size_t i, struct dn_tstr **ret);
bool dn_targ_true(const struct dn_tcall *call, size_t i);
enum dn_tstrip {
	DN_STRIP_LEFT = 1,
	DN_STRIP_RIGHT = 2,
};
DN_MUST_CHECK int dn_tstr_strip(struct dn_trun *run, struct dn_tstr *s, struct dn_tstr *chars,
				int sides, struct dn_tstr **ret);
DN_MUST_CHECK int dn_tstr_replace(struct dn_trun *run, struct dn_tstr *s, struct dn_tstr *old,
				  struct dn_tstr *by, int64_t count, struct dn_tstr **ret);
/* The last place in the first @size bytes of @s, NULL when there is none; both flat. */
DN_MUST_CHECK int dn_tstr_find_last(struct dn_trun *run, const struct dn_tstr *s, size_t size,
				    const struct dn_tstr *needle, const char **ret);
enum dn_tcase {
	DN_CASE_UPPER,
	DN_CASE_LOWER,
	DN_CASE_TITLE,	      /* str.title(): after anything that is no letter */
	DN_CASE_TITLE_FILTER, /* the filter: after white space, - ( { [ < */
	DN_CASE_CAPITALIZE,
	DN_CASE_SWAP,
};
DN_MUST_CHECK int dn_tstr_case(struct dn_trun *run, struct dn_tstr *s, enum dn_tcase how,
			       struct dn_tstr **ret);
DN_MUST_CHECK int dn_tstr_join(struct dn_trun *run, struct dn_tstr *glue, const struct dn_tseq *seq,
			       bool strict, struct dn_tstr **ret);
/* The attribute @path, "a.b.0", of @item; @item itself without a path (sort.c). */
DN_MUST_CHECK int dn_tval_reach(struct dn_trun *run, const struct dn_tval *item,
				const struct dn_tval *path, struct dn_tval *ret);
/* The same, texts in lower case unless @case_sensitive: what items are compared by. */
DN_MUST_CHECK int dn_tval_key(struct dn_trun *run, const struct dn_tval *item,
			      const struct dn_tval *path, bool case_sensitive, struct dn_tval *ret);
/* A sorted list; equal items keep their order. @paths: "a,b" sorts by a, then by b. */
DN_MUST_CHECK int dn_tseq_sorted(struct dn_trun *run, const struct dn_tseq *seq,
				 const struct dn_tval *paths, bool case_sensitive, bool reverse,
				 struct dn_tval *ret);
/* Python's % with a format on its left, and str.format() (format.c). */
DN_MUST_CHECK int dn_tstr_percent(struct dn_trun *run, struct dn_tstr *format,
				  const struct dn_tval *args, struct dn_tval *ret);
DN_MUST_CHECK int dn_tstr_format(struct dn_trun *run, struct dn_tstr *format,
				 const struct dn_targs *args, struct dn_tval *ret);
/* Python's int() and float() of a text: false when it is not one. */
bool dn_text_to_int(const char *text, size_t size, int base, int64_t *ret);
bool dn_text_to_float(const char *text, size_t size, double *ret);

DN_MUST_CHECK int dn_tval_strftime(struct dn_trun *run, const char *format, struct dn_tval *ret);

/* JSON text to values (json.c); @root is read while the values live. */
struct json_t;
DN_MUST_CHECK int dn_tval_from_json(struct dn_trun *run, const struct json_t *json,
				    enum dn_trust trust, unsigned int depth, struct dn_tval *ret);

#endif /* DUNLIN_TEMPLATE_RUN_H */
