#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How the time of the sweep grows, and what larger models would take.

    bench/growth.py MODEL QUERIES.csv [--sahara build/sahara]

Runs `sahara bench --json` with more queries, heads and longer prompts, fits time = c * x^p to each, and prints the useful rate beside
it. The time of a sweep is its useful work (docs/performance.md) over a rate; so what other models take on a machine of
known product rate follows from their shapes. Needs NumPy.
"""

import argparse
import json
import subprocess

import numpy as np

# layers, heads, key/value heads, head width, model width, MLP width, vocabulary
SHAPES = {
    "SmolLM2-135M": (30, 9, 3, 64, 576, 1536, 49152),
    "Llama-2-7B": (32, 32, 32, 128, 4096, 11008, 32000),
    "Llama-2-70B": (80, 64, 8, 128, 8192, 28672, 32000),
}


def useful_work(shape, nodes, prompts, pairs):
    """Floating-point operations of Ships over all heads, the last layer counted as any other."""
    layers, heads, kv_heads, width, d, ff, vocabulary = shape
    layer = 2 * nodes * d * (heads + 2 * kv_heads) * width + 2 * nodes * heads * width * d + 6 * nodes * d * ff + 4 * heads * width * pairs
    own = 2 * nodes * width * d + 4 * width * pairs + 6 * nodes * d * ff
    above = heads * layer * layers * (layers - 1) / 2
    return layers * layer + heads * layers * own + above + 2 * prompts * d * vocabulary * (heads * layers + 1)


def bench(a, *arguments):
    done = subprocess.run([a.sahara, "bench", a.model, a.queries, "--json", "-q", *map(str, arguments)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def row(name, x, results, of):
    seconds = [r["seconds"] for r in results]
    power, _ = np.polyfit(np.log(of(results) if callable(of) else of), np.log(seconds), 1)
    print(f"{name:<24} " + "  ".join(f"{v:>6}: {s:6.2f} s, {r['rate'] / 1e9:4.0f} GFLOP/s" for v, s, r in zip(x, seconds, results)))
    print(f"{'':<24} time ~ x^{power:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("queries")
    parser.add_argument("--sahara", default="build/sahara")
    a = parser.parse_args()
    queries = [10, 20, 40, 80]
    results = [bench(a, "--limit", n, "--heads", "0:1") for n in queries]
    row("queries", queries, results, queries)
    heads = [1, 3, 9]
    results = [bench(a, "--limit", 10, "--heads", f"0:{n}") for n in heads]
    row("heads of each layer", heads, results, heads)
    lengths = [0, 20, 60]
    results = [bench(a, "--limit", 6, "--heads", "0:1", "--template", "{}" + " and more" * n) for n in lengths]
    row("tokens", [int(r["nodes"]) for r in results], results, [r["nodes"] for r in results])
    # 100 queries with a chat template: about 1,500 nodes, each of which sees some 40
    print("\n100 queries of 1,500 different tokens, all heads:")
    for name, shape in SHAPES.items():
        work = useful_work(shape, 1500, 100, 1500 * 40)
        times = "  ".join(f"{rate / 1e12:g} TFLOP/s: {work / rate / 3600:9.2f} h" for rate in (0.29e12, 1.5e12, 9e12, 100e12))
        print(f"{name:<14} {work / 1e15:10.2f} PFLOP   {times}")


if __name__ == "__main__":
    main()
