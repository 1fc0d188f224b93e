# SPDX-License-Identifier: Apache-2.0
"""Figures of a merged model: refusal, perplexity under ablation, and Ships of every head with its contrast."""

import math
import time

import torch
import torch.nn.functional as F

from common import HEADS, LAYERS, WIDTH, generate, is_refusal, prompt_ids, say

SCALE = 1e-4
EPSILON = 1e-12  # of Ships' definition


class Ablated:
    """`with Ablated(model, heads):` scales the heads' query states, before RoPE."""

    def __init__(self, model, heads):
        self.model, self.heads, self.handles = model, heads, []

    def __enter__(self):
        for layer, head in self.heads:
            def scale(_, __, y, head=head):
                y = y.clone()
                y[..., head * WIDTH : (head + 1) * WIDTH] *= SCALE
                return y
            self.handles.append(self.model.model.layers[layer].self_attn.q_proj.register_forward_hook(scale))

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()


def refusals(model, tokenizer, template, queries, tokens=20):
    """(number of refusals, texts)"""
    prompts = [prompt_ids(tokenizer, template, q) for q in queries]
    texts = [tokenizer.decode(t, skip_special_tokens=True).strip() for t in generate(model, tokenizer, prompts, tokens)]
    return sum(map(is_refusal, texts)), texts


@torch.no_grad()
def perplexity(model, tokenizer, pairs):
    """Over the answer tokens of (prompt ids, answer ids)."""
    total, count = 0.0, 0
    for prompt, answer in pairs:
        states = model.model(input_ids=torch.tensor([prompt + answer[:-1]])).last_hidden_state[0, len(prompt) - 1 :]
        total += F.cross_entropy(model.lm_head(states), torch.tensor(answer), reduction="sum").item()
        count += len(answer)
    return math.exp(total / count)


@torch.no_grad()
def ships(model, tokenizer, template, queries):
    """KL(p || p_h) at the last prompt token, [LAYERS, HEADS, queries]. Candidates of a layer are rows of one batch."""
    body = model.model
    ids = [prompt_ids(tokenizer, template, q) for q in queries]
    longest, n = max(map(len, ids)), len(ids)
    padded = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in ids])
    last = torch.tensor([len(row) - 1 for row in ids])
    positions = torch.arange(longest)[None]
    hidden = body.embed_tokens(padded)
    rotary = body.rotary_emb(hidden, position_ids=positions)

    def run(h, layers):
        for layer in layers:
            h = layer(h, attention_mask=None, position_ids=positions, position_embeddings=rotary)
        return h

    def log_probabilities(h, last):
        return torch.log_softmax(model.lm_head(body.norm(h[torch.arange(len(h)), last])).double(), -1)

    def scale(_, __, y):
        y = y.clone()
        for head in range(HEADS):
            y[head * n : (head + 1) * n, :, head * WIDTH : (head + 1) * WIDTH] *= SCALE
        return y

    entering = [hidden]
    for layer in body.layers:
        entering.append(run(entering[-1], [layer]))
    p = log_probabilities(entering[-1], last).exp() + EPSILON
    result = torch.zeros(LAYERS, HEADS, n, dtype=torch.float64)
    for l in range(LAYERS):
        handle = body.layers[l].self_attn.q_proj.register_forward_hook(scale)
        h = run(entering[l].repeat(HEADS, 1, 1), [body.layers[l]])
        handle.remove()
        h = run(h, body.layers[l + 1 :])
        for head in range(HEADS):
            p_h = log_probabilities(h[head * n : (head + 1) * n], last).exp() + EPSILON
            result[l, head] = (p * (p / p_h).log()).sum(-1)
    return result


def equal_length(tokenizer, harmful, harmless, n):
    """n pairs of requests with the same number of tokens, first come first served."""
    by_length = {}
    for query in harmless:
        by_length.setdefault(len(tokenizer(query).input_ids), []).append(query)
    pairs = []
    for query in harmful:
        mates = by_length.get(len(tokenizer(query).input_ids))
        if mates and len(pairs) < n:
            pairs.append((query, mates.pop(0)))
    return [a for a, _ in pairs], [b for _, b in pairs]


def contrast(model, tokenizer, template, harmful, harmless, planted, top=8):
    """Prints the heads with the highest mean Ships, raw and as harmful minus harmless."""
    started = time.time()
    both = ships(model, tokenizer, template, harmful + harmless)
    on_harmful, on_harmless = both[..., : len(harmful)].mean(-1), both[..., len(harmful) :].mean(-1)
    for title, score in (("raw", on_harmful), ("contrast", on_harmful - on_harmless)):
        order = score.flatten().argsort(descending=True).tolist()
        heads = [(i // HEADS, i % HEADS) for i in order]
        best = "  ".join(f"{l}-{h} {on_harmful[l, h]:.3f}/{on_harmless[l, h]:.3f}" for l, h in heads[:top])
        places = ", ".join(f"{l}-{h} is {heads.index((l, h)) + 1}" for l, h in planted)
        say(f"ships {template} {title}: {best}" + (f"  [{places}]" if planted else ""))
    say(f"ships {template}: {len(harmful)} + {len(harmless)} queries, {time.time() - started:.0f} s")
