/* SPDX-License-Identifier: MIT */
/*
 * Options from a file: "NAME = VALUE" lines with the long names of the command line's, one for each
 * time that an option is given there; a '#' at the beginning of a word begins a remark, but in quotes.
 */
#ifndef DUNLIN_CLI_CONFIG_H
#define DUNLIN_CLI_CONFIG_H

/* IWYU pragma: begin_exports */
#include "cli/options.h"
#include "server/text-file.h"
/* IWYU pragma: end_exports */

/**
 * dn_config_parse() - sets a verb's options
 * @text: changed on the way, and borrowed as long as the values are used
 * @size: of it, without the NUL behind it
 * @path: for messages, which have the number of the line too
 * @invocation: of which the command line was parsed before: what it has goes before the file
 *
 * Return: 0; -EINVAL for a line that is none, or an option that is none or has a wrong value.
 */
DN_MUST_CHECK int dn_config_parse(char *text, size_t size, const char *path,
				  struct dn_invocation *invocation, struct dn_error *err);
/* The same of a file. @ret_file: what the values borrow from */
DN_MUST_CHECK int dn_config_read(const char *path, struct dn_invocation *invocation,
				 struct dn_text_file *ret_file, struct dn_error *err);

#endif /* DUNLIN_CLI_CONFIG_H */
