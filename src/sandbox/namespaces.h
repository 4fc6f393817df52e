/* SPDX-License-Identifier: MIT */
/* namespaces(7): what a start makes, and what the jail inside then has of them. */
#ifndef DUNLIN_SANDBOX_NAMESPACES_H
#define DUNLIN_SANDBOX_NAMESPACES_H

#include <stdint.h>
#include <sys/types.h>

#include "base/base.h"
#include "sandbox/jail.h"
#include "sandbox/spawn.h"

/* What a start tells the program: for each kind in order 0, the errno of its refusal, or "-". */
#define DN_NAMESPACES_VARIABLE "DUNLIN_NAMESPACES"
#define DN_NAMESPACES_TEXT_MAX 64

/**
 * dn_clone() - a process that shares the memory of this one, as vfork() makes it, in namespaces
 * @flags: CLONE_NEW…
 * @run: runs with all signals blocked, on a stack of its own, and does not return
 *
 * Return: its number, once it has executed a program or ended; -1 with errno.
 */
pid_t dn_clone(int flags, int (*run)(void *data), void *data);

/* As if all that is asked for were permitted. */
struct dn_namespaces dn_namespaces_expect(uint32_t asked);

/*
 * Tries each kind alone, in a process that ends after it; @namespaces->asked says which. Where
 * not even that is possible, all are refused.
 */
void dn_namespaces_try(struct dn_namespaces *namespaces);

/* None is held; what was, is refused with @code. */
void dn_namespaces_refuse(struct dn_namespaces *namespaces, int code);

/* The flags of dn_clone() for what is held. */
int dn_namespaces_flags(const struct dn_namespaces *namespaces);

/* In the new process, before exec: what its jail will need. */
void dn_namespaces_prepare(const struct dn_namespaces *namespaces, uid_t user, gid_t group);

/* The variable's value, and back; @ret_namespaces is untouched, and false, where it is none. */
void dn_namespaces_write(const struct dn_namespaces *namespaces, char text[DN_NAMESPACES_TEXT_MAX]);
bool dn_namespaces_read(const char *text, struct dn_namespaces *ret_namespaces);

/* Fills the measures from what the start left in the environment, and empties the root. */
void dn_namespaces_enter(struct dn_jail_report *report);
/* What a start with all of them would have here. */
void dn_namespaces_probe(struct dn_jail_report *report);

#endif /* DUNLIN_SANDBOX_NAMESPACES_H */
