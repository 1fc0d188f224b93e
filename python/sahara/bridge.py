# SPDX-License-Identifier: Apache-2.0
"""Heads found here, ablated in a `transformers` model: hooks on the model's own modules, nothing copied or rewritten.

    with sahara.bridge.ablate(model, "2-6,2-1"):
        model.generate(...)
"""

from __future__ import annotations

from typing import Any, Callable, Sequence, Union

from .results import Head, head_name, parse_head

Heads = Union[str, Sequence[Union[Head, str]]]


class Ablation:
    """Hooks that are in place; `remove()` takes them out again, and so does leaving a `with`."""

    def __init__(self, handles: "list[Any]"):
        self._handles = handles

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def __enter__(self) -> "Ablation":
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


def ablate(model: Any, heads: Heads, *, part: str = "q", op: str = "scale", scale: float = 1e-4) -> Ablation:
    """Ablates heads of a `transformers` causal language model, as the `ablate` of Sahara's own calls does.

    model  Llama and what is built like it: layers with `self_attn` of `q_proj`, `k_proj`, `v_proj`, `o_proj` (Mistral,
           Qwen2 and 3, Gemma 2 and 3, SmolLM3, OLMo 2 and 3, Granite, GLM-4 ...), or of one `qkv_proj` (Phi-3).
           NotImplementedError for others.
    heads  "5-6,18-8", or a list of (layer, head) and "layer-head"; with part k alone key heads
    part   q: query states before RoPE, behind the norm of q where there is one; k: those of the head's key head;
           v: the head's output, before `o_proj`; several with commas between
    op     scale: times `scale`; mean: the mean over the layer's heads (not of v together with q or k)
    """
    parts = part.split(",")
    if not set(parts) <= {"q", "k", "v"} or len(set(parts)) != len(parts):
        raise ValueError('part "%s": write q, k, v or several with commas between: q,v' % part)
    if op == "mean" and "v" in parts and len(parts) > 1:
        raise NotImplementedError("op mean of v with q or k: hooks see no output of heads that nothing was done to")
    if op not in ("scale", "mean"):
        raise ValueError("op %r: scale or mean" % op)
    if isinstance(heads, str):
        heads = [name for name in heads.split(",") if name]
    listed = [parse_head(h) if isinstance(h, str) else (int(h[0]), int(h[1])) for h in heads]
    layers = _layers(model)
    handles: list[Any] = []
    try:
        for layer in sorted({l for l, _ in listed}):
            if not 0 <= layer < len(layers):
                raise ValueError("layer %d: the model has %d" % (layer, len(layers)))
            own = [h for l, h in listed if l == layer]
            handles += _hook_layer(model.config, layers[layer], layer, own, parts, op, scale)
    except BaseException:
        Ablation(handles).remove()
        raise
    return Ablation(handles)


def _layers(model: Any) -> Any:
    for path in ("model.layers", "model.language_model.layers", "language_model.model.layers", "base_model.model.model.layers"):
        at = model
        for name in path.split("."):
            at = getattr(at, name, None)
        if at is not None:
            return at
    raise NotImplementedError("%s: no layers as Llama has them" % type(model).__name__)


def _hook_layer(config: Any, block: Any, layer: int, heads: "list[int]", parts: "list[str]", op: str, scale: float) -> "list[Any]":
    attention = getattr(block, "self_attn", None)
    fused = hasattr(attention, "qkv_proj")
    if not hasattr(attention, "o_proj") or not (fused or (hasattr(attention, "q_proj") and hasattr(attention, "k_proj"))):
        raise NotImplementedError("layer %d: no attention of q_proj, k_proj (or qkv_proj) and o_proj" % layer)
    config = getattr(config, "text_config", None) or config
    n = config.num_attention_heads
    width = getattr(attention, "head_dim", None) or getattr(config, "head_dim", None) or config.hidden_size // n
    n_keys = config.num_key_value_heads if fused else attention.k_proj.out_features // width
    key_heads_alone = parts == ["k"]
    most = n_keys if key_heads_alone else n
    for head in heads:
        if not 0 <= head < most:
            raise ValueError("head %s is outside the model: heads 0 to %d" % (head_name((layer, head)), most - 1))
    keys = heads if key_heads_alone else sorted({h // (n // n_keys) for h in heads})

    def edit(states: Any, which: "list[int]", count: int) -> Any:
        """states [..., heads, width] or [..., heads width]"""
        shape = states.shape
        split = states.reshape(*shape[:-1], count, width) if shape[-1] == count * width else states
        dim = split.dim() - 2 if shape[-1] == count * width else _axis(split, count, width)
        out = split.clone()
        if op == "mean":
            mean = split.mean(dim=dim)
        for h in which:
            out.select(dim, h).copy_(mean if op == "mean" else split.select(dim, h) * scale)
        return out.reshape(shape)

    def behind(which: "list[int]", count: int) -> Callable[..., Any]:
        return lambda module, inputs, output: edit(output, which, count)

    def in_fused(first: int, which: "list[int]", count: int) -> Callable[..., Any]:
        """Of rows q, k, v behind one another: the heads that begin at `first`."""
        def hook(module: Any, inputs: Any, output: Any) -> Any:
            out = output.clone()
            out[..., first:first + count * width] = edit(output[..., first:first + count * width], which, count)
            return out
        return hook

    handles = []
    if fused and "q" in parts:
        handles.append(attention.qkv_proj.register_forward_hook(in_fused(0, heads, n)))
    elif "q" in parts:
        handles.append(_last(attention, "q").register_forward_hook(behind(heads, n)))
    if fused and "k" in parts:
        handles.append(attention.qkv_proj.register_forward_hook(in_fused(n * width, keys, n_keys)))
    elif "k" in parts:
        handles.append(_last(attention, "k").register_forward_hook(behind(keys, n_keys)))
    if "v" in parts:
        handles.append(attention.o_proj.register_forward_pre_hook(lambda module, inputs: (edit(inputs[0], heads, n), *inputs[1:])))
    return handles


def _last(attention: Any, letter: str) -> Any:
    """What makes q (k) before RoPE: its norm where there is one, else its projection."""
    for name in (letter + "_norm", letter + "_layernorm"):
        norm = getattr(attention, name, None)
        if norm is not None and type(norm).__name__ != "Identity":
            return norm
    return getattr(attention, letter + "_proj")


def _axis(states: Any, count: int, width: int) -> int:
    """Where the heads are: norms see [batch, tokens, heads, width] or [batch, heads, tokens, width]."""
    if states.dim() == 4 and states.shape[-1] == width:
        if states.shape[2] == count and states.shape[1] != count:
            return 2
        if states.shape[1] == count and states.shape[2] != count:
            return 1
        if states.shape[2] == count:
            return 2  # as many tokens as heads: every family here norms before it transposes
    raise NotImplementedError("states of shape %s" % (tuple(states.shape),))
