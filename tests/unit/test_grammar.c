/* SPDX-License-Identifier: MIT */
/* Grammars: which texts they have, what masks say, and what happens at the limits. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "failing-malloc.h"
#include "grammar-words.h"

static struct dn_token_index token_index;

static int make_index(void **state)
{
	(void)state;
	words_index(&token_index);
	return 0;
}

static int free_index(void **state)
{
	(void)state;
	words_done(&token_index);
	return 0;
}

static struct dn_grammar *compile(enum dn_grammar_kind kind, const char *text)
{
	struct dn_grammar *grammar = NULL;
	struct dn_error err = DN_ERROR_INIT;

	if (dn_grammar_new(kind, text, strlen(text), &token_index, &grammar, &err) < 0)
		fail_msg("%s: %s", text, err.message);
	return grammar;
}

static struct dn_matcher *match(struct dn_grammar *grammar)
{
	struct dn_matcher *matcher = NULL;
	struct dn_error err = DN_ERROR_INIT;

	if (dn_matcher_new(grammar, &matcher, &err) < 0)
		fail_msg("%s", err.message);
	return matcher;
}

/* 2: all of it; 1: as a beginning; 0: not. */
static int reads(struct dn_grammar *grammar, const char *text, size_t size)
{
	struct dn_matcher *matcher = match(grammar);
	int how = dn_matcher_accept_bytes(matcher, text, size, NULL) == 0;

	if (how && dn_matcher_may_end(matcher))
		how = 2;
	dn_matcher_free(matcher);
	return how;
}

/* Texts up to a NULL: those it has, and then those it has not. */
static void expect(enum dn_grammar_kind kind, const char *text, const char *const *has,
		   const char *const *has_not)
{
	struct dn_grammar *grammar = compile(kind, text);

	for (; *has; has++) {
		if (reads(grammar, *has, strlen(*has)) != 2)
			fail_msg("%s has not: %s", text, *has);
		for (size_t i = 0; i < strlen(*has); i++)
			if (!reads(grammar, *has, i))
				fail_msg("%s does not begin: %.*s", text, (int)i, *has);
	}
	for (; *has_not; has_not++)
		if (reads(grammar, *has_not, strlen(*has_not)) == 2)
			fail_msg("%s has: %s", text, *has_not);
	dn_grammar_unref(grammar);
}

#define TEXTS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void must_fail(enum dn_grammar_kind kind, const char *text, int code, const char *word)
{
	struct dn_grammar *grammar = NULL;
	struct dn_error err = DN_ERROR_INIT;

	assert_int_equal(dn_grammar_new(kind, text, strlen(text), &token_index, &grammar, &err),
			 -code);
	assert_null(grammar);
	if (!strstr(err.message, word))
		fail_msg("\"%s\" is not in \"%s\"", word, err.message);
}

static void test_gbnf(void **state)
{
	(void)state;
	expect(DN_GRAMMAR_GBNF, "root ::= \"a\" [b-d]+ | (\"x\" \"y\"?){2,3}",
	       TEXTS("ab", "abcd", "xx", "xyx", "xyxyxy"), TEXTS("", "a", "x", "ae", "xxxx"));
	expect(DN_GRAMMAR_GBNF, "# said\nroot ::=\n  pair* # more\n\npair ::= \"(\" root \")\"",
	       TEXTS("", "()", "(()())()"), TEXTS("("));
	expect(DN_GRAMMAR_GBNF, "root ::= (\n\"\\x41\" |\n[^\\x00-\\x7f])\n", TEXTS("A", "é", "😀"),
	       TEXTS("a", "\xc3", "éé"));
	expect(DN_GRAMMAR_GBNF, "root ::= a{3} b{0,} .\na ::= \"a\"\nb::=\"b\"",
	       TEXTS("aaax", "aaabbb", "aaab€"), TEXTS("aaa", "aax"));
	/* The empty rule, and one that ends in itself. */
	expect(DN_GRAMMAR_GBNF, "root ::= \"a\" root | ws\nws ::= \" \" ws | \"\"",
	       TEXTS("", "aaaa", "aa  ", "  "), TEXTS(" a"));
	must_fail(DN_GRAMMAR_GBNF, "root ::= x root | \"c\"\nx ::= \"\" | \"b\"", EINVAL, "itself");
	must_fail(DN_GRAMMAR_GBNF,
		  "root ::= \"a\" | x\nx ::= \"b\" | y\ny ::= z? x \"c\"\nz ::= \"d\"", EINVAL,
		  "rule 'x' refers to itself");
	must_fail(DN_GRAMMAR_GBNF, "root ::= \"a\" | (\"b\" | \"c\"?)* root", EINVAL, "itself");
	must_fail(DN_GRAMMAR_GBNF, "root ::= \"a\" root", EINVAL, "no text");
	must_fail(DN_GRAMMAR_GBNF, "root ::= \"a\" {2,1}", EINVAL, "nothing");
	must_fail(DN_GRAMMAR_GBNF, "root ::= (\"a\"", EINVAL, "')'");
	must_fail(DN_GRAMMAR_GBNF, "root ::= [a", EINVAL, "line 1");
	must_fail(DN_GRAMMAR_GBNF, "root ::= \"\\q\"", EINVAL, "escape");
	must_fail(DN_GRAMMAR_GBNF, "\xff", EINVAL, "UTF-8");
}

static void test_any_json(void **state)
{
	static const char *const objects[] = {
		"{}",
		"{ }",
		"{\"a\":1}",
		"{\"a\": [1, 2.5e-3, -0], \"b\": {\"c\": null}}",
		"{\n  \"é😀\": \"\\u00e9\\ud83d\\uDE00\\\"\\n\",\n  \"t\": [true, false, []]\n}",
		NULL
	};

	(void)state;
	expect(DN_GRAMMAR_JSON, "", objects,
	       TEXTS("[]", "1", "{\"a\"}", "{,}", "{\"a\":01}", "{\"a\":1,}", "{\"\\ud800\":1}",
		     "{\"\t\":1}", "{\"a\":.5}", "{} ", "{\"\\u0000\":1}"));
}

