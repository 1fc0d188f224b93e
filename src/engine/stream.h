/* SPDX-License-Identifier: Apache-2.0 */
/* Which layers of a model have their matrices in memory: all, or, where those would take more than they may,
 * the first ones for good and two others at a time. While one layer computes a thread of the stream's packs
 * the next from the mapped files.
 *
 * Whoever needs a layer's matrices takes it, and holds one layer at a time: while it does it asks for no
 * other, so that callers may wait for each other. */
#ifndef SAH_ENGINE_STREAM_H
#define SAH_ENGINE_STREAM_H

#include "model/checkpoint/checkpoint.h"

typedef struct sah_stream sah_stream;

/* *out = NULL where the model's memory holds all layers, and packs these. Else fails where it does not hold the
 * LM head and two layers. Leaves room for what computing needs: sah_model_rows_memory(). `watch` hears of
 * the layers that stay. */
sah_status sah_stream_new(const sah_model *model, const sah_watch *watch, sah_stream **out, sah_error *error);
/* All layers come and go. Fails where no thread can be started; *out is for sah_stream_free() in either case. */
sah_status sah_stream_all(const sah_model *model, sah_stream **out, sah_error *error);
/* Bytes of layers that it holds at once, and of packing beside them. */
uint64_t sah_stream_least(const sah_model *model);
void sah_stream_free(sah_stream *stream);

/* Waits until the layer's matrices are there, which they stay until it is released. Sees to it that `next`, the
 * layer that the caller takes behind it (-1: none), will be there soon. */
sah_status sah_layer_take(const sah_model *model, int layer, int next, sah_error *error);
void sah_layer_release(const sah_model *model, int layer);

/* The next layer of a pass, or -1. */
int sah_layer_next(const sah_model *model, int layer);

/* Between the matrices of a layer: the thread that reads ahead leaves the processors to those who compute,
 * unless they wait for it. */
void sah_stream_hands(const sah_stream *stream);

/* What a model's matrices take, packed, where all stay, and the least memory that does, layer by layer. */
void sah_stream_measure(const sah_model *model, uint64_t *all, uint64_t *least);

/* Bytes that packed matrices take at most, those of the LM head among them, and packing beside them. */
uint64_t sah_stream_bytes(const sah_stream *stream);

#endif
