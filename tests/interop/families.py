# SPDX-License-Identifier: Apache-2.0
"""Models of tests/golden/make-families.py, committed or drawn, edited by the program and opened in transformers, and as GGUF in llama.cpp.

Of float32 files the other program's logits are the ablation's at run time within 1e-4 of the largest. Where llama.cpp itself reads an unedited GGUF file otherwise than
transformers reads the model it was made of (GELU from a table in float16; no windows in Phi-3; contexts so long that LongRoPE takes the long factors), or does not open it (biases, heads of
a width that it does not expect), it cannot judge edits: then Sahara reads the file as transformers reads the model, and computes the ablation from the edited one. In each case llama.cpp's converter
(LLAMA_CPP, as for make-families.py --gguf) makes of the edited directory, to the bit, the edited GGUF file.

Of files in 16 bits no such bound can be given. An edited weight is the exact one rounded to the nearest of its type, off by up to 2^-9 of itself in bfloat16 and 2^-12 in
float16. To first order a logit moves by the sum over the edited weights of its derivative by each times that weight's rounding, and derivatives are the model's. A drawn
phi3 in bfloat16 (--seed 6, the 25th) with means of k put into three heads is off by 1.34e-2 of the largest logit, computed in float64; the sum is 1.35e-2; other numbers within half a step of
the exact weights give up to 1.3e-2; and its unedited weights, moved by as much, 1.1e-2. A bound in units of the last place, as 2^-7, is wrong there although every weight is right. So three
questions that need none: a float32 copy, edited, gives the ablation; each tensor of the edited file is the edited copy's, rounded to the nearest, or as it is where the file went over to float32;
and the other program computes from the edited file what Sahara computes from it. For GGUF the second is asked of the safetensors alone; of quantised files the float32 copy has the dequantised weights."""
import concurrent.futures
import json
import multiprocessing
import os
import re
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file

import files
import programs

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "golden"))
import converted  # noqa: E402
import gguf_files  # noqa: E402

# What surgery can give exactly (docs/families.md), by config.json's model_type.
HEAD_NORMS = {"qwen3", "qwen3_moe", "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "gemma3_text", "gemma4_text", "exaone4", "lfm2", "lfm2_moe"}
ROW_NORMS = {"olmo2", "olmo3", "olmoe"}
CASES = [("q", "scale", 1e-4), ("q", "mean", None), ("k", "scale", 0.5), ("k", "mean", None), ("v", "scale", 2.0), ("v", "scale", 0.0),
         ("q,k,v", "scale", 0.0)]
TOKENS = [1, 17, 42, 5, 33, 40, 8, 21, 30, 3, 11, 29]
FLOAT32 = 1e-4  # of the largest logit
HALF = {torch.float16, torch.bfloat16}


class Shape:
    """Heads of each layer, and which edits its weights can give, as config.json says it."""

    def __init__(self, folder):
        c = json.loads((folder / "config.json").read_text())
        self.kind = c["model_type"]
        self.layers = c.get("num_hidden_layers") or c["n_layer"]
        heads = c.get("num_attention_heads") or c["n_head"]
        kv = 1 if self.kind == "falcon" else c.get("num_key_value_heads") or heads
        self.types = c.get("layer_types") or ["full_attention"] * self.layers
        self.heads = [{"linear_attention": c.get("linear_num_value_heads"), "conv": 1}.get(t, heads) for t in self.types]
        own = c.get("num_global_key_value_heads") if c.get("attention_k_eq_v") else None
        self.kv = [own or kv if t == "full_attention" else kv for t in self.types]
        self.norm = "head" if self.kind in HEAD_NORMS or c.get("use_qk_norm") and self.kind == "glm4_moe" else "row" if self.kind in ROW_NORMS else None
        shared = c.get("num_kv_shared_layers") or 0
        first = self.layers - shared
        lends = {max(l for l in range(first) if self.types[l] == t) for t in set(self.types[first:])} if shared else set()
        self.keys_lent = [l >= first or l in lends or bool(c.get("attention_k_eq_v")) and self.types[l] == "full_attention" for l in range(self.layers)]

    def attends(self, layer):
        return self.types[layer] not in ("linear_attention", "conv")

    def heads_for(self, part, shift):
        """Two heads of one layer and one of another, where there are as many, of layers that take the edit; None: there is none."""
        able = [l for l in range(self.layers) if part == "v" or self.attends(l) and not ("k" in part and self.keys_lent[l])]
        if not able:
            return None
        first, second = able[shift % len(able)], able[(shift + 1) % len(able)]
        count = lambda l: self.kv[l] if part == "k" else self.heads[l]
        return ",".join(dict.fromkeys(f"{l}-{h % count(l)}" for l, h in ((first, shift), (second, shift + 1), (second, shift + 2))))

    def exact(self, edit):
        part, op, scale = edit
        touches = "q" in part or "k" in part
        return not touches or self.norm is None or (self.norm == "row" and op == "scale") or op == "scale" and scale == 0


def float32_copy(source, folder):
    """The checkpoint with every tensor as float32."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.gguf"))
    tensors = {name: value.float() if value.dtype in HALF else value for name, value in load_file(source / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config.pop("torch_dtype", None)
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float32"}, indent=2))


def wrongly_rounded(made, exact):
    """The first tensor of the edited 16-bit checkpoint that is not the exact edit's, rounded; None: all are."""
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (made, exact))
    for name, value in theirs.items():
        if not ours[name].equal(value.to(ours[name].dtype)):
            return name
    return None


