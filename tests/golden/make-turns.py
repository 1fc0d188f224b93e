# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/turns.json: intervals of shifts, and statistics of their differences, by NumPy in float64; and
how far a gain stands out, by SciPy.

    pip install numpy==2.4.6 scipy==1.17.1
    python make-turns.py

Seed: 20251126. Singular vectors come from numpy.linalg.svd of the resampled rows themselves, errors from central
differences in every query's weight; the draws are SplitMix64's, from the seeds 1 (harmful), 2 (harmless), 3 (labels).
"""
import json
from pathlib import Path

import numpy as np
from scipy import stats

HERE = Path(__file__).resolve().parent
RESAMPLES, PERMUTATIONS = 200, 199


class SplitMix:
    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return ((z ^ (z >> 31)) >> 32) * n >> 32


def space(m, counts, rank, variant):
    weighed = np.sqrt(counts)[:, None] * m
    if variant == "spectral":
        return weighed[:, :1] / np.linalg.norm(weighed[:, 0])
    u, _, vt = np.linalg.svd(weighed, full_matrices=False)
    return vt[:rank].T if variant == "right" else u[:, :rank]


def sines(m, other, counts, rank, variant):
    """Sines of the principal angles under counts of the queries."""
    u, v = space(m, counts, rank, variant), space(other, counts, rank, variant)
    return np.linalg.svd(v - u @ (u.T @ v), compute_uv=False)


def shift(*args):
    return np.degrees(np.arcsin(np.minimum(sines(*args), 1))).sum()


def error(m, other, counts, rank, variant):
    """The infinitesimal jackknife's, of the sum of squared sines, carried over to the shift."""
    step, squares, drawn = 1e-4, 0, np.flatnonzero(counts)
    total = (sines(m, other, counts, rank, variant) ** 2).sum()
    for q in drawn:
        ends = []
        for sign in [1, -1]:
            moved = counts.copy()
            moved[q] += sign * step
            ends.append((sines(m, other, moved, rank, variant) ** 2).sum())
        squares += ((ends[0] - ends[1]) / (2 * step)) ** 2
    relative = np.sqrt(squares * len(drawn) / (len(drawn) - 1)) / (2 * total)
    return shift(m, other, counts, rank, variant) * min(1, relative)


def evidence(m, other, n, rank, variant):
    total = len(m)
    bootstrap = []
    for seed, start, size in [(1, 0, n), (2, n, total - n)]:
        draws, values = SplitMix(seed), []
        for _ in range(RESAMPLES):
            counts = np.zeros(total)
            for _ in range(size):
                counts[start + draws.below(size)] += 1
            values.append(shift(m, other, counts, rank, variant))
        bootstrap.append(np.array(values))
    labels, statistics = SplitMix(3), []
    for p in range(1 + PERMUTATIONS):
        order = list(range(total))
        for i in range(total if p > 0 else 0):
            j = i + labels.below(total - i)
            order[i], order[j] = order[j], order[i]
        sets = [np.zeros(total), np.zeros(total)]
        for i, query in enumerate(order):
            sets[i >= n][query] = 1
        shifts = [shift(m, other, counts, rank, variant) for counts in sets]
        errors = [error(m, other, counts, rank, variant) for counts in sets]
        statistics.append((shifts[0] - shifts[1]) / np.hypot(*errors))
    return {"shift": list(np.percentile(bootstrap[0], [2.5, 97.5])),
            "difference": list(np.percentile(bootstrap[0] - bootstrap[1], [2.5, 97.5])), "statistics": statistics}


def cases():
    rng = np.random.default_rng(20251126)

    def states(n, d):
        """Rows that share a direction, as final hidden states do, and differ in a few others."""
        return (rng.standard_normal((n, 4)) * [1, 1, 0.5, 0.25] + [6, 0, 0, 0]) @ rng.standard_normal((4, d))

    for name, n, contrast, d, rank, variant, size in [("rank 1", 9, 7, 12, 1, "subspace", 0.05),
                                                      ("a small turn", 8, 8, 20, 1, "subspace", 1e-5),
                                                      ("rank 2", 12, 10, 12, 2, "subspace", 0.02),
                                                      ("first columns", 9, 7, 12, 1, "spectral", 0.1),
                                                      ("right", 9, 7, 12, 1, "right", 0.05),
                                                      ("right, a small turn", 8, 8, 20, 1, "right", 1e-5),
                                                      ("right, rank 2", 12, 10, 12, 2, "right", 0.02)]:
        m = states(n + contrast, d)
        # Harmful queries move more.
        other = m + size * rng.standard_normal(m.shape) * np.where(np.arange(len(m)) < n, 2, 1)[:, None]
        m, other = m.astype(np.float32), other.astype(np.float32)
        yield {"name": name, "n": n, "rank": rank, "variant": variant, "m": m.astype(float).tolist(),
               "ablated": other.astype(float).tolist(), **evidence(m.astype(float), other.astype(float), n, rank, variant)}


def outstanding():
    rng = np.random.default_rng(20251126)
    for n, gain in [(5, 40), (31, 8), (31, 90), (269, 90), (269, 1)]:
        others = np.exp(rng.standard_normal(n)) * rng.choice([-1, 1], n)
        logs = np.log(np.abs(others))
        middle = np.median(logs)
        spread = max(1.4826 * np.median(np.abs(logs - middle)), (np.percentile(logs, 90) - middle) / 1.2816)
        p = (n + 1) * stats.t.sf((np.log(gain) - middle) / spread, max(1, 0.37 * (n - 1)))
        yield {"gain": gain, "others": others.tolist(), "p": min(1, float(p))}


if __name__ == "__main__":
    golden = {"turns": list(cases()), "outstanding": list(outstanding())}
    text = json.dumps(golden, default=float)
    (HERE / "turns.json").write_text(text.replace('{"', '\n{"') + "\n")
