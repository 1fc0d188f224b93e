# SPDX-License-Identifier: Apache-2.0
"""Results: what a run found, read from its lines, in memory or from a file."""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any, Iterable, Iterator, NamedTuple, Optional, Sequence, Union

import numpy as np

from ._library import BadArgument, Error, call, ffi, free, lib, string, take_text

if TYPE_CHECKING:
    import pandas

Head = tuple[int, int]
"""(layer, head), both from 0."""


def head_name(head: Head) -> str:
    """(5, 6) to "5-6"."""
    return "%d-%d" % head


def parse_head(name: str) -> Head:
    """"5-6" to (5, 6)."""
    try:
        layer, head = name.split("-")
        return int(layer), int(head)
    except ValueError:
        raise BadArgument('"%s" is no head: write layer-head, as 5-6' % name) from None


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError("frames need pandas: pip install pandas (or apt install python3-pandas)") from error
    return pandas


class Result:
    """What every result has.

    header    the first line of the file (docs/files.md): model, settings, queries, ...
    lines     every line as JSON text, the header first
    queries   the queries, list of str
    contrast  the contrast queries (of direction: the harmless ones), list of str
    """

    def __init__(self, lines: Sequence[str]):
        self.lines = list(lines)
        self.header: dict[str, Any] = json.loads(self.lines[0])
        self.queries: list[str] = self.header.get("queries", [])
        self.contrast: list[str] = self.header.get("contrast_queries", [])

    @property
    def command(self) -> str:
        return self.header["sahara"]

    def records(self) -> Iterator[dict[str, Any]]:
        """The lines behind the header, as dictionaries."""
        return (json.loads(line) for line in self.lines[1:])

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Writes the result as a file that `sahara rank` and its like read."""
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in self.lines)


class _Scored(Result):
    """A result that scores heads."""

    def __init__(self, lines: Sequence[str]):
        super().__init__(lines)
        text = "".join(line + "\n" for line in self.lines).encode("utf-8")
        out = ffi.new("sah_result **")
        call(lib.sah_result_parse, text, len(text), out)
        self._result = ffi.gc(out[0], lib.sah_result_close)

    def _ranked(self, order: int) -> "list[dict[str, Any]]":
        ranked, n = ffi.new("sah_ranked **"), ffi.new("size_t *")
        call(lib.sah_rank, self._result, order, ranked, n)
        try:
            rows = []
            for i in range(n[0]):
                r = ranked[0][i]
                row = {"head": head_name((r.head.layer, r.head.head)), "layer": r.head.layer, "index": r.head.head}
                for key in _NUMBERS:
                    row[key] = getattr(r, key)
                row["top_ten"] = r.top_ten
                row["verdict"] = string(lib.sah_selectivity_name(r.verdict))
                row["effect_verdict"] = string(lib.sah_selectivity_name(r.effect_verdict))
                rows.append(row)
            return rows
        finally:
            free(ranked[0])

    def ranking(self, order: str = "default") -> "list[dict[str, Any]]":
        """The heads, highest first, each a dictionary: `head`, `layer`, `index`, scores with 95 % intervals and, where
        there are contrast queries, `verdict`: "safety", "general", "undecided" or "negligible". What the result does
        not have is NaN, or "" for a verdict. `order`: default, mean, count, difference, effect or
        toward."""
        orders = ["default", "mean", "count", "difference", "effect", "toward"]
        if order not in orders:
            raise BadArgument("order %r: one of %s" % (order, ", ".join(orders)))
        return self._ranked(orders.index(order))

    def frame(self, order: str = "default") -> "pandas.DataFrame":
        """ranking() as a pandas frame, a row a head; columns that the result does not have are left out."""
        frame = _pandas().DataFrame(self.ranking(order))
        empty = [c for c in frame.columns if c in _NUMBERS and frame[c].isna().all()]
        empty += [c for c in ("verdict", "effect_verdict") if c in frame and (frame[c] == "").all()]
        return frame.drop(columns=empty)


_NUMBERS = ["mean", "low", "high", "sum", "contrast_mean", "difference", "difference_low", "difference_high", "p_adjusted",
            "effect", "effect_low", "effect_high", "effect_answered", "toward", "opening_kl", "effect_p"]


class Ships(_Scored):
    """Ships scores.

    heads            [n] (layer, head), by layer
    scores           float64 [n, queries], nats: how far the next-token distribution moves without the head
    contrast_scores  float64 [n, contrast queries], nats
    """

    def __init__(self, lines: Sequence[str]):
        super().__init__(lines)
        self.heads, both = self._matrix(lib.SAH_SCORE_KL)
        self.scores: np.ndarray = both[:, :len(self.queries)]
        self.contrast_scores: np.ndarray = both[:, len(self.queries):]

    def _matrix(self, which: int) -> "tuple[list[Head], np.ndarray]":
        heads, scores = ffi.new("sah_head **"), ffi.new("double **")
        call(lib.sah_result_scores, self._result, which, heads, scores)
        info = lib.sah_result_describe(self._result)
        n, width = info.n_scored, info.n_queries + info.n_contrast
        try:
            values = np.frombuffer(ffi.buffer(scores[0], n * width * 8), dtype=np.float64).reshape(n, width).copy() \
                if n * width else np.zeros((n, width))
            return [(heads[0][i].layer, heads[0][i].head) for i in range(n)], values
        finally:
            free(heads[0])
            free(scores[0])

    def effect(self, which: str = "effect") -> np.ndarray:
        """float64 [n, queries + contrast queries], nats a token, NaN where a query has no opening of the kind: the change
        in log-probability of what the model was going to say ("effect"), of its commonest refusal ("toward"), or the
        divergence over its own opening ("opening_kl"). Needs a run with openings."""
        kinds = {"effect": lib.SAH_SCORE_EFFECT, "toward": lib.SAH_SCORE_TOWARD, "opening_kl": lib.SAH_SCORE_OPENING_KL}
        if which not in kinds:
            raise BadArgument("%r: one of %s" % (which, ", ".join(kinds)))
        return self._matrix(kinds[which])[1]

    def heat(self) -> np.ndarray:
        """float64 [layers, heads]: mean score less that of the contrast queries where there are such; NaN where a head was
        not scored."""
        model = self.header["model"]
        heads = model["kv_heads"] if self.header["settings"]["part"] == "k" else model["heads"]
        out = np.full((model["layers"], heads), math.nan)
        mean = self.scores.mean(axis=1)
        if self.contrast:
            mean = mean - self.contrast_scores.mean(axis=1)
        for (layer, head), value in zip(self.heads, mean):
            out[layer, head] = value
        return out

    def query_frame(self) -> "pandas.DataFrame":
        """A row a head and query: head, query, contrast (bool), kl (nats)."""
        rows = []
        for texts, scores, contrast in ((self.queries, self.scores, False), (self.contrast, self.contrast_scores, True)):
            for q, text in enumerate(texts):
                rows += [(head_name(h), text, contrast, scores[i, q]) for i, h in enumerate(self.heads)]
        return _pandas().DataFrame(rows, columns=["head", "query", "contrast", "kl"])


class Chosen(NamedTuple):
    """A step's choice: the head, the shift of the group with it and what it added to the score (degrees)."""

    head: Head
    shift: float
    gain: float
    better_than_chance: bool


