#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run-notebook.py: runs examples/tour.ipynb through as Jupyter does (nbclient), and looks at what its cells showed."""
import os
import pathlib
import sys

import nbclient
import nbformat

path = pathlib.Path(__file__).resolve().parent.parent / "examples" / "tour.ipynb"
os.environ.setdefault("QUERIES", "12")
os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
notebook = nbformat.read(path, as_version=4)
nbformat.validate(notebook)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
text = "".join(output.get("text", "") for output in outputs)
pictures = sum("image/png" in output.get("data", {}) for output in outputs)
for wanted in ("2-6", "% refused", "largest contributions"):
    if wanted not in text:
        sys.exit("the notebook does not say %r:\n%s" % (wanted, text))
if pictures < 3:
    sys.exit("the notebook shows %d pictures" % pictures)
print("notebook: %d cells, %d pictures" % (len(notebook.cells), pictures))
