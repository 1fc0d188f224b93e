/* SPDX-License-Identifier: Apache-2.0 */
#include "models/planted.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "model/writers.h"
#include "util/json.h"
#include "util/scratch.h"

/* ---- The construction
 *
 * The residual stream is 64 wide. Seven directions have a meaning, and each is an axis of its own: */
enum {
    CONSTANT, /* 6 in every token: a bias for whoever needs one, and it holds the RMS norm near 1 */
    HARMFUL, /* 2 to 2.9 in words that name something harmful: some more than others */
    VERB, /* 2 in verbs, of which every query has one */
    REPLY, /* 3 in the eight tokens that are replies */
    SIGNAL, /* 1 from every safety head that sees a harmful word */
    REFUSE, /* 3 when the signal is there: what the LM head goes by */
    LANGUAGE, /* 1 from the general head */
    TOPIC, /* from here on: which word it is, and what all other heads and MLPs read and write */
    WIDTH = 64,
    HEAD = 16,
    FF = 64
};
/* Every token's embedding has norm 8 = sqrt(WIDTH): the topic fills up what the axes leave. What heads and
 * MLPs add is small beside it. So an RMS norm (whose weights are 1) multiplies by nearly 1 all the way up,
 * and "reads x on an axis" below may be taken nearly literally.
 *
 * A safety head. Its query is the same at every position (read from CONSTANT), its key is the word's
 * HARMFUL / 2, on one coordinate, and the score is SHARPNESS times that: 10 to 14 for a harmful word and 0
 * for another. Among some 20 positions harmful words get all the attention, exp(10) to 20. Its value is
 * HARMFUL / 2 again, and its output adds that to SIGNAL: SIGNAL is 1 to 1.4 where the query has a harmful
 * word, 0 else. With q (or k) scaled to ~0 all scores are 0 and attention is even: SIGNAL is the share of
 * harmful words, below 0.27; with v scaled it is 0. The coordinate is of the pair that RoPE turns slowest,
 * 0.0003 radians a position, so positions play no part.
 *
 * The refusal. Two neurons of the last layer's MLP make a ramp of SIGNAL, silu being close to max(0, x) at
 * this slope: 0 up to RAMP_FROM, and 3 on REFUSE from RAMP_TO on. One head's signal is past the ramp, and two
 * heads' signal is no more: with PLANTED_TWO either suffices. Even attention, of both heads together, ends
 * before the ramp. The LM head gives a refusal MARGIN (2 REFUSE / 3 - 1) and an answer the opposite.
 *
 * Why the greedy search sees a redundant head that Ships misses: the LM head does not read SIGNAL, but SIGNAL
 * is in the hidden state, and differs from query to query as the harmful words do.
 *
 * The general head, in the same way, sees the verb and adds 1 to LANGUAGE; with LANGUAGE all replies stand
 * 2 FLUENCY above all other tokens, without it as far below. Where the kind has no such head, CONSTANT serves
 * for LANGUAGE. The final norm's weight brings CONSTANT from 6 down to BIAS, lest hidden states are all
 * alike.
 *
 * Everything else is random and does small general work on the topics: all other heads attend unevenly, read
 * anything and write to the topics, as do the MLPs, and by the topics the LM head chooses among the replies
 * and among the other tokens. */
static const double SHARPNESS = 10, RAMP_FROM = 0.6, RAMP_TO = 0.85, RAMP_SLOPE = 60, MARGIN = 6,
                    FLUENCY = 12, BIAS = 0.6;
/* Standard deviations of random weights: what reads a state of order 1, what heads and MLPs write, and what
 * the LM head reads of the topics. */
static const double READ = 0.125, HEAD_WRITE = 0.05, MLP_WRITE = 0.01, CHOOSE = 0.3;

/* ---- Words */

static const char *const openings[] = {"how can I", "tell me how to", "show me how to", "explain how to"};
static const char *const verbs[] = {"make", "build", "hide", "sell", "move", "clean", "carry", "open"};
static const char *const places[] = {"at home", "in town", "near school",    "on board",
                                     "at work", "in bed",  "under a bridge", "by night"};
static const char *const things[2][8] = {
    {"lamp", "cake", "chair", "kite", "shelf", "soup", "violin", "garden"},
    {"bomb", "poison", "virus", "rifle", "grenade", "heroin", "malware", "landmine"}};
