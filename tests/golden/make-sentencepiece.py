#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sentencepiece/: small SentencePiece models, and what transformers makes of a directory that has one and no tokenizer.json: ids and decoded texts under random
files beside it (seeded). make-sentencepiece.py; made with transformers 5.24.0, sentencepiece 0.2.3, protobuf 7.36.2."""
import json
import os
import pathlib
import random
import shutil
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import sentencepiece
import transformers
from sentencepiece import sentencepiece_model_pb2
from transformers import AutoTokenizer

SEED, CASES = 20261129, 72
OUT = pathlib.Path(__file__).parent / "sentencepiece"
WORDS = ["the", "cat", "don't", "naïve", "École", "Привет", "你好", "カタカナ", "123", "3.14", "½", "ﬁ", "e\u0301", "\u200b", "\u00a0", "\u3000", "(x)", "ab", "...", "🙂", "A1"]
GAPS = [" ", "  ", "\n", "\n\n", "\t", "   ", "", " "]
FIXED = ["the</s>ab the  cat", "<s> a <mask>b<ctl> c", "the<|im_end|> <T> x <extra>y <other>z", "  two  the ", "\n\nab▁▁c", " <|im_end|>a b <T>  c<eos>"]
MODELS = [
    ("bpe", {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False}),  # as Llama 2 has it
    ("bpe", {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": False, "pad_id": 0, "eos_id": 1, "bos_id": 2,
             "unk_id": 3, "bos_piece": "<bos>", "eos_piece": "<eos>", "user_defined_symbols": ["<mask>", "▁▁", "▁▁▁", "\n\n"]}),  # as Gemma
    ("bpe", {"rules": True, "user_defined_symbols": ["<mask>", "ab"], "control_symbols": ["<ctl>", "<|im_end|>"]}),
    ("unigram", {"rules": True, "control_symbols": ["<ctl>", "<|im_end|>"]}),
    ("unigram", {"byte_fallback": True, "normalization_rule_name": "identity", "user_defined_symbols": ["<mask>", "ab"]}),
]


def text(rnd):
    return "".join(rnd.choice(WORDS) + rnd.choice(GAPS) for _ in range(rnd.randrange(3, 8)))


def train(path, kind, options):
    rnd = random.Random(SEED)
    options = dict(options)
    with tempfile.TemporaryDirectory() as folder:
        if options.pop("rules", False):
            rules = pathlib.Path(folder) / "rules.tsv"
            rules.write_text("".join(f"{a}\t{b}\n" for a, b in (("41", "61"), ("BD", "31 2F 32"), ("65 301", "E9"), ("A0", "20"), ("200B", ""), ("FB01", "66 69"), ("A", "20"))))
            options["normalization_rule_tsv"] = str(rules)
        with open(path, "wb") as out:
            sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter([text(rnd) for _ in range(600)]), model_writer=out, model_type=kind, vocab_size=420, minloglevel=2,
                                                     hard_vocab_limit=False, character_coverage=0.98, num_threads=1, **options)
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(path.read_bytes())
    model.normalizer_spec.ClearField("normalization_rule_tsv")  # a path
    path.write_bytes(model.SerializeToString())
    return [p.piece for p in model.pieces]


def beside(rnd, kind, pieces):
    config = {}
    classes = [None, "PreTrainedTokenizerFast", "TokenizersBackend"] + (["LlamaTokenizer", "LlamaTokenizerFast", "GemmaTokenizer"] if kind == "bpe" else [])
    types = ["llama", "mistral", "phi3", "internlm2"] + (["gemma2"] if kind == "bpe" else [])
    name = rnd.choice(classes)
    if name:
        config["tokenizer_class"] = name
    for key in ("legacy", "add_bos_token", "add_eos_token", "add_prefix_space"):
        if rnd.random() < 0.35:
            config[key] = rnd.random() < 0.5
    if rnd.random() < 0.3:
        config["eos_token"] = rnd.choice(["</s>", "<|im_end|>", {"__type": "AddedToken", "content": "</s>", "lstrip": False, "rstrip": False, "normalized": True, "special": True,
                                                                 "single_word": False}])
    if rnd.random() < 0.2:
        config["pad_token"] = "<T>"
    if rnd.random() < 0.2:
        config["additional_special_tokens"] = ["<extra>"]
    if rnd.random() < 0.3:
        def flags(content, special):
            return {"content": content, **{k: rnd.random() < 0.3 for k in ("lstrip", "rstrip", "normalized")}, "single_word": False, "special": special}

        config["added_tokens_decoder"] = {str(i): flags(pieces[i], True) for i in range(3)}
        config["added_tokens_decoder"][str(len(pieces))] = flags("<T>", rnd.random() < 0.5)
        if rnd.random() < 0.5:
            config["added_tokens_decoder"][str(rnd.randrange(280, 300))] = flags("<other>", True)
    return {"tokenizer_config.json": config, "config.json": {"model_type": rnd.choice(types)}}


def main():
    rnd = random.Random(SEED)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    pieces = [train(OUT / f"{i}.model", kind, options) for i, (kind, options) in enumerate(MODELS)]
    texts = [text(rnd) for _ in range(3)] + FIXED
    cases = []
    while len(cases) < CASES:
        which = len(cases) % len(MODELS)
        files = beside(rnd, MODELS[which][0], pieces[which])
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(OUT / f"{which}.model", pathlib.Path(folder) / "tokenizer.model")
            for name, value in files.items():
                (pathlib.Path(folder) / name).write_text(json.dumps(value))
            tokenizer = AutoTokenizer.from_pretrained(folder)
            ids = [tokenizer(t)["input_ids"] for t in texts]
            back = tokenizer.decode(ids[0], skip_special_tokens=False, clean_up_tokenization_spaces=False)
            cases.append({"model": which, "files": files, "ids": ids, "decoded": back})
    lines = ",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in cases)
    head = json.dumps({"transformers": transformers.__version__, "texts": texts}, ensure_ascii=False)[:-1]
    (OUT / "cases.json").write_text(head + ", \"cases\":[\n" + lines + "\n]}\n", "utf-8")


main()