def narrow_type(path):
    """The type of weights that are not float32, or None."""
    if path.suffix == ".gguf":
        return next((t.tensor_type.name for t in gguf.GGUFReader(path).tensors if t.tensor_type != gguf.GGMLQuantizationType.F32), None)
    return next((v.dtype for v in load_file(path / "model.safetensors").values() if v.dtype in HALF), None)


def as_float32(sahara, path):
    """A copy in float32, which no program rounds anew."""
    copy = sahara.out(path)
    (files.float32_copy if path.suffix == ".gguf" else float32_copy)(path, copy)
    return copy


def check_narrow(sahara, report, what, path, heads, edit, exact, judge):
    """The file of another type, edited, beside its float32 copy, edited. How far it is from Sahara's reading of it."""
    made = sahara.ablate(path, heads, edit)
    if path.suffix == ".gguf":
        if judge.good:
            report.say(what, np.isfinite(programs.logits(made, TOKENS)).all(), "llama.cpp does not compute from the file as it is")
        copy = as_float32(sahara, made)
    else:
        wrong, copy = wrongly_rounded(made, exact), made
        report.say(what, wrong is None, f"{wrong} is not the exact edit's, rounded")
    own = sahara.logits(made, TOKENS)
    off = judge.distance(sahara, copy, own)
    report.check(f"{what} as {narrow_type(path)}", off, FLOAT32, 1.0)
    for one in {made, copy}:
        sahara.remove(one)
    return off, own


def unlike(ours, theirs):
    """The first tensor of a GGUF file that is not, to the bit, the other file's; None: all are."""
    have, want = ({t.name: t for t in gguf.GGUFReader(path).tensors} for path in (ours, theirs))
    assert set(have) == set(want)
    return next((name for name in want if have[name].tensor_type != want[name].tensor_type or have[name].data.tobytes() != want[name].data.tobytes()), None)


def check_converted(sahara, report, what, path, heads, edit, made):
    """llama.cpp's converter makes of the edited directory what the edit makes of the converted one."""
    folder = sahara.ablate(path.parent, heads, edit)
    why = converted.convert(folder, "f32")
    wrong = why or unlike(made, folder / "model-f32.gguf")
    report.say(what, wrong is None, f"edited and converted it has another {wrong}")
    sahara.remove(folder)


def in_llama_cpp(path):
    """Logits, or None where it does not open the file, or ends the process over it."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        try:
            return pool.submit(programs.llama_cpp, path, TOKENS).result()
        except (ValueError, concurrent.futures.process.BrokenProcessPool):
            return None


class Judge:
    """Whose numbers hold for a model: the other program's, where it computes from the unedited file what Sahara does."""

    def __init__(self, sahara, report, path, exact, golden):
        self.is_gguf, self.note = path.suffix == ".gguf", ""
        plain = sahara.logits(path, TOKENS)
        theirs = in_llama_cpp(exact) if self.is_gguf else programs.logits(exact, TOKENS)
        self.off = np.inf if theirs is None else programs.distance(plain, theirs)
        self.good = self.off <= FLOAT32 / 10 or not self.is_gguf
        if not self.good:
            self.off = programs.distance(plain, golden)
            self.note = "; llama.cpp " + ("does not open it" if theirs is None else f"itself is {programs.distance(theirs, golden):.1e} from transformers")
        report.check(f"{path} unedited", self.off, FLOAT32, 1.0)

    def distance(self, sahara, made, want):
        if self.good:
            return programs.distance(programs.logits(made, TOKENS), want)
        return programs.distance(sahara.logits(made, TOKENS), want)


def check_edit(sahara, report, path, heads, edit, exact, judge):
    """One edit: how far the other program is from Sahara, and how far the file's own type takes it from the ablation."""
    what, rounding = f"{path} {heads} {edit}", 0.0
    made, want = sahara.ablate(exact, heads, edit), sahara.logits(path, TOKENS, heads, edit)
    off = judge.distance(sahara, made, want)
    report.check(what, off, FLOAT32, 1.0)
    if exact != path:
        also, own = check_narrow(sahara, report, what, path, heads, edit, made, judge)
        off, rounding = max(off, also), programs.distance(own, want)
    elif path.name == "model-f32.gguf" and narrow_type(path.parent) is None and "LLAMA_CPP" in os.environ:
        check_converted(sahara, report, what, path, heads, edit, made)
    sahara.remove(made)
    return off, rounding


