# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/formats/: files of other programs in the formats that few golden models come in.

    pip install torch==2.13.0 transformers==5.24.0 safetensors==0.8.0 gguf==0.19.0 numpy==2.4.6
    python make-formats.py [NAME ...]          # types, torch, fp8, mxfp4, split

types.json   bytes of tensor types and the values gguf.quants and PyTorch give them, as in quants.json
torch/       what torch.save() writes; views.json says what is in views*.bin
llama-bin/, llama-bin-sharded/, adapter-bin/   models/llama-bf16, models/llama-sharded, adapters/plain as .bin
llama-split/ models/llama-gqa/model-f32.gguf in three parts
mxfp4/       blocks and exponents of experts as gpt-oss stores them, and what transformers makes of them

and models/llama-fp8, models/llama-fp8-channels: models/llama-gqa in eight bits with scales, logits from the dequantised
weights in float64.
"""
import collections
import functools
import importlib
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import gguf_files
from oracle import Model

HERE = Path(__file__).resolve().parent
OUT = HERE / "formats"
Q = gguf.GGMLQuantizationType

# name -> bytes of a block, where its float16 scale lies (None: it has none)
GGUF_BLOCKS = {Q.IQ4_NL: (18, 0), Q.IQ4_XS: (136, 0), Q.TQ1_0: (54, 52), Q.TQ2_0: (66, 64), Q.MXFP4: (17, None),
               Q.IQ2_XXS: (66, 0), Q.IQ2_XS: (74, 0), Q.IQ2_S: (82, 0), Q.IQ3_XXS: (98, 0), Q.IQ3_S: (110, 0),
               Q.IQ1_S: (50, 0), Q.IQ1_M: (56, None)}


def rounded(values):
    return [float(f"{v:.9g}") for v in values.tolist()]


def gguf_blocks(kind, rng):
    """512 values from random bytes under scales that real files could have."""
    size, at = GGUF_BLOCKS[kind]
    raw = rng.integers(0, 256, (512 // gguf.GGML_QUANT_SIZES[kind][0], size), dtype=np.uint8)
    if at is not None:
        scales = rng.standard_normal(len(raw)).astype("<f2")
        raw[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    elif kind is Q.MXFP4:
        raw[:, 0] = rng.integers(110, 132, len(raw))
    else:  # IQ1_M: the top four bits of four 16-bit numbers are the scale's
        for block in raw:
            bits = int(rng.standard_normal(1).astype("<f2").view("<u2")[0])
            for i in range(4):
                block[49 + 2 * i] = block[49 + 2 * i] & 15 | (bits >> 4 * i & 15) << 4
    return raw, gguf.quants.dequantize(raw, kind).reshape(-1)


def small_floats():
    """Every byte of the eight-bit types that is a number."""
    for name, kind in (("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2),
                       ("F8_E8M0", torch.float8_e8m0fnu)):
        raw = torch.arange(256, dtype=torch.uint8)
        values = raw.view(kind).float()
        # Among float32 numbers a limit of JSON's readers: the largest powers of two stay out of the text.
        good = values.isfinite() & (values.abs() < 2.0 ** 64) & ((values == 0) | (values.abs() > 2.0 ** -64))
        yield name, raw[good].numpy(), values[good].numpy()
    # E2M1, two a byte: sign, two exponent bits (bias 1), one of mantissa.
    value = [(-1) ** (c >> 3) * ((c & 1) * 0.5 if not c >> 1 & 3 else (1 + (c & 1) / 2) * 2.0 ** ((c >> 1 & 3) - 1))
             for c in range(16)]
    raw = np.arange(256, dtype=np.uint8)
    yield "F4", raw, np.array([[value[b & 15], value[b >> 4]] for b in range(256)]).reshape(-1)


def make_types():
    rng = np.random.default_rng(20260101)
    rows = {kind.name: gguf_blocks(kind, rng) for kind in GGUF_BLOCKS}
    rows.update((name, (raw, values)) for name, raw, values in small_floats())
    lines = ",\n".join(f'"{name}":' + json.dumps({"values": rounded(values), "bytes": raw.tobytes().hex()},
                                                 separators=(",", ":")) for name, (raw, values) in rows.items())
    (OUT / "types.json").write_text("{\n" + lines + "\n}\n")


def views():
    """Every way of lying in a storage, every type, and what is no tensor."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8 - 1
    marked = torch.nn.Parameter(base.clone())
    marked.note = "kept"  # makes PyTorch write it in another way
    cube = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    tensors = collections.OrderedDict({
        "whole": base, "transposed": base.t(), "rows": base[1:3], "columns": base[:, 2:5], "every-second": base[::2, ::2],
        "one": base[2, 3], "row": base[2:3].t(), "permuted": cube.permute(2, 0, 1), "f16": base.half(),
        "bf16": torch.nn.Parameter(base.bfloat16()), "e4m3": base.to(torch.float8_e4m3fn),
        "e5m2": base.to(torch.float8_e5m2), "u8": torch.arange(5, dtype=torch.uint8), "marked": marked,
        "empty": torch.empty(0, 3), "expanded": base[:1].expand(3, 6), "four": torch.arange(16.0).reshape(2, 2, 2, 2)})
    left_out = {"five": torch.zeros(1, 1, 1, 1, 1), "repeated": base[:1].expand(5, 6), "f64": base.double(),
                "i64": torch.arange(3), "bool": base > 0, "number": 3, "text": "x", "list": [base]}
    tensors.update(left_out)
    tensors._metadata = collections.OrderedDict({"": {"version": 1}})  # as state_dict() has it
    return tensors, left_out


