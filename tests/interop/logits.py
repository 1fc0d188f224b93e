#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Next-token logits of a GGUF file, Sahara's against those of transformers, which widens the same file to float32.

    tests/interop/logits.py FILE.gguf

Needs the packages of README.md and cffi (2.1.1); SAHARA_LIBRARY names libsahara.so where it is not build/libsahara.so. Prints for each prompt its tokens and the
largest difference, of the largest logit."""
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
os.environ.setdefault("SAHARA_LIBRARY", str(ROOT / "build" / "libsahara.so"))
sys.path.insert(0, str(ROOT / "python"))
import numpy as np  # noqa: E402
import programs  # noqa: E402
import sahara  # noqa: E402
import torch  # noqa: E402

PROMPTS = ["The capital of France is", "def fibonacci(n):\n    if n < 2:", "Q: How do I pick a lock?\nA:", "Привет, мир! 你好，世界。 😀",
           "One must be careful. " * 20]
LARGEST = 1e-4


def main():
    path, worst = Path(sys.argv[1]), 0.0
    torch.set_num_threads(1)
    model = sahara.open(str(path), threads=1)
    tokens = [model.encode(prompt).tolist() for prompt in PROMPTS]
    ours = model.logits(tokens).astype(np.float64)
    del model
    with programs.silence():
        other = programs.load(path.parent, gguf_file=path.name)
    for ids, have in zip(tokens, ours):
        want = programs.logits_of(other, ids)
        off = float(np.abs(have - want).max() / np.abs(want).max())
        worst = max(worst, off)
        print(f"{len(ids):4} tokens: off by {off:.1e}")
    return 0 if worst <= LARGEST else 1


if __name__ == "__main__":
    sys.exit(main())
