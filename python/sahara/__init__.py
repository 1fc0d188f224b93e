# SPDX-License-Identifier: Apache-2.0
"""Sahara from Python: which attention heads a language model's safety rests on.

    import sahara
    model = sahara.open("models/organism")
    result = model.ships(harmful, contrast=harmless, template="chat")
    result.frame()                            # a row a head, with verdicts
    model.judge(harmful, ablate=[(2, 6), (2, 1), (3, 3)]).asr

Scores are nats, shifts degrees; heads are (layer, head), both from 0. The library's own header, sahara.h, says more.
"""

from ._library import VERSION as __version__
from ._library import BadArgument, Error, FileError, Interrupted, NotSupported, OutOfMemory
from . import bridge
from .interchange import MeanData, Swap
from .model import HiddenStates, Model, open
from .results import Chosen, Direction, Find, Judgement, Responses, Result, Ships, head_name, judge, parse_head, read

__all__ = [
    "BadArgument", "Chosen", "Direction", "Error", "FileError", "Find", "HiddenStates", "Interrupted", "Judgement", "MeanData", "Model",
    "NotSupported", "OutOfMemory", "Responses", "Result", "Ships", "Swap", "__version__", "bridge", "head_name", "judge", "open", "parse_head",
    "read",
]
