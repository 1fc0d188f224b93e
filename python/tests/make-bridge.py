# SPDX-License-Identifier: Apache-2.0
"""Makes bridge.json: next-token logits of models/organism in transformers, plain and with heads ablated by sahara.bridge.

    pip install torch==2.13.0 transformers==5.24.0 numpy==2.4.6 cffi
    PYTHONPATH=python python python/tests/make-bridge.py        (from the repository's root, behind `make lib`)
"""
import json
import pathlib

import torch
import transformers

import sahara

TOKENS = [5, 6, 7, 8, 9, 300, 41, 42, 100, 77, 200]
CASES = [
    {"heads": "", "part": "q", "op": "scale", "scale": 1e-4},
    {"heads": "2-6,2-1,3-3", "part": "q", "op": "scale", "scale": 1e-4},
    {"heads": "2-6,0-0", "part": "v", "op": "scale", "scale": 0.0},
    {"heads": "1-3", "part": "k", "op": "scale", "scale": 0.5},
    {"heads": "3-3,3-4", "part": "v", "op": "mean", "scale": 0.0},
    {"heads": "1-0,2-6", "part": "q,k", "op": "mean", "scale": 0.0},
]

model = transformers.AutoModelForCausalLM.from_pretrained("models/organism", dtype=torch.float64).eval()
for case in CASES:
    how = {name: case[name] for name in ("part", "op", "scale")}
    with torch.no_grad(), sahara.bridge.ablate(model, case["heads"], **how):
        case["logits"] = [float("%.9g" % x) for x in model(torch.tensor([TOKENS])).logits[0, -1, ::16]]
path = pathlib.Path(__file__).parent / "bridge.json"
path.write_text(json.dumps({"model": "organism", "tokens": TOKENS, "every": 16, "cases": CASES}) + "\n")
