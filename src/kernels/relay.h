/* SPDX-License-Identifier: MIT */
/*
 * The layout of weights in memory: sixteen rows interleaved.
 *
 * A group holds sixteen rows, block after block of columns, with each row's scales beside its
 * quants. In words of four bytes, w[j][row] is bytes 4j to 4j + 3 of the row's block in the file:
 *
 *   Q4_0  32 columns   4 x 16 words of nibbles, 16 F16 scales                  288 bytes
 *   Q4_1  32 columns   4 x 16 words of nibbles, 16 F16 scales, 16 F16 minima   320 bytes
 *   Q8_0  32 columns   8 x 16 words of int8, 16 F16 scales                     544 bytes
 *   Q4_K 256 columns   3 x 16 words of packed scales, 32 x 16 words of nibbles,
 *                      16 F16 scales, 16 F16 scales of the minima             2304 bytes
 *   Q6_K 256 columns   52 x 16 words: nibbles, high bits, int8 scales,
 *                      16 F16 scales                                          3360 bytes
 *   F16    1 column    16 F16                                                   32 bytes
 *   F32    1 column    16 F32                                                   64 bytes
 *
 * Word j of Q4_0's and Q4_1's nibbles holds columns 4j to 4j + 3 in its low and 16 + 4j to 19 + 4j
 * in its high nibbles; the order of the others is in blocks.c. It is a permutation of the file's bytes: nothing is lost, nothing is added but the
 * zero rows that fill the last group.
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

/* The block of @row that holds @column, as it was in the file: DN_FILE_BLOCK_MAX bytes at most. */
void dn_relay_block(const struct dn_matrix *matrix, uint32_t row, uint32_t column, uint8_t *out);

/* Columns [@first, @first + @n) of a row as float32; both multiples of DN_BLOCK in quantised types. */
void dn_relay_part(const struct dn_matrix *matrix, uint32_t row, uint32_t first, uint32_t n,
		   float *out);

/* One row of a matrix as float32[columns]: an embedding's look-up. */
void dn_relay_row(const struct dn_matrix *matrix, uint32_t row, float *out);

#endif /* DUNLIN_KERNELS_RELAY_H */
