#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gguf-tokenizers.json: the tokens of small GGUF vocabularies of every kind and word rule, and which tokens end an answer.

    make-gguf-tokenizers.py INCLUDE LIBRARIES

INCLUDE: llama.cpp's headers (llama.h and ggml's in one folder, or two with a colon between them); LIBRARIES: the folder of its shared libraries.
Made with llama.cpp 0.5.0, tokenizers 0.23.3, sentencepiece 0.2.3, gguf 0.19.0. llama.cpp is the truth, but for word rules of which a model's own
tokenizer.json is known and differs: there it is the tokenizers library with that expression, given here (docs/tokens.md). Seeded."""
import io
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

SEED = 20261128
HERE = pathlib.Path(__file__).parent
WORDS = ["don't", "I'LL", "we've", "the", "iPhone", "HTTPServer", "naïve", "École", "ПриветМир", "नमस्ते", "สวัสดี", "你好", "カタカナ", "한국어", "123",
         "1234567", "3.14", "½", "foo_bar", "x=1;", "//path/to", "...", "!!!", "“quote”", "🙂", "e\u0301", "\u200b", "\u00a0", "(x)", "$5", "^", "`c`", "العربية",
         "'S", "O'Neil", "a/\n", "!\n", "1,000", "A1b2", "café", "straße", "ab", "a b"]
GAPS = [" ", "  ", "\n", "\n\n", " \n", "\t", "\r\n", "   ", "", "", " ", " "]
LLAMA_CPP = """default gpt-2 phi-2 gigachat a.x-4.0 mellum jais trillion granite-docling exaone4 starcoder refact smollm codeshell exaone minerva-7b mellum2 falcon chameleon
llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 dbrx smaug-bpe chatglm-bpe glm4 jais-2 minicpm5 deepseek-r1-qwen f2llmv2 stablelm2 hunyuan solar-open
grok-2 laguna ufakzeka bailingmoe bailingmoe2 llada-moe seed-coder exaone-moe deepseek-v3 hunyuan-dense joyai-llm hy_v4 spark2_5 deepseek-coder deepseek-llm poro-chat bloom
gpt3-finnish viking superbpe""".split()
COMPOSED = "mpt olmo command-r qwen2 kormo megrez qwen35".split()  # their tokenizer.json has NFC, llama.cpp has no normal form
UPPER, LOWER, BEFORE = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}", r"[^\r\n\p{L}\p{N}]?"
SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = rf"{BEFORE}[{UPPER}]*[{LOWER}]+{SHORT}|{BEFORE}[{UPPER}]+[{LOWER}]*{SHORT}|\p{{N}}{{1,3}}|{REST}"
OWN = {  # names: expressions of the models' tokenizer.json
    "gpt-4o llama4 kanana2 talkie minimax-m2": [O200K],
    "tekken": [O200K.replace(SHORT, "").replace("{1,3}", "")],
    "tiny_aya cohere2moe": [r"\d{1,3}(?=(?:\d{3})*\b)", O200K],
}
NAMES = """<|eot_id|> <|im_end|> <|im_start|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <start_of_turn> </s> <unk> <|eom_id|> <EOT> _<EOT> [EOT] [EOS]
<|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> <｜end▁of▁sentence｜> [e~[ <|fim_prefix|> <|fim_suffix|> <|fim_middle|> <|fim_pad|> <|repo_name|> <|file_sep|>
<|channel|> <|message|> <|start|> <|constrain|> <|plamo:eos|> <tool_call> <|user|> <|assistant|>""".split()


PROGRAM = r"""/* Tokens as llama.cpp has them. Reads lengths and texts ("5\\nhello"); prints the end tokens on one line, then the ids of each text. */
#include <stdio.h>
#include <stdlib.h>

#include "llama.h"

static void quiet(enum ggml_log_level level, const char *text, void *data)
{
    (void)data;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model_params parameters = llama_model_default_params();
    parameters.vocab_only = true;
    struct llama_model *model = llama_model_load_from_file(argv[1], parameters);
    if (!model) return 1;
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    for (int i = 0; i < llama_vocab_n_tokens(vocab); i++)
        if (llama_vocab_is_eog(vocab, i)) printf("%d ", i);
    printf("\n");
    for (int size; scanf("%d", &size) == 1;) {
        char *text = malloc((size_t)size + 1);
        llama_token *ids = malloc(((size_t)size + 8) * 4 * sizeof *ids);
        getchar();
        if (!text || !ids || fread(text, 1, (size_t)size, stdin) != (size_t)size) return 1;
        const int n = llama_tokenize(vocab, text, size, ids, (size + 8) * 4, true, true);
        for (int i = 0; i < n; i++) printf("%d ", ids[i]);
        printf("\n");
        free(text);
        free(ids);
    }
    llama_model_free(model);
    return 0;
}
"""


def text(rnd):
    return "".join(rnd.choice(WORDS) + rnd.choice(GAPS) for _ in range(rnd.randrange(4, 9)))


def corpus():
    rnd = random.Random(SEED)
    return [text(rnd) for _ in range(1500)]


def train(raw):
    """Merges over whole texts, so that tokens show where words end."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=raw))
    if raw:
        special = ["<unk>", "<bos>", "<eos>"] + [f"<0x{i:02X}>" for i in range(256)]
        texts = [line.replace(" ", "▁") for t in corpus() for line in t.split("\n")]
        trainer = trainers.BpeTrainer(vocab_size=520, special_tokens=special, show_progress=False, limit_alphabet=90)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        texts = corpus()
        trainer = trainers.BpeTrainer(vocab_size=640, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
                                      special_tokens=["<|endoftext|>", "<s>"])
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return {"tokens": tokens, "merges": [" ".join(m) for m in model["merges"]]}


def pieces(kind, **more):
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        rules = pathlib.Path(folder) / "rules.tsv"
        rules.write_text("".join(f"{a}\t{b}\n" for a, b in (("41", "61"), ("BD", "31 2F 32"), ("65 301", "E9"), ("A0", "20"), ("200B", ""), ("212A", "6B"))))
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter([c for c in corpus() if c.strip()]), model_writer=out, model_type=kind, minloglevel=2,
                                                 hard_vocab_limit=False, character_coverage=0.98, num_threads=1, normalization_rule_tsv=str(rules), **more)
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(out.getvalue())
    vocabulary = {"tokens": [p.piece for p in model.pieces], "scores": [p.score for p in model.pieces], "types": "".join(str(p.type) for p in model.pieces)}
    return {**vocabulary, "charsmap": list(model.normalizer_spec.precompiled_charsmap)}


def write(path, vocabulary, types, keys):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list([t.encode() for t in vocabulary["tokens"]])
    writer.add_token_types([int(t) for t in types])
    if "merges" in vocabulary:
        writer.add_token_merges(vocabulary["merges"])
    if "scores" in vocabulary:
        writer.add_token_scores(vocabulary["scores"])
    for key, value in keys.items():
        if key == "precompiled_charsmap":
            writer.add_precompiled_charsmap(bytes(vocabulary["charsmap"]))
        else:
            add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}[type(value)]
            add(key if "." in key else "tokenizer.ggml." + key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Maker:
    def __init__(self, include, libraries):
        self.folder = tempfile.TemporaryDirectory()
        self.program = self.folder.name + "/llama-tokens"
        names = [f"-l:{p.name}" for p in pathlib.Path(libraries).glob("lib*.so") if not any(w in p.name for w in ("cpu", "common", "cuda", "vulkan"))]
        (pathlib.Path(self.folder.name) / "tokens.c").write_text(PROGRAM)
        subprocess.run(["gcc", self.folder.name + "/tokens.c", "-o", self.program, *(f"-I{i}" for i in include.split(":")), f"-L{libraries}", *names,
                        f"-Wl,-rpath,{pathlib.Path(libraries).resolve()}"], check=True)
        self.vocabularies, self.cases = {}, []

    def llama(self, vocabulary, types, keys, texts):
        path = self.folder.name + "/v.gguf"
        write(path, self.vocabularies[vocabulary], types, keys)
        sent = b"".join(b"%d\n" % len(t.encode()) + t.encode() for t in texts)
        lines = subprocess.run([self.program, path], input=sent, stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")
        return [[int(i) for i in line.split()] for line in lines[: len(texts) + 1]]

    def case(self, names, vocabulary, types, keys, texts, ids=None, asked=None):
        ends, *found = self.llama(vocabulary, types, keys, asked or texts)
        self.cases.append({"pre": names, "vocabulary": vocabulary, "types": types, "keys": keys, "texts": texts, "ends": ends, "ids": ids or found})


def telling(maker, types, keys, pool):
    """Few texts that tell as many rules apart as the pool does."""
    found = {name: maker.llama("bytes", types, {**keys, "pre": name}, pool)[1:] for name in LLAMA_CPP + COMPOSED}
    apart, chosen = set(), []
    while True:
        gains = [{(a, b) for a in found for b in found if a < b and found[a][i] != found[b][i]} - apart for i in range(len(pool))]
        best = max(range(len(pool)), key=lambda i: len(gains[i]))
        if not gains[best]:
            break
        apart |= gains[best]
        chosen.append(pool[best])
    return chosen + pool[:3]


def main():
    maker = Maker(*sys.argv[1:3])
    rnd = random.Random(SEED + 1)
    maker.vocabularies["bytes"], maker.vocabularies["characters"] = train(False), train(True)
    tokens = maker.vocabularies["bytes"]["tokens"]
    types = "33" + "1" * (len(tokens) - 2)
    keys = {"model": "gpt2", "bos_token_id": 1, "eos_token_id": 0}
    texts = telling(maker, types, keys, [text(rnd) for _ in range(600)])
    groups = {}
    for name in LLAMA_CPP + COMPOSED:  # names with one rule share a case
        asked = [unicodedata.normalize("NFC", t) for t in texts] if name in COMPOSED else texts
        found = maker.llama("bytes", types, {**keys, "pre": name}, asked)
        groups.setdefault((name in COMPOSED, json.dumps(found)), []).append(name)
    for (composed, _), names in groups.items():
        asked = [unicodedata.normalize("NFC", t) for t in texts] if composed else None
        maker.case(names, "bytes", types, {**keys, "pre": names[0]}, texts, asked=asked)
    model = models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in maker.vocabularies["bytes"]["merges"]])
    for names, expressions in OWN.items():
        tokenizer = Tokenizer(model)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(e), "isolated") for e in expressions] +
                                                          [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        bos = [1] if names == "tekken" else []
        maker.case(names.split(), "bytes", types, {**keys, "pre": names.split()[0]}, texts, [bos + tokenizer.encode(t).ids for t in texts])

    raw = maker.vocabularies["characters"]["tokens"]
    raw_types = "233" + "6" * 256 + "1" * (len(raw) - 259)
    for keys_of in ({"model": "gemma4"}, {"model": "gemma4", "pre": "gpt-2", "add_bos_token": False}, {"model": "gpt2", "pre": "sarvam-moe"}):
        maker.case([], "characters", raw_types, {**keys_of, "bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}, texts)

    maker.vocabularies["bpe"] = pieces("bpe", vocab_size=560, byte_fallback=True, user_defined_symbols=["ab"])
    maker.vocabularies["unigram"] = pieces("unigram", vocab_size=420, user_defined_symbols=["ab"])
    for more in ({}, {"add_space_prefix": False}, {"add_bos_token": False, "add_eos_token": True}):
        maker.case([], "bpe", maker.vocabularies["bpe"]["types"], {"model": "llama", **more}, texts)
        for trim in (False, True):
            keys = {"model": "t5", "remove_extra_whitespaces": trim, "precompiled_charsmap": True, "eos_token_id": 2, "unknown_token_id": 0,
                    "bos_token_id": 1, **more}
            maker.case([], "unigram", maker.vocabularies["unigram"]["types"], keys, texts)
    for _ in range(24):  # names and types that say different things
        names = rnd.sample(NAMES, rnd.randrange(3, 11))
        if sum(n.startswith("<|fim_p") for n in names) > 1:
            continue
        own = [rnd.choice("333410") for _ in range(2)] + ["1"] * (len(tokens) - 2) + [rnd.choice("33341025") for _ in names]
        own = ["0"] * len(own) if rnd.random() < 0.15 else own
        keys = {"model": "gpt2", "pre": "gpt-2", "eos_token_id": rnd.choice([0, len(tokens)])}
        for key in ("eot", "eom", "fim_pad", "fim_rep", "fim_sep", "fim_pre"):
            if rnd.random() < 0.15:
                keys[key + "_token_id"] = len(tokens) + rnd.randrange(len(names))
        if rnd.random() < 0.2:
            keys["general.name"] = rnd.choice(["Phi-3 mini", "a phi3"])
            names = [n for n in names if n not in ("</s>", "<unk>")] + ["</s>", "<unk>"]  # which llama.cpp needs there
            own = own[: len(tokens) + len(names)] + ["3"] * (len(tokens) + len(names) - len(own))
        more = "names %d" % len(maker.cases)
        maker.vocabularies[more] = {**maker.vocabularies["bytes"], "tokens": tokens + names}
        own_texts = ["".join(rnd.choice([" ", "", "a", "\n", "the "]) + rnd.choice(names + ["<s>", "don't"]) for _ in range(6)) + " " for _ in range(5)]
        maker.case([], more, "".join(own), keys, own_texts)
        maker.cases[-1]["more"] = names
        maker.cases[-1]["vocabulary"] = "bytes"
    del maker.vocabularies["bpe"]["charsmap"]
    keep = {k: v for k, v in maker.vocabularies.items() if not k.startswith("names")}
    lines = ["{\"vocabularies\":" + json.dumps(keep, ensure_ascii=False, separators=(",", ":")) + ",", "\"cases\":["]
    lines.append(",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in maker.cases))
    (HERE / "gguf-tokenizers.json").write_text("\n".join(lines) + "\n]}\n", "utf-8")
    print(len(maker.cases), "cases")


main()
