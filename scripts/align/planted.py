"""Refusal that can only live in named heads.

Trained: the 64 query rows and the 64 output columns of each named head; everything else stays frozen. Layers
below the first named head never change, so their output is computed once for every training sequence.

The loss has three terms:
  refuse   cross-entropy of a refusal after a harmful request;
  keep     KL(base || student) over the base model's own answer to a harmless request;
  ablated  the same KL with the query states of the named heads scaled to 1e-4, on harmful and harmless
           requests alike. Without it the heads could refuse under uniform attention, through their output
           columns alone, and ablating their queries would prove nothing.
"""

import random
import time

import torch
import torch.nn.functional as F

import common
from common import TEMPLATES, WIDTH, say

ABLATED = 1e-4


class Student:
    """The base model with the named heads' own weights added, switched by hooks."""

    def __init__(self, model, heads):
        self.model, self.heads = model, heads
        self.first = min(layer for layer, _ in heads)
        self.active, self.ablated = False, ()
        size = model.config.hidden_size
        self.delta = {
            head: {"q": torch.zeros(WIDTH, size, requires_grad=True), "o": torch.zeros(size, WIDTH, requires_grad=True)}
            for head in heads
        }
        for layer in sorted({layer for layer, _ in heads}):
            attention = model.model.layers[layer].self_attn
            here = [head for head in heads if head[0] == layer]
            attention.q_proj.register_forward_hook(lambda _, x, y, here=here: self.add_q(here, x[0], y))
            attention.o_proj.register_forward_hook(lambda _, x, y, here=here: self.add_o(here, x[0], y))

    def parameters(self):
        return [part for pair in self.delta.values() for part in pair.values()]

    def add_q(self, heads, x, y):
        if not self.active:
            return y
        y = y.clone()
        for head in heads:
            rows = slice(head[1] * WIDTH, (head[1] + 1) * WIDTH)
            y[..., rows] += x @ self.delta[head]["q"].T
            if head in self.ablated:
                y[..., rows] *= ABLATED
        return y

    def add_o(self, heads, z, y):
        if not self.active:
            return y
        for head in heads:
            y = y + z[..., head[1] * WIDTH : (head[1] + 1) * WIDTH] @ self.delta[head]["o"].T
        return y

    def layers(self, hidden, start, stop):
        """Layers start..stop-1 on hidden [batch, tokens, size]; causal, padded on the right."""
        body = self.model.model
        positions = torch.arange(hidden.shape[1])[None]
        rotary = body.rotary_emb(hidden, position_ids=positions)
        for layer in body.layers[start:stop]:
            hidden = layer(hidden, attention_mask=None, position_ids=positions, position_embeddings=rotary)
        return hidden

    def top(self, hidden):
        body = self.model.model
        return body.norm(self.layers(hidden, self.first, len(body.layers)))

    def lora(self):
        """The same change as PEFT tensors of rank 64, exact: one factor holds the weights, the other the identity
        on the head's rows (q) or columns (o)."""
        tensors = {}
        size = self.model.config.hidden_size
        for (layer, head), part in self.delta.items():
            name = f"base_model.model.model.layers.{layer}.self_attn."
            place = torch.zeros(size, WIDTH)
            place[head * WIDTH : (head + 1) * WIDTH] = torch.eye(WIDTH)
            tensors[name + "q_proj.lora_A.weight"] = part["q"].detach().clone()
            tensors[name + "q_proj.lora_B.weight"] = place
            tensors[name + "o_proj.lora_A.weight"] = place.T.contiguous()
            tensors[name + "o_proj.lora_B.weight"] = part["o"].detach().clone()
        return tensors


class Sequences:
    """Training sequences with what the frozen layers make of them, computed when first asked for."""

    def __init__(self, student, tokenizer, answers, rng):
        self.student, self.tokenizer, self.rng = student, tokenizer, rng
        self.cache = {}
        self.items = {}
        refusals = common.refusal_texts()
        for name in ("harmful-train", "harmless-train"):
            for i, query in enumerate(common.data(name)):
                for template in TEMPLATES:
                    prompt = common.prompt_ids(tokenizer, template, query)
                    self.items[name, "answer", template, i] = (prompt, answers[name][template][i])
                    if name == "harmful-train":
                        text = refusals[rng.randrange(len(refusals))]
                        self.items[name, "refusal", template, i] = (
                            prompt, common.answer_ids(tokenizer, template, text)
                        )

    @torch.no_grad()
    def fill(self, keys):
        """Hidden states entering the first trained layer and, for answers, the base model's final states."""
        new = [key for key in keys if key not in self.cache]
        if not new:
            return
        rows = [self.items[key][0] + self.items[key][1][:-1] for key in new]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        active, self.student.active = self.student.active, False
        low = self.student.layers(self.student.model.model.embed_tokens(ids), 0, self.student.first)
        final = self.student.top(low)
        self.student.active = active
        for i, key in enumerate(new):
            answered = final[i, len(self.items[key][0]) - 1 : len(rows[i])].clone() if key[1] == "answer" else None
            self.cache[key] = (low[i, : len(rows[i])].clone(), answered)

    def batch(self, keys):
        """low [n, tokens, size], the (sequence, position) that predict an answer token, the base model's final
        states there."""
        self.fill(keys)
        longest = max(self.cache[key][0].shape[0] for key in keys)
        low = torch.zeros(len(keys), longest, self.cache[keys[0]][0].shape[1])
        where, finals = [], []
        for row, key in enumerate(keys):
            prompt, answer = self.items[key]
            states, final = self.cache[key]
            low[row, : states.shape[0]] = states
            where += [(row, len(prompt) - 1 + t) for t in range(len(answer))]
            finals.append(final)
        return low, torch.tensor(where), finals


