# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/tokenizers/: small tokenizers built exactly as the real families build theirs, and their ids.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3 gguf==0.19.0 numpy==2.4.6
    python make-tokenizers.py [SMOLLM2.gguf]

Training is deterministic: the text is tokenizer-text.txt, and neither trainer draws random numbers. With the GGUF file
of SmolLM2-135M-Instruct as argument it also makes smollm2-real.json. The texts are in texts.py (seeded).
"""
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

import gguf
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from texts import texts

HERE = Path(__file__).resolve().parent
OUT = HERE / "tokenizers"
TEXT = HERE / "tokenizer-text.txt"
LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
MERGES = 400  # of the byte-level vocabularies, beyond the 256 bytes


def special(*contents):
    return [AddedToken(c, special=True, normalized=False) for c in contents]


def byte_level(pre_tokenizer, normalizer=None):
    """A byte-level BPE trained on the text; special tokens are added by the caller, after or before the others."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    return tokenizer


def train(tokenizer, first=()):
    trainer = trainers.BpeTrainer(vocab_size=len(first) + 256 + MERGES, special_tokens=list(first), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train([str(TEXT)], trainer)
    return tokenizer


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def smollm2_structure():
    return byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]))


def smollm2():
    return train(smollm2_structure(), special("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<file_sep>"))


def llama3():
    tokenizer = train(byte_level(split(LLAMA3_SPLIT)))
    stored = json.loads(tokenizer.to_str())
    model = stored["model"]
    model["ignore_merges"] = True
    # Words in the vocabulary that no merge reaches: whole pieces are looked up before any merging.
    for word in ("Ġindented", "trailing", "abc"):
        assert word not in model["vocab"]
        model["vocab"][word] = len(model["vocab"])
    tokenizer = Tokenizer.from_str(json.dumps(stored))
    tokenizer.add_special_tokens(special("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                                         "<|eot_id|>"))
    bos = "<|begin_of_text|>"
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1",
                                      special_tokens=[(bos, tokenizer.token_to_id(bos))])])
    return tokenizer


def qwen2():
    tokenizer = train(byte_level(split(QWEN2_SPLIT), normalizers.NFC()))
    tokenizer.add_special_tokens(special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def sentencepiece_model():
    """The vocabulary of the Llama 2 family: a SentencePiece BPE with its options, as (piece, score) pairs."""
    with tempfile.TemporaryDirectory() as folder:
        prefix = str(Path(folder) / "spm")
        sentencepiece.SentencePieceTrainer.train(
            input=str(TEXT), model_prefix=prefix, model_type="bpe", vocab_size=900, character_coverage=0.995,
            byte_fallback=True, split_digits=True, allow_whitespace_only_pieces=True, remove_extra_whitespaces=False,
            normalization_rule_name="identity", add_dummy_prefix=True, num_threads=1, minloglevel=2)
        return sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")


def merges_of(pieces):
    """Every pair of pieces that makes a third, best score first: the merges a converted SentencePiece model has."""
    ids = {piece: i for i, (piece, _) in enumerate(pieces)}
    merges = []
    for piece, score in pieces[259:]:
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                merges.append((score, len(left), len(right), ids[left], ids[right], (left, right)))
    merges.sort(key=lambda m: (-m[0], -m[1], -m[2]))
    return [m[-1] for m in merges]


def llama2(pieces, scheme="legacy"):
    vocab = {piece: i for i, (piece, _) in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges_of(pieces), unk_token="<unk>", fuse_unk=True,
                                     byte_fallback=True))
    if scheme == "legacy":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(special("<unk>", "<s>", "</s>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1",
                                                             special_tokens=[("<s>", 1)])
    return tokenizer


def vicuna(pieces):
    """Llama 2 with tokens added behind the vocabulary: special, not special, eating blanks on the left or on the right."""
    tokenizer = llama2(pieces)
    tokenizer.add_special_tokens(special("<pad>"))
    tokenizer.add_tokens([AddedToken("<sep>", normalized=False), AddedToken("<left>", lstrip=True, normalized=False),
                          AddedToken("<right>", rstrip=True, normalized=False)])
    return tokenizer


def added_flags(pieces):
    """The rarer flags: `normalized` (matched in, and as, normalised text) and `single_word`, also of special tokens."""
    tokenizer = vicuna(pieces)
    tokenizer.add_tokens([AddedToken("<norm>", normalized=True), AddedToken("two words", normalized=True),
                          AddedToken("<word>", single_word=True, normalized=False)])
    return tokenizer


def golden(tokenizer):
    rows = []
    for text in texts():
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        rows.append({"text": text, "ids": tokenizer.encode(text).ids, "ids_plain": plain,
                     "decoded": tokenizer.decode(plain, skip_special_tokens=False),
                     "decoded_skip": tokenizer.decode(plain, skip_special_tokens=True)})
    return rows


def golden_decoding(tokenizer, count=60):
    """Random ids, so that broken UTF-8, runs of byte tokens and special tokens in any place are decoded too."""
    rng = random.Random(7)
    rows = []
    for _ in range(count):
        ids = [rng.randrange(tokenizer.get_vocab_size()) if rng.random() < 0.5 else rng.randrange(300)
               for _ in range(rng.randint(1, 12))]
        rows.append({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                     "decoded_skip": tokenizer.decode(ids, skip_special_tokens=True)})
    return rows


def write_rows(path, rows):
    text = ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in rows)
    path.write_text(f"[\n{text}\n]\n", encoding="utf-8")


