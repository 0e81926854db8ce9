"""
A 1x1 convolution as it is, with whole blocks of zeros, or as two thin layers; int8 stays int8.

Blocks go by the error that is left if all other weights make up for it; a low rank keeps the
principal components of the output. Sources: see `prune-blocks` and `low-rank`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tinycc_nn.calibration import affine
from tinycc_nn.ir.graph import Attr, Graph, Op
from tinycc_nn.ir.types import F32, Array, Quant
from tinycc_nn.ops import emit, ints, number
from tinycc_nn.pruning.factors import low_rank, most_rank, spectrum
from tinycc_nn.pruning.layers import bias_of, is_layer, set_layer, weights_of, zero_weights
from tinycc_nn.pruning.masks import block_means, by_input, least, saliency, spread
from tinycc_nn.pruning.reconstruct import Target, refit
from tinycc_nn.quantization.weights import quantize_weight, weight_scales

BLOCK = (4, 2)
"""Inputs x outputs."""
STEPS = 3
"""Blocks go and the other weights are fitted so many times."""


@dataclass(frozen=True)
class Form:
    """amount: the part of the blocks that stay (0..1), or the rank; 1 for dense."""

    kind: Literal["dense", "blocks", "rank"] = "dense"
    amount: float = 1.0

    def __str__(self) -> str:
        if self.kind == "dense":
            return "dense"
        return f"blocks {self.amount:.0%}" if self.kind == "blocks" else f"rank {self.amount:g}"


def is_pointwise(op: Op) -> bool:
    """Whether it is a conv2d of 1x1 with constant weights that aren't codes, one group, no stride."""
    if op.name != "conv2d" or not is_layer(op) or number(op, "groups") != 1:
        return False
    return op.operands[1].type.shape[1:3] == (1, 1) and ints(op, "stride") == (1, 1)


def forms(op: Op, densities: tuple[float, ...], ranks: tuple[float, ...]) -> list[Form]:
    """What a layer may become; ranks are parts (0..1) of the full one, and below it as many MACs."""
    w = op.operands[1].type.shape
    found = [Form()]
    if w[-1] >= BLOCK[0] and w[0] >= BLOCK[1]:
        found += [Form("blocks", d) for d in densities]
    full = min(w[0], w[-1])
    some = dict.fromkeys(max(1, round(r * full)) for r in ranks)
    return found + [Form("rank", r) for r in some if r <= most_rank(w[-1], w[0])]


def reshape_layer(graph: Graph, op: Op, form: Form, rows: Array, wanted: Target) -> Op:
    """Give a pointwise layer another form, in place, and fit it; the op that has its result then.

    rows: float64[1, m, k], what it reads where `wanted` is known.
    """
    if form.kind == "rank":
        return factor(graph, op, int(form.amount), rows[0])
    if form.kind == "blocks":
        for step in range(1, STEPS + 1):
            keep = zero_blocks(graph, op, wanted, 1 - (1 - form.amount) * step / STEPS)
            refit(graph, op, rows, wanted.y, keep)
    return op


def zero_blocks(graph: Graph, op: Op, wanted: Target, density: float) -> Array:
    """Keep the part `density` (0..1) of the blocks; bool[1, out, k], the weights that stay."""
    score = by_input(op, saliency(op, "obs", wanted))
    gone = least({op: block_means(score, BLOCK)}, 1 - density, "layer")[op]
    keep = np.logical_not(spread(gone, BLOCK, score.shape)).reshape(weights_of(op).shape)
    zero_weights(graph, op, keep)
    return np.asarray(keep)


def factor(graph: Graph, op: Op, rank: int, x: Array) -> Op:
    """Two layers in place of one; the last of them. The values between them get the range that they
    have on x, float64[m, k]."""
    w = weights_of(op)[0]
    s = spectrum(w, x)
    first, second = low_rank(w, s, rank)
    bias = bias_of(op) + (w - second @ first) @ s.mean
    low = x @ first.T
    between = None if op.type.dtype == F32 else affine(float(low.min()), float(low.max()))
    name, result = op.operands[1].name, op.result.name
    act: dict[str, Attr] = {k: v for k, v in op.attrs.items() if k.startswith("act")}
    thin = _thin(graph, op, op, (f"{name}.in", first), between, {}, f"{result}.low")
    wide = _thin(graph, op, thin, (f"{name}.out", second), op.type.quant, act, result)
    set_layer(graph, thin, first[None], np.zeros(rank))
    set_layer(graph, wide, second[None], bias)
    graph.replace_value(op.result, wide.result)
    return wide


def _thin(
    graph: Graph,
    at: Op,
    source: Op,
    weights: tuple[str, Array],
    quant: Quant | None,
    attrs: dict[str, Attr],
    to: str,
) -> Op:
    """A 1x1 layer without bias in front of `at`, on what `source` makes, or on what `at` reads."""
    name, w = weights
    stored = w.reshape(len(w), 1, 1, -1).astype(np.float32)
    scale: Quant | None = None
    if at.type.dtype != F32:
        each = weight_scales(stored, per_channel=True)
        stored, scale = quantize_weight(name, stored, np.where(each > 0, each, each.max() or 1.0))
    weight = graph.constant(name, stored, scale, before=at)
    x = at.operands[0] if source is at else source.result
    made = emit(graph, "conv2d", [x, weight], attrs, quant=quant, result=to, before=at, loc=at.loc)
    assert made.owner is not None
    return made.owner
