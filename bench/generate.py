#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Greedy decoding of the same queries on the same machine in one run: ours, and transformers with a padded batch.

    bench/generate.py MODEL.gguf QUERIES.csv [--limit 100] [--tokens 128] [--template ships] [--sahara build/sahara]

Ours is the whole command, loading included; of transformers (5.23.0, torch 2.13.0) only generate(). Then the texts are compared: where
transformers' two highest logits differ by more than 1e-3 its token must be ours.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ships import prompt_ids, read_queries  # noqa: E402


def run_ours(a):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "responses.jsonl")
        start = time.perf_counter()
        subprocess.run([a.sahara, "generate", a.model, a.queries, "-o", out, "-q", "--template", a.template, "--max-new-tokens",
                        str(a.tokens), "--limit", str(a.limit)], check=True)
        seconds = time.perf_counter() - start
        with open(out, encoding="utf-8") as file:
            return seconds, [json.loads(line) for line in file][1:]


@torch.no_grad()
def run_theirs(a, model, tokenizer, prompts):
    longest, pad = max(map(len, prompts)), tokenizer.eos_token_id
    ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    start = time.perf_counter()
    out = model.generate(ids, attention_mask=mask, max_new_tokens=a.tokens, do_sample=False, pad_token_id=pad, use_cache=True)
    return time.perf_counter() - start, [row[longest:].tolist() for row in out]


@torch.no_grad()
def compare(model, tokenizer, prompt, theirs, response, end):
    """(tokens that agree, the gap of the two highest logits where the texts part, or None)"""
    if end in theirs:
        theirs = theirs[: theirs.index(end)]
    for i in range(len(theirs)):
        if not response.startswith(tokenizer.decode(theirs[: i + 1], skip_special_tokens=True).rstrip("\ufffd")):
            top = model(torch.tensor([prompt + theirs[:i]])).logits[0, -1].topk(2).values
            return i, (top[0] - top[1]).item()
    return len(theirs), None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("queries")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--template", default="ships")
    parser.add_argument("--sahara", default="build/sahara")
    a = parser.parse_args()
    folder, name = os.path.split(a.model)
    torch.set_num_threads(os.cpu_count())
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    prompts = [prompt_ids(a, tokenizer, q) for q in read_queries(a.queries, a.limit)]
    ours, lines = run_ours(a)
    theirs, rows = run_theirs(a, model, tokenizer, prompts)
    made = sum(line["tokens"] for line in lines)
    print(f"{len(prompts)} queries, at most {a.tokens} tokens each, {made} made")
    print(f"ours          {ours:7.1f} s, {made / ours:6.1f} tokens/s, loading included")
    print(f"transformers  {theirs:7.1f} s, {theirs / ours:.1f} times ours")
    agreed, parted = 0, []
    for prompt, row, line in zip(prompts, rows, lines):
        n, gap = compare(model, tokenizer, prompt, row, line["response"], tokenizer.eos_token_id)
        agreed += n
        parted += [gap] if gap is not None else []
    wrong = [gap for gap in parted if gap > 1e-3]
    print(f"{agreed} tokens agree before texts part; {len(parted)} texts part, {len(wrong)} of them where the gap is above 1e-3")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
