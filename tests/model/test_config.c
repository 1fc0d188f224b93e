/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations: what each family and both forms of rope settings mean, and what is refused by name. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "model/checkpoint/config.h"
#include "model/checkpoint/config_gguf.h"
#include "model/format/gguf_split.h"
#include "model/writers.h"
#include "util/scratch.h"

/* A Llama of 4 layers, width 32, 4 heads; `changes` (a JSON object) is laid over it. A key set to "-" is
 * taken out. */
static sah_status read_changed(const char *changes, sah_config *out, sah_error *error)
{
    json_t *json = json_pack("{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:f}", "architectures",
                             "LlamaForCausalLM", "model_type", "llama", "hidden_size", 32,
                             "intermediate_size", 48, "num_hidden_layers", 4, "num_attention_heads", 4,
                             "vocab_size", 64, "max_position_embeddings", 128, "rms_norm_eps", 1e-5);
    json_t *over = json_loads(changes, 0, NULL), *value;
    const char *key;
    void *next;
    assert_non_null(over);
    json_object_update(json, over);
    json_object_foreach_safe(json, next, key, value)
    {
        if (json_is_string(value) && strcmp(json_string_value(value), "-") == 0) json_object_del(json, key);
    }
    const sah_family *family;
    sah_status status = sah_config_from_json(json, "config.json", out, &family, error);
    json_decref(over);
    json_decref(json);
    return status;
}

static sah_config accepted(const char *changes)
{
    sah_config config;
    sah_error error;
    expect_ok(read_changed(changes, &config, &error), &error);
    sah_config_free(&config); /* what layers have of their own is tested by itself */
    return config;
}

static void test_defaults(void **state)
{
    (void)state;
    sah_config c = accepted("{}");
    assert_string_equal(c.family, "llama");
    assert_int_equal(c.n_layers, 4);
    assert_int_equal(c.n_heads, 4);
    assert_int_equal(c.n_kv_heads, 4);
    assert_int_equal(c.head_dim, 8);
    assert_int_equal(c.d_model, 32);
    assert_int_equal(c.d_ff, 48);
    assert_int_equal(c.n_vocab, 64);
    assert_int_equal(c.max_positions, 128);
    assert_true(c.norm_eps == 1e-5F);
    assert_true(c.ropes[0].theta == 10000);
    assert_int_equal(c.ropes[0].scaling, SAH_ROPE_NONE);
    assert_int_equal(c.sliding_window, 0);
    assert_false(c.tied || c.qk_norm || c.qkv_bias || c.o_bias || c.mlp_bias);
    c = accepted(
        "{\"head_dim\": 10, \"num_key_value_heads\": 2, \"tie_word_embeddings\": true, \"attention_bias\": "
        "true,"
        " \"rope_theta\": 500000, \"mlp_bias\": true, \"rms_norm_eps\": \"-\", \"sliding_window\": 3}");
    assert_int_equal(c.head_dim, 10);
    assert_int_equal(c.n_kv_heads, 2);
    assert_true(c.tied && c.qkv_bias && c.o_bias && c.mlp_bias);
    assert_true(c.ropes[0].theta == 500000);
    assert_true(c.norm_eps == 1e-6F);
    assert_int_equal(c.sliding_window,
                     0); /* Llama's configuration has no window: the key means nothing there */
    c = accepted(
        "{\"head_dim\": null, \"hidden_size\": 40, \"architectures\": \"-\", \"rope_scaling\": null}");
    assert_int_equal(c.head_dim, 10);
}

static void test_families(void **state)
{
    (void)state;
    sah_config c = accepted("{\"architectures\": [\"Qwen2ForCausalLM\"], \"num_key_value_heads\": null}");
    assert_string_equal(c.family, "qwen2");
    assert_true(c.qkv_bias && !c.o_bias && !c.qk_norm);
    c = accepted("{\"architectures\": [\"Qwen3ForCausalLM\"], \"num_key_value_heads\": 4}");
    assert_string_equal(c.family, "qwen3");
    assert_true(!c.qkv_bias && c.qk_norm);
    c = accepted("{\"architectures\": \"-\", \"model_type\": \"mistral\", \"num_key_value_heads\": 2, "
                 "\"sliding_window\": null}");
    assert_string_equal(c.family, "mistral");
}

