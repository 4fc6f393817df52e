/* SPDX-License-Identifier: MIT */
/* JSON variables to values. Strings are borrowed from jansson, which outlives the rendering. */

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "engine/template/run.h"

static int from_array(struct dn_trun *run, const json_t *json, enum dn_trust trust,
		      unsigned int depth, struct dn_tval *ret)
{
	size_t n = json_array_size(json);
	struct dn_tlist *list = NULL;
	int r = dn_tlist_new(run, n, &list);

	for (size_t i = 0; i < n && r == 0; i++) {
		struct dn_tval item = dn_tval_none();

		r = dn_tval_from_json(run, json_array_get(json, i), trust, depth + 1, &item);
		if (r == 0)
			r = dn_tlist_add(run, list, item);
	}
	if (r == 0)
		*ret = dn_tval_list(DN_T_LIST, list);
	return r;
}

static int from_object(struct dn_trun *run, json_t *json, enum dn_trust trust, unsigned int depth,
		       struct dn_tval *ret)
{
	struct dn_tdict *dict = NULL;
	const char *name;
	json_t *member;
	int r = dn_tdict_new(run, json_object_size(json), &dict);

	json_object_foreach(json, name, member)
	{
		struct dn_tstr *key = NULL;
		struct dn_tval value = dn_tval_none();

		if (r == 0)
			r = dn_tstr_borrow(run, name, strlen(name), trust, &key);
		if (r == 0)
			r = dn_tval_from_json(run, member, trust, depth + 1, &value);
		if (r == 0)
			r = dn_tdict_set(run, dict, dn_tval_str(key), value);
		if (r < 0)
			return r;
	}
	if (r == 0)
		*ret = dn_tval_dict(dict);
	return r;
}

int dn_tval_from_json(struct dn_trun *run, const json_t *json, enum dn_trust trust,
		      unsigned int depth, struct dn_tval *ret)
{
	struct dn_tstr *s = NULL;
	int r = 0;

	if (depth > DN_TVAL_DEPTH)
		return dn_error_set(run->err, EINVAL,
				    "the template's variables are nested deeper than %d",
				    DN_TVAL_DEPTH);
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		return from_object(run, (json_t *)json, trust, depth, ret);
	case JSON_ARRAY:
		return from_array(run, json, trust, depth, ret);
	case JSON_STRING:
		r = dn_tstr_borrow(run, json_string_value(json), json_string_length(json), trust,
				   &s);
		if (r == 0)
			*ret = dn_tval_str(s);
		return r;
	case JSON_INTEGER:
		*ret = dn_tval_int(json_integer_value(json));
		break;
	case JSON_REAL:
		*ret = dn_tval_float(json_real_value(json));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		*ret = dn_tval_bool(json_is_true(json));
		break;
	case JSON_NULL:
		*ret = dn_tval_none();
		break;
	}
	ret->literal = trust == DN_TRUST_ALL;
	return 0;
}
