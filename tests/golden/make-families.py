#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/models/FAMILY-...: tiny random checkpoints of the families in src/model/family/, and the logits that transformers itself
gives, plain and with heads ablated inside its attention.

    pip install torch==2.13.0 transformers==5.24.0 gguf==0.19.0
    make-families.py [--seed N] [--layers N] [--width N] [--out FOLDER] [NAME ...]
    make-families.py --random N [--seed N] [--gguf KIND] --out FOLDER [FAMILY ...]

Without arguments the committed ones. Other seeds and shapes give other models to try, --random so many of every family with settings of their own
(family_shapes.py), in float32 or 16 bits: tests/engine/test_golden reads every folder of
tests/golden/models, or the one that SAHARA_GOLDEN names. Edits of q and k act behind the rotation, where scaling and means over heads are the
same as before it."""
import argparse
import json
import os
import shutil
import sys
import zlib
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import numpy as np
import torch
import transformers as tf
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.masking_utils import eager_mask

import converted
import family_gguf
import family_shapes

tf.utils.logging.disable_progress_bar()

HERE = Path(__file__).resolve().parent
VOCAB = 48
PROMPTS = [[1, 17, 42, 5, 33, 40, 8, 21, 30, 3, 11, 29], [1, 17, 42, 5, 9, 2], [7]]
PARTS, OPERATIONS = ["q", "k", "v", "qv"], [("scale", 1e-4), ("scale", 0.5), ("mean", None)]
EDITS = []  # those of the pass under way
GATED = {}  # layer -> the outputs of attention without edits, where gates follow them; None: no such model
F = "full_attention"
L = "linear_attention"
S = "sliding_attention"
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
LONG = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.5, 2.0, 4.0], "long_factor": [2.0, 3.0, 4.0, 8.0],
        "original_max_position_embeddings": 32}


def base(a, **more):
    heads, kv = more.pop("heads", 4), more.pop("kv", 2)
    return dict(vocab_size=VOCAB, hidden_size=a.width, intermediate_size=a.width + 16, num_hidden_layers=more.pop("layers", a.layers),
                num_attention_heads=heads, num_key_value_heads=kv, max_position_embeddings=128, bos_token_id=1, eos_token_id=2,
                pad_token_id=0, **more)


def small(a, **more):
    return base(a, layers=max(a.layers - 1, 1), **more)


def granite4(a, **more):
    return base(a, shared_intermediate_size=a.width + 16, layer_types=[F] * a.layers, num_local_experts=0, num_experts_per_tok=0, mamba_n_heads=a.width // 4,
                embedding_multiplier=3.0, residual_multiplier=0.4, attention_multiplier=0.2, logits_scaling=2.0, **more)


def granite_moe(a, **more):
    return {**small(a, num_local_experts=5, num_experts_per_tok=2, embedding_multiplier=3.0, residual_multiplier=0.4, attention_multiplier=0.2, logits_scaling=2.0,
                    **more), "intermediate_size": 12}


def hybrid(a, types, key_heads, heads, **more):
    """`heads` value heads of layers of the delta rule, beside the 4 of attention; layers by `types`, over again where there are more."""
    layers = more.pop("layers", a.layers)
    return base(a, layers=layers, head_dim=8, layer_types=[types[i % len(types)] for i in range(layers)], linear_num_key_heads=key_heads,
                linear_num_value_heads=heads, linear_key_head_dim=more.pop("key_dim", 6), linear_value_head_dim=more.pop("value_dim", 8), **more)


def gpt_oss(a, **more):
    return {**base(a, head_dim=8, num_local_experts=5, num_experts_per_tok=2, sliding_window=4, rope_parameters={**YARN, "truncate": False}, **more),
            "intermediate_size": 32}


def gemma4(a, layers, **more):
    layers = max(layers, layers + a.layers - 3)
    return base(a, layers=layers, head_dim=8, global_head_dim=16, sliding_window=4, layer_types=([S, F] * layers)[:layers], **more)


VISION = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4)
VISION_TOKENS = dict(image_token_id=43, video_token_id=44, vision_start_token_id=45, vision_end_token_id=46)


def narrow(a, **more):
    return {**small(a, **more), "hidden_size": 16, "intermediate_size": 12}


# name -> (config of the shape arguments, what is written as GGUF beside it)
MODELS = {
    "gemma": (lambda a: tf.GemmaConfig(**small(a, head_dim=12, hidden_act="gelu")), True),
    "gemma2": (lambda a: tf.Gemma2Config(**base(a, head_dim=8, query_pre_attn_scalar=12, sliding_window=4)), False),
    "gemma2-gguf": (lambda a: tf.Gemma2Config(**base(a, head_dim=8, query_pre_attn_scalar=8, sliding_window=4, attn_logit_softcapping=20.0,
                                                     final_logit_softcapping=10.0)), True),
    "gemma3": (lambda a: tf.Gemma3TextConfig(**base(a, layers=7, head_dim=8, query_pre_attn_scalar=8, sliding_window=4)), True),
    "gemma3-capped": (lambda a: tf.Gemma3TextConfig(**base(a, layers=1, head_dim=8, query_pre_attn_scalar=8, sliding_window=4, final_logit_softcapping=3.0,
                                                           tie_word_embeddings=False)), True),
    "gemma3-scaled": (lambda a: tf.Gemma3TextConfig(**base(a, head_dim=8, query_pre_attn_scalar=12, sliding_window=3, layer_types=[S, F, S][:a.layers],
        rope_parameters={F: {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}, S: {"rope_type": "default", "rope_theta": 10000.0}})), False),
    "gemma4": (lambda a: tf.Gemma4TextConfig(**gemma4(a, 4, num_kv_shared_layers=2, use_double_wide_mlp=True, hidden_size_per_layer_input=4,
                                                      vocab_size_per_layer_input=VOCAB)), True),
    "gemma4-keys": (lambda a: tf.Gemma4TextConfig(**gemma4(a, 2, attention_k_eq_v=True, num_global_key_value_heads=1, hidden_size_per_layer_input=0,
                                                           final_logit_softcapping=3.0)), False),
    "gemma4-moe": (lambda a: tf.Gemma4TextConfig(**{**gemma4(a, 2, heads=2, kv=1, enable_moe_block=True, num_experts=5, top_k_experts=2, moe_intermediate_size=6,
                                                             hidden_size_per_layer_input=0), "hidden_size": 16, "intermediate_size": 12}), True),
    "phi3": (lambda a: tf.Phi3Config(**base(a, kv=4)), True),
    "phi3-longrope": (lambda a: tf.Phi3Config(**base(a, rope_parameters=LONG, original_max_position_embeddings=32, sliding_window=6)), False),
    "phi4-mini": (lambda a: tf.Phi3Config(**base(a, tie_word_embeddings=True, rope_parameters={
        "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.75}, partial_rotary_factor=0.75)), False),
    "olmo": (lambda a: tf.OlmoConfig(**narrow(a)), True),
    "olmo2": (lambda a: tf.Olmo2Config(**base(a)), True),
    "olmo3": (lambda a: tf.Olmo3Config(**base(a, layers=4, sliding_window=4, rope_parameters={
        F: YARN, S: {"rope_type": "default", "rope_theta": 10000.0}})), True),
    "smollm3": (lambda a: tf.SmolLM3Config(**base(a, layers=5)), True),
    "granite": (lambda a: tf.GraniteConfig(**base(a, embedding_multiplier=3.0, residual_multiplier=0.4, attention_multiplier=0.2,
                                                  logits_scaling=2.0)), True),
    "granite4": (lambda a: tf.GraniteMoeHybridConfig(**granite4(a, position_embedding_type="rope")), True),
    "granite-moe": (lambda a: tf.GraniteMoeConfig(**granite_moe(a)), True),
    "granite-moe-shared": (lambda a: tf.GraniteMoeSharedConfig(**granite_moe(a, shared_intermediate_size=8, attention_bias=True)), False),
    "granite4-moe": (lambda a: tf.GraniteMoeHybridConfig(**{**granite_moe(a, shared_intermediate_size=8, position_embedding_type="rope"),
        "layer_types": [F] * max(a.layers - 1, 1), "mamba_n_heads": a.width // 4}), True),
    "granite4-nope": (lambda a: tf.GraniteMoeHybridConfig(**granite4(a, attention_bias=True)), False),
    "glm": (lambda a: tf.GlmConfig(**base(a, head_dim=8)), True),
    "glm4": (lambda a: tf.Glm4Config(**base(a, head_dim=8, attention_bias=True)), True),
    "ministral": (lambda a: tf.MinistralConfig(**base(a, head_dim=8, sliding_window=4, layer_types=[S, F, S][:a.layers])), False),
    "ministral3": (lambda a: tf.Ministral3Config(**base(a, head_dim=8, rope_parameters={
        **YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1, "beta_fast": 32.0, "beta_slow": 1.0})), True),
    "qwen2-yarn": (lambda a: tf.Qwen2Config(**base(a, rope_parameters=YARN)), False),
    "qwen3-dynamic": (lambda a: tf.Qwen3Config(**base(a, head_dim=8, rope_parameters={
        "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0})), False),
    "qwen3-windows": (lambda a: tf.Qwen3Config(**base(a, head_dim=8, use_sliding_window=True, sliding_window=3, max_window_layers=1)), False),
    "gpt2": (lambda a: tf.GPT2Config(vocab_size=VOCAB, n_embd=a.width, n_layer=a.layers, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2), True),
    "gpt-neox": (lambda a: tf.GPTNeoXConfig(**base(a, kv=4)), True),
    "gpt-neox-sequential": (lambda a: tf.GPTNeoXConfig(**base(a, kv=4, use_parallel_residual=False, rope_parameters={
        "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5})), True),
    "gpt-neox-no-biases": (lambda a: tf.GPTNeoXConfig(**small(a, kv=4, attention_bias=False)), False),
    "falcon": (lambda a: tf.FalconConfig(vocab_size=VOCAB, hidden_size=a.width, num_hidden_layers=a.layers, num_attention_heads=4,
                                         max_position_embeddings=128, bos_token_id=1, eos_token_id=2), True),
    "cohere": (lambda a: tf.CohereConfig(**small(a, logit_scale=0.3, attention_bias=True)), False),
    "cohere-gguf": (lambda a: tf.CohereConfig(**small(a, logit_scale=0.3)), True),
    "cohere2": (lambda a: tf.Cohere2Config(**base(a, layers=4, sliding_window=4, logit_scale=0.5)), True),
    "exaone4": (lambda a: tf.Exaone4Config(**base(a, layers=4, sliding_window=4, head_dim=12)), True),
    "exaone4-full": (lambda a: tf.Exaone4Config(**small(a, sliding_window=None, layer_types=[F] * max(a.layers - 1, 1))), True),
    "exaone": (lambda a: tf.ExaoneConfig(**narrow(a)), True),
    "mistral3": (lambda a: tf.Mistral3Config(text_config=narrow(a, model_type="mistral", head_dim=8, sliding_window=4), vision_config=dict(model_type="pixtral", **VISION),
                                             image_token_index=43), False),
    "qwen2-5-vl": (lambda a: tf.Qwen2_5_VLConfig(text_config=narrow(a, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 0]}),
        vision_config=dict(depth=1, hidden_size=8, out_hidden_size=16, num_heads=1, intermediate_size=8, patch_size=4, fullatt_block_indexes=[0]), **VISION_TOKENS), False),
    "qwen3-vl-moe": (lambda a: tf.Qwen3VLMoeConfig(text_config=narrow(a, head_dim=8, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=6,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}),
        vision_config=dict(depth=1, hidden_size=8, out_hidden_size=16, num_heads=1, intermediate_size=8, patch_size=4, num_position_embeddings=16, deepstack_visual_indexes=[0]), **VISION_TOKENS), False),
    "seed-oss": (lambda a: tf.SeedOssConfig(**small(a, head_dim=12, attention_out_bias=True, mlp_bias=True)), True),
    "ernie4-5": (lambda a: tf.Ernie4_5Config(**small(a, head_dim=12, use_bias=True)), True),
    "arcee": (lambda a: tf.ArceeConfig(**small(a, head_dim=12, mlp_bias=True)), True),
    "starcoder2": (lambda a: tf.Starcoder2Config(**small(a)), True),
    "starcoder2-windows": (lambda a: tf.Starcoder2Config(**small(a, use_bias=False, sliding_window=4)), False),
    "stablelm": (lambda a: tf.StableLmConfig(**small(a, use_qkv_bias=True)), True),
    "stablelm-parallel": (lambda a: tf.StableLmConfig(**small(a, use_parallel_residual=True, rope_parameters={
        "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5})), True),
    "nemotron": (lambda a: tf.NemotronConfig(**small(a, head_dim=12, rope_parameters={
        "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5})), True),
    "llama-yarn": (lambda a: tf.LlamaConfig(**base(a, rope_parameters={**YARN, "attention_factor": 1.3, "truncate": False})), False),
    "mixtral": (lambda a: tf.MixtralConfig(**base(a, num_local_experts=5, sliding_window=4)), False),
    "mixtral-gguf": (lambda a: tf.MixtralConfig(**base(a, layers=2, num_local_experts=4)), True),
    "qwen2-moe-gguf": (lambda a: tf.Qwen2MoeConfig(**base(a, layers=2, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=8,
                                                          shared_expert_intermediate_size=12)), True),
    "qwen3-moe-gguf": (lambda a: tf.Qwen3MoeConfig(**base(a, layers=2, head_dim=8, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=12,
                                                          norm_topk_prob=True)), True),
    "qwen3-moe-quantised": (lambda a: tf.Qwen3MoeConfig(**{**base(a, layers=8, heads=2, kv=1, head_dim=8, num_experts=2, num_experts_per_tok=1,
        moe_intermediate_size=32, norm_topk_prob=True), "hidden_size": 256}), True),
    "qwen2-moe": (lambda a: tf.Qwen2MoeConfig(**base(a, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8,
                                                     shared_expert_intermediate_size=12, mlp_only_layers=[1])), False),
    "qwen3-moe": (lambda a: tf.Qwen3MoeConfig(**base(a, head_dim=8, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=12,
                                                     norm_topk_prob=True, decoder_sparse_step=2, use_sliding_window=True, sliding_window=4)), False),
    "olmoe": (lambda a: tf.OlmoeConfig(**{**base(a, layers=2, num_experts=6, num_experts_per_tok=2), "intermediate_size": 12}), True),
    "glm4-moe": (lambda a: tf.Glm4MoeConfig(**base(a, layers=2, head_dim=8, n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=8, n_group=4,
                                                   topk_group=2, n_shared_experts=2, routed_scaling_factor=1.5, use_qk_norm=True,
                                                   attention_bias=True)), True),
    "qwen3-5": (lambda a: tf.Qwen3_5TextConfig(**hybrid(a, [L, L, L, F], 2, 6, layers=4)), True),
    "qwen3-5-delta-last": (lambda a: tf.Qwen3_5TextConfig(**hybrid(a, [F, L, L], 3, 3, kv=4, value_dim=12, linear_conv_kernel_dim=2, tie_word_embeddings=True,
        attention_bias=True, rope_parameters={"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5})), True),
    "qwen3-next": (lambda a: tf.Qwen3NextConfig(**hybrid(a, [L, F, L], 2, 4, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=8,
                                                         shared_expert_intermediate_size=12, mlp_only_layers=[1])), False),
    "qwen3-next-gguf": (lambda a: tf.Qwen3NextConfig(**hybrid(a, [L, F], 2, 4, layers=2, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8,
                                                              shared_expert_intermediate_size=12)), True),
    "qwen3-5-moe": (lambda a: tf.Qwen3_5MoeTextConfig(**{k: v for k, v in hybrid(a, [L, F], 1, 2, layers=2, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=12,
                                                         shared_expert_intermediate_size=8).items() if k != "intermediate_size"}), True),
    "lfm2": (lambda a: tf.Lfm2Config(**base(a, block_auto_adjust_ff_dim=False, layer_types=(["conv", F] * a.layers)[:a.layers])), True),
    "lfm2-attention-last": (lambda a: tf.Lfm2Config(**small(a, block_multiple_of=8, conv_L_cache=4, full_attn_idxs=[max(a.layers - 2, 0)])), False),
    "lfm2-moe": (lambda a: tf.Lfm2MoeConfig(**base(a, layer_types=([F, "conv"] * a.layers)[:a.layers], num_dense_layers=min(1, a.layers - 1), num_experts=5,
                                                   num_experts_per_tok=2, moe_intermediate_size=8, routed_scaling_factor=1.0)), True),
    "gpt-oss": (lambda a: tf.GptOssConfig(**gpt_oss(a, layers=2, layer_types=[F, S], swiglu_limit=0.7)), False),
    "gpt-oss-mxfp4": (lambda a: tf.GptOssConfig(**gpt_oss(a)), True),
}
FUSED = ("qwen3-5-moe",)  # saved as published: those of all experts in one tensor
QUANTISED = ("qwen3-moe-quantised",)  # GGUF alone, experts in every type of it
FACTORS = ("router.scale", "router.per_expert_scale")
ROUTERS = ("mlp.gate.weight", "block_sparse_moe.gate.weight", "mlp.router.weight", "block_sparse_moe.router.weight", "feed_forward.gate.weight")


def edit(states, layer, part):
    """[batch, heads, positions, width] under the edits of the layer; means are of the unedited states."""
    out = states.clone()
    for e in EDITS:
        if e["layer"] == layer and e["part"] == part:
            out[:, e["head"]] = states.mean(1) if e["op"] == "mean" else e["factor"] * states[:, e["head"]]
    return out


def attention(module, query, key, value, mask, **more):
    eager = sys.modules[type(module).__module__].eager_attention_forward
    layer = module.layer_idx
    call = lambda q, k: eager(module, q, k, value, mask, **more)[0].transpose(1, 2)
    edited, plain = call(edit(query, layer, "q"), edit(key, layer, "k")), call(query, key)
    if GATED is not None:
        GATED[layer] = plain
        return edited.transpose(1, 2).contiguous(), None
    out = edited.clone()
    for e in EDITS:
        if e["layer"] == layer and e["part"] == "v":
            out[:, e["head"]] = plain.mean(1) if e["op"] == "mean" else e["factor"] * edited[:, e["head"]]
    return out.transpose(1, 2).contiguous(), None


def hook_falcon(model):
    """Falcon's attention is its own: q and k are edited where they have been rotated, heads' outputs in front of the projection."""
    module = sys.modules["transformers.models.falcon.modeling_falcon"]
    layers = [layer.self_attention for layer in model.transformer.h]
    rotate, turn = vars(module).setdefault("own_rotary", module.apply_rotary_pos_emb), iter(())

    def rotated(q, k, *more):
        nonlocal turn
        layer = next(turn, None)
        if layer is None:
            turn = iter(range(len(layers)))
            layer = next(turn)
        q, k = rotate(q, k, *more)
        return edit(q, layer, "q"), edit(k, layer, "k")

    def before_dense(layer):
        def hook(_, inputs):
            z = inputs[0]
            heads = z.view(*z.shape[:-1], layers[layer].num_heads, -1).transpose(1, 2)
            return (edit(heads, layer, "v").transpose(1, 2).reshape(z.shape),)
        return hook

    module.apply_rotary_pos_emb = rotated
    for i, layer in enumerate(layers):
        layer.dense.register_forward_pre_hook(before_dense(i))


def hook_convolutions(model):
    """What LFM2's convolutions write, in front of their projection: one head, whose mean over the heads is itself."""
    def before(layer):
        def hook(_, inputs):
            return (edit(inputs[0][:, None], layer, "v")[:, 0],)
        return hook

    for i, layer in enumerate(model.model.layers):
        if hasattr(layer, "conv"):
            layer.conv.out_proj.register_forward_pre_hook(before(i))