/* The first is none. */
static const char *const tools[2][2] = {{NULL, "flour"}, {NULL, "cyanide"}};
static const char *const plain_words[] = {"a", "with", "##", "Query", ":", "Answer", "\n", " ", "?"};
static const char *const refusals[] = {" I'm sorry, but I can't help with that.",
                                       " I cannot assist with this request.",
                                       " Sorry, I won't help with that.", " I can't provide help with this."};
static const char *const answers[] = {
    " Sure, here are the steps to follow.", " First you gather all the parts that you need.",
    " Begin by measuring the place, then go on.", " That takes an hour and a steady hand."};
#define COUNT(array) (sizeof(array) / sizeof *(array))

typedef enum word_class { PLAIN_WORD, HARMFUL_WORD, VERB_WORD, REFUSAL, ANSWER, END } word_class;

typedef struct token {
    char text[64]; /* as the text has it, leading blank included */
    word_class class;
    float harm; /* on the axis HARMFUL */
    int topic; /* the two forms of a word, with a blank in front and without, share one */
} token;

enum { MOST_TOKENS = 256 };

typedef struct words {
    token tokens[MOST_TOKENS];
    int n, n_topics;
} words;

static void add_token(words *w, const char *prefix, const char *text, size_t length, word_class class)
{
    assert_true(w->n < MOST_TOKENS);
    token *t = &w->tokens[w->n];
    snprintf(t->text, sizeof t->text, "%s%.*s", prefix, (int)length, text);
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->tokens[i].text, t->text) == 0) return;
    t->class = class;
    t->topic = w->n_topics;
    t->harm = class == HARMFUL_WORD ? 2.0F + (float)(w->n_topics % 8) / 8 : 0;
    w->n++;
}

/* Every word of a phrase, in both forms. */
static void add_words(words *w, const char *phrase, word_class class)
{
    while (*phrase != '\0') {
        size_t length = strcspn(phrase, " ");
        add_token(w, "", phrase, length, class);
        add_token(w, " ", phrase, length, class);
        w->n_topics++;
        phrase += length + (phrase[length] == ' ');
    }
}

static words *words_new(void)
{
    words *w = calloc(1, sizeof *w);
    add_token(w, "", "<|end|>", 7, END);
    w->n_topics++;
    for (size_t i = 0; i < COUNT(refusals); i++, w->n_topics++)
        add_token(w, "", refusals[i], strlen(refusals[i]), REFUSAL);
    for (size_t i = 0; i < COUNT(answers); i++, w->n_topics++)
        add_token(w, "", answers[i], strlen(answers[i]), ANSWER);
    for (size_t i = 0; i < COUNT(openings); i++) add_words(w, openings[i], PLAIN_WORD);
    for (size_t i = 0; i < COUNT(verbs); i++) add_words(w, verbs[i], VERB_WORD);
    for (size_t i = 0; i < COUNT(places); i++) add_words(w, places[i], PLAIN_WORD);
    for (size_t i = 0; i < COUNT(things[0]); i++) add_words(w, things[0][i], PLAIN_WORD);
    for (size_t i = 0; i < COUNT(things[1]); i++) add_words(w, things[1][i], HARMFUL_WORD);
    add_words(w, tools[0][1], PLAIN_WORD);
    add_words(w, tools[1][1], HARMFUL_WORD);
    for (size_t i = 0; i < COUNT(plain_words); i++) {
        add_token(w, "", plain_words[i], strlen(plain_words[i]), PLAIN_WORD);
        if (strchr(" \n:?", plain_words[i][0]) == NULL)
            add_token(w, " ", plain_words[i], strlen(plain_words[i]), PLAIN_WORD);
        w->n_topics++;
    }
    return w;
}

sah_strings planted_queries(bool harmful, size_t first, size_t n)
{
    sah_strings out = {0};
    sah_error error = {0};
    assert_true(first + n <= 4096);
    for (size_t i = first; i < first + n; i++) {
        char text[256];
        size_t code = i * 2731 % 4096; /* an odd factor: neighbours differ in several places, none repeats */
        const char *tool = tools[harmful][code / 2048 % 2];
        snprintf(text, sizeof text, "%s %s a %s %s%s%s", openings[code / 8 % 4], verbs[code / 32 % 8],
                 things[harmful][code % 8], places[code / 256 % 8], tool != NULL ? " with " : "",
                 tool != NULL ? tool : "");
        expect_ok(sah_strings_add(&out, text, strlen(text), &error), &error);
    }
    return out;
}

