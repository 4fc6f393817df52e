/* SPDX-License-Identifier: MIT */

#include "server/prefix-reader.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/background.h"

struct dn_prefix_reader {
	const struct dn_prefix_store *store;
	const struct dn_digest *model;
	pthread_t thread;
	int done;
	atomic_bool given_up;
	struct dn_stored_prefix prefixes[DN_PREFIXES_MAX];
	uint32_t n;
};

static void *read_all(void *data)
{
	struct dn_prefix_reader *reader = data;

	reader->n = dn_prefix_store_load(reader->store, reader->model, reader->prefixes,
					 DN_PREFIXES_MAX, &reader->given_up);
	(void)eventfd_write(reader->done, 1);
	return NULL;
}

int dn_prefix_reader_begin(const struct dn_prefix_store *store, const struct dn_digest *model,
			   struct dn_prefix_reader **ret_reader, struct dn_error *err)
{
	struct dn_prefix_reader *reader = calloc(1, sizeof(*reader));
	int code;

	if (!reader)
		return dn_error_memory(err, "prefixes", sizeof(*reader));
	reader->store = store;
	reader->model = model;
	reader->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	code = reader->done < 0 ? errno : dn_background_begin(&reader->thread, read_all, reader);
	if (code != 0) {
		dn_close_cleanup(&reader->done);
		free(reader);
		return dn_error_errno(err, code, "begin to read prefixes");
	}
	*ret_reader = reader;
	return 0;
}

int dn_prefix_reader_fd(const struct dn_prefix_reader *reader)
{
	return reader->done;
}

uint32_t dn_prefix_reader_end(struct dn_prefix_reader *reader, struct dn_stored_prefix *prefixes)
{
	uint32_t n;

	atomic_store(&reader->given_up, true);
	(void)pthread_join(reader->thread, NULL);
	n = reader->n;
	if (prefixes)
		memcpy(prefixes, reader->prefixes, n * sizeof(*prefixes));
	for (uint32_t i = 0; !prefixes && i < n; i++)
		close(reader->prefixes[i].fd);
	close(reader->done);
	free(reader);
	return n;
}
