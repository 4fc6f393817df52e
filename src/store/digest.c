/* SPDX-License-Identifier: MIT */

#include "store/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/types.h>

#define STRETCH ((size_t)256 << 10)

static int no_sha256(struct dn_error *err)
{
	return dn_error_set(err, EIO, "OpenSSL cannot compute SHA-256");
}

int dn_digest_bytes(const void *data, size_t size, struct dn_digest *ret_digest,
		    struct dn_error *err)
{
	return EVP_Digest(data, size, ret_digest->bytes, NULL, EVP_sha256(), NULL) ? 0
										   : no_sha256(err);
}

/* @whole: from the first byte, wherever the position is; else what comes, as from a pipe. */
static int digest_file(int fd, bool whole, EVP_MD_CTX *context, uint8_t *buffer,
		       struct dn_digest *ret_digest, struct dn_error *err)
{
	off_t at = 0;

	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	if (!EVP_DigestInit_ex(context, EVP_sha256(), NULL))
		return no_sha256(err);
	for (;;) {
		ssize_t n = whole ? pread(fd, buffer, STRETCH, at) : read(fd, buffer, STRETCH);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return dn_error_errno(err, errno, "read the file at byte %lld",
					      (long long)at);
		if (n == 0)
			break;
		if (!EVP_DigestUpdate(context, buffer, (size_t)n))
			return no_sha256(err);
		at += n;
	}
	return EVP_DigestFinal_ex(context, ret_digest->bytes, NULL) ? 0 : no_sha256(err);
}

static int digest_each(const int *fds, size_t n_fds, bool whole, struct dn_digest *each,
		       struct dn_error *err)
{
	DN_AUTO_FREE uint8_t *buffer = malloc(STRETCH);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	int r = buffer && context ? 0 : dn_error_memory(err, "a digest", STRETCH);

	for (size_t i = 0; r >= 0 && i < n_fds; i++)
		r = digest_file(fds[i], whole, context, buffer, &each[i], err);
	EVP_MD_CTX_free(context);
	return r;
}

int dn_digest_stream(int fd, struct dn_digest *ret_digest, struct dn_error *err)
{
	return digest_each(&fd, 1, false, ret_digest, err);
}

int dn_digest_join(const struct dn_digest *each, size_t n, struct dn_digest *ret_digest,
		   struct dn_error *err)
{
	if (n != 1)
		return dn_digest_bytes(each, n * sizeof(*each), ret_digest, err);
	*ret_digest = each[0];
	return 0;
}

int dn_digest_files(const int *fds, size_t n_fds, struct dn_digest *ret_digest,
		    struct dn_error *err)
{
	DN_AUTO_FREE struct dn_digest *each = calloc(n_fds, sizeof(*each));
	int r;

	if (!each)
		return dn_error_memory(err, "a digest", n_fds * sizeof(*each));
	r = digest_each(fds, n_fds, true, each, err);
	return r < 0 ? r : dn_digest_join(each, n_fds, ret_digest, err);
}

void dn_digest_text(const struct dn_digest *digest, char *text)
{
	for (size_t i = 0; i < DN_DIGEST_BYTES; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", digest->bytes[i]);
}