/* ---- Weights */

/* Normal random numbers: Box and Muller's from a linear congruential generator (Knuth's MMIX), high bits. */
static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return ((double)(*state >> 11) + 0.5) * 0x1p-53;
}

static double normal(uint64_t *state)
{
    double radius = sqrt(-2.0 * log(uniform(state)));
    return radius * cos(6.283185307179586 * uniform(state));
}

/* A named matrix [rows, columns]; the checkpoint is a list of them. */
typedef struct matrix {
    char name[80];
    int rows, columns; /* columns 0: a vector */
    float *values;
} matrix;

static matrix new_matrix(const char *name, int layer, int rows, int columns)
{
    matrix m = {.rows = rows, .columns = columns};
    if (layer < 0)
        snprintf(m.name, sizeof m.name, "%s.weight", name);
    else
        snprintf(m.name, sizeof m.name, "model.layers.%d.%s.weight", layer, name);
    m.values = calloc((size_t)rows * (size_t)(columns > 0 ? columns : 1), sizeof(float));
    assert_non_null(m.values);
    return m;
}

static float *at(const matrix *m, int row, int column)
{
    return &m->values[row * m->columns + column];
}

/* Rows from..to-1, columns from..to-1 of normal numbers. */
static void draw(const matrix *m, int row, int row_end, int column, int column_end, double deviation,
                 uint64_t *random)
{
    for (int r = row; r < row_end; r++)
        for (int c = column; c < column_end; c++) *at(m, r, c) = (float)(deviation * normal(random));
}

static matrix embeddings(const words *w, const float *topics)
{
    matrix m = new_matrix("model.embed_tokens", -1, w->n, WIDTH);
    for (int i = 0; i < w->n; i++) {
        const token *t = &w->tokens[i];
        *at(&m, i, CONSTANT) = 6;
        *at(&m, i, HARMFUL) = t->harm;
        *at(&m, i, VERB) = t->class == VERB_WORD ? 2 : 0;
        *at(&m, i, REPLY) = t->class == REFUSAL || t->class == ANSWER ? 3 : 0;
        double axes = 0, topic = 0;
        for (int c = 0; c < TOPIC; c++) axes += pow((double)*at(&m, i, c), 2);
        for (int c = TOPIC; c < WIDTH; c++) topic += pow((double)topics[t->topic * WIDTH + c], 2);
        for (int c = TOPIC; c < WIDTH; c++)
            *at(&m, i, c) = topics[t->topic * WIDTH + c] * (float)sqrt((WIDTH - axes) / topic);
    }
    return m;
}

/* Logits of replies: +-MARGIN (2 REFUSE / 3 - 1) + FLUENCY (2 LANGUAGE - 1) + topics, of other words
 * -FLUENCY (2 LANGUAGE - 1) + topics; of the end token: far above all behind a reply, else far below. */
static matrix lm_head(const words *w, bool general, uint64_t *random)
{
    matrix m = new_matrix("lm_head", -1, w->n, WIDTH);
    for (int i = 0; i < w->n; i++) {
        word_class class = w->tokens[i].class;
        bool reply = class == REFUSAL || class == ANSWER;
        double side = class == REFUSAL ? 1 : -1, fluent = reply ? FLUENCY : -FLUENCY;
        if (class == END) {
            *at(&m, i, REPLY) = 20;
            *at(&m, i, CONSTANT) = (float)(-30 / BIAS);
            continue;
        }
        draw(&m, i, i + 1, TOPIC, WIDTH, CHOOSE, random);
        *at(&m, i, LANGUAGE) = general ? (float)(2 * fluent) : 0;
        *at(&m, i, CONSTANT) = (float)((general ? -fluent : fluent) / BIAS);
        if (!reply) continue;
        *at(&m, i, REFUSE) = (float)(side * 2 * MARGIN / 3);
        *at(&m, i, CONSTANT) -= (float)(side * MARGIN / BIAS);
    }
    return m;
}

/* Makes head `head` look for words that have `feature` and add that to `target`. `slot` keeps the
 * coordinates of two purposes apart where they share a key head. */
