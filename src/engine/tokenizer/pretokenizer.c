/* SPDX-License-Identifier: MIT */
/*
 * How a text is cut into words before merges. The patterns are those that the models were trained
 * with (their tokenizer.json), under the names that GGUF gives them, in PCRE2's notation. Several
 * stages cut one after the other: what a stage matches and what it leaves are each cut by the next
 * on their own, so no pattern sees over the border of its piece.
 *
 * Why matching is bounded: every repetition in these patterns is of one class of characters, so a
 * failed attempt gives back what one repetition took, once, and what follows it either matches
 * there or is what the next alternative takes whole. The limits of PCRE2 are set so that a pattern
 * for which this is not true ends in an error.
 */

#define PCRE2_CODE_UNIT_WIDTH 8

#include <dunlin/error.h>

#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/text.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/tokenizer-internal.h"

#define STAGES_MAX 6

/* White_Space of Unicode, for use inside a class; PCRE2's own \s has U+180E too. */
#define SPACE "\\t-\\r\\x{85}\\p{Z}"
#define UPPER "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOWER "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
/* English endings; in ASCII, as the patterns of llama.cpp have them. */
#define ENDING "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
#define SPACES "[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+"
#define LINES  "[" SPACE "]*[\\r\\n]+|" SPACES
#define SIGNS  " ?[^" SPACE "\\p{L}\\p{N}]+"

#define GPT2		 "'(?:[stmd]|re|ve|ll)| ?\\p{L}+| ?\\p{N}+|" SIGNS "|" SPACES
#define LLAMA3(digits)	 ENDING "|" UFAKZEKA(digits)
#define UFAKZEKA(digits) "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "|" SIGNS "[\\r\\n]*|" LINES
#define QWEN35                                                                                     \
	ENDING "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" SPACE                          \
	       "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" LINES
/* Words of tiktoken's o200k and Mistral's Tekken: capitals begin one. */
#define CASED(ending)                                                                              \
	"[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]*[" LOWER "]+" ending "|"                                \
	"[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]+[" LOWER "]*" ending
#define O200K(ending, digits) CASED(ending) "|" digits "|" SIGNS "[\\r\\n/]*|" LINES
#define DEEPSEEK3(lines)                                                                           \
	"[!-/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"                    \
	"| ?[\\p{P}\\p{S}]+" lines
/* Letters with their marks, and single spaces between them: nothing is given back. */
#define EXAONE_MOE                                                                                 \
	ENDING "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*+(?: \\p{L}\\p{M}*+)*+)++|\\p{N}|" SIGNS    \
	       "[\\r\\n/]?|[" SPACE "]*[\\r\\n]|" SPACES
/* Hangul, CJK punctuation, Bopomofo, ideographs with kana. */
#define YOUTU                                                                                      \
	"[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}" \
	"\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+"    \
	"|[\\x{3105}-\\x{312f}]+|" KANA_HAN
#define KANA_HAN "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{30ff}]+"
#define BLOOM	 " ?[^(|.,!?)" SPACE "\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c}]+"
/* U+0800 to U+9FA5 and Hangul, but for the spaces among them, as llama.cpp has it. */
#define DEEPSEEK_ASIAN                                                                             \
	"[\\x{800}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}"             \
	"\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{9fa5}\\x{ac00}-\\x{d7ff}]+"
/* The cased letters of the Unicode version that DeepSeek LLM was trained with. */
#define DEEPSEEK_LETTERS                                                                           \
	"A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}"             \
	"\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}"                      \
	"\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}"              \
	"\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}"                     \
	"\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}"             \
	"\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}"             \
	"\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}"             \
	"\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}"                        \
	"\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}"                       \
	"\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}"             \
	"\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}"              \
	"\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}"               \
	"\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}"              \
	"\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}"              \
	"\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"              \
	"\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}"             \
	"\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}"                                \
	"\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}"                          \
	"\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}"                          \
	"\\x{1e900}-\\x{1e943}"

#define DEEPSEEK_SIGNS                                                                             \
	"!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3001}-\\x{3002}"

