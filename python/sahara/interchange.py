# SPDX-License-Identifier: Apache-2.0
"""Interchange: operations that put other prompts' states in the place of a head's own, given as `op`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Sequence, Union

from ._library import BadArgument, Keep, Run, Texts, ffi, lib, string, template_of

if TYPE_CHECKING:
    from .model import Prompts

_PAIRINGS = ["length", "words"]


class Swap:
    """A head's states become those of the same head in a partner's prompt, under the unedited model, at positions counted
    from the end of both; positions that the partner lacks, and new tokens, keep their own.

    partners    one for each query, in their order; with `match` a list to choose them from. Of logits() one for each prompt,
                as it is
    match       length: nearest in the prompt's number of tokens; words: most words in common, rare ones counting more
    contrast    partners of the contrast queries; None: chosen from `partners` by `match`, or by length
    direction   necessity; or sufficiency, where queries and partners change places
    """

    def __init__(self, partners: "Prompts", *, match: Optional[str] = None, contrast: "Sequence[str | Sequence[int]] | None" = None,
                 direction: str = "necessity"):
        if match is not None and match not in _PAIRINGS:
            raise BadArgument("match %r: one of %s" % (match, ", ".join(_PAIRINGS)))
        if direction not in ("necessity", "sufficiency"):
            raise BadArgument("direction %r: necessity or sufficiency" % direction)
        self.partners, self.match, self.contrast, self.direction = partners, match, contrast, direction


class MeanData:
    """A head's states become the mean of the same over a list of reference prompts.

    reference   the list
    positions   end: a mean for each position counted from the end; all: one mean over all of them, for new tokens too
    """

    def __init__(self, reference: "Prompts", *, positions: str = "end"):
        if positions not in ("end", "all"):
            raise BadArgument("positions %r: end or all" % positions)
        self.reference, self.positions = reference, positions


Operation = Union[str, Swap, MeanData]
"""How heads are ablated: "scale", "mean", a Swap or a MeanData."""


def op_of(op: Operation) -> int:
    """The library's number."""
    if isinstance(op, Swap):
        return lib.SAH_OP_SWAP
    if isinstance(op, MeanData):
        return lib.SAH_OP_MEAN_DATA
    if op not in ("scale", "mean"):
        raise BadArgument("op %r: scale, mean, a Swap or a MeanData" % (op,))
    return lib.SAH_OP_MEAN if op == "mean" else lib.SAH_OP_SCALE


class Lists:
    """The lists of a run, with what stands in for them: `queries` and `contrast` (or None) as the run takes them, `template`
    the one of all of them, and `fill` for the options. `usual` is the run's template where none is given."""

    def __init__(self, model: Any, op: Operation, queries: Texts, contrast: Optional[Texts], template: Optional[str], system: Optional[str],
                 usual: str):
        given = [op.partners, op.contrast] if isinstance(op, Swap) else [op.reference] if isinstance(op, MeanData) else []
        others = [Texts(texts) if texts is not None else None for texts in given]
        self.queries, self.contrast = queries, contrast
        self.template = template_of(template, queries, contrast, *others)
        self._op, self._partners, self._keep = op, None, Keep()
        self.refusing: Optional[Texts] = None
        """Where a refusal's opening is looked for that none of the queries has."""
        self._reference = others[0] if isinstance(op, MeanData) else None
        if isinstance(op, Swap):
            self._pair(model, op, others, self.template or usual, system)

    def _pair(self, model: Any, op: Swap, others: "list[Optional[Texts]]", template: str, system: Optional[str]) -> None:
        source, of_contrast = others
        self._pairing, self._contrast_pairing = op.match or "given", None
        partners = self._partners_of(model, self.queries, source, source if op.match is None else None, op, template, system, "")
        if op.direction == "sufficiency":
            self.queries, partners = partners, self.queries
        if self.contrast is not None:
            self._contrast_pairing = "given" if of_contrast is not None else op.match or "length"
            more = self._partners_of(model, self.contrast, source, of_contrast, op, template, system, "contrast ")
            partners = Texts.joined(partners, more)
        elif of_contrast is not None:
            raise BadArgument("partners of contrast queries, and no contrast queries")
        self._partners = partners
        self.refusing = partners if op.direction == "sufficiency" else None

    @staticmethod
    def _partners_of(model: Any, queries: Texts, source: Texts, given: Optional[Texts], op: Swap, template: str, system: Optional[str],
                     which: str) -> Texts:
        if given is not None:
            if len(given.texts) != len(queries.texts):
                raise BadArgument("%d partners for %d %squeries: the i-th is the partner of query i (match chooses)" % (
                    len(given.texts), len(queries.texts), which))
            return given
        keep, run, out = Keep(), Run(None), ffi.new("sah_strings *")
        run(lib.sah_partners_match, model, queries.struct, source.struct, keep.text(template), keep.text(system),
            _PAIRINGS.index(op.match or "length"), out)
        try:
            return Texts.like(queries, [string(out.items[i]) for i in range(out.n)])
        finally:
            lib.sah_strings_free(out)

    def fill(self, options: Any) -> None:
        """The ablation's operation and what it takes, in a run's options."""
        options.ablation.op = op_of(self._op)
        if isinstance(self._op, Swap):
            texts, x = self._keep.text, options.interchange
            x.partners, x.pairing, x.contrast_pairing = self._partners.struct, texts(self._pairing), texts(self._contrast_pairing)
            x.direction = texts(self._op.direction)
        if isinstance(self._op, MeanData):
            options.interchange.reference = self._reference.struct
            options.interchange.all_positions = self._op.positions == "all"
