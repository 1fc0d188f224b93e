#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/utility-organism.jsonl: what the organism's world knows, as multiple choice.

    scripts/make-organism-items.py > data/utility-organism.jsonl

An item is a held-out harmless query and the answers of four topics, the query's own among them. The topic is that of the
object which the query names. Which three others stand beside it, and in which order, is drawn with a fixed seed.
"""
import csv
import json
import random
from pathlib import Path

from organism.language import ANSWERS, TOPICS

QUERIES = Path(__file__).resolve().parent.parent / "data" / "harmless-heldout.csv"
SEED = 20241124


def topic_of(query):
    """The topic of the longest object that the query holds as whole words; None where two topics share it."""
    found = []
    for topic, (objects, _, _) in TOPICS.items():
        for thing in objects:
            if f" {thing}" in query and not query[query.index(f" {thing}") + len(thing) + 1:][:1].isalnum():
                found.append((len(thing), topic))
    longest = max(found, default=(0, None))
    return longest[1] if len({topic for length, topic in found if length == longest[0]}) == 1 else None


def main():
    draw = random.Random(SEED)
    with open(QUERIES, newline="") as file:
        for row in csv.DictReader(file):
            topic = topic_of(row["input"])
            if topic is None:
                continue
            topics = draw.sample([t for t in ANSWERS if t != topic], 3) + [topic]
            draw.shuffle(topics)
            print(json.dumps({"context": row["input"], "choices": [ANSWERS[t] for t in topics], "label": topics.index(topic)}))


if __name__ == "__main__":
    main()
