# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/directions.json: the refusal direction and each head's part in it, from hooks in transformers.

    pip install torch==2.13.0 transformers==5.23.0
    python make-directions.py

For some models of models/: random prompts (seed: CRC-32 of the name), two sets of them, "harmful" first. Residuals come from
hooks on the layers, head outputs from the input of o_proj; both in float32 as transformers computes them, sums and
products behind them in float64. Each case has the layer whose direction serves all heads, or null: each head its own.
"""
import json
import random
import zlib
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
MODELS = ["llama-mha", "llama-gqa", "llama-headdim", "llama-bias", "mistral-swa", "qwen2", "qwen3"]
VOCAB = 64


def states(model, prompts):
    """Residuals [prompts, layers + 1, d] and head outputs [prompts, layers, H D] at the last tokens."""
    kept = {}
    layers = model.model.layers
    hooks = [layers[0].register_forward_pre_hook(lambda m, args, kwargs: kept.__setitem__(
        ("x", 0), (args[0] if args else kwargs["hidden_states"])[0, -1]), with_kwargs=True)]
    for l, layer in enumerate(layers):
        hooks.append(layer.register_forward_hook(lambda m, args, out, l=l: kept.__setitem__(
            ("x", l + 1), (out[0] if isinstance(out, tuple) else out).reshape(-1, model.config.hidden_size)[-1])))
        hooks.append(layer.self_attn.o_proj.register_forward_pre_hook(
            lambda m, args, l=l: kept.__setitem__(("z", l), args[0][0, -1])))
    residuals, outputs = [], []
    with torch.no_grad():
        for prompt in prompts:
            model(torch.tensor([prompt]))
            residuals.append(torch.stack([kept["x", l] for l in range(len(layers) + 1)]).double())
            outputs.append(torch.stack([kept["z", l] for l in range(len(layers))]).double())
    for hook in hooks:
        hook.remove()
    return torch.stack(residuals), torch.stack(outputs)


def heads(model, directions, harmful_z, harmless_z, fixed):
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cosine = lambda a, b: float(torch.nn.functional.cosine_similarity(a, b, dim=0))
    for l, layer in enumerate(model.model.layers):
        r = directions[(l if fixed is None else fixed) + 1]
        weight = layer.self_attn.o_proj.weight.detach().double()
        for h in range(config.num_attention_heads):
            here = slice(h * width, (h + 1) * width)
            harmful = (harmful_z[:, l, here] @ weight[:, here].T).mean(0)
            harmless = (harmless_z[:, l, here] @ weight[:, here].T).mean(0)
            unit = r / r.norm()
            contribution = float((harmful - harmless) @ unit)
            yield {"head": f"{l}-{h}", "harmful": float(harmful @ unit), "harmless": float(harmless @ unit),
                   "contribution": contribution, "share": contribution / float(r.norm()),
                   "cosine": cosine(r, harmful), "cosine_difference": cosine(r, harmful - harmless)}


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    lines = []
    for name in MODELS:
        model = AutoModelForCausalLM.from_pretrained(HERE / "models" / name, dtype=torch.float32,
                                                     attn_implementation="eager").eval()
        draw = random.Random(zlib.crc32(name.encode()))
        start = [draw.randrange(VOCAB) for _ in range(3)]  # a prefix that all share
        sets = [[start + [draw.randrange(VOCAB) for _ in range(draw.randrange(1, 10))] for _ in range(n)] for n in (5, 4)]
        sets[1][3] = sets[1][0]  # a prompt that comes twice counts twice
        (harmful_x, harmful_z), (harmless_x, harmless_z) = (states(model, prompts) for prompts in sets)
        directions = harmful_x.mean(0) - harmless_x.mean(0)
        for fixed in (None, 1):
            lines.append({"model": name, "layer": fixed, "harmful": sets[0], "harmless": sets[1],
                          "directions": directions.tolist(),
                          "heads": list(heads(model, directions, harmful_z, harmless_z, fixed))})
    text = ",\n".join(json.dumps(rounded(line), separators=(",", ":")) for line in lines)
    (HERE / "directions.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