class Call:
    """Whoever unpickles this runs a command."""
    def __reduce__(self):
        return os.system, ("echo a pickle was run > /tmp/pickle-was-run",)


def make_torch():
    folder = OUT / "torch"
    folder.mkdir(exist_ok=True)
    tensors, left_out = views()
    torch.save(tensors, folder / "views.bin")
    torch.save(tensors, folder / "views-protocol-4.bin", pickle_protocol=4)
    torch.save(dict(tensors), folder / "views-dict.bin")
    few = collections.OrderedDict({"whole": tensors["whole"]})
    torch.save(few, folder / "old.bin", _use_new_zipfile_serialization=False)
    torch.save(collections.OrderedDict({"whole": few["whole"], "other": Call()}), folder / "call.bin")
    torch.save(few["whole"], folder / "bare.bin")
    torch.save(few, folder / "few.bin")
    seed_fuzzer(folder)
    with zipfile.ZipFile(folder / "few.bin") as source:
        with zipfile.ZipFile(folder / "compressed.bin", "w", zipfile.ZIP_DEFLATED) as packed, \
                zipfile.ZipFile(folder / "zip64.bin", "w") as large:
            for info in source.infolist():
                packed.writestr(zipfile.ZipInfo(info.filename), source.read(info), zipfile.ZIP_DEFLATED)
                with large.open(zipfile.ZipInfo(info.filename), "w", force_zip64=True) as entry:
                    entry.write(source.read(info))
            large.comment = b"PK\5\6 in a comment"
    table = {name: {"shape": list(t.shape), "values": rounded(t.detach().float().reshape(-1))}
             for name, t in tensors.items() if name not in left_out}
    (folder / "views.json").write_text("{\n" + ",\n".join(
        f'"{name}":{json.dumps(row, separators=(",", ":"))}' for name, row in table.items()) + "\n}\n")
    make_directories()


def seed_fuzzer(folder):
    """fuzz/fuzz_torch takes whole files and pickles."""
    seeds = HERE.parent.parent / "fuzz" / "seeds" / "fuzz_torch"
    seeds.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "few.bin", seeds)
    for name in ("few", "views", "views-protocol-4", "call"):
        with zipfile.ZipFile(folder / f"{name}.bin") as source:
            (seeds / f"{name}.pkl").write_bytes(source.read(f"{name}/data.pkl"))


def make_directories():
    for name in ("llama-bf16", "llama-sharded"):
        source, folder = HERE / "models" / name, OUT / name.replace("bf16", "bin").replace("sharded", "bin-sharded")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(source / "config.json", folder)
        for path in source.glob("*.safetensors"):
            stem = path.stem.replace("model", "pytorch_model")
            torch.save(collections.OrderedDict(load_file(path)), folder / f"{stem}.bin")
        index = source / "model.safetensors.index.json"
        if index.exists():
            text = index.read_text().replace('"model-', '"pytorch_model-').replace(".safetensors", ".bin")
            (folder / "pytorch_model.bin.index.json").write_text(text)
    source, folder = HERE / "adapters" / "plain", OUT / "adapter-bin"
    folder.mkdir(exist_ok=True)
    shutil.copy(source / "adapter_config.json", folder)
    torch.save(load_file(source / "adapter_model.safetensors"), folder / "adapter_model.bin")