#define SCHEMA(text, has, has_not) expect(DN_GRAMMAR_SCHEMA, text, has, has_not)

static void test_objects(void **state)
{
	(void)state;
	SCHEMA("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":"
	       "\"null\"},\"c\":{\"const\":\"x\"}},\"required\":[\"b\"]}",
	       TEXTS("{\"b\":null}", "{\"a\":1,\"b\":null}", "{\"b\": null, \"c\": \"x\"}",
		     "{\"a\":-5,\"b\":null,\"c\":\"x\"}"),
	       TEXTS("{}", "{\"a\":1}", "{\"b\":null,\"a\":1}", "{\"b\":null,\"d\":1}",
		     "{\"a\":1 \"b\":null}", "{,\"b\":null}"));
	SCHEMA("{\"properties\":{\"ab\":{\"type\":\"null\"}},\"additionalProperties\":{\"type\":"
	       "\"integer\"}}",
	       TEXTS("{}", "{\"ab\":null}", "{\"a\":1}", "{\"abc\":1}", "{\"ab\":null,\"\":2}"),
	       TEXTS("{\"ab\":1}", "{\"a\":null}", "{\"\\u0061b\":1}"));
	SCHEMA("{\"allOf\":[{\"properties\":{\"a\":{\"minimum\":3}},\"required\":[\"a\"]},{"
	       "\"properties\":{\"a\":{\"type\":\"integer\",\"maximum\":5}}}]}",
	       TEXTS("{\"a\":3}", "{\"a\":5}"),
	       TEXTS("{}", "{\"a\":2}", "{\"a\":6}", "{\"a\":35}"));
	SCHEMA("{\"$defs\":{\"l\":{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"object\",\"properties"
	       "\":{\"next\":{\"$ref\":\"#/$defs/l\"}},\"required\":[\"next\"]}]}},\"$ref\":"
	       "\"#/$defs/l\"}",
	       TEXTS("null", "{\"next\":{\"next\":null}}"), TEXTS("{}", "{\"next\":1}"));
}

/* What programs send for a function without arguments. */
static void test_no_properties(void **state)
{
	(void)state;
	SCHEMA("{\"type\":\"object\",\"properties\":{}}", TEXTS("{}"), TEXTS("{\"a\":1}"));
	SCHEMA("{\"type\":\"object\",\"properties\":{},\"additionalProperties\":true}",
	       TEXTS("{}", "{\"a\":1}"), TEXTS("1"));
	SCHEMA("{\"type\":\"object\"}", TEXTS("{}", "{\"a\":1}"), TEXTS("1"));
	must_fail(DN_GRAMMAR_SCHEMA, "{\"type\":\"object\",\"properties\":{},\"minProperties\":1}",
		  ENOTSUP, "'minProperties'");
}

static void test_unevaluated(void **state)
{
	(void)state;
	SCHEMA("{\"type\":\"object\",\"unevaluatedProperties\":false}", TEXTS("{}", "{ }"),
	       TEXTS("{\"a\":1}"));
	SCHEMA("{\"type\":\"object\",\"unevaluatedProperties\":false,\"properties\":{\"a\":{}},"
	       "\"allOf\":[{"
	       "\"$ref\":\"#/$defs/b\"}],\"$defs\":{\"b\":{\"properties\":{\"b\":{}}}}}",
	       TEXTS("{}", "{\"a\":1}", "{\"a\":1,\"b\":2}"), TEXTS("{\"c\":1}"));
	SCHEMA("{\"type\":\"object\",\"unevaluatedProperties\":false,\"anyOf\":[{\"properties\":{"
	       "\"a\":{}},"
	       "\"required\":[\"a\"]},{\"properties\":{\"b\":{}}}]}",
	       TEXTS("{}", "{\"a\":1}", "{\"b\":2}"), TEXTS("{\"c\":1}", "{\"a\":1,\"b\":2}"));
	SCHEMA("{\"type\":\"object\",\"unevaluatedProperties\":false,\"additionalProperties\":{"
	       "\"type\":"
	       "\"null\"}}",
	       TEXTS("{}", "{\"a\":null}"), TEXTS("{\"a\":1}"));
	must_fail(DN_GRAMMAR_SCHEMA,
		  "{\"type\":\"object\",\"unevaluatedProperties\":false,\"allOf\":[{\"required\":["
		  "\"x\"]}]}",
		  ENOTSUP, "'unevaluatedProperties' at #");
	/* What stands beside the schema that says so it does not know. */
	must_fail(DN_GRAMMAR_SCHEMA,
		  "{\"type\":\"object\",\"properties\":{\"b\":{}},\"allOf\":[{\"properties\":{"
		  "\"a\":{}},"
		  "\"unevaluatedProperties\":false}]}",
		  ENOTSUP, "'unevaluatedProperties' at #/allOf/0");
}

static void test_arrays(void **state)
{
	(void)state;
	SCHEMA("{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"minItems\":1,\"maxItems\":"
	       "3}",
	       TEXTS("[true]", "[true,false]", "[ true, false, true ]"),
	       TEXTS("[]", "[true,true,true,true]", "[true,]", "[1]"));
	SCHEMA("{\"type\":\"array\",\"prefixItems\":[{\"type\":\"null\"},{\"const\":1}],\"items\":"
	       "false,\"minItems\":1}",
	       TEXTS("[null]", "[null,1]"), TEXTS("[]", "[null,1,1]", "[1]"));
	SCHEMA("{\"type\":\"array\",\"maxItems\":0}", TEXTS("[]"), TEXTS("[1]"));
}

