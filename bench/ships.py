#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ships of every head on the same model, queries and machine, in one run: ours, and in PyTorch.

    bench/ships.py MODEL.gguf QUERIES.csv [--template chat] [--sahara build/sahara] [--limit N] [--heads A:B]

Measured are
  ours       the sweep, by `sahara bench` over all heads (or --heads of each layer, scaled to all)
  reference  the way of the paper's code: one prompt, one head, one whole forward pass; a sample of passes,
             times heads x queries
  expert     all prompts in one padded batch, the residual below the head's layer kept; one head in some
             layers, a straight line through them (a pass costs more the lower it starts), summed over all
  llama.cpp  tokens a second of prompt processing, where llama-cpp-python is there
  screened   with --screen: the whole command `sahara ships --screen`, loading included, and how many of the exact top
             ten (of a full run, which is not timed) it found

Loading is in none of the other times. Before a time counts the sample's KL is compared with ours, so that all three
compute the same. Needs torch, transformers, gguf, numpy (made with torch 2.13.0, transformers 5.23.0) and, for
the last line, llama-cpp-python 0.3.36. A machine with nothing else to do, or the figures mean little.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SCALE, EPSILON = 1e-4, 1e-12


def read_queries(path, limit):
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    key = next(k for k in ("input", "goal", "query", "prompt") if k in rows[0])
    return [row[key] for row in rows][: limit or None]


def run_sahara(a, *arguments):
    done = subprocess.run([a.sahara, *arguments, "-q"], check=True, capture_output=True, text=True)
    return done.stdout


def measure_ours(a):
    arguments = ["bench", a.model, a.queries, "--json", "--template", a.template, "--heads", a.heads]
    if a.limit:
        arguments += ["--limit", str(a.limit)]
    return json.loads(run_sahara(a, *arguments))


def our_ships(a, layers):
    """KL of head 0 of some layers: {layer: [per query]}."""
    found = {}
    for layer in layers:
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "r.jsonl")
            run_sahara(a, "ships", a.model, a.queries, "-o", out, "--template", a.template, "--heads", "0:1",
                       "--layers", f"{layer}:{layer + 1}", "--check-refusal", "off", *(["--limit", str(a.limit)] if a.limit else []))
            with open(out, encoding="utf-8") as file:
                found[layer] = [json.loads(line) for line in file][1]["kl"]
    return found


def top_ten(a, out):
    lines = run_sahara(a, "rank", out, "--top", "10").splitlines()[1:]
    return {line.split("\t")[1] for line in lines}


def screened(a):
    """(seconds of the screened run, how many of the exact top ten it has)"""
    with tempfile.TemporaryDirectory() as folder:
        full, race = os.path.join(folder, "full.jsonl"), os.path.join(folder, "race.jsonl")
        common = ["ships", a.model, a.queries, "--template", a.template, "--check-refusal", "off"] + (["--limit", str(a.limit)] if a.limit else [])
        start = time.perf_counter()
        run_sahara(a, *common, "--screen", "-o", race)
        seconds = time.perf_counter() - start
        run_sahara(a, *common, "-o", full)
        return seconds, len(top_ten(a, full) & top_ten(a, race))


def prompt_ids(a, tokenizer, query):
    text = run_sahara(a, "inspect", a.model, "--prompt", query, "--template", a.template)[:-1]  # the line end that inspect adds
    return tokenizer(text, add_special_tokens=False)["input_ids"]


class Ablation:
    """Scales the q of one head while the `with` block runs."""

    def __init__(self, model, layer, head):
        self.projection, self.width, self.head = model.model.layers[layer].self_attn.q_proj, model.config.head_dim, head

    def __enter__(self):
        def scale(module, inputs, output):
            output[..., self.head * self.width : (self.head + 1) * self.width] *= SCALE
            return output

        self.hook = self.projection.register_forward_hook(scale)

    def __exit__(self, *_):
        self.hook.remove()


def divergence(base, ablated):
    p = torch.log_softmax(base.double(), -1).exp() + EPSILON
    q = torch.log_softmax(ablated.double(), -1).exp() + EPSILON
    return (p * (p / q).log()).sum(-1)


def reference_way(model, prompts, n_passes):
    """Seconds of one pass, and the KL of head 0 of layer 0 for the sampled prompts."""
    chosen = np.linspace(0, len(prompts) - 1, min(n_passes, len(prompts))).astype(int)
    bases = [model(torch.tensor([prompts[i]])).logits[0, -1] for i in chosen]
    start = time.perf_counter()
    kl = {}
    for i, base in zip(chosen, bases):
        with Ablation(model, 0, 0):
            kl[int(i)] = divergence(base, model(torch.tensor([prompts[i]])).logits[0, -1]).item()
    return (time.perf_counter() - start) / len(chosen), kl


