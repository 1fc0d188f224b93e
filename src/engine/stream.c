/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/stream.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine/model.h"
#include "util/alloc.h"
#include "util/error.h"

/* Layers in memory beside those that stay: one that computes and one that comes. */
enum { SLOTS = 2 };

typedef enum place { ABSENT, COMING, THERE } place;

struct sah_stream {
    const sah_model *model;
    int stay; /* layers [0, stay) never leave */
    uint64_t bytes;
    place *place; /* [n_layers] */
    int *claims; /* [n_layers] callers that hold a layer or wait for it */
    uint64_t *used; /* [n_layers] when it was last taken or came */
    uint64_t clock;
    int slots_used;
    int ahead; /* the layer that the reader sees to next; -1: none */
    int waiting; /* callers that wait for a layer */
    bool stop, started;
    pthread_t reader;
    pthread_mutex_t lock; /* guards all but what is set once */
    pthread_cond_t change;
};

/* ---- Layers come and go -------------------------------------------------------------------------------- */

/* A slot for one more layer, from the layer that nobody claims and was used least lately. False: none is free.
 * With the lock held. */
static bool make_room(sah_stream *s)
{
    int oldest = -1;
    if (s->slots_used < SLOTS) return true;
    for (int l = s->stay; l < s->model->config.n_layers; l++)
        if (s->place[l] == THERE && s->claims[l] == 0 && (oldest < 0 || s->used[l] < s->used[oldest]))
            oldest = l;
    if (oldest < 0) return false;
    sah_layer_unpack(&s->model->layers[oldest]);
    s->place[oldest] = ABSENT;
    s->slots_used--;
    return true;
}

/* Packs a layer for which there is room; lets the lock go meanwhile. */
static sah_status bring(sah_stream *s, int layer, sah_error *error)
{
    s->place[layer] = COMING;
    s->slots_used++;
    pthread_mutex_unlock(&s->lock);
    sah_status status = sah_layer_pack(s->model, layer, &s->model->layers[layer], error);
    if (status == SAH_OK) status = sah_tensors_unchanged(s->model->checkpoint->tensors, error);
    if (status != SAH_OK) sah_layer_unpack(&s->model->layers[layer]);
    pthread_mutex_lock(&s->lock);
    s->place[layer] = status == SAH_OK ? THERE : ABSENT;
    if (status != SAH_OK) s->slots_used--;
    s->used[layer] = ++s->clock;
    pthread_cond_broadcast(&s->change);
    return status;
}