static void test_strings(void **state)
{
	(void)state;
	SCHEMA("{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
	       TEXTS("\"ab\"", "\"é😀\"", "\"\\n\\\"x\"", "\"\\ud83d\\ude00a\""),
	       TEXTS("\"a\"", "\"abcd\"", "\"😀\""));
	SCHEMA("{\"type\":\"string\",\"pattern\":\"^a[^b\\\\d]+(x|yz)?$\"}",
	       TEXTS("\"ac\"", "\"a-x\"", "\"a\\\"yz\""), TEXTS("\"a\"", "\"ab\"", "\"a1\""));
	SCHEMA("{\"pattern\":\"b{2}\"}", TEXTS("\"bb\"", "\"abbc\"", "\"\\nbb\""),
	       TEXTS("\"b\"", "\"bab\"", "1"));
	SCHEMA("{\"type\":\"string\",\"format\":\"date\"}",
	       TEXTS("\"2024-02-29\"", "\"2026-11-30\"", "\"1999-12-31\""),
	       TEXTS("\"2023-02-29\"", "\"1900-02-29\"", "\"2026-11-31\"", "\"2026-13-01\""));
	SCHEMA("{\"type\":\"string\",\"format\":\"ipv4\"}",
	       TEXTS("\"0.0.0.0\"", "\"255.19.250.3\""),
	       TEXTS("\"256.1.1.1\"", "\"1.1.1\"", "\"01.1.1.1\""));
	SCHEMA("{\"enum\":[\"a\\\"b\",1,null,[2]],\"type\":[\"string\",\"array\"]}",
	       TEXTS("\"a\\\"b\"", "[2]"), TEXTS("1", "null", "\"a\""));
}

/* Every number of some around the bounds. */
static void expect_whole(int low, int high)
{
	struct dn_grammar *grammar;
	char schema[96];
	char text[16];

	(void)snprintf(schema, sizeof(schema),
		       "{\"type\":\"integer\",\"minimum\":%d,\"maximum\":%d}", low, high);
	grammar = compile(DN_GRAMMAR_SCHEMA, schema);
	for (int i = -1250; i <= 1250; i++) {
		const int size = snprintf(text, sizeof(text), "%d", i);

		if ((reads(grammar, text, (size_t)size) == 2) != (i >= low && i <= high))
			fail_msg("%s: %s", schema, text);
	}
	dn_grammar_unref(grammar);
}

static void test_numbers(void **state)
{
	static const int bounds[] = { -1234, -100, -99, -10, -1, 0, 1, 9, 10, 57, 100, 999, 1000 };

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(bounds); i++)
		for (size_t j = i; j < DN_ARRAY_SIZE(bounds); j++)
			expect_whole(bounds[i], bounds[j]);
	SCHEMA("{\"type\":\"number\",\"minimum\":0.25,\"exclusiveMaximum\":10.5}",
	       TEXTS("0.25", "0.250", "0.3", "1", "9.99", "10", "10.49", "10.4", "0.26"),
	       TEXTS("0", "0.2", "0.24", "0.249", "10.5", "10.50", "10.6", "11", "-1", "1e1"));
	SCHEMA("{\"type\":\"number\",\"exclusiveMinimum\":-1,\"maximum\":0}",
	       TEXTS("0", "0.0", "-0.5", "-0.999", "-0.001"),
	       TEXTS("-1", "-1.0", "0.1", "1", "-2"));
	SCHEMA("{\"type\":\"number\",\"exclusiveMinimum\":2,\"maximum\":2.5}",
	       TEXTS("2.1", "2.01", "2.5", "2.50", "2.4999"),
	       TEXTS("2", "2.0", "2.51", "2.6", "3"));
	SCHEMA("{\"type\":\"integer\",\"multipleOf\":7}", TEXTS("0", "7", "-14", "707", "70"),
	       TEXTS("1", "07", "71", "-", "-0"));
}

