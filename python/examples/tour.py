# SPDX-License-Identifier: Apache-2.0
# %% [markdown]
# # Which heads does refusal rest on?
# From the repository's root, with the library built (`make lib`). The first model is the small one of this repository, the second SmolLM2 with a planted head, where
# `scripts/get-smollm2` has fetched it. tour.ipynb is made of tour.py by make-notebook.py; `python3 python/examples/tour.py` runs it through without Jupyter.

# %%
import csv
import os
import pathlib
import sys

import sahara

for folder in (pathlib.Path.cwd(), *pathlib.Path.cwd().parents):  # Jupyter starts where the notebook lies
    if (folder / "models" / "organism").exists():
        os.chdir(folder)
        break
N = int(os.environ.get("QUERIES", sys.argv[1] if len(sys.argv) > 1 and sys.argv[1].isdigit() else 24))  # of either kind


def column(path, n=N):
    with open(path, newline="", encoding="utf-8") as file:
        return [row["input"] for row in csv.DictReader(file)][:n]


harmful, harmless = column("data/harmful.csv"), column("data/harmless.csv")
model = sahara.open("models/organism")
print(model)

# %% [markdown]
# ## Ships, harmful beside harmless
# A head that moves every distribution is no safety head: the difference is what to read, and the signed effect says whether it moves away from refusing.

# %%
ships = model.ships(harmful, contrast=harmless, template="chat")
for row in ships.ranking()[:5]:
    print("%-5s %8.3f nats  difference %8.3f  %s" % (row["head"], row["mean"], row["difference"], row["effect_verdict"]))
top = [row["head"] for row in ships.ranking()[:3]]

# %%
try:
    import matplotlib

    if "ipykernel" not in sys.modules:
        matplotlib.use("Agg")  # as a script: no window
    import matplotlib.pyplot as plt
except ImportError:
    plt = None
    print("no pictures without matplotlib")


def heat(result, title, layers=None):
    """Layers down, heads across: harmful less harmless."""
    values = result.heat()
    first, last = layers or (0, len(values))
    figure, axes = plt.subplots(figsize=(5, 1 + 0.35 * (last - first)))
    largest = abs(values[first:last]).max()
    picture = axes.imshow(values[first:last], cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto", extent=(-0.5, values.shape[1] - 0.5, last - 0.5, first - 0.5))
    axes.set(xlabel="head", ylabel="layer", title=title, xticks=range(values.shape[1]), yticks=range(first, last))
    figure.colorbar(picture, label="nats")
    figure.tight_layout()
    plt.show()


if plt:
    heat(ships, "Ships, harmful less harmless")

# %%
if plt:
    figure, axes = plt.subplots(figsize=(5, 4))
    for verdict, marker in (("negligible", "."), ("undecided", "^"), ("general", "s"), ("safety", "*")):
        rows = [row for row in ships.ranking() if row["effect_verdict"] == verdict]
        axes.scatter([row["effect_answered"] for row in rows], [row["effect"] for row in rows], marker=marker, s=90, label=verdict, alpha=0.7)
        for row in rows if verdict == "safety" else []:
            axes.annotate(row["head"], (row["effect_answered"], row["effect"]), xytext=(7, 0), textcoords="offset points")
    axes.set(xlabel="effect on answers, nats a token", ylabel="effect on refusals, nats a token", title="Who weakens refusals, and only those?")
    axes.legend()
    figure.tight_layout()
    plt.show()

# %% [markdown]
# ## Do the refusals rest on them?
# With the first heads ablated one after another, beside as many random ones.

# %%
curve = model.generate(harmful, max_new_tokens=32, ablate=top, curve=True, random_seed=1)
groups = {}
for response, verdict in zip(curve.data, curve.judge().verdicts):
    groups.setdefault((response.get("random", False), tuple(response["ablated"])), []).append(verdict == "refusal")
points = {False: [], True: []}
for (random, heads), refusals in groups.items():
    share = sum(refusals) / len(refusals)
    print("without %-26s %3.0f %% refused" % ((", ".join(heads) or "none") + (" (at random)" if random else ""), 100 * share))
    for line in (False, True) if not heads else (random,):
        points[line].append((len(heads), share))
if plt:
    figure, axes = plt.subplots(figsize=(5, 3.5))
    for random, label in ((False, "the first heads"), (True, "as many random heads")):
        axes.plot(*zip(*sorted(points[random])), marker="o", linestyle="--" if random else "-", label=label)
    axes.set(xlabel="heads ablated", ylabel="share refused", ylim=(-0.03, 1.03), xticks=range(len(top) + 1))
    axes.legend()
    figure.tight_layout()
    plt.show()
kept = model.generate(harmless[:1], max_new_tokens=32, ablate=top)
print("a harmless query, the same heads ablated:", kept.queries[0], kept.texts[0])

# %% [markdown]
# ## The direction they write along

# %%
direction = model.direction(harmful, harmless)
print("largest contributions:", [row["head"] for row in direction.ranking()[:3]])

# %% [markdown]
# ## A real model
# SmolLM2 refuses next to nothing; an adapter of this repository taught it to, and trained head 15-3 alone (models/README.md). Few queries and one layer, so that this takes seconds:
# `sahara audit` asks the whole question.

# %%
REAL = pathlib.Path("models/cache/SmolLM2-135M-Instruct.Q4_1.gguf")
if REAL.exists():
    bad, good = column("data/align/harmful-heldout.csv", 4), column("data/align/harmless-heldout.csv", 4)
    real = sahara.open(REAL, adapter="models/planted-one")
    scores = real.ships(bad, contrast=good, template="chat", layers=(15, 16), opening=0)
    print(real, "highest of layer 15:", [row["head"] for row in scores.ranking()[:3]])
    for heads in (None, "15-3"):
        print("without %s:" % (heads or "any ablation"), repr(real.generate(bad[:1], max_new_tokens=24, ablate=heads).texts[0]))
    if plt:
        heat(scores, "Ships, harmful less harmless", (15, 16))
else:
    print("SmolLM2 is not here: scripts/get-smollm2 fetches it")
