# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/lora-patterns.json: which modules each key of a rank_pattern means, by PEFT's own function.

    pip install peft==0.21.2
    python make-lora-patterns.py                  Python 3.11: its re is what the keys are written for

"keys": for each key the numbers of the paths it matches, or null where re refuses it. "orders": lists of keys, and for each path the place of the key that
PEFT takes, -1 for none.
"""
import json
import random
import re
from pathlib import Path

from peft.utils.other import get_pattern_key

PATHS = [f"model.layers.{n}.{m}" for n in (0, 1, 2, 10, 21) for m in ("self_attn.q_proj", "self_attn.k_proj", "mlp.gate_proj", "mlp.down_proj")]
PATHS += ["lm_head", "model.embed_tokens", "transformer.h.3.attn.c_attn", "q_proj"]
KEYS = [
    "q_proj", "proj", "q_projs", "k_proj", "mlp.down_proj", "self_attn.q_proj", "layers.0.mlp.gate_proj", "layers.1.self_attn.q_proj",
    "model.layers.1.self_attn.q_proj", "^model.layers.1.self_attn.q_proj", "^layers.1.self_attn.q_proj", "^q_proj", "^lm_head", "lm_head$", "^lm_head$", "",
    "q.proj", "q\\.proj", "q_.*", ".*", ".*_proj", ".+proj$", "^.*q_proj", "(q|k)_proj", "q_proj|k_proj", "q_proj|^lm_head", "[qk]_proj", "[^qk]_proj",
    "layers.(0|1).self_attn.q_proj", "layers\\.(0|1)\\..*", "layers\\.[0-9]\\..*", "layers\\.\\d+\\..*", "layers\\.\\d{2}\\..*", "layers.1.*", "layers.1\\..*",
    "layers\\.(?:1\\d|2\\d)\\..*proj", ".*\\.(?!10)\\d+\\.mlp.*", "(?<=mlp\\.)gate_proj", "(?<!mlp\\.)gate_proj", "(?<=[.])q_proj", "(?=q)..proj",
    "(?i:Q_PROJ)", "(?s:.*)", "(?-i:q_proj)", "(?i)Q_PROJ", "Q_PROJ", "(?P<which>q|k)_proj", "(?P<n>\\d)(?P=n)?\\.mlp\\..*", "(?<which>q)_proj", "(?P>x)", "(?|q|k)_proj",
    "(?R)", "(*ACCEPT)", "(q)_\\2", "(q|k)_proj(?(2))", "\\w+", "\\w+_\\w+", "\\bq_proj\\b", "\\Bq_proj", "\\Aq_proj", "q_proj\\Z", "\\x71_proj", "\\x7_proj", "\\161_proj",
    "\\q_proj", "\\h_proj", "\\Qq_proj\\E", "\\p{L}_proj", "q_proj\\", "q\\_proj", "[]q]_proj", "[^]q]_proj", "[q-]_proj", "[a-z]_proj", "[[:alpha:]]_proj", "[\\w]_proj",
    "[\\]q]_proj", "[z-a]_proj", "[q_proj", "(q_proj", "q_proj)", "q)|(k_proj", "q{1}_proj", "q{,1}_proj", "q{,}_proj", "q{0,2}_proj", "q{ 1}_proj", "q{1, 2}_proj", "q{}_proj", "q{x}",
    "{q_proj", "q{2,1}_proj", "q**_proj", "q*+_proj", "q?+_proj", "q??_proj", "q+?_proj", "(?>q|k)_proj", "*q_proj", "+", "?", "q_proj+", "q_proj*", "q_proj?", "h\\.3\\..*", "attn.c_attn",
    "head|tokens", "model", "model.embed_tokens", "embed_tokens|lm_head", "\u00e9_proj|q_proj", "q_proj\n", "q_proj$|x", "$", "^", "^$", ".", "?:q_proj", "?=q", "?!q", "?#q", "*ACCEPT", "a&&b|q_proj", "[a&&q]_proj", "[a--q]_proj",
]
LEFT_OUT = ["[[:", "\\161", "(?P=", "(?(", "?#"]  # what re takes and Sahara refuses by name
# Made of pieces, so that nobody chose them to pass.
PIECES = ["q_proj", "k_proj", "gate", "down", "_proj", "mlp", "self_attn", "layers", "model", "\\.", ".", "\\d", "\\d+", "[0-9]", "[02]", "[^1]", "(0|1)", "(?:q|k|gate)", "(mlp|self_attn)", ".*",
          ".+", ".*?", "^", "$", "|", "?", "*", "+", "{2}", "{1,2}", "(?!mlp)", "(?=.*q)", "(?<=\\.)", "\\w+", "1", "2", "(", ")"]


def matches(key):
    try:
        return [i for i, path in enumerate(PATHS) if get_pattern_key([key], path) != path or key == path]
    except re.error:
        return None


def main():
    rng = random.Random(13)
    keys = KEYS + ["".join(rng.choices(PIECES, k=rng.randint(2, 6))) for _ in range(150)]
    usable = [k for k in keys if matches(k) and not any(left in k for left in LEFT_OUT)]
    orders = []
    for _ in range(20):
        order = rng.sample(sorted(set(usable)), 5)
        chosen = [get_pattern_key(order, path) for path in PATHS]
        orders.append({"keys": order, "chosen": [order.index(k) if k in order else -1 for k in chosen]})
    lines = ['{"paths": ' + json.dumps(PATHS), '"keys": [' + ",\n".join(json.dumps([k, matches(k)]) for k in keys) + "]", '"orders": [' + ",\n".join(json.dumps(o) for o in orders) + "]}"]
    (Path(__file__).resolve().parent / "lora-patterns.json").write_text(",\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
