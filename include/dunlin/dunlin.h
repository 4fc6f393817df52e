/* SPDX-License-Identifier: MIT */
/* Everything of libdunlin. Include this, or the headers that you need. */
#ifndef DUNLIN_DUNLIN_H
#define DUNLIN_DUNLIN_H

#include <dunlin/channel.h>
#include <dunlin/error.h>
#include <dunlin/grammar.h>
#include <dunlin/model.h>
#include <dunlin/sampler.h>
#include <dunlin/template.h>
#include <dunlin/tokenizer.h>
#include <dunlin/version.h>

#endif /* DUNLIN_DUNLIN_H */
