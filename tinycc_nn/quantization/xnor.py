"""
One int8 layer in bits: where its inputs are cut, and the gain and the bias of each channel.

With bits b of the input and v of the weights, +1 or -1, a sum s = v . b stands for the layer's sum by
the line gain * s + bias that has the least squared error on calibration data.

Sources: Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979 (the cut); Rastegari et
al., "XNOR-Net", 2016, section 3.2 (signs of weights; scales by least squares, here on the output).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.ops.conv import windows
from tinycc_nn.reference import visit

MOST_FIELDS = 20000
"""Receptive fields of a layer that are looked at: spread evenly."""

LEAST_GAIN = 1e-3
"""Of the typical gain: what a channel gets whose bits say nothing about it."""


@dataclass(frozen=True)
class Bits:
    """
    threshold: stored inputs from it on are +1.
    weights:   bool[out, kh, kw, channels], true for +1.
    gain:      float64[out], positive; bias: float64[out], both in real units.
    """

    threshold: int
    weights: Array
    gain: Array
    bias: Array


def otsu(counts: Array) -> int:
    """The stored value, -127..127, that parts int64[256] counts of int8 into the two classes of least
    variance within: values from it on are the upper class."""
    values = np.arange(-128, 128)
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * values)[:-1]
    total, whole = counts.sum(), (counts * values).sum()
    above = total - below
    split = np.where((below > 0) & (above > 0), below * above, 1)
    between = np.where(split > 1, (whole * below - total * sums) ** 2.0 / split, 0.0)
    return int(values[1:][np.argmax(between)])


def inputs_of(graph: Graph, inputs: Mapping[str, Array], ops: list[Op]) -> dict[Value, Array]:
    """The stored inputs int8[samples, *shape] of layers, by value."""
    wanted, found = {op.operands[0] for op in ops}, dict[Value, list[Array]]()

    def see(v: Value, a: Array) -> None:
        if v in wanted:
            found.setdefault(v, []).append(a.copy())

    visit(graph, inputs, see)
    return {v: np.concatenate(parts) for v, parts in found.items()}


def to_bits(op: Op, x: Array) -> Bits:
    """A conv2d (not grouped) or a dense layer on stored inputs int8[samples, *shape]."""
    quant, integers = op.operands[0].type.quant, op.operands[1].integers
    assert quant is not None and integers is not None
    threshold = otsu(np.bincount(x.astype(np.int16).ravel() + 128, minlength=256))
    steps = op.operands[1].type.steps().reshape(-1, *[1] * (integers.ndim - 1))
    w = (integers * steps).reshape(len(integers), -1)
    real = (x.astype(np.float32) - quant.zero) * np.float32(quant.scales()[0])
    bits = np.where(x >= threshold, np.float32(1), np.float32(-1))
    y = fields(op, real, 0.0) @ w.T
    s = fields(op, bits, -1.0) @ np.where(w >= 0, 1.0, -1.0).T
    spread, common = s.var(axis=0), ((y - y.mean(axis=0)) * (s - s.mean(axis=0))).mean(axis=0)
    gain = np.where(spread > 0, common / np.where(spread > 0, spread, 1), 0)
    gain = np.maximum(gain, LEAST_GAIN * max(float(gain.max()), 1e-6))
    stored = op.operands[2].constant if len(op.operands) == 3 else None
    bias = y.mean(axis=0) - gain * s.mean(axis=0)
    if stored is not None:
        bias = bias + stored * op.operands[0].type.steps() * op.operands[1].type.steps()
    shape = integers.shape if integers.ndim == 4 else (len(w), 1, 1, w.shape[1])
    return Bits(threshold, (w >= 0).reshape(shape), gain, bias)


def fields(op: Op, x: Array, fill: float) -> Array:
    """float64[n, K]: receptive fields, at most MOST_FIELDS of them."""
    if op.name == "dense":
        rows = x.reshape(-1, x.shape[-1])
        return rows[:: -(-len(rows) // MOST_FIELDS)].astype(np.float64)
    _, kh, kw, _ = op.operands[1].type.shape
    images = x.reshape(-1, *x.shape[2:])
    each = op.type.shape[1] * op.type.shape[2]
    images = images[:: max(1, -(-len(images) * each // MOST_FIELDS))]
    view = windows(op, images, (kh, kw), fill)
    return view.reshape(-1, kh * kw * x.shape[-1]).astype(np.float64)