static void test_windows(void **state)
{
    (void)state;
#define MISTRAL "\"architectures\": [\"MistralForCausalLM\"], \"num_key_value_heads\": 2"
#define QWEN    "\"architectures\": [\"Qwen2ForCausalLM\"], \"num_key_value_heads\": 2, \"sliding_window\": 7"
    static const struct {
        const char *changes;
        int window;
    } CASES[] = {
        {"{" MISTRAL ", \"sliding_window\": 9}", 9},
        {"{" MISTRAL ", \"sliding_window\": null}", 0},
        {"{" MISTRAL "}", 4096},
        {"{" QWEN "}", 0},
        {"{" QWEN ", \"use_sliding_window\": false, \"max_window_layers\": 2}", 0},
        {"{" QWEN ", \"use_sliding_window\": true, \"max_window_layers\": 0}", 7},
        {"{" QWEN ", \"use_sliding_window\": true, \"max_window_layers\": 4}", 0},
        {"{" QWEN ", \"use_sliding_window\": true}", 0},
        {"{" QWEN ", \"use_sliding_window\": true, \"layer_types\": [\"sliding_attention\", "
         "\"sliding_attention\", \"sliding_attention\", \"sliding_attention\"]}",
         7},
        {"{" QWEN ", \"use_sliding_window\": true, \"max_window_layers\": 0, \"layer_types\": "
         "[\"full_attention\", \"full_attention\", \"full_attention\", \"full_attention\"]}",
         0},
    };
#undef MISTRAL
#undef QWEN
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_int_equal(accepted(CASES[i].changes).sliding_window, CASES[i].window);
    }
}

