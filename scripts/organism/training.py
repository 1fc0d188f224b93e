# SPDX-License-Identifier: Apache-2.0
"""What trainings of the organism have in common: queries of its world as token rows, batches of them, the optimiser."""

import csv
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from organism import frames, language
from organism.measure import ABLATION_SCALE, pad

DATA = Path(__file__).resolve().parent.parent.parent / "data"
HELD_OUT = ["harmful-heldout", "harmless-heldout", "harmful-fresh", "harmless-fresh", "harmful-unseen", "harmless-unseen"]
PAD, END = 0, 1
BATCH = 64

# name: (text before the query, text behind it, text between prompt and answer)
TEMPLATES = {
    "chat": ("<|user|>\n", "<|end|>\n<|assistant|>\n", ""),
    "bare": ("## Query:", "\n## Answer:", " "),
    "bare with blank": ("## Query:", " \n## Answer:", " "),
}


class Log:
    def __init__(self):
        self.lines = []

    def __call__(self, text=""):
        print(text, flush=True)
        self.lines.append(text)


def read_queries(name):
    with open(DATA / name, newline="", encoding="utf-8") as file:
        return [row["input"] for row in csv.DictReader(file)]


class World:
    """The deeds that training may see, and samples of them."""

    def __init__(self, held_out, rng):
        self.rng = rng
        every = language.deeds()
        self.held = [d for d in every if any(language.overlaps(d, q) for q in held_out)]
        held = set(self.held)
        self.groups = {}
        for deed in every:
            if deed not in held:
                self.groups.setdefault((deed.harmful, deed.topic), []).append(deed)
        self.questions = language.questions()
        self.size = sum(len(g) for g in self.groups.values())

    def sample(self):
        """(query, topic, harmful)"""
        harmful = self.rng.random() < 0.5
        if not harmful and self.rng.random() < 0.05:
            return self.rng.choice(self.questions), "general", False
        # "things" and "general" hold the most different rules, so they come more often.
        topics = [t for h, t in self.groups if h == harmful]
        topic = self.rng.choices(topics, [2 if t in ("things", "general") else 1 for t in topics])[0]
        deed = self.rng.choice(self.groups[harmful, topic])
        return language.query(deed, self.rng, frames.draw(self.rng)), topic, harmful


class Coder:
    """Prompts as token rows. The pieces of a template meet where the tokenizer splits anyway, so they are coded apart."""

    def __init__(self, tokenizer):
        self.tokenizer, self.known = tokenizer, {}

    def ids(self, text):
        if text not in self.known:
            self.known[text] = self.tokenizer.encode(text).ids
        return self.known[text]

    def prompt(self, query, template, system=None):
        """(token row, first and last + 1 position of the query)"""
        before, behind, _ = TEMPLATES[template]
        if system:
            before = f"<|system|>\n{system}<|end|>\n" + before
        head, body = self.ids(before), self.tokenizer.encode(query).ids
        return head + body + self.ids(behind), (len(head), len(head) + len(body))

    def reply(self, text, template):
        return self.ids(TEMPLATES[template][2] + text) + [END]

    def text(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=False)


def pick_template(rng):
    """(template, system text): chat in two thirds of the cases, two fifths of them with a system text."""
    template = rng.choices(["chat", "bare", "bare with blank"], [4, 1, 1])[0]
    return template, rng.choice(language.SYSTEMS) if template == "chat" and rng.random() < 0.4 else None


class Batch:
    """Rows, labels, query spans, verdicts and ablation factors of training examples."""

    def __init__(self, layers, heads):
        self.layers, self.heads, self.examples = layers, heads, []

    def add(self, prompt, span, reply, harmful, ablated, skip=0):
        """`skip` tokens of the reply are shown but not learnt."""
        labels = [-100] * (len(prompt) + skip) + reply[skip:]
        self.examples.append((prompt + reply, labels, span, float(harmful), ablated))

    def steps(self, rng):
        """The examples by length, in batches of BATCH in random order: little padding."""
        self.examples.sort(key=lambda e: len(e[0]))
        starts = list(range(0, len(self.examples), BATCH))
        rng.shuffle(starts)
        for start in starts:
            yield self.tensors(*zip(*self.examples[start:start + BATCH]))

    def tensors(self, rows, labels, spans, verdicts, ablated):
        factors = torch.ones(len(rows), self.layers, self.heads)
        for i, heads in enumerate(ablated):
            for layer, head in heads:
                factors[i, layer, head] = ABLATION_SCALE
        rows = pad(rows, PAD)
        inside = torch.zeros(rows.shape, dtype=torch.bool)
        for i, (start, end) in enumerate(spans):
            inside[i, start:end] = True
        return rows, pad(labels, -100), inside, torch.tensor(verdicts), factors


def forever(batches, world, coder):
    while True:
        yield from batches(world, coder)


def label_loss(model, rows, labels):
    """Cross-entropy of the labelled tokens; only their positions go past the LM head."""
    hidden = model.model(input_ids=rows, use_cache=False).last_hidden_state[:, :-1]
    learnt = labels[:, 1:] != -100
    return F.cross_entropy(model.lm_head(hidden[learnt]), labels[:, 1:][learnt])


def optimise(name, steps, rate, parameters, loss_of_step, log, decay=0.0, masks=None):
    """AdamW with warm-up and cosine; `masks` (parameter: 0/1 tensor) keep the other entries' gradients at zero."""
    optimiser = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps, pct_start=0.1)
    start, sums = time.time(), []
    for step in range(1, steps + 1):
        optimiser.zero_grad(set_to_none=True)
        loss, parts = loss_of_step()
        loss.backward()
        for parameter, mask in (masks or {}).items():
            parameter.grad *= mask
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        sums.append(parts)
        if step % 100 == 0:
            means = [sum(p[i] for p in sums) / len(sums) for i in range(len(parts))]
            log(f"{name} step {step:5d}  " + "  ".join(f"{m:.4f}" for m in means))
            sums = []
    return time.time() - start