/* Bounds at which digits, or doubles, come to an end. */
static void test_far_numbers(void **state)
{
	(void)state;
	SCHEMA("{\"type\":\"number\",\"minimum\":0}",
	       TEXTS("0", "0.5", "7.25", "999999999", "1000000000", "999999999999999",
		     "99999999999999.5", "0.000000000000001"),
	       TEXTS("-1", "-0.5", "1000000000000000", "999999999999999.5"));
	SCHEMA("{\"type\":\"number\",\"maximum\":-12.5}",
	       TEXTS("-12.5", "-13", "-999999999999999", "-1000000000.25"),
	       TEXTS("-12.4", "0", "12.5"));
	SCHEMA("{\"type\":\"number\",\"exclusiveMinimum\":1e-9,\"exclusiveMaximum\":1e9}",
	       TEXTS("999999999.999999", "0.000000002", "0.0000000011", "999999999"),
	       TEXTS("999999999.999999999", "0.000000001", "1000000000", "0"));
	SCHEMA("{\"type\":\"number\",\"minimum\":0,\"maximum\":1.7976931348623157e308}",
	       TEXTS("0", "5.5"), TEXTS("-1"));
	SCHEMA("{\"type\":\"number\",\"minimum\":999999999999998}",
	       TEXTS("999999999999998", "999999999999999"),
	       TEXTS("999999999999997", "1000000000000000"));
	must_fail(DN_GRAMMAR_SCHEMA,
		  "{\"type\":\"number\",\"exclusiveMinimum\":0.30000000000000004,\"maximum\":0."
		  "3000000000000001}",
		  ENOTSUP, "'exclusiveMinimum' at #");
	/* Bounds that need more digits than are written: what is next within them. */
	SCHEMA("{\"type\":\"number\",\"minimum\":1e-20,\"maximum\":0.30000000000000004}",
	       TEXTS("0.000000000000001", "0.3", "0.300000000000000"),
	       TEXTS("0", "0.0", "0.300000000000001", "0.3000000000000000", "-1"));
	SCHEMA("{\"type\":\"number\",\"minimum\":-1e-20,\"maximum\":-0.0}", TEXTS("0"), TEXTS("1"));
	must_fail(DN_GRAMMAR_SCHEMA,
		  "{\"type\":\"number\",\"minimum\":-1e-20,\"exclusiveMaximum\":0}", ENOTSUP,
		  "'minimum' at #");
	SCHEMA("{\"type\":\"number\",\"exclusiveMinimum\":-0.19999999999999996,\"maximum\":"
	       "123456789.01234567}",
	       TEXTS("-0.199999999999999", "0", "123456789.012345"),
	       TEXTS("-0.2", "123456789.012346", "123456789.0123456"));
	SCHEMA("{\"type\":\"integer\",\"minimum\":9007199254740993,\"maximum\":9007199254740995}",
	       TEXTS("9007199254740993", "9007199254740994", "9007199254740995"),
	       TEXTS("9007199254740992", "9007199254740996"));
	SCHEMA("{\"type\":\"integer\",\"exclusiveMinimum\":9007199254740992,\"exclusiveMaximum\":"
	       "9007199254740995}",
	       TEXTS("9007199254740993", "9007199254740994"),
	       TEXTS("9007199254740992", "9007199254740995"));
	SCHEMA("{\"type\":\"integer\",\"maximum\":1e20,\"minimum\":-5.5}",
	       TEXTS("-5", "999999999999999999"), TEXTS("-6", "-5.5"));
	SCHEMA("{\"enum\":[0.1,1e300,0.30000000000000004,{\"a\":[2.2]},1.0]}",
	       TEXTS("0.1", "1e300", "0.30000000000000004", "{\"a\":[2.2]}", "1.0"),
	       TEXTS("0.10000000000000001", "0.3"));
	SCHEMA("{\"enum\":[9007199254740992,9007199254740993,9.5],\"minimum\":9007199254740993}",
	       TEXTS("9007199254740993"), TEXTS("9007199254740992", "9.5"));
	must_fail(DN_GRAMMAR_SCHEMA, "{\"type\":\"integer\",\"maximum\":-1e20}", ENOTSUP,
		  "'maximum' at #");
	must_fail(DN_GRAMMAR_SCHEMA, "{\"type\":\"integer\",\"exclusiveMinimum\":1e18}", ENOTSUP,
		  "'exclusiveMinimum' at #");
	must_fail(DN_GRAMMAR_SCHEMA,
		  "{\"type\":\"integer\",\"minimum\":3000000000000000000,\"multipleOf\":5}",
		  ENOTSUP, "'minimum'");
	must_fail(DN_GRAMMAR_SCHEMA,
		  "{\"type\":\"integer\",\"maximum\":2000000000000000000,\"multipleOf\":5}",
		  ENOTSUP, "'multipleOf'");
	must_fail(DN_GRAMMAR_SCHEMA,
		  "{\"type\":\"integer\",\"oneOf\":[{\"exclusiveMaximum\":9007199254740993},{"
		  "\"minimum\":"
		  "9007199254740992}]}",
		  ENOTSUP, "'oneOf'");
	/* Multiples with one bound. */
	SCHEMA("{\"type\":\"integer\",\"minimum\":0,\"multipleOf\":5}", TEXTS("0", "5", "123455"),
	       TEXTS("-5", "4", "-0"));
	SCHEMA("{\"type\":\"integer\",\"exclusiveMinimum\":0,\"multipleOf\":5}", TEXTS("5", "10"),
	       TEXTS("0", "-5"));
	SCHEMA("{\"type\":\"integer\",\"minimum\":-12,\"multipleOf\":5}",
	       TEXTS("0", "5", "-5", "-10", "1000"), TEXTS("-15", "-12", "3"));
	SCHEMA("{\"type\":\"integer\",\"maximum\":-3,\"multipleOf\":5}", TEXTS("-5", "-10"),
	       TEXTS("0", "5", "-3"));
	/* The word of draft 4 is about its own schema's bound. */
	SCHEMA("{\"allOf\":[{\"type\":\"integer\",\"minimum\":5},{\"minimum\":3,"
	       "\"exclusiveMinimum\":true}]}",
	       TEXTS("5", "6"), TEXTS("4", "3"));
	SCHEMA("{\"type\":\"integer\",\"minimum\":3,\"exclusiveMinimum\":true,\"maximum\":9,"
	       "\"exclusiveMaximum\":"
	       "false}",
	       TEXTS("4", "9"), TEXTS("3", "10"));
}

/* As programs write them of their types. */
static void test_of_programs(void **state)
{
	(void)state;
	SCHEMA("{\"format\":\"uri\",\"minLength\":1,\"maxLength\":2083,\"type\":\"string\"}",
	       TEXTS("\"https://example.org/a/b?c=d\"", "\"http://a:80\""),
	       TEXTS("\"a\"", "\"/a\"", "\"\""));
	SCHEMA("{\"type\":\"string\",\"format\":\"email\",\"maxLength\":100}", TEXTS("\"a@b.org\""),
	       TEXTS("\"a\""));
	must_fail(DN_GRAMMAR_SCHEMA, "{\"type\":\"string\",\"format\":\"email\",\"maxLength\":10}",
		  ENOTSUP, "'format' at #");
	SCHEMA("{\"discriminator\":{\"mapping\":{\"a\":\"#/$defs/"
	       "A\"},\"propertyName\":\"t\"},\"oneOf\":[{\"type\":"
	       "\"object\",\"properties\":{\"t\":{\"const\":\"a\",\"type\":\"string\"}},"
	       "\"required\":[\"t\"],"
	       "\"propertyOrdering\":[\"t\"]}]}",
	       TEXTS("{\"t\":\"a\"}"), TEXTS("{}"));
	SCHEMA("{\"type\":\"integer\",\"format\":\"uint64\",\"minimum\":0,\"maximum\":"
	       "18446744073709551615}",
	       TEXTS("0", "18446744073709551"), TEXTS("-1", "1.0"));
	SCHEMA("{\"type\":\"integer\",\"format\":\"uint8\"}", TEXTS("0", "255"),
	       TEXTS("-1", "256"));
	SCHEMA("{\"type\":\"number\",\"format\":\"float\"}", TEXTS("1.5", "-1e9"), TEXTS("\"a\""));
	SCHEMA("{\"enum\":[\"9999999999999999999\",1.00000000000000000001],\"maximum\":"
	       "9223372036854775808}",
	       TEXTS("\"9999999999999999999\"", "1.0"), TEXTS("1"));
	must_fail(DN_GRAMMAR_SCHEMA, "{\"const\":18446744073709551615}", ENOTSUP, "'const'");
	must_fail(DN_GRAMMAR_SCHEMA, "{\"enum\":[[18446744073709551615]]}", ENOTSUP, "'enum'");
}

