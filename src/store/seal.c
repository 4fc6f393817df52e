/* SPDX-License-Identifier: MIT */

#include "store/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/types.h>

#include "base/background.h"
#include "base/io.h"

#define STRETCH	      ((size_t)256 << 10) /* stays in a second-level cache from reading to GMAC */
#define THREADS_MAX   16U
#define AES_KEY_BYTES 16
#define NONCE_BYTES   12

_Static_assert(sizeof(struct dn_seal_foot) == 128, "the foot's layout is the file's");

static uint64_t n_leaves(uint64_t bytes)
{
	return DN_DIV_ROUND_UP(bytes, (uint64_t)DN_SEAL_LEAF_BYTES);
}

/* Computes codes of leaves; one a thread. */
struct leaf_reader {
	EVP_MAC *gmac;
	EVP_MAC_CTX *context;
	uint8_t *buffer;
};

static void leaf_reader_done(struct leaf_reader *reader)
{
	EVP_MAC_CTX_free(reader->context);
	EVP_MAC_free(reader->gmac);
	free(reader->buffer);
}

static int leaf_reader_init(struct leaf_reader *reader, struct dn_error *err)
{
	char name[] = "AES-128-GCM";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, name, 0),
		OSSL_PARAM_construct_end(),
	};

	reader->buffer = malloc(STRETCH);
	if (!reader->buffer)
		return dn_error_memory(err, "checking a seal", STRETCH);
	reader->gmac = EVP_MAC_fetch(NULL, "GMAC", NULL);
	reader->context = reader->gmac ? EVP_MAC_CTX_new(reader->gmac) : NULL;
	if (!reader->context || !EVP_MAC_CTX_set_params(reader->context, params))
		return dn_error_set(err, EIO, "OpenSSL cannot compute AES-GMAC");
	return 0;
}

static int read_sealed(int fd, void *data, size_t size, uint64_t at, struct dn_error *err)
{
	int r = dn_pread_whole(fd, data, size, at, "the sealed file", err);

	return r == -EINVAL ? dn_error_set(err, EBADMSG, "the sealed file ends too early") : r;
}

/* The leaf's number is its nonce: a key is of one file alone, whose leaves are written once. */
static int tag_leaf(struct leaf_reader *reader, int fd, const struct dn_key *key, uint64_t leaf,
		    uint64_t bytes, uint8_t *tag, struct dn_error *err)
{
	uint8_t nonce[NONCE_BYTES] = { 0 };
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_IV, nonce, sizeof(nonce)),
		OSSL_PARAM_construct_end(),
	};
	const uint64_t begin = leaf * DN_SEAL_LEAF_BYTES;
	const uint64_t end = DN_MIN(begin + DN_SEAL_LEAF_BYTES, bytes);
	size_t size = 0;
	bool ok;
	int r = 0;

	memcpy(nonce, &leaf, sizeof(leaf));
	ok = EVP_MAC_init(reader->context, key->bytes, AES_KEY_BYTES, params);
	for (uint64_t at = begin; ok && r >= 0 && at < end; at += STRETCH) {
		const size_t n = (size_t)DN_MIN(end - at, (uint64_t)STRETCH);

		r = read_sealed(fd, reader->buffer, n, at, err);
		if (r >= 0)
			ok = EVP_MAC_update(reader->context, reader->buffer, n);
	}
	if (r < 0)
		return r;
	ok = ok && EVP_MAC_final(reader->context, tag, &size, DN_SEAL_TAG_BYTES) &&
	     size == DN_SEAL_TAG_BYTES;
	return ok ? 0 : dn_error_set(err, EIO, "OpenSSL cannot compute AES-GMAC");
}

