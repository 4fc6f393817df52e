/* SPDX-License-Identifier: MIT */
/* Words for the service manager: sd_notify(3), whose protocol its manual invites to speak. */
#ifndef DUNLIN_SERVER_NOTIFY_H
#define DUNLIN_SERVER_NOTIFY_H

/* IWYU pragma: begin_exports */
#include <stdint.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

/* "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=…"; nothing without $NOTIFY_SOCKET. */
void dn_notify(const char *state);
/* In how many microseconds WATCHDOG=1 is to come each time; 0: nobody waits for it. */
uint64_t dn_notify_watchdog_us(void);

#endif /* DUNLIN_SERVER_NOTIFY_H */