class Find(_Scored):
    """A search: `chosen`, one Chosen a finished step, in order."""

    def __init__(self, lines: Sequence[str]):
        super().__init__(lines)
        self.chosen: list[Chosen] = []
        one = ffi.new("sah_chosen *")
        while lib.sah_result_chosen(self._result, len(self.chosen), one):
            self.chosen.append(Chosen((one.head.layer, one.head.head), one.shift, one.gain, one.better_than_chance))

    @property
    def group(self) -> "list[Head]":
        """The chosen heads, in order."""
        return [c.head for c in self.chosen]

    def step(self, step: int = 0, order: str = "default") -> "pandas.DataFrame":
        """The heads tried in a step, as frame() gives them: `mean` is the shift in degrees of the group with the head."""
        call(lib.sah_result_select, self._result, step)
        try:
            return self.frame(order)
        finally:
            call(lib.sah_result_select, self._result, 0)


class Direction(_Scored):
    """The refusal direction and what each head writes along it: in frame(), `mean` and `contrast_mean` are mean
    projections over harmful and harmless queries, `difference` the head's contribution, in units of the residual stream.

    directions  float64 [layers + 1, d_model], mean residual at the last prompt token, harmful less harmless; row 0 of the
                embeddings, row l + 1 behind layer l. None where the result was read from a file.
    """

    def __init__(self, lines: Sequence[str], directions: Optional[np.ndarray] = None):
        super().__init__(lines)
        self.directions = directions