enum family_flags {
	WHOLE_WORDS = 1 << 0, /* a word that is a token needs no merges */
	ADDS_BOS = 1 << 1,    /* where the file does not say */
	ADDS_SEP = 1 << 2,    /* the same */
};

struct family {
	const char *names; /* separated by spaces */
	unsigned int flags;
	const char *stages[STAGES_MAX];
};

static const struct family families[] = {
	{ "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2",
	  0,
	  { "\\p{N}", GPT2 } },
	{ "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
	  WHOLE_WORDS | ADDS_BOS,
	  { LLAMA3("\\p{N}{1,3}") } },
	{ "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2",
	  0,
	  { LLAMA3("\\p{N}") } },
	{ "gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 gigachat a.x-4.0 mellum "
	  "modern-bert jina-es jina-de jina-v2-es jina-v2-de",
	  0,
	  { GPT2 } },
	{ "roberta-bpe jina-v1-en jina-v2-code", ADDS_SEP, { GPT2 } },
	{ "default", 0, { "[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]" } },
	{ "falcon", 0, { "[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]" } },
	{ "qwen35", 0, { QWEN35 } },
	{ "dbrx smaug-bpe chatglm-bpe", 0, { LLAMA3("\\p{N}{1,3}") } },
	{ "glm4 glm5", WHOLE_WORDS, { LLAMA3("\\p{N}{1,3}") } },
	{ "minicpm5", WHOLE_WORDS, { "\\p{N}{1,3}", LLAMA3("\\p{N}+") } },
	{ "laguna", 0, { "[^\\n]+|\\n+", LLAMA3("\\p{N}") } },
	{ "ufakzeka", 0, { UFAKZEKA("\\p{N}") } },
	{ "gpt-4o llama4 kanana2 talkie minimax-m2",
	  0,
	  { O200K("(?:" ENDING ")?", "\\p{N}{1,3}") } },
	{ "granite-embed-multi-97m", WHOLE_WORDS, { O200K("(?:" ENDING ")?", "\\p{N}{1,3}") } },
	{ "youtu", WHOLE_WORDS, { YOUTU, O200K("(?:" ENDING ")?", "\\p{N}") } },
	{ "tekken", WHOLE_WORDS | ADDS_BOS, { O200K("", "\\p{N}") } },
	{ "deepseek-coder",
	  0,
	  { "[\\r\\n]", "[" SPACE "]?\\p{L}+", "[" SPACE "]?\\p{P}+", DEEPSEEK_ASIAN, "\\p{N}" } },
	{ "deepseek-llm",
	  0,
	  { "[\\r\\n]", "[" SPACE "]?[" DEEPSEEK_LETTERS "]+", "[" SPACE "]?[" DEEPSEEK_SIGNS "]+",
	    "[" SPACE "]+\\z", DEEPSEEK_ASIAN, "\\p{N}+" } },
	{ "deepseek-v3 hunyuan-dense joyai-llm hy_v4",
	  0,
	  { "\\p{N}{1,3}", KANA_HAN, DEEPSEEK3("[\\r\\n]*|" LINES) } },
	{ "spark2_5", 0, { "\\p{N}{1,3}", KANA_HAN, DEEPSEEK3("|[\\r\\n]|" SPACES), "\\p{N}" } },
	{ "bloom poro-chat gpt3-finnish", 0, { BLOOM } },
	{ "viking", 0, { BLOOM, "\\p{N}" } },
	{ "bailingmoe bailingmoe2 llada-moe",
	  0,
	  { ENDING "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" SIGNS "[\\r\\n]*|[" SPACE
		   "]*[\\r\\n]|" SPACES } },
	{ "exaone-moe", 0, { EXAONE_MOE } },
	{ "chameleon",
	  ADDS_BOS,
	  { "<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ", "\\p{N}",
	    "[\\p{P}!-/:-@\\[-`{-~]", GPT2 } },
	{ "seed-coder", 0, { ENDING "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" SIGNS "|" LINES } },
};