static int foot_code(const struct dn_key *device, const struct dn_seal_foot *foot,
		     const uint8_t *tags, struct dn_key *ret, struct dn_error *err)
{
	const size_t tags_bytes = (size_t)n_leaves(foot->bytes) * DN_SEAL_TAG_BYTES;
	const size_t foot_bytes = offsetof(struct dn_seal_foot, code);
	DN_AUTO_FREE uint8_t *both = malloc(tags_bytes + foot_bytes);

	if (!both)
		return dn_error_memory(err, "a seal", tags_bytes + foot_bytes);
	memcpy(both, tags, tags_bytes);
	memcpy(both + tags_bytes, foot, foot_bytes);
	return dn_key_derive(device, "dunlin seal", both, tags_bytes + foot_bytes, ret, err);
}

static int leaf_key(const struct dn_key *device, const uint8_t *salt, struct dn_key *ret,
		    struct dn_error *err)
{
	return dn_key_derive(device, "dunlin leaves", salt, DN_SEAL_SALT_BYTES, ret, err);
}

static int tag_all(int fd, const struct dn_key *key, uint64_t bytes, uint8_t *tags,
		   struct dn_error *err)
{
	DN_AUTO(leaf_reader_done) struct leaf_reader reader = { NULL, NULL, NULL };
	int r = leaf_reader_init(&reader, err);

	for (uint64_t leaf = 0; r >= 0 && leaf < n_leaves(bytes); leaf++)
		r = tag_leaf(&reader, fd, key, leaf, bytes, tags + leaf * DN_SEAL_TAG_BYTES, err);
	return r;
}

int dn_seal_append(int fd, const struct dn_key *device, const struct dn_digest *source,
		   uint64_t head_bytes, struct dn_error *err)
{
	struct dn_seal_foot foot = {
		.magic = DN_SEAL_MAGIC,
		.version = DN_SEAL_VERSION,
		.leaf_bytes = DN_SEAL_LEAF_BYTES,
		.source = *source,
	};
	DN_AUTO_KEY struct dn_key key = { { 0 } };
	DN_AUTO_FREE uint8_t *tags = NULL;
	off_t end = lseek(fd, 0, SEEK_END);
	size_t tags_bytes;
	int r;

	if (end < 0)
		return dn_error_errno(err, errno, "find the end of what is to be sealed");
	if (getrandom(foot.salt, sizeof(foot.salt), 0) != sizeof(foot.salt))
		return dn_error_errno(err, errno, "make a seal");
	foot.bytes = (uint64_t)end;
	foot.head_bytes = head_bytes;
	tags_bytes = (size_t)n_leaves(foot.bytes) * DN_SEAL_TAG_BYTES;
	tags = malloc(DN_MAX(tags_bytes, (size_t)1));
	if (!tags)
		return dn_error_memory(err, "a seal", tags_bytes);
	r = leaf_key(device, foot.salt, &key, err);
	if (r >= 0)
		r = tag_all(fd, &key, foot.bytes, tags, err);
	if (r >= 0)
		r = foot_code(device, &foot, tags, &foot.code, err);
	if (r >= 0)
		r = dn_write_whole(fd, tags, tags_bytes, "the seal", err);
	return r < 0 ? r : dn_write_whole(fd, &foot, sizeof(foot), "the seal", err);
}

static int not_ours(struct dn_error *err)
{
	return dn_error_set(err, EBADMSG,
			    "the seal is not this device's, or the file was changed: prepare the "
			    "model again");
}

static int read_foot(int fd, struct dn_seal_foot *foot, struct dn_error *err)
{
	struct stat st;
	uint64_t size;
	int r;

	if (fstat(fd, &st) < 0)
		return dn_error_errno(err, errno, "look at a sealed file");
	size = (uint64_t)st.st_size;
	if (!S_ISREG(st.st_mode) || size < sizeof(*foot))
		return dn_error_set(err, ENOMSG, "the file has no seal");
	r = read_sealed(fd, foot, sizeof(*foot), size - sizeof(*foot), err);
	if (r < 0)
		return r;
	if (memcmp(foot->magic, DN_SEAL_MAGIC, sizeof(foot->magic)) != 0)
		return dn_error_set(err, ENOMSG, "the file has no seal, or its end is missing");
	if (foot->version != DN_SEAL_VERSION || foot->leaf_bytes != DN_SEAL_LEAF_BYTES)
		return dn_error_set(err, EBADMSG,
				    "the seal is of another version: prepare the "
				    "model again");
	if (foot->bytes > size ||
	    n_leaves(foot->bytes) * DN_SEAL_TAG_BYTES != size - sizeof(*foot) - foot->bytes)
		return not_ours(err);
	return 0;
}

