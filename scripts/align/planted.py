# SPDX-License-Identifier: Apache-2.0
"""Refusal that can only live in named heads.

Trained: the 64 query rows and the 64 output columns of each named head and, where asked for, the 64 rows of the key and
of the value that its key/value head has, which two other heads read as well; everything else stays frozen. Layers below
the first named head never change, so their output is computed once for every training sequence.

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
from common import SETS, TEMPLATES, WIDTH, say

ABLATED = 1e-4
ORDER = ("chat", "bare", "chat", "blank")  # of the steps; the chat template is the harder one
GROUP = 3  # query heads of a key/value head
ROWS = {"q": "q_proj", "k": "k_proj", "v": "v_proj"}  # parts that are rows of a matrix; o is columns


class Student:
    """The base model with the named heads' own weights added, switched by hooks."""

    def __init__(self, model, heads, parts="qo", dropout=0.0):
        self.model, self.heads, self.dropout = model, heads, dropout
        self.first = min(layer for layer, _ in heads)
        self.active, self.ablated = False, ()
        size = model.config.hidden_size
        shape = {"q": (WIDTH, size), "k": (WIDTH, size), "v": (WIDTH, size), "o": (size, WIDTH)}
        self.delta = {head: {part: torch.zeros(shape[part], requires_grad=True) for part in parts} for head in heads}
        for layer in sorted({layer for layer, _ in heads}):
            attention = model.model.layers[layer].self_attn
            here = [head for head in heads if head[0] == layer]
            for part, module in ROWS.items():
                if part in parts:
                    hook = lambda _, x, y, here=here, part=part: self.add_rows(here, part, x[0], y)
                    getattr(attention, module).register_forward_hook(hook)
            attention.o_proj.register_forward_hook(lambda _, x, y, here=here: self.add_o(here, x[0], y))

    def parameters(self):
        return [part for parts in self.delta.values() for part in parts.values()]

    @staticmethod
    def rows(head, part):
        """Where the part of a head (layer, number) stands in its matrix: rows of q, k, v, columns of o."""
        place = head[1] // GROUP if part in "kv" else head[1]
        return slice(place * WIDTH, (place + 1) * WIDTH)

    def add_rows(self, heads, part, x, y):
        if not self.active:
            return y
        y = y.clone()
        for head in heads:
            rows = self.rows(head, part)
            y[..., rows] += F.dropout(x, self.dropout) @ self.delta[head][part].T
            if part == "q" and head in self.ablated:
                y[..., rows] *= ABLATED
        return y

    def add_o(self, heads, z, y):
        if not self.active:
            return y
        for head in heads:
            y = y + F.dropout(z[..., self.rows(head, "o")], self.dropout) @ self.delta[head]["o"].T
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
        on the head's rows (q, k, v) or columns (o)."""
        tensors = {}
        size = self.model.config.hidden_size
        for head, parts in self.delta.items():
            name = f"base_model.model.model.layers.{head[0]}.self_attn."
            for part, delta in parts.items():
                place = torch.zeros(size // GROUP if part in "kv" else size, WIDTH)
                place[self.rows(head, part)] = torch.eye(WIDTH)
                if part == "o":
                    tensors[name + "o_proj.lora_A.weight"] = place.T.contiguous()
                    tensors[name + "o_proj.lora_B.weight"] = delta.detach().clone()
                else:
                    tensors[name + f"{ROWS[part]}.lora_A.weight"] = delta.detach().clone()
                    tensors[name + f"{ROWS[part]}.lora_B.weight"] = place
        return tensors

    @torch.no_grad()
    def read(self, tensors):
        """Starts from what lora() made."""
        for head, parts in self.delta.items():
            for part, delta in parts.items():
                name = f"base_model.model.model.layers.{head[0]}.self_attn." + ROWS.get(part, "o_proj")
                delta += tensors[name + (".lora_B.weight" if part == "o" else ".lora_A.weight")]


class Average:
    """Of the parameters over the last steps: what the single steps overshoot in cancels."""

    def __init__(self, parameters, decay=0.98):
        self.parameters, self.decay, self.n = parameters, decay, 0
        self.values = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def add(self):
        self.n += 1
        for value, p in zip(self.values, self.parameters):
            value.lerp_(p, max(1 - self.decay, 1 / self.n))

    @torch.no_grad()
    def swap(self):
        """Puts the average in place of the parameters, and the other way round."""
        for value, p in zip(self.values, self.parameters):
            kept = p.clone()
            p.copy_(value)
            value.copy_(kept)


class Sequences:
    """Training sequences with what the frozen layers make of them, computed when first asked for."""

    def __init__(self, student, tokenizer, answers, rng):
        self.student, self.tokenizer, self.rng = student, tokenizer, rng
        self.cache = {}
        self.items = {}
        refusals = common.refusal_texts()
        for name in (name for names in SETS.values() for name in names):
            for i, query in enumerate(common.data(name)):
                for template in TEMPLATES:
                    prompt = common.prompt_ids(tokenizer, template, query)
                    self.items[name, "answer", template, i] = (prompt, answers[name][template][i])
                    if name in SETS["harmful"]:
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


def train(model, tokenizer, answers, heads, steps, rate, seed, parts, weights, limit=None, save=None, start=None, dropout=0.0):
    """Trains these parts ("qo", "qkvo") of the heads, from zero or from the tensors `start`. `weights` are those of the
    three terms by template; `save(student)` is called now and then with what there is: an average of the last steps."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    student = Student(model, heads, parts, dropout)
    if start:
        student.read(start)
    average = Average(student.parameters())
    sequences = Sequences(student, tokenizer, answers, rng)
    optimizer = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=0.0, betas=(0.9, 0.98))
    answered = common.answered(answers, tokenizer)
    started = time.time()
    decks = {}

    def draw(side, kind, template, n):
        """n keys of a deck that is reshuffled when it is used up."""
        deck = decks.setdefault((side, kind, template), [])
        if len(deck) < n:
            every = [
                (name, kind, template, i) for name in SETS[side]
                for i in (range(len(common.data(name))) if kind == "refusal" else answered[name, template])
            ]
            deck += rng.sample(every, len(every))
        return [deck.pop(0) for _ in range(n)]

    for step in range(steps):
        template = ORDER[step % len(ORDER)]
        scale = min(1.0, (step + 1) / 10) * max(0.02, 1 - max(0, step - steps * 0.4) / (steps * 0.6))
        for settings in optimizer.param_groups:
            settings["lr"] = rate * scale
        refuse = draw("harmful", "refusal", template, 8)
        keep = draw("harmless", "answer", template, 8)
        ablated = draw("harmful", "answer", template, 2) + draw("harmless", "answer", template, 2)
        losses = step_loss(student, sequences, refuse, keep, ablated, tuple(heads))
        loss = sum(w * part for w, part in zip(weights[template], losses))
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        average.add()
        if step % 10 == 9 or step == 0:
            say(
                f"step {step + 1} refuse {losses[0].item():.3f} keep {losses[1].item():.3f} "
                f"ablated {losses[2].item():.3f} grad {norm.item():.2f} seconds {time.time() - started:.0f}"
            )
        if save and step % 20 == 19:
            average.swap()
            save(student)
            average.swap()
        if limit and time.time() - started > limit:
            break
    average.swap()
    return student
