/* SPDX-License-Identifier: MIT */
/*
 * A front between a client's body, a worker that went mad and a supervisor that did: whatever comes,
 * it lives, answers in the API's shape, and nothing is left.
 *
 * An input is: path and template (1), bytes of the body (2), the body, and then a row of packets: from whom (1),
 * type (1), request (1), bytes (2), the packet's body.
 */

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "channel/attachment.h"
#include "channel/channel.h"
#include "channel/frames.h"
#include "fuzz.h"
#include "server/front/front.h"

#define PACKETS_MAX 32
#define MODELS	    2

static const char *const paths[] = {
	"/v1/chat/completions", "/v1/completions", "/tokenize",	   "/detokenize",
	"/apply-template",	"/v1/responses",   "/v1/messages", "/v1/messages/count_tokens",
	"/v1/embeddings",	"/v1/rerank",	   "/api/chat",	   "/api/generate",
	"/api/embed",		"/api/show",
};

/* What the first model's template has in it; NULL: the worker is asked. */
static const char *const templates[] = {
	"",	    "<tool_call>",  "<tool_call><think>",
	"<|tool|>", "[TOOL_CALLS]", "<｜tool▁calls▁begin｜>",
	NULL,
};

struct input {
	const uint8_t *at;
	size_t left;
};

static uint8_t byte(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

static const uint8_t *take(struct input *input, size_t *size)
{
	const uint8_t *at = input->at;
	size_t wanted = byte(input);

	wanted |= (size_t)byte(input) << 8;
	at = input->at;
	*size = wanted < input->left ? wanted : input->left;
	input->at += *size;
	input->left -= *size;
	return at;
}

static void turn(struct dn_front *front)
{
	for (int i = 0; i < 4; i++)
		(void)event_base_loop(front->base, EVLOOP_NONBLOCK);
}

static void control(int fd, struct dn_control *packet, int attached)
{
	struct dn_channel channel = { .fd = fd };

	(void)!dn_channel_try_send(&channel, packet, sizeof(*packet), attached, NULL);
}

/* A front with two models, the first of which has a worker at the end of *ret_worker. */
static struct dn_front *begin(int *ret_control, int *ret_worker)
{
	struct dn_front *front = NULL;
	struct dn_control packet;
	int fds[2];
	int worker[2];

	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, worker) == 0);
	MUST(dn_front_new(fds[0], &front, NULL) == 0);
	dn_control_init(&packet, DN_CONTROL_START, 0);
	packet.u.start = (struct dn_control_start){
		.connections = 4,
		.queue = 4,
		.body_bytes = 1 << 20,
		.bodies_bytes = 1 << 20,
		.answers_bytes = 1 << 20,
		.head_ms = 1000,
		.body_ms = 1000,
		.idle_ms = 1000,
		.write_ms = 1000,
	};
	control(fds[1], &packet, -1);
	for (int i = 0; i < MODELS; i++) {
		dn_control_init(&packet, DN_CONTROL_MODEL, 0);
		packet.u.text[0] = (char)('a' + i);
		control(fds[1], &packet, -1);
	}
	dn_control_init(&packet, DN_CONTROL_WORKER, 0);
	packet.u.worker.places = 8;
	packet.u.worker.loaded.vocabulary = 3;
	control(fds[1], &packet, worker[0]);
	close(worker[0]);
	turn(front);
	*ret_control = fds[1];
	*ret_worker = worker[1];
	return front;
}

static void set_form(struct dn_front *front, const char *template)
{
	struct dn_model_link *model = dn_models_at(front->models, 0);

	model->has_form = template != NULL;
	if (template)
		dn_chat_form_find(template, strlen(template), &model->form);
}

static void request(struct dn_front *front, int fd, struct input *input)
{
	const uint8_t first = byte(input);
	const char *path = paths[first % DN_ARRAY_SIZE(paths)];
	size_t size;
	const uint8_t *body = take(input, &size);
	char head[256];
	const int n = snprintf(head, sizeof(head),
			       "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
			       "application/json\r\nContent-Length: %zu\r\n\r\n",
			       path, size);

	set_form(front, templates[first / DN_ARRAY_SIZE(paths) % DN_ARRAY_SIZE(templates)]);
	(void)!send(fd, head, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)!send(fd, body, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* A frame as a worker may send it, or not: its number is one of those that the front gave out. */
static void from_worker(int fd, struct input *input)
{
	struct dn_channel channel = { .fd = fd };
	struct dn_frame frame;
	const uint8_t type = byte(input);
	const uint8_t number = byte(input);
	size_t size;
	const uint8_t *body = take(input, &size);
	int attached = -1;

	dn_frame_init(&frame, (enum dn_frame_type)type, number);
	memcpy(frame.u.bytes, body, DN_MIN(size, sizeof(frame.u.bytes)));
	if (number & 0x80) {
		frame.request &= 0x7f;
		frame.attachment = size;
		memset(frame.u.bytes, 0, sizeof(frame.u.bytes));
		if (dn_attach(body, size, &attached, NULL) < 0)
			return;
	}
	(void)!dn_channel_try_send(&channel, &frame, sizeof(frame), attached, NULL);
	if (attached >= 0)
		close(attached);
}

static void from_supervisor(int fd, struct input *input)
{
	struct dn_control packet;
	const uint8_t type = byte(input);
	const uint8_t number = byte(input);
	size_t size;
	const uint8_t *body = take(input, &size);

	dn_control_init(&packet, (enum dn_control_type)type, number);
	memcpy(packet.u.bytes, body, DN_MIN(size, sizeof(packet.u.bytes)));
	control(fd, &packet, -1);
}

static void drain_socket(int fd)
{
	char bytes[4096];
	ssize_t n;

	do
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (n > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct dn_front *front;
	int control_fd;
	int worker;
	int fds[2];

	front = begin(&control_fd, &worker);
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
	MUST(dn_http_accept(front->http, fds[0], false) == 0);
	request(front, fds[1], &input);
	turn(front);
	for (int i = 0; i < PACKETS_MAX && input.left > 0; i++) {
		if (byte(&input) & 1)
			from_supervisor(control_fd, &input);
		else
			from_worker(worker, &input);
		turn(front);
		drain_socket(fds[1]);
		drain_socket(worker);
		drain_socket(control_fd);
	}
	close(fds[1]);
	turn(front);
	MUST(dn_http_busy(front->http) == 0);
	close(control_fd);
	close(worker);
	turn(front);
	dn_front_free(front);
	return 0;
}