def template(name):
    """The one of that name in templates.txt ("chatml-smollm2" and the like are written with other names there)."""
    name = {"chatml-smollm2": "smollm2", "llama-2": "llama2", "llama-3": "llama3"}.get(name, name)
    sections = (HERE / "templates.txt").read_bytes().decode().removesuffix("\n").split("\n===== ")
    return next(s.split("\n-----\n", 1)[1] for s in sections if s.split("\n", 1)[0] == name)


def old_merges(path):
    """Checkpoints saved before tokenizers 0.20 write a merge as one string, "a b"; the result loads the same."""
    stored = json.loads(path.read_text("utf-8"))
    stored["model"]["merges"] = [" ".join(pair) for pair in stored["model"]["merges"]]
    path.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", "utf-8")


def save(name, tokenizer, bos, eos, unk, chat, old=False, apart=False, **more):
    """`old`: merges and special tokens in the older form; `apart`: the chat template in a file of its own."""
    folder = OUT / name
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    if old:
        old_merges(folder / "tokenizer.json")
        bos = {"__type": "AddedToken", "content": bos, "lstrip": False, "normalized": False, "rstrip": False,
               "single_word": False}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos, "unk_token": unk,
              "clean_up_tokenization_spaces": False, "model_max_length": 8192, **more}
    if apart:
        (folder / "chat_template.jinja").write_text(template(chat), "utf-8")
    else:
        config["chat_template"] = template(chat)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", "utf-8")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = golden(tokenizer)
    write_rows(folder / "golden.json", rows)
    write_rows(folder / "decode.json", golden_decoding(tokenizer))
    print(f"{name}: {tokenizer.get_vocab_size()} tokens, {len(rows)} texts")


def gguf_writer(name, kind, pre, bos, eos, chat):
    writer = gguf.GGUFWriter(OUT / name / "tokenizer.gguf", "llama")
    writer.add_name(name)
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    if bos is not None:
        writer.add_bos_token_id(bos)
    writer.add_eos_token_id(eos)
    writer.add_chat_template(template(chat))
    return writer


