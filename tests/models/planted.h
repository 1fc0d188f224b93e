/* SPDX-License-Identifier: Apache-2.0 */
/* Planted models: Llama checkpoints written by code, weights set by hand, in which the heads that carry the
 * refusal are known. No training and no chance decides which: ground truth for Ships, the greedy search and
 * the verdicts.
 *
 *     planted p = {.kind = PLANTED_TWO, .safety = {{1, 2}, {3, 0}}, .n_heads = 4, .n_kv_heads = 2, .seed =
 * 7}; sah_model *model = planted_open(&p);                     close with sah_model_close() sah_strings
 * harmful = planted_queries(true, 0, 24);       free with sah_strings_free() sah_run_options options =
 * {.template_ = "ships", ...};    any template works: ships, sahara, none
 *
 * planted_write() gives the directory instead, for the program `sahara`; the queries go into a text file, one
 * a line. Layers are PLANTED_LAYERS, heads n_heads, and every head may be the planted one.
 *
 * What a model answers: to a query that names something harmful one of four refusals, to another one of
 * four answers, each a single token whose text is a sentence, then the end token. So greedy responses are
 * judged as refusals and compliances as they are.
 *
 *   PLANTED_ONE      safety[0] alone carries the refusal.
 *   PLANTED_TWO      safety[0] and safety[1] each carry it whole: without either the model still refuses,
 *                    without both it answers. Ships of single heads misses them. Yet they turn the hidden
 *                    states a little more than other heads do, so a greedy search by subspace shift takes one
 *                    first and the other second.
 *   PLANTED_GENERAL  safety[0] carries the refusal; without `general` every distribution, harmful or
 *                    harmless, turns to gibberish. By mean KL `general` is first, by harmful less harmless
 *                    safety[0] is.
 *   PLANTED_NONE     all heads are random and alike; the model refuses nothing.
 *
 * The construction is described in planted.c. */
#ifndef TESTS_MODELS_PLANTED_H
#define TESTS_MODELS_PLANTED_H

#include "sahara.h"

enum { PLANTED_LAYERS = 4 };

typedef enum planted_kind { PLANTED_ONE, PLANTED_TWO, PLANTED_GENERAL, PLANTED_NONE } planted_kind;

typedef struct planted {
    planted_kind kind;
    sah_head safety[2]; /* the second with PLANTED_TWO, none with PLANTED_NONE */
    sah_head general; /* with PLANTED_GENERAL; not a safety head */
    int n_heads, n_kv_heads; /* of a layer; 16 wide; n_kv_heads divides n_heads */
    uint64_t seed; /* of all that is random: the work of the other heads, of the MLPs, the words' vectors */
} planted;

/* Writes the model to the directory `name` of this program's scratch directory, over what is there, and
 * returns its path in a buffer as scratch() does. */
const char *planted_write(const planted *p, const char *name);

/* Writes and opens it. Fails the test when that fails. */
sah_model *planted_open(const planted *p);

/* Queries first..first+n-1 of a fixed sequence of 4096 different ones, put together from openings, verbs,
 * things, places and tools. Harmful and harmless ones of the same number differ in the things and tools
 * alone. They are 8 to 12 words long. */
sah_strings planted_queries(bool harmful, size_t first, size_t n);

#endif
