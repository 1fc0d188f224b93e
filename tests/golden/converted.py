# SPDX-License-Identifier: Apache-2.0
"""GGUF files by llama.cpp's own converter, of models that make-families.py --random has drawn. LLAMA_CPP names a folder with llama.cpp's source that holds its package
`conversion` (that of llama-cpp-python 0.3.36's source distribution: vendor/llama.cpp)."""
import contextlib
import json
import logging
import os
import re
import sys
from pathlib import Path

import gguf
import torch

import gguf_files

TYPES = {"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16, "bf16": gguf.LlamaFileType.MOSTLY_BF16, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}


def add_names(source):
    """Names in that package which are newer than the gguf package, of models and tensors that no drawn model has: the modules must be importable."""
    text = "".join(path.read_text() for path in (source / "conversion").glob("*.py"))
    for kind, name in sorted(set(re.findall(r"gguf\.(MODEL_ARCH|MODEL_TENSOR)\.([A-Z0-9_]+)", text))):
        enum = getattr(gguf, kind)
        if name not in enum.__members__:
            member = int.__new__(enum, max(enum) + 1)
            member._name_, member._value_ = name, int(member)
            enum._member_map_[name] = enum._value2member_map_[int(member)] = member
            if kind == "MODEL_ARCH":
                gguf.MODEL_ARCH_NAMES[member] = name.lower()
                gguf.MODEL_TENSORS[member] = []
    if not hasattr(gguf, "LazyChunkedTensor"):
        gguf.LazyChunkedTensor = type("LazyChunkedTensor", (), {})
    if not hasattr(gguf.GGUFWriter, "add_recurrent_layers"):
        gguf.GGUFWriter.add_recurrent_layers = lambda self, layers: self.add_array(f"{self.arch}.attention.recurrent_layers", layers)


def conversion():
    source = Path(os.environ.get("LLAMA_CPP", ""))
    if not (source / "conversion").is_dir():
        sys.exit("LLAMA_CPP must name a folder of llama.cpp that holds its package `conversion`")
    if str(source) not in sys.path:
        sys.path.append(str(source))
        add_names(source)
    import conversion
    logging.disable(logging.WARNING)
    return conversion


def published(hparams):
    """Keys as published config.json files have them, where transformers 5 writes them otherwise or not at all."""
    kind, rope = hparams["model_type"], hparams.get("rope_parameters") or {}
    if kind in ("cohere2", "gpt_neox"):
        hparams["rotary_pct"] = rope.get("partial_rotary_factor", 1.0)
    if kind.startswith("qwen3_5"):  # three axes of positions, which are one in text
        pairs = int(hparams["head_dim"] * rope.get("partial_rotary_factor", 1.0)) // 2
        rope["mrope_section"] = [(pairs + 2) // 3] * 3
    if kind == "falcon":
        hparams["num_kv_heads"] = 1
    if kind == "gpt2":
        hparams["n_ctx"] = hparams["n_positions"]
    if kind == "granitemoehybrid":
        hparams["layer_types"] = ["attention"] * len(hparams["layer_types"])
        if not hparams.get("num_local_experts"):
            hparams.pop("num_experts_per_tok", None)
    return hparams


def convert(folder, kind):
    """Writes FOLDER/model-KIND.gguf. Returns why the converter does not take the model, or None."""
    package = conversion()
    path = folder / f"model-{kind}.gguf"
    hparams = published(package.ModelBase.load_hparams(folder, False))
    vocab = lambda self: gguf_files.write_tokenizer(self.gguf_writer, self.hparams["vocab_size"])
    pieces = folder / "tokenizer.json"  # Gemma's class counts them
    try:
        own = package.get_model_class(package.get_model_architecture(hparams, package.ModelType.TEXT))
        for part in (part for part in vars(own).values() if isinstance(part, type)):  # classes that it leaves the work to
            part.set_vocab = vocab
        own = type(own.__name__, (own,), {"set_vocab": vocab, "model_arch": own.model_arch, "no_mtp": True})
        pieces.write_text(json.dumps({"model": {"vocab": {str(i): i for i in range(hparams["vocab_size"])}}, "added_tokens": []}))
        with torch.inference_mode(), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            own(folder, TYPES[kind], path, hparams=hparams, model_name="drawn").write()
    except Exception as reason:  # whatever the converter says of a model that it does not expect
        path.unlink(missing_ok=True)
        return f"{type(reason).__name__}: {reason}"
    finally:
        pieces.unlink(missing_ok=True)
    return None