def check(sahara, report, folder, file=None):
    """One model in transformers, or its GGUF file in llama.cpp. A line about it."""
    path, shape = folder / (file or ""), Shape(folder)
    narrow = narrow_type(path)
    exact = as_float32(sahara, path) if narrow else path
    judge = Judge(sahara, report, path, exact, np.array(json.loads((folder / "golden.json").read_text())["cases"][0]["logits"][0]))
    worst, rounding, edits, refusals = judge.off, 0.0, 0, 0
    for i, edit in enumerate(CASES):
        heads = shape.heads_for(edit[0], i)
        if heads is None:
            continue
        if not shape.exact(edit):
            refusal = sahara.refusal("ablate", path, heads, *sahara.how(edit), "-q", "-o", sahara.out(path))
            report.say(f"{path} {heads} {edit}", "normalises each head's q and k" in refusal, f"is not refused: {refusal}")
            refusals += 1
            continue
        off, rounded = check_edit(sahara, report, path, heads, edit, exact, judge)
        worst, rounding, edits = max(worst, off), max(rounding, rounded), edits + 1
    if narrow:
        sahara.remove(exact)
    more = (f"; {narrow} itself by {rounding:.1e}" if narrow else "") + judge.note
    return f"{'llama.cpp' if file else 'transformers':13} {folder.name + ('/' + file if file else ''):45} {edits} edits off by at most {worst:.1e}, {refusals} refused{more}"


ATTENTION = re.compile(r"\.\d+\.(self_attn|attn|self_attention|attention|linear_attn|conv)\.")
MLP = re.compile(r"\.\d+\.(mlp|block_sparse_moe|shared_mlp|feed_forward|experts|router|per_layer_\w+)\.")
# Settings that llama.cpp's converter leaves out of the file: query_pre_attn_scalar, a width of heads that is not their share of the model's, windows.
LOST = {"family-gemma2", "family-gemma3-scaled", "family-nemotron", "family-starcoder2-windows"}


def check_graft(sahara, report, folder):
    """Attention, MLPs or the rest of a second model, whose tensors are this one's with every number one place on: tensor by tensor the one's or the other's, and
    opened in transformers. What is stored as MXFP4 is not exchanged."""
    other = sahara.out(folder)
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("*.gguf"))
    one = load_file(folder / "model.safetensors")
    two = {name: value.flatten().roll(1).reshape(value.shape) for name, value in one.items()}
    save_file(two, other / "model.safetensors", metadata={"format": "pt"})
    sides, worst = [sahara.logits(p, TOKENS) for p in (folder, other)], 0.0
    grafts = [("B", "A", "A")] + [("A", "B", "A"), ("A", "A", "B")] * (not any(name.endswith("_blocks") for name in one))
    for attention, mlp, rest in grafts:
        made = sahara.graft(folder, other, attention, mlp, rest)
        have, side = load_file(made / "model.safetensors"), {"A": one, "B": two}
        wrong = next((name for name, value in have.items() if not value.equal(side[attention if ATTENTION.search(name) else mlp if MLP.search(name) else rest][name])), None)
        what = f"graft {folder} {attention}{mlp}{rest}"
        report.say(what, wrong is None and set(have) == set(one), f"{wrong} is of the other model")
        off = programs.distance(programs.logits(made, TOKENS), want := sahara.logits(made, TOKENS))
        report.check(what, off, FLOAT32, min(programs.distance(want, side) for side in sides))
        worst = max(worst, off)
        sahara.remove(made)
    sahara.remove(other)
    return f"; {len(grafts)} grafted by {worst:.1e}"


def check_all(sahara, report, root, only=None):
    """The committed models: as directories, edited and grafted; as GGUF files that llama.cpp's converter makes, or without it the committed ones,
    with a vocabulary added."""
    for folder in sorted(p.parent for p in Path(root).glob("family-*/config.json")):
        if only and only not in str(folder):
            continue
        if "text_config" in json.loads((folder / "config.json").read_text()):
            print(f"left out: {folder.name}, whose class in transformers has pictures as well; its text part is that of a family here")
            continue
        print(check(sahara, report, folder) + check_graft(sahara, report, folder), flush=True)
        copy = sahara.out(folder)
        shutil.copytree(folder, copy / folder.name, ignore=shutil.ignore_patterns("*.gguf"))
        why = "settings would be lost" if folder.name in LOST else converted.convert(copy / folder.name, "f32") if "LLAMA_CPP" in os.environ else "LLAMA_CPP is not set"
        if why:
            for file in sorted(folder.glob("*.gguf")):
                files.with_tokenizer(file, copy / folder.name / f"opened-{file.name}", gguf_files.write_tokenizer)
            if "LLAMA_CPP" in os.environ:
                print(f"converter     {folder.name}: {why}")
        for file in sorted(copy.glob("*/*.gguf")):
            print(check(sahara, report, file.parent, file.name), flush=True)
        sahara.remove(copy)


def check_drawn(sahara, report, root):
    """Every model of a folder, and every GGUF file beside one."""
    for folder in sorted(p.parent for p in Path(root).glob("*/golden.json")):
        for file in [None] * (folder / "model.safetensors").exists() + sorted(p.name for p in folder.glob("*.gguf")):
            try:
                print(check(sahara, report, folder, file), flush=True)
            except (AssertionError, ValueError, OSError) as fault:
                report.say(f"{folder} {file or ''}", False, fault)