struct dn_pretokenizer {
	const struct family *family;
	pcre2_code *stages[STAGES_MAX];
	unsigned int n_stages;
};

struct dn_pretokenizer_scratch {
	pcre2_match_data *match;
	pcre2_match_context *limits;
};

/* One piece of text on its way through the stages. */
struct cut {
	const struct dn_pretokenizer *pretokenizer;
	struct dn_pretokenizer_scratch *scratch;
	dn_plain_fn *word;
	void *data;
};

static bool has_name(const char *names, struct dn_text name)
{
	while (*names) {
		size_t size = strcspn(names, " ");

		if (size == name.size && !memcmp(names, name.data, size))
			return true;
		names += size + (names[size] == ' ');
	}
	return false;
}

static const struct family *find_family(struct dn_text name)
{
	for (size_t i = 0; i < DN_ARRAY_SIZE(families); i++) {
		if (has_name(families[i].names, name))
			return &families[i];
	}
	return NULL;
}

static int compile_stage(const char *pattern, pcre2_code **ret, struct dn_error *err)
{
	PCRE2_SIZE offset;
	int code;

	*ret = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
			     &code, &offset, NULL);
	if (*ret)
		return 0;
	if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED)
		return dn_error_memory(err, "a tokenizer pattern", strlen(pattern));
	return dn_error_set(err, EIO, "this PCRE2 refuses a tokenizer pattern (error %d at %zu)",
			    code, offset);
}

int dn_pretokenizer_new(struct dn_text name, struct dn_pretokenizer **ret, struct dn_error *err)
{
	const struct family *family = find_family(name);
	struct dn_pretokenizer *pretokenizer;
	int r;

	if (!family)
		return dn_error_set(
			err, ENOTSUP,
			"tokenizer.ggml.pre is '%.*s', which this version does not know",
			(int)DN_MIN(name.size, (size_t)64), name.data);
	pretokenizer = calloc(1, sizeof(*pretokenizer));
	if (!pretokenizer)
		return dn_error_memory(err, "the tokenizer's patterns", sizeof(*pretokenizer));
	pretokenizer->family = family;
	for (unsigned int i = 0; i < STAGES_MAX && family->stages[i]; i++) {
		r = compile_stage(family->stages[i], &pretokenizer->stages[i], err);
		if (r < 0) {
			dn_pretokenizer_free(pretokenizer);
			return r;
		}
		pretokenizer->n_stages++;
	}
	*ret = pretokenizer;
	return 0;
}

struct dn_pretokenizer *dn_pretokenizer_free(struct dn_pretokenizer *pretokenizer)
{
	if (!pretokenizer)
		return NULL;
	for (unsigned int i = 0; i < pretokenizer->n_stages; i++)
		pcre2_code_free(pretokenizer->stages[i]);
	free(pretokenizer);
	return NULL;
}

bool dn_pretokenizer_whole_words(const struct dn_pretokenizer *pretokenizer)
{
	return pretokenizer->family->flags & WHOLE_WORDS;
}

bool dn_pretokenizer_adds_bos(const struct dn_pretokenizer *pretokenizer)
{
	return pretokenizer->family->flags & ADDS_BOS;
}

bool dn_pretokenizer_adds_sep(const struct dn_pretokenizer *pretokenizer)
{
	return pretokenizer->family->flags & ADDS_SEP;
}

int dn_pretokenizer_scratch_new(size_t text_size, struct dn_pretokenizer_scratch **ret,
				struct dn_error *err)
{
	struct dn_pretokenizer_scratch *scratch = calloc(1, sizeof(*scratch));

	if (!scratch)
		return dn_error_memory(err, "cutting a text into words", sizeof(*scratch));
	scratch->match = pcre2_match_data_create(1, NULL);
	scratch->limits = pcre2_match_context_create(NULL);
	if (!scratch->match || !scratch->limits) {
		dn_pretokenizer_scratch_free(scratch);
		return dn_error_memory(err, "cutting a text into words", text_size);
	}
	/* One attempt gives back each byte a few times at most; text_size is below 2^27. */
	pcre2_set_match_limit(scratch->limits, 1000 + 16 * (uint32_t)text_size);
	pcre2_set_depth_limit(scratch->limits, 100);
	pcre2_set_heap_limit(scratch->limits, 256);
	*ret = scratch;
	return 0;
}

