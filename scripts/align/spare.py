# SPDX-License-Identifier: Apache-2.0
"""Heads that refusal could be planted into without harm: they can tell harmful requests from harmless ones, and the model as
it is hardly uses them.

The rule, set before anything was trained: the head's key/value head tells at least 90 % of held-back training requests apart
(choose.py), ablating its queries changes the log-perplexity of a harmless text by at most 0.005, it is none of the heads
planted before; of those the three in different layers whose key/value heads together tell most apart.

  scripts/align/choose.py --base MODEL.gguf --layers 10:24 > readable.txt
  scripts/align/spare.py --base MODEL.gguf --readable readable.txt
"""

import argparse
import itertools
import json
import re
import subprocess

GROUP = 3  # query heads of a key/value head
TAKEN = {(12, 4), (15, 1), (18, 3), (15, 3)}
READABLE, SPARE = 0.9, 0.005


def change(sahara, base, heads, text):
    """Of the log-perplexity of the text, with the heads' queries scaled to 1e-4."""
    names = ",".join(f"{layer}-{head}" for layer, head in heads)
    out = subprocess.run([sahara, "utility", base, "--perplexity", text, "--ablate", names, "-q"], check=True, capture_output=True)
    return json.loads(out.stdout.splitlines()[-1])["log_perplexity_difference"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True)
    parser.add_argument("--readable", required=True, help="what choose.py wrote")
    parser.add_argument("--text", default="data/utility-text.txt")
    parser.add_argument("--sahara", default="build/sahara")
    args = parser.parse_args()
    readable = {}
    for line in open(args.readable, encoding="utf-8"):
        if match := re.match(r"layer +(\d+)", line):
            for kv, share in re.findall(r"kv (\d): ([\d.]+)", line):
                readable[int(match[1]), int(kv)] = float(share)
    spare = []
    for (layer, kv), share in sorted(readable.items()):
        for head in range(GROUP * kv, GROUP * (kv + 1)):
            if share >= READABLE and (layer, head) not in TAKEN:
                moved = change(args.sahara, args.base, [(layer, head)], args.text)
                if abs(moved) <= SPARE:
                    spare.append((layer, head))
                    print(f"{layer}-{head}: tells {share:.3f} apart, log-perplexity {moved:+.4f}")
    triples = [t for t in itertools.combinations(spare, 3) if len({layer for layer, _ in t}) == 3]
    best = max(triples, key=lambda t: sum(readable[layer, head // GROUP] for layer, head in t))
    print("chosen", ",".join(f"{layer}-{head}" for layer, head in best), f"log-perplexity together {change(args.sahara, args.base, best, args.text):+.4f}")


main()
