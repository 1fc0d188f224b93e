#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes statistics.json: what NumPy and SciPy make of small inputs, for tests/stats/test_rankings.c.

    python3 tests/golden/make-statistics.py          needs numpy, scipy
"""
import json
import pathlib

import numpy as np
from scipy import stats

SEED = 20250
RESAMPLES = 2000


def bootstrap(rng, n):
    """Percentile interval of the mean: resamples as counts (drawn here), percentiles by NumPy's linear rule."""
    values = rng.lognormal(size=n)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    low, high = np.percentile(counts @ values / n, [2.5, 97.5])
    return {"values": values.tolist(), "counts": [int(c) for c in counts.ravel()], "low": low, "high": high}


def overlap(n, k, shared):
    """Two random sets of k out of n: how much they share, and how likely at least `shared`."""
    chance = stats.hypergeom(n, k, k)
    m = np.arange(k + 1)
    return {"n": n, "k": k, "shared": shared, "jaccard": shared / (2 * k - shared),
            "expected": float((chance.pmf(m) * m / (2 * k - m)).sum()), "p": float(chance.sf(shared - 1))}


def spearman(x, y):
    return {"x": list(map(float, x)), "y": list(map(float, y)), "rho": float(stats.spearmanr(x, y).statistic)}


def gini(values):
    """Half the relative mean absolute difference, over all ordered pairs."""
    v = np.asarray(values, float)
    return {"values": v.tolist(), "gini": float(np.abs(v[:, None] - v[None]).mean() / (2 * v.mean()))}


def main():
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=60)
    out = {
        "bootstrap": [bootstrap(rng, 7)],
        "overlap": [overlap(*c) for c in
                    [(270, 5, 2), (270, 10, 0), (270, 20, 7), (32, 5, 5), (32, 20, 14), (1024, 20, 1), (12, 10, 9)]],
        "spearman": [spearman(x, x + rng.normal(size=60)), spearman(x, -x),
                     spearman(rng.integers(0, 5, 40), rng.integers(0, 4, 40)),
                     spearman([1, 1, 2, 2, 3], [1, 2, 2, 1, 5])],
        "gini": [gini(rng.lognormal(size=50)), gini([1, 1, 1, 1]), gini([0, 0, 0, 5]), gini([1, 2, 3, 4])],
    }
    path = pathlib.Path(__file__).with_name("statistics.json")
    path.write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
