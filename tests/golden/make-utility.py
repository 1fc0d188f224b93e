# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/utility/: two tiny random models with tokenizers, items, a text, and what the LM Evaluation Harness
says of them.

    pip install torch==2.13.0 transformers==5.23.0 lm_eval==0.4.13
    python make-utility.py

The harness runs its own multiple-choice and rolling log-likelihood tasks on its own Hugging Face model class, in float32.
`bytes` has a byte-level tokenizer that adds no BOS, `pieces` a SentencePiece one that does. Texts are scored without BOS
in front beyond the harness's prefix token (add_bos_token=False). Seeds: the CRC-32 of the names.
"""
import json
import os
import shutil
import tempfile
import zlib
from pathlib import Path

os.environ["HF_HOME"] = tempfile.mkdtemp()
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

import torch
from lm_eval import simple_evaluate
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "utility"
TOKENIZERS = {"bytes": "smollm2", "pieces": "llama2"}
WINDOW = 40  # positions of the models

ITEMS = [
    # (context, choices, label)
    ("The water is", [" cold", " a very long and winding answer", " no"], 0),
    ("Question: what can a bird do?\nAnswer:", [" fly", " read the newspaper", " swim under the ice", " sing"], 3),
    ("The blank at the end belongs to the choice: ", ["one", "two", "three"], 1),
    ("Several blanks and a line end \n  ", ["here", "there"], 1),
    ("No blank bet", ["ween the words", "ter", "on it"], 0),
    ("", ["The sun rises.", "It rains.", "Snow"], 2),
    ("Ein Umlaut zählt als zwei:", [" schön", " häßlich", " grün", " gut"], 2),
    ("ASCII and more:", [" 12345678", " 日本語", " naïve café", " 🙂"], 1),
    ("This context is longer than what the model can take, so that its beginning is cut off and only the last "
     "tokens of it and the choice remain, as many as there are positions, one two three four five six", [" seven",
     " eight nine ten eleven", " x"], 0),
    ("Same", [" same", " same", " other"], 1),
    ("Hello", [" world", "!", "?\n", "\n\nHello"], 3),
]
TEXT = ("The river begins in the hills, where it is narrow and cold.  It runs past three villages;\nin each there is a "
        "bridge, and on each bridge somebody fishes.\n\nZwölf Störche stehen im Wasser — they wait. \tAt night the "
        "river is quiet, and the bridges are empty. In the morning it begins again: the hills, the villages, the sea.\n")


def make_model(name):
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    source = HERE / "tokenizers" / TOKENIZERS[name]
    folder.mkdir(parents=True)
    vocabulary = json.loads((source / "tokenizer.json").read_text())
    size = 1 + max(max(vocabulary["model"]["vocab"].values()), *(t["id"] for t in vocabulary["added_tokens"]))
    config = LlamaConfig(vocab_size=size, hidden_size=24, intermediate_size=32, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=WINDOW,
                         rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True)
    model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    with torch.no_grad():
        for key, weight in sorted(model.named_parameters()):
            weight.copy_((1.0 if "norm" in key else 0.0) + 0.25 * torch.randn(weight.shape, generator=generator))
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    for file in ["tokenizer.json", "tokenizer_config.json"]:
        shutil.copy(source / file, folder)
    return folder


def task(name, rows, **settings):
    path = Path(os.environ["HF_HOME"]) / (name + ".jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ConfigurableTask(config={
        "task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(path)}}, "test_split": "test",
        **settings})


def evaluate(folder, items, text):
    # Built directly rather than through "model_args", so that the paths stay out of the results.
    choice = task("choice", items, output_type="multiple_choice", doc_to_text="{{context}}", doc_to_choice="choices",
                  doc_to_target="label", target_delimiter="",
                  metric_list=[{"metric": m, "aggregation": "mean", "higher_is_better": True}
                               for m in ["acc", "acc_norm", "acc_bytes"]])
    rolling = task("rolling", [{"page": text}], output_type="loglikelihood_rolling", doc_to_text="", doc_to_target="{{page}}",
                   metric_list=[{"metric": "word_perplexity"}, {"metric": "byte_perplexity"}, {"metric": "bits_per_byte"}])
    plain = dict(dtype="float32", device="cpu", batch_size=1)
    out = simple_evaluate(model=HFLM(str(folder), **plain), tasks=[choice], bootstrap_iters=0, log_samples=True)
    lm = HFLM(str(folder), add_bos_token=False, **plain)
    windows = simple_evaluate(model=lm, tasks=[rolling], bootstrap_iters=0, log_samples=True)
    samples = sorted(out["samples"]["choice"], key=lambda s: s["doc_id"])
    seen = [s["doc"]["context"] for s in samples]
    assert seen == [item["context"] for item in items], seen
    results, texts = out["results"]["choice"], windows["results"]["rolling"]
    total = windows["samples"]["rolling"][0]["filtered_resps"][0]
    total = total[0] if isinstance(total, (list, tuple)) else total
    tokens = lm.tok_encode(text)
    return {
        "acc": results["acc,none"], "acc_bytes": results["acc_bytes,none"], "acc_norm": results["acc_norm,none"],
        "loglikelihoods": [[r[0] for r in s["filtered_resps"]] for s in samples],
        "tokens": len(tokens), "loglikelihood": total,
        "word_perplexity": texts["word_perplexity,none"], "byte_perplexity": texts["byte_perplexity,none"],
        "bits_per_byte": texts["bits_per_byte,none"],
    }


if __name__ == "__main__":
    folders = {name: make_model(name) for name in TOKENIZERS}
    items = [{"context": c, "choices": choices, "label": label} for c, choices, label in ITEMS]
    (FOLDER / "items.jsonl").write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items))
    (FOLDER / "text.txt").write_text(TEXT)
    golden = {name: evaluate(folder, items, TEXT) for name, folder in folders.items()}
    (FOLDER / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(json.dumps(golden, indent=1))
