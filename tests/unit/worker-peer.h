/* SPDX-License-Identifier: MIT */
/* A worker in a thread, a tiny model in it, and the parent's end of its channel. */
#ifndef TESTS_UNIT_WORKER_PEER_H
#define TESTS_UNIT_WORKER_PEER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/channel.h>
#include <dunlin/error.h>

#include "channel/channel.h"

#define PEER_CONTEXT	96
#define PEER_TOKENS_MAX 256
#define PEER_TEXT_MAX	4096

struct peer {
	struct dn_channel ours;
	struct dn_channel theirs;
	pthread_t thread;
	struct dn_error err;
	int result;
	uint64_t last;
	uint32_t vocabulary;
	uint32_t context;
};

/**
 * struct answer - what a SUBMIT gave
 * @text: cut at its end
 * @hash: of all that was said of tokens: ids, log-probabilities, texts
 */
struct answer {
	uint32_t tokens[PEER_TOKENS_MAX];
	uint32_t n;
	char text[PEER_TEXT_MAX];
	uint32_t text_size;
	uint64_t hash;
	struct dn_frame_accepted accepted;
	struct dn_frame_done done;
	struct dn_frame_error error; /* code 0: none */
	bool ended;
};

/* What fails in these fails the test. */
void peer_open(struct peer *peer);
/* The same in two: what is sent in between is there before the worker begins. */
void peer_connect(struct peer *peer);
void peer_start(struct peer *peer);
/* Closes the channel; the service must end by that. Returns what it ended with. */
int peer_close(struct peer *peer);

/* The next frame, checked; its descriptor into @fd, or closed where that is NULL. */
void peer_receive(struct peer *peer, struct dn_frame *frame, int *fd);
void peer_send(struct peer *peer, struct dn_frame *frame, const void *data, size_t size);
/* A frame with the next number, which is returned. */
uint64_t peer_begin(struct peer *peer, struct dn_frame *frame, enum dn_frame_type type);

int peer_model(void);
/* LOAD with PEER_CONTEXT tokens of context and 4 rows of logits; takes @fd over. */
void peer_send_load(struct peer *peer, int fd, uint32_t sequences, uint32_t batch);
void peer_load(struct peer *peer, uint32_t sequences, uint32_t batch);

void peer_tokens(const struct peer *peer, uint32_t *tokens, uint32_t n, uint32_t seed);
/* A SUBMIT of tokens; greedy where @seed is 0. */
void peer_submit(struct peer *peer, struct dn_frame *frame, uint64_t seed, uint32_t max);
/* Frames until all of @n requests, numbered from @first, have ended. */
void peer_collect(struct peer *peer, uint64_t first, struct answer *answers, size_t n);
void peer_ask(struct peer *peer, struct dn_frame *frame, const uint32_t *tokens, uint32_t n,
	      struct answer *answer);

#endif /* TESTS_UNIT_WORKER_PEER_H */
