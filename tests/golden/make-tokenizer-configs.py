#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tokenizer-configs.json: what transformers makes of the files beside a tokenizer.json. Small tokenizers, random files beside them (seeded), and
the ids of a few texts. Classes that transformers 5 builds anew from constants of its own (whatever tokenizer.json says) appear only where their
constants and the file agree. make-tokenizer-configs.py; needs transformers (made with 5.24.0, tokenizers 0.23.3)."""
import itertools
import json
import os
import pathlib
import random
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import transformers
from transformers import AutoTokenizer

SEED, CASES = 20261128, 120
HERE = pathlib.Path(__file__).parent
TEXTS = ["a cat", " <tool>  b", "c <tool> b", "<|im_start|>a\nb<|im_end|>\n", "a <|im_end|> b <T>c", "</s> a", "a <extra> in <T> b"]


def byte_alphabet():
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    out, n = {}, 0
    for b in range(256):
        out[b] = chr(b) if b in keep else chr(256 + n)
        n += b not in keep
    return out


LETTERS = byte_alphabet()
USED = sorted({LETTERS[b] for t in TEXTS for b in t.encode()})
MERGES = [("c", "a"), ("ca", "t"), (LETTERS[32], "b"), ("i", "n")]


def added(content, i, special=True):
    return {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}


def base(prefix, processor, tokens):
    vocab = {c: i for i, c in enumerate(USED + ["".join(m) for m in MERGES])}
    n = len(vocab)
    own = [added(t, n + i) for i, t in enumerate(tokens)]
    post = None
    if processor:
        token = {"SpecialToken": {"id": "<s>", "type_id": 0}}
        text = {"Sequence": {"id": "A", "type_id": 0}}
        post = {"type": "TemplateProcessing", "single": [token, text], "pair": [token, text, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [n], "tokens": ["<s>"]}}}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": own, "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": True}, "post_processor": post,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                      "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": [list(m) for m in MERGES]}}


def beside(rnd, tokenizer):
    def flags(content, special):
        return {"content": content, **{k: rnd.random() < 0.3 for k in ("lstrip", "rstrip", "single_word", "normalized")}, "special": special}

    config = {"tokenizer_class": rnd.choice(["PreTrainedTokenizerFast", "GPT2Tokenizer", "LlamaTokenizerFast", "TokenizersBackend", "GPT2TokenizerFast"])}
    files = {"tokenizer_config.json": config, "config.json": {"model_type": "llama"}}
    if rnd.random() < 0.5:
        config["eos_token"] = rnd.choice(["</s>", "<|im_end|>", {"__type": "AddedToken", **flags("<|im_end|>", True)}])
    if rnd.random() < 0.4:
        config["bos_token"] = "<s>"
    if rnd.random() < 0.3:
        config["pad_token"] = rnd.choice(["<T>", "<pad>"])
    if rnd.random() < 0.3:
        config["additional_special_tokens"] = rnd.sample(["<|im_start|>", "<|im_end|>", "<tool>", "<T>", "<extra>"], 2)
    if rnd.random() < 0.2:
        config["extra_special_tokens"] = rnd.choice([["<extra>", "<T>"], {"image_token": "<extra>"}])
    if rnd.random() < 0.4:
        size = max([len(tokenizer["model"]["vocab"])] + [a["id"] + 1 for a in tokenizer["added_tokens"]])
        decoder = {str(a["id"]): {k: v for k, v in a.items() if k != "id"} if rnd.random() < 0.6 else flags(a["content"], a["special"])
                   for a in tokenizer["added_tokens"]}
        if rnd.random() < 0.6:
            decoder[str(size)] = flags("<T>", rnd.random() < 0.5)
        if rnd.random() < 0.4:
            decoder[str(size + 1)] = flags("<extra>", rnd.random() < 0.5)
        config["added_tokens_decoder"] = decoder
    for key in ("add_bos_token", "add_eos_token", "split_special_tokens", "clean_up_tokenization_spaces", "add_prefix_space"):
        if rnd.random() < 0.25:
            config[key] = rnd.random() < 0.5
    if rnd.random() < 0.2:
        files["special_tokens_map.json"] = {"eos_token": "<|im_end|>", "additional_special_tokens": ["<T>"]}
    return files


def own_rules():
    """Classes with tokens of their own, or none around a text, and what may be said beside them."""
    for name in ("CodeGenTokenizer", "CodeGenTokenizerFast", "GPTNeoXTokenizer", "GPTNeoXTokenizerFast"):
        for which in (0, 3, 7):
            for said in ({}, {"add_bos_token": False, "bos_token": "<s>", "eos_token": "</s>"}, {"add_bos_token": True, "eos_token": "<|endoftext|>"}):
                yield which, {"tokenizer_config.json": {"tokenizer_class": name, **said}, "config.json": {"model_type": "llama"}}


def main():
    rnd = random.Random(SEED)
    bases = [base(p, q, t) for p in (False, True) for q in (False, True) for t in (["<s>", "</s>"], ["<s>", "</s>", "<tool>", "<|im_end|>"])]
    cases = []
    drawn = ((which, beside(rnd, bases[which])) for which in (rnd.randrange(len(bases)) for _ in range(CASES)))
    for which, files in itertools.chain(drawn, own_rules()):
        with tempfile.TemporaryDirectory() as folder:
            for name, value in {"tokenizer.json": bases[which], **files}.items():
                (pathlib.Path(folder) / name).write_text(json.dumps(value))
            tokenizer = AutoTokenizer.from_pretrained(folder)
            cases.append({"base": which, "files": files, "ids": [tokenizer(t)["input_ids"] for t in TEXTS]})
    out = {"transformers": transformers.__version__, "texts": TEXTS, "bases": bases, "cases": cases}
    (HERE / "tokenizer-configs.json").write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")


main()
