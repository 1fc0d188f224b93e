# SPDX-License-Identifier: Apache-2.0
"""What must stay byte for byte, read with the packages `safetensors` and `gguf` and not with our own readers."""
import json
import re
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open

PARTS = {"q": ("q_proj", "attn_q"), "k": ("k_proj", "attn_k"), "v": ("o_proj", "attn_output")}


def _shards(folder):
    return sorted(path.name for path in Path(folder).glob("*.safetensors"))


def _safetensors(folder):
    """name -> (shard, dtype, bytes), and the metadata of each shard, straight from the files."""
    tensors, metadata = {}, {}
    for shard in _shards(folder):
        raw = (folder / shard).read_bytes()
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:8 + size])
        metadata[shard] = header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            tensors[name] = (shard, entry["dtype"], raw[8 + size + begin:8 + size + end])
        with safe_open(folder / shard, "np") as opened:  # the package itself finds no fault with the file
            assert set(opened.keys()) == set(header)
    return tensors, metadata


def _gguf(path):
    """name -> (place in the directory, type, bytes), and key -> (types, bytes) of the metadata."""
    reader = gguf.GGUFReader(path)
    tensors = {t.name: (i, t.tensor_type.name, t.data.tobytes()) for i, t in enumerate(reader.tensors)}
    fields = {key: (field.types, [part.tobytes() for part in field.parts]) for key, field in reader.fields.items()
              if not key.startswith("GGUF.")}
    return reader, tensors, fields


def float32_copy(source, path):
    """The GGUF file with every tensor as float32, its metadata kept: nothing is left that a program could round."""
    _copy(source, path, True)


def with_tokenizer(source, path, write_tokenizer):
    """The GGUF file and a vocabulary, without which llama.cpp opens none."""
    _copy(source, path, False, write_tokenizer)


def _copy(source, path, widen, write_tokenizer=lambda writer, vocab: None):
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue  # the writer's own; what is no longer true
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], inner)
    if widen:
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    write_tokenizer(writer, next(int(t.shape[1]) for t in reader.tensors if t.name == "token_embd.weight"))
    for tensor in reader.tensors:
        if widen:
            writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _check_tensors(before, after, layers, parts, adapted):
    """The changed ones are those the edit speaks of: nothing more, nothing less."""
    assert list(before) == list(after)
    for name, (place, kind, data) in before.items():
        place_after, kind_after, data_after = after[name]
        assert place == place_after, name
        layer = re.search(r"\.(\d+)\.", name)
        words = {word for part in parts for word in PARTS[part] if part != "v" or not name.endswith(".bias")}
        edited = bool(layer) and int(layer[1]) in layers and not words.isdisjoint(name.split("."))
        same = kind == kind_after and data == data_after
        assert same != (edited or name in adapted), (name, "is as it was" if same else "has changed")
        if not same:
            assert kind_after in (kind, "F32", "F16"), (name, kind, kind_after)


def check_directory(before, after, layers, parts, adapted=frozenset()):
    (old, metadata), (new, metadata_after) = _safetensors(before), _safetensors(after)
    _check_tensors(old, new, layers, parts, adapted)
    assert metadata == metadata_after
    for path in before.iterdir():
        if path.suffix not in (".safetensors", ".gguf"):
            made = (after / path.name).read_bytes()
            assert path.name.endswith("index.json") or path.read_bytes() == made, path.name
    index = after / "model.safetensors.index.json"
    if index.exists():
        listed = json.loads(index.read_text())
        assert listed["weight_map"] == {name: shard for name, (shard, _, _) in new.items()}
        assert listed["metadata"]["total_size"] == sum(len(data) for _, _, data in new.values())
    assert json.loads((after / "sahara.json").read_text())["sahara"] == "ablate"


def check_gguf(before, after, layers, parts, adapted=frozenset()):
    (reader, old, fields), (reader_after, new, fields_after) = _gguf(before), _gguf(after)
    _check_tensors(old, new, layers, parts, adapted)
    kept = {key: value for key, value in fields_after.items() if key != "sahara.provenance"}
    assert list(kept) == list(fields) and kept == fields
    assert reader.alignment == reader_after.alignment
    for tensor in reader_after.tensors:
        assert tensor.data_offset % reader.alignment == 0, tensor.name
    record = json.loads(bytes(reader_after.fields["sahara.provenance"].parts[-1]).decode())
    assert record["sahara"] == "ablate"


def check(before, after, layers, parts, adapted=frozenset()):
    (check_gguf if Path(before).suffix == ".gguf" else check_directory)(Path(before), Path(after), layers, parts, adapted)


def check_rounding(before, after, config, heads, edit):
    """A 16-bit checkpoint holds the edited weights rounded to the nearest number of their type, computed here anew."""
    from safetensors.torch import load_file
    (part, op, scale), width = edit, config.hidden_size // config.num_attention_heads
    group = config.num_attention_heads // config.num_key_value_heads
    old, new = (load_file(Path(folder) / "model.safetensors") for folder in (before, after))
    for layer, head in (map(int, text.split("-")) for text in heads.split(",")):
        for one in part.split(","):
            name = f"model.layers.{layer}.self_attn.{PARTS[one][0]}.weight"
            by_head = old[name].double().T if one == "v" else old[name].double()
            by_head = by_head.reshape(-1, width, by_head.shape[1])
            at = head // group if one == "k" and part != "k" else head  # the key head that a query head reads
            want = by_head.mean(0) if op == "mean" else by_head[at] * np.float32(scale)
            have = new[name].T if one == "v" else new[name]
            have = have.reshape(by_head.shape)[at]
            if have.dtype == old[name].dtype:
                assert have.equal(want.float().to(have.dtype)), name
            else:
                assert have.equal(want.float()), name


def compare_merge(after, model):
    """The largest difference of our merged weights from PEFT's, relative to the tensor's largest."""
    from safetensors.torch import load_file
    ours, worst = {}, 0.0
    for shard in _shards(after):
        ours.update(load_file(Path(after) / shard))
    for name, theirs in model.state_dict().items():
        if name in ours:
            difference = np.abs(ours[name].double().numpy() - theirs.double().numpy()).max()
            worst = max(worst, difference / float(theirs.abs().max()))
    return worst