/* The reader. What it fails at a caller will try again, and then say. */
static void *read_ahead(void *stream)
{
    sah_stream *s = stream;
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        int layer = s->ahead;
        if (layer >= 0 && s->place[layer] != ABSENT) s->ahead = -1;
        if (s->ahead < 0 || !make_room(s)) {
            pthread_cond_wait(&s->change, &s->lock);
            continue;
        }
        s->ahead = -1;
        bring(s, layer, NULL);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

void sah_stream_hands(const sah_stream *stream)
{
    sah_stream *s = (sah_stream *)(uintptr_t)stream; /* which is const to those who compute */
    if (s == NULL || !s->started || !pthread_equal(pthread_self(), s->reader)) return;
    pthread_mutex_lock(&s->lock);
    int threads = s->waiting > 0 ? s->model->threads : 1;
    pthread_mutex_unlock(&s->lock);
    omp_set_num_threads(threads);
}

/* With all threads that the caller may have. */
static sah_status bring_now(sah_stream *s, int layer, sah_error *error)
{
    int before = omp_get_max_threads();
    omp_set_num_threads(sah_threads_here(s->model->threads));
    sah_status status = bring(s, layer, error);
    omp_set_num_threads(before);
    return status;
}

sah_status sah_layer_take(const sah_model *model, int layer, int next, sah_error *error)
{
    sah_stream *s = model->stream;
    sah_status status = SAH_OK;
    if (s == NULL) return SAH_OK;
    pthread_mutex_lock(&s->lock);
    s->claims[layer]++;
    s->waiting++;
    while (s->place[layer] != THERE && status == SAH_OK)
        if (s->place[layer] == ABSENT && make_room(s))
            status = bring_now(s, layer, error);
        else
            pthread_cond_wait(&s->change, &s->lock);
    s->waiting--;
    s->used[layer] = ++s->clock;
    if (status != SAH_OK) s->claims[layer]--;
    if (status == SAH_OK && next >= 0) s->ahead = next < s->stay ? s->stay : next;
    pthread_cond_broadcast(&s->change);
    pthread_mutex_unlock(&s->lock);
    return status;
}

void sah_layer_release(const sah_model *model, int layer)
{
    sah_stream *s = model->stream;
    if (s == NULL) return;
    pthread_mutex_lock(&s->lock);
    s->claims[layer]--;
    pthread_cond_broadcast(&s->change);
    pthread_mutex_unlock(&s->lock);
}

int sah_layer_next(const sah_model *model, int layer)
{
    return layer + 1 < model->config.n_layers ? layer + 1 : -1;
}

/* ---- How many stay ------------------------------------------------------------------------------------- */

/* Eighths of the memory that weights may take. What is left is for rows and for what nobody counts: logits,
 * tokens, the program. Where not all fit in, few stay: layers that come and go are as well without the others,
 * and rows save passes over the file. While the LM head is packed there are no rows. */
enum { OF_ALL = 5, OF_SOME = 4, OF_FEWEST = 6, OF_HEAD = 7 };

static uint64_t eighths(uint64_t memory, int n)
{
    return memory / 8 * (uint64_t)n;
}

/* Bytes of the LM head, of all layers, and of what two layers and packing need beside. */
typedef struct need {
    uint64_t head, head_packing, layers, slots;
} need;

static need measure(const sah_model *model)
{
    const sah_matrix *head = &model->checkpoint->lm_head;
    uint64_t values = (uint64_t)head->rows * head->columns, largest = 0, packing = 0;
    need n = {.head = sah_ends_size(model), .head_packing = values * sizeof(float)};
    for (int l = 0; l < model->config.n_layers; l++) {
        uint64_t here = sah_layer_size(model, l), beside = sah_layer_packing(model, l);
        n.layers += here;
        if (here > largest) largest = here;
        if (beside > packing) packing = beside;
    }
    n.slots = SLOTS * largest + packing;
    return n;
}

/* An eighth of the least memory. */
static uint64_t least_eighth(const need *n)
{
    uint64_t least = (n->head + n->slots) / OF_FEWEST, least_head = (n->head + n->head_packing) / OF_HEAD;
    return least_head > least ? least_head : least;
}

void sah_stream_measure(const sah_model *model, uint64_t *all, uint64_t *least)
{
    const need n = measure(model);
    *all = n.head + n.layers;
    *least = 8 * least_eighth(&n);
}

static sah_status pack_first(const sah_model *model, int n, const sah_watch *watch, sah_error *error)
{
    sah_status status = SAH_OK;
    for (int l = 0; l < n && status == SAH_OK; l++) {
        status = sah_watch_show(watch, "loading: layers", (uint64_t)l, (uint64_t)n, error);
        if (status == SAH_OK) status = sah_layer_pack(model, l, &model->layers[l], error);
    }
    return status;
}

static sah_status make(const sah_model *model, uint64_t bytes, int stay, const sah_watch *watch,
                       sah_stream **out, sah_error *error)
{
    size_t layers = (size_t)model->config.n_layers;
    sah_stream *s = *out = sah_alloc(1, sizeof *s);
    if (s == NULL) return sah_fail_memory(error, "weights");
    s->model = model;
    s->stay = stay;
    s->bytes = bytes;
    s->ahead = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->change, NULL);
    s->place = sah_alloc(layers, sizeof *s->place);
    s->claims = sah_alloc(layers, sizeof *s->claims);
    s->used = sah_alloc(layers, sizeof *s->used);
    if (s->place == NULL || s->claims == NULL || s->used == NULL) return sah_fail_memory(error, "weights");
    sah_status status = pack_first(model, stay, watch, error);
    if (status != SAH_OK) return status;
    for (int l = 0; l < stay; l++) s->place[l] = THERE;
    s->started = pthread_create(&s->reader, NULL, read_ahead, s) == 0;
    return s->started ? SAH_OK : sah_fail(error, SAH_FAILED, "cannot start a thread that reads weights");
}

sah_status sah_stream_new(const sah_model *model, const sah_watch *watch, sah_stream **out, sah_error *error)
{
    const need n = measure(model);
    uint64_t memory = model->memory, bytes = n.head + n.slots;
    int stay = 0;
    *out = NULL;
    if (memory == 0 || n.head + n.layers <= eighths(memory, OF_ALL))
        return pack_first(model, model->config.n_layers, watch, error);
    const uint64_t least = least_eighth(&n);
    if (least > memory / 8)
        return sah_fail_field(
            error, SAH_BAD_ARGUMENT, "memory",
            ": too little for the weights of %s, even layer by layer: at least %.0f MB are needed",
            model->info.name, 8.0 * (double)least / 1e6 + 1);
    for (; bytes + sah_layer_size(model, stay) <= eighths(memory, OF_SOME); stay++)
        bytes += sah_layer_size(model, stay);
    sah_status status = make(model, bytes, stay, watch, out, error);
    if (status == SAH_OK) return SAH_OK;
    sah_stream_free(*out);
    *out = NULL;
    return status;
}

sah_status sah_stream_all(const sah_model *model, sah_stream **out, sah_error *error)
{
    return make(model, sah_stream_least(model), 0, NULL, out, error);
}

uint64_t sah_stream_least(const sah_model *model)
{
    return measure(model).slots;
}

void sah_stream_free(sah_stream *stream)
{
    if (stream == NULL) return;
    if (stream->started) {
        pthread_mutex_lock(&stream->lock);
        stream->stop = true;
        pthread_cond_broadcast(&stream->change);
        pthread_mutex_unlock(&stream->lock);
        pthread_join(stream->reader, NULL);
    }
    pthread_mutex_destroy(&stream->lock);
    pthread_cond_destroy(&stream->change);
    free(stream->place);
    free(stream->claims);
    free(stream->used);
    free(stream);
}

uint64_t sah_stream_bytes(const sah_stream *stream)
{
    return stream->bytes;
}
