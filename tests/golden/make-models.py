# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/models/: tiny random checkpoints and the logits of plain and ablated forward passes.

    pip install torch==2.13.0 transformers==5.23.0 safetensors==0.8.0 gguf==0.19.0 numpy==2.4.6
    python make-models.py [NAME ...]

Every model has its own seed: the CRC-32 of its name. Weights are drawn so wide that attention is far from uniform and
an ablated head moves the logits visibly. Logits are computed in float64 from the weights as stored (rounded to float16
or bfloat16 where the file is) and written with nine significant digits.
"""
import itertools
import json
import shutil
import sys
import zlib
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

import gguf_files
from oracle import Model

HERE = Path(__file__).resolve().parent
VOCAB = 64
# Shared prefixes, one whole prompt inside another, one single token.
PROMPTS = [[1, 17, 42, 5, 33, 60, 8, 21, 50, 3, 11, 29], [1, 17, 42, 5, 9, 2, 55], [1, 17, 42, 5], [7]]
PARTS = ["q", "k", "v", "qv", "qkv"]
OPERATIONS = [("scale", 1e-4), ("scale", 0.0), ("scale", 0.5), ("mean", None)]
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}  # one kept, one blended, the others stretched
LINEAR = {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0}


def shape(d=32, ffn=48, layers=3, heads=4, kv=4, tied=False, **more):
    return dict(vocab_size=VOCAB, hidden_size=d, intermediate_size=ffn, num_hidden_layers=layers,
                num_attention_heads=heads, num_key_value_heads=kv, max_position_embeddings=128, rms_norm_eps=1e-5,
                bos_token_id=1, eos_token_id=2, tie_word_embeddings=tied, **more)


# name -> (config, stored type, what else is special about the files)
#   old_rope  config.json as transformers 4 wrote it: rope_theta and rope_scaling instead of rope_parameters
#   drop      keys that old configurations do not have
#   add       keys set by hand in config.json
#   few       six ablations are enough: the model differs from another in its files only
#   gguf      also written as GGUF: "f32", "v2" (version 2 as well), "align64" (another alignment)
F32 = torch.float32
MODELS = {
    "llama-mha": (LlamaConfig(**shape()), F32, {"gguf": "f32"}),
    "llama-gqa": (LlamaConfig(**shape(heads=8, kv=2, head_dim=4)), F32, {"gguf": "v2"}),
    "mistral-swa": (MistralConfig(**shape(kv=2, sliding_window=4)), F32, {}),
    "mistral-full": (MistralConfig(**shape(kv=2, sliding_window=None)), F32, {"old_rope": True, "few": True}),
    "llama-tied": (LlamaConfig(**shape(kv=2, tied=True)), F32, {"old_rope": True, "gguf": "align64"}),
    "llama-headdim": (LlamaConfig(**shape(kv=2, head_dim=12)), F32, {"gguf": "f32"}),
    "llama-headdim-odd-count": (LlamaConfig(**shape(d=36, heads=3, kv=1, head_dim=10)), F32, {"gguf": "align64"}),
    "llama3-rope": (LlamaConfig(**shape(kv=2, head_dim=16, rope_parameters=LLAMA3)), F32, {"gguf": "f32"}),
    "llama3-rope-old": (LlamaConfig(**shape(kv=2, head_dim=16, rope_parameters=LLAMA3)), F32,
                        {"old_rope": True, "few": True}),
    "llama-rope-linear": (LlamaConfig(**shape(rope_parameters=LINEAR)), F32, {"old_rope": True, "gguf": "f32"}),
    "llama-rope-linear-new": (LlamaConfig(**shape(rope_parameters=LINEAR)), F32, {"few": True}),
    "llama-bias": (LlamaConfig(**shape(kv=2, attention_bias=True, mlp_bias=True)), F32, {"gguf": "f32"}),
    "llama-old-config": (LlamaConfig(**shape(layers=2)), F32, {
        "old_rope": True, "few": True,
        "drop": ["num_key_value_heads", "head_dim", "attention_bias", "mlp_bias", "rope_theta", "attention_dropout"]}),
    "qwen2": (Qwen2Config(**shape(kv=2)), F32,
              {"old_rope": True, "add": {"sliding_window": 4, "max_window_layers": 0}, "gguf": "f32"}),
    "qwen3": (Qwen3Config(**shape(kv=2, head_dim=16)), F32, {"gguf": "f32"}),
    "llama-sharded": (LlamaConfig(**shape(kv=2)), F32, {"few": True, "shard_size": "70KB"}),
    "llama-f16": (LlamaConfig(**shape(kv=2)), torch.float16, {"few": True}),
    "llama-bf16": (LlamaConfig(**shape(kv=2)), torch.bfloat16, {"few": True}),
}


def draw(model, name):
    """Wide random weights: scores of the order of one to two, and norms and biases that are not trivial."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    for key, weight in sorted(model.state_dict().items()):
        if key == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        values = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        if "norm" in key:
            values = 1 + 0.3 * values
        elif key.endswith(".bias"):
            values = 0.3 * values
        elif "embed" not in key:
            values = values * {"q_proj": 1.5, "k_proj": 1.5}.get(key.split(".")[-2], 1.2) / weight.shape[1] ** 0.5
        weight.copy_(values)