static void test_references(void **state)
{
	(void)state;
	SCHEMA("{\"$id\":\"http://a/"
	       "\",\"$defs\":{\"x\":{\"type\":\"null\",\"$id\":\"b\"}},\"default\":{\"$id\":\"b\","
	       "\"$ref\":\"c\"},\"properties\":{\"$id\":{\"$ref\":\"#/$defs/x\"}}}",
	       TEXTS("{\"$id\":null}"), TEXTS("{\"$id\":1}"));
}

static void test_one_of(void **state)
{
	(void)state;
	SCHEMA("{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"k\":{\"const\":1},\"a\":{"
	       "\"type\":"
	       "\"null\"}},\"required\":[\"k\"]},{\"type\":\"object\",\"properties\":{\"k\":{"
	       "\"const"
	       "\":2}},\"required\":[\"k\"]}]}",
	       TEXTS("{\"k\":1,\"a\":null}", "{\"k\":2}"), TEXTS("{\"k\":2,\"a\":null}", "{}"));
	must_fail(DN_GRAMMAR_SCHEMA, "{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":3}]}",
		  ENOTSUP, "'oneOf'");
	/* A string is of the first too, which says nothing of strings. */
	must_fail(DN_GRAMMAR_SCHEMA,
		  "{\"oneOf\":[{\"properties\":{\"a\":{}}},{\"type\":\"string\"}]}", ENOTSUP,
		  "'oneOf'");
}

static void test_refusals(void **state)
{
	(void)state;
	must_fail(DN_GRAMMAR_SCHEMA, "{\"properties\":{\"a~/b\":{\"not\":{}}}}", ENOTSUP, "'not'");
	must_fail(DN_GRAMMAR_SCHEMA, "{\"properties\":{\"a\":{\"items\":{\"contains\":{}}}}}",
		  ENOTSUP, "'contains' at #/properties/a/items");
	must_fail(
		DN_GRAMMAR_SCHEMA,
		"{\"type\":\"object\",\"properties\":{\"foo\":{\"type\":\"string\"}},\"required\":["
		"\"foo\"],\"propertyNames\":{\"pattern\":\"^x_\"}}",
		ENOTSUP, "'propertyNames' at #");
	must_fail(DN_GRAMMAR_SCHEMA, "{\"required\":[\"foo\"],\"propertyNames\":{\"maxLength\":2}}",
		  ENOTSUP, "'propertyNames'");
	must_fail(DN_GRAMMAR_SCHEMA,
		  "{\"properties\":{\"foo\":{}},\"additionalProperties\":false,\"propertyNames\":{"
		  "\"enum\":["
		  "\"bar\"]}}",
		  ENOTSUP, "'propertyNames'");
	/* It would mean another place there. */
	must_fail(DN_GRAMMAR_SCHEMA,
		  "{\"$id\":\"http://a/"
		  "\",\"$defs\":{\"x\":{\"type\":\"null\"}},\"items\":{\"$id\":\"b\",\"$defs\":{"
		  "\"x\":{\"type\":\"string\"}},\"items\":{\"$ref\":\"#/$defs/x\"}}}",
		  ENOTSUP, "'$id' at #/items");
	must_fail(DN_GRAMMAR_SCHEMA, "{\"type\":\"object\"", EINVAL, "no JSON");
	must_fail(DN_GRAMMAR_SCHEMA, "3", EINVAL, "object");
	must_fail(DN_GRAMMAR_SCHEMA, "false", EINVAL, "no text");
	must_fail(DN_GRAMMAR_SCHEMA, "{\"minLength\":-1}", EINVAL, "'minLength'");
	must_fail(DN_GRAMMAR_SCHEMA, "{\"pattern\":\"(\"}", EINVAL, "pattern");
	must_fail(DN_GRAMMAR_SCHEMA, "{\"pattern\":\"a$b\"}", ENOTSUP, "anchors");
	must_fail(DN_GRAMMAR_SCHEMA, "{\"pattern\":\"ab\",\"maxLength\":5}", ENOTSUP, "lengths");
}

