/* SPDX-License-Identifier: MIT */
/* What the files of "dunlin doctor" share. */
#ifndef DUNLIN_CLI_DOCTOR_H
#define DUNLIN_CLI_DOCTOR_H

/* IWYU pragma: begin_exports */
#include "cli/cli.h"
#include "device/cpu.h"
#include "device/kernel.h"
#include "device/memory.h"
#include "device/realtime.h"
#include "sandbox/jail.h"
/* IWYU pragma: end_exports */

#define DN_DOCTOR_ADVICE_MAX 16

/**
 * struct dn_findings - all that was looked at
 * @level: the kernels that would be used
 * @jail: what a worker that was started for this holds; reasons as this process would see them
 * @jail_error: why no worker could be started; "" where one was
 * @advice: what would make it faster or safer, one sentence each
 */
struct dn_findings {
	struct dn_cpu cpu;
	struct dn_memory memory;
	struct dn_kernel kernel;
	struct dn_realtime realtime;
	const char *level;
	char level_error[DN_ERROR_MESSAGE_MAX];
	struct dn_jail_report jail;
	char jail_error[DN_ERROR_MESSAGE_MAX];
	const char *advice[DN_DOCTOR_ADVICE_MAX];
	size_t n_advice;
};

void dn_doctor_advise(struct dn_findings *findings);
void dn_doctor_print(const struct dn_findings *findings);
DN_MUST_CHECK int dn_doctor_print_json(const struct dn_findings *findings, struct dn_error *err);

#endif /* DUNLIN_CLI_DOCTOR_H */
