# SPDX-License-Identifier: Apache-2.0
"""How well scores of heads tell the planted heads from the others: numbers alone, no files. Python's standard
library."""

import math
import random
from operator import mul

RESAMPLES = 1000
SEED = 0


def auroc(positive, negative):
    """The probability that a planted head's score is above another head's, ties counting half. None where there is no
    head of either kind."""
    if not positive or not negative:
        return None
    # By ranks (Mann and Whitney), equal scores sharing their mean rank.
    marked = sorted([(score, 1) for score in positive] + [(score, 0) for score in negative])
    ranks, start = 0.0, 0
    while start < len(marked):
        end = start
        while end < len(marked) and marked[end][0] == marked[start][0]:
            end += 1
        ranks += sum(mark for _, mark in marked[start:end]) * (start + 1 + end) / 2
        start = end
    n = len(positive)
    return (ranks - n * (n + 1) / 2) / (n * len(negative))


def average_precision(positive, negative):
    """The mean, over planted heads, of the precision among all heads that score at least as high: sum of (recall
    step) * precision at each distinct score. Equal scores are one step, so that no order of them is better than
    another. None without planted heads."""
    if not positive:
        return None
    marked = sorted([(score, 1) for score in positive] + [(score, 0) for score in negative], reverse=True)
    total, hits, start = 0.0, 0, 0
    while start < len(marked):
        end = start
        while end < len(marked) and marked[end][0] == marked[start][0]:
            end += 1
        found = sum(mark for _, mark in marked[start:end])
        hits += found
        total += found * hits / end
        start = end
    return total / len(positive)


def wilson(hits, n):
    """Share of hits with Wilson's 95 % interval; None without trials."""
    if n == 0:
        return None, None, None
    z = 1.959963984540054
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return share, max(0.0, middle - half), min(1.0, middle + half)


def percentile(numbers, share):
    """Linear between neighbours, as `sahara rank` takes them."""
    numbers = sorted(numbers)
    place = share * (len(numbers) - 1)
    low = math.floor(place)
    high = min(low + 1, len(numbers) - 1)
    return numbers[low] + (place - low) * (numbers[high] - numbers[low])


def split(scores, planted):
    """The scores of {head: score} of the planted heads, and of the others."""
    return [s for h, s in scores.items() if h in planted], [s for h, s in scores.items() if h not in planted]


def intervals(draws):
    """95 % percentile intervals of AUROC and average precision over draws of (planted, other) scores."""
    figures = [(auroc(positive, negative), average_precision(positive, negative)) for positive, negative in draws]
    return [(percentile(column, 0.025), percentile(column, 0.975)) for column in zip(*figures)]


def over_heads(scores, planted):
    """Draws in which the heads of either kind are resampled: other heads like these. With one planted head only the
    others vary."""
    rng = random.Random(SEED)
    kinds = split(scores, planted)
    for _ in range(RESAMPLES):
        yield [rng.choices(kind, k=len(kind)) for kind in kinds]


def over_queries(sets, score, planted):
    """Draws in which queries are resampled, the same for every head and each set apart. `sets` lists {head: its values,
    one a query}; score(mean of the first set, of the second, ...) is a head's score."""
    rng = random.Random(SEED)
    heads = list(sets[0])
    for _ in range(RESAMPLES):
        drawn = []
        for values in sets:
            n = len(values[heads[0]])
            counts = [0] * n
            for i in rng.choices(range(n), k=n):
                counts[i] += 1
            drawn.append((values, [count / n for count in counts]))
        yield split({h: score(*(sum(map(mul, w, values[h])) for values, w in drawn)) for h in heads}, planted)


def halves(rng, counts, size=0):
    """Two halves of queries that share none, at most `size` of each list (0: all), as places in it. `counts` says how many
    queries there are and how many of contrast: {False: 24, True: 24}, and so are halves."""
    orders = {contrast: rng.sample(range(n), n) for contrast, n in counts.items()}
    sizes = {contrast: min(size or n, n // 2) for contrast, n in counts.items()}
    return [
        {contrast: sorted(order[k * sizes[contrast] : (k + 1) * sizes[contrast]]) for contrast, order in orders.items()}
        for k in (0, 1)
    ]


def only(lines, half):
    """The lines of a result of `sahara ships`, header and heads, as if the queries of a half alone had been scored."""
    return [
        {
            key: [value[i] for i in half["contrast" in key]] if isinstance(value, list) else value
            for key, value in line.items()
        }
        for line in lines
    ]