static void test_masks(void **state)
{
	static const struct {
		enum dn_grammar_kind kind;
		const char *text;
	} grammars[] = {
		{ DN_GRAMMAR_JSON, "" },
		{ DN_GRAMMAR_GBNF,
		  "root ::= (\"a\" | \"b\" root \"c\"){2,9} x\nx ::= [a-z ]{0,30} | x2\n"
		  "x2 ::= \"\" | \"(\" x \")\" x2" },
		{ DN_GRAMMAR_GBNF, "root ::= ((\"aa\" | \"aaa\"){1,7} | \"a\"?){0,4} \"\\n\"" },
		{ DN_GRAMMAR_SCHEMA, "{\"type\":\"string\",\"minLength\":9,\"maxLength\":60}" },
		{ DN_GRAMMAR_SCHEMA,
		  "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":"
		  "12},\"minItems\":3,\"maxItems\":5}" },
		{ DN_GRAMMAR_SCHEMA, "{\"type\":\"object\",\"additionalProperties\":{\"type\":"
				     "\"number\",\"minimum\":-3}}" },
		{ DN_GRAMMAR_SCHEMA, "{\"format\":\"uri\"}" },
		{ DN_GRAMMAR_GBNF, "root ::= ([a-zA-Z ]{1,40} [a-z]{0,40}){1,800}" },
		{ DN_GRAMMAR_GBNF,
		  "root ::= ((\"a\"{0,3} | \"ab\"?){2,30} \"b\"?){5,20} [a-z ]{4,}" },
		{ DN_GRAMMAR_SCHEMA, "{\"pattern\":\"^([a-z]{1,60}[a-z ]{1,60}){1,60}$\"}" },
	};

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(grammars); i++) {
		struct dn_grammar *grammar = compile(grammars[i].kind, grammars[i].text);

		for (uint64_t seed = 0; seed < 8; seed++) {
			struct dn_matcher *matcher = match(grammar);
			bool ended;

			if (!words_walk(matcher, seed, 150, &ended))
				fail_msg("%s", grammars[i].text);
			dn_matcher_free(matcher);
		}
		dn_grammar_unref(grammar);
	}
}

/* Matchers of one grammar, some far ahead, through many states: none is in another's way. */
static void test_matchers_side_by_side(void **state)
{
	struct dn_grammar *grammar = compile(DN_GRAMMAR_JSON, "");
	struct dn_matcher *a = match(grammar);
	struct dn_matcher *b = match(grammar);
	struct dn_matcher *c = NULL;
	char nested[100];

	(void)state;
	memset(nested, '[', sizeof(nested));
	assert_int_equal(dn_matcher_accept_bytes(a, "{\"x\":", 5, NULL), 0);
	assert_int_equal(dn_matcher_accept_bytes(b, "{\"x\":", 5, NULL), 0);
	/* Each is so deep that all that is kept has to be forgotten again and again. */
	for (int i = 0; i < 80; i++)
		assert_int_equal(dn_matcher_accept_bytes(b, nested, sizeof(nested), NULL), 0);
	assert_int_equal(dn_matcher_clone(a, &c, NULL), 0);
	assert_int_equal(dn_matcher_accept_bytes(a, "1}", 2, NULL), 0);
	assert_true(dn_matcher_must_end(a));
	assert_int_equal(dn_matcher_accept_bytes(c, "]", 1, NULL), -EINVAL);
	assert_int_equal(dn_matcher_accept_bytes(c, "[2]", 3, NULL), 0);
	assert_false(dn_matcher_may_end(c));
	memset(nested, ']', sizeof(nested));
	for (int i = 0; i < 80; i++)
		assert_int_equal(dn_matcher_accept_bytes(b, nested, sizeof(nested), NULL), 0);
	assert_int_equal(dn_matcher_accept_bytes(b, "}", 1, NULL), 0);
	assert_true(dn_matcher_must_end(b));
	dn_matcher_free(a);
	dn_matcher_free(b);
	dn_grammar_unref(grammar);
	assert_int_equal(dn_matcher_accept_bytes(c, "}", 1, NULL), 0);
	dn_matcher_free(c);
}

/* As deep as memory goes, an error, and no other matcher is hurt. */
static void test_too_deep(void **state)
{
	struct dn_grammar *grammar = compile(DN_GRAMMAR_GBNF, "root ::= \"[\" root? \"]\"");
	struct dn_matcher *matcher = match(grammar);
	struct dn_matcher *other = match(grammar);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_grammar *grammar_of_loops;
	struct dn_matcher *in_loops;
	const uint64_t *mask;
	char nested[1000];
	int r = 0;

	(void)state;
	/* And one of loops in loops in loops. */
	grammar_of_loops = compile(DN_GRAMMAR_GBNF, "root ::= \"a\" (root)*");
	in_loops = match(grammar_of_loops);
	memset(nested, 'a', sizeof(nested));
	for (int i = 0; r == 0 && i < 30; i++)
		r = dn_matcher_accept_bytes(in_loops, nested, sizeof(nested), &err);
	if (r == 0)
		assert_true(dn_matcher_mask(in_loops, false, &mask, &err) > 0);
	dn_matcher_free(in_loops);
	dn_grammar_unref(grammar_of_loops);
	r = 0;
	memset(nested, '[', sizeof(nested));
	for (int i = 0; r == 0 && i < 1000; i++)
		r = dn_matcher_accept_bytes(matcher, nested, sizeof(nested), &err);
	assert_int_equal(r, -EOVERFLOW);
	assert_non_null(strstr(err.message, "too deep"));
	dn_matcher_free(matcher);
	assert_int_equal(dn_matcher_accept_bytes(other, "[[]]", 4, NULL), 0);
	assert_true(dn_matcher_must_end(other));
	dn_matcher_free(other);
	dn_grammar_unref(grammar);
}

/* What takes time or memory without end elsewhere. */
static void test_bounds(void **state)
{
	struct dn_grammar *grammar;
	char *text = malloc(100001);

	(void)state;
	memset(text, '(', 100000);
	text[100000] = '\0';
	memcpy(text, "root ::= ", 9);
	must_fail(DN_GRAMMAR_GBNF, text, EINVAL, "deep");
	for (int i = 9; i < 99999; i += 3)
		memcpy(text + i, i % 2 ? "\"a\"" : "\"b\"", 3);
	text[9 + 3 * 33330] = '\0';
	grammar = compile(DN_GRAMMAR_GBNF, text);
	dn_grammar_unref(grammar);
	must_fail(DN_GRAMMAR_GBNF, "root ::= ((\"a\"{1000000}){1000000}){9999999}", EINVAL, "more");
	grammar = compile(DN_GRAMMAR_GBNF, "root ::= ((\"a\"?){1000000}){1000000} \"b\"");
	(void)reads(grammar, "aaaab", 5);
	dn_grammar_unref(grammar);
	grammar = compile(DN_GRAMMAR_SCHEMA, "{\"type\":\"string\",\"pattern\":\"((a*)*b*)*c\"}");
	assert_int_equal(reads(grammar, "\"aabac\"", 7), 2);
	dn_grammar_unref(grammar);
	free(text);
}