def scaled(weight, rows, columns, kind):
    """The weight in eight bits and a scale for each block of [rows, columns]; and what the two stand for."""
    height, width = weight.shape
    grid = weight.reshape(height // rows, rows, width // columns, columns)
    scale = (grid.abs().amax((1, 3)) / 448).to(kind)
    wide = scale.double()[:, None, :, None]
    eight = (grid.double() / wide).clamp(-448, 448).to(torch.float8_e4m3fn)
    return eight.reshape(weight.shape), scale, (eight.double() * wide).reshape(weight.shape)


def save_fp8(name, config, blocks, suffix, kind):
    """`blocks(weight name, shape)`: the block that shares a scale."""
    models = importlib.import_module("make-models")
    source, folder = HERE / "models" / "llama-gqa", HERE / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    whole = json.loads((source / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**whole, "quantization_config": config}, indent=1) + "\n")
    stored, wide = {}, {}
    for key, weight in load_file(source / "model.safetensors").items():
        if "proj" not in key:
            stored[key] = weight.bfloat16()
            wide[key] = stored[key].double()
            continue
        stored[key], scale, wide[key] = scaled(weight, *blocks(key, weight.shape), kind)
        stored[key + suffix] = scale if scale.numel() > 1 or kind is not torch.float32 else scale.reshape(())
        if kind is not torch.float32:
            stored[key.replace("weight", "input_scale")] = torch.tensor([0.125], dtype=kind)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    oracle = Model.of(whole, wide)
    models.write_golden(folder / "golden.json", models.golden(oracle, few=True))
    return folder, oracle, models


def make_fp8():
    config = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [16, 16]}
    folder, oracle, models = save_fp8("llama-fp8", config, lambda key, shape: (min(shape[0], 16), 16), "_scale_inv",
                                      torch.float32)
    # transformers turns the weights into bfloat16 on a machine without a GPU.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        for prompt in models.PROMPTS:
            ours = oracle.logits(oracle.hidden(prompt))
            theirs = model(torch.tensor([prompt])).logits[0, -1].double()
            assert (ours - theirs).abs().max() < 1e-5 * ours.abs().max(), (ours - theirs).abs().max()

    weights = lambda strategy: {"weights": {"num_bits": 8, "type": "float", "strategy": strategy, "symmetric": True}}
    config = {"quant_method": "compressed-tensors", "format": "float-quantized", "quantization_status": "compressed",
              "config_groups": {"group_0": {"targets": ["re:.*self_attn.*"], **weights("channel")},
                                "group_1": {"targets": ["re:.*mlp.*"], **weights("tensor")}}, "ignore": ["lm_head"]}
    save_fp8("llama-fp8-channels", config, lambda key, shape: (1, shape[1]) if "attn" in key else tuple(shape),
             "_scale", torch.bfloat16)


def make_mxfp4():
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors
    folder = OUT / "mxfp4"
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(4)
    blocks = torch.randint(0, 256, (2, 3, 2, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(110, 140, (2, 3, 2), generator=generator, dtype=torch.uint8)
    save_file({"experts.up_proj_blocks": blocks, "experts.up_proj_scales": scales,
               "experts.up_proj_bias": torch.ones(2, 3).bfloat16()}, folder / "model.safetensors")
    # [experts, inputs, outputs]; the file's order is [experts, outputs, inputs].
    values = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).transpose(1, 2)
    (folder / "values.json").write_text(json.dumps(rounded(values.reshape(-1)), separators=(",", ":")) + "\n")


def make_split():
    folder = OUT / "llama-split"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    whole = gguf.GGUFWriter
    gguf.GGUFWriter = functools.partial(whole, split_max_tensors=12)
    gguf_files.write_f32(folder / "model.gguf", Model(HERE / "models" / "llama-gqa"), "llama-gqa")
    gguf.GGUFWriter = whole


MAKERS = {"types": make_types, "torch": make_torch, "fp8": make_fp8, "mxfp4": make_mxfp4,
          "split": make_split}


def main(names):
    OUT.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    for name in names or MAKERS:
        MAKERS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