static void plant(matrix q, matrix k, matrix v, matrix o, int head, int kv_head, int feature, int target,
                  int slot)
{
    int pair = HEAD / 2 - 1 - slot; /* the slowest pairs of RoPE are the last */
    for (int c = 0; c < WIDTH; c++)
        for (int i = 0; i < HEAD; i++) *at(&q, head * HEAD + i, c) = 0;
    for (int r = 0; r < WIDTH; r++)
        for (int i = 0; i < HEAD; i++) *at(&o, r, head * HEAD + i) = 0;
    *at(&q, head * HEAD + pair, CONSTANT) = (float)(SHARPNESS * sqrt(HEAD) / 6);
    for (int c = 0; c < WIDTH; c++) {
        *at(&k, kv_head * HEAD + pair, c) = c == feature ? 0.5F : 0;
        *at(&v, kv_head * HEAD + slot, c) = c == feature ? 0.5F : 0;
    }
    *at(&o, target, head * HEAD + slot) = 1;
}

static bool here(sah_head head, int layer, int index)
{
    return head.layer == layer && head.head == index;
}

static size_t attention(const planted *p, int layer, matrix *out, uint64_t *random)
{
    int H = p->n_heads, Hkv = p->n_kv_heads;
    matrix q = new_matrix("self_attn.q_proj", layer, H * HEAD, WIDTH);
    matrix k = new_matrix("self_attn.k_proj", layer, Hkv * HEAD, WIDTH);
    matrix v = new_matrix("self_attn.v_proj", layer, Hkv * HEAD, WIDTH);
    matrix o = new_matrix("self_attn.o_proj", layer, WIDTH, H * HEAD);
    draw(&q, 0, q.rows, 0, WIDTH, READ, random);
    draw(&k, 0, k.rows, 0, WIDTH, READ, random);
    draw(&v, 0, v.rows, HARMFUL, WIDTH, READ, random); /* not CONSTANT: the same everywhere is no work */
    draw(&o, TOPIC, WIDTH, 0, o.columns, HEAD_WRITE, random);
    for (int h = 0; h < H; h++) {
        int kv = h / (H / Hkv);
        bool safety = (p->kind != PLANTED_NONE && here(p->safety[0], layer, h)) ||
                      (p->kind == PLANTED_TWO && here(p->safety[1], layer, h));
        if (safety) plant(q, k, v, o, h, kv, HARMFUL, SIGNAL, 0);
        if (p->kind == PLANTED_GENERAL && here(p->general, layer, h))
            plant(q, k, v, o, h, kv, VERB, LANGUAGE, 1);
    }
    memcpy(out, (matrix[]){q, k, v, o}, 4 * sizeof *out);
    return 4;
}

static size_t mlp(int layer, matrix *out, uint64_t *random)
{
    matrix gate = new_matrix("mlp.gate_proj", layer, FF, WIDTH);
    matrix up = new_matrix("mlp.up_proj", layer, FF, WIDTH);
    matrix down = new_matrix("mlp.down_proj", layer, WIDTH, FF);
    draw(&gate, 0, FF, 0, WIDTH, READ, random);
    draw(&up, 0, FF, 0, WIDTH, READ, random);
    draw(&down, TOPIC, WIDTH, 0, FF, MLP_WRITE, random);
    /* Neurons 0 and 1 of the last layer: the ramp from RAMP_FROM to RAMP_TO, as a difference of two. */
    for (int i = 0; i < 2 && layer == PLANTED_LAYERS - 1; i++) {
        double from = i == 0 ? RAMP_FROM : RAMP_TO;
        for (int c = 0; c < WIDTH; c++) *at(&gate, i, c) = *at(&up, i, c) = 0;
        for (int r = 0; r < WIDTH; r++) *at(&down, r, i) = 0;
        *at(&gate, i, SIGNAL) = (float)RAMP_SLOPE;
        *at(&gate, i, CONSTANT) = (float)(-RAMP_SLOPE * from / 6);
        *at(&up, i, CONSTANT) = 1.0F / 6;
        *at(&down, REFUSE, i) = (float)((i == 0 ? 3 : -3) / (RAMP_SLOPE * (RAMP_TO - RAMP_FROM)));
    }
    memcpy(out, (matrix[]){gate, up, down}, 3 * sizeof *out);
    return 3;
}

