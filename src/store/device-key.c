/* SPDX-License-Identifier: MIT */

#include "store/device-key.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/types.h>

#include "base/io.h"
#include "store/new-file.h"

void dn_key_wipe(struct dn_key *key)
{
	OPENSSL_cleanse(key, sizeof(*key));
}

bool dn_key_equal(const struct dn_key *a, const struct dn_key *b)
{
	return CRYPTO_memcmp(a->bytes, b->bytes, DN_KEY_BYTES) == 0;
}

int dn_key_derive(const struct dn_key *key, const char *label, const void *data, size_t size,
		  struct dn_key *ret, struct dn_error *err)
{
	char name[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *context = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
	size_t got = 0;
	/* With the label's end, so that none is the beginning of another. */
	const bool ok = context && EVP_MAC_init(context, key->bytes, DN_KEY_BYTES, params) &&
			EVP_MAC_update(context, (const unsigned char *)label, strlen(label) + 1) &&
			EVP_MAC_update(context, data, size) &&
			EVP_MAC_final(context, ret->bytes, &got, DN_KEY_BYTES) &&
			got == DN_KEY_BYTES;

	EVP_MAC_CTX_free(context);
	EVP_MAC_free(hmac);
	return ok ? 0 : dn_error_set(err, EIO, "OpenSSL cannot compute HMAC-SHA256");
}

static int create_key(const char *path, struct dn_key *key, struct dn_error *err)
{
	DN_AUTO_NEW_FILE struct dn_new_file file = DN_NEW_FILE_INIT;
	int r;

	if (getrandom(key->bytes, DN_KEY_BYTES, 0) != DN_KEY_BYTES)
		return dn_error_errno(err, errno, "make the device key");
	r = dn_new_file_begin(&file, path, err);
	if (r >= 0)
		r = dn_write_whole(file.fd, key->bytes, DN_KEY_BYTES, "the device key", err);
	return r < 0 ? r : dn_new_file_commit(&file, false, err);
}

int dn_check_own(int fd, bool secret, const char *what, struct dn_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return dn_error_errno(err, errno, "look at %s", what);
	if (S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & (secret ? 077 : 022)))
		return 0;
	return dn_error_set(err, EPERM,
			    "%s must be a file that you own and nobody else can %s (chmod %s)",
			    what, secret ? "read" : "write", secret ? "600" : "go-w");
}

static int read_key(const char *path, struct dn_key *key, struct dn_error *err)
{
	DN_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	struct stat st;
	int r;

	if (fd < 0)
		return dn_error_errno(err, errno, "open the device key '%s'", path);
	r = dn_check_own(fd, true, "the device key", err);
	if (r < 0)
		return dn_error_prefix(err, r, "'%s'", path);
	if (fstat(fd, &st) == 0 && st.st_size != DN_KEY_BYTES)
		return dn_error_set(err, EINVAL,
				    "the device key '%s' has %lld bytes instead of %d: remove it, "
				    "and prepare models again",
				    path, (long long)st.st_size, DN_KEY_BYTES);
	return dn_read_whole(fd, key->bytes, DN_KEY_BYTES, "the device key", err);
}

int dn_device_key_load(const char *path, bool create, struct dn_key *ret_key, struct dn_error *err)
{
	DN_AUTO_KEY struct dn_key made = { { 0 } };
	int r = read_key(path, ret_key, err);

	if (r != -ENOENT || !create)
		return r;
	r = create_key(path, &made, err);
	/* Another process may have been faster: its key counts. */
	if (r < 0 && r != -EEXIST)
		return r;
	return read_key(path, ret_key, err);
}
