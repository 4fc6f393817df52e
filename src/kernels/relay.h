/* SPDX-License-Identifier: MIT */
/*
 * The layout of weights in memory: sixteen rows interleaved.
 *
 * A group holds sixteen rows, block after block of columns. A block in the file is words of four
 * bytes and, in front of them or behind, halves of two bytes; in memory w[j][row] is word j of the
 * row's block, and behind all words h[i][row] is half i, sixteen rows beside each other. It is a
 * permutation of the file's bytes: nothing is lost, nothing is added but the zero rows that fill
 * the last group. shape.h has the numbers, blocks.c what the bits mean:
 *
 *            columns  words                                      halves            bytes
 *   F32            1   1: an F32                                                      64
 *   F16            1                                             an F16               32
 *   BF16           1                                             a BF16               32
 *   Q4_0          32   4: nibbles                                scale               288
 *   Q4_1          32   4: nibbles                                scale, minimum      320
 *   Q5_0          32   5: 32 fifth bits, nibbles                 scale               352
 *   Q5_1          32   5: 32 fifth bits, nibbles                 scale, minimum      384
 *   Q8_0          32   8: int8                                   scale               544
 *   IQ4_NL        32   4: nibbles, places in a table             scale               288
 *   Q2_K         256  20: 4 scales and minima, 16 pairs of bits  scale, of minima   1344
 *   Q3_K         256  27: 8 third bits, 16 pairs of bits,        scale              1760
 *                         3 scales
 *   Q4_K         256  35: 3 scales and minima, 32 nibbles        scale, of minima   2304
 *   Q5_K         256  43: 3 scales and minima, 8 fifth bits,     scale, of minima   2816
 *                         32 nibbles
 *   Q6_K         256  52: 32 nibbles, 16 pairs of high bits,     scale              3360
 *                         4 int8 scales
 *   IQ4_XS       256  33: 1 low bits of scales, 32 nibbles,      scale, high bits   2176
 *                         places in a table                      of scales
 *
 * Word j of the nibbles of blocks of 32 columns holds columns 4j to 4j + 3 in its low and 16 + 4j
 * to 19 + 4j in its high nibbles.
 */
#ifndef DUNLIN_KERNELS_RELAY_H
#define DUNLIN_KERNELS_RELAY_H

/* IWYU pragma: begin_exports */
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
/* IWYU pragma: end_exports */

/* Bytes of a group of sixteen rows; @columns is a multiple of the type's block. */
size_t dn_relay_group_bytes(enum dn_type type, uint32_t columns);
/* Bytes of a row in the file. */
size_t dn_relay_row_bytes(enum dn_type type, uint32_t columns);

/**
 * dn_relay_group() - make one group
 * @rows: @n_rows rows as in the file, one after the other
 * @n_rows: 1 to 16; missing rows become zero
 * @out: dn_relay_group_bytes(), 64-byte aligned
 */
void dn_relay_group(enum dn_type type, uint32_t columns, const void *rows, uint32_t n_rows,
		    void *out);

/* The rows of a group, as they were in the file: what dn_relay_group() was given. */
void dn_unrelay_group(enum dn_type type, uint32_t columns, const void *group, uint32_t n_rows,
		      void *rows);

/* The block of @row that holds @column, as it was in the file: DN_FILE_BLOCK_MAX bytes at most. */
void dn_relay_block(const struct dn_matrix *matrix, uint32_t row, uint32_t column, uint8_t *out);

/* Columns [@first, @first + @n) of a row as float32; both multiples of DN_BLOCK in quantised types. */
void dn_relay_part(const struct dn_matrix *matrix, uint32_t row, uint32_t first, uint32_t n,
		   float *out);

/* One row of a matrix as float32[columns]: an embedding's look-up. */
void dn_relay_row(const struct dn_matrix *matrix, uint32_t row, float *out);

#endif /* DUNLIN_KERNELS_RELAY_H */