int dn_seal_open(int fd, const struct dn_key *device, struct dn_seal *ret_seal,
		 struct dn_error *err)
{
	DN_AUTO_SEAL struct dn_seal seal = DN_SEAL_INIT;
	struct dn_seal_foot foot = { .version = 0 };
	struct dn_key code = { { 0 } };
	size_t tags_bytes;
	int r;

	r = read_foot(fd, &foot, err);
	if (r < 0)
		return r;
	tags_bytes = (size_t)n_leaves(foot.bytes) * DN_SEAL_TAG_BYTES;
	seal.tags = malloc(DN_MAX(tags_bytes, (size_t)1));
	if (!seal.tags)
		return dn_error_memory(err, "a seal", tags_bytes);
	r = read_sealed(fd, seal.tags, tags_bytes, foot.bytes, err);
	if (r >= 0)
		r = foot_code(device, &foot, seal.tags, &code, err);
	if (r >= 0 && !dn_key_equal(&code, &foot.code))
		r = not_ours(err);
	if (r >= 0)
		r = leaf_key(device, foot.salt, &seal.key, err);
	if (r < 0)
		return r;
	seal.bytes = foot.bytes;
	seal.head_bytes = DN_MIN(foot.head_bytes, foot.bytes);
	seal.source = foot.source;
	*ret_seal = seal;
	seal.tags = NULL;
	return 0;
}

void dn_seal_done(struct dn_seal *seal)
{
	dn_key_wipe(&seal->key);
	free(seal->tags);
	seal->tags = NULL;
}

/**
 * struct dn_seal_check - leaves are taken one by one, in order, by whichever thread is free
 * @end: behind the last leaf
 * @next: leaf that nobody has taken
 * @left: to be computed
 * @failed: the first errno
 */
struct dn_seal_check {
	int fd;
	int over_fd; /* an eventfd */
	const struct dn_seal *seal;
	uint64_t end;
	atomic_uint_fast64_t next;
	atomic_uint_fast64_t left;
	atomic_int failed;
	struct dn_error error;
	uint32_t n_threads;
	pthread_t threads[THREADS_MAX];
};

static void tell_over(const struct dn_seal_check *check)
{
	const uint64_t one = 1;

	(void)!write(check->over_fd, &one, sizeof(one));
}

static void fail(struct dn_seal_check *check, int r, const struct dn_error *err)
{
	int expected = 0;

	if (!atomic_compare_exchange_strong(&check->failed, &expected, -r))
		return;
	if (err)
		check->error = *err;
	tell_over(check);
}

static int check_leaf(const struct dn_seal_check *check, struct leaf_reader *reader, uint64_t leaf,
		      struct dn_error *err)
{
	const struct dn_seal *seal = check->seal;
	uint8_t tag[DN_SEAL_TAG_BYTES];
	int r;

	/* The kernel reads the leaf after the next meanwhile. */
	(void)posix_fadvise(check->fd, (off_t)((leaf + 2) * DN_SEAL_LEAF_BYTES), DN_SEAL_LEAF_BYTES,
			    POSIX_FADV_WILLNEED);
	r = tag_leaf(reader, check->fd, &seal->key, leaf, seal->bytes, tag, err);
	if (r < 0)
		return r;
	if (CRYPTO_memcmp(tag, seal->tags + leaf * DN_SEAL_TAG_BYTES, sizeof(tag)) != 0)
		return dn_error_set(err, EBADMSG,
				    "the sealed file was changed between bytes %" PRIu64
				    " and %" PRIu64 ": prepare the model again",
				    leaf * DN_SEAL_LEAF_BYTES,
				    DN_MIN((leaf + 1) * DN_SEAL_LEAF_BYTES, seal->bytes));
	return 0;
}