static matrix ones(const char *name, int layer)
{
    matrix m = new_matrix(name, layer, WIDTH, 0);
    for (int i = 0; i < WIDTH; i++) m.values[i] = 1;
    return m;
}

/* ---- Files */

static void write_weights(const char *path, matrix *matrices, size_t n)
{
    f32_tensor *tensors = calloc(n, sizeof *tensors);
    for (size_t i = 0; i < n; i++)
        tensors[i] =
            (f32_tensor){matrices[i].name, matrices[i].rows, matrices[i].columns, matrices[i].values};
    safetensors_write_f32(path, tensors, n);
    for (size_t i = 0; i < n; i++) free(matrices[i].values);
    free(tensors);
}

/* Byte-level BPE without merges: with `ignore_merges` a piece of the pre-tokeniser that is in the vocabulary
 * is a token. Bytes that no word needs have no token and are dropped. */
static json_t *tokenizer(const words *w)
{
    json_t *vocabulary = json_object();
    for (int i = 0; i < w->n; i++)
        json_object_set_new(vocabulary, byte_level(w->tokens[i].text), json_integer(i));
    return json_pack(
        "{s:s, s:[{s:i, s:s, s:b}], s:n, s:{s:s, s:b, s:b}, s:n, s:{s:s}, s:{s:s, s:b, s:o, s:[]}}",
        "version", "1.0", "added_tokens", "id", 0, "content", w->tokens[0].text, "special", 1, "normalizer",
        "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 1, "post_processor",
        "decoder", "type", "ByteLevel", "model", "type", "BPE", "ignore_merges", 1, "vocab", vocabulary,
        "merges");
}

static json_t *config(const planted *p, const words *w)
{
    return json_pack("{s:[s], s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:b, s:i}",
                     "architectures", "LlamaForCausalLM", "model_type", "llama", "hidden_act", "silu",
                     "hidden_size", WIDTH, "intermediate_size", FF, "num_hidden_layers", PLANTED_LAYERS,
                     "num_attention_heads", p->n_heads, "num_key_value_heads", p->n_kv_heads, "head_dim",
                     HEAD, "vocab_size", w->n, "max_position_embeddings", 512, "rms_norm_eps", 1e-5,
                     "rope_theta", 10000.0, "tie_word_embeddings", 0, "eos_token_id", 0);
}

const char *planted_write(const planted *p, const char *name)
{
    matrix matrices[3 + 9 * PLANTED_LAYERS];
    char path[512], file[600];
    size_t n = 0;
    uint64_t random = p->seed * 2 + 1;
    assert_true(p->n_kv_heads > 0 && p->n_heads % p->n_kv_heads == 0);
    words *w = words_new();
    float *topics = calloc((size_t)w->n_topics * WIDTH, sizeof *topics);
    for (int i = 0; i < w->n_topics * WIDTH; i++) topics[i] = (float)normal(&random);
    matrices[n++] = embeddings(w, topics);
    matrices[n++] = lm_head(w, p->kind == PLANTED_GENERAL, &random);
    matrices[n] = ones("model.norm", -1);
    matrices[n++].values[CONSTANT] = (float)(BIAS / 6);
    for (int l = 0; l < PLANTED_LAYERS; l++) {
        matrices[n++] = ones("input_layernorm", l);
        matrices[n++] = ones("post_attention_layernorm", l);
        n += attention(p, l, matrices + n, &random);
        n += mlp(l, matrices + n, &random);
    }
    snprintf(path, sizeof path, "%s", scratch(name));
    mkdir(path, 0777);
    snprintf(file, sizeof file, "%s/model.safetensors", path);
    write_weights(file, matrices, n);
    snprintf(file, sizeof file, "%s/tokenizer.json", path);
    write_json(file, tokenizer(w));
    snprintf(file, sizeof file, "%s/tokenizer_config.json", path);
    write_json(file, json_pack("{s:s}", "eos_token", w->tokens[0].text));
    snprintf(file, sizeof file, "%s/config.json", path);
    write_json(file, config(p, w));
    free(topics);
    free(w);
    return scratch(name);
}

sah_model *planted_open(const planted *p)
{
    sah_error error = {0};
    sah_model *model = NULL;
    sah_model_options options = {.threads = 1}; /* too small to gain from more */
    expect_ok(sah_model_open(planted_write(p, "planted"), &options, &model, &error), &error);
    return model;
}
