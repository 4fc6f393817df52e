/* SPDX-License-Identifier: MIT */
/* SIGHUP: keys and certificates as their files have them now. */

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "server/log.h"
#include "server/notify.h"
#include "server/supervisor.h"

/* systemd wants to know when a reload began (sd_notify(3)), and that it is over. */
static void notify_begin(const struct supervisor *s)
{
	char text[96];

	if (!s->announced)
		return;
	(void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
		       dn_clock_ns() / 1000);
	dn_notify(text);
}

static void notify_end(const struct supervisor *s)
{
	if (s->announced)
		dn_notify("READY=1\nSTATUS=serving");
}

void dn_supervisor_reload(struct supervisor *s)
{
	struct dn_secrets *secrets = NULL;
	struct dn_error err = DN_ERROR_INIT;
	char value[DN_LOG_VALUE_SIZE(DN_ERROR_MESSAGE_MAX)];

	if (s->draining)
		return;
	notify_begin(s);
	if (dn_secrets_read(s->options, &secrets, &err) < 0) {
		dn_log_event("error", "reload", "message=%s old=kept",
			     dn_log_value(err.message, value, sizeof(value)));
		notify_end(s);
		return;
	}
	dn_secrets_free(s->reloaded);
	s->reloaded = secrets;
	s->secrets = secrets;
	/* A front that is just being started again gets them with all else. */
	dn_supervisor_tell_secrets(s);
	dn_log_event("info", "reload", "keys=%u%s%s", secrets->n_keys,
		     secrets->tls >= 0 ? " certificate_not_after=" : "", secrets->facts.not_after);
	notify_end(s);
}