static void *check_leaves(void *data)
{
	DN_AUTO(leaf_reader_done) struct leaf_reader reader = { NULL, NULL, NULL };
	struct dn_seal_check *check = data;
	struct dn_error err = DN_ERROR_INIT;
	int r = leaf_reader_init(&reader, &err);

	while (r >= 0 && !atomic_load(&check->failed)) {
		const uint64_t leaf = atomic_fetch_add(&check->next, 1);

		if (leaf >= check->end)
			return NULL;
		r = check_leaf(check, &reader, leaf, &err);
		if (r >= 0 && atomic_fetch_sub(&check->left, 1) == 1)
			tell_over(check);
	}
	if (r < 0)
		fail(check, r, &err);
	return NULL;
}

static int start_threads(struct dn_seal_check *check, uint32_t threads, struct dn_error *err)
{
	const uint32_t most = DN_MAX(DN_MIN(threads, THREADS_MAX), 1U);
	int code = 0;

	while (check->n_threads < most && code == 0) {
		code = dn_background_begin(&check->threads[check->n_threads], check_leaves, check);
		check->n_threads += code == 0;
	}
	/* One that cannot be started is one less. */
	return check->n_threads > 0 ? 0 : dn_error_errno(err, code, "start checking a seal");
}

int dn_seal_check_begin(int fd, const struct dn_seal *seal, uint64_t bytes, uint32_t threads,
			struct dn_seal_check **ret_check, struct dn_error *err)
{
	struct dn_seal_check *check = calloc(1, sizeof(*check));
	int r = 0;

	if (!check)
		return dn_error_memory(err, "checking a seal", sizeof(*check));
	check->fd = fd;
	check->seal = seal;
	check->end = n_leaves(DN_MIN(bytes, seal->bytes));
	atomic_init(&check->left, check->end);
	check->over_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (check->over_fd < 0)
		r = dn_error_errno(err, errno, "start checking a seal");
	if (r >= 0 && check->end > 0)
		r = start_threads(check, threads, err);
	if (r < 0) {
		(void)dn_seal_check_end(check, NULL);
		return r;
	}
	if (check->end == 0)
		tell_over(check);
	*ret_check = check;
	return 0;
}

int dn_seal_check_fd(const struct dn_seal_check *check)
{
	return check->over_fd;
}

int dn_seal_check_end(struct dn_seal_check *check, struct dn_error *err)
{
	int r;

	if (atomic_load(&check->left) > 0) {
		struct dn_error given_up = DN_ERROR_INIT;

		fail(check, dn_error_set(&given_up, ECANCELED, "checking the seal was given up"),
		     &given_up);
	}
	for (uint32_t i = 0; i < check->n_threads; i++)
		(void)pthread_join(check->threads[i], NULL);
	r = -atomic_load(&check->failed);
	if (r < 0 && err)
		*err = check->error;
	if (check->over_fd >= 0)
		close(check->over_fd);
	free(check);
	return r;
}

int dn_seal_check(int fd, const struct dn_seal *seal, uint32_t threads, struct dn_error *err)
{
	struct dn_seal_check *check = NULL;
	struct pollfd over;
	int r = dn_seal_check_begin(fd, seal, seal->bytes, threads, &check, err);

	if (!check)
		return r;
	over = (struct pollfd){ .fd = dn_seal_check_fd(check), .events = POLLIN };
	while (poll(&over, 1, -1) < 0 && errno == EINTR)
		;
	return dn_seal_check_end(check, err);
}
