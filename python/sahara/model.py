# SPDX-License-Identifier: Apache-2.0
"""A model, and what can be asked of it."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, Optional, Sequence, Union

import numpy as np

from ._library import BadArgument, Keep, Progress, Run, Texts, call, ffi, free, lib, string, take_text, template_of
from .interchange import Lists, MeanData, Operation, Swap, op_of
from .results import Direction, Find, Head, Judgement, Responses, Result, Ships, head_name, parse_head

Heads = Union[str, Sequence[Union[Head, str]]]
"""Heads: "5-6,18-8", or a list of (layer, head) and "layer-head"."""
Prompts = Union[str, Sequence[int], Sequence[Union[str, Sequence[int], np.ndarray]]]
"""Prompts as they are (no template): a text or token ids, or a list of such."""
Queries = Sequence[Union[str, Sequence[int]]]
"""Queries: texts, which go into a template, or prompts as token ids, which are taken as they are."""
Path = Union[str, "os.PathLike[str]"]

_PARTS = {"q": 1, "k": 2, "v": 4}
_VARIANTS = ["subspace", "spectral", "right"]


class HiddenStates(NamedTuple):
    """Hidden states of prompts' last tokens.

    residual  float32 [prompts, layers + 1, d_model]: row 0 enters the first layer, row l + 1 leaves layer l
    final     float32 [prompts, d_model]: behind the final norm, what the LM head reads
    """

    residual: np.ndarray
    final: np.ndarray


def _at_least(least: int, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < least:
            raise BadArgument("%s %d: at least %d" % (name, value, least))


def _ablation(part: str, op: Operation, scale: float) -> Any:
    parts = 0
    for letter in part.split(","):
        if letter not in _PARTS or parts & _PARTS[letter]:
            raise BadArgument('part "%s": write q, k, v or several with commas between: q,v' % part)
        parts |= _PARTS[letter]
    out = ffi.new("sah_ablation *")
    out.parts, out.op, out.factor = parts, op_of(op), scale
    return out


def open(path: Path, *, precision: str = "f32", threads: int = 0, adapter: Optional[Path] = None, generates: bool = False,
         device: str = "cpu", describe_only: bool = False, template_vars: Optional[dict[str, Any]] = None,
         template_date: Optional[str] = None, progress: "bool | Progress | None" = None) -> "Model":
    """Opens a Hugging Face directory or a .gguf file.

    precision      f32, bf16 or auto
    threads        0: as many as the machine offers
    adapter        directory of a LoRA adapter in PEFT's layout, merged while loading
    generates      faster decoding on processors with AMX; leave it off for scores
    device         cpu, cuda (an NVIDIA card) or auto; info["device"] and info["device_note"] say what computes
    describe_only  no weights: `info`, tokens and prompts alone
    template_vars  variables of the chat template, as {"enable_thinking": False}
    progress       True: tqdm; or a function progress(what, done, total)
    """
    import json

    precisions = ["f32", "bf16", "auto"]
    if precision not in precisions:
        raise BadArgument("precision %r: one of %s" % (precision, ", ".join(precisions)))
    devices = ["cpu", "cuda", "auto"]
    if device not in devices:
        raise BadArgument("device %r: one of %s" % (device, ", ".join(devices)))
    _at_least(0, threads=threads)
    keep, run = Keep(), Run(progress)
    options = ffi.new("sah_model_options *")
    options.precision, options.device = precisions.index(precision), devices.index(device)
    options.threads, options.generates, options.describe_only = threads, generates, describe_only
    options.adapter = keep.path(adapter)
    variables = [keep.text("%s=%s" % (name, json.dumps(value))) for name, value in (template_vars or {}).items()]
    options.template_vars = keep.keep(ffi.new("char *[]", variables)) if variables else ffi.NULL
    options.n_template_vars = len(variables)
    options.template_date = keep.text(template_date)
    options.progress = run.progress_fn
    out = ffi.new("sah_model **")
    run(lib.sah_model_open, keep.path(path), options, out)
    return Model(ffi.gc(out[0], lib.sah_model_close))


class Model:
    """An open model; `info` says what it is. Read-only: several threads may use one. Where a method takes `ablate`, heads
    are ablated as `part` (q, k, v, q,v ...), `op` (scale, mean, a Swap or a MeanData) and `scale` say. Methods that run long take `path`, a result
    file that an interrupted run carries on from; on Ctrl-C they raise Interrupted, which holds what was finished."""

    def __init__(self, handle: Any):
        self._model = handle
        about = lib.sah_model_describe(handle)
        self.info: dict[str, Any] = {}
        for name, field in ffi.typeof("sah_model_info").fields:
            value = getattr(about, name)
            self.info[name] = string(value) if field.type.kind == "array" else value

    def __repr__(self) -> str:
        i = self.info
        return "<sahara.Model %s: %s, %d layers of %d heads>" % (i["name"], i["family"], i["n_layers"], i["n_heads"])

    # ---- Tokens and prompts

    def encode(self, text: str) -> np.ndarray:
        """Text to token ids, int32 [n], special tokens recognised, BOS in front where the model asks for it."""
        data = text.encode("utf-8")
        ids, n = ffi.new("int32_t **"), ffi.new("size_t *")
        call(lib.sah_encode, self._model, data, len(data), ids, n)
        return self._ids(ids[0], n[0])

    def decode(self, ids: Sequence[int], skip_special: bool = False) -> str:
        """Token ids to text."""
        array = np.ascontiguousarray(ids, dtype=np.int32)
        out = ffi.new("char **")
        call(lib.sah_decode, self._model, ffi.from_buffer("int32_t[]", array), len(array), skip_special, out)
        return take_text(out[0])

    def prompt(self, query: str, template: str = "chat", system: Optional[str] = None) -> str:
        """A query wrapped in a template: ships, sahara, none, chat, a chat family's name, or a string with {} in it."""
        keep, out = Keep(), ffi.new("char **")
        call(lib.sah_prompt_wrap, self._model, keep.text(template), keep.text(system), keep.text(query), out)
        return take_text(out[0])

    def prompt_ids(self, query: str, template: str = "chat", system: Optional[str] = None) -> np.ndarray:
        """The token ids of prompt(), int32 [n]."""
        keep, ids, n = Keep(), ffi.new("int32_t **"), ffi.new("size_t *")
        text = keep.text(self.prompt(query, template, system))
        call(lib.sah_prompt_encode, self._model, keep.text(template), text, ids, n)
        return self._ids(ids[0], n[0])

    @staticmethod
    def _ids(pointer: Any, n: int) -> np.ndarray:
        try:
            return np.frombuffer(ffi.buffer(pointer, 4 * n), dtype=np.int32).copy() if n else np.zeros(0, np.int32)
        finally:
            free(pointer)

    # ---- Passes

    def logits(self, prompts: Prompts, *, ablate: Optional[Heads] = None, part: str = "q", op: Operation = "scale",
               scale: float = 1e-4) -> np.ndarray:
        """Next-token logits, float32 [prompts, n_vocab]; [n_vocab] of a single prompt. Beginnings that prompts share are
        computed once (but not with a Swap or a MeanData). What these put in is prompts as they are, too."""
        keep, tokens, n, single = self._tokens(prompts)
        edits, n_edits = self._edits(keep, ablate, part, op, scale)
        out = np.empty((n, self.info["n_vocab"]), dtype=np.float32)
        if n_edits > 0 and isinstance(op, (Swap, MeanData)):
            self._interchanged(tokens, n, edits, n_edits, op, out)
        else:
            call(lib.sah_logits_batch, self._model, tokens, n, edits, n_edits, ffi.from_buffer("float[]", out))
        return out[0] if single else out

    def _interchanged(self, tokens: Any, n: int, edits: Any, n_edits: int, op: "Swap | MeanData", out: np.ndarray) -> None:
        swap = isinstance(op, Swap)
        if swap and (op.match is not None or op.contrast is not None or op.direction != "necessity"):
            raise BadArgument("logits: a Swap of partners alone, one for each prompt")
        keep, prompts, n_prompts, _ = self._tokens(op.partners if swap else op.reference)
        if swap and n_prompts != n:
            raise BadArgument("%d partners for %d prompts" % (n_prompts, n))
        for i in range(n):
            donors = ffi.new("sah_donor_prompts *")
            donors.prompts, donors.n = (prompts + i, 1) if swap else (prompts, n_prompts)
            donors.all_positions = not swap and op.positions == "all"
            call(lib.sah_logits_interchanged, self._model, tokens[i].ids, tokens[i].n, edits, n_edits, donors,
                 ffi.from_buffer("float[]", out[i]))

    def hidden_states(self, prompts: Prompts, *, ablate: Optional[Heads] = None, part: str = "q", op: str = "scale",
                      scale: float = 1e-4) -> HiddenStates:
        """Hidden states of each prompt's last token (HiddenStates); of a single prompt without the first axis. `op`: scale or mean."""
        if not isinstance(op, str):
            raise BadArgument("hidden_states: op scale or mean")
        keep, tokens, n, single = self._tokens(prompts)
        edits, n_edits = self._edits(keep, ablate, part, op, scale)
        residual = np.empty((n, self.info["n_layers"] + 1, self.info["d_model"]), dtype=np.float32)
        final = np.empty((n, self.info["d_model"]), dtype=np.float32)
        call(lib.sah_hidden_states, self._model, tokens, n, edits, n_edits, ffi.from_buffer("float[]", residual),
             ffi.from_buffer("float[]", final))
        return HiddenStates(residual[0], final[0]) if single else HiddenStates(residual, final)

    def _tokens(self, prompts: Prompts) -> "tuple[Keep, Any, int, bool]":
        single = isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], (int, np.integer)))
        keep, arrays = Keep(), []
        for prompt in [prompts] if single else prompts:
            ids = self.encode(prompt) if isinstance(prompt, str) else np.ascontiguousarray(prompt, dtype=np.int32)
            if ids.ndim != 1 or len(ids) == 0:
                raise BadArgument("prompt %d holds no token" % len(arrays))
            arrays.append(keep.keep(ids))
        structs = keep.keep(ffi.new("sah_tokens[]", max(1, len(arrays))))
        for struct, ids in zip(structs, arrays):
            struct.ids, struct.n = keep.keep(ffi.from_buffer("int32_t[]", ids)), len(ids)
        return keep, structs, len(arrays), single

    def _heads(self, heads: Optional[Heads], part: str) -> "list[Head]":
        """Checked against the model by the library."""
        if heads is None:
            return []
        if not isinstance(heads, str):
            heads = ",".join(h if isinstance(h, str) else head_name((int(h[0]), int(h[1]))) for h in heads)
        keep, out, n = Keep(), ffi.new("sah_head **"), ffi.new("size_t *")
        call(lib.sah_heads_parse, keep.text(heads), lib.sah_model_describe(self._model), _ablation(part, "scale", 0).parts, out, n)
        try:
            return [(out[0][i].layer, out[0][i].head) for i in range(n[0])]
        finally:
            free(out[0])

    def _edits(self, keep: Keep, heads: Optional[Heads], part: str, op: Operation, scale: float) -> "tuple[Any, int]":
        listed = self._heads(heads, part)
        if not listed:
            return ffi.NULL, 0
        edits, n = ffi.new("sah_edit **"), ffi.new("size_t *")
        call(lib.sah_edits_new, lib.sah_model_describe(self._model), ffi.new("sah_head[]", listed), len(listed),
             _ablation(part, op, scale), edits, n)
        return keep.keep(ffi.gc(edits[0], free)), n[0]

    # ---- Runs

    def _run_options(self, keep: Keep, run: Run, lists: Lists, system: Optional[str], layers: "tuple[int, int] | None",
                     heads: "tuple[int, int] | None", part: str, op: Operation, scale: float, memory: int) -> Any:
        _at_least(0, memory=memory)
        options = ffi.new("sah_run_options *")
        options[0] = lib.sah_run_options_default()
        options.ablation = _ablation(part, op, scale)[0]
        lists.fill(options)
        if layers is not None:
            options.layer_from, options.layer_to = layers
        if heads is not None:
            options.head_from, options.head_to = heads
        options.template_, options.system, options.memory = keep.text(lists.template), keep.text(system), memory
        options.progress, options.line = run.progress_fn, run.line_fn
        return options

    def ships(self, queries: Queries, contrast: Optional[Queries] = None, *, path: Optional[Path] = None,
              template: Optional[str] = None, system: Optional[str] = None, layers: "tuple[int, int] | None" = None,
              heads: "tuple[int, int] | None" = None, part: str = "q", op: Operation = "scale", scale: float = 1e-4,
              opening: int = 8, opening_kl: bool = False, screen: int = 0, memory: int = 0,
              progress: "bool | Progress | None" = None) -> Ships:
        """Ships of every head for every query: KL(p || p_h) in nats. `contrast`, harmless queries, gives verdicts: without
        them a general-purpose head looks like a safety head.

        template   default: ships, the paper's bare one; "chat" is the model's own
        layers, heads   ranges (from, to), the end excluded
        opening    tokens of the model's own answer for the signed effect; 0 leaves it out
        screen     only so many highest heads, exactly, by a race; 0: all heads
        memory     bytes for rows beside the weights; 0: a default
        """
        _at_least(0, opening=opening, screen=screen)
        keep, run = Keep(), Run(progress)
        lists = Lists(self._model, op, Texts(queries), Texts(contrast) if contrast is not None else None, template, system, "ships")
        texts, other = lists.queries.struct, lists.contrast.struct if lists.contrast is not None else ffi.NULL
        options = self._run_options(keep, run, lists, system, layers, heads, part, op, scale, memory)
        openings = None
        if opening > 0:
            how = ffi.new("sah_openings_options *")
            how.template_, how.system, how.length = options.template_, options.system, opening
            how.progress = run.progress_fn
            how.refusing = lists.refusing.struct if lists.refusing is not None else ffi.NULL
            openings = ffi.gc(ffi.new("sah_openings *"), lib.sah_openings_free)
            run(lib.sah_openings_new, self._model, texts, other, how, openings)
            options.openings, options.opening_kl = openings, opening_kl
        made = lambda: Ships(run.lines)  # noqa: E731
        if screen > 0:
            run(lib.sah_ships_screen, self._model, texts, other, options, screen, keep.path(path), result=made)
        else:
            run(lib.sah_ships, self._model, texts, other, options, keep.path(path), result=made)
        return made()

    def find(self, queries: Queries, contrast: Optional[Queries] = None, *, steps: int = 1, rank: int = 1,
             variant: str = "subspace", start: Optional[Heads] = None, shortlist: int = 0, random_groups: int = 19, seed: int = 0,
             path: Optional[Path] = None, template: Optional[str] = None, system: Optional[str] = None,
             layers: "tuple[int, int] | None" = None, heads: "tuple[int, int] | None" = None, part: str = "q", op: Operation = "scale",
             scale: float = 1e-4, memory: int = 0, progress: "bool | Progress | None" = None) -> Find:
        """Generalized Ships (one step) and Sahara (more): the heads whose ablation turns the representation of the queries
        most, shifts in degrees. `variant`: subspace, spectral or right (docs/method.md)."""
        if variant not in _VARIANTS:
            raise BadArgument("variant %r: one of %s" % (variant, ", ".join(_VARIANTS)))
        _at_least(1, steps=steps, rank=rank)
        _at_least(0, shortlist=shortlist, random_groups=random_groups)
        keep, run = Keep(), Run(progress)
        lists = Lists(self._model, op, Texts(queries), Texts(contrast) if contrast is not None else None, template, system, "sahara")
        options = self._run_options(keep, run, lists, system, layers, heads, part, op, scale, memory)
        how = ffi.new("sah_find_options *")
        how[0] = lib.sah_find_options_default()
        how.steps, how.rank, how.variant = steps, rank, _VARIANTS.index(variant)
        how.start = keep.text(",".join(map(head_name, self._heads(start, part))) or None)
        how.shortlist, how.random_groups, how.seed = shortlist, random_groups, seed
        made = lambda: Find(run.lines)  # noqa: E731
        run(lib.sah_find, self._model, lists.queries.struct, lists.contrast.struct if lists.contrast is not None else ffi.NULL, options,
            how, keep.path(path), result=made)
        return made()

    def direction(self, harmful: Queries, harmless: Queries, *, layer: Optional[int] = None, path: Optional[Path] = None,
                  template: Optional[str] = None, system: Optional[str] = None) -> Direction:
        """The refusal direction and each head's part in it, from one forward pass. `layer`: every head is projected on the
        direction behind that layer; None: behind its own. `template`: the model's own where it has one, else ships."""
        keep, run = Keep(), Run(None)
        directions = np.empty((self.info["n_layers"] + 1, self.info["d_model"]), dtype=np.float64)
        options = ffi.new("sah_direction_options *")
        options[0] = lib.sah_direction_options_default()
        if layer is not None:
            options.layer = layer
        bad, good = Texts(harmful), Texts(harmless)
        options.template_, options.system = keep.text(template_of(template, bad, good)), keep.text(system)
        options.directions = keep.keep(ffi.from_buffer("double[]", directions))
        options.line = run.line_fn
        run(lib.sah_direction, self._model, bad.struct, good.struct, options, keep.path(path))
        return Direction(run.lines, directions)

    def generate(self, queries: Queries, *, ablate: Optional[Heads] = None, curve: bool = False,
                 random_seed: Optional[int] = None, max_new_tokens: int = 128, temperature: float = 0.0, top_k: int = 0,
                 top_p: float = 1.0, seed: int = 0, path: Optional[Path] = None, template: Optional[str] = None,
                 system: Optional[str] = None, part: str = "q", op: Operation = "scale", scale: float = 1e-4, memory: int = 0,
                 progress: "bool | Progress | None" = None) -> Responses:
        """Responses to all queries, decoded together; greedy unless `temperature` is above 0. `template`: the model's own
        where it has one, else none. `curve`: with none of the heads of `ablate`, the first, the first two, ...;
        `random_seed` adds as many random heads beside each."""
        _at_least(1, max_new_tokens=max_new_tokens)
        _at_least(0, top_k=top_k, memory=memory)
        keep, run = Keep(), Run(progress)
        options = ffi.new("sah_generate_options *")
        options[0] = lib.sah_generate_options_default()
        listed = self._heads(ablate, part)
        usual = "chat" if self.info["chat_template"] != "none" else "none"
        lists = Lists(self._model, op, Texts(queries), None, template, system, usual)
        options.template_, options.system = keep.text(lists.template), keep.text(system)
        options.max_new_tokens, options.temperature = max_new_tokens, temperature
        options.top_k, options.top_p, options.seed, options.memory = top_k, top_p, seed, memory
        options.ablation = _ablation(part, op, scale)[0]
        lists.fill(options)
        options.heads = keep.keep(ffi.new("sah_head[]", listed)) if listed else ffi.NULL
        options.n_heads, options.curve = len(listed), curve
        if random_seed is not None:
            options.random, options.random_seed = True, random_seed
        options.progress, options.line = run.progress_fn, run.line_fn
        made = lambda: Responses(run.lines)  # noqa: E731
        run(lib.sah_generate, self._model, lists.queries.struct, options, keep.path(path), result=made)
        return made()

    def judge(self, queries: Queries, *, rule: str = "default", **how: Any) -> Judgement:
        """Responds to the queries, as generate() with `how`, and judges the responses."""
        return self.generate(queries, **how).judge(rule)
