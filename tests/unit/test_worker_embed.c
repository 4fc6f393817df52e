/* SPDX-License-Identifier: MIT */
/* EMBED and EMBEDDED on the channel: what their frames may hold, and attachments that lie. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "channel/channel.h"
#include "worker/internal.h"

static int check_embed(uint32_t kind, uint32_t pooling, uint32_t normalise, uint32_t truncate)
{
	struct dn_frame frame;

	dn_frame_init(&frame, DN_FRAME_EMBED, 1);
	frame.attachment = 8;
	frame.u.embed = (struct dn_frame_embed){ kind, pooling, normalise, truncate };
	return dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, NULL);
}

static void test_embed_fields(void **state)
{
	struct dn_frame frame;

	(void)state;
	assert_int_equal(check_embed(DN_EMBED_PAIRS, DN_POOLING_DEFAULT, 1, 1), 0);
	assert_int_equal(check_embed(DN_EMBED_TOKENS, 0, 0, 0), 0);
	assert_int_equal(check_embed(3, 0, 0, 0), -EBADMSG);
	assert_int_equal(check_embed(0, 6, 0, 0), -EBADMSG);
	assert_int_equal(check_embed(0, 0, 2, 0), -EBADMSG);
	assert_int_equal(check_embed(0, 0, 0, 2), -EBADMSG);
	dn_frame_init(&frame, DN_FRAME_EMBED, 1);
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, false, NULL), -EBADMSG);
	/* Bytes may be any number of them, ids may not. */
	frame.attachment = 10;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, NULL), 0);
	frame.u.embed.kind = DN_EMBED_TOKENS;
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, NULL), -EBADMSG);
}

static int check_embedded(struct dn_frame_embedded embedded, uint64_t attachment)
{
	struct dn_frame frame;

	dn_frame_init(&frame, DN_FRAME_EMBEDDED, 1);
	frame.attachment = attachment;
	frame.u.embedded = embedded;
	return dn_frame_check(&frame, DN_FRAME_FROM_WORKER, true, NULL);
}

static void test_embedded_fields(void **state)
{
	const struct dn_frame_embedded good = {
		.first = 1, .count = 2, .total = 3, .rows = 2, .columns = 4, .truncated = 2
	};
	struct dn_frame_embedded bad = good;

	(void)state;
	assert_int_equal(check_embedded(good, 32), 0);
	assert_int_equal(check_embedded(good, 28), -EBADMSG);
	bad.count = 3;
	assert_int_equal(check_embedded(bad, 32), -EBADMSG);
	bad = good;
	bad.rows = 3;
	assert_int_equal(check_embedded(bad, 48), -EBADMSG);
	bad = good;
	bad.truncated = 3;
	assert_int_equal(check_embedded(bad, 32), -EBADMSG);
	bad = good;
	bad.total = DN_EMBED_TEXTS_MAX + 1;
	assert_int_equal(check_embedded(bad, 32), -EBADMSG);
	/* One text, a row for each of its tokens. */
	bad = (struct dn_frame_embedded){ .count = 1, .total = 1, .rows = 8, .columns = 1 };
	assert_int_equal(check_embedded(bad, 32), 0);
	bad.columns = UINT32_MAX;
	assert_int_equal(check_embedded(bad, 32), -EBADMSG);
}

/* What a worker without a model answers to texts; its code. */
static int answer(enum dn_embed_kind kind, const void *data, size_t size)
{
	struct dn_channel ours = DN_CHANNEL_INIT;
	struct dn_channel theirs = DN_CHANNEL_INIT;
	struct dn_worker *worker = calloc(1, sizeof(*worker));
	struct dn_error err = DN_ERROR_INIT;
	struct dn_frame frame;
	int fd = -1;

	assert_non_null(worker);
	assert_int_equal(dn_channel_pair(&ours, &theirs, &err), 0);
	worker->channel = &theirs;
	dn_frame_init(&frame, DN_FRAME_EMBED, 7);
	frame.u.embed.kind = kind;
	frame.attachment = size;
	assert_int_equal(dn_attach(data, size, &fd, &err), 0);
	assert_int_equal(dn_frame_check(&frame, DN_FRAME_TO_WORKER, true, &err), 0);
	dn_worker_dispatch(worker, &frame, fd);
	assert_int_equal(dn_channel_receive(&ours, &frame, sizeof(frame), &fd, &err), 1);
	assert_int_equal(frame.type, DN_FRAME_ERROR);
	assert_int_equal(frame.request, 7);
	dn_worker_done(worker);
	free(worker);
	dn_channel_done(&theirs);
	dn_channel_done(&ours);
	/* Texts that are right meet a worker without weights. */
	return strstr(frame.u.error.message, "no weights") ? 0 : -frame.u.error.code;
}

static void test_attachments(void **state)
{
	const struct {
		uint32_t words[4];
		size_t size;
		enum dn_embed_kind kind;
		int want;
	} cases[] = {
		{ { 2, 1, 3, 0 }, 16, DN_EMBED_EACH, 0 },
		{ { 2, 1, 3, 0 }, 16, DN_EMBED_PAIRS, 0 },
		{ { 1, 8, 0, 0 }, 16, DN_EMBED_EACH, 0 },
		{ { 1, 8, 0, 0 }, 16, DN_EMBED_PAIRS, -EINVAL },
		{ { 2, 0, 0, 0 }, 12, DN_EMBED_EACH, 0 },
		{ { 0, 0, 0, 0 }, 4, DN_EMBED_EACH, -EBADMSG },
		{ { 1, 0, 0, 0 }, 3, DN_EMBED_EACH, -EBADMSG },
		{ { 1, 0, 0, 0 }, 4, DN_EMBED_EACH, -EBADMSG },
		{ { 1, 5, 0, 0 }, 12, DN_EMBED_EACH, -EBADMSG },
		{ { 1, 3, 0, 0 }, 12, DN_EMBED_EACH, -EBADMSG },
		{ { 2, UINT32_MAX, 5, 0 }, 16, DN_EMBED_EACH, -EBADMSG },
		{ { 3, UINT32_MAX, UINT32_MAX, 2 }, 16, DN_EMBED_EACH, -EBADMSG },
		{ { UINT32_MAX, 0, 0, 0 }, 16, DN_EMBED_EACH, -EBADMSG },
		{ { 1, 8, 0, 0 }, 16, DN_EMBED_TOKENS, 0 },
		{ { 2, 1, 3, 0 }, 16, DN_EMBED_TOKENS, -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(cases); i++)
		if (answer(cases[i].kind, cases[i].words, cases[i].size) != cases[i].want)
			fail_msg("case %zu", i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_embed_fields),
		cmocka_unit_test(test_embedded_fields),
		cmocka_unit_test(test_attachments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