def old_rope_form(config):
    """The form of checkpoints saved before transformers 5: rope_theta beside rope_scaling."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    if kind == "default":
        config["rope_scaling"] = None
    else:
        config["rope_scaling"] = {"type": kind, **rope} if kind == "linear" else {**rope, "rope_type": kind}
    config["torch_dtype"] = config.pop("dtype")


def save(name, config, dtype, special):
    folder = HERE / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        draw(model, name)
    size = special.get("shard_size", "1GB")
    model.to(dtype).save_pretrained(folder, max_shard_size=size)
    (folder / "generation_config.json").unlink(missing_ok=True)
    path = folder / "config.json"
    stored = json.loads(path.read_text())
    if special.get("old_rope"):
        old_rope_form(stored)
    for key in special.get("drop", ()):
        stored.pop(key)
    stored.update(special.get("add", {}))
    path.write_text(json.dumps(stored, indent=1) + "\n")
    return folder


class Doubled:
    """Stands in for the name `torch` inside a modelling file, whose norms, softmax and RoPE insist on float32."""
    float32 = float = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def check_against_transformers(folder, oracle):
    """The oracle's plain pass equals transformers' to 1e-10 in float64, and to float32 rounding as it ships."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    modelling = sys.modules[type(model).__module__]
    with torch.no_grad():
        for prompt in PROMPTS:
            ours = oracle.logits(oracle.hidden(prompt))
            theirs = model(torch.tensor([prompt])).logits[0, -1].double()
            assert (ours - theirs).abs().max() < 2e-5 * ours.abs().max(), (folder, prompt)
        assert torch.allclose(model.model.rotary_emb.inv_freq.double(), oracle.frequency, rtol=1e-6, atol=0)
        model.double()
        model.model.rotary_emb.inv_freq = oracle.frequency
        modelling.torch = Doubled()
        try:
            worst = max((oracle.logits(oracle.hidden(p)) - model(torch.tensor([p])).logits[0, -1]).abs().max()
                        for p in PROMPTS)
            last = model.model(torch.tensor([PROMPTS[0]])).last_hidden_state[0, -1]
            assert (last - oracle.hidden(PROMPTS[0])).abs().max() < 1e-10
        finally:
            modelling.torch = torch
    assert worst < 1e-10, (folder, float(worst))
    return float(worst)


