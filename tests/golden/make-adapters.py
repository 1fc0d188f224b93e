# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/adapters/: LoRA adapters of the tiny model llama-gqa, and weights as PEFT merges them.

    pip install torch==2.13.0 transformers==5.23.0 peft==0.21.2 safetensors==0.8.0
    python make-adapters.py [NAME ...]

`plain` has one rank and alpha for all; `patterns` has ranks and alphas of its own for some modules, and rank-stabilised
scaling. Seeds: the CRC-32 of the names. merged.json holds float32 values computed in float64.

family-NAME: adapters of models of make-families.py (transformers==5.24.0), on modules that hold several weights or keep them turned, beside experts and on them,
and of the delta rule. family-NAME-modules: that of all experts as one of each expert's own modules, which PEFT made before transformers 5. logits.json holds what the adapted model gives for one prompt.
"""
import json
import shutil
import sys
import zlib
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

HERE = Path(__file__).resolve().parent
BASE = HERE / "models" / "llama-gqa"
ADAPTERS = {
    "plain": LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "o_proj", "down_proj"]),
    "patterns": LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj", "k_proj", "gate_proj", "up_proj"], use_rslora=True,
                           layers_to_transform=[0, 2], rank_pattern={"k_proj": 3, "layers.2.self_attn.q_proj": 5},
                           alpha_pattern={"gate_proj": 7, "^model.layers.0.mlp.up_proj": 1}),
}
FAMILIES = {
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    "gpt-neox": ["query_key_value", "dense", "dense_h_to_4h"],
    "gpt2": ["c_attn", "c_proj"],
    "falcon": ["query_key_value", "dense"],
    "glm4": ["q_proj", "v_proj", "gate_up_proj"],
    "qwen3-moe": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "qwen3-5": ["in_proj_qkv", "in_proj_z", "in_proj_a", "in_proj_b", "out_proj", "q_proj", "k_proj", "o_proj", "up_proj"],
    "qwen3-next": ["in_proj_qkvz", "in_proj_ba", "out_proj", "q_proj", "v_proj"],
}
EXPERTS = {"mixtral": ["w1", "w3", "w2"], "granite-moe": None, "qwen3-5-moe": None, "lfm2-moe": None, "gemma4-moe": None, "qwen3-vl-moe": None}  # names of the modules of one, where files keep them apart
PATTERNS = {"granite-moe": {"rank_pattern": {"experts.down_proj": 3}, "alpha_pattern": {"experts.gate_up_proj": 5}}}
PARAMETERS = ["experts.gate_up_proj", "experts.down_proj"]
PROMPT = [1, 17, 42, 5, 33, 40, 8, 21, 30, 3, 11, 29]
CHECKED = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "model.layers.2.self_attn.q_proj",
           "model.layers.0.self_attn.k_proj", "model.layers.2.self_attn.v_proj", "model.layers.0.self_attn.o_proj",
           "model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj", "model.layers.2.mlp.up_proj",
           "model.layers.1.mlp.down_proj"]


def draw(name, base, config):
    """The adapter `name` of a model, saved; the adapted model."""
    folder = HERE / "adapters" / name
    shutil.rmtree(folder, ignore_errors=True)
    auto = AutoModelForImageTextToText if hasattr(AutoConfig.from_pretrained(base), "vision_config") else AutoModelForCausalLM
    model = get_peft_model(auto.from_pretrained(base, dtype=torch.float32, experts_implementation="eager"), config)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    with torch.no_grad():
        for key, weight in sorted(model.named_parameters()):
            if "lora_" in key:
                weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text())
    settings["base_model_name_or_path"] = base.name
    path.write_text(json.dumps(settings, indent=1) + "\n")
    return folder, model


def make(name, config):
    folder, model = draw(name, BASE, config)
    merged = dict(model.double().merge_and_unload().named_parameters())
    values = {key: [float(f"{x:.9g}") for x in merged[key + ".weight"].flatten().tolist()] for key in CHECKED}
    (folder / "merged.json").write_text(json.dumps(values) + "\n")


def take_apart(folder, names, published):
    """The adapter's experts as modules of their own: A [experts, rank, inputs] and B [outputs, rank, experts] in PEFT's file."""
    tensors, apart = load_file(folder / "adapter_model.safetensors"), folder.with_name(folder.name + "-modules")
    shutil.rmtree(apart, ignore_errors=True)
    shutil.copytree(folder, apart)
    for key in [k for k in tensors if k.endswith("lora_A.weight") and ".experts." in k]:
        a, b = tensors.pop(key), tensors.pop(key.replace("lora_A", "lora_B"))
        n = len(a) // 2
        a, b = a.reshape(n, 2, -1), b.reshape(len(b), 2, n)
        for e in range(n):
            parts = [(names[0], b[:len(b) // 2]), (names[1], b[len(b) // 2:])] if "base_layer" in key else [(names[2], b)]
            for name, rows in parts:
                own = key.split(".mlp.experts.")[0] + f".{published}.experts.{e}.{name}."
                tensors[own + "lora_A.weight"], tensors[own + "lora_B.weight"] = a[e].clone(), rows[:, :, e].clone()
    save_file(tensors, apart / "adapter_model.safetensors")
    settings = json.loads((apart / "adapter_config.json").read_text())
    settings["target_modules"], settings["target_parameters"] = settings["target_modules"] + names, None
    (apart / "adapter_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def make_family(name, modules, parameters=None):
    base = HERE / "models" / f"family-{name}"
    config = LoraConfig(r=2, lora_alpha=3, target_modules=modules, target_parameters=parameters, fan_in_fan_out=name == "gpt2",
                        **PATTERNS.get(name, {}))
    folder, model = draw(f"family-{name}", base, config)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT]), use_cache=False).logits[0, -1]
    rounded = [float(f"{x:.7g}") for x in logits.tolist()]
    (folder / "logits.json").write_text(json.dumps({"prompt": PROMPT, "logits": rounded}) + "\n")
    if parameters and EXPERTS[name]:
        take_apart(folder, EXPERTS[name], "block_sparse_moe")


if __name__ == "__main__":
    names = sys.argv[1:]
    for name, config in ADAPTERS.items():
        if not names or name in names:
            make(name, config)
    for name, modules in FAMILIES.items():
        if not names or name in names:
            make_family(name, modules)
    for name in EXPERTS:
        if not names or name in names:
            make_family(name, ["q_proj"], PARAMETERS)
