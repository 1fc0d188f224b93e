# SPDX-License-Identifier: Apache-2.0
"""Adapters in PEFT's layout: written, and merged into a model the way any reader of the layout would."""

import json
import os

import torch
from safetensors.torch import load_file, save_file

PREFIX, A_END, B_END = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
BASE_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"


def write(folder, tensors, rank, alpha, targets):
    os.makedirs(folder, exist_ok=True)
    save_file(tensors, os.path.join(folder, "adapter_model.safetensors"), metadata={"format": "pt"})
    config = {
        "base_model_name_or_path": BASE_NAME,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    with open(os.path.join(folder, "adapter_config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
        file.write("\n")


@torch.no_grad()
def merge(model, folder):
    """W += alpha / r * B A, in float32."""
    with open(os.path.join(folder, "adapter_config.json"), encoding="utf-8") as file:
        config = json.load(file)
    tensors = load_file(os.path.join(folder, "adapter_model.safetensors"))
    for name in tensors:
        if name.endswith(A_END):
            stem = name[: -len(A_END)]
            module = model.get_submodule(stem[len(PREFIX) :])
            change = tensors[stem + B_END].float() @ tensors[name].float()
            module.weight += config["lora_alpha"] / config["r"] * change
    return model