def edits(heads, kv_heads, part, operation):
    """`heads`: (layer, query head) pairs; their key heads are named apart, each once."""
    op, factor = operation
    result = []
    for p in part:
        group = heads[0][2] if p == "k" else 1
        for layer, head in dict.fromkeys((layer, head // group) for layer, head, _ in heads):
            edit = {"layer": layer, "head": head, "part": p, "op": op}
            result.append(edit if factor is None else {**edit, "factor": factor})
    return result


def head_sets(model):
    """For every case another head; two in one layer (of different groups if there are groups); one in every layer."""
    group = model.heads // model.kv_heads
    for turn in itertools.count():
        layer, head = turn % model.layers, (turn + turn // model.layers) % model.heads
        other = (head + max(1, model.heads // 2)) % model.heads
        yield ([(layer, head, group)],
               [(layer, head, group), (layer, other, group)],
               [(l, (head + l) % model.heads, group) for l in range(model.layers)])


def rounded(values):
    return [float(f"{v:.9g}") for v in values.tolist()]


def cases(model, few):
    """No edit, then every part with every operation on each set of heads; `few` stops after two pairs of those."""
    yield []
    pairs = list(itertools.product(PARTS, OPERATIONS))
    for (part, operation), sets in zip([pairs[0], pairs[-1]] if few else pairs, head_sets(model)):
        for heads in sets:
            yield edits(heads, model.kv_heads, part, operation)


def golden(model, few=False):
    plain = [model.logits(model.hidden(p)) for p in PROMPTS]
    result = []
    for case in cases(model, few):
        logits = [model.logits(model.hidden(p, case)) for p in PROMPTS]
        # No edit, or the mean over a single key head, changes nothing; everything else must be visible.
        if not all(e["part"] == "k" and e["op"] == "mean" and model.kv_heads == 1 for e in case):
            assert max((a - b).abs().max() for a, b in zip(logits, plain)) > 1e-3, case
        result.append({"edits": case, "logits": [rounded(x) for x in logits]})
    return {"prompts": PROMPTS, "hidden": [rounded(model.hidden(p)) for p in PROMPTS], "cases": result}


def write_golden(path, golden):
    """One case a line: small, and a difference between two versions can be read."""
    dump = lambda value: json.dumps(value, separators=(",", ":"))
    lines = ",\n".join(dump(case) for case in golden["cases"])
    prompts, hidden = dump(golden["prompts"]), dump(golden["hidden"])
    path.write_text(f'{{"prompts":{prompts},\n"hidden":{hidden},\n"cases":[\n{lines}\n]}}\n')


def check_gguf(path, oracle):
    """transformers dequantises and unpermutes the file itself and gives the same logits in float32.

    It ignores rope scaling in GGUF files (both the keys and rope_freqs), so its frequencies are set here; a file whose
    frequencies are wrong would still be seen, for they are read back from the file and compared.
    """
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=F32).eval()
    reader = gguf.GGUFReader(path)
    frequency = model.model.rotary_emb.inv_freq.double()
    for tensor in reader.tensors:
        if tensor.name == "rope_freqs.weight":
            frequency = frequency / torch.from_numpy(tensor.data.copy()).double()
    if "llama.rope.scaling.factor" in reader.fields:
        frequency = frequency / float(reader.fields["llama.rope.scaling.factor"].parts[-1][0])
    assert torch.allclose(frequency, oracle.frequency, rtol=1e-6, atol=0), path
    model.model.rotary_emb.inv_freq = frequency.float()
    with torch.no_grad():
        for prompt in PROMPTS:
            ours = oracle.logits(oracle.hidden(prompt))
            theirs = model(torch.tensor([prompt])).logits[0, -1].double()
            assert (ours - theirs).abs().max() < 2e-5 * ours.abs().max(), (path, prompt)


def write_gguf(folder, model, name, how):
    path = folder / "model-f32.gguf"
    gguf_files.write_f32(path, model, name, 64 if how == "align64" else None)
    # transformers ignores biases of a GGUF file of Llama and the head width of one of Qwen3; tests/interop has llama.cpp.
    if name not in ("llama-bias", "qwen3"):
        check_gguf(path, model)
    if how == "v2":
        gguf_files.write_version_2(folder / "model-f32-v2.gguf", path)


def make_quantised():
    """One GGUF model in which every type occurs, with golden logits from the values gguf.quants gives its blocks."""
    folder = HERE / "models" / "llama-quantised"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = LlamaConfig(**shape(d=256, ffn=256, layers=2, heads=4, kv=1)).to_dict()
    rng = np.random.default_rng(zlib.crc32(b"llama-quantised"))
    path = folder / "model-mixed.gguf"
    model = gguf_files.write_quantised(path, config, Model, gguf_files.TYPES, rng)
    check_gguf(path, model)
    write_golden(folder / "golden.json", golden(model, few=True))
    blocks = {}
    for kind in gguf_files.TYPES:
        raw, values = gguf_files.random_rows(kind, 1, 512, 0.5, rng)
        blocks[kind.name] = {"values": rounded(values[0]), "bytes": raw.tobytes().hex()}
    lines = ",\n".join(f'"{kind}":{json.dumps(block, separators=(",", ":"))}' for kind, block in blocks.items())
    (HERE / "quants.json").write_text("{\n" + lines + "\n}\n")
    print(f"llama-quantised: {len(blocks)} types")


def main(names):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    if not names or "llama-quantised" in names:
        make_quantised()
    for name in [n for n in names if n != "llama-quantised"] or ([] if names else MODELS):
        config, dtype, special = MODELS[name]
        folder = save(name, config, dtype, special)
        model = Model(folder)
        worst = check_against_transformers(folder, model)
        write_golden(folder / "golden.json", golden(model, special.get("few")))
        if "gguf" in special:
            write_gguf(folder, model, name, special["gguf"])
        print(f"{name}: oracle and transformers differ by {worst:.1e}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
