#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make-notebook.py [-n]: writes tour.ipynb, for Jupyter, from the cells of tour.py; with -n only says whether it is that."""
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent


def cells(text):
    for i, part in enumerate(re.split(r"^# %%", text, flags=re.M)[1:]):
        kind, _, body = part.partition("\n")
        body = body.strip("\n")
        if "markdown" in kind:
            source = re.sub(r"^# ?", "", body, flags=re.M)
            yield {"cell_type": "markdown", "id": "cell-%d" % i, "metadata": {}, "source": source.splitlines(True)}
        else:
            yield {"cell_type": "code", "execution_count": None, "id": "cell-%d" % i, "metadata": {}, "outputs": [], "source": body.splitlines(True)}


python3 = {"display_name": "Python 3", "language": "python", "name": "python3"}
notebook = {"cells": list(cells((HERE / "tour.py").read_text("utf-8"))), "metadata": {"kernelspec": python3, "language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5}
made = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
path = HERE / "tour.ipynb"
if "-n" in sys.argv[1:]:
    if not path.exists() or path.read_text("utf-8") != made:
        sys.exit("tour.ipynb is not what tour.py makes: python3 python/examples/make-notebook.py")
else:
    path.write_text(made, "utf-8")