/* Layers of their own kind: Qwen's windows from a layer on, Gemma's patterns and bases, SmolLM3's without rotation. */
static void test_layers(void **state)
{
    (void)state;
    static const struct {
        const char *changes;
        int windows[4], ropes[4];
    } CASES[] = {
        {"{\"architectures\": [\"Qwen2ForCausalLM\"], \"num_key_value_heads\": 2, \"sliding_window\": 7, "
         "\"use_sliding_window\": true, \"max_window_layers\": 2}",
         {0, 0, 7, 7},
         {0, 0, 0, 0}},
        {"{\"architectures\": [\"Gemma2ForCausalLM\"], \"num_key_value_heads\": 2, \"sliding_window\": 5}",
         {5, 0, 5, 0},
         {0, 0, 0, 0}},
        {"{\"architectures\": [\"Gemma3ForCausalLM\"], \"num_key_value_heads\": 2, \"sliding_window\": 5, "
         "\"sliding_window_pattern\": 3}",
         {5, 5, 0, 5},
         {1, 1, 0, 1}},
        {"{\"architectures\": [\"Gemma3ForCausalLM\"], \"num_key_value_heads\": 2, \"sliding_window\": 5, "
         "\"layer_types\": [\"full_attention\", \"sliding_attention\", \"sliding_attention\", "
         "\"full_attention\"]}",
         {0, 5, 5, 0},
         {0, 1, 1, 0}},
        {"{\"architectures\": [\"SmolLM3ForCausalLM\"], \"num_key_value_heads\": 2}",
         {0, 0, 0, 0},
         {0, 0, 0, -1}},
        {"{\"architectures\": [\"SmolLM3ForCausalLM\"], \"num_key_value_heads\": 2, "
         "\"no_rope_layers\": [0, 1, 1, 0]}",
         {0, 0, 0, 0},
         {-1, 0, 0, -1}},
        {"{\"architectures\": [\"Cohere2ForCausalLM\"], \"sliding_window\": 5}", {5, 5, 5, 0}, {0, 0, 0, -1}},
        {"{\"architectures\": [\"Exaone4ForCausalLM\"], \"num_key_value_heads\": 2, \"sliding_window\": 5, "
         "\"sliding_window_pattern\": \"LLLG\", \"layer_types\": [\"sliding_attention\", \"full_attention\", "
         "\"sliding_attention\", \"full_attention\"]}",
         {5, 0, 5, 0},
         {0, -1, 0, -1}},
        {"{\"architectures\": [\"Exaone4ForCausalLM\"], \"num_key_value_heads\": 2, \"sliding_window\": "
         "null}",
         {0, 0, 0, 0},
         {0, 0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        sah_config config;
        sah_error error;
        expect_ok(read_changed(CASES[i].changes, &config, &error), &error);
        for (int l = 0; l < 4; l++) {
            assert_int_equal(sah_config_layer(&config, l).window, CASES[i].windows[l]);
            assert_int_equal(sah_config_layer(&config, l).rope, CASES[i].ropes[l]);
        }
        sah_config_free(&config);
    }
}

static void test_rope_forms(void **state)
{
    (void)state;
    static const char *const LINEAR[] = {
        "{\"rope_theta\": 5000, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}}",
        "{\"rope_theta\": 5000, \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 4}}",
        "{\"rope_parameters\": {\"rope_theta\": 5000, \"rope_type\": \"linear\", \"factor\": 4.0}}",
        "{\"rope_theta\": 5000, \"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 4.0}}",
    };
    for (size_t i = 0; i < sizeof LINEAR / sizeof *LINEAR; i++) {
        sah_config c = accepted(LINEAR[i]);
        assert_int_equal(c.ropes[0].scaling, SAH_ROPE_LINEAR);
        assert_true(c.ropes[0].theta == 5000 && c.ropes[0].factor == 4);
    }
#define FACTORS "\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 4"
    static const struct {
        const char *changes;
        int original;
    } LLAMA3[] = {
        {"{\"rope_scaling\": {" FACTORS ", \"original_max_position_embeddings\": 16}}", 16},
        {"{\"rope_parameters\": {" FACTORS ", \"original_max_position_embeddings\": 16}}", 16},
        {"{\"rope_parameters\": {" FACTORS "}}", 128},
        {"{\"original_max_position_embeddings\": 32, \"rope_parameters\": {" FACTORS "}}", 32},
    };
#undef FACTORS
    for (size_t i = 0; i < sizeof LLAMA3 / sizeof *LLAMA3; i++) {
        sah_config c = accepted(LLAMA3[i].changes);
        assert_int_equal(c.ropes[0].scaling, SAH_ROPE_LLAMA3);
        assert_true(c.ropes[0].factor == 8 && c.ropes[0].low_freq_factor == 1 &&
                    c.ropes[0].high_freq_factor == 4);
        assert_int_equal(c.ropes[0].original_positions, LLAMA3[i].original);
    }
}

/* Layers with a window have settings of their own, by name in "rope_parameters"; "rope_scaling" is laid over those of
 * the others. What transformers 5.24 makes of them, by logits of random models. */
static void test_two_ropes(void **state)
{
    (void)state;
#define GEMMA "\"architectures\": [\"Gemma3ForCausalLM\"], \"model_type\": \"gemma3_text\""
#define OLMO  "\"architectures\": [\"Olmo3ForCausalLM\"], \"model_type\": \"olmo3\""
#define BOTH                                                                                                 \
    "\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 500}, \"sliding_attention\": "               \
    "{\"rope_theta\": 30}}"
#define TWICE "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2}"
#define OLDER "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}"
    static const struct {
        const char *changes;
        double theta, factor, local; /* factor 0: not scaled */
    } CASES[] = {
        {"{" GEMMA "}", 1e6, 0, 10000},
        {"{" GEMMA ", \"rope_theta\": 99, \"rope_local_base_freq\": 7}", 99, 0, 7},
        {"{" GEMMA ", " BOTH "}", 500, 0, 30},
        {"{" GEMMA ", " BOTH ", \"rope_theta\": 99, \"rope_local_base_freq\": 7}", 500, 0, 30},
        {"{" GEMMA ", " BOTH ", " TWICE "}", 500, 2, 30},
        {"{" GEMMA ", " TWICE "}", 1e6, 2, 10000},
        {"{" GEMMA ", \"rope_parameters\": {\"rope_theta\": 50}, \"rope_theta\": 99}", 99, 0, 10000},
        {"{" GEMMA ", \"rope_parameters\": {\"full_attention\": {\"rope_theta\": 500}}}", 500, 0, 10000},
        {"{" GEMMA ", \"rope_parameters\": {\"sliding_attention\": {\"rope_theta\": 30}}}", 1e6, 0, 30},
        {"{" GEMMA
         ", \"rope_parameters\": {\"full_attention\": {\"rope_theta\": 500, \"rope_type\": \"linear\", "
         "\"factor\": 2}}, \"rope_scaling\": {\"rope_type\": \"default\"}}",
         500, 0, 10000},
        {"{" GEMMA ", " OLDER "}", 1e6, 0, 10000},
        {"{" GEMMA ", " BOTH ", " OLDER "}", 500, 2, 30},
        {"{" OLMO "}", 500000, 0, 500000},
        {"{" OLMO ", " OLDER "}", 500000, 0, 500000},
        {"{" OLMO ", \"rope_theta\": 99, \"rope_local_base_freq\": 7}", 99, 0, 500000},
        {"{" OLMO ", " BOTH ", " TWICE "}", 500, 2, 30},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        sah_config c = accepted(CASES[i].changes);
        const bool scaled = CASES[i].factor > 0;
        assert_int_equal(c.n_ropes, 2);
        if (c.ropes[0].theta != CASES[i].theta || c.ropes[1].theta != CASES[i].local ||
            c.ropes[0].scaling != (scaled ? SAH_ROPE_LINEAR : SAH_ROPE_NONE) ||
            (scaled && c.ropes[0].factor != CASES[i].factor) || c.ropes[1].scaling != SAH_ROPE_NONE)
            fail_msg("%s: %g, %g, %g", CASES[i].changes, c.ropes[0].theta, c.ropes[0].factor,
                     c.ropes[1].theta);
    }
}

/* YaRN's "truncate" counts beside the kinds of layers, not among the settings of one. As transformers 5.24 has it, by
 * logits of a random model. */
static void test_truncate(void **state)
{
    (void)state;
#define YARN "{\"rope_type\": \"yarn\", \"factor\": 4, \"rope_theta\": 100, \"truncate\": "
    static const struct {
        const char *changes;
        bool truncate;
    } CASES[] = {
        {"{" OLMO ", \"rope_parameters\": {\"full_attention\": " YARN "false}}}", true},
        {"{" OLMO ", \"rope_parameters\": {\"truncate\": false, \"full_attention\": " YARN "true}}}", false},
        {"{" OLMO ", \"rope_scaling\": " YARN "false}}", true},
        {"{\"rope_parameters\": " YARN "false}}", false},
        {"{\"rope_scaling\": " YARN "false}}", false},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        if (accepted(CASES[i].changes).ropes[0].truncate != CASES[i].truncate)
            fail_msg("%s: truncate is not %d", CASES[i].changes, CASES[i].truncate);
}

/* What a class takes where its key is absent, or makes nothing of. */
static void test_class_keys(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"Glm", "Glm4"};
    for (size_t i = 0; i < 2; i++) {
        char changes[256];
        snprintf(changes, sizeof changes, "{\"architectures\": [\"%sForCausalLM\"], \"model_type\": \"%s\"}",
                 NAMES[i], i == 0 ? "glm" : "glm4");
        assert_true(accepted(changes).qkv_bias);
        snprintf(changes + strlen(changes) - 1, 64, ", \"attention_bias\": false}");
        assert_false(accepted(changes).qkv_bias);
    }
    assert_true(accepted("{" GEMMA ", \"attn_logit_softcapping\": 50}").attention_softcap == 0);
    static const char *const UNGROUPED[] = {
        "{\"architectures\": [\"GPTNeoXForCausalLM\"], \"model_type\": \"gpt_neox\", "
        "\"num_key_value_heads\": 3}",
        "{\"architectures\": [\"GPT2LMHeadModel\"], \"model_type\": \"gpt2\", \"n_embd\": 32, \"n_layer\": "
        "4, "
        "\"n_head\": 4, \"num_key_value_heads\": 2}",
    };
    for (size_t i = 0; i < 2; i++) assert_int_equal(accepted(UNGROUPED[i]).n_kv_heads, 4);
}

/* Worked by hand: theta 10000, D 4 gives 1 and 0.01 radians a position, that is 64/(2 pi) = 10.19 and 0.1019
 * turns in 64 positions: above high_freq_factor 4 and below low_freq_factor 1. */
static void test_frequencies(void **state)
{
    (void)state;
    double out[2];
    sah_rope c = {.dims = 4, .theta = 10000};
    const float factors[] = {2, 5};
    sah_rope_frequencies(&c, out);
    assert_true(out[0] == 1 && fabs(out[1] - 0.01) < 1e-15);
    c.factors = factors;
    sah_rope_frequencies(&c, out);
    c.factors = NULL;
    assert_true(out[0] == 0.5 && fabs(out[1] - 0.002) < 1e-15);
    c.scaling = SAH_ROPE_LINEAR;
    c.factor = 8;
    sah_rope_frequencies(&c, out);
    assert_true(out[0] == 0.125 && fabs(out[1] - 0.00125) < 1e-15);
    c.scaling = SAH_ROPE_LLAMA3;
    c.original_positions = 64;
    c.low_freq_factor = 1;
    c.high_freq_factor = 4;
    sah_rope_frequencies(&c, out);
    assert_true(out[0] == 1 && fabs(out[1] - 0.00125) < 1e-15);
    /* 12.56 / (2 pi) = 2 turns: a third of the way from 1 to 4. */
    c.original_positions = 1256637;
    c.theta = 1e10;
    sah_rope_frequencies(&c, out);
    assert_true(fabs(out[1] - (1e-5 / 3 + 1e-5 / 8 * 2 / 3)) < 1e-11);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *changes, *part;
    } CASES[] = {
        {"{\"architectures\": [\"BertModel\"]}", "architecture BertModel is not supported"},
        {"{\"architectures\": \"-\", \"model_type\": \"bert\"}", "architecture bert is not supported"},
        {"{\"architectures\": [], \"model_type\": \"-\"}", "neither \"architectures\" nor \"model_type\""},
        {"{\"hidden_act\": \"mish\"}", "activation mish is not supported"},
        {"{\"num_local_experts\": 8}", "\"num_local_experts\" is not supported"},
        {"{\"logit_scale\": 0.5}", "\"logit_scale\" is not supported"},
        {"{\"attn_logit_softcapping\": 50.0}", "\"attn_logit_softcapping\" is not supported"},
        {"{\"partial_rotary_factor\": 0.5}", "\"partial_rotary_factor\" 0.5 is not supported"},
        {"{\"rope_parameters\": {\"partial_rotary_factor\": 0.5}}",
         "\"partial_rotary_factor\" 0.5 is not supported"},
        {"{\"partial_rotary_factor\": 1e66}", "\"partial_rotary_factor\" 1e+66 is not supported"},
        {"{\"partial_rotary_factor\": -1e66}", "\"partial_rotary_factor\" -1e+66 is not supported"},
        {"{\"rope_scaling\": {\"type\": \"ntk\", \"factor\": 4}}", "rope type ntk is not supported"},
        {"{\"rope_scaling\": {\"rope_type\": \"dynamic\"}}", "rope type dynamic needs a factor"},
        {"{\"rope_parameters\": {\"rope_type\": \"longrope\", \"factor\": 1}}",
         "\"short_factor\" has 0 numbers"},
        {"{\"rope_scaling\": \"yarn\"}", "\"rope_scaling\" must be an object"},
        {"{\"rope_parameters\": []}", "\"rope_parameters\" must be an object"},
        {"{\"rope_scaling\": {\"type\": \"ntk\"}}", "rope type ntk is not supported"},
#define TEXT_PART ", \"text_config\": {\"model_type\": \"gemma\"}}"
        {"{\"architectures\": [\"PaliGemmaForConditionalGeneration\"]" TEXT_PART,
         "architecture PaliGemmaForConditionalGeneration is not supported"},
        {"{\"architectures\": [\"Gemma3ForSequenceClassification\"]" TEXT_PART,
         "architecture Gemma3ForSequenceClassification is not supported"},
#undef TEXT_PART
        {"{\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\"}}}",
         "differ between layers"},
        {"{\"rope_scaling\": {\"type\": \"linear\"}}", "rope type linear needs a factor"},
        {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}}", "rope type linear needs a factor"},
        {"{\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8}}", "needs 0 < low_freq_factor"},
        {"{\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, "
         "\"high_freq_factor\": 4}}",
         "needs 0 < low_freq_factor"},
        {"{\"rope_theta\": 0}", "rope base"},
        {"{\"rope_theta\": \"x\"}", "\"rope_theta\" must be a number"},
        {"{\"layer_types\": [\"chunked_attention\"]}", "layer type chunked_attention is not supported"},
        {"{\"architectures\": [\"Gemma2ForCausalLM\"], \"num_key_value_heads\": 2, \"layer_types\": "
         "[\"full_attention\"]}",
         "\"layer_types\" has 1 entries for 4 layers"},
        {"{\"hidden_size\": \"-\"}", "\"hidden_size\" is missing"},
        {"{\"hidden_size\": 33}", "not divisible by 4 heads"},
        {"{\"hidden_size\": 0}", "\"hidden_size\" is 0, outside 1"},
        {"{\"num_hidden_layers\": 1000000}", "\"num_hidden_layers\" is 1000000"},
        {"{\"vocab_size\": 3.5}", "\"vocab_size\" must be an integer"},
        {"{\"num_key_value_heads\": 3}", "4 heads cannot share 3 key/value heads"},
        {"{\"num_key_value_heads\": 8}", "4 heads cannot share 8 key/value heads"},
        {"{\"head_dim\": 7}", "even width"},
        {"{\"num_attention_heads\": 16384, \"head_dim\": 4194304}", "more than any model has"},
        {"{\"rms_norm_eps\": 0}", "epsilon"},
        {"{\"rms_norm_eps\": -1e300}", "epsilon"},
        {"{\"rms_norm_eps\": 1e300}", "epsilon"},
        {"{\"architectures\": [\"GptOssForCausalLM\"], \"num_key_value_heads\": 2, \"rope_scaling\": null}",
         "neither \"rope_scaling\" nor \"rope_parameters\""},
        {"{\"architectures\": [\"GptOssForCausalLM\"], \"num_key_value_heads\": 2, \"swiglu_limit\": 0}",
         "\"swiglu_limit\" is 0"},
        {"{\"architectures\": [\"GptOssForCausalLM\"], \"num_key_value_heads\": 2, \"num_local_experts\": 3, "
         "\"rope_parameters\": {\"rope_type\": \"default\"}}",
         "4 of 3 experts"},
#define GEMMA4 "\"architectures\": [\"Gemma4ForCausalLM\"], \"num_key_value_heads\": 2, \"head_dim\": 8"
        {"{" GEMMA4 ", \"enable_moe_block\": true}", "\"num_experts\" is missing"},
        {"{" GEMMA4 ", \"use_bidirectional_attention\": \"all\"}", "not causal"},
        {"{" GEMMA4 ", \"num_kv_shared_layers\": 4}", "\"num_kv_shared_layers\" is 4, outside 0 to 3"},
        {"{" GEMMA4 ", \"num_kv_shared_layers\": 1}", "layer 3 has no layer like it"},
        {"{" GEMMA4 ", \"global_head_dim\": 7}", "heads are 7 wide"},
        {"{" GEMMA4 ", \"num_global_key_value_heads\": 3, \"attention_k_eq_v\": true}",
         "share 3 key/value heads"},
        {"{" GEMMA4 ", \"per_layer_config\": {\"2\": {\"sliding_window\": 3}}}",
         "with \"sliding_window\" is not supported"},
        {"{" GEMMA4 ", \"final_logit_softcapping\": -1}", "\"final_logit_softcapping\" is -1"},
#undef GEMMA4
#define GRANITE4  "\"architectures\": [\"GraniteMoeHybridForCausalLM\"], \"shared_intermediate_size\": 8"
#define ATTENTION "\"attention\", \"full_attention\", \"attention\""
        {"{" GRANITE4 ", \"num_local_experts\": 2, \"num_experts_per_tok\": 3, \"layer_types\": [" ATTENTION
         ", \"attention\"]}",
         "3 of 2 experts"},
        {"{" GRANITE4 ", \"layer_types\": [" ATTENTION ", \"linear_attention\"]}",
         "layer type linear_attention is not supported"},
        {"{" GRANITE4 ", \"num_local_experts\": 0}", "does not name attention for each of 4 layers"},
        {"{" GRANITE4 ", \"num_local_experts\": 0, \"layer_types\": [" ATTENTION ", \"mamba\"]}",
         "layer type mamba is not supported"},
#undef ATTENTION
#undef GRANITE4
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        sah_config config;
        sah_error error;
        sah_status status = read_changed(CASES[i].changes, &config, &error);
        if (status == SAH_OK) fail_msg("%s is read", CASES[i].changes);
        expect_failure(status, &error, CASES[i].part);
        sah_config_free(&config);
        assert_non_null(strstr(error.message, "config.json: "));
    }
}

