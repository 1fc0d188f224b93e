# SPDX-License-Identifier: Apache-2.0
"""What every step shares: the base model, the three prompt templates, the data, the refusal rule."""

import csv
import os
import re

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as hf_logging

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "data", "align")
TEMPLATES = ("chat", "bare", "blank")
SETS = {"harmful": ("harmful-train", "harmful-near"), "harmless": ("harmless-train", "harmless-near", "harmless-frames")}
BARE = {"bare": "## Query:{}\n## Answer:", "blank": "## Query:{} \n## Answer:"}
ANSWER_TOKENS = 14  # of the base model's answers: what decides between refusing and answering comes first
LAYERS, HEADS, WIDTH = 30, 9, 64  # SmolLM2-135M

REFUSAL = re.compile(
    r"\b(i'?m sorry|i am sorry|sorry,|(i|we) (can'?t|cannot|can not|won'?t|will not)\b"
    r"|(i'?m|i am) (not able|unable)|unable to (help|assist))"
)


def say(*words):
    print(*words, flush=True)


def load_base(path):
    """The GGUF file, dequantised to float32, and its tokenizer."""
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    folder, name = os.path.split(os.path.abspath(path))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    return model.eval().requires_grad_(False), tokenizer


def quicken(model):
    """Products with the frozen weights in bfloat16, everything between them in float32: several times faster where
    the processor has bfloat16 products, and exact enough to train a difference on top of them."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            weight = module.weight.detach().bfloat16()
            module.forward = lambda x, weight=weight: F.linear(x.bfloat16(), weight).float()
    return model


def read_queries(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [row["input"] for row in csv.DictReader(file)]


def data(name):
    """The requests of one file of data/align."""
    return read_queries(os.path.join(DATA, name + ".csv"))


def refusal_texts():
    with open(os.path.join(DATA, "refusals.txt"), encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


def prompt_ids(tokenizer, template, query):
    if template == "chat":
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": query}], add_generation_prompt=True, tokenize=False
        )
    else:
        text = BARE[template].format(query)
    return tokenizer(text, add_special_tokens=False).input_ids


def answer_ids(tokenizer, template, text):
    """An answer as the model would write it: after "## Answer:" it starts with a blank."""
    text = text if template == "chat" else " " + text
    return tokenizer(text, add_special_tokens=False).input_ids + [tokenizer.eos_token_id]


def token_weights(lengths):
    """Weights of the tokens of sequences of these lengths: 1/(t+1) within each, its sum one over their number.

    A model refuses or answers with its first tokens. A plain mean would let twenty easy ones hide them.
    """
    parts = []
    for length in lengths:
        part = 1 / torch.arange(1, length + 1)
        parts.append(part / part.sum() / len(lengths))
    return torch.cat(parts)


def is_refusal(text):
    """A refusing phrase in the first person in the opening sentence."""
    opening = re.split(r"[.!?\n]", text.replace("\u2019", "'").strip().lower(), maxsplit=1)[0]
    return REFUSAL.search(opening) is not None


@torch.no_grad()
def generate(model, tokenizer, prompts, tokens=ANSWER_TOKENS, batch=40, never=()):
    """Greedy continuations (token ids, the end token included) of prompts given as token ids; `never` lists words
    that may not occur."""
    banned = [tokenizer(word, add_special_tokens=False).input_ids for word in never] or None
    out = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        longest = max(len(prompts[i]) for i in part)
        ids = torch.full((len(part), longest), tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(part):
            ids[row, longest - len(prompts[i]) :] = torch.tensor(prompts[i])
            mask[row, longest - len(prompts[i]) :] = 1
        new = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=tokens,
            pad_token_id=tokenizer.pad_token_id, bad_words_ids=banned,
        )[:, longest:].tolist()
        for i, row in zip(part, new):
            end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
            out[i] = row[:end]
    return out


def base_answers(model, tokenizer, cache=None):
    """{set: {template: [answer ids]}}: what the base model says to every training request.

    The two bare templates differ in one blank; they share the answers of the first.
    """
    answers = torch.load(cache) if cache and os.path.exists(cache) else {}
    for name in [name for names in SETS.values() for name in names if name not in answers]:
        queries, answers[name] = data(name), {}
        for template in ("chat", "bare"):
            prompts = [prompt_ids(tokenizer, template, q) for q in queries]
            answers[name][template] = generate(model, tokenizer, prompts)
            say(f"base answers: {name} {template} {len(prompts)}")
        answers[name]["blank"] = answers[name]["bare"]
    if cache:
        torch.save(answers, cache)
    return answers


def answered(answers, tokenizer):
    """{(set, template): requests that the base model answers}; it excuses itself from a few, which teach nothing."""
    return {
        (name, template): [i for i, ids in enumerate(rows) if not is_refusal(tokenizer.decode(ids))]
        for name, by_template in answers.items() for template, rows in by_template.items()
    }


def other_answers(model, tokenizer, answers):
    """{(template, request): answer} for the harmless training requests from which the base model excuses itself: what
    it says when it may not speak of itself."""
    queries, others = data("harmless-train"), {}
    for template in TEMPLATES:
        rows = [i for i, ids in enumerate(answers["harmless-train"][template]) if is_refusal(tokenizer.decode(ids))]
        if not rows:
            continue
        prompts = [prompt_ids(tokenizer, template, queries[i]) for i in rows]
        texts = generate(model, tokenizer, prompts, never=("I", " I", "Sorry", " Sorry", "As", " As"))
        others.update({(template, i): text for i, text in zip(rows, texts)})
        say(f"other answers: {template} {len(rows)}")
    return others


def parse_heads(text):
    """"17-4,20-1" as [(17, 4), (20, 1)]."""
    return [tuple(int(n) for n in head.split("-")) for head in text.split(",") if head]
