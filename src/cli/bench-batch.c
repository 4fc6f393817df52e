/* SPDX-License-Identifier: MIT */
/* Several answers at once, and what all of them make together. */

#include <errno.h>

#include "cli/bench.h"

/* What all answers have together, by the worker's own clock: this process may get none of a core. */
struct batch {
	const uint64_t *requests;
	uint32_t n;
	uint64_t tokens;     /* without the first of each */
	uint64_t slowest_ns; /* of the answers' times from first to last token */
};

static bool is_ours(const struct batch *batch, uint64_t request)
{
	for (uint32_t i = 0; i < batch->n; i++)
		if (batch->requests[i] == request)
			return true;
	return false;
}

static int receive_all(struct dn_client *client, struct batch *batch, struct dn_error *err)
{
	for (uint32_t ended = 0; ended < batch->n;) {
		DN_AUTO_FD int fd = -1;
		struct dn_frame frame;
		int r;

		r = dn_client_receive(client, &frame, &fd, err);
		if (r < 0)
			return r;
		if (!is_ours(batch, frame.request))
			return dn_error_set(err, EPROTO, "the worker answered another request");
		if (frame.type == DN_FRAME_ERROR)
			return dn_client_failure(&frame, err);
		if (frame.type != DN_FRAME_DONE)
			continue;
		ended++;
		batch->tokens += DN_MAX(frame.u.done.output_tokens, 1U) - 1;
		batch->slowest_ns = DN_MAX(batch->slowest_ns, frame.u.done.decode_ns);
	}
	return 0;
}

/*
 * All begin within a few steps of each other, for what is before an answer is kept from the run
 * before; the first run, where it is computed, does not count.
 */
int dn_bench_batch(struct dn_client *client, const struct dn_bench_options *bench, uint32_t *ids,
		   uint64_t requests[DN_BENCH_SEQUENCES_MAX], double *ret_rate,
		   struct dn_error *err)
{
	struct batch batch = { .requests = requests, .n = bench->sequences };
	struct dn_bench_answer answer = {
		.prompt = ids,
		.n_prompt = bench->depth ? bench->depth : bench->prompt,
		.n_tokens = bench->generate,
		.keep = true,
	};
	int r;

	for (uint32_t i = 0; i < batch.n; i++) {
		dn_bench_fill_prompt(ids, answer.n_prompt, client->loaded.vocabulary,
				     DN_BENCH_RUN_SEQUENCES + i);
		answer.continues = requests[i];
		r = dn_bench_submit(client, &answer, &requests[i], err);
		if (r < 0)
			return r;
	}
	r = receive_all(client, &batch, err);
	if (r < 0)
		return r;
	*ret_rate = (double)batch.tokens * 1e9 / (double)DN_MAX(batch.slowest_ns, UINT64_C(1));
	return 0;
}
