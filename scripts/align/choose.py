# SPDX-License-Identifier: Apache-2.0
"""Which head could tell harmful requests from harmless ones, if only its queries were trained?

For every key/value head of a layer: one query at the last prompt token (trained), attention over the keys the base model
has, and a linear reading of the attended values (trained). Trained on four fifths of the training requests, scored on the
rest, both templates together; the held-out requests are not read.

  scripts/align/choose.py --base models/cache/SmolLM2-135M-Instruct.Q4_1.gguf --layers 10:24
"""

import argparse
import random

import torch
import torch.nn.functional as F

import common
from common import WIDTH, say

KV_HEADS = 3


@torch.no_grad()
def keys_and_values(model, tokenizer, requests, layers, batch=32):
    """{layer: (k, v) [prompts, KV_HEADS, tokens, WIDTH]}, mask [prompts, tokens]: prompts end at the right, k is rotated
    to its distance from the last token."""
    ids = [common.prompt_ids(tokenizer, template, text) for template in ("chat", "bare") for text in requests]
    longest = max(map(len, ids))
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids]).bool()
    seen = {layer: [] for layer in layers}

    def keep(layer):
        def hook(attention, args, kwargs, _):
            x = kwargs.get("hidden_states", args[0] if args else None)
            split = lambda y: y.view(*y.shape[:2], KV_HEADS, WIDTH).transpose(1, 2)
            seen[layer].append((split(attention.k_proj(x)).half(), split(attention.v_proj(x)).half()))
        return hook

    handles = [model.model.layers[l].self_attn.register_forward_hook(keep(l), with_kwargs=True) for l in layers]
    for start in range(0, len(ids), batch):
        part = ids[start : start + batch]
        padded = torch.tensor([[0] * (longest - len(row)) + row for row in part])
        model.model(input_ids=padded, attention_mask=mask[start : start + batch].long())
    for handle in handles:
        handle.remove()
    cos, sin = model.model.rotary_emb(torch.zeros(1), position_ids=torch.arange(1 - longest, 1)[None])
    turn = lambda k: k * cos[:, None] + torch.cat((-k[..., WIDTH // 2 :], k[..., : WIDTH // 2]), -1) * sin[:, None]
    states = {}
    for layer, parts in seen.items():
        k, v = (torch.cat(both).float() for both in zip(*parts))
        states[layer] = (turn(k), v)
    return states, mask


def readable(k, v, mask, labels, test, steps=300):
    """Share of test prompts told apart by one attention head [prompts, tokens, WIDTH] with a linear reading."""
    torch.manual_seed(0)
    query = (0.05 * torch.randn(WIDTH)).requires_grad_()
    reading = torch.zeros(WIDTH + 1, requires_grad=True)
    optimizer = torch.optim.AdamW([query, reading], lr=0.03, weight_decay=0.02)

    def score(rows):
        weights = (k[rows] @ query / WIDTH**0.5).masked_fill(~mask[rows], -1e9).softmax(-1)
        return torch.einsum("nt,ntd->nd", weights, v[rows]) @ reading[:-1] + reading[-1]

    for _ in range(steps):
        loss = F.binary_cross_entropy_with_logits(score(~test), labels[~test])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return ((score(test) > 0) == (labels[test] > 0)).float().mean().item(), loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True)
    parser.add_argument("--layers", default="10:24")
    args = parser.parse_args()
    torch.set_num_threads(2)
    model, tokenizer = common.load_base(args.base)
    common.quicken(model)
    harmful = [q for name in common.SETS["harmful"] for q in common.data(name)]
    harmless = [q for name in common.SETS["harmless"] for q in common.data(name)]
    requests = harmful + harmless
    rng = random.Random(0)
    chosen = set(rng.sample(range(len(requests)), len(requests) // 5))
    test = torch.tensor([i in chosen for i in range(len(requests))] * 2)
    labels = torch.tensor(([1.0] * len(harmful) + [0.0] * len(harmless)) * 2)
    start, stop = map(int, args.layers.split(":"))
    states, mask = keys_and_values(model, tokenizer, requests, range(start, stop))
    for layer, (k, v) in states.items():
        results = [readable(k[:, h], v[:, h], mask, labels, test) for h in range(KV_HEADS)]
        say(f"layer {layer:2}  " + "   ".join(f"kv {h}: {right:.3f} (loss {loss:.3f})" for h, (right, loss) in enumerate(results)))


main()
