# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/generations.json: greedy responses of transformers' generate(), plain and with heads ablated.

    pip install torch==2.13.0 transformers==5.23.0
    python make-generations.py

Of models/: tokens alone (these have no tokenizer and so no end token). Of utility/: queries as text, tokens and decoded
text; "ends" are the end tokens in force. float32, one prompt at a time, cache in use, heads ablated by hooks. No token is
left to rounding: the two highest logits differ by more than 1e-3, or a text of models/ stops there.
"""
import contextlib
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent
MODELS = ["llama-mha", "llama-gqa", "llama-headdim", "llama-bias", "llama3-rope", "mistral-swa", "qwen2", "qwen3"]
NEW = 40  # tokens
GAP = 1e-3
CASES = [
    [],
    [{"layer": 0, "head": 1, "part": "q", "op": "scale", "factor": 1e-4},
     {"layer": 1, "head": 0, "part": "q", "op": "scale", "factor": 1e-4}],
    [{"layer": 0, "head": 0, "part": "k", "op": "scale", "factor": 0.5},
     {"layer": 1, "head": 2, "part": "v", "op": "scale", "factor": 0.0}],
    [{"layer": 1, "head": 1, "part": "v", "op": "mean"}],
]
TEXTS = ["The water is", "A bird:\nAnswer:", "Hello", "The river begins"]
TEXT_TOKENS = 22


def change(states, edits, width):
    """states [..., heads * width] or [..., heads, width] with the edits of one part and layer."""
    split = states.unflatten(-1, (-1, width)) if states.shape[-1] != width else states
    result = split.clone()
    for e in edits:
        result[..., e["head"], :] = split.mean(-2) if e["op"] == "mean" else split[..., e["head"], :] * e["factor"]
    return result.reshape(states.shape)


@contextlib.contextmanager
def ablated(model, edits):
    c, hooks = model.config, []
    width = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    for l, layer in enumerate(model.model.layers):
        for part in "qkv":
            here = [e for e in edits if e["layer"] == l and e["part"] == part]
            if here and part == "v":
                hooks.append(layer.self_attn.o_proj.register_forward_pre_hook(
                    lambda m, args, here=here: (change(args[0], here, width),)))
            elif here:
                module = getattr(layer.self_attn, part + "_norm", None) or getattr(layer.self_attn, part + "_proj")
                hooks.append(module.register_forward_hook(lambda m, args, out, here=here: change(out, here, width)))
    yield
    for hook in hooks:
        hook.remove()


def generate(model, prompt, new, end=None):
    """Greedy tokens, as many as are not left to rounding; the end token, if any, is the last."""
    mask = torch.ones(1, len(prompt), dtype=torch.long)
    out = model.generate(torch.tensor([prompt]), attention_mask=mask, max_new_tokens=new, do_sample=False, eos_token_id=end,
                         pad_token_id=0, return_dict_in_generate=True, output_logits=True)
    tokens = out.sequences[0, len(prompt):].tolist()
    for i, logits in enumerate(out.logits):
        top = logits[0].topk(2).values
        if top[0] - top[1] <= GAP:
            return tokens[:i]
    return tokens


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    model.generation_config.eos_token_id = None
    return model


def of_tokens(name):
    model = load(HERE / "models" / name)
    prompts = json.loads((HERE / "models" / name / "golden.json").read_text())["prompts"]
    cases = []
    for edits in CASES:
        with ablated(model, edits):
            cases.append({"edits": edits, "tokens": [generate(model, p, NEW) for p in prompts]})
    whole = [t for case in cases for t in case["tokens"]]
    assert sum(map(len, whole)) > 0.7 * NEW * len(whole), (name, [len(t) for t in whole])
    assert len({json.dumps(case["tokens"]) for case in cases}) == len(cases), name  # every ablation shows
    return {"model": name, "prompts": prompts, "cases": cases}


def of_texts(name):
    model, tokenizer = load(HERE / "utility" / name), AutoTokenizer.from_pretrained(HERE / "utility" / name)
    own = model.config.eos_token_id
    prompts = [tokenizer(text)["input_ids"] for text in TEXTS]
    assert max(map(len, prompts)) + TEXT_TOKENS <= model.config.max_position_embeddings
    free = [generate(model, p, TEXT_TOKENS, own) for p in prompts]
    ends = [free[0][5], free[1][9]]
    cases = []
    for end in ([own], [own, *ends]):
        for edits in CASES[:2]:
            with ablated(model, edits):
                tokens = [generate(model, p, TEXT_TOKENS, end) for p in prompts]
            stops = ["eos" if t[-1] in end else "length" for t in tokens]
            assert all(s == "eos" or len(t) == TEXT_TOKENS for s, t in zip(stops, tokens)), (name, tokens)
            tokens = [t[:-1] if s == "eos" else t for s, t in zip(stops, tokens)]
            cases.append({"ends": end, "edits": edits, "stops": stops, "tokens": tokens,
                          "responses": [tokenizer.decode(t, skip_special_tokens=True) for t in tokens]})
    return {"model": name, "max_new_tokens": TEXT_TOKENS, "queries": TEXTS, "cases": cases}


if __name__ == "__main__":
    golden = {"tokens": [of_tokens(name) for name in MODELS], "texts": [of_texts(name) for name in ["bytes", "pieces"]]}
    (HERE / "generations.json").write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")
    for entry in golden["tokens"]:
        print(entry["model"], [[len(t) for t in case["tokens"]] for case in entry["cases"]])
    for entry in golden["texts"]:
        print(entry["model"], *[(case["stops"], case["responses"]) for case in entry["cases"]], sep="\n  ")
