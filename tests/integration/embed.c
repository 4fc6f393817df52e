/* SPDX-License-Identifier: MIT */
/* The least program that embeds libdunlin: continues a text greedily. Also an example. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <dunlin/dunlin.h>

#define TOKENS_MAX 512

struct session {
	struct dn_model *model;
	struct dn_context *context;
	struct dn_sequence *sequence;
	struct dn_sampler *sampler;
};

static int start(struct session *s, int fd, struct dn_error *err)
{
	struct dn_context_options options = { .struct_size = sizeof(options),
					      .context = TOKENS_MAX };
	struct dn_sampler_options sampling = { .struct_size = sizeof(sampling) };
	struct dn_model_info info;
	int r;

	r = dn_model_open(&fd, 1, &s->model, err);
	if (r >= 0)
		r = dn_model_tokenizes(s->model, err);
	if (r >= 0)
		r = dn_context_new(s->model, &options, &s->context, err);
	if (r >= 0)
		r = dn_sequence_new(s->context, &s->sequence, err);
	if (r < 0)
		return r;
	dn_model_get_info(s->model, &info);
	dn_sampler_options_init(&sampling);
	sampling.temperature = 0.0f;
	return dn_sampler_new(&sampling, info.vocabulary, &s->sampler, err);
}

static int answer(struct session *s, const char *prompt, int n, struct dn_error *err)
{
	const struct dn_tokenizer *tokenizer = dn_model_tokenizer(s->model);
	struct dn_detokenizer state = { .n_pending = 0 };
	char *text = malloc(dn_tokenizer_longest(tokenizer) + 8);
	uint32_t tokens[TOKENS_MAX / 2];
	size_t count = 0;
	int r = -1;

	if (text)
		r = dn_tokenizer_encode(tokenizer, prompt, strlen(prompt), 0, tokens,
					TOKENS_MAX / 2, &count, err);
	if (r >= 0 && (count == 0 || count > TOKENS_MAX / 2))
		r = dn_error_set(err, 22, "the prompt has %zu tokens", count);
	for (int i = 0; r >= 0 && i < n; i++) {
		const struct dn_batch_item item = { s->sequence, tokens, (uint32_t)count,
						    DN_LOGITS_LAST };
		struct dn_sample sample;
		int size;

		r = dn_context_step(s->context, &item, 1, err);
		if (r < 0)
			break;
		dn_sampler_sample(s->sampler, dn_context_logits(s->context, 0), 0, 0, &sample);
		dn_sampler_accept(s->sampler, sample.token);
		if (dn_tokenizer_ends(tokenizer, sample.token))
			break;
		size = dn_tokenizer_decode(tokenizer, &state, sample.token, false, text,
					   dn_tokenizer_longest(tokenizer) + 8);
		if (size > 0)
			(void)fwrite(text, 1, (size_t)size, stdout);
		tokens[0] = sample.token;
		count = 1;
	}
	free(text);
	return r;
}

int main(int argc, char **argv)
{
	struct session session = { NULL, NULL, NULL, NULL };
	struct dn_error err = DN_ERROR_INIT;
	int fd;
	int r;

	if (argc != 4) {
		(void)fprintf(stderr, "usage: embed MODEL PROMPT TOKENS\n");
		return 2;
	}
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	r = start(&session, fd, &err);
	if (r >= 0)
		r = answer(&session, argv[2], atoi(argv[3]), &err);
	if (r < 0)
		(void)fprintf(stderr, "embed: %s\n", err.message);
	dn_sampler_free(session.sampler);
	dn_sequence_free(session.sequence);
	dn_context_free(session.context);
	dn_model_free(session.model);
	(void)close(fd);
	return r < 0 ? 1 : 0;
}