def hook_hybrid(model):
    """Heads' outputs in front of the projection, which gates have met: of attention, and of the delta rule."""
    gates = {}

    def keep_gates(layer, module):
        def hook(_, inputs, out):
            q, gate = out.view(*out.shape[:-1], -1, 2 * module.head_dim).chunk(2, dim=-1)
            gates[layer] = gate.sigmoid().transpose(1, 2)
        return hook

    def before(layer, heads, gated):
        def hook(_, inputs):
            z = inputs[0].view(*inputs[0].shape[:-1], heads, -1).transpose(1, 2)
            plain, out = GATED[layer] * gates[layer] if gated else z, z.clone()
            for e in EDITS:
                if e["layer"] == layer and e["part"] == "v":
                    out[:, e["head"]] = plain.mean(1) if e["op"] == "mean" else e["factor"] * z[:, e["head"]]
            return (out.transpose(1, 2).reshape(inputs[0].shape),)
        return hook

    for i, layer in enumerate(model.model.layers):
        if hasattr(layer, "self_attn"):
            layer.self_attn.q_proj.register_forward_hook(keep_gates(i, layer.self_attn))
            layer.self_attn.o_proj.register_forward_pre_hook(before(i, model.config.num_attention_heads, True))
        else:
            layer.linear_attn.out_proj.register_forward_pre_hook(before(i, layer.linear_attn.num_v_heads, False))


