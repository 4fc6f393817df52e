/* SPDX-License-Identifier: MIT */

#include "server/control.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"

enum what {
	HAS_TEXT = 1,
	HAS_MODEL = 2,
	HAS_FD = 4,
};

struct kind {
	uint32_t type;
	uint32_t body;
	unsigned int what;
};

static const struct kind kinds[] = {
	{ DN_CONTROL_START, sizeof(struct dn_control_start), 0 },
	{ DN_CONTROL_LISTENER, sizeof(struct dn_control_listener), HAS_FD },
	{ DN_CONTROL_KEY, sizeof(struct dn_control_listed_key), 0 },
	{ DN_CONTROL_TLS, sizeof(struct dn_control_tls), HAS_FD },
	{ DN_CONTROL_HOST, DN_CONTROL_TEXT_MAX, HAS_TEXT },
	{ DN_CONTROL_MODEL, DN_CONTROL_TEXT_MAX, HAS_TEXT },
	{ DN_CONTROL_WORKER, sizeof(struct dn_control_worker), HAS_MODEL | HAS_FD },
	{ DN_CONTROL_LOST, DN_CONTROL_TEXT_MAX, HAS_TEXT | HAS_MODEL },
	{ DN_CONTROL_FAILED, DN_CONTROL_TEXT_MAX, HAS_TEXT | HAS_MODEL },
	{ DN_CONTROL_RELEASE, 0, HAS_MODEL },
	{ DN_CONTROL_DRAIN, 0, 0 },
	{ DN_CONTROL_FIGURES, sizeof(struct dn_control_figures), 0 },
	{ DN_CONTROL_ABSENT, sizeof(struct dn_frame_loaded), HAS_MODEL },
	{ DN_CONTROL_HELLO, DN_CONTROL_TEXT_MAX, HAS_TEXT },
	{ DN_CONTROL_WANT, 0, HAS_MODEL },
	{ DN_CONTROL_RELEASED, 0, HAS_MODEL },
	{ DN_CONTROL_BROKEN, sizeof(struct dn_control_broken), HAS_MODEL },
	{ DN_CONTROL_DRAINED, 0, 0 },
	{ DN_CONTROL_ALIVE, 0, 0 },
	{ DN_CONTROL_RESTS, 0, 0 },
	{ DN_CONTROL_USED, 0, HAS_MODEL },
	{ DN_CONTROL_SAVE, sizeof(struct dn_control_prefix), HAS_MODEL | HAS_FD },
};

void dn_control_init(struct dn_control *control, enum dn_control_type type, uint32_t model)
{
	memset(control, 0, sizeof(*control));
	control->type = type;
	control->model = model;
}

void dn_control_set_text(char *field, size_t field_size, const char *text)
{
	const size_t used = dn_text_printable(text, strlen(text), field, field_size);

	memset(field + used, 0, field_size - used);
}

bool dn_control_priority(const char *word, uint32_t *ret_priority)
{
	static const char *const words[] = {
		[DN_PRIORITY_NORMAL] = "normal",
		[DN_PRIORITY_URGENT] = "urgent",
		[DN_PRIORITY_BATCH] = "batch",
	};

	for (uint32_t i = 0; i < DN_ARRAY_SIZE(words); i++)
		if (strcmp(words[i], word) == 0) {
			*ret_priority = i;
			return true;
		}
	return false;
}

static const struct kind *find(uint32_t type)
{
	for (size_t i = 0; i < DN_ARRAY_SIZE(kinds); i++)
		if (kinds[i].type == type)
			return &kinds[i];
	return NULL;
}

int dn_control_check(const struct dn_control *control, bool to_front, bool has_fd,
		     uint32_t n_models, struct dn_error *err)
{
	const struct kind *kind = find(control->type);

	if (!kind || to_front != (control->type < DN_CONTROL_HELLO))
		return dn_error_set(err, EBADMSG, "control: a packet of type %u", control->type);
	if (has_fd != ((kind->what & HAS_FD) != 0))
		return dn_error_set(err, EBADMSG, "control: packet %u: descriptor", control->type);
	if (kind->what & HAS_MODEL ? control->model >= n_models : control->model != 0)
		return dn_error_set(err, EBADMSG, "control: packet %u: model %u", control->type,
				    control->model);
	if (kind->what & HAS_TEXT && (memchr(control->u.text, '\0', DN_CONTROL_TEXT_MAX) == NULL ||
				      !dn_utf8_valid(control->u.text, strlen(control->u.text))))
		return dn_error_set(err, EBADMSG, "control: packet %u: text", control->type);
	for (size_t i = kind->body; i < sizeof(control->u.bytes); i++)
		if (control->u.bytes[i] != 0)
			return dn_error_set(err, EBADMSG, "control: packet %u: unused bytes",
					    control->type);
	return 0;
}
