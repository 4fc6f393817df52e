/* SPDX-License-Identifier: MIT */
/*
 * A plugin for qemu-user: which pieces of straight code ran, and how often. On exit a line
 * "address instructions times" each goes to stderr. Built by bench/arm-kernels.
 *
 * The few declarations are those of version 1 of qemu's plugin interface (docs/devel/tcg-plugins),
 * whose header distributions do not ship.
 */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

#define PIECES (1U << 16)

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

typedef void qemu_plugin_tb_trans(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void qemu_plugin_exit(qemu_plugin_id_t id, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, qemu_plugin_tb_trans *callback);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, enum qemu_plugin_op op,
					      void *pointer, uint64_t amount);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, qemu_plugin_exit *callback, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;
__attribute__((visibility("default"))) int
qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv);

static struct piece {
	uint64_t address;
	uint64_t instructions;
	uint64_t times;
} pieces[PIECES];

/* A piece may be translated again: address and length are what it is known by. */
static struct piece *find(uint64_t address, uint64_t instructions)
{
	for (uint32_t i = 0; i < PIECES; i++) {
		struct piece *piece = &pieces[(address / 4 + i) % PIECES];

		if (piece->instructions == 0)
			*piece = (struct piece){ address, instructions, 0 };
		if (piece->address == address && piece->instructions == instructions)
			return piece;
	}
	return NULL;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	struct piece *piece = find(qemu_plugin_tb_vaddr(tb), qemu_plugin_tb_n_insns(tb));

	(void)id;
	if (piece)
		qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64,
							 &piece->times, 1);
}

static void ended(qemu_plugin_id_t id, void *data)
{
	(void)id;
	(void)data;
	for (uint32_t i = 0; i < PIECES; i++)
		if (pieces[i].times > 0)
			(void)fprintf(stderr, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n",
				      pieces[i].address, pieces[i].instructions, pieces[i].times);
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	(void)info;
	(void)argc;
	(void)argv;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return 0;
}