def close(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def save_gguf_bpe(name, tokenizer, pre, bos, eos, chat, add_bos):
    """tokenizer.ggml.model "gpt2": tokens in byte-level letters, merges in rank order."""
    model = json.loads(tokenizer.to_str())["model"]
    added = tokenizer.get_added_tokens_decoder()
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    kinds = [gguf.TokenType.CONTROL if i in added else gguf.TokenType.NORMAL for i in range(len(tokens))]
    writer = gguf_writer(name, "gpt2", pre, tokenizer.token_to_id(bos) if bos else None, tokenizer.token_to_id(eos), chat)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_add_bos_token(add_bos)
    if pre == "smollm":
        writer.add_add_space_prefix(False)
    close(writer)


def save_gguf_spm(name, tokenizer, pieces, chat):
    """tokenizer.ggml.model "llama": SentencePiece's pieces with scores and types; added tokens have a low score."""
    added = tokenizer.get_added_tokens_decoder()
    tokens, scores, kinds = [], [], []
    for i in range(tokenizer.get_vocab_size()):
        piece = tokenizer.id_to_token(i)
        tokens.append(piece.encode())
        scores.append(pieces[i][1] if i < len(pieces) else -1000.0)
        kinds.append(gguf.TokenType.UNKNOWN if i == 0 else gguf.TokenType.BYTE if 3 <= i < 259 else
                     gguf.TokenType.NORMAL if i not in added else
                     gguf.TokenType.CONTROL if added[i].special else gguf.TokenType.USER_DEFINED)
    writer = gguf_writer(name, "llama", "default", 1, 2, chat)
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)
    close(writer)


def check_against_sentencepiece(tokenizer, processor):
    """Merging by rank (tokenizer.json) and by score (GGUF) give one result on every text without special tokens."""
    added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    plain = [t for t in texts() if "\x00" not in t and not any(a in t for a in added)]
    for text in plain:
        assert tokenizer.encode(text, add_special_tokens=False).ids == processor.encode(text), text
    print(f"llama2: {len(plain)} texts as sentencepiece has them")


def smollm2_real(path):
    """The real vocabulary, taken from the GGUF file and put into the structure of the model's own tokenizer.json."""
    fields = gguf.GGUFReader(path).fields
    tokens, kinds, merges = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges"))
    tokenizer = smollm2_structure()
    tokenizer.model = models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in merges])
    control = special(*(t for t, kind in zip(tokens, kinds) if kind == gguf.TokenType.CONTROL))
    tokenizer.add_special_tokens(control)
    assert len(control) == 17 and tokenizer.get_vocab_size() == len(tokens)
    rows = [{"text": text, "ids": tokenizer.encode(text).ids} for text in texts()]
    write_rows(OUT / "smollm2-real.json", rows)
    print(f"smollm2-real: {len(tokens)} tokens, {len(rows)} texts")


def main(arguments):
    for name in ("smollm2", "llama3", "qwen2", "llama2", "llama2-metaspace", "vicuna", "added-flags"):
        shutil.rmtree(OUT / name, ignore_errors=True)
    small = smollm2()
    save("smollm2", small, "<|im_start|>", "<|im_end|>", "<|endoftext|>", "chatml-smollm2", old=True,
         add_prefix_space=False)
    save_gguf_bpe("smollm2", small, "smollm", "<|im_start|>", "<|im_end|>", "chatml-smollm2", False)
    third = llama3()
    save("llama3", third, "<|begin_of_text|>", "<|eot_id|>", None, "llama-3")
    save_gguf_bpe("llama3", third, "llama-bpe", "<|begin_of_text|>", "<|eot_id|>", "llama-3", True)
    qwen = qwen2()
    save("qwen2", qwen, None, "<|im_end|>", None, "qwen2", apart=True, add_bos_token=False)
    save_gguf_bpe("qwen2", qwen, "qwen2", None, "<|im_end|>", "qwen2", False)

    processor = sentencepiece_model()
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.get_piece_size())]
    legacy = llama2(pieces)
    check_against_sentencepiece(legacy, processor)
    save("llama2", legacy, "<s>", "</s>", "<unk>", "llama-2", old=True, add_bos_token=True, add_eos_token=False,
         legacy=True)
    save_gguf_spm("llama2", legacy, pieces, "llama-2")
    save("llama2-metaspace", llama2(pieces, "first"), "<s>", "</s>", "<unk>", "mistral-v0.1", add_bos_token=True,
         add_eos_token=False, legacy=False)
    fitted = vicuna(pieces)
    save("vicuna", fitted, "<s>", "</s>", "<unk>", "vicuna", add_bos_token=True, add_eos_token=False)
    save_gguf_spm("vicuna", fitted, pieces, "vicuna")
    save("added-flags", added_flags(pieces), "<s>", "</s>", "<unk>", "vicuna", add_bos_token=True, add_eos_token=False)
    if arguments:
        smollm2_real(arguments[0])


if __name__ == "__main__":
    main(sys.argv[1:])
