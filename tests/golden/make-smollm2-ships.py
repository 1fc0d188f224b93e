# SPDX-License-Identifier: Apache-2.0
"""Makes smollm2-ships-float64.json: every number of reference/smollm2-ships.json in float64.

    pip install torch==2.13.0 transformers==5.24.0 safetensors==0.8.0 gguf==0.19.0 tokenizers==0.23.3 numpy==2.4.6
    python make-smollm2-ships.py SmolLM2-135M-Instruct.Q4_1.gguf

Queries, template and factor are those of the reference's file (which another program computed in float32); what comes out is computed from the
definition: weights dequantised by the gguf package, every step of the forward pass in float64 (oracle.py), token ids of the tokenizers library,
KL in float64. About twenty minutes on one core. How far the reference is off is printed at the end.
"""
import json
import sys
from pathlib import Path

import gguf
import torch
from transformers import AutoTokenizer

import gguf_files
from oracle import Model

HERE = Path(__file__).resolve().parent
EPSILON = 1e-12


def read_model(path):
    reader = gguf.GGUFReader(path)
    key = lambda name: reader.fields["llama." + name].contents()
    config = {
        "model_type": "llama", "num_hidden_layers": key("block_count"), "hidden_size": key("embedding_length"),
        "num_attention_heads": key("attention.head_count"), "num_key_value_heads": key("attention.head_count_kv"),
        "rms_norm_eps": float(key("attention.layer_norm_rms_epsilon")), "rope_theta": float(key("rope.freq_base"))}
    names = {f"model.layers.{layer}.{inner}": f"blk.{layer}.{there}" for layer in range(config["num_hidden_layers"])
             for inner, there in gguf_files.IN_LAYER.items()} | gguf_files.GLOBAL
    names = {there + ".weight": here + ".weight" for here, there in names.items()}
    tensors = {}
    for tensor in reader.tensors:
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        name = names[tensor.name]
        heads = config["num_attention_heads"] if "q_proj" in name else \
            config["num_key_value_heads"] if "k_proj" in name else 0
        tensors[name] = torch.from_numpy(gguf_files.unpermuted(weight, heads) if heads else weight.copy()).double()
    return Model.of(config, tensors)


def each_head(model, tokens, factor):
    """Yields (head, final hidden state) of one prompt, unablated (head None) and for every head."""
    edit = lambda layer, head: {"layer": layer, "head": head, "part": "q", "op": "scale", "factor": factor}
    states, x = {}, model.embed(tokens)
    for layer in range(model.layers):
        states = {head: model.layer(layer, state) for head, state in states.items()}
        for head in range(model.heads):
            states[layer, head] = model.layer(layer, x, [edit(layer, head)])
        x = model.layer(layer, x)
    yield None, model.final(x)
    for head, state in states.items():
        yield head, model.final(state)


def prompts(path, reference):
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for query in reference["queries"]:
        yield tokenizer(reference["template"].replace("{}", query), add_special_tokens=False).input_ids


def divergence(p, q):
    return ((p + EPSILON) * ((p + EPSILON) / (q + EPSILON)).log()).sum().item()


def ships(model, path):
    reference = json.loads((HERE / "reference/smollm2-ships.json").read_text())
    kl = {head: [] for head in reference["kl"]}
    for query, tokens in enumerate(prompts(path, reference)):
        for head, state in each_head(model, tokens, reference["scale"]):
            probabilities = model.logits(state).softmax(-1)
            if head is None:
                plain = probabilities
            else:
                kl["%d-%d" % head].append(divergence(plain, probabilities))
        print("query", query, flush=True)
    rows = (f'"{head}": {json.dumps([float(f"{x:.8g}") for x in row])}' for head, row in kl.items())
    (HERE / "smollm2-ships-float64.json").write_text('{"kl": {\n' + ",\n".join(rows) + "\n}}\n")
    off = sorted((abs(there - here) / here, head, query) for head in kl
                 for query, (here, there) in enumerate(zip(kl[head], reference["kl"][head])))
    for error, head, query in off[-10:]:
        print(f"{head} query {query}: {kl[head][query]:.6g}, the reference is off by {error:.2%}")


def main():
    path = Path(sys.argv[1])
    with torch.no_grad():
        ships(read_model(path), path)


main()
