"""Makes smollm2-ships-float64.json: Ships of chosen (head, query) pairs of SmolLM2-135M-Instruct in float64.

    pip install torch==2.13.0 transformers==5.23.0 safetensors==0.8.0 gguf==0.19.0 tokenizers==0.23.3 numpy==2.4.6
    python make-smollm2-ships.py SmolLM2-135M-Instruct.Q4_1.gguf smollm2-ships.json OURS.jsonl

The second file holds scores that another program computed in float32 (`queries`, `template`, `kl["layer-head"][query]`),
the third what `sahara ships` wrote for the same queries. Pairs are chosen where the two differ by more than 1e-3 of a
score of at least 1e-4. What decides between them is computed here from the definition: weights dequantised by the gguf
package, every step of the forward pass in float64 (oracle.py), token ids of the tokenizers library, KL in float64.
"""
import json
import sys
from pathlib import Path

import gguf
import torch
from transformers import AutoTokenizer

import gguf_files
from oracle import Model

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


def divergence(p, q):
    return ((p + EPSILON) * ((p + EPSILON) / (q + EPSILON)).log()).sum().item()


def main():
    path, reference, ours = Path(sys.argv[1]), json.load(open(sys.argv[2])), {}
    for line in list(open(sys.argv[3]))[1:]:
        line = json.loads(line)
        ours[line["head"]] = line["kl"]
    pairs = sorted((query, [int(i) for i in head.split("-")]) for head, row in reference["kl"].items()
                   for query, kl in enumerate(row) if kl >= 1e-4 and abs(ours[head][query] - kl) > 8e-4 * kl)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = read_model(path)
    probabilities = lambda tokens, edits: model.logits(model.hidden(tokens, edits)).softmax(-1)
    out, plain = [], {}
    with torch.no_grad():
        for query, (layer, head) in pairs:
            tokens = tokenizer(reference["template"].replace("{}", reference["queries"][query]),
                               add_special_tokens=False).input_ids
            if query not in plain:
                plain[query] = probabilities(tokens, [])
            edit = {"layer": layer, "head": head, "part": "q", "op": "scale", "factor": 1e-4}
            out.append({"head": f"{layer}-{head}", "query": query,
                        "kl": float(f"{divergence(plain[query], probabilities(tokens, [edit])):.12g}")})
            there, here, truth = reference["kl"][f"{layer}-{head}"][query], ours[f"{layer}-{head}"][query], out[-1]["kl"]
            print(f"{layer}-{head} query {query}: {truth:.9g}, reference {there / truth - 1:+.1e}, "
                  f"ours {here / truth - 1:+.1e}", flush=True)
    target = Path(__file__).resolve().parent / "smollm2-ships-float64.json"
    target.write_text("[\n" + ",\n".join(json.dumps(row) for row in out) + "\n]\n")


main()
