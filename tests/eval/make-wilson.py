#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes wilson.json: Wilson's 95 % intervals by SciPy, for test_judge.c.

pip install scipy==1.17.1, then: python tests/eval/make-wilson.py
"""
import json
import os

from scipy.stats import binomtest

CASES = [(0, 1), (1, 1), (0, 10), (1, 10), (5, 10), (10, 10), (4, 100), (64, 100), (99, 100), (1, 3), (37, 520),
         (159, 417), (0, 100000), (49999, 100000), (100000, 100000), (123456789, 1000000007)]

rows = []
for successes, n in CASES:
    interval = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    rows.append({"successes": successes, "n": n, "low": float(interval.low), "high": float(interval.high)})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "wilson.json"), "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
