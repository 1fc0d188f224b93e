# SPDX-License-Identifier: Apache-2.0
"""A tiny model of make-families.py as GGUF, in the form that llama.cpp's converter gives its family: names by gguf's own table, keys, rows of q and k
in rotary order for Llama's relatives, Gemma's norms with their 1 added."""
import importlib

import gguf
import numpy as np
import torch

import gguf_files

ARCHITECTURES = {"gemma": "GEMMA", "cohere": "COMMAND_R", "cohere2": "COHERE2", "exaone": "EXAONE", "exaone4": "EXAONE4", "seed_oss": "SEED_OSS", "ernie4_5": "ERNIE4_5", "arcee": "ARCEE",
                 "starcoder2": "STARCODER2", "stablelm": "STABLELM", "nemotron": "NEMOTRON", "lfm2": "LFM2", "lfm2_moe": "LFM2MOE", "gpt_neox": "GPTNEOX", "falcon": "FALCON",
                 "gemma2": "GEMMA2", "gemma3_text": "GEMMA3", "gemma4_text": "GEMMA4", "phi3": "PHI3", "olmo": "OLMO", "olmo2": "OLMO2", "olmo3": "OLMO2", "smollm3": "SMOLLM3", "granite": "GRANITE", "granitemoehybrid": "GRANITE", "granitemoe": "GRANITE_MOE", "glm": "CHATGLM", "glm4": "GLM4", "ministral3": "MISTRAL3", "gpt2": "GPT2",
                 "qwen3_5_text": "QWEN35", "qwen3_next": "QWEN3NEXT", "qwen3_5_moe_text": "QWEN35MOE",
                 "mixtral": "LLAMA", "qwen2_moe": "QWEN2MOE", "qwen3_moe": "QWEN3MOE", "olmoe": "OLMOE", "glm4_moe": "GLM4_MOE", "gpt_oss": "GPT_OSS"}
PERMUTED = {"arcee", "ministral3", "olmo", "smollm3", "granite", "granitemoe", "granitemoehybrid", "mixtral"}


def permuted(rows, heads):
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


HYBRIDS = {"qwen3_5_text", "qwen3_next", "qwen3_5_moe_text"}
IN_TURNS = {"qwen3_5_text", "qwen3_5_moe_text"}


def in_turns(values, c, dim, width):
    """Value heads, of `width` each along `dim`, as key heads take turns: the first of every key head before the second of any."""
    keys, each = c.linear_num_key_heads, c.linear_num_value_heads // c.linear_num_key_heads
    shape = values.shape[:dim] + (keys, each, width) + values.shape[dim + 1:]
    return values.reshape(shape).swapaxes(dim, dim + 1).reshape(values.shape)