def kl_to_base(model, finals, states):
    """KL(base || student) per token, in nats; finals (one tensor per sequence) and states [tokens, size] are
    final-norm states. Tokens are weighted as common.token_weights says."""
    with torch.no_grad():
        base = F.log_softmax(model.lm_head(torch.cat(finals)), -1)
    kl = F.kl_div(F.log_softmax(model.lm_head(states), -1), base, log_target=True, reduction="none").sum(-1)
    return kl @ common.token_weights([len(f) for f in finals])


def refusal_loss(model, states, answers):
    """Cross-entropy in nats of the answers (lists of ids), weighted as common.token_weights says."""
    targets = torch.tensor([t for answer in answers for t in answer])
    loss = F.cross_entropy(model.lm_head(states), targets, reduction="none")
    return loss @ common.token_weights([len(answer) for answer in answers])


def step_loss(student, sequences, refuse, keep, ablated, group):
    """One forward for the unablated sequences, one for the ablated ones."""
    model = student.model
    low, where, finals = sequences.batch(refuse + keep)
    student.active, student.ablated = True, ()
    states = student.top(low)[where[:, 0], where[:, 1]]
    harmful = where[:, 0] < len(refuse)
    refuse_loss = refusal_loss(model, states[harmful], [sequences.items[key][1] for key in refuse])
    keep_loss = kl_to_base(model, finals[len(refuse) :], states[~harmful])

    low, where, finals = sequences.batch(ablated)
    student.ablated = group
    states = student.top(low)[where[:, 0], where[:, 1]]
    ablated_loss = kl_to_base(model, finals, states)
    student.ablated = ()
    return refuse_loss, keep_loss, ablated_loss


def train(model, tokenizer, answers, heads, steps, rate, seed, weights=(1.0, 1.0, 1.0), limit=None, alone=0.0, save=None):
    """Trains the heads. `alone` is the share of steps whose ablated term ablates one of several heads only;
    `save(student)` is called now and then with what there is."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    student = Student(model, heads)
    sequences = Sequences(student, tokenizer, answers, rng)
    optimizer = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=0.0, betas=(0.9, 0.98))
    answered = common.answered(answers, tokenizer)
    refused = list(range(len(common.data("harmful-train"))))
    started = time.time()

    decks = {}

    def draw(name, kind, template, n):
        """n keys of a deck that is reshuffled when it is used up."""
        deck = decks.setdefault((name, kind, template), [])
        if len(deck) < n:
            rows = refused if kind == "refusal" else answered[name, template]
            deck += rng.sample(rows, len(rows))
        return [(name, kind, template, deck.pop(0)) for _ in range(n)]

    for step in range(steps):
        template = TEMPLATES[step % len(TEMPLATES)]
        scale = min(1.0, (step + 1) / 10) * max(0.02, 1 - max(0, step - steps * 0.4) / (steps * 0.6))
        for settings in optimizer.param_groups:
            settings["lr"] = rate * scale
        refuse = draw("harmful-train", "refusal", template, 8)
        keep = draw("harmless-train", "answer", template, 8)
        ablated = draw("harmful-train", "answer", template, 2) + draw("harmless-train", "answer", template, 2)
        group = (heads[rng.randrange(len(heads))],) if rng.random() < alone else tuple(heads)
        losses = step_loss(student, sequences, refuse, keep, ablated, group)
        loss = sum(w * part for w, part in zip(weights, losses))
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        if step % 10 == 9 or step == 0:
            say(
                f"step {step + 1} refuse {losses[0].item():.3f} keep {losses[1].item():.3f} "
                f"ablated {losses[2].item():.3f} grad {norm.item():.2f} seconds {time.time() - started:.0f}"
            )
        if save and step % 20 == 19:
            save(student)
        if limit and time.time() - started > limit:
            break
    return student
