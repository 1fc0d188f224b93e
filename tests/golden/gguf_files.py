# SPDX-License-Identifier: Apache-2.0
"""Writes the golden models as GGUF, in the form llama.cpp's converter gives them: names, keys, permuted q and k rows.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""
import struct

import gguf
import numpy as np
import torch

GLOBAL = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
IN_LAYER = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
            "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
            "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def gguf_name(name):
    stem, kind = name.rsplit(".", 1)
    if stem in GLOBAL:
        return f"{GLOBAL[stem]}.{kind}"
    _, _, layer, inner = stem.split(".", 3)
    return f"blk.{layer}.{IN_LAYER[inner]}.{kind}"


def permuted(rows, heads):
    """Within each head, (first half, second half) becomes pairs of neighbours: RoPE in GGUF turns neighbours."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def unpermuted(rows, heads):
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def architecture(model):
    return {"qwen2": "qwen2", "qwen3": "qwen3"}.get(model.config["model_type"], "llama")


def rotary_heads(model, name):
    """Number of heads whose rows are permuted in this tensor, or 0. Qwen's files keep the order of Hugging Face."""
    if architecture(model) != "llama" or "proj" not in name:
        return 0
    return model.heads if "q_proj" in name else model.kv_heads if "k_proj" in name else 0


def write_keys(writer, model, name, file_type):
    c = model.config
    writer.add_name(name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(model.layers)
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_vocab_size(c["vocab_size"])
    writer.add_rope_dimension_count(model.head_dim)
    if model.head_dim * model.heads != c["hidden_size"]:
        writer.add_key_length(model.head_dim)
        writer.add_value_length(model.head_dim)
    rope = c.get("rope_parameters") or {"rope_theta": c.get("rope_theta", 10000.0), **(c.get("rope_scaling") or {})}
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope.get("rope_type", rope.get("type")) == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


def write_tokenizer(writer, vocab):
    """The smallest byte-level vocabulary of the right size: the models are asked with token ids only."""
    tokens = ["<unk>", "<s>", "</s>", "a", "b"] + [chr(ord("!") + i) for i in range(vocab - 6)] + ["ab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (vocab - 3))
    writer.add_token_merges(["a b"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write_rope_factors(writer, model):
    """Llama 3's stretched frequencies are a tensor of divisors, one for each pair of dimensions."""
    c = model.config
    rope = c.get("rope_parameters") or c.get("rope_scaling") or {}
    if rope.get("rope_type") != "llama3":
        return
    theta = rope.get("rope_theta", c.get("rope_theta"))
    plain = theta ** (-np.arange(0, model.head_dim, 2, dtype=np.float64) / model.head_dim)
    writer.add_tensor("rope_freqs.weight", (plain / model.frequency.numpy()).astype(np.float32))


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_f32(path, model, name, alignment=None):
    writer = gguf.GGUFWriter(path, architecture(model))
    if alignment:
        writer.add_custom_alignment(alignment)
    write_keys(writer, model, name, gguf.LlamaFileType.ALL_F32)
    write_tokenizer(writer, model.config["vocab_size"])
    write_rope_factors(writer, model)
    for key, weight in model.tensors.items():
        data = weight.float().numpy()
        heads = rotary_heads(model, key)
        writer.add_tensor(gguf_name(key), np.ascontiguousarray(permuted(data, heads) if heads else data))
    finish(writer)


def write_version_2(path, source):
    """Version 2 differs from little-endian version 3 in the version field alone."""
    data = bytearray(source.read_bytes())
    assert data[:8] == b"GGUF" + struct.pack("<I", 3)
    data[4:8] = struct.pack("<I", 2)
    path.write_bytes(data)


# K-quants: super-blocks of 256 weights. (bytes in a block, offset of d, offset of dmin), d and dmin float16.
Q = gguf.GGMLQuantizationType
K_BLOCKS = {Q.Q2_K: (84, 80, 82), Q.Q3_K: (110, 108, None), Q.Q4_K: (144, 0, 2), Q.Q5_K: (176, 0, 2),
            Q.Q6_K: (210, 208, None)}
WITH_QUANTIZER = [Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.BF16, Q.F16]
TYPES = WITH_QUANTIZER + list(K_BLOCKS)


def random_k_blocks(kind, count, std, rng):
    """`count` blocks of random bytes whose scales give values of mean about 0 and the wanted standard deviation."""
    size, at_d, at_min = K_BLOCKS[kind]
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)

    def with_scales(d, low):
        for at, value in ((at_d, d), (at_min, low)):
            if at is not None:
                raw[:, at:at + 2] = np.broadcast_to(value, count).astype("<f2").view(np.uint8).reshape(-1, 2)
        return gguf.quants.dequantize(raw, kind)

    low = 0.0
    if at_min is not None:
        low = -with_scales(1, 0).mean() / with_scales(0, 1).mean()
    d = std / with_scales(1, low).std() * rng.uniform(0.8, 1.2, count)
    with_scales(d, d * low)
    return raw


def random_rows(kind, rows, columns, std, rng):
    """Raw bytes [rows, bytes of a row] of one tensor, and its values [rows, columns]."""
    if kind in K_BLOCKS:
        raw = random_k_blocks(kind, rows * columns // 256, std, rng).reshape(rows, -1)
    else:
        raw = gguf.quants.quantize((rng.standard_normal((rows, columns)) * std).astype(np.float32), kind)
    return raw, gguf.quants.dequantize(raw, kind)


def write_quantised(path, config, model_class, kinds, rng):
    """A model whose tensors take the types of `kinds` in turn; returns it with the values gguf.quants gives them."""
    d, ffn = config["hidden_size"], config["intermediate_size"]
    kv = config["num_key_value_heads"] * d // config["num_attention_heads"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], d)}
    for layer in range(config["num_hidden_layers"]):
        for part, size in (("self_attn.q_proj", (d, d)), ("self_attn.k_proj", (kv, d)), ("self_attn.v_proj", (kv, d)),
                           ("self_attn.o_proj", (d, d)), ("mlp.gate_proj", (ffn, d)), ("mlp.up_proj", (ffn, d)),
                           ("mlp.down_proj", (d, ffn))):
            shapes[f"model.layers.{layer}.{part}.weight"] = size
    shapes["lm_head.weight"] = (config["vocab_size"], d)
    norms = ["model.norm.weight"] + [f"model.layers.{layer}.{n}.weight" for layer in range(config["num_hidden_layers"])
                                     for n in ("input_layernorm", "post_attention_layernorm")]
    model = model_class.of(config, {})
    writer = gguf.GGUFWriter(path, "llama")
    write_keys(writer, model, path.stem, gguf.LlamaFileType.MOSTLY_Q4_K_M)
    write_tokenizer(writer, config["vocab_size"])
    for index, (name, (rows, columns)) in enumerate(shapes.items()):
        wide = 16.0 if "embed" in name else 1.5 if "q_proj" in name or "k_proj" in name else 1.2
        kind = kinds[index % len(kinds)]
        raw, values = random_rows(kind, rows, columns, wide / columns ** 0.5, rng)
        writer.add_tensor(gguf_name(name), raw, raw_dtype=kind)
        heads = rotary_heads(model, name)
        model.tensors[name] = torch.from_numpy(unpermuted(values, heads) if heads else values).double()
    for name in norms:
        values = (1 + 0.3 * rng.standard_normal(d)).astype(np.float32)
        writer.add_tensor(gguf_name(name), values)
        model.tensors[name] = torch.from_numpy(values).double()
    finish(writer)
    return model
