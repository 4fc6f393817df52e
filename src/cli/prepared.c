/* SPDX-License-Identifier: MIT */

#include "cli/prepared.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

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
	int r = dn_check_own(model->fds[0], false, "a prepared model", err);

	if (r >= 0)
		r = dn_cli_store_open(&store, false, err);
	if (r == -ENOENT)
		return dn_error_set(err, ENOKEY,
				    "it was prepared elsewhere: this device has no key yet, so "
				    "prepare the model's own file here");
	if (r >= 0)
		r = dn_seal_open(model->fds[0], &store.key, &model->seal, err);
	if (r >= 0)
		model->prepared = true;
	return r;
}

int dn_cli_open_sealed(const char *path, const struct dn_key *key, const struct dn_digest *source,
		       struct dn_cli_model *ret_model, struct dn_error *err)
{
	DN_AUTO_MODEL_FILES struct dn_cli_model model = { .n_fds = 0 };
	int r;

	model.fds[0] = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (model.fds[0] < 0)
		return dn_error_errno(err, errno, "open '%s'", path);
	model.n_fds = 1;
	r = dn_check_own(model.fds[0], false, "a prepared model", err);
	if (r >= 0)
		r = dn_seal_open(model.fds[0], key, &model.seal, err);
	if (r < 0)
		return r;
	if (memcmp(&model.seal.source, source, sizeof(*source)) != 0)
		return dn_error_set(err, EBADMSG, "it was made from another model");
	model.prepared = true;
	*ret_model = model;
	model.n_fds = 0;
	model.seal.tags = NULL;
	return 0;
}

/* Where there is no key, or no home that can be read, nothing was ever prepared. */
static bool is_nowhere(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -EACCES;
}

int dn_cli_find_prepared(struct dn_cli_model *model, struct dn_error *err)
{
	DN_AUTO_STORE struct dn_cli_store store = { .folder = "" };
	struct dn_cli_model prepared = { .n_fds = 0 };
	struct dn_digest identity, digest;
	char path[PATH_MAX];
	int r;

	r = dn_cli_store_open(&store, false, err);
	if (r >= 0)
		r = dn_files_identity(model->fds, model->n_fds, &identity, err);
	if (r >= 0)
		r = dn_prepared_recall(&store.store, &identity, &digest, err);
	if (r >= 0)
		r = dn_prepared_path(&store.store, &digest, path, err);
	if (r >= 0)
		r = dn_cli_open_sealed(path, &store.key, &digest, &prepared, err);
	if (r < 0)
		return is_nowhere(r) ? 0 : r;
	dn_cli_close_model(model);
	*model = prepared;
	return 0;
}