def hybrid_pieces(key, values, c):
    K, D, keys, heads = c.linear_key_head_dim, c.linear_value_head_dim, c.linear_num_key_heads, c.linear_num_value_heads
    turns = (lambda v, dim, width: in_turns(v, c, dim, width)) if c.model_type in IN_TURNS else lambda v, dim, width: v
    last = lambda v: np.concatenate([v[:2 * keys * K], turns(v[2 * keys * K:], 0, D)])  # v behind q and k
    own = key.split("linear_attn.")[-1]
    if key.endswith("norm.weight") and own != "norm.weight":
        return [(key, values + 1)]
    if own == "A_log":
        return [(key, turns(-np.exp(values), 0, 1))]
    if own == "dt_bias":
        return [(key.replace("dt_bias", "dt_proj.bias"), turns(values, 0, 1))]
    if own == "conv1d.weight":
        return [(key, last(values.squeeze(1)))]
    if own == "in_proj_qkv.weight":
        return [(key, last(values))]
    if own == "in_proj_z.weight":
        return [(key, turns(values, 0, D))]
    if own in ("in_proj_a.weight", "in_proj_b.weight"):
        return [(key, turns(values, 0, 1))]
    if own == "out_proj.weight":
        return [(key, turns(values, 1, D))]
    if own == "in_proj_qkvz.weight":  # by key head
        parts = np.split(values.reshape(keys, -1, values.shape[1]), np.cumsum([K, K, heads // keys * D]), axis=1)
        q, k, v, z = (part.reshape(-1, values.shape[1]) for part in parts)
        return [(key.replace("qkvz", "qkv"), np.concatenate([q, k, v])), (key.replace("qkvz", "z"), z)]
    return [(key, values)]


def expert_keys(writer, c):
    count = getattr(c, "num_experts", None) or getattr(c, "n_routed_experts", None) or getattr(c, "num_local_experts", None)
    if not count:
        return
    writer.add_expert_count(count)
    writer.add_expert_used_count(c.num_experts_per_tok)
    if hasattr(c, "moe_intermediate_size"):
        writer.add_expert_feed_forward_length(c.moe_intermediate_size)
    if getattr(c, "shared_intermediate_size", 0):
        writer.add_expert_shared_feed_forward_length(c.shared_intermediate_size)
    if hasattr(c, "shared_expert_intermediate_size"):
        writer.add_expert_shared_feed_forward_length(c.shared_expert_intermediate_size)
    if c.model_type == "glm4_moe":
        writer.add_expert_shared_count(c.n_shared_experts)
        writer.add_leading_dense_block_count(c.first_k_dense_replace)
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        writer.add_expert_weights_scale(c.routed_scaling_factor)
        writer.add_expert_weights_norm(c.norm_topk_prob)
        writer.add_expert_group_count(c.n_group)
        writer.add_expert_group_used_count(c.topk_group)


def in_order(c):
    """Every so many-th layer of a hybrid has attention, as one key of its files says; else there is a list."""
    each = c.layer_types.index("full_attention") + 1
    return all((t == "full_attention") == ((i + 1) % each == 0) for i, t in enumerate(c.layer_types))


def further_layers(c):
    """Layers behind the last, which predict a further token."""
    return 1 if c.model_type == "glm4_moe" or c.model_type in HYBRIDS and not in_order(c) else 0


def keys(writer, c):
    kind = c.model_type
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    extra = further_layers(c)
    writer.add_block_count(c.num_hidden_layers + extra)
    if extra:
        writer.add_nextn_predict_layers(extra)
    writer.add_head_count(c.num_attention_heads)
    if kind == "falcon":
        writer.add_feed_forward_length(c.ffn_hidden_size)
        writer.add_head_count_kv(1)
        writer.add_layer_norm_eps(c.layer_norm_epsilon)
        return
    if kind == "gpt_neox":
        writer.add_feed_forward_length(c.intermediate_size)
        writer.add_parallel_residual(c.use_parallel_residual)
        writer.add_rope_dimension_count(int(head_dim * c.rope_parameters["partial_rotary_factor"]))
        writer.add_layer_norm_eps(c.layer_norm_eps)
        return
    if kind == "gpt2":
        writer.add_feed_forward_length(c.n_inner or 4 * c.n_embd)
        writer.add_layer_norm_eps(c.layer_norm_epsilon)
        return
    if kind == "gemma4_text":
        return gemma4_keys(writer, c)
    if hasattr(c, "intermediate_size"):
        dense = not getattr(c, "num_local_experts", 0)
        writer.add_feed_forward_length(getattr(c, "shared_intermediate_size", c.intermediate_size) if dense else c.intermediate_size)
    expert_keys(writer, c)
    if kind.startswith("lfm2"):
        if kind == "lfm2_moe":
            writer.add_leading_dense_block_count(c.num_dense_layers)
            writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        writer.add_shortconv_l_cache(c.conv_L_cache)
        writer.add_head_count_kv([c.num_key_value_heads if t != "conv" else 0 for t in c.layer_types])
        writer.add_layer_norm_rms_eps(c.norm_eps)
        writer.add_rope_freq_base(c.rope_parameters["rope_theta"])
        return
    writer.add_head_count_kv([c.num_key_value_heads] * c.num_hidden_layers if kind == "granitemoehybrid" else c.num_key_value_heads)
    layer_norm = [getattr(c, key) for key in ("layer_norm_eps", "norm_epsilon", "norm_eps") if hasattr(c, key)]
    if layer_norm or kind == "olmo":
        writer.add_layer_norm_eps(layer_norm[0] if layer_norm else 1e-5)
    else:
        writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    rope = c.rope_parameters.get("full_attention", c.rope_parameters)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
    if kind in ("gemma", "seed_oss", "ernie4_5", "arcee", "exaone4", "nemotron", "gemma2", "gemma3_text", "glm", "glm4", "glm4_moe", "qwen3_moe", "gpt_oss"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if kind in ("gemma2", "gemma3_text", "gpt_oss", "cohere2") or kind == "exaone4" and c.sliding_window:
        writer.add_sliding_window(c.sliding_window)
    if kind.startswith("cohere"):
        writer.add_logit_scale(c.logit_scale)
    if kind == "stablelm":
        writer.add_parallel_residual(c.use_parallel_residual)
    if kind in HYBRIDS:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        writer.add_ssm_conv_kernel(c.linear_conv_kernel_dim)
        writer.add_ssm_state_size(c.linear_key_head_dim)
        writer.add_ssm_group_count(c.linear_num_key_heads)
        writer.add_ssm_time_step_rank(c.linear_num_value_heads)
        writer.add_ssm_inner_size(c.linear_value_head_dim * c.linear_num_value_heads)
        if in_order(c):
            writer.add_full_attention_interval(c.layer_types.index("full_attention") + 1)
        else:
            writer.add_array(f"{writer.arch}.attention.recurrent_layers", [t == "linear_attention" for t in c.layer_types] + [False] * further_layers(c))
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(c.attn_logit_softcapping)
    if kind in ("gemma2", "gemma3_text") and c.final_logit_softcapping:
        writer.add_final_logit_softcapping(c.final_logit_softcapping)
    if kind == "olmo3":
        writer.add_sliding_window(c.sliding_window)
        writer.add_sliding_window_pattern([t == "sliding_attention" for t in c.layer_types])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        if kind == "ministral3":
            writer.add_rope_scaling_yarn_log_mul(rope["mscale_all_dim"])
            writer.add_attn_temperature_scale(rope["llama_4_scaling_beta"])
    if kind == "gpt_oss":
        writer.add_expert_feed_forward_length(c.intermediate_size)
    if kind.startswith("granite"):
        writer.add_attention_scale(c.attention_multiplier)
        writer.add_embedding_scale(c.embedding_multiplier)
        writer.add_residual_scale(c.residual_multiplier)
        writer.add_logit_scale(c.logits_scaling)


def pieces(key, values, c):
    """What the converter makes of a tensor: names of Hugging Face's kind, and values."""
    kind = c.model_type
    if kind in PERMUTED and (".q_proj." in key or ".k_proj." in key):
        values = permuted(values, c.num_attention_heads if ".q_proj." in key else c.num_key_value_heads)
    if kind.startswith("lfm2") and key.endswith("conv.conv.weight"):
        return [(key, values.squeeze(1))]
    if key.endswith("feed_forward.experts.gate_up_proj"):
        half = values.shape[1] // 2
        return [(key.replace("gate_up_proj", "gate_proj.weight"), values[:, :half]), (key.replace("gate_up_proj", "up_proj.weight"), values[:, half:])]
    if key.endswith("feed_forward.experts.down_proj"):
        return [(key + ".weight", values)]
    if key.endswith("feed_forward.expert_bias"):
        return [(key + ".bias", values)]
    if kind == "gpt_neox" and "query_key_value" in key:  # q, k, v of each head to those of all heads
        by_head = values.reshape(c.num_attention_heads, 3, -1, *values.shape[1:])
        values = np.concatenate([by_head[:, part].reshape(-1, *values.shape[1:]) for part in range(3)])
    if kind == "gpt2" and key.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        values = values.T.copy()
    if kind in ("gemma", "gemma2", "gemma3_text", "nemotron") and key.endswith("norm.weight"):
        values = values + 1
    if kind == "gpt_oss" and ".experts." in key:
        own = key.replace("_proj_bias", "_proj.bias") if key.endswith("_bias") else key + ".weight"
        values = values if key.endswith("_bias") else values.swapaxes(1, 2)
        if "down_proj" in key:
            return [(own, values.copy())]
        return [(own.replace("gate_up", part), values[:, first::2].copy()) for first, part in enumerate(("gate", "up"))]
    if kind == "gemma4_text" and key.endswith(("router.scale", "router.per_expert_scale")):
        return [(key.replace("router.scale", "router.proj.scale").replace("router.per_expert_scale", "experts.down_proj.scale"), values)]
    if kind == "gemma4_text" and ".experts." in key:
        return [(key + ".weight", values)]
    if key.endswith("mlp.experts.gate_up_proj"):
        half = values.shape[1] // 2
        return [(key.replace("gate_up_proj", "gate_proj.weight"), values[:, :half]), (key.replace("gate_up_proj", "up_proj.weight"), values[:, half:])]
    if key.endswith("mlp.experts.down_proj"):
        return [(key + ".weight", values)]
    if key.endswith("e_score_correction_bias"):
        return [(key.replace("e_score_correction_bias", "e_score_correction.bias"), values)]
    if kind in HYBRIDS:
        return hybrid_pieces(key, values, c)
    if key.endswith("block_sparse_moe.experts.gate_up_proj"):
        half = values.shape[1] // 2
        return [(key.replace("block_sparse_moe.experts.gate_up_proj", f"mlp.experts.{part}_proj.weight"), own) for part, own in (("gate", values[:, :half]), ("up", values[:, half:]))]
    if key.endswith("block_sparse_moe.experts.down_proj"):
        return [(key.replace("block_sparse_moe", "mlp") + ".weight", values)]
    if key.endswith("block_sparse_moe.router.weight"):
        return [(key.replace("block_sparse_moe.router", "mlp.gate"), values)]
    if "shared_mlp." in key:
        own, half = "mlp.shared_mlp" if getattr(c, "num_local_experts", 0) else "mlp", len(values) // 2
        if "output_linear" in key:
            return [(key.replace("shared_mlp.output_linear", own + ".down_proj"), values)]
        return [(key.replace("shared_mlp.input_linear", f"{own}.{part}_proj"), part_values) for part, part_values in (("gate", values[:half]), ("up", values[half:]))]
    if key.endswith(("sinks", "layer_scalar")):
        key += ".weight"
    return [(key, values)]


OTHER_BLOCKS = importlib.import_module("make-formats").GGUF_BLOCKS
Q = gguf.GGMLQuantizationType


def random_blocks(kind, rows, columns, std, rng):
    """Raw bytes [rows, bytes of a row] of a type that gguf cannot make: random ones, under scales that give the wanted deviation."""
    size, at = OTHER_BLOCKS[kind]
    each = gguf.GGML_QUANT_SIZES[kind][0]
    raw = rng.integers(0, 256, (rows * columns // each, size), dtype=np.uint8)

    def scaled(scales):
        bits = np.broadcast_to(scales, len(raw)).astype("<f2").view("<u2")
        if at is not None:
            raw[:, at:at + 2] = bits.view(np.uint8).reshape(-1, 2)
        elif kind is Q.MXFP4:  # an exponent
            raw[:, 0] = 127 + np.round(np.log2(np.broadcast_to(scales, len(raw))))
        else:  # IQ1_M: the top four bits of four numbers
            for i in range(4):
                raw[:, 49 + 2 * i] = raw[:, 49 + 2 * i] & 15 | ((bits >> 4 * i & 15) << 4).astype(np.uint8)
        return gguf.quants.dequantize(raw, kind)

    scaled(std / scaled(1.0).std() * rng.uniform(0.8, 1.2, len(raw)))
    return raw.reshape(rows, -1)


def quantised(kind, rows, columns, std, rng):
    raw = random_blocks(kind, rows, columns, std, rng) if kind in OTHER_BLOCKS else gguf_files.random_rows(kind, rows, columns, std, rng)[0]
    return raw, gguf.quants.dequantize(raw, kind)


def quantise(model, rng):
    """Gives the experts of a model values that the types of GGUF hold exactly, each type in turn; their bytes by the name of the tensor."""
    block = lambda kind: gguf.GGML_QUANT_SIZES[kind][0]
    kinds = [k for k in [*gguf_files.WITH_QUANTIZER, *gguf_files.K_BLOCKS, *OTHER_BLOCKS] if k is not Q.F16]
    wide, narrow = ([k for k in kinds if (block(k) == 256) == w] for w in (True, False))
    out, turn = {}, [0, 0]
    for key, weight in sorted(model.state_dict().items()):
        if not key.endswith(("experts.gate_up_proj", "experts.down_proj")):
            continue
        count, rows, columns = weight.shape
        down = key.endswith("down_proj")
        for i, own in enumerate([key] if down else [key.replace("gate_up", "gate"), key.replace("gate_up", "up")]):
            some = narrow if down else wide
            kind = some[turn[down] % len(some)]
            turn[down] += 1
            n = rows if down else rows // 2
            raw, values = quantised(kind, count * n, columns, 1.3 / columns ** 0.5, rng)
            weight[:, i * n:(i + 1) * n] = torch.from_numpy(values.reshape(count, n, columns))
            out[own + ".weight"] = (raw.reshape(count, n, -1), kind)
    assert turn[0] >= len(wide) and turn[1] >= len(narrow), turn
    return out


def four_bit(values):
    """Values of four-bit floats in blocks of 32 as GGUF keeps them: an exponent, then bytes of values i and i + 16. They must come back exactly."""
    packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.MXFP4)
    assert (gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.MXFP4) == values).all()
    return packed


def gemma4_keys(writer, c):
    if c.enable_moe_block:
        writer.add_expert_count(c.num_experts)
        writer.add_expert_used_count(c.top_k_experts)
        writer.add_expert_feed_forward_length(c.moe_intermediate_size)
    full, layers = c.per_layer_config["full_attention"], range(c.num_hidden_layers)
    slides = [t == "sliding_attention" for t in c.layer_types]
    writer.add_head_count_kv([c.num_key_value_heads if s else full.num_key_value_heads for s in slides])
    writer.add_feed_forward_length([c.intermediate_size * (2 if c.use_double_wide_mlp and l >= len(layers) - c.num_kv_shared_layers else 1) for l in layers])
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_freq_base(c.rope_parameters["full_attention"]["rope_theta"])
    writer.add_rope_freq_base_swa(c.rope_parameters["sliding_attention"]["rope_theta"])
    writer.add_rope_dimension_count(full.head_dim)
    writer.add_rope_dimension_count_swa(c.head_dim)
    writer.add_key_length(full.head_dim)
    writer.add_value_length(full.head_dim)
    writer.add_key_length_swa(c.head_dim)
    writer.add_value_length_swa(c.head_dim)
    writer.add_sliding_window(c.sliding_window)
    writer.add_sliding_window_pattern(slides)
    writer.add_shared_kv_layers(c.num_kv_shared_layers)
    writer.add_embedding_length_per_layer_input(c.hidden_size_per_layer_input)
    turned = int(full.head_dim * c.rope_parameters["full_attention"]["partial_rotary_factor"] / 2)
    writer.add_tensor("rope_freqs.weight", np.array([1.0] * turned + [1e30] * (full.head_dim // 2 - turned), np.float32))


def write(path, model, c, raw=None, mxfp4=False):
    """`raw`: bytes and types of tensors that are written as these."""
    experts = c.model_type == "granitemoehybrid" and c.num_local_experts > 0
    arch = getattr(gguf.MODEL_ARCH, ARCHITECTURES["granitemoe" if experts else c.model_type])
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_name(path.parent.name)
    keys(writer, c)
    names = gguf.get_tensor_name_map(arch, c.num_hidden_layers)
    for key, weight in model.state_dict().items():
        if key == "lm_head.weight" and c.tie_word_embeddings:
            continue
        for own, values in pieces(key, weight.detach().float().numpy(), c):
            name = names.get_name(own, try_suffixes=(".weight", ".bias", ".scale"))
            assert name, own
            if raw and own in raw:
                writer.add_tensor(name, raw[own][0], raw_dtype=raw[own][1])
            elif mxfp4 and "_exps.weight" in name:
                writer.add_tensor(name, four_bit(values), raw_dtype=Q.MXFP4)
            else:
                writer.add_tensor(name, values.astype(np.float16) if raw and values.ndim > 1 else values)
    if further_layers(c):
        writer.add_tensor(f"blk.{c.num_hidden_layers}.attn_norm.weight", np.ones(c.hidden_size, np.float32))
        writer.add_tensor(f"blk.{c.num_hidden_layers}.nextn.eh_proj.weight", np.ones((c.hidden_size, 2 * c.hidden_size), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