def expert_way(model, prompts, layers):
    """Seconds of all heads, and {layer: KL of head 0 per prompt}. Padding stands behind the prompts, where a causal mask
    keeps it out of sight."""
    longest = max(map(len, prompts))
    ids = torch.tensor([p + [0] * (longest - len(p)) for p in prompts])
    last = torch.tensor([len(p) - 1 for p in prompts])
    rows = torch.arange(len(prompts))
    body = model.model
    position_ids = torch.arange(longest)[None]
    kept = []

    def run(x, first, keep=None):
        for layer in body.layers[first:]:
            if keep is not None:
                keep.append(x)
            x = layer(x, attention_mask=None, position_ids=position_ids, position_embeddings=angles)
            x = x[0] if isinstance(x, tuple) else x
        return model.lm_head(body.norm(x[rows, last]))

    x = body.embed_tokens(ids)
    angles = body.rotary_emb(x, position_ids)
    base = run(x, 0, kept)
    seconds, kl = {}, {}
    for layer in layers:
        start = time.perf_counter()
        with Ablation(model, layer, 0):
            kl[layer] = divergence(base, run(kept[layer], layer)).tolist()
        seconds[layer] = time.perf_counter() - start
    slope, offset = np.polyfit([len(body.layers) - l for l in layers], [seconds[l] for l in layers], 1)
    n_layers, n_heads = model.config.num_hidden_layers, model.config.num_attention_heads
    return sum(n_heads * (offset + slope * (n_layers - l)) for l in range(n_layers)), kl


def llama_cpp_rate(path, threads):
    """Tokens a second, in a process of its own: llama.cpp brings its own threads, and its layouts of weights for special
    instructions ("extra buffers") have crashed; then they are left out. (rate, whether with them) or None."""
    for extra in (1, 0):
        done = subprocess.run([sys.executable, __file__, "--llama-cpp", path, str(threads), str(extra)], capture_output=True, text=True)
        if done.returncode == 0:
            return float(done.stdout.split()[-1]), bool(extra)
    return None


def measure_llama_cpp(path, threads, extra, n=512):
    import llama_cpp

    options = llama_cpp.llama_model_default_params()
    options.use_extra_bufts = bool(int(extra))
    model = llama_cpp.llama_model_load_from_file(path.encode(), options)
    options = llama_cpp.llama_context_default_params()
    options.n_ctx, options.n_batch, options.n_ubatch = 2 * n, n, n
    options.n_threads = options.n_threads_batch = int(threads)
    context = llama_cpp.llama_init_from_model(model, options)
    tokens = (llama_cpp.llama_token * n)(*range(1000, 1000 + n))
    best = 0.0
    for _ in range(4):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        start = time.perf_counter()
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, n)) != 0:
            raise SystemExit(1)
        best = max(best, n / (time.perf_counter() - start))
    print(best)


def check(name, theirs, ours):
    for mine, other in zip(ours, theirs):
        if abs(mine - other) > 2e-3 * abs(other) + 1e-5:
            raise SystemExit(f"{name}: KL {other:.6g}, ours {mine:.6g}: not the same computation")


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("queries")
    parser.add_argument("--template", default="ships")
    parser.add_argument("--sahara", default="build/sahara")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--heads", default=None, help="A:B of every layer, for ours; default all")
    parser.add_argument("--passes", type=int, default=40)
    parser.add_argument("--screen", action="store_true", help="also a screened run, and a full one to hold it against")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    folder, name = os.path.split(a.model)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    n_layers, n_heads = model.config.num_hidden_layers, model.config.num_attention_heads
    a.heads = a.heads or f"0:{n_heads}"
    prompts = [prompt_ids(a, tokenizer, q) for q in read_queries(a.queries, a.limit)]
    layers = [0, n_layers // 2, n_layers - 1]
    n_passes = n_layers * n_heads * len(prompts)
    model(torch.tensor([prompts[0]]))

    each, reference_kl = reference_way(model, prompts, a.passes)
    ours = measure_ours(a)
    expert, expert_kl = expert_way(model, prompts, layers)
    rate = llama_cpp_rate(a.model, a.threads)
    race = screened(a) if a.screen else None
    scores = our_ships(a, layers)
    check("reference", reference_kl.values(), [scores[0][i] for i in reference_kl])
    for layer in layers:
        check(f"expert, layer {layer}", expert_kl[layer], scores[layer])

    seconds, reference = ours["all_seconds"], each * n_passes
    lengths = [len(p) for p in prompts]
    print(f"{len(prompts)} prompts of {min(lengths)} to {max(lengths)} tokens, {n_layers * n_heads} heads, {a.threads} threads, "
          f"template {a.template}")
    print(f"ours       {seconds:8.1f} s   useful/peak {ours['share']:.3f}, product peak {ours['peak_f32'] / 1e9:.0f} GFLOP/s, "
          f"memory {ours['peak_memory'] / 1e6:.0f} MB, {ours['nodes']:.0f} of {ours['tokens']:.0f} tokens")
    print(f"reference  {reference:8.0f} s   {reference / seconds:.1f} times ours; {each * 1e3:.1f} ms a pass, {n_passes} passes")
    print(f"expert     {expert:8.0f} s   {expert / seconds:.1f} times ours")
    if race:
        print(f"screened   {race[0]:8.1f} s   {reference / race[0]:.1f} times faster than the reference's way; {race[1]} of the exact top ten")
    if rate:
        note = "" if rate[1] else "; without its extra buffers, with which it crashed"
        print(f"llama.cpp  {rate[0]:8.0f} tokens/s of prompt processing, the file's own types{note}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--llama-cpp"]:
        measure_llama_cpp(*sys.argv[2:])
    else:
        main()
