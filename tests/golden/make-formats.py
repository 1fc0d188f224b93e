"""Makes tests/golden/formats/: files of other programs in the formats that few golden models come in.

    pip install torch==2.13.0 transformers==5.24.0 safetensors==0.8.0 gguf==0.19.0 numpy==2.4.6
    python make-formats.py [NAME ...]          # types, ...

types.json   bytes of tensor types and the values gguf.quants and PyTorch give them, as in quants.json
"""
import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch

HERE = Path(__file__).resolve().parent
OUT = HERE / "formats"
Q = gguf.GGMLQuantizationType

# name -> bytes of a block, where its float16 scale lies (None: it has none)
GGUF_BLOCKS = {Q.IQ4_NL: (18, 0), Q.IQ4_XS: (136, 0), Q.TQ1_0: (54, 52), Q.TQ2_0: (66, 64), Q.MXFP4: (17, None)}


def rounded(values):
    return [float(f"{v:.9g}") for v in values.tolist()]


def gguf_blocks(kind, rng):
    """512 values from random bytes under scales that real files could have."""
    size, at = GGUF_BLOCKS[kind]
    raw = rng.integers(0, 256, (512 // gguf.GGML_QUANT_SIZES[kind][0], size), dtype=np.uint8)
    if at is not None:
        scales = rng.standard_normal(len(raw)).astype("<f2")
        raw[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    else:
        raw[:, 0] = rng.integers(110, 132, len(raw))
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


MAKERS = {"types": make_types}


def main(names):
    OUT.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    for name in names or MAKERS:
        MAKERS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