/* @before, @n times what @format makes of a number and the next, with @comma between, and @after. */
static char *many(const char *before, const char *format, int n, const char *comma,
		  const char *after)
{
	char *text = malloc(1 << 20);
	size_t size = (size_t)sprintf(text, "%s", before);

	for (int i = 0; i < n; i++) {
		size += (size_t)sprintf(text + size, "%s", i ? comma : "");
		size += (size_t)sprintf(text + size, format, i, i + 1);
	}
	(void)sprintf(text + size, "%s", after);
	return text;
}

/* Along @text; an error is the test's end. */
static void expect_masks(enum dn_grammar_kind kind, const char *grammar_text, const char *text)
{
	struct dn_grammar *grammar = compile(kind, grammar_text);
	struct dn_matcher *matcher = match(grammar);
	struct dn_error err = DN_ERROR_INIT;
	const uint64_t *mask;

	for (; *text; text++)
		if (dn_matcher_mask(matcher, true, &mask, &err) <= 0 ||
		    !(mask[(uint8_t)*text / 64] >> ((uint8_t)*text % 64) & 1) ||
		    dn_matcher_accept_bytes(matcher, text, 1, &err) < 0)
			fail_msg("%.60s: %s at %s", grammar_text, err.message, text);
	assert_true(dn_matcher_may_end(matcher));
	dn_matcher_free(matcher);
	dn_grammar_unref(grammar);
}

/* What is large, and what could be read in many ways, is there as what is small is. */
static void test_many_ways(void **state)
{
	char *text;

	(void)state;
	text = many("{\"enum\":[", "\"%d is a word\"", 5000, ",", "]}");
	expect_masks(DN_GRAMMAR_SCHEMA, text, "\"4999 is a word\"");
	free(text);
	text = many("{\"type\":\"object\",\"properties\":{", "\"p%d\":{\"type\":\"integer\"}", 1000,
		    ",", "}}");
	expect_masks(DN_GRAMMAR_SCHEMA, text, "{\"p0\":1, \"p7\": 2, \"p998\":3,\"p999\":4}");
	expect_masks(DN_GRAMMAR_SCHEMA, text, "{\"p999\":4}");
	free(text);
	text = many("{\"type\":\"object\",\"properties\":{",
		    "\"p%d\":{\"type\":\"number\",\"minimum\":0}", 800, ",", "}}");
	expect_masks(DN_GRAMMAR_SCHEMA, text, "{\"p0\":1.5, \"p799\": 20}");
	free(text);
	text = many("", "a", 1500, "", "");
	expect_masks(DN_GRAMMAR_GBNF, "root ::= (\"a\"?){0,2000}", text);
	expect_masks(DN_GRAMMAR_GBNF, "root ::= ((\"a\" | \"aa\"){0,50}){0,2000}", text);
	expect_masks(DN_GRAMMAR_GBNF, "root ::= ([a-z ]{1,40} [a-z]{0,40}){1,800}", text);
	free(text);
	text = many("\"", "abc,", 300, "", "\"");
	expect_masks(DN_GRAMMAR_SCHEMA, "{\"pattern\":\"^([a-z]*,?){0,1000}$\"}", text);
	expect_masks(DN_GRAMMAR_SCHEMA, "{\"pattern\":\"^([a-z]{1,60}[a-z, ]{1,60}){1,60}$\"}",
		     text);
	free(text);
	/* More than there may be is told at once, and not as a text that cannot be. */
	text = many("root ::= ", "\"%d.\"", 5000, "|", "");
	must_fail(DN_GRAMMAR_GBNF, text, EOVERFLOW, "needs too much");
	free(text);
}

/* No text takes long, whatever it is refused for: a worker has others to serve. */
static void must_be_quick(enum dn_grammar_kind kind, char *text)
{
	const clock_t begin = clock();
	struct dn_grammar *grammar = NULL;
	struct dn_error err = DN_ERROR_INIT;
	const int r = dn_grammar_new(kind, text, strlen(text), &token_index, &grammar, &err);

	if (r < 0)
		assert_true(r == -E2BIG || r == -EOVERFLOW);
	dn_grammar_unref(grammar);
	/* Some tens of milliseconds; the sanitizers' builds are slow. */
	if (clock() - begin > CLOCKS_PER_SEC)
		fail_msg("%.3f s: %.60s: %s", (double)(clock() - begin) / CLOCKS_PER_SEC, text,
			 err.message);
	free(text);
}

