#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a checkpoint of Llama-2-7B's shapes in bfloat16 (13.5 GB), or of others, to prove that such a model loads and sweeps in 18 GB.

    bench/make-large.py FOLDER [--layers 32] [--width 4096] [--inner 11008] [--heads 32] [--vocabulary 32000]
    sahara bench FOLDER --precision bf16 --layers 0:1 --heads 0:2 --limit 2

Weights are random numbers from a seed (NumPy 1 or 2, nothing else needed): one block of 64 MB again and again, so that writing is
quick; norms are 1. The tokenizer is the organism's. What the model says is gibberish; what a pass costs is not.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

ORGANISM = Path(__file__).resolve().parent.parent / "models" / "organism"


def tensors(a):
    D, FF = a.width, a.inner
    yield "model.embed_tokens.weight", (a.vocabulary, D)
    for l in range(a.layers):
        p = f"model.layers.{l}."
        for name in ("q", "k", "v", "o"):
            yield p + f"self_attn.{name}_proj.weight", (D, D)
        yield p + "mlp.gate_proj.weight", (FF, D)
        yield p + "mlp.up_proj.weight", (FF, D)
        yield p + "mlp.down_proj.weight", (D, FF)
        yield p + "input_layernorm.weight", (D,)
        yield p + "post_attention_layernorm.weight", (D,)
    yield "model.norm.weight", (D,)
    yield "lm_head.weight", (a.vocabulary, D)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("layers", 32), ("width", 4096), ("inner", 11008), ("heads", 32), ("vocabulary", 32000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    a.folder.mkdir(parents=True)
    header, at = {}, 0
    for name, shape in tensors(a):
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    # bfloat16 is the upper half of float32
    values = np.random.default_rng(7).normal(0, 0.02, 32 << 20).astype(np.float32)
    block = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    one = np.uint16(0x3F80).tobytes()
    with open(a.folder / "model.safetensors", "wb") as file:
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape in tensors(a):
            left = 2 * int(np.prod(shape))
            while left > 0:
                file.write(one * shape[0] if len(shape) == 1 else block[:left])
                left -= min(left, len(block))
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": a.width,
              "intermediate_size": a.inner, "num_hidden_layers": a.layers, "num_attention_heads": a.heads, "num_key_value_heads": a.heads,
              "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
              "vocab_size": a.vocabulary, "bos_token_id": None, "eos_token_id": 1, "torch_dtype": "bfloat16"}
    (a.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ORGANISM / name, a.folder / name)


if __name__ == "__main__":
    main()
