/* SPDX-License-Identifier: MIT */
/* Threads for what the program does beside its work. */
#ifndef DUNLIN_BASE_BACKGROUND_H
#define DUNLIN_BASE_BACKGROUND_H

#include <pthread.h>

/*
 * pthread_create(), without signals, which are for the threads of the program, and never in real
 * time, even where the caller is: it would keep who waits for it waiting. Returns an error number.
 */
int dn_background_begin(pthread_t *ret_thread, void *(*run)(void *data), void *data);

#endif /* DUNLIN_BASE_BACKGROUND_H */
