/* SPDX-License-Identifier: MIT */

#include "server/saver.h"

#include <stdlib.h>

#include "base/background.h"
#include "channel/shared-memory.h"
#include "server/log.h"

struct job {
	struct dn_saver *saver;
	struct dn_digest model;
	uint64_t space;
	int fd;
};

static void *save(void *data)
{
	struct dn_error err = DN_ERROR_INIT;
	struct job *job = data;
	struct dn_saver *saver = job->saver;

	if (dn_prefix_store_save(saver->store, &job->model, job->space, job->fd, &err) < 0)
		dn_log_event("warning", "prefix", "message=\"%s\"", err.message);
	close(job->fd);
	free(job);
	atomic_store(&saver->busy, false);
	return NULL;
}

void dn_saver_begin(struct dn_saver *saver, const struct dn_digest *model, uint64_t space, int fd)
{
	struct job *job = NULL;

	if (saver->store->folder && dn_shared_is_sealed(fd) &&
	    !atomic_exchange(&saver->busy, true)) {
		dn_saver_done(saver);
		job = malloc(sizeof(*job));
		if (job) {
			*job = (struct job){ saver, *model, space, fd };
			saver->begun = dn_background_begin(&saver->thread, save, job) == 0;
		}
		if (saver->begun)
			return;
		atomic_store(&saver->busy, false);
		free(job);
	}
	close(fd);
}

void dn_saver_done(struct dn_saver *saver)
{
	if (saver->begun)
		(void)pthread_join(saver->thread, NULL);
	saver->begun = false;
}
