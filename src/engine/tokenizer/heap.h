/* SPDX-License-Identifier: MIT */
/* A heap of 64-bit keys, least first, four children a node: a cache line holds a family. */
#ifndef DUNLIN_ENGINE_TOKENIZER_HEAP_H
#define DUNLIN_ENGINE_TOKENIZER_HEAP_H

#include <stddef.h>
#include <stdint.h>

static inline void dn_heap_sink(uint64_t *heap, size_t n, size_t at, uint64_t key)
{
	for (;;) {
		size_t child = 4 * at + 1;
		size_t end = child + 4 < n ? child + 4 : n;
		size_t least = child;

		if (child >= n)
			break;
		for (size_t i = child + 1; i < end; i++)
			least = heap[i] < heap[least] ? i : least;
		if (heap[least] >= key)
			break;
		heap[at] = heap[least];
		at = least;
	}
	heap[at] = key;
}

/* Orders @n keys in any order. */
static inline void dn_heap_make(uint64_t *heap, size_t n)
{
	for (size_t i = n > 1 ? (n - 2) / 4 + 1 : 0; i--;)
		dn_heap_sink(heap, n, i, heap[i]);
}

/* @heap has room for one more. */
static inline void dn_heap_push(uint64_t *heap, size_t *n, uint64_t key)
{
	size_t at = (*n)++;

	while (at && heap[(at - 1) / 4] > key) {
		heap[at] = heap[(at - 1) / 4];
		at = (at - 1) / 4;
	}
	heap[at] = key;
}

/* @n is above zero. */
static inline uint64_t dn_heap_pop(uint64_t *heap, size_t *n)
{
	uint64_t least = heap[0];

	(*n)--;
	if (*n)
		dn_heap_sink(heap, *n, 0, heap[*n]);
	return least;
}

#endif /* DUNLIN_ENGINE_TOKENIZER_HEAP_H */
