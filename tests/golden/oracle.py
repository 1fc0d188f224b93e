# SPDX-License-Identifier: Apache-2.0
"""A plain forward pass of the Llama family in float64, with ablations: the definitions the goldens rest on.

It reads a Hugging Face directory and nothing else, so that it is independent of the classes of `transformers`;
make-models.py asserts that both agree to 1e-10 before anything is ablated.
"""
import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file


def inverse_frequencies(config, head_dim):
    """RoPE: radians per position for each pair of dimensions, [head_dim / 2]; both config forms are read."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    theta = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    kind = rope.get("rope_type", rope.get("type", "default"))
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    if kind == "default":
        return frequency
    if kind == "linear":
        return frequency / rope["factor"]
    assert kind == "llama3", kind
    # Llama 3.1: long waves are stretched by `factor`, short ones kept, and between them a linear blend.
    turns = rope["original_max_position_embeddings"] * frequency / (2 * math.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    keep = ((turns - low) / (high - low)).clamp(0, 1)
    return keep * frequency + (1 - keep) * frequency / rope["factor"]


class Model:
    """Weights as stored, widened to float64, and the shapes read from config.json."""

    def __init__(self, folder):
        folder = Path(folder)
        config = json.loads((folder / "config.json").read_text())
        tensors = {}
        for file in sorted(folder.glob("*.safetensors")):
            tensors.update(load_file(file))
        self.setup(config, {name: t.double() for name, t in tensors.items()})

    @classmethod
    def of(cls, config, tensors):
        self = cls.__new__(cls)
        self.setup(config, tensors)
        return self

    def setup(self, config, tensors):
        self.config, self.tensors = config, tensors
        self.layers = config["num_hidden_layers"]
        self.heads = config["num_attention_heads"]
        self.kv_heads = config.get("num_key_value_heads") or self.heads
        self.head_dim = config.get("head_dim") or config["hidden_size"] // self.heads
        self.eps = config["rms_norm_eps"]
        self.qk_norm = config["model_type"] == "qwen3"
        self.window = config.get("sliding_window") if config["model_type"] == "mistral" else None
        self.frequency = inverse_frequencies(config, self.head_dim)

    def linear(self, name, x):
        y = x @ self.tensors[name + ".weight"].T
        bias = self.tensors.get(name + ".bias")
        return y if bias is None else y + bias

    def norm(self, name, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.tensors[name + ".weight"]

    def rotate(self, x):
        """RoPE on [heads, positions, head_dim], first half paired with second half (the layout of HF checkpoints)."""
        angle = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * self.frequency
        cos, sin = angle.cos(), angle.sin()
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)

    def attend(self, q, k, v):
        """Head outputs z, [heads, positions, head_dim]; query head h reads key/value head h / (H / Hkv)."""
        group = self.heads // self.kv_heads
        k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
        score = self.rotate(q) @ self.rotate(k).transpose(1, 2) / math.sqrt(self.head_dim)
        n = q.shape[1]
        behind = torch.arange(n)[:, None] - torch.arange(n)
        visible = (behind >= 0) if self.window is None else (behind >= 0) & (behind < self.window)
        return score.masked_fill(~visible, -math.inf).softmax(-1) @ v

    def attention(self, layer, x, edits):
        """One layer's attention with its edits. Means come from the states this layer has without any of its edits."""
        prefix = f"model.layers.{layer}.self_attn."
        split = lambda y: y.view(y.shape[0], -1, self.head_dim).transpose(0, 1)
        q, k, v = (split(self.linear(prefix + n, x)) for n in ("q_proj", "k_proj", "v_proj"))
        if self.qk_norm:
            q, k = self.norm(prefix + "q_norm", q), self.norm(prefix + "k_norm", k)
        plain_z = self.attend(q, k, v)
        q = edited(q, q.mean(0), [e for e in edits if e["part"] == "q"])
        k = edited(k, k.mean(0), [e for e in edits if e["part"] == "k"])
        z = edited(self.attend(q, k, v), plain_z.mean(0), [e for e in edits if e["part"] == "v"])
        return self.linear(prefix + "o_proj", z.transpose(0, 1).reshape(x.shape[0], -1))

    def embed(self, tokens):
        """What enters the first layer, [positions, d_model]."""
        return self.tensors["model.embed_tokens.weight"][torch.tensor(tokens)]

    def layer(self, layer, x, edits=()):
        """The residual stream behind a layer, with its edits, [positions, d_model]."""
        prefix = f"model.layers.{layer}."
        here = [e for e in edits if e["layer"] == layer]
        x = x + self.attention(layer, self.norm(prefix + "input_layernorm", x), here)
        y = self.norm(prefix + "post_attention_layernorm", x)
        gate = torch.nn.functional.silu(self.linear(prefix + "mlp.gate_proj", y))
        return x + self.linear(prefix + "mlp.down_proj", gate * self.linear(prefix + "mlp.up_proj", y))

    def final(self, x):
        """Final-norm hidden state of the last position, [d_model]."""
        return self.norm("model.norm", x[-1])

    def hidden(self, tokens, edits=()):
        """Final-norm hidden state of the last token, [d_model]."""
        x = self.embed(tokens)
        for layer in range(self.layers):
            x = self.layer(layer, x, edits)
        return self.final(x)

    def logits(self, hidden):
        head = self.tensors.get("lm_head.weight")
        return hidden @ (self.tensors["model.embed_tokens.weight"] if head is None else head).T


def edited(state, mean, edits):
    """`state` [heads, positions, head_dim] with its edits; `mean` [positions, head_dim] is of the unedited heads."""
    result = state.clone()
    for e in edits:
        result[e["head"]] = mean if e["op"] == "mean" else state[e["head"]] * e["factor"]
    return result
