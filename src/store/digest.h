/* SPDX-License-Identifier: MIT */
/* SHA-256 of files: what a model is called, whatever its path. */
#ifndef DUNLIN_STORE_DIGEST_H
#define DUNLIN_STORE_DIGEST_H

/* IWYU pragma: begin_exports */
#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

#define DN_DIGEST_BYTES 32
#define DN_DIGEST_TEXT	(2 * DN_DIGEST_BYTES + 1)

struct dn_digest {
	uint8_t bytes[DN_DIGEST_BYTES];
};

DN_MUST_CHECK int dn_digest_bytes(const void *data, size_t size, struct dn_digest *ret_digest,
				  struct dn_error *err);
/* Of what comes from a descriptor, to its end. */
DN_MUST_CHECK int dn_digest_stream(int fd, struct dn_digest *ret_digest, struct dn_error *err);
/* Of a file; of several, the digest of their digests, one after the other. */
DN_MUST_CHECK int dn_digest_join(const struct dn_digest *each, size_t n,
				 struct dn_digest *ret_digest, struct dn_error *err);
/**
 * dn_digest_files() - of whole files, joined
 * @fds: borrowed; their positions stay
 */
DN_MUST_CHECK int dn_digest_files(const int *fds, size_t n_fds, struct dn_digest *ret_digest,
				  struct dn_error *err);
/* In hexadecimal: DN_DIGEST_TEXT bytes, its end among them. */
void dn_digest_text(const struct dn_digest *digest, char *text);

#endif /* DUNLIN_STORE_DIGEST_H */
