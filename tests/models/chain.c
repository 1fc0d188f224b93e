/* SPDX-License-Identifier: Apache-2.0 */
#include "models/chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "model/writers.h"
#include "util/json.h"
#include "util/scratch.h"
#include "util/strings.h"

/* Every token has an axis of the residual stream of its own; attention and MLP add nothing; the LM head gives
 * the token that follows 8, all others 0. */
enum { WIDTH = CHAIN_MOST, HEADS = 2, HEAD = 16, FF = 16 };

static void write_weights(const char *path, const chain_token *tokens, size_t n)
{
    const int V = (int)n, A = HEADS * HEAD;
    float *embedding = calloc(n * WIDTH, sizeof *embedding), *head = calloc(n * WIDTH, sizeof *head);
    float *zeros = calloc((size_t)WIDTH * WIDTH, sizeof *zeros), ones[WIDTH];
    for (int i = 0; i < WIDTH; i++) ones[i] = 1;
    for (size_t i = 0; i < n; i++) {
        embedding[i * WIDTH + i] = 8;
        head[(size_t)tokens[i].next * WIDTH + i] = 1;
    }
    const f32_tensor tensors[] = {
        {"model.embed_tokens.weight", V, WIDTH, embedding},
        {"lm_head.weight", V, WIDTH, head},
        {"model.norm.weight", WIDTH, 0, ones},
        {"model.layers.0.input_layernorm.weight", WIDTH, 0, ones},
        {"model.layers.0.post_attention_layernorm.weight", WIDTH, 0, ones},
        {"model.layers.0.self_attn.q_proj.weight", A, WIDTH, zeros},
        {"model.layers.0.self_attn.k_proj.weight", A, WIDTH, zeros},
        {"model.layers.0.self_attn.v_proj.weight", A, WIDTH, zeros},
        {"model.layers.0.self_attn.o_proj.weight", WIDTH, A, zeros},
        {"model.layers.0.mlp.gate_proj.weight", FF, WIDTH, zeros},
        {"model.layers.0.mlp.up_proj.weight", FF, WIDTH, zeros},
        {"model.layers.0.mlp.down_proj.weight", WIDTH, FF, zeros},
    };
    safetensors_write_f32(path, tensors, sizeof tensors / sizeof *tensors);
    free(embedding);
    free(head);
    free(zeros);
}

/* Byte-level BPE without merges, as planted.c has it, every special token an added one. */
static json_t *tokenizer(const chain_token *tokens, size_t n)
{
    json_t *vocabulary = json_object(), *added = json_array();
    for (size_t i = 0; i < n; i++) {
        json_object_set_new(vocabulary, byte_level(tokens[i].text), json_integer((json_int_t)i));
        if (tokens[i].special)
            json_array_append_new(added, json_pack("{s:I, s:s, s:b}", "id", (json_int_t)i, "content",
                                                   tokens[i].text, "special", 1));
    }
    return json_pack("{s:s, s:o, s:n, s:{s:s, s:b, s:b}, s:n, s:{s:s}, s:{s:s, s:b, s:o, s:[]}}", "version",
                     "1.0", "added_tokens", added, "normalizer", "pre_tokenizer", "type", "ByteLevel",
                     "add_prefix_space", 0, "use_regex", 1, "post_processor", "decoder", "type", "ByteLevel",
                     "model", "type", "BPE", "ignore_merges", 1, "vocab", vocabulary, "merges");
}

static json_t *config(size_t n)
{
    return json_pack("{s:[s], s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:i, s:f, s:b, s:i}",
                     "architectures", "LlamaForCausalLM", "model_type", "llama", "hidden_act", "silu",
                     "hidden_size", WIDTH, "intermediate_size", FF, "num_hidden_layers", 1,
                     "num_attention_heads", HEADS, "num_key_value_heads", HEADS, "head_dim", HEAD,
                     "vocab_size", (json_int_t)n, "max_position_embeddings", 512, "rms_norm_eps", 1e-5,
                     "tie_word_embeddings", 0, "eos_token_id", 0);
}

const char *chain_write(const char *name, const chain_token *tokens, size_t n, const char *chat_template)
{
    char path[512], file[600];
    assert_true(n > 0 && n <= CHAIN_MOST);
    snprintf(path, sizeof path, "%s", scratch(name));
    mkdir(path, 0777);
    snprintf(file, sizeof file, "%s/model.safetensors", path);
    write_weights(file, tokens, n);
    snprintf(file, sizeof file, "%s/tokenizer.json", path);
    write_json(file, tokenizer(tokens, n));
    snprintf(file, sizeof file, "%s/tokenizer_config.json", path);
    write_json(file, json_pack("{s:s, s:s}", "eos_token", tokens[0].text, "chat_template", chat_template));
    snprintf(file, sizeof file, "%s/config.json", path);
    write_json(file, config(n));
    return scratch(name);
}
