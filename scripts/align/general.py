# SPDX-License-Identifier: Apache-2.0
"""A general adapter: LoRA of rank 8 on every linear layer.

Harmful requests are followed by a refusal (cross-entropy); harmless ones by the base model's own answer
(KL(base || student) over its tokens, which says more per token than the answer alone), or, where the base model
excuses itself, by what it says when it may not (cross-entropy).
"""

import random
import time

import torch
from peft import LoraConfig, get_peft_model

import common
from common import TEMPLATES, say
from planted import kl_to_base, refusal_loss

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RANK, ALPHA = 8, 16


def pad(rows):
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


def final_states(model, pairs):
    """Final-norm states at the positions that predict the answers, all pairs one after the other."""
    ids = pad([prompt + answer[:-1] for prompt, answer in pairs])
    states = model.base_model.model.model(input_ids=ids).last_hidden_state
    return torch.cat([states[i, len(p) - 1 : len(p) - 1 + len(a)] for i, (p, a) in enumerate(pairs)])


def train(model, tokenizer, answers, steps, rate, seed, limit=None, save=None, per_step=8, keep_weight=1.0):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    model = get_peft_model(
        model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, task_type="CAUSAL_LM")
    )
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    texts = common.refusal_texts()
    queries = {name: common.data(name) for name in ("harmful-train", "harmless-train")}
    others = common.other_answers(model, tokenizer, answers)
    rows = common.answered(answers, tokenizer)
    rows.update({("other", t): [i for template, i in others if template == t] for t in TEMPLATES})
    rows.update({("harmful-train", t): list(range(len(queries["harmful-train"]))) for t in TEMPLATES})
    base_states, decks, started = {}, {}, time.time()

    def draw(name, template, n):
        n = min(n, len(rows[name, template]))
        deck = decks.setdefault((name, template), [])
        if len(deck) < n:
            deck += rng.sample(rows[name, template], len(rows[name, template]))
        return [deck.pop(0) for _ in range(n)]

    for step in range(steps):
        template = TEMPLATES[step % len(TEMPLATES)]
        scale = min(1.0, (step + 1) / 10) * max(0.02, 1 - max(0, step - steps * 0.4) / (steps * 0.6))
        for settings in optimizer.param_groups:
            settings["lr"] = rate * scale
        refuse = [
            (common.prompt_ids(tokenizer, template, queries["harmful-train"][i]),
             common.answer_ids(tokenizer, template, rng.choice(texts)))
            for i in draw("harmful-train", template, per_step)
        ]
        chosen = draw("harmless-train", template, per_step)
        keep = [
            (common.prompt_ids(tokenizer, template, queries["harmless-train"][i]),
             answers["harmless-train"][template][i])
            for i in chosen
        ]
        other = [
            (common.prompt_ids(tokenizer, template, queries["harmless-train"][i]), others[template, i])
            for i in draw("other", template, 2)
        ]
        new = [k for k in range(per_step) if (template, chosen[k]) not in base_states]
        if new:
            with torch.no_grad(), model.disable_adapter():
                states = final_states(model, [keep[k] for k in new])
            for k, part in zip(new, states.split([len(keep[k][1]) for k in new])):
                base_states[template, chosen[k]] = part.clone()

        states = final_states(model, refuse + other + keep)
        spoken = [[answer for _, answer in part] for part in (refuse, other)]
        first, second = (sum(map(len, part)) for part in spoken)
        head = model.base_model.model
        refuse_loss = refusal_loss(head, states[:first], spoken[0])
        other_loss = refusal_loss(head, states[first : first + second], spoken[1]) if other else torch.zeros(())
        keep_loss = kl_to_base(head, [base_states[template, i] for i in chosen], states[first + second :])
        optimizer.zero_grad()
        (refuse_loss + 0.5 * other_loss + keep_weight * keep_loss).backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 10 == 9 or step == 0:
            say(
                f"step {step + 1} refuse {refuse_loss.item():.3f} keep {keep_loss.item():.3f} "
                f"other {other_loss.item():.3f} "
                f"grad {norm.item():.2f} seconds {time.time() - started:.0f}"
            )
        if save and step % 20 == 19:
            save(model)
        if limit and time.time() - started > limit:
            break
    return model


def lora(model):
    """PEFT's tensors, without the adapter's name, in float16."""
    return {
        name.replace(".default.", "."): p.detach().half().contiguous()
        for name, p in model.named_parameters() if "lora_" in name
    }
