/* SPDX-License-Identifier: MIT */
/* Functions that every template has: range(), namespace(), raise_exception(), … */

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "engine/template/run.h"

static int make_range(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_trange *range = dn_trun_alloc(call->run, sizeof(*range));
	int64_t part[3] = { 0, 0, 1 };
	uint64_t distance = 0;
	int r = range ? 0 : dn_trun_no_memory(call->run);

	for (size_t i = 0; i < 3 && r == 0; i++) {
		if (call->arg[i] && call->arg[i]->type == DN_T_NONE)
			return dn_trun_fail(call->run, EINVAL, "range() needs integers");
		r = dn_targ_int(call, i, part[i], &part[i]);
	}
	if (r < 0)
		return r;
	if (!call->arg[1]) {
		part[1] = part[0];
		part[0] = 0;
	}
	if (part[2] == 0)
		return dn_trun_fail(call->run, EINVAL, "range() arg 3 must not be zero");
	if (part[2] > 0 && part[1] > part[0])
		distance = ((uint64_t)part[1] - (uint64_t)part[0] - 1) / (uint64_t)part[2] + 1;
	else if (part[2] < 0 && part[0] > part[1])
		distance =
			((uint64_t)part[0] - (uint64_t)part[1] - 1) / (0 - (uint64_t)part[2]) + 1;
	if (distance > DN_TRUN_RANGE)
		return dn_trun_fail(call->run, EINVAL, "range() is longer than %d", DN_TRUN_RANGE);
	*range = (struct dn_trange){
		.start = part[0], .stop = part[1], .step = part[2], .count = distance
	};
	*ret = (struct dn_tval){ .type = DN_T_RANGE, .range = range };
	return 0;
}

/* A dictionary of a mapping, if one is given, and of the named arguments. */
static int collect(struct dn_tcall *call, struct dn_tdict **ret)
{
	const struct dn_targs *args = call->args;
	size_t first = args->n - args->n_named;
	struct dn_tdict *dict = NULL;
	int r = dn_tdict_new(call->run, args->n_named, &dict);

	if (r == 0 && (first > 1 || (first == 1 && args->values[0].type != DN_T_DICT)))
		return dn_trun_fail(call->run, EINVAL, "%s() takes a mapping and named arguments",
				    call->callable->name);
	for (size_t i = 0; first == 1 && i < args->values[0].dict->count && r == 0; i++)
		r = dn_tdict_set(call->run, dict, args->values[0].dict->entries[i].key,
				 args->values[0].dict->entries[i].value);
	for (size_t i = 0; i < args->n_named && r == 0; i++)
		r = dn_tdict_set(call->run, dict, dn_tval_str(args->names[i]),
				 args->values[first + i]);
	*ret = dict;
	return r;
}

static int make_dict(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tdict *dict = NULL;
	int r = collect(call, &dict);

	*ret = dn_tval_dict(dict);
	return r;
}

static int make_namespace(struct dn_tcall *call, struct dn_tval *ret)
{
	int r = make_dict(call, ret);

	ret->type = DN_T_NAMESPACE;
	return r;
}

static int raise_exception(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tstr *s = NULL;
	int r = dn_tval_to_str(call->run, call->arg[0], &s);

	(void)ret;
	if (r == 0)
		r = dn_tstr_flat(call->run, s);
	if (r < 0)
		return r;
	return dn_error_set(call->run->err, EBADMSG, "%.*s",
			    (int)DN_MIN(s->size, (size_t)DN_ERROR_MESSAGE_MAX), s->data);
}

static int strftime_now(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_trun *run = call->run;
	time_t now = run->now < 0 ? time(NULL) : (time_t)run->now;
	char format[256];
	char text[1024];
	struct dn_tstr *s = NULL;
	struct tm tm;
	size_t n;
	int r = dn_targ_str(call, 0, &s);

	if (r < 0)
		return r;
	if (s->size >= sizeof(format))
		return dn_trun_fail(run, EINVAL, "strftime_now(): the format is too long");
	memcpy(format, s->data, s->size);
	format[s->size] = '\0';
	if (!(run->now < 0 ? localtime_r(&now, &tm) : gmtime_r(&now, &tm)))
		return dn_trun_fail(run, EINVAL, "strftime_now(): no such time");
	n = strftime(text, sizeof(text), format, &tm);
	*ret = dn_tval_str(NULL);
	return dn_tstr_copy(run, text, n, &ret->s);
}

static int make_joiner(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tlist *list = NULL;
	struct dn_tstr *comma = NULL;
	int r = dn_tlist_new(call->run, 1, &list);

	if (r == 0 && !call->arg[0])
		r = dn_tstr_copy(call->run, ", ", 2, &comma);
	if (r == 0)
		r = dn_tlist_add(call->run, list,
				 call->arg[0] ? *call->arg[0] : dn_tval_str(comma));
	*ret = dn_tval_list(DN_T_JOINER, list);
	return r;
}

static int make_cycler(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tlist *list = NULL;
	int r = dn_tlist_new(call->run, call->args->n, &list);

	if (call->args->n == 0)
		return dn_trun_fail(call->run, EINVAL, "cycler() needs at least one item");
	for (size_t i = 0; i < call->args->n && r == 0; i++)
		r = dn_tlist_add(call->run, list, call->args->values[i]);
	*ret = dn_tval_list(DN_T_CYCLER, list);
	return r;
}

static const struct dn_tcallable globals[] = {
	{ "raise_exception", "message", 1, raise_exception },
	{ "namespace", "*", 0, make_namespace },
	{ "range", "start,stop,step", 1, make_range },
	{ "dict", "*", 0, make_dict },
	{ "strftime_now", "format", 1, strftime_now },
	{ "joiner", "sep", 0, make_joiner },
	{ "cycler", "*", 0, make_cycler },
};

const struct dn_tcallable *dn_tglobal_find(const char *name, size_t size)
{
	return dn_tcallable_find(globals, DN_ARRAY_SIZE(globals), name, size);
}