class Judgement(NamedTuple):
    """Verdicts on responses and the attack success rate: compliances of all, with its 95 % interval (Wilson)."""

    verdicts: "list[str]"
    asr: float
    low: float
    high: float
    n: int

    @property
    def refused(self) -> float:
        """The share of refusals."""
        return self.verdicts.count("refusal") / self.n if self.n else math.nan


class Responses(Result):
    """Responses: `texts`, and `prompts` as the model saw them, one a query (and, of a curve, number of heads ablated)."""

    def __init__(self, lines: Sequence[str]):
        super().__init__(lines)
        self.data = list(self.records())
        self.texts: list[str] = [r["response"] for r in self.data]
        self.prompts: list[str] = [r.get("prompt", "") for r in self.data]

    def frame(self) -> "pandas.DataFrame":
        """A row a response: query, prompt, response, tokens, stop, and verdict by the default rule."""
        frame = _pandas().DataFrame(self.data)
        frame["verdict"] = self.judge().verdicts
        return frame

    def judge(self, rule: str = "default", phrases: "str | os.PathLike[str] | None" = None) -> Judgement:
        """Judges the responses."""
        return judge(self.texts, rule, phrases)


def judge(texts: Iterable[str], rule: str = "default", phrases: "str | os.PathLike[str] | None" = None) -> Judgement:
    """Judges responses: "refusal", "compliance" or "degenerate" each. `rule`: default (docs/judging.md) or reference (the
    rule of the paper's implementation); `phrases`: a list of one's own."""
    rules = {"default": lib.SAH_RULE_DEFAULT, "reference": lib.SAH_RULE_REFERENCE}
    if rule not in rules:
        raise BadArgument("rule %r: default or reference" % rule)
    if isinstance(texts, str):
        raise TypeError("expected a list of responses, not one string")
    out = ffi.new("sah_judge **")
    call(lib.sah_judge_new, rules[rule], ffi.NULL if phrases is None else ffi.new("char[]", os.fsencode(phrases)), out)
    handle = ffi.gc(out[0], lib.sah_judge_free)
    verdicts, verdict = [], ffi.new("sah_verdict *")
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        call(lib.sah_judge_text, handle, data, len(data), verdict)
        verdicts.append(string(lib.sah_verdict_name(verdict[0])))
    share = lib.sah_wilson(verdicts.count("compliance"), len(verdicts))
    return Judgement(verdicts, share.value, share.low, share.high, len(verdicts))


_KINDS = {"ships": Ships, "find": Find, "direction": Direction, "generate": Responses}


def from_lines(lines: Sequence[str]) -> Result:
    """A result of the kind its header names."""
    try:
        command = json.loads(lines[0])["sahara"]
    except (IndexError, ValueError, KeyError, TypeError):
        raise Error("not a result: its first line is not a header") from None
    return _KINDS.get(command, Result)(lines)


def read(path: "str | os.PathLike[str]") -> Result:
    """Reads a result file: Ships, Find, Direction or Responses, and a plain Result of other commands. A last line that was
    cut short is left out."""
    with open(path, encoding="utf-8", newline="\n") as file:
        text = file.read()
    return from_lines(text.split("\n")[:-1])
