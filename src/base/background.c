/* SPDX-License-Identifier: MIT */

#include "base/background.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

int dn_background_begin(pthread_t *ret_thread, void *(*run)(void *data), void *data)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int code = pthread_attr_init(&attr);

	if (code)
		return code;
	(void)pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(ret_thread, &attr, run, data);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attr);
	return code;
}
