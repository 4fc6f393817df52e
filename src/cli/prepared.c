/* SPDX-License-Identifier: MIT */

#include "cli/prepared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/prepared.h"

int dn_cli_store_open(struct dn_cli_store *ret_store, bool create, struct dn_error *err)
{
	struct dn_cli_store *s = ret_store;
	char path[PATH_MAX];
	int r;

	r = dn_cli_xdg("STATE", path, sizeof(path) - sizeof("/device.key"), err);
	if (r < 0)
		return r;
	memcpy(path + strlen(path), "/device.key", sizeof("/device.key"));
	r = dn_device_key_load(path, create, &s->key, err);
	if (r < 0)
		return r;
	r = dn_cli_xdg("CACHE", s->folder, sizeof(s->folder) - sizeof("/prepared"), err);
	if (r < 0)
		return r;
	memcpy(s->folder + strlen(s->folder), "/prepared", sizeof("/prepared"));
	s->store = (struct dn_prepared_store){ s->folder, &s->key, DN_PREPARED_LAYOUT };
	return 0;
}

void dn_cli_store_close(struct dn_cli_store *store)
{
	dn_key_wipe(&store->key);
}

int dn_cli_unseal(struct dn_cli_model *model, struct dn_error *err)
{
	DN_AUTO_STORE struct dn_cli_store store = { .folder = "" };
	int r = dn_cli_store_open(&store, false, err);

	if (r == -ENOENT)
		return dn_error_set(err, ENOENT,
				    "the model was prepared elsewhere: this device has no key yet, "
				    "so prepare the model's own file here");
	if (r >= 0)
		r = dn_seal_open(model->fds[0], &store.key, &model->seal, err);
	if (r >= 0)
		model->prepared = true;
	return r;
}

static int use(struct dn_cli_model *model, const struct dn_cli_store *store,
	       const struct dn_digest *digest, int *fd, struct dn_error *err)
{
	DN_AUTO_SEAL struct dn_seal seal = DN_SEAL_INIT;
	int r = dn_seal_open(*fd, &store->key, &seal, err);

	if (r < 0)
		return r;
	if (memcmp(&seal.source, digest, sizeof(*digest)) != 0)
		return dn_error_set(err, EBADMSG, "it was made from another model");
	dn_cli_close_model(model);
	*model = (struct dn_cli_model){
		.fds = { dn_steal_fd(fd) }, .n_fds = 1, .prepared = true, .seal = seal
	};
	seal = (struct dn_seal)DN_SEAL_INIT;
	return 0;
}

int dn_cli_find_prepared(struct dn_cli_model *model, struct dn_error *err)
{
	DN_AUTO_STORE struct dn_cli_store store = { .folder = "" };
	struct dn_digest identity, digest;
	DN_AUTO_FD int fd = -1;
	char path[PATH_MAX];
	int r;

	r = dn_cli_store_open(&store, false, err);
	if (r >= 0)
		r = dn_files_identity(model->fds, model->n_fds, &identity, err);
	if (r >= 0)
		r = dn_prepared_recall(&store.store, &identity, &digest, err);
	if (r >= 0)
		r = dn_prepared_path(&store.store, &digest, path, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return errno == ENOENT ? 0 : dn_error_errno(err, errno, "open '%s'", path);
	return use(model, &store, &digest, &fd, err);
}