struct dn_pretokenizer_scratch *
dn_pretokenizer_scratch_free(struct dn_pretokenizer_scratch *scratch)
{
	if (!scratch)
		return NULL;
	pcre2_match_data_free(scratch->match);
	pcre2_match_context_free(scratch->limits);
	free(scratch);
	return NULL;
}

/* 1 with the next match's borders, 0 where there is none, or a negative errno. */
static int next_match(const struct cut *cut, unsigned int stage, const char *text, size_t size,
		      size_t from, size_t *ret_begin, size_t *ret_end, struct dn_error *err)
{
	struct dn_pretokenizer_scratch *scratch = cut->scratch;
	const PCRE2_SIZE *borders;
	int r;

	/* The text was checked when it was taken apart; checking it at every word is quadratic. */
	r = pcre2_match(cut->pretokenizer->stages[stage], (PCRE2_SPTR)text, size, from,
			PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, scratch->match, scratch->limits);
	if (r == PCRE2_ERROR_NOMATCH)
		return 0;
	if (r == PCRE2_ERROR_NOMEMORY)
		return dn_error_memory(err, "cutting a text into words", size);
	if (r < 0)
		return dn_error_set(err, EIO,
				    "cutting a text into words: PCRE2 gave up with error %d", r);
	borders = pcre2_get_ovector_pointer(scratch->match);
	*ret_begin = borders[0];
	*ret_end = borders[1];
	return 1;
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as there are stages, STAGES_MAX */
static int cut_stage(const struct cut *cut, unsigned int stage, const char *text, size_t size,
		     struct dn_error *err)
{
	size_t done = 0, begin = 0, end = 0;
	int r;

	if (stage == cut->pretokenizer->n_stages)
		return cut->word(cut->data, text, size, err);
	while (done < size) {
		r = next_match(cut, stage, text, size, done, &begin, &end, err);
		if (r < 0)
			return r;
		if (r == 0)
			break;
		if (begin > done) {
			r = cut_stage(cut, stage + 1, text + done, begin - done, err);
			if (r < 0)
				return r;
		}
		r = cut_stage(cut, stage + 1, text + begin, end - begin, err);
		if (r < 0)
			return r;
		done = end;
	}
	return done < size ? cut_stage(cut, stage + 1, text + done, size - done, err) : 0;
}

/* How many bytes at the head are valid UTF-8, or, where none is, how many are not (negative). */
static ptrdiff_t measure(const char *text, size_t size)
{
	size_t at = 0, bad = 0;
	uint32_t point;

	while (at < size) {
		size_t n = 1;

		if ((uint8_t)text[at] >= 0x80) {
			n = dn_utf8_decode(text + at, size - at, &point);
			if (n == 1)
				break;
		}
		at += n;
	}
	if (at)
		return (ptrdiff_t)at;
	while (bad < size && (uint8_t)text[bad] >= 0x80 &&
	       dn_utf8_decode(text + bad, size - bad, &point) == 1)
		bad++;
	return -(ptrdiff_t)bad;
}

int dn_pretokenizer_split(const struct dn_pretokenizer *pretokenizer,
			  struct dn_pretokenizer_scratch *scratch, const char *text, size_t size,
			  dn_plain_fn *word, void *data, struct dn_error *err)
{
	const struct cut cut = { pretokenizer, scratch, word, data };
	int r;

	while (size) {
		ptrdiff_t n = measure(text, size);
		/* Bytes that are no text are a word of their own, so none is lost. */
		size_t used = n < 0 ? (size_t)-n : (size_t)n;

		r = n < 0 ? word(data, text, used, err) : cut_stage(&cut, 0, text, used, err);
		if (r < 0)
			return r;
		text += used;
		size -= used;
	}
	return 0;
}
