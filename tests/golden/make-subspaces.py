# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/subspaces.json: principal angles between spaces of left singular vectors, to 50 digits.

    pip install mpmath==1.3.0 numpy==2.4.6
    python make-subspaces.py

Seed: 20241125. Each case has two float32 matrices (n x d, row by row), a rank, the angles in degrees (ascending) and the
shift, their sum. The singular vectors are those of mpmath's eigensolver on M M^T with 50 digits, the angles come from
the sine below 45 degrees; scipy's subspace_angles in float64 is asserted to agree to 1e-9 degrees on spaces given to it exactly.
"""
import json
from pathlib import Path

import mpmath as mp
import numpy as np
from scipy.linalg import subspace_angles

mp.mp.dps = 50
HERE = Path(__file__).resolve().parent


def basis(m, rank):
    """[n, rank] left singular vectors of the largest singular values."""
    a = mp.matrix(m.astype(float).tolist())
    values, vectors = mp.eigsy(a * a.T)
    return vectors[:, len(values) - rank:]


def angles(m, other, rank):
    u, v = basis(m, rank), basis(other, rank)
    cross = u.T * v
    rest = v - u * cross
    cosines = sorted((mp.sqrt(abs(x)) for x in mp.eigsy(cross.T * cross, eigvals_only=True)), reverse=True)
    sines = sorted(mp.sqrt(abs(x)) for x in mp.eigsy(rest.T * rest, eigvals_only=True))
    out = [mp.degrees(mp.asin(s) if s < c else mp.acos(min(c, 1))) for c, s in zip(cosines, sines)]
    scipys = np.sort(np.degrees(subspace_angles(np.array(u.tolist(), float), np.array(v.tolist(), float))))
    assert np.allclose(scipys, [float(x) for x in out], rtol=0, atol=1e-9), (scipys, out)
    return out


def cases():
    rng = np.random.default_rng(20241125)

    def states(n, d, spectrum):
        u = np.linalg.qr(rng.standard_normal((n, n)))[0][:, :len(spectrum)]
        v = np.linalg.qr(rng.standard_normal((d, d)))[0][:, :len(spectrum)]
        return ((u * np.array(spectrum)) @ v.T).astype(np.float32)

    usual = states(8, 20, [10, 3, 2, 1.5, 1, 0.7, 0.5, 0.3])
    for size in ["1e-7", "1e-6", "1e-5", "1e-3", "0.1", "3"]:
        noise = rng.standard_normal(usual.shape) * float(size)
        moved = (usual.astype(float) + noise).astype(np.float32)
        for rank in [1, 3]:
            yield f"moved by {size}, rank {rank}", usual, moved, rank
    one = usual.copy()  # a single bit of a single number
    one[3, 7] = np.nextafter(one[3, 7], np.float32(np.inf))
    yield "one last bit", usual, one, 1
    yield "unrelated", usual, states(8, 20, [5, 4, 3, 2, 1, 1, 1, 1]), 4
    tall = states(15, 6, [10, 5, 3, 2, 1, 0.5])
    yield "more queries than dimensions", tall, (tall + 1e-4 * rng.standard_normal(tall.shape)).astype(np.float32), 2
    graded = states(8, 20, [1000, 100, 10, 1, 0.99, 0.1, 0.01, 0.001])
    yield "graded, small gap", graded, (graded + 1e-4 * rng.standard_normal(graded.shape)).astype(np.float32), 4
    yield "one query more than the rank", usual[:4], (usual[:4] + 0.01 * rng.standard_normal((4, 20))).astype(np.float32), 3


def main():
    out = []
    for name, m, other, rank in cases():
        result = angles(m, other, rank)
        out.append({"name": name, "n": m.shape[0], "d": m.shape[1], "rank": rank,
                    "m": [float(x) for x in m.ravel()], "other": [float(x) for x in other.ravel()],
                    "angles": [float(x) for x in result], "shift": float(mp.fsum(result))})
        print(name, out[-1]["shift"])
    (HERE / "subspaces.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in out) + "\n]\n")


if __name__ == "__main__":
    main()