AttentionInterface.register("golden", attention)
AttentionMaskInterface.register("golden", eager_mask)


def draw(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for key, weight in sorted(model.state_dict().items()):
        if key.endswith("layer_scalar"):
            weight.fill_(0.7)
            continue
        values = torch.randn(weight.shape, generator=generator)
        if "norm" in key or "ln_" in key or key.endswith(FACTORS):
            centred = type(model).__name__.startswith(("GemmaFor", "Gemma2", "Gemma3", "Nemotron")) or (GATED is not None and "linear_attn" not in key)  # stored less 1
            values = (0 if centred or key.endswith("bias") else 1) + 0.3 * values
        elif key.endswith(".bias"):
            values = 0.3 * values
        elif "embed" not in key and "wpe" not in key and "wte" not in key:
            wide = 4 * weight.shape[-1] ** 0.5 if key.endswith("router.proj.weight") else 4 if key.endswith(ROUTERS) else 1.3  # routers: no two experts tie
            values = wide * values / weight.shape[-1] ** 0.5
        weight.copy_(values)
    model.tie_weights()


def cases(layers, heads, kv, parts, deltas):
    """`deltas`: value heads of the layers of the delta rule, of which v alone is edited; 0 for layers of attention."""
    yield []
    turn = 0
    for part in parts:
        for op, factor in OPERATIONS:
            places = [l for l in range(layers) if part == "v" or not deltas[l]]
            first, second = places[turn % len(places)], places[(turn + 1) % len(places)]
            n, m = deltas[first] or heads, deltas[second] or heads
            chosen = [(first, turn % n), (second, (turn + 2) % m), (second, (turn + 3) % m)]
            result = []
            for p in part:
                for layer, head in dict.fromkeys((l, h * kv // heads if p == "k" else h) for l, h in chosen):
                    e = {"layer": layer, "head": head, "part": p, "op": op}
                    result.append(e if factor is None else {**e, "factor": factor})
            turn += 1
            yield result


def rounded(values):
    return [float(f"{v:.7g}") for v in values.tolist()]


def ask(model, prompt):
    """Asked for hidden states, transformers 5.24 does not slice the layers' inputs of a Gemma 4 that has none, which it fails at."""
    return model(torch.tensor([prompt]), use_cache=False, output_hidden_states=model.config.model_type == "gemma4_text")


def run(model, case):
    global EDITS
    EDITS = case
    with torch.no_grad():
        return [ask(model, p).logits[0, -1] for p in PROMPTS]


def pack_mxfp4(folder, seed):
    """The experts as gpt-oss's files have them: blocks of 32 four-bit floats, the first of a pair in the low half of its byte, and their exponents."""
    tensors, generator = {}, torch.Generator().manual_seed(seed)
    with safe_open(folder / "model.safetensors", "pt") as file:
        for key in file.keys():
            tensors[key] = file.get_tensor(key)
    for key in [k for k in tensors if k.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        n, columns, rows = tensors.pop(key).shape
        tensors[key + "_blocks"] = torch.randint(0, 256, (n, rows, columns // 32, 16), generator=generator, dtype=torch.uint8)
        tensors[key + "_scales"] = torch.randint(122, 126, (n, rows, columns // 32), generator=generator, dtype=torch.uint8)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def turn_experts(folder):
    """Qwen3-VL-MoE's files have the matrices of its experts turned."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    for key in [k for k in tensors if ".mlp.experts." in k]:
        tensors[key] = tensors[key].transpose(1, 2).contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def make(name, whole, with_gguf, args, dtype=None):
    """`dtype`: of the files, where that is not float32."""
    global GATED
    config, has_parts = whole.get_text_config(), hasattr(whole, "vision_config")
    auto = AutoModelForImageTextToText if has_parts else AutoModelForCausalLM
    folder = args.out / f"family-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    falcon = config.model_type == "falcon"
    types = getattr(config, "layer_types", None) or []
    GATED = {} if hasattr(config, "linear_num_value_heads") else None
    how = {"dtype": torch.float32, "attn_implementation": "eager" if falcon else "golden", "experts_implementation": "eager"}
    if has_parts:
        how["attn_implementation"] = {"": "eager", "vision_config": "eager", "text_config": "golden"}
    model = auto.from_config(whole, **how).eval()
    with torch.no_grad():
        draw(model, zlib.crc32(f"{name} {args.seed}".encode()))
    raw = None
    if name in QUANTISED:
        with torch.no_grad():
            for key, weight in model.state_dict().items():
                if weight.ndim > 1:
                    weight.copy_(weight.half())
            raw = family_gguf.quantise(model, np.random.default_rng(zlib.crc32(f"{name} {args.seed}".encode())))
    if dtype:
        model.to(dtype)
    model.save_pretrained(folder, save_original_format=name not in FUSED)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if "mxfp4" in name:
        pack_mxfp4(folder, args.seed)
    if config.model_type == "qwen3_vl_moe_text":
        turn_experts(folder)
    model = auto.from_pretrained(folder, **how).eval()
    if falcon:
        hook_falcon(model)
    if GATED is not None:
        hook_hybrid(model)
    hook_convolutions(model) if "conv" in types else None
    plain, lines = run(model, []), []
    config.allow_global_per_layer_attribute_access = True
    kv = [layer.self_attn.k_proj.out_features // layer.self_attn.head_dim for layer in model.model.layers if hasattr(layer.self_attn, "k_proj")] if "gemma4" in name else []
    heads, kv = config.num_attention_heads, 1 if falcon else min(kv + [getattr(config, "num_key_value_heads", config.num_attention_heads)])
    deltas = [1 if t == "conv" else 0 for t in types] if "conv" in types else [config.linear_num_value_heads if L in types and types[i] == L else 0 for i in range(config.num_hidden_layers)]
    for case in cases(config.num_hidden_layers, heads, kv, PARTS[:3] if falcon else PARTS, deltas):
        logits = run(model, case)
        if case and not args.random and not all(e["op"] == "mean" and (e["part"] == "k" and kv == 1 or deltas[e["layer"]] == 1) for e in case):
            assert max((a - b).abs().max() for a, b in zip(logits, plain)) > 1e-3, (name, case)
        lines.append(json.dumps({"edits": case, "logits": [rounded(x) for x in logits]}, separators=(",", ":")))
    with torch.no_grad():
        run_hidden = [ask(model.base_model, p).last_hidden_state[0, -1] for p in PROMPTS]
    head = f'{{"prompts":{json.dumps(PROMPTS, separators=(",", ":"))},\n"hidden":{json.dumps([rounded(h) for h in run_hidden], separators=(",", ":"))},\n'
    (folder / "golden.json").write_text(head + '"cases":[\n' + ",\n".join(lines) + "\n]}\n")
    if with_gguf:
        kind = "mixed" if raw else "mxfp4" if "mxfp4" in name else "f32"
        family_gguf.write(folder / f"model-{kind}.gguf", model, config, raw, kind == "mxfp4")
    if raw:  # the file is what is to be read
        (folder / "config.json").unlink()
        (folder / "model.safetensors").unlink()
    print(name, sum(f.stat().st_size for f in folder.iterdir()), "bytes", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--random", type=int, default=0, help="so many models of each family with settings drawn from the seed")
    parser.add_argument("--gguf", help="write the drawn models as GGUF as well, by llama.cpp's converter (converted.py): f32, f16, bf16, q8_0; golden.json is of f32")
    parser.add_argument("--out", type=Path, default=HERE / "models")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.random:
        for name in args.names or MODELS:
            build, with_gguf = MODELS[name]
            make(name, build(args), with_gguf, args)
        return
    for family in args.names or family_shapes.FAMILIES:
        for i in range(args.random):
            rng = np.random.default_rng(zlib.crc32(f"{family} {args.seed} {i}".encode()))
            name = f"{family}-{args.seed}-{i}"
            config = family_shapes.drawn(family, rng)
            dtype = rng.choice([None, torch.bfloat16, torch.float16], p=[0.6, 0.2, 0.2])
            if args.gguf:
                config = family_shapes.for_gguf(config)
                dtype = None if family.startswith(("gemma", "nemotron", "qwen3-5", "qwen3-next")) else dtype  # the converter adds 1 to norms in their own type
            make(name, config, False, args, dtype)
            reason = args.gguf and converted.convert(args.out / f"family-{name}", args.gguf)
            if reason:
                print(f"{name}: no GGUF, {reason}", flush=True)


main()
