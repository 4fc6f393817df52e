# SPDX-License-Identifier: MIT
"""JSON schemas of the kinds that people publish and that programs make of their types: some two hundred
of them, the same ones each time."""

import random

WORDS = ["name", "title", "id", "age", "price", "tags", "address", "email", "status", "items",
         "count", "city", "zip", "kind", "value", "left", "right", "children", "note", "größe"]
PATTERNS = ["^[a-z]+$", "^[A-Z]{2,3}-[0-9]{4}$", "^#[0-9a-fA-F]{6}$", "^(red|green|blue)$", "@",
            "^\\d{3}-\\d{2}-\\d{4}$", "^\\w+( \\w+)*$", "^[^\\s\"]{1,12}$", "^v\\d+\\.\\d+\\.\\d+$",
            "^\\+?[1-9]\\d{1,14}$", "^[a-z0-9]+(?:-[a-z0-9]+)*$", "x{2,4}y?$", "^$|^[ab]c*$",
            "^\\S+$", "^[\\u00e0-\\u00ff]+$", "^\\{\"\\\\\\}$", "^.{3,5}$", "^a|b$"]
FORMATS = ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri",
           "uri-reference", "uuid", "json-pointer"]

FIXED = [
    # As programs make them of their types (pydantic, zod).
    {"$defs": {"Step": {"properties": {"explanation": {"title": "Explanation", "type": "string"},
                                       "output": {"title": "Output", "type": "string"}},
                        "required": ["explanation", "output"], "title": "Step", "type": "object",
                        "additionalProperties": False}},
     "properties": {"steps": {"items": {"$ref": "#/$defs/Step"}, "title": "Steps",
                              "type": "array", "maxItems": 4},
                    "final_answer": {"title": "Final Answer", "type": "string", "maxLength": 40}},
     "required": ["steps", "final_answer"], "title": "Math", "type": "object",
     "additionalProperties": False},
    {"type": "object", "properties": {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}],
                                            "default": None, "title": "A"}}},
    {"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/definitions/node",
     "definitions": {"node": {"type": "object", "properties": {
         "value": {"type": "number"},
         "children": {"type": "array", "items": {"$ref": "#/definitions/node"}, "maxItems": 2}},
         "required": ["value", "children"], "additionalProperties": False}}},
    {"$defs": {"tree": {"anyOf": [{"type": "null"}, {
        "type": "object", "properties": {"left": {"$ref": "#/$defs/tree"},
                                         "key": {"type": "integer"},
                                         "right": {"$ref": "#/$defs/tree"}},
        "required": ["left", "key", "right"]}]}}, "$ref": "#/$defs/tree"},
    {"type": "object", "properties": {"next": {"$ref": "#"}, "v": {"const": 1}},
     "required": ["v"], "additionalProperties": False},
    # Of pydantic: addresses with lengths, a tagged union. Of schemars, and of OpenAPI.
    {"type": "object", "properties": {
        "url": {"format": "uri", "minLength": 1, "maxLength": 2083, "type": "string"},
        "short": {"format": "uri", "maxLength": 100, "type": "string"},
        "mail": {"format": "email", "maxLength": 100, "type": "string"},
        "host": {"format": "hostname", "maxLength": 60, "type": "string"}}},
    {"$defs": {"Cat": {"type": "object", "properties": {"kind": {"const": "cat", "type": "string"},
                                                        "lives": {"type": "integer"}},
                       "required": ["kind", "lives"]},
               "Dog": {"type": "object", "properties": {"kind": {"const": "dog", "type": "string"}},
                       "required": ["kind"]}},
     "discriminator": {"mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"},
                       "propertyName": "kind"},
     "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]},
    {"type": "object", "properties": {
        "count": {"type": "integer", "format": "uint64", "minimum": 0,
                  "maximum": 18446744073709551615},
        "small": {"type": "integer", "format": "uint8"}, "f": {"type": "number", "format": "float"}},
     "required": ["count", "small", "f"], "propertyOrdering": ["count", "small", "f"]},
    {"oneOf": [{"const": f"value {i}"} for i in range(400)]},
    # Nothing beside what is named.
    {"type": "object", "unevaluatedProperties": False},
    {"type": "object", "unevaluatedProperties": False, "properties": {"a": {"type": "integer"}},
     "allOf": [{"$ref": "#/$defs/b"}], "anyOf": [{"properties": {"c": {"type": "null"}}},
                                                 {"properties": {"d": {"type": "null"}}}],
     "$defs": {"b": {"properties": {"b": {"type": "integer"}}, "required": ["b"]}}},
    {"type": "object", "properties": {}},
    {"type": "object", "properties": {f"p{i}": {"type": "integer"} for i in range(1000)}},
    {"enum": [0.1, 0.30000000000000004, 1e300, 123456789.01234567, [1.1]]},
    {"enum": [f"{i} is a long word" for i in range(5000)]},
    # Read in many ways.
    {"type": "string", "pattern": "^([a-z]{1,60}[a-z ]{1,60}){1,60}$"},
    {"type": "string", "pattern": "^([a-z]*,?){0,1000}$"},
    # Unions told apart by a constant.
    {"oneOf": [{"type": "object", "properties": {"kind": {"const": "circle"},
                                                 "r": {"type": "number", "exclusiveMinimum": 0}},
                "required": ["kind", "r"]},
               {"type": "object", "properties": {"kind": {"const": "square"},
                                                 "side": {"type": "number", "minimum": 0.25}},
                "required": ["kind", "side"]}]},
    {"oneOf": [{"type": "string", "maxLength": 5}, {"type": "integer"}, {"type": "boolean"}]},
    {"oneOf": [{"type": "integer", "maximum": 3}, {"type": "integer", "minimum": 4}]},
    # Merged from pieces.
    {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
               {"properties": {"b": {"type": "string"}, "a": {"minimum": 5, "maximum": 20}},
                "required": ["b"]}]},
    {"$defs": {"base": {"type": "object", "properties": {"id": {"type": "integer", "minimum": 1}},
                        "required": ["id"]}},
     "allOf": [{"$ref": "#/$defs/base"}], "properties": {"name": {"type": "string"}},
     "required": ["name"]},
    {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
     "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    # Maps.
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
    {"type": "object", "properties": {"id": {"type": "string"}, "i": {"type": "null"}},
     "additionalProperties": {"type": "boolean"}, "required": ["id"]},
    {"type": "object", "propertyNames": {"pattern": "^[a-z]{1,6}$"},
     "additionalProperties": {"type": "number"}, "maxProperties": 3},
    {"type": "object", "propertyNames": {"enum": ["red", "green"]},
     "additionalProperties": {"type": "integer"}},
    {"type": "object", "additionalProperties": False},
    {"type": "object"}, {"type": "array"}, {}, True, {"type": ["string", "null"]},
    # Lists.
    {"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}], "items": False},
    {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "boolean"},
     "minItems": 2, "maxItems": 5},
    {"type": "array", "items": [{"type": "integer"}, {"type": "string"}],
     "additionalItems": False, "minItems": 1, "$schema": "http://json-schema.org/draft-07/schema#"},
    {"type": "array", "items": {"type": "array", "items": {"enum": [0, 1]}, "minItems": 3,
                                "maxItems": 3}, "minItems": 3, "maxItems": 3},
    {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "null"}},
    {"type": "array", "maxItems": 0},
    # Values.
    {"enum": ["a", 1, None, True, 2.5, [1, {"b": "c"}], {"d": []}, "\"\\\n\u00e9\u2028"]},
    {"const": {"a": [1, 2, {"b": None}]}}, {"type": "string", "enum": ["x", "y", 3]},
    {"type": "integer", "enum": [1, 5, 9], "minimum": 3}, {"const": "only"},
    # Numbers.
    {"type": "integer", "multipleOf": 7}, {"type": "integer", "multipleOf": 10},
    {"type": "integer", "multipleOf": 5, "minimum": -12, "maximum": 33},
    {"type": "integer", "format": "int32"}, {"type": "number", "format": "double"},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "number", "minimum": -1.5, "maximum": -1.25},
    {"type": "number", "minimum": 0, "maximum": 0}, {"type": "number", "minimum": 1e6},
    {"type": "number", "exclusiveMaximum": -3.75}, {"type": "integer", "exclusiveMinimum": 9},
    {"type": "integer", "minimum": 1.5, "maximum": 4.5},
    {"type": "number", "minimum": 0.1, "maximum": 0.30000000000000004},
    {"type": "number", "minimum": 1e-20, "maximum": 1e-10},
    {"type": "number", "minimum": 0, "exclusiveMaximum": 1e300},
    {"type": "number", "exclusiveMinimum": 1e-9, "exclusiveMaximum": 1e9},
    {"type": "number", "minimum": 99999999999999.5}, {"type": "number", "maximum": 0.12345678901234},
    {"type": "number", "exclusiveMinimum": -0.00000000000001, "exclusiveMaximum": 123456789012345},
    {"type": "integer", "minimum": 9007199254740993, "maximum": 9007199254740995},
    {"type": "integer", "exclusiveMinimum": 999999999999999989}, {"type": "integer", "maximum": 1e20},
    {"type": "integer", "minimum": 0, "multipleOf": 5},
    {"type": "integer", "maximum": -7, "multipleOf": 7},
    {"enum": [9007199254740992, 9007199254740993], "minimum": 9007199254740993},
    # Strings.
    {"type": "string", "minLength": 3, "maxLength": 3}, {"type": "string", "minLength": 20},
    {"type": "string", "maxLength": 0}, {"type": "string", "maxLength": 1000, "minLength": 30},
    {"type": "string", "pattern": "^[a-z]*$", "minLength": 2, "maxLength": 9},
    {"type": "string", "format": "uuid", "minLength": 36, "maxLength": 36},
]


