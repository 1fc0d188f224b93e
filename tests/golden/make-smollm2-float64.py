"""Makes smollm2-ships-float64.json and smollm2-shifts-float64.json: the tables of reference/ in float64, every number of them.

    pip install torch==2.13.0 transformers==5.24.0 safetensors==0.8.0 gguf==0.19.0 tokenizers==0.23.3 numpy==2.4.6
    python make-smollm2-float64.py SmolLM2-135M-Instruct.Q4_1.gguf ships|shifts

Queries, templates and factors are those of reference/ (which another program computed in float32); what comes out is computed from the
definition: weights dequantised by the gguf package, every step of the forward pass in float64 (oracle.py), token ids of the tokenizers library,
KL and singular vectors in float64. About twenty minutes each on one core. How far the reference is off is printed at the end.
"""
import json
import math
import sys
from pathlib import Path

import gguf
import numpy as np
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


def each_head(model, tokens, factor, group=()):
    """Yields (head, final hidden state) of one prompt for every head ablated beside the group; head None is the group alone."""
    edit = lambda layer, head: {"layer": layer, "head": head, "part": "q", "op": "scale", "factor": factor}
    base = [edit(*head) for head in group]
    states, x = {}, model.embed(tokens)
    for layer in range(model.layers):
        states = {head: model.layer(layer, state, base) for head, state in states.items()}
        for head in range(model.heads):
            if (layer, head) not in group:
                states[layer, head] = model.layer(layer, x, base + [edit(layer, head)])
        x = model.layer(layer, x, base)
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
    write("smollm2-ships-float64.json", {"kl": kl})
    off = sorted((abs(there - here) / here, head, query) for head in kl
                 for query, (here, there) in enumerate(zip(kl[head], reference["kl"][head])))
    for error, head, query in off[-10:]:
        print(f"{head} query {query}: {kl[head][query]:.6g}, the reference is off by {error:.2%}")


def first_direction(states):
    """First left singular vector of the stacked states, [queries]."""
    return np.linalg.svd(torch.stack(states).numpy(), full_matrices=False)[0][:, 0]


def angle(u, v):
    """Degrees between two unit vectors up to sign; small ones from the sine."""
    cosine = u @ v
    return math.degrees(math.atan2(np.linalg.norm(v - cosine * u), abs(cosine)))


def shifts(model, path):
    reference = json.loads((HERE / "reference/smollm2-sahara.json").read_text())
    group, steps = [], []
    for step in reference["steps"]:
        states = {}
        for query, tokens in enumerate(prompts(path, reference)):
            for head, state in each_head(model, tokens, reference["scale"], group):
                states.setdefault(head, []).append(state)
            print("query", query, flush=True)
        before = states.pop(None)
        if not group:
            plain = first_direction(before)
        turned = {head: angle(plain, first_direction(rows)) for head, rows in states.items()}
        group.append(max(turned, key=turned.get))
        steps.append({"chosen": "%d-%d" % group[-1], "shifts": {"%d-%d" % head: turned[head] for head in sorted(turned)}})
        off = sorted((abs(turned[tuple(map(int, head.split("-")))] - there), head) for head, there in step["shifts"].items())
        print(f"chosen {group[-1]}, the reference {step['chosen']}; it is off by at most", off[-3:])
    write("smollm2-shifts-float64.json", {"steps": steps})


def write(name, value):
    """JSON with a head a line, numbers with eight digits."""
    shown = lambda x: [float(f"{y:.8g}") for y in x] if isinstance(x, list) else float(f"{x:.8g}")
    table = lambda rows: "{\n" + ",\n".join(f'"{head}": {json.dumps(shown(row))}' for head, row in rows.items()) + "\n}"
    if "kl" in value:
        text = '{"kl": ' + table(value["kl"]) + "}\n"
    else:
        text = '{"steps": [' + ",\n".join(f'{{"chosen": "{s["chosen"]}", "shifts": {table(s["shifts"])}}}'
                                          for s in value["steps"]) + "]}\n"
    (HERE / name).write_text(text)


def main():
    path, what = Path(sys.argv[1]), sys.argv[2]
    with torch.no_grad():
        {"ships": ships, "shifts": shifts}[what](read_model(path), path)


main()
