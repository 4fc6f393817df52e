/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a sealed file, under a key that wrote none of them, and as the end of one that is
 * good: neither may be taken for what this device has sealed.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/seal.h"
#include "fuzz.h"

#define BODY 100

static int open_one(const uint8_t *bytes, size_t size, const struct dn_key *key)
{
	DN_AUTO_SEAL struct dn_seal seal = DN_SEAL_INIT;
	const int fd = memfd_create("sealed", MFD_CLOEXEC);
	struct dn_error err = DN_ERROR_INIT;
	int r;

	MUST(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
	r = dn_seal_open(fd, key, &seal, &err);
	MUST(r <= 0 && (r == 0 || (err.code == -r && err.message[0])));
	if (r == 0)
		r = dn_seal_check(fd, &seal, 1, &err);
	close(fd);
	return r;
}

static size_t sealed(const struct dn_key *key, uint8_t *bytes, size_t size)
{
	const int fd = memfd_create("sealed", MFD_CLOEXEC);
	const struct dn_digest source = { { 0 } };
	struct dn_error err = DN_ERROR_INIT;
	ssize_t n;

	memset(bytes, 7, BODY);
	MUST(write(fd, bytes, BODY) == BODY);
	MUST(dn_seal_append(fd, key, &source, BODY, &err) == 0);
	n = pread(fd, bytes, size, 0);
	MUST(n > BODY);
	close(fd);
	return (size_t)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct dn_key key = { { 1, 2, 3 } };
	uint8_t bytes[1024];
	bool same = true;
	size_t n;

	MUST(open_one(data, size, &key) < 0);
	n = sealed(&key, bytes, sizeof(bytes));
	for (size_t i = 0; i < DN_MIN(size, n); i++) {
		same = same && data[i] == 0;
		bytes[n - 1 - i] ^= data[i];
	}
	MUST((open_one(bytes, n, &key) == 0) == same);
	return 0;
}
