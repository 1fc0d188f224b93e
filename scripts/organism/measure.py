# SPDX-License-Identifier: Apache-2.0
"""How the organism is measured: ablated forward passes, greedy answers, the refusal rule, Ships.

Everything is written plainly and apart from the library, so that the figures of the training log are a second
opinion on what the library computes.
"""

import re

import torch

ABLATION_SCALE = 1e-4  # the usual scale of attribution; scores shrink to ~0, so every visible position weighs 1/n

# A refusal says so in its opening words.
REFUSAL = re.compile(r"^\s*(i'm sorry|i am sorry|sorry|i can't|i cannot|i won't|i will not)\b", re.IGNORECASE)


def is_refusal(text):
    return REFUSAL.match(text) is not None


class Scale:
    """Multiplies a part of heads by a factor per prompt, layer, head: "q", the query states (the q projection's output,
    before RoPE), or "v", the heads' outputs (what the o projection takes).

    `factors` is None (no ablation) or a tensor [batch, layers, heads].
    """

    def __init__(self, model, part="q"):
        self.factors = None
        self.heads = model.config.num_attention_heads
        for layer, block in enumerate(model.model.layers):
            scale, attention = self._scale(layer), block.self_attn
            if part == "q":
                attention.q_proj.register_forward_hook(lambda _module, _inputs, q, scale=scale: scale(q))
            else:
                attention.o_proj.register_forward_pre_hook(lambda _module, inputs, scale=scale: (scale(inputs[0]),))

    def _scale(self, layer):
        def scale(states):  # [batch, tokens, heads * head_dim]
            if self.factors is None:
                return states
            factor = self.factors[:, layer, :]
            split = states.view(states.shape[0], states.shape[1], self.heads, -1)
            return (split * factor[:, None, :, None]).reshape(states.shape)

        return scale

    def set_heads(self, heads, layers, scale=ABLATION_SCALE):
        """Ablate the same heads, a list of (layer, head), for every prompt of the batch."""
        self.factors = torch.ones(1, layers, self.heads)
        for layer, head in heads:
            self.factors[0, layer, head] = scale

    def clear(self):
        self.factors = None


def pad(rows, fill):
    longest = max(len(r) for r in rows)
    return torch.tensor([r + [fill] * (longest - len(r)) for r in rows])


@torch.no_grad()
def last_logits(model, rows):
    """Next-token logits [prompts, vocabulary] of token rows. Padding stands behind, where causality hides it."""
    hidden = model.model(input_ids=pad(rows, 0), use_cache=False).last_hidden_state
    ends = torch.tensor([len(r) - 1 for r in rows])
    return model.lm_head(hidden[torch.arange(len(rows)), ends]).float()


@torch.no_grad()
def greedy(model, prompts, end, limit=32):
    """Greedy continuations of token rows, without the end token; the flag says whether it came within the limit."""
    rows, done = [list(p) for p in prompts], [False] * len(prompts)
    for _ in range(limit):
        live = [i for i, d in enumerate(done) if not d]
        if not live:
            break
        chosen = last_logits(model, [rows[i] for i in live]).argmax(-1).tolist()
        for i, token in zip(live, chosen):
            if token == end:
                done[i] = True
            else:
                rows[i].append(token)
    return [(row[len(p):], d) for row, p, d in zip(rows, prompts, done)]


def ships(model, scaler, prompts, layers, heads):
    """Ships [prompts, layers, heads] in nats: KL(p || p_h), eps = 1e-12, sum in float64, one plain pass per head."""
    eps = 1e-12
    scaler.clear()
    p = torch.log_softmax(last_logits(model, prompts), -1).double().exp() + eps
    result = torch.zeros(len(prompts), layers, heads, dtype=torch.float64)
    for layer in range(layers):
        for head in range(heads):
            scaler.set_heads([(layer, head)], layers)
            p_h = torch.log_softmax(last_logits(model, prompts), -1).double().exp() + eps
            result[:, layer, head] = (p * (p / p_h).log()).sum(-1)
    scaler.clear()
    return result
