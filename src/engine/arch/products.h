/* SPDX-License-Identifier: MIT */
/* Products and row-wise work of a step, cut into pieces for its threads. */
#ifndef DUNLIN_ENGINE_PRODUCTS_H
#define DUNLIN_ENGINE_PRODUCTS_H

/* IWYU pragma: begin_exports */
#include "engine/context.h"
/* IWYU pragma: end_exports */

/* Quantises row @row of @rows, of which @columns elements are there. */
void dn_rows_quantise(const struct dn_step *step, struct dn_rows *rows, uint32_t row,
		      uint32_t columns);

/*
 * Products that read what is there already are one job: add each, then run them all. @y gets all
 * rows of the step, @y_stride apart.
 */
void dn_products_add(struct dn_step *step, const struct dn_linear *linear,
		     const struct dn_rows *rows, float *y, size_t y_stride);
/* The same, of a matrix alone, for @n rows from @first of @rows; @y is that of the first. */
void dn_products_add_rows(struct dn_step *step, const struct dn_matrix *w,
			  const struct dn_rows *rows, uint32_t first, uint32_t n, float *y,
			  size_t y_stride);
void dn_products_run(struct dn_step *step);
/* Adds what adapters of an embedding have for the step's tokens to @y, of all its rows. */
void dn_products_look_up(struct dn_step *step, const struct dn_low_rank *adapters, float *y,
			 size_t y_stride);

/* A function of a step for one row, run for rows 0 to @n - 1 by whoever is free. */
typedef void dn_row_function(struct dn_step *step, const void *argument, uint32_t row);

/* @elements: how many a row has, to tell what is worth another thread. */
void dn_for_rows(struct dn_step *step, uint32_t n, dn_row_function *function, const void *argument,
		 uint32_t elements);

#endif /* DUNLIN_ENGINE_PRODUCTS_H */