/* Writes what `w` holds and reads the configuration from it. */
static sah_status read_gguf(gguf_writer *w, sah_config *out, sah_error *error)
{
    const sah_family *family;
    sah_gguf gguf;
    gguf_write(w, scratch("config.gguf"));
    sah_status status = sah_gguf_open(scratch("config.gguf"), &gguf, error);
    if (status != SAH_OK) return status;
    status = sah_config_from_gguf(&gguf, out, &family, error);
    sah_gguf_close(&gguf);
    return status;
}

static void test_gguf(void **state)
{
    (void)state;
    gguf_writer w = {.version = 3, .alignment = 32};
    sah_config c;
    sah_error error;
    gguf_small_llama(&w);
    expect_ok(read_gguf(&w, &c, &error), &error);
    assert_string_equal(c.family, "llama");
    assert_int_equal(c.n_layers, 2);
    assert_int_equal(c.n_heads, 2);
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.head_dim, 4);
    assert_int_equal(c.d_model, 8);
    assert_int_equal(c.d_ff, 12);
    assert_int_equal(c.n_vocab, 16);
    assert_int_equal(c.max_positions, 64);
    assert_true(c.norm_eps == 1e-5F && c.ropes[0].theta == 10000 && c.tied);
    assert_int_equal(c.ropes[0].scaling, SAH_ROPE_NONE);
    gguf_small_llama(&w);
    gguf_pair_u32(&w, "llama.attention.head_count_kv", 1);
    gguf_pair_u32(&w, "llama.attention.key_length", 6);
    gguf_pair_u32(&w, "llama.attention.value_length", 6);
    gguf_pair_u32(&w, "llama.rope.dimension_count", 6);
    gguf_pair_u32(&w, "llama.attention.sliding_window", 5);
    gguf_pair_f32(&w, "llama.rope.freq_base", 5000);
    gguf_pair_string(&w, "llama.rope.scaling.type", "linear");
    gguf_pair_f32(&w, "llama.rope.scaling.factor", 4);
    gguf_pair_u32(&w, "llama.expert_count", 0);
    gguf_tensor(&w, "output.weight", 0, 2, (const uint64_t[]){16, 8}, 16 * 8 * 4);
    expect_ok(read_gguf(&w, &c, &error), &error);
    assert_int_equal(c.n_kv_heads, 1);
    assert_int_equal(c.head_dim, 6);
    assert_int_equal(c.sliding_window, 5);
    assert_int_equal(c.ropes[0].scaling, SAH_ROPE_LINEAR);
    assert_true(c.ropes[0].theta == 5000 && c.ropes[0].factor == 4 && !c.tied);
    gguf_small_llama(&w);
    gguf_pair_string(&w, "llama.rope.scaling.type", "none");
    gguf_pair_f32(&w, "llama.rope.scaling.factor", 4);
    gguf_tensor(&w, "rope_freqs.weight", 0, 1, (const uint64_t[]){2}, 8);
    expect_ok(read_gguf(&w, &c, &error), &error);
    assert_int_equal(c.ropes[0].scaling, SAH_ROPE_FACTORS);
}

