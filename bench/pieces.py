#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far logits are from float64's: with float32 products, and with products of bfloat16 pieces as src/engine/cpu/tiles.c takes them (here
with sums in float64, so that only what the pieces leave out shows).

    bench/pieces.py MODEL.gguf QUERIES.csv [--limit 12] [--template ships]

transformers 5.23.0, torch 2.13.0.
"""

import argparse
import copy
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ships import prompt_ids, read_queries  # noqa: E402

# (piece of X, piece of W), the first being 0
PRODUCTS = {
    "3: X and W in two pieces": [(0, 0), (0, 1), (1, 0)],
    "4: without second by second": [(0, 0), (1, 0), (2, 0), (0, 1)],
    "5: as tiles.c": [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)],
    "6: W in three pieces": [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2)],
}


def pieces(values):
    rest, out = values.float(), []
    for _ in range(3):
        piece = rest.bfloat16().float()
        out.append(piece.double())
        rest = rest - piece
    return out


def with_products(model, products):
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            w = pieces(module.weight.data)

            def forward(x, w=w):
                x = pieces(x)
                return sum(torch.nn.functional.linear(x[i], w[j]) for i, j in products)

            module.forward = forward
    return model


@torch.no_grad()
def logits(model, prompts):
    return [model(torch.tensor([p])).logits[0].double() for p in prompts]


def report(name, here, exact):
    off = torch.cat([(a - b).flatten() for a, b in zip(here, exact)])
    print(f"{name:30s} root mean square {off.square().mean().sqrt().item():.1e}, largest {off.abs().max().item():.1e}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("queries")
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("--template", default="ships")
    parser.add_argument("--sahara", default="build/sahara")
    a = parser.parse_args()
    folder, name = os.path.split(a.model)
    single = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    double = copy.deepcopy(single).double()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    prompts = [prompt_ids(a, tokenizer, q) for q in read_queries(a.queries, a.limit)]
    exact = logits(double, prompts)
    report("float32", logits(single, prompts), exact)
    for title, products in PRODUCTS.items():
        report(title, logits(with_products(double, products), prompts), exact)


if __name__ == "__main__":
    main()
