#!/usr/bin/env python3
"""Checkpoints that `sahara ablate` and `sahara graft` wrote, loaded by other programs: their logits must be those of our
ablation at run time.

    pip install torch==2.13.0 transformers==5.23.0 peft==0.21.2 gguf==0.19.0 llama-cpp-python==0.3.36 accelerate==1.15.0
    tests/interop/run.py [--sahara build/sahara] [--smollm2 models/cache/SmolLM2-135M-Instruct.Q4_1.gguf]

  transformers   directories (multi-head, grouped-query, tied, sharded, QK-norm, float16, bfloat16) and GGUF files
  peft           `ablate --adapter` against merge_and_unload()
  llama.cpp      an edited GGUF of the real model in float32, where it and llama-cpp-python are there

Bounds are of the largest logit: 1e-4 in float32, 2^-11 of float16 and 2^-8 of bfloat16 tensors, whose rounding is the file's own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parent.parent.parent
MODELS = ROOT / "tests" / "golden" / "models"
TOKENS = [3, 17, 5, 29, 11, 2, 23]

# (part, operation, factor); what QK-norm allows, and what grouped queries do
SCALES = [(part, "scale", factor) for part in "qkv" for factor in (0.0, 1e-4, 0.5, 2.0)]
MEANS = [("q", "mean", None), ("k", "mean", None)]
EXACT_WITH_QK_NORM = [("q", "scale", 0.0), ("k", "scale", 0.0)] + [e for e in SCALES if e[0] == "v"]

failures = []


def sahara(a, *arguments):
    done = subprocess.run([a.sahara, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout


def options(edit):
    part, operation, factor = edit
    return ["--part", part, "--op", operation] + ([] if factor is None else ["--scale", factor])


def our_logits(a, model, heads=None, edit=None, tokens=TOKENS, extra=()):
    arguments = ["logits", model, "--tokens-in", " ".join(map(str, tokens)), *extra]
    if heads:
        arguments += ["--ablate", heads, *options(edit)]
    return np.array(json.loads(sahara(a, *arguments))["logits"])


@torch.no_grad()
def their_logits(path, tokens=TOKENS):
    path = Path(path)
    where = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    model = AutoModelForCausalLM.from_pretrained(path.parent if where else path, dtype=torch.float32, **where).eval()
    return model(torch.tensor([tokens])).logits[0, -1].numpy()


def check(name, theirs, ours, bound):
    off = np.abs(theirs - ours).max() / np.abs(ours).max()
    if not off <= bound:
        failures.append(name)
    print(f"{'ok  ' if off <= bound else 'FAIL'} {off:9.2e} of {bound:.1e}  {name}", flush=True)


def heads_of(edit, grouped):
    return "0-1,1-0" if not (edit[0] == "k" and grouped) else "0-0,1-0"


def surgery(a, folder):
    cases = [("llama-mha", None, 1e-4, SCALES + MEANS), ("llama-gqa", None, 1e-4, SCALES + MEANS),
             ("llama-tied", None, 1e-4, SCALES), ("llama-sharded", None, 1e-4, SCALES), ("llama-headdim", None, 1e-4, SCALES),
             ("qwen3", None, 1e-4, EXACT_WITH_QK_NORM), ("llama-f16", None, 2**-11, SCALES), ("llama-bf16", None, 2**-8, SCALES),
             ("llama-mha", "model-f32.gguf", 1e-4, SCALES + MEANS), ("llama-gqa", "model-f32.gguf", 1e-4, SCALES + MEANS)]
    for model, file, bound, edits in cases:
        source = MODELS / model / file if file else MODELS / model
        config = json.loads((MODELS / model / "config.json").read_text())
        grouped = config.get("num_key_value_heads", config["num_attention_heads"]) < config["num_attention_heads"]
        for number, edit in enumerate(edits):
            heads, out = heads_of(edit, grouped), folder / f"{model}-{file or 'dir'}-{number}{'.gguf' if file else ''}"
            sahara(a, "ablate", source, heads, "-o", out, "-q", *options(edit))
            ours = our_logits(a, source, heads, edit)
            moved = np.abs(ours - our_logits(a, source)).max() / np.abs(ours).max()
            if moved < 10 * bound and edit[2] not in (0.5, 2.0):
                print(f"     (this edit moves logits by {moved:.1e} only)")
            check(f"transformers: {model} {file or ''} {edit}", their_logits(out), ours, bound)


def adapters(a, folder):
    from peft import PeftModel

    for adapter in sorted((ROOT / "tests" / "golden" / "adapters").iterdir()):
        if not (adapter / "adapter_config.json").exists():
            continue
        settings = json.loads((adapter / "adapter_config.json").read_text())
        base = MODELS / Path(settings.get("base_model_name_or_path") or "llama-gqa").name
        if not base.exists():
            continue
        out = folder / f"merged-{adapter.name}"
        sahara(a, "ablate", base, "", "--adapter", adapter, "-o", out, "-q")
        with torch.no_grad():
            merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).merge_and_unload().eval()
            theirs = merged(torch.tensor([TOKENS])).logits[0, -1].numpy()
        check(f"peft: {adapter.name} merged", their_logits(out), theirs, 1e-4)
        check(f"peft: {adapter.name} at run time", our_logits(a, base, extra=("--adapter", adapter)), theirs, 1e-4)


def grafts(a, folder):
    """Attention of one model in another of the same shape, put together by hand in transformers."""
    one = MODELS / "llama-gqa"
    other = folder / "other"
    with torch.no_grad():
        torch.manual_seed(5)
        second = AutoModelForCausalLM.from_pretrained(one, dtype=torch.float32)
        for parameter in second.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        second.save_pretrained(other)
        first = AutoModelForCausalLM.from_pretrained(one, dtype=torch.float32).eval()
        for mine, theirs in zip(first.model.layers, second.model.layers):
            mine.mlp.load_state_dict(theirs.mlp.state_dict())
        wanted = first(torch.tensor([TOKENS])).logits[0, -1].numpy()
    sahara(a, "graft", one, other, "-o", folder / "graft", "-q", "--attention", "A", "--mlp", "B", "--rest", "A")
    check("transformers: graft, attention A, MLP B, rest A", their_logits(folder / "graft"), wanted, 1e-4)


def float32_copy(source, path):
    """The GGUF with its tensors as float32: llama.cpp rounds activations to 8 bits beside quantised weights."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_cpp(a, folder):
    """The real model, in a process of its own and without llama.cpp's layouts for special instructions, which have crashed."""
    if not Path(a.smollm2).exists():
        print("skip  llama.cpp: no", a.smollm2)
        return
    tokens = [504, 3575, 282, 4649, 314]
    copy = folder / "smollm2-f32.gguf"
    float32_copy(a.smollm2, copy)
    for heads, edit in (("18-8,5-6", ("q", "scale", 1e-4)), ("18-8,7-2", ("v", "scale", 0.0)), ("3-1", ("k", "mean", None))):
        quantised, out = folder / "edited-q4.gguf", folder / "edited-f32.gguf"
        sahara(a, "ablate", a.smollm2, heads, "-o", quantised, "-q", *options(edit))
        sahara(a, "ablate", copy, heads, "-o", out, "-q", *options(edit))
        ours = our_logits(a, a.smollm2, heads, edit, tokens)
        check(f"transformers: SmolLM2 {heads} {edit}", their_logits(quantised, tokens), ours, 1e-4)
        done = subprocess.run([sys.executable, __file__, "--llama-cpp", str(out), *map(str, tokens)], capture_output=True, text=True)
        if done.returncode == 0:
            check(f"llama.cpp: SmolLM2 in float32 {heads} {edit}", np.array(json.loads(done.stdout.splitlines()[-1])), ours, 1e-4)
        else:
            print("skip  llama.cpp:", (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
        for path in (quantised, out):
            path.unlink()


def print_llama_cpp(path, tokens):
    import llama_cpp

    settings = llama_cpp.llama_model_default_params()
    settings.use_extra_bufts = False
    model = llama_cpp.llama_model_load_from_file(path.encode(), settings)
    settings = llama_cpp.llama_context_default_params()
    settings.type_k = settings.type_v = 0  # keys and values in float32, too
    settings.flash_attn_type = 0
    context = llama_cpp.llama_init_from_model(model, settings)
    array = (llama_cpp.llama_token * len(tokens))(*tokens)  # the batch points into it
    batch = llama_cpp.llama_batch_get_one(array, len(tokens))
    if llama_cpp.llama_decode(context, batch) != 0:
        raise SystemExit("llama_decode failed")
    n = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    logits = llama_cpp.llama_get_logits_ith(context, -1)
    print(json.dumps([logits[i] for i in range(n)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sahara", default=ROOT / "build" / "sahara")
    parser.add_argument("--smollm2", default=str(ROOT / "models" / "cache" / "SmolLM2-135M-Instruct.Q4_1.gguf"))
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for job in (surgery, adapters, grafts, llama_cpp):
            job(a, Path(folder))
    print(f"{len(failures)} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--llama-cpp"]:
        print_llama_cpp(sys.argv[2], [int(t) for t in sys.argv[3:]])
    else:
        main()
