#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""10,000 strings as Sahara cuts them into tokens, and as another program does.

    tests/interop/tokens.py FILE.gguf [--program llama.cpp|transformers] [--count 10000] [--seed 1]

Strings of many scripts, code, emoji, white space, bytes without meaning, the file's own tokens in a row, and its special tokens, whole and mutilated. Needs the
packages of README.md and cffi (2.1.1); SAHARA_LIBRARY names libsahara.so where it is not build/libsahara.so. Prints how many differ, and the first of them.

Neither program takes a normal form from a GGUF file; models of pre "qwen2" and its like have NFC in their own tokenizer.json (docs/tokens.md), so there the
other program gets the string in NFC. transformers puts a tokenizer of the `tokenizers` library together from the file; of SentencePiece's scores it makes ranked
merges, which is not the same for pieces that the user defined: the longest run of blanks, say, counts first in SentencePiece and llama.cpp."""
import argparse
import os
import random
import sys
import unicodedata
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
os.environ.setdefault("SAHARA_LIBRARY", str(ROOT / "build" / "libsahara.so"))
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests" / "golden")]
import sahara  # noqa: E402
from gguf import GGUFReader  # noqa: E402
from texts import PLAIN, SCRIPTS, SPECIAL  # noqa: E402

EMOJI = "😀 😃 👩🏽‍🚀 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 🇫🇷 ❤️ ☀️ 👍🏿 🤷‍♀️ 🧑‍💻 #️⃣ 1️⃣ ♻ ™️ 🫠 🪿".split()
BLANKS = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\t\t", " \n ", "\u00a0", "\u3000", "\u2003", "\u200b", "\x0b", "\x0c", "\x85", "\u2028"]
NORMAL, CONTROL, USER_DEFINED, COMPOSED = 1, 3, 4, ("qwen2", "qwen35", "mpt", "olmo", "command-r")


def field(reader, key, otherwise=None):
    value = reader.get_field(key)
    return otherwise if value is None else value.contents()


class Strings:
    """A string is one to six parts, each of some kind; seeded."""

    def __init__(self, reader, seed):
        self.random = random.Random(seed)
        tokens, types = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
        self.special = [t for t, kind in zip(tokens, types) if kind in (CONTROL, USER_DEFINED)]
        self.tokens = [t.replace("▁", " ").replace("Ġ", " ").replace("Ċ", "\n") for t, kind in zip(tokens, types) if kind == NORMAL]
        self.prose = [line for f in sorted((ROOT / "data").glob("*.csv")) for line in f.read_text().splitlines()]
        self.prose += [line for f in sorted((ROOT / "docs").glob("*.md")) for line in f.read_text().splitlines() if line]
        self.code = [f.read_text() for f in sorted((ROOT / "src").glob("*/*.c")) + sorted((ROOT / "bench").glob("*.py"))]
        self.kinds = [self.script, self.script, self.words, self.code_part, self.emoji, self.blanks, self.junk, self.bytes_as_text, self.own, self.own,
                      self.whole_special, self.look_alike, self.numbers, self.repeated, self.known]

    def script(self):
        low, high = self.random.choice(SCRIPTS)
        return "".join(chr(self.random.randint(low, high)) for _ in range(self.random.randint(1, 12)))

    def words(self):
        words = self.random.choice(self.prose).split(" ")
        at = self.random.randrange(len(words))
        return " ".join(words[at:at + self.random.randint(1, 12)])

    def code_part(self):
        text = self.random.choice(self.code)
        at = self.random.randrange(len(text))
        return text[at:at + self.random.randint(5, 120)]

    def emoji(self):
        return self.random.choice(["", " "]).join(self.random.choice(EMOJI) for _ in range(self.random.randint(1, 5)))

    def blanks(self):
        return "".join(self.random.choice(BLANKS) for _ in range(self.random.randint(1, 6)))

    def junk(self):
        return self.random.randbytes(self.random.randint(1, 16)).decode("utf-8", "replace")

    def bytes_as_text(self):
        return self.random.randbytes(self.random.randint(1, 16)).decode("latin-1")

    def own(self):
        return "".join(self.random.choice(self.tokens) for _ in range(self.random.randint(1, 8)))

    def whole_special(self):
        return self.random.choice(self.special)

    def look_alike(self):
        text = self.random.choice(self.special)
        at = self.random.randrange(len(text))
        return self.random.choice([text[:at], text[at:], text[:at] + " " + text[at:], text.upper(), text[:at] + text, text + text[at:], "<0x41>", "<0x>"])

    def numbers(self):
        return self.random.choice([str(self.random.randint(0, 10 ** self.random.randint(1, 20))), f"{self.random.random() * 1000:.3f}", "٣٤٥", "४२", "½", "Ⅷ"])

    def repeated(self):
        return self.random.choice(["a", " ", "\n", "=", "ab", "😀", "-", "\t", "é", "哈"]) * self.random.randint(2, 70)

    def known(self):
        return self.random.choice(PLAIN + SPECIAL)

    def one(self):
        parts = [self.random.choice(self.kinds)() for _ in range(self.random.randint(1, 6))]
        return self.random.choice(["", "", " "]).join(parts).encode("utf-8", "replace").decode()[:1500]

    def all(self, count):
        out = dict.fromkeys(PLAIN + SPECIAL)
        while len(out) < count:
            out[self.one()] = None
        return list(out)[:count]


def by_llama_cpp(path):
    from llama_cpp import Llama
    model = Llama(str(path), vocab_only=True, verbose=False)
    return lambda text: model.tokenize(text.encode(), True, True)


def by_transformers(path):
    import transformers
    transformers.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    return lambda text: tokenizer(text)["input_ids"]


PROGRAMS = {"llama.cpp": by_llama_cpp, "transformers": by_transformers}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--program", choices=list(PROGRAMS), default="llama.cpp")
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=5, help="differing strings to print")
    options = parser.parse_args()
    reader = GGUFReader(options.file)
    strings = Strings(reader, options.seed).all(options.count)
    model = sahara.open(str(options.file), describe_only=True)
    other = PROGRAMS[options.program](options.file)
    composed = field(reader, "tokenizer.ggml.model") == "gpt2" and field(reader, "tokenizer.ggml.pre") in COMPOSED
    differ, total = 0, 0
    for text in strings:
        ours, theirs = model.encode(text).tolist(), list(other(unicodedata.normalize("NFC", text) if composed else text))
        total += len(ours)
        if ours == theirs:
            continue
        differ += 1
        if differ <= options.show:
            print(f"{text!r}\n  Sahara       {ours}\n  {options.program:12s} {theirs}")
    print(f"{options.file.name}: {len(strings)} strings, {total} tokens, {differ} differ from {options.program}")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
