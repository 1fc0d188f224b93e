# SPDX-License-Identifier: Apache-2.0
# %% [markdown]
# # Which heads does refusal rest on?
# A notebook in the percent format: Jupyter (with jupytext) and most editors open its cells; `python3 tour.py` runs it
# through. From the repository's root, with the library built. The model is the small one of this repository; SmolLM2
# (scripts/get-smollm2) is looked at as well where it is there.

# %%
import csv
import pathlib
import sys

import sahara

N = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 24  # queries of either kind


def column(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [row["input"] for row in csv.DictReader(file)][:N]


harmful, harmless = column("data/harmful.csv"), column("data/harmless.csv")
model = sahara.open("models/organism")
print(model)

# %% [markdown]
# ## Ships, harmful beside harmless
# A head that moves every distribution is no safety head: the difference is what to read.

# %%
ships = model.ships(harmful, contrast=harmless, template="chat")
for row in ships.ranking()[:5]:
    print("%-5s %8.3f nats  difference %8.3f  %s" % (row["head"], row["mean"], row["difference"], row["effect_verdict"]))
top = [row["head"] for row in ships.ranking()[:3]]

# %%
try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture without matplotlib")
else:
    heat = ships.heat()
    figure, axes = plt.subplots(figsize=(5, 3))
    largest = abs(heat).max()
    picture = axes.imshow(heat, cmap="RdBu_r", vmin=-largest, vmax=largest)
    axes.set(xlabel="head", ylabel="layer", title="Ships, harmful less harmless")
    figure.colorbar(picture, label="nats")
    plt.show()

# %% [markdown]
# ## Do the refusals rest on them?

# %%
before = model.judge(harmful, max_new_tokens=32)
after = model.judge(harmful, max_new_tokens=32, ablate=top)
print("attack success rate %.2f before, %.2f (%.2f to %.2f) without %s"
      % (before.asr, after.asr, after.low, after.high, ", ".join(top)))
kept = model.generate(harmless[:1], max_new_tokens=32, ablate=top)
print("a harmless query, the same heads ablated:", kept.queries[0], kept.texts[0])

# %% [markdown]
# ## The direction they write along

# %%
direction = model.direction(harmful, harmless)
print("largest contributions:", [row["head"] for row in direction.ranking()[:3]])

# %% [markdown]
# ## A real model

# %%
REAL = pathlib.Path("models/cache/SmolLM2-135M-Instruct.Q4_1.gguf")
if REAL.exists():
    real = sahara.open(REAL)
    scores = real.ships(harmful[:2], opening=0, layers=(5, 6))
    print(real, "highest of layer 5:", [row["head"] for row in scores.ranking()[:3]])
else:
    print("SmolLM2 is not here: scripts/get-smollm2 fetches it")
