# SPDX-License-Identifier: Apache-2.0
"""Settings drawn for make-families.py --random: heads, widths, layers, rotations, windows, biases, experts, multipliers of every family, within what
its class in transformers takes."""
import transformers as tf

F, L, S = "full_attention", "linear_attention", "sliding_attention"


class Draw:
    """Random choices of one model."""

    def __init__(self, rng):
        self.rng = rng

    def of(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def flag(self, chance=0.5):
        return bool(self.rng.random() < chance)

    def real(self, low, high):
        return round(float(self.rng.uniform(low, high)), 3)


def sizes(d, head_dim=True):
    """Sizes that all families share, and the width of a head. `head_dim`: the class has that key; else heads divide the width evenly."""
    heads = d.of(1, 2, 3, 4, 6)
    kv = d.of(*[n for n in (1, 2, 3, 4, 6) if heads % n == 0])
    own = head_dim and d.flag(0.7)
    dim = d.of(4, 6, 8, 10, 16)
    width = heads * (d.of(5, 7, 9, 11, 12) if own else dim)  # the classes ask for a multiple
    out = dict(vocab_size=d.of(43, 47, 48, 53), hidden_size=width, intermediate_size=d.of(24, 37, 48), num_hidden_layers=d.of(1, 2, 3, 4, 5, 6), num_attention_heads=heads,
               num_key_value_heads=kv, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=d.flag(0.3))
    if head_dim:
        out["head_dim"] = dim
    return out, dim


def rope(d, dim, kinds=("default", "linear", "dynamic", "llama3", "yarn"), partial=()):
    """Rotary settings; `partial`: shares of the head of which one may be drawn."""
    kind = d.of(*kinds)
    out = {"rope_type": kind, "rope_theta": d.of(100.0, 10000.0, 500000.0)}
    turned = dim
    if partial:
        share = d.of(*[p for p in partial if int(dim * p) >= 2 and int(dim * p) % 2 == 0] or [1.0])
        out["partial_rotary_factor"] = share
        turned = int(dim * share)
    if kind == "dynamic" and turned == 2:  # the base grows by the power 2 / 0 there
        out["rope_type"] = kind = "linear"
    if kind in ("linear", "dynamic", "yarn", "llama3"):
        out["factor"] = d.of(2.0, 4.0, 8.5)
    if kind in ("yarn", "llama3", "longrope"):
        out["original_max_position_embeddings"] = d.of(16, 32, 64)
    if kind == "llama3":
        out.update(low_freq_factor=d.of(1.0, 1.5), high_freq_factor=d.of(4.0, 8.0))
    if kind == "yarn":
        out.update(d.of({}, {"beta_fast": 16.0, "beta_slow": 2.0}, {"attention_factor": 1.3}, {"mscale": 0.7, "mscale_all_dim": 1.0}, {"truncate": False}, {"mscale": 1.0}))
    if kind == "longrope":
        out["short_factor"] = [d.real(1, 4) for _ in range(turned // 2)]
        out["long_factor"] = [d.real(2, 9) for _ in range(turned // 2)]
        out.update(d.of({}, {"attention_factor": 1.2}, {"factor": 3.0}))
    return out


LONG = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")


def types(d, c, last_full=False):
    out = [d.of(F, S) for _ in range(c["num_hidden_layers"])]
    if last_full:
        out[-1] = F
    return out


def llama(d, kind):
    c, dim = sizes(d)
    return kind(**c, attention_bias=d.flag(), mlp_bias=d.flag(), rope_parameters=rope(d, dim, LONG))


def mistral(d, kind):
    c, dim = sizes(d)
    return kind(**c, sliding_window=d.of(None, 1, 3, 5), rope_parameters=rope(d, dim, LONG))


def ministral(d, kind):
    c, dim = sizes(d)
    return kind(**c, sliding_window=d.of(2, 4), layer_types=types(d, c), rope_parameters=rope(d, dim))


def ministral3(d, kind):
    c, dim = sizes(d)
    return kind(**c, sliding_window=d.of(None, 3), rope_parameters={**rope(d, dim, ("yarn",)), "llama_4_scaling_beta": 0.1})


def qwen(d, kind):
    has_dim = kind is not tf.Qwen2Config
    c, dim = sizes(d, has_dim)
    windows = d.of({}, dict(use_sliding_window=True, sliding_window=3, max_window_layers=d.of(0, 1, 2)), dict(use_sliding_window=True, sliding_window=2, layer_types=types(d, c)))
    bias = dict(attention_bias=d.flag()) if has_dim else {}
    return kind(**c, **windows, **bias, rope_parameters=rope(d, dim, LONG))


def gemma2(d, kind):
    c, dim = sizes(d)
    return kind(**c, query_pre_attn_scalar=d.of(8, 12, 24), sliding_window=d.of(2, 4), attn_logit_softcapping=d.of(None, 3.0, 50.0), final_logit_softcapping=d.of(None, 2.0, 30.0),
                attention_bias=d.flag(), hidden_activation=d.of("gelu_pytorch_tanh", "gelu", "silu"), **d.of({}, dict(layer_types=types(d, c))), rope_parameters=rope(d, dim))


def gemma3(d, kind):
    c, dim = sizes(d)
    both = {F: rope(d, dim), S: {"rope_type": "default", "rope_theta": d.of(100.0, 10000.0)}}
    return kind(**c, query_pre_attn_scalar=d.of(8, 12), sliding_window=d.of(2, 4), attention_bias=d.flag(), final_logit_softcapping=d.of(None, 2.0),
                **d.of({}, dict(layer_types=types(d, c))), **d.of({}, dict(rope_parameters=both)))


def gemma4(d, kind, mixture=False):
    c, dim = sizes(d)
    n = c["num_hidden_layers"] = d.of(2, 3, 4, 6)
    c.update(layer_types=d.of([([S, F] * 3)[i] for i in range(n)], [S] * (n - 1) + [F]), global_head_dim=d.of(8, 12, 16), sliding_window=d.of(2, 4), final_logit_softcapping=d.of(None, 2.0),
             attention_bias=False)
    if d.flag():
        c.update(attention_k_eq_v=True, num_global_key_value_heads=d.of(*[k for k in (1, 2, 3) if c["num_attention_heads"] % k == 0]))
    inputs = d.of(0, 3, 4)
    c.update(hidden_size_per_layer_input=inputs, vocab_size_per_layer_input=c["vocab_size"])
    if n == 6 and c["layer_types"][1] == F:
        c.update(num_kv_shared_layers=d.of(0, 1, 2, 3), use_double_wide_mlp=d.flag())
    if mixture:
        chosen = experts(d, c)
        c.update(enable_moe_block=True, num_experts=chosen["num_experts"], top_k_experts=chosen["num_experts_per_tok"], moe_intermediate_size=d.of(5, 8, 12))
    return kind(**c)


def gemma4_moe(d, kind):
    return gemma4(d, kind, True)


def phi3(d, kind):
    c, dim = sizes(d, False)
    setting = rope(d, dim, ("default", "longrope"), (0.5, 0.75, 1.0))
    more = {"original_max_position_embeddings": setting["original_max_position_embeddings"]} if "original_max_position_embeddings" in setting else {}
    return kind(**c, sliding_window=d.of(None, 3, 6), rope_parameters=setting, partial_rotary_factor=setting["partial_rotary_factor"], **more)


def olmo(d, kind):
    c, dim = sizes(d, False)
    return kind(**c, attention_bias=d.flag(), rope_parameters=rope(d, dim))


def olmo2(d, kind):
    c, dim = sizes(d, False)
    return kind(**c, attention_bias=d.flag(), rope_parameters=rope(d, dim))


def olmo3(d, kind):
    c, dim = sizes(d, False)
    both = {F: rope(d, dim, ("default", "yarn", "linear")), S: {"rope_type": "default", "rope_theta": 10000.0}}
    return kind(**c, attention_bias=d.flag(), sliding_window=d.of(2, 4), **d.of({}, dict(layer_types=types(d, c))), rope_parameters=both)


def smollm3(d, kind):
    c, dim = sizes(d, False)
    n = c["num_hidden_layers"]
    return kind(**c, attention_bias=d.flag(), mlp_bias=d.flag(), **d.of({}, dict(no_rope_layers=[d.of(0, 1) for _ in range(n)]), dict(no_rope_layer_interval=d.of(2, 3))),
                **d.of({}, dict(use_sliding_window=True, sliding_window=3, layer_types=types(d, c))), rope_parameters=rope(d, dim))


def multipliers(d):
    return dict(embedding_multiplier=d.of(1.0, 3.0), residual_multiplier=d.of(0.4, 1.0), attention_multiplier=d.of(0.2, 1.0), logits_scaling=d.of(0.5, 2.0))


def granite(d, kind):
    c, dim = sizes(d, False)
    return kind(**c, **multipliers(d), attention_bias=d.flag(), mlp_bias=d.flag(), rope_parameters=rope(d, dim))


def granite4(d, kind):
    c, dim = sizes(d, False)
    return kind(**c, **multipliers(d), attention_bias=d.flag(), layer_types=[F] * c["num_hidden_layers"], shared_intermediate_size=d.of(24, 29), mamba_n_heads=c["hidden_size"] * 2 // 4,
                mamba_d_head=4, position_embedding_type=d.of("rope", None), num_local_experts=0, num_experts_per_tok=0)


def granite_moe(d, kind):
    c, dim = sizes(d, False)
    if kind is not tf.GraniteMoeConfig:
        c.update(shared_intermediate_size=d.of(7, 12))
    if kind is tf.GraniteMoeHybridConfig:
        c.update(layer_types=[F] * c["num_hidden_layers"], mamba_n_heads=c["hidden_size"] * 2 // 4, mamba_d_head=4, position_embedding_type=d.of("rope", None))
    return kind(**c, **multipliers(d), **experts(d, c, "num_local_experts"), attention_bias=d.flag(), rope_parameters=rope(d, dim))


def glm(d, kind):
    c, dim = sizes(d)
    setting = rope(d, dim, ("default", "linear", "yarn"), (0.5, 0.25, 1.0))
    return kind(**c, attention_bias=d.flag(), rope_parameters=setting)


def gpt2(d, kind):
    c, dim = sizes(d, False)
    return kind(vocab_size=c["vocab_size"], n_embd=c["hidden_size"], n_layer=c["num_hidden_layers"], n_head=c["num_attention_heads"], n_positions=64, bos_token_id=1, eos_token_id=2,
                n_inner=d.of(None, 37), activation_function=d.of("gelu_new", "gelu", "relu"), tie_word_embeddings=d.flag(), layer_norm_epsilon=d.of(1e-5, 1e-3))


def gpt_neox(d, kind):
    c, dim = sizes(d, False)
    c["num_key_value_heads"] = c["num_attention_heads"]
    return kind(**c, use_parallel_residual=d.flag(), hidden_act=d.of("gelu", "gelu_new", "relu"), attention_bias=d.flag(0.8), rope_parameters=rope(d, dim, partial=(0.25, 0.5, 1.0)))


def falcon(d, kind):
    c, dim = sizes(d, False)
    return kind(vocab_size=c["vocab_size"], hidden_size=c["hidden_size"], num_hidden_layers=c["num_hidden_layers"], num_attention_heads=c["num_attention_heads"], max_position_embeddings=128,
                bos_token_id=1, eos_token_id=2, tie_word_embeddings=d.flag(), **d.of({}, dict(ffn_hidden_size=37)), rope_parameters=rope(d, dim))


def experts(d, c, key="num_experts"):
    n = d.of(1, 2, 5, 8)
    return {key: n, "num_experts_per_tok": int(d.rng.integers(1, n + 1))}


def mixtral(d, kind):
    c, dim = sizes(d)
    return kind(**c, **experts(d, c, "num_local_experts"), sliding_window=d.of(None, 3), rope_parameters=rope(d, dim))


def dense_layers(d, c):
    n = c["num_hidden_layers"]
    return d.of({}, dict(mlp_only_layers=[l for l in range(1, n) if d.flag()]), dict(decoder_sparse_step=2) if n > 1 else {})


def qwen2_moe(d, kind):
    c, dim = sizes(d, False)
    return kind(**c, **experts(d, c), moe_intermediate_size=d.of(5, 8, 12), shared_expert_intermediate_size=d.of(7, 12), norm_topk_prob=d.flag(), qkv_bias=d.flag(),
                **dense_layers(d, c), **d.of({}, dict(use_sliding_window=True, sliding_window=3, layer_types=types(d, c))), rope_parameters=rope(d, dim))


def qwen3_moe(d, kind):
    c, dim = sizes(d)
    return kind(**c, **experts(d, c), moe_intermediate_size=d.of(5, 8, 12), norm_topk_prob=d.flag(), attention_bias=d.flag(), **dense_layers(d, c),
                **d.of({}, dict(use_sliding_window=True, sliding_window=3)), rope_parameters=rope(d, dim))


def olmoe(d, kind):
    c, dim = sizes(d, False)
    return kind(**c, **experts(d, c), norm_topk_prob=d.flag(), attention_bias=d.flag(), rope_parameters=rope(d, dim))


def groups(d):
    n, groups, best = d.of((8, 1, 1), (8, 4, 2), (8, 2, 1), (12, 3, 2), (6, 3, 3))
    return dict(n_routed_experts=n, n_group=groups, topk_group=best, num_experts_per_tok=int(d.rng.integers(1, n // groups * best + 1)))


def glm4_moe(d, kind):
    c, dim = sizes(d)
    return kind(**c, **groups(d), moe_intermediate_size=d.of(5, 8), n_shared_experts=d.of(1, 2, 3), routed_scaling_factor=d.of(1.0, 1.5), use_qk_norm=d.flag(), attention_bias=d.flag(),
                norm_topk_prob=d.flag(), first_k_dense_replace=d.of(0, 1, min(2, c["num_hidden_layers"])), rope_parameters=rope(d, dim, partial=(0.5, 0.25, 1.0)))


def hybrid(d, kind, mixture=False):
    c, dim = sizes(d)
    keys = d.of(1, 2, 3)
    c.update(linear_num_key_heads=keys, linear_num_value_heads=keys * d.of(1, 2, 3), linear_key_head_dim=d.of(4, 6, 8), linear_value_head_dim=d.of(4, 8, 12), linear_conv_kernel_dim=d.of(2, 3, 4),
             layer_types=[d.of(F, L) for _ in range(c["num_hidden_layers"] - 1)] + [F], attention_bias=d.flag())
    d.rng.shuffle(c["layer_types"])
    if mixture:
        c.update(**experts(d, c), moe_intermediate_size=d.of(5, 8), shared_expert_intermediate_size=d.of(7, 12))
        if kind is tf.Qwen3NextConfig:
            c.update(norm_topk_prob=d.flag(), **dense_layers(d, c))
        else:
            del c["intermediate_size"]
    return kind(**c, rope_parameters=rope(d, dim, ("default", "linear", "yarn"), (0.25, 0.5, 1.0)))


def mixture_hybrid(d, kind):
    return hybrid(d, kind, True)


def lfm2(d, kind):
    c, dim = sizes(d, False)
    n = c["num_hidden_layers"]
    layers = dict(layer_types=d.rng.permutation([F] + ["conv"] * (n - 1)).tolist()) if d.flag() else dict(full_attn_idxs=[d.of(*range(n))])
    return kind(**c, **layers, conv_L_cache=d.of(2, 3, 5), block_auto_adjust_ff_dim=d.flag(), block_multiple_of=d.of(4, 16), block_ffn_dim_multiplier=d.of(1.0, 1.3),
                rope_parameters=rope(d, dim))


def lfm2_moe(d, kind):
    c, dim = sizes(d, False)
    n = c["num_hidden_layers"]
    return kind(**c, **experts(d, c), layer_types=d.rng.permutation([F] + ["conv"] * (n - 1)).tolist(), conv_L_cache=d.of(2, 3, 5), num_dense_layers=d.of(*range(n + 1)),
                moe_intermediate_size=d.of(5, 8), norm_topk_prob=d.flag(), routed_scaling_factor=d.of(1.0, 1.5), rope_parameters=rope(d, dim))


def gpt_oss(d, kind):
    c, dim = sizes(d)
    return kind(**c, **experts(d, c, "num_local_experts"), sliding_window=d.of(2, 4), attention_bias=d.flag(), swiglu_limit=d.of(0.7, 7.0), **d.of({}, dict(layer_types=types(d, c))),
                rope_parameters=rope(d, dim, ("default", "yarn")))


def gemma(d, kind):
    c, dim = sizes(d)
    return kind(**c, attention_bias=d.flag(), hidden_act=d.of("gelu_pytorch_tanh", "gelu", "silu"), rope_parameters=rope(d, dim))


def cohere(d, kind):
    c, dim = sizes(d, False)
    more = dict(sliding_window=d.of(2, 4), **d.of({}, dict(layer_types=types(d, c)))) if kind is tf.Cohere2Config else {}
    return kind(**c, **more, logit_scale=d.of(0.0625, 2.0), attention_bias=d.flag(), rope_parameters=rope(d, dim))


def exaone4(d, kind):
    c, dim = sizes(d)
    window = d.of(None, 2, 4)
    return kind(**c, sliding_window=window, layer_types=[F] * c["num_hidden_layers"] if window is None else types(d, c), rope_parameters=rope(d, dim))


def exaone(d, kind):
    c, dim = sizes(d)
    return kind(**c, rope_parameters=rope(d, dim))


def seed_oss(d, kind):
    c, dim = sizes(d)
    return kind(**c, attention_bias=d.flag(), attention_out_bias=d.flag(), mlp_bias=d.flag(), rope_parameters=rope(d, dim))


def ernie(d, kind):
    c, dim = sizes(d)
    return kind(**c, use_bias=d.flag(), rope_parameters=rope(d, dim))


def arcee(d, kind):
    c, dim = sizes(d)
    return kind(**c, attention_bias=d.flag(), mlp_bias=d.flag(), rope_parameters=rope(d, dim))


def starcoder2(d, kind):
    c, dim = sizes(d, False)
    return kind(**c, use_bias=d.flag(), sliding_window=d.of(None, 3), hidden_act=d.of("gelu_pytorch_tanh", "gelu"), rope_parameters=rope(d, dim))


def stablelm(d, kind):
    c, dim = sizes(d, False)
    return kind(**c, use_qkv_bias=d.flag(), use_parallel_residual=d.flag(), rope_parameters=rope(d, dim, ("default", "linear"), (0.25, 0.5, 1.0)))


def nemotron(d, kind):
    c, dim = sizes(d)
    return kind(**c, attention_bias=d.flag(), mlp_bias=d.flag(), rope_parameters=rope(d, dim, ("default", "linear"), (0.25, 0.5, 1.0)))


# family -> (its settings, the configuration's class)
FAMILIES = {
    "llama": (llama, tf.LlamaConfig), "mistral": (mistral, tf.MistralConfig), "ministral": (ministral, tf.MinistralConfig), "ministral3": (ministral3, tf.Ministral3Config),
    "gemma": (gemma, tf.GemmaConfig), "cohere": (cohere, tf.CohereConfig), "cohere2": (cohere, tf.Cohere2Config), "exaone4": (exaone4, tf.Exaone4Config),
    "exaone": (exaone, tf.ExaoneConfig),
    "seed-oss": (seed_oss, tf.SeedOssConfig), "ernie4-5": (ernie, tf.Ernie4_5Config), "arcee": (arcee, tf.ArceeConfig), "starcoder2": (starcoder2, tf.Starcoder2Config),
    "stablelm": (stablelm, tf.StableLmConfig), "nemotron": (nemotron, tf.NemotronConfig),
    "qwen2": (qwen, tf.Qwen2Config), "qwen3": (qwen, tf.Qwen3Config), "gemma2": (gemma2, tf.Gemma2Config), "gemma3": (gemma3, tf.Gemma3TextConfig),
    "gemma4": (gemma4, tf.Gemma4TextConfig), "gemma4-moe": (gemma4_moe, tf.Gemma4TextConfig), "phi3": (phi3, tf.Phi3Config), "olmo": (olmo, tf.OlmoConfig), "olmo2": (olmo2, tf.Olmo2Config), "olmo3": (olmo3, tf.Olmo3Config),
    "smollm3": (smollm3, tf.SmolLM3Config), "granite": (granite, tf.GraniteConfig), "granite4": (granite4, tf.GraniteMoeHybridConfig), "granite-moe": (granite_moe, tf.GraniteMoeConfig),
    "granite-moe-shared": (granite_moe, tf.GraniteMoeSharedConfig), "granite4-moe": (granite_moe, tf.GraniteMoeHybridConfig), "glm": (glm, tf.GlmConfig),
    "glm4": (glm, tf.Glm4Config), "gpt2": (gpt2, tf.GPT2Config), "gpt-neox": (gpt_neox, tf.GPTNeoXConfig), "falcon": (falcon, tf.FalconConfig),
    "mixtral": (mixtral, tf.MixtralConfig), "qwen2-moe": (qwen2_moe, tf.Qwen2MoeConfig), "qwen3-moe": (qwen3_moe, tf.Qwen3MoeConfig), "olmoe": (olmoe, tf.OlmoeConfig),
    "glm4-moe": (glm4_moe, tf.Glm4MoeConfig), "qwen3-5": (hybrid, tf.Qwen3_5TextConfig), "qwen3-next": (mixture_hybrid, tf.Qwen3NextConfig),
    "qwen3-5-moe": (mixture_hybrid, tf.Qwen3_5MoeTextConfig), "lfm2": (lfm2, tf.Lfm2Config), "lfm2-moe": (lfm2_moe, tf.Lfm2MoeConfig), "gpt-oss": (gpt_oss, tf.GptOssConfig),
}


def drawn(family, rng):
    settings, kind = FAMILIES[family]
    return settings(Draw(rng), kind)


def for_gguf(config):
    """Without what llama.cpp's converter leaves out of the file, where llama.cpp cannot say what is right either: with GELU, which it takes from a table in float16, and
    where it does not open what comes of it."""
    kind = config.model_type
    dim = config.head_dim if kind in ("gemma2", "gemma3_text") else None
    for key, value in {"gemma2": {"query_pre_attn_scalar": dim, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 5.0}, "gemma3_text": {"query_pre_attn_scalar": dim}, "starcoder2": {"sliding_window": None, "hidden_act": "gelu_pytorch_tanh"},
                       "mistral": {"sliding_window": None}, "ministral3": {"sliding_window": None}, "mixtral": {"sliding_window": None}, "gpt_neox": {"hidden_act": "gelu"},
                       "gemma": {"hidden_act": "gelu_pytorch_tanh"}, "gpt2": {"activation_function": "gelu_new", "n_inner": None}, "olmoe": {"clip_qkv": None},
                       "gpt_oss": {"swiglu_limit": 7.0, "attention_bias": True}, "qwen2_moe": {"qkv_bias": True}}.get(kind, {}).items():
        setattr(config, key, value)
    if kind in ("gemma2", "gemma3_text"):
        config.hidden_activation = "gelu_pytorch_tanh"
        config.layer_types = [F if (i + 1) % (2 if kind == "gemma2" else 6) == 0 else S for i in range(config.num_hidden_layers)]
    if kind in ("nemotron", "glm", "exaone4"):
        config.hidden_size = config.num_attention_heads * config.head_dim
    if kind in ("qwen2", "qwen3", "qwen2_moe", "qwen3_moe"):
        config.use_sliding_window, config.sliding_window, config.layer_types = False, None, [F] * config.num_hidden_layers
    if kind in ("gpt_neox", "gemma", "gemma2"):
        config.rope_parameters["rope_theta"] = 10000.0
    if kind == "ministral3":  # as published, but for the numbers
        rope = config.rope_parameters
        for key in {"truncate", "attention_factor"} & set(rope):
            del rope[key]
        rope.update(mscale=1.0, mscale_all_dim=rope.get("mscale_all_dim") or 0.7)
    if kind == "gpt_oss":
        config.layer_types = [S if i % 2 == 0 else F for i in range(config.num_hidden_layers)]
    if kind in ("qwen2_moe", "qwen3_moe", "qwen3_next"):
        config.mlp_only_layers, config.decoder_sparse_step = [], 1
    if kind == "glm4_moe" and config.n_group == config.topk_group > 1:
        config.topk_group, config.num_experts_per_tok = 2, 2
    if L in (getattr(config, "layer_types", None) or []) or kind.startswith("qwen3_5") or kind == "qwen3_next":
        config.num_hidden_layers = max(config.num_hidden_layers, 2)
        config.layer_types = [L, F] + config.layer_types[2:]
    if kind == "falcon":
        config.ffn_hidden_size, config.rope_parameters["rope_theta"] = 4 * config.hidden_size, 10000.0
    if kind in ("gemma", "gemma2"):
        config.tie_word_embeddings = True
    if kind == "olmoe":
        config.num_key_value_heads = config.num_attention_heads
    if kind == "granitemoehybrid" and not config.num_local_experts:
        config.intermediate_size = config.shared_intermediate_size
    if kind in ("gemma", "gemma2", "gemma3_text", "qwen3", "qwen3_moe", "olmoe", "qwen3_5_text", "qwen3_5_moe_text", "qwen3_next"):
        config.attention_bias = False
    if kind in ("gemma", "gemma2", "gemma3_text", "starcoder2", "falcon", "gpt_neox", "nemotron", "exaone4", "olmoe", "qwen3_5_text", "qwen3_5_moe_text", "gpt_oss"):
        for rope in config.rope_parameters.values() if F in config.rope_parameters else [config.rope_parameters]:
            for key in set(rope) - {"rope_theta", "partial_rotary_factor"}:
                del rope[key]
            rope["rope_type"] = "default"
    return config