static void test_compiling_is_quick(void **state)
{
	char *values =
		many("{\"$defs\":{\"e\":{\"enum\":[", "%d", 14000, ",", "]}},\"properties\":{");
	char *notes = many("{\"$defs\":{\"b\":{", "\"x-%d\":0", 12000, ",",
			   ",\"type\":\"integer\"}},\"oneOf\":[");

	(void)state;
	must_be_quick(DN_GRAMMAR_SCHEMA,
		      many(values, "\"p%d\":{\"$ref\":\"#/$defs/e\",\"maximum\":100000}", 400, ",",
			   "}}"));
	must_be_quick(DN_GRAMMAR_SCHEMA,
		      many(notes, "{\"$ref\":\"#/$defs/b\",\"minimum\":%1$d,\"maximum\":%1$d}", 180,
			   ",", "]}"));
	must_be_quick(DN_GRAMMAR_SCHEMA,
		      many("{\"oneOf\":[",
			   "{\"type\":\"integer\",\"minimum\":%1$d,\"maximum\":%1$d}", 2000, ",",
			   "]}"));
	/* Rules in the worse of two orders, and rules that enter many others. */
	must_be_quick(DN_GRAMMAR_GBNF, many("root ::= r7000\nr0 ::= \"a\"\n",
					    "r%2$d ::= \"b\" r%1$d\n", 7000, "", ""));
	must_be_quick(DN_GRAMMAR_GBNF, many("root ::= r0\n", "r%1$d ::= r%2$d | \"b\"\n", 4000, "",
					    "r4000 ::= \"a\""));
	free(values);
	free(notes);
	/* Unions are compared by their values, not each with each. */
	values = many("{\"oneOf\":[", "{\"const\":\"v%d\"}", 400, ",", "]}");
	SCHEMA(values, TEXTS("\"v0\"", "\"v399\""), TEXTS("\"v400\""));
	free(values);
	values = many("{\"oneOf\":[",
		      "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"k\":{"
		      "\"const\":%d}},\"required\":["
		      "\"a\",\"k\"]}",
		      300, ",", "]}");
	SCHEMA(values, TEXTS("{\"a\":1,\"k\":299}"), TEXTS("{\"k\":1}", "{\"a\":1,\"k\":300}"));
	free(values);
	must_fail(DN_GRAMMAR_SCHEMA, "{\"oneOf\":[{\"const\":1},{\"enum\":[0,1.0]}]}", ENOTSUP,
		  "'oneOf'");
	must_fail(DN_GRAMMAR_SCHEMA,
		  "{\"oneOf\":[{\"required\":[\"k\"],\"properties\":{\"k\":{\"const\":1}}},{"
		  "\"required\":["
		  "\"k\"],\"properties\":{\"k\":{\"const\":2}}}]}",
		  ENOTSUP, "'oneOf'");
}

/* What a matcher's masks are, one after the other, along @text. */
static uint64_t sum_of_masks(struct dn_matcher *matcher, const char *text)
{
	struct dn_error err = DN_ERROR_INIT;
	const uint64_t *mask = NULL;
	uint64_t sum = 0;

	for (; *text; text++) {
		assert_true(dn_matcher_mask(matcher, true, &mask, &err) > 0);
		for (uint32_t i = 0; i < token_index.words; i++)
			sum = (sum ^ mask[i]) * UINT64_C(0x9e3779b97f4a7c15);
		assert_int_equal(dn_matcher_accept_bytes(matcher, text, 1, &err), 0);
		assert_true(token_index.account.used <= token_index.account.most);
	}
	return sum;
}

/* With room for next to nothing all is forgotten again and again, and masks are what they were. */
static void test_one_account(void **state)
{
	static const char schema[] = "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":"
				     "\"string\",\"maxLength\":9},\"b\":{\"type\":\"integer\"}},"
				     "\"required\":[\"a\",\"b\"]}";
	static const char text[] = "{\"a\": \"nothing\", \"b\": -12}";
	struct dn_grammar *first = compile(DN_GRAMMAR_SCHEMA, schema);
	const uint64_t most = token_index.account.most;
	struct dn_grammar *second;
	struct dn_matcher *one;
	struct dn_matcher *other;
	uint64_t sum;

	(void)state;
	one = match(first);
	sum = sum_of_masks(one, text);
	token_index.account.most = token_index.account.used;
	second = compile(DN_GRAMMAR_SCHEMA, schema);
	other = match(second);
	assert_int_equal(sum_of_masks(other, text), sum);
	token_index.account.most = token_index.account.used;
	token_index.account.most = 0;
	must_fail(DN_GRAMMAR_SCHEMA, schema, ENOSPC, "leave no memory");
	token_index.account.most = most;
	dn_matcher_free(one);
	dn_matcher_free(other);
	dn_grammar_unref(first);
	dn_grammar_unref(second);
	assert_int_equal(token_index.account.used, 0);
}

static void use(enum dn_grammar_kind kind, const char *text, int *ret)
{
	struct dn_grammar *grammar = NULL;
	struct dn_matcher *matcher = NULL;
	struct dn_error err = DN_ERROR_INIT;
	const uint64_t *mask;

	*ret = dn_grammar_new(kind, text, strlen(text), &token_index, &grammar, &err);
	if (*ret < 0)
		return;
	*ret = dn_matcher_new(grammar, &matcher, &err);
	for (int i = 0; *ret >= 0 && i < 3; i++) {
		*ret = dn_matcher_mask(matcher, false, &mask, &err);
		if (*ret >= 0)
			*ret = dn_matcher_accept_bytes(matcher, &"{\"a"[i], 1, &err);
	}
	dn_matcher_free(matcher);
	dn_grammar_unref(grammar);
}

static void test_memory_is_short(void **state)
{
	static const char *const texts[] = {
		"root ::= \"{\" (\"\\\"a\" | [^a]{2,5}) | root2\nroot2 ::= \"x\"",
		"{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[1,2]},\"b\":{\"pattern\":"
		"\"a+\"}}}",
	};

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(texts); i++)
		for (size_t nth = 1;; nth++) {
			int r;

			failing_malloc_arm(nth);
			use(i == 0 ? DN_GRAMMAR_GBNF : DN_GRAMMAR_SCHEMA, texts[i], &r);
			if (!failing_malloc_disarm()) {
				assert_true(r >= 0);
				break;
			}
			assert_int_equal(r, -ENOMEM);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gbnf),
		cmocka_unit_test(test_any_json),
		cmocka_unit_test(test_objects),
		cmocka_unit_test(test_arrays),
		cmocka_unit_test(test_no_properties),
		cmocka_unit_test(test_unevaluated),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_far_numbers),
		cmocka_unit_test(test_of_programs),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_one_of),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_masks),
		cmocka_unit_test(test_matchers_side_by_side),
		cmocka_unit_test(test_too_deep),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_many_ways),
		cmocka_unit_test(test_compiling_is_quick),
		cmocka_unit_test(test_memory_is_short),
		cmocka_unit_test(test_one_account),
	};

	return cmocka_run_group_tests(tests, make_index, free_index);
}
