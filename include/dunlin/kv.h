/* SPDX-License-Identifier: MIT */
#ifndef DUNLIN_KV_H
#define DUNLIN_KV_H

/* Element types of the KV cache. */
enum dn_kv_type {
	DN_KV_F16 = 0, /* beyond +-65504 it saturates */
	DN_KV_F32 = 1,
	DN_KV_Q8_0 = 2, /* int8, an F16 scale for each 32 elements of a head's row */
	DN_KV_COUNT = 3,
};

#endif /* DUNLIN_KV_H */