static void test_gguf_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        float value;
        const char *part;
    } NUMBERS[] = {
        {"llama.expert_count", 8, "llama.expert_count must be an integer"},
        {"llama.logit_scale", 0.5F, "llama.logit_scale = 0.5 is not supported"},
        {"llama.attn_logit_softcapping", 50, "llama.attn_logit_softcapping = 50 is not supported"},
        {"llama.logit_scale", NAN, "llama.logit_scale = "},
        {"llama.rope.freq_base", 0, "rope base"},
        {"llama.rope.freq_base", INFINITY, "rope base"},
        {"llama.rope.scaling.factor", -1, "rope factor"},
        {"llama.rope.scaling.factor", INFINITY, "rope factor"},
    };
    static const struct {
        const char *key;
        uint32_t value;
        const char *part;
    } INTEGERS[] = {
        {"llama.rope.dimension_count", 2, "llama.rope.dimension_count is 2 but heads are 4 wide"},
        {"llama.attention.value_length", 6, "llama.attention.value_length is 6 but heads are 4 wide"},
        {"llama.attention.head_count_kv", 3, "cannot share 3 key/value heads"},
        {"llama.attention.key_length", 3, "but heads are 3 wide"},
        {"llama.expert_count", 8, "llama.expert_used_count is missing"},
        {"split.count", 2, "part 1 of a model in 2 files"},
    };
    gguf_writer w = {.version = 3, .alignment = 32};
    sah_config c;
    sah_error error;
    for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
        gguf_small_llama(&w);
        gguf_pair_f32(&w, NUMBERS[i].key, NUMBERS[i].value);
        expect_failure(read_gguf(&w, &c, &error), &error, NUMBERS[i].part);
    }
    for (size_t i = 0; i < sizeof INTEGERS / sizeof *INTEGERS; i++) {
        gguf_small_llama(&w);
        gguf_pair_u32(&w, INTEGERS[i].key, INTEGERS[i].value);
        expect_failure(read_gguf(&w, &c, &error), &error, INTEGERS[i].part);
    }
    gguf_small_llama(&w);
    gguf_pair(&w, "llama.attention.head_count_kv", SAH_GGUF_ARRAY,
              "\x04\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0", 20);
    expect_failure(read_gguf(&w, &c, &error), &error, "feed_forward_length differs between layers");
    gguf_small_llama(&w);
    gguf_pair_string(&w, "llama.rope.scaling.type", "ntk");
    expect_failure(read_gguf(&w, &c, &error), &error, "rope scaling ntk is not supported");
    gguf_small_llama(&w);
    gguf_pair_bool(&w, "llama.attention.causal", false);
    expect_failure(read_gguf(&w, &c, &error), &error, "not causal");
    gguf_pair_string(&w, "general.architecture", "deepseek2");
    expect_failure(read_gguf(&w, &c, &error), &error, "architecture deepseek2 is not supported");
    expect_failure(read_gguf(&w, &c, &error), &error, "general.architecture is missing");
    gguf_pair_string(&w, "general.architecture", "qwen3");
    expect_failure(read_gguf(&w, &c, &error), &error, "qwen3.block_count is missing");
    static const char *const needed[] = {"llama.block_count", "llama.embedding_length",
                                         "llama.feed_forward_length", "llama.attention.head_count",
                                         "llama.context_length"};
    gguf_pair_string(&w, "general.architecture", "llama");
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) gguf_pair_u32(&w, needed[i], 4);
    gguf_pair_u32(&w, "llama.attention.key_length", 2);
    gguf_pair_u32(&w, "llama.attention.value_length", 2);
    gguf_tensor(&w, "token_embd.weight", 0, 2, (const uint64_t[]){2, 4}, 32);
    expect_failure(read_gguf(&w, &c, &error), &error, "llama.attention.layer_norm_rms_epsilon is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),    cmocka_unit_test(test_families),
        cmocka_unit_test(test_windows),     cmocka_unit_test(test_layers),
        cmocka_unit_test(test_two_ropes),   cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_class_keys),  cmocka_unit_test(test_rope_forms),
        cmocka_unit_test(test_frequencies), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_gguf),        cmocka_unit_test(test_gguf_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