def scalar(rng):
    kind = rng.randrange(9)
    low = rng.choice([-1000, -17, -1, 0, 1, 5, 99, 1234])
    span = rng.choice([0, 1, 8, 100, 98765])
    if kind == 0:
        return {"type": "integer", "minimum": low, "maximum": low + span}
    if kind == 1:
        low = low / rng.choice([1, 4, 10, 1000])
        return {"type": "number", rng.choice(["minimum", "exclusiveMinimum"]): low,
                rng.choice(["maximum", "exclusiveMaximum"]): low + span + 0.5}
    if kind == 2:
        least = rng.randrange(5)
        return {"type": "string", "minLength": least, "maxLength": least + rng.randrange(60)}
    if kind == 3:
        return {"type": "string", "pattern": rng.choice(PATTERNS)}
    if kind == 4:
        return {"type": "string", "format": rng.choice(FORMATS)}
    if kind == 5:
        return {"enum": rng.sample(WORDS, rng.randrange(1, 6))}
    if kind == 6:
        return {"const": rng.choice(WORDS)}
    if kind == 7:
        return {"type": rng.choice(["boolean", "null", "integer", "number", "string"])}
    return {"type": rng.sample(["boolean", "null", "integer", "string"], 2)}


def schema(rng, depth):
    kind = rng.randrange(8) if depth else 0
    if kind < 3:
        return scalar(rng)
    if kind == 3:
        least = rng.randrange(3)
        return {"type": "array", "items": schema(rng, depth - 1), "minItems": least,
                "maxItems": least + rng.randrange(4)}
    if kind == 4:
        return {"anyOf": [schema(rng, depth - 1) for _ in range(rng.randrange(1, 4))]}
    names = rng.sample(WORDS, rng.randrange(1, 6))
    made = {"type": "object", "properties": {name: schema(rng, depth - 1) for name in names},
            "required": rng.sample(names, rng.randrange(len(names) + 1))}
    if kind == 5:
        made["additionalProperties"] = rng.choice([False, True, {"type": "integer"}])
    return made


def all_schemas(n=220):
    rng = random.Random(20261126)
    made = FIXED + [{"type": "string", "pattern": pattern} for pattern in PATTERNS]
    made += [{"type": "string", "format": name} for name in FORMATS]
    while len(made) < n:
        root = schema(rng, 4)
        if rng.randrange(3) == 0:
            root = {"$defs": {"it": root}, "type": "object", "required": ["one"], "properties": {
                "one": {"$ref": "#/$defs/it"}, "more": {"type": "array", "maxItems": 2,
                                                        "items": {"$ref": "#/$defs/it"}}}}
        made.append(root)
    return made
