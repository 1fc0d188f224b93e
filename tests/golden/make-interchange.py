# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/interchange.json: logits of tiny models whose heads' states come from other prompts.

    pip install torch==2.13.0 transformers==5.24.0 safetensors==0.8.0
    python make-interchange.py

The models are those of make-models.py and make-families.py; nothing is drawn at random here but the prompts (seed 14).
`transformers` runs each model in float64 with hooks: a first pass over the other prompts records q and k behind their
norms and before RoPE, and the heads' outputs in front of the output projection; a second over the prompt itself puts
them in place, at positions counted from the end. Every case has the logits of the first tokens of the vocabulary.
"""
import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
SHOWN = 20  # logits of a case
PARTS = ["q", "k", "v", "qv", "qkv"]
# Multi-head, grouped, and norms of q and k, with every part; then what turns or gates differently: a norm over the row,
# neighbouring dimensions of a part of the head, factors of longrope and yarn, windows with soft caps, biases; attention
# beside the MLP, layers without RoPE, windows with norms behind, multipliers, a part of the head that turns.
FULL = ["llama-mha", "llama-gqa", "qwen3"]
SHORT = ["family-olmo2", "family-glm", "family-phi3-longrope", "family-llama-yarn", "family-gemma2", "qwen2",
         "mistral-swa", "family-cohere2", "family-smollm3", "family-olmo3", "family-granite", "family-stablelm"]


class Places:
    """Where a layer's states can be read and written: (module, before or behind it, columns)."""

    def __init__(self, model, layer):
        config, attention = model.config, model.model.layers[layer].self_attn
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.D = attention.head_dim
        q, kv = self.heads * self.D, self.kv_heads * self.D
        if hasattr(attention, "qkv_proj"):
            self.q, self.k = (attention.qkv_proj, 0), (attention.qkv_proj, q)
        elif hasattr(attention, "q_norm"):
            self.q, self.k = (attention.q_norm, 0), (attention.k_norm, 0)
        else:
            self.q, self.k = (attention.q_proj, 0), (attention.k_proj, 0)
        self.o = attention.o_proj
        assert kv > 0

    def of(self, part):
        return {"q": self.q, "k": self.k, "v": (self.o, 0)}[part]

    def hook(self, part, function):
        """`function` sees the part's states [positions, heads, D] and may change them in place."""
        module, first = self.of(part)
        heads = self.kv_heads if part == "k" else self.heads

        def view(x):
            x = x.reshape(x.shape[1], -1)[:, first:first + heads * self.D]
            return x.view(x.shape[0], heads, self.D)

        if part == "v":
            def before(_, arguments):
                x = arguments[0].clone()
                function(view(x))
                return (x,) + arguments[1:]
            return module.register_forward_pre_hook(before)

        def behind(_, __, out):
            x = out.clone()
            function(view(x))
            return x
        return module.register_forward_hook(behind)


def run(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0, -1]


def record(model, tokens, layer, part):
    seen = []
    hook = Places(model, layer).hook(part, lambda x: seen.append(x.clone()))
    run(model, tokens)
    hook.remove()
    return seen[0]


def stand_in(case, model, layer, part, head, n):
    """The states that take the place of the head's own, [positions from the end] or one for all of n."""
    states = [record(model, other, layer, part)[:, head] for other in case["others"]]
    if case["op"] == "swap":
        return states[0].flip(0)[:n]
    if case["positions"] == "all":
        return torch.cat(states).mean(0).expand(n, -1)
    longest = max(len(s) for s in states)
    return torch.stack([torch.stack([s[len(s) - 1 - i] for s in states if i < len(s)]).mean(0)
                        for i in range(longest)])[:n]


def logits(model, case):
    hooks, n = [], len(case["prompt"])
    states = [stand_in(case, model, e["layer"], e["part"], e["head"], n) for e in case["edits"]]
    for edit, new in zip(case["edits"], states):
        def put(x, new=new, head=edit["head"]):
            for i in range(len(new)):
                x[n - 1 - i, head] = new[i]
        hooks.append(Places(model, edit["layer"]).hook(edit["part"], put))
    out = run(model, case["prompt"])
    for hook in hooks:
        hook.remove()
    return out


def edits_of(model, parts, layer, head):
    places = Places(model, layer)
    group = places.heads // places.kv_heads
    key = head // group if parts != "k" else head % places.kv_heads
    return [{"layer": layer, "head": key if part == "k" else head, "part": part} for part in parts]


def cases_of(model, name, draw):
    vocab, last = model.config.vocab_size, model.config.num_hidden_layers - 1
    heads = Places(model, 0).heads
    prompt = lambda n: [draw(vocab) for _ in range(n)]
    short, long, equal = prompt(5), prompt(11), prompt(11)
    lists = [prompt(n) for n in (3, 8, 14)]
    out, count = [], 0
    for parts in PARTS if name in FULL else ["k", "qkv"]:
        # both directions of an unequal pair, and an equal one
        for x, other in [(long, short), (short, long), (long, equal)] if name in FULL else [(long, short), (short, long)]:
            layer, head = count % (last + 1), (count * 3 + 1) % heads
            count += 1
            out.append({"op": "swap", "prompt": x, "others": [other], "edits": edits_of(model, parts, layer, head)})
    for parts, positions in [(p, at) for p in PARTS for at in ("end", "all")] if name in FULL else [("qkv", "end"), ("k", "all")]:
        layer, head = count % (last + 1), (count * 3 + 1) % heads
        count += 1
        out.append({"op": "mean-data", "positions": positions, "prompt": long, "others": lists,
                    "edits": edits_of(model, parts, layer, head)})
    # several heads in several layers at once
    several = [e for layer in range(last + 1) for e in edits_of(model, "qv", layer, layer % heads)]
    out.append({"op": "swap", "prompt": long, "others": [short], "edits": several})
    return out


def main():
    generator = torch.Generator().manual_seed(14)
    draw = lambda n: int(torch.randint(3, n, (1,), generator=generator))
    result = {"transformers": transformers.__version__, "torch": torch.__version__, "models": {}}
    for name in FULL + SHORT:
        model = AutoModelForCausalLM.from_pretrained(HERE / "models" / name, dtype=torch.float64,
                                                     attn_implementation="eager").eval()
        cases = cases_of(model, name, draw)
        for case in cases:
            plain, out = run(model, case["prompt"]), logits(model, case)
            assert (plain - out).abs().max() > 1e-3 * plain.abs().max(), (name, case)
            case["largest"] = float(f"{float(out.abs().max()):.7g}")
            case["logits"] = [float(f"{float(x):.7g}") for x in out[:SHOWN]]
        result["models"][name] = cases
        print(name, len(cases), file=sys.stderr)
    lines = []
    for name, cases in result["models"].items():
        rows = ",\n  ".join(json.dumps(c, separators=(",", ":")) for c in cases)
        lines.append(f' "{name}": [\n  {rows}]')
    head = json.dumps({"transformers": result["transformers"], "torch": result["torch"]})[:-1]
    (HERE / "interchange.json").write_text(f'{head}, "models": {{\n' + ",\n".join(lines) + "}}\n")


main()
