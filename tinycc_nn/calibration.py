"""
Observed ranges of tensors, and the int8 scale and zero point that follow from them.

An observer is a histogram whose memory does not grow with the data: bins of one width around
zero, which double their width when a value falls outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import Array, Quant
from tinycc_nn.reference import visit

Method = Literal["minmax", "percentile", "mse", "entropy"]
Scheme = Literal["asymmetric", "symmetric"]
Range = tuple[float, float]
"""The least and the greatest real value that are to be represented."""

BINS = 8192
LEVELS = 256
_TINY = 2.0**-60
_FACTORS = tuple(1 - i / 50 for i in range(46))


class Histogram:
    """Counts of float values in `BINS` bins over [-limit, limit), with the exact extremes."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.limit = 0.0
        self.low, self.high = np.inf, -np.inf

    def add(self, x: Array) -> None:
        """Count the elements of float32[...]; they must be finite."""
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        largest = max(-self.low, self.high, _TINY)
        if self.limit == 0:
            self.limit = largest * (1 + 2.0**-20)
        while self.limit <= largest:
            self._double()
        index = (x.ravel() + self.limit) * (BINS / (2 * self.limit))
        index = np.clip(index.astype(np.int64), 0, BINS - 1)
        self.counts += np.bincount(index, minlength=BINS)

    def _double(self) -> None:
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.pad(pairs, BINS // 4)
        self.limit *= 2

    def centres(self) -> Array:
        """float64[BINS]: the real value in the middle of each bin."""
        return (np.arange(BINS) + 0.5) * (2 * self.limit / BINS) - self.limit

    def quantile(self, fraction: float) -> float:
        """The value below which `fraction` (0..1) of the elements lie, to the width of a bin."""
        if not 0 < fraction < 1:
            return self.low if fraction <= 0 else self.high
        total = np.cumsum(self.counts)
        i = int(np.searchsorted(total, fraction * total[-1]))
        edge = float(self.centres()[min(i, BINS - 1)])
        return min(max(edge, self.low), self.high)


def observe(
    graph: Graph, inputs: Mapping[str, Array], values: Iterable[Value]
) -> dict[Value, Histogram]:
    """Histograms of `values` over float32 inputs [samples, *shape] by name.

    TinyccError for inputs that don't fit the graph, or that aren't finite there or on the way.
    """
    found = {v: Histogram() for v in values}

    def see(v: Value, a: Array) -> None:
        known = v in found or v in graph.inputs
        if known and not np.isfinite(a).all():
            raise TinyccError(
                f"the calibration data makes {v} infinite or not a number",
                hint="remove the samples with such values",
            )
        if v in found:
            found[v].add(a)

    visit(graph, inputs, see)
    return found


def affine(low: float, high: float, scheme: Scheme = "asymmetric") -> Quant:
    """The int8 quantization that represents [low, high] and, exactly, zero.

    The scale is a float32. A range that is empty or tiny gets the scale 1, or 2^-60.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return Quant(1.0, -128 if scheme == "asymmetric" else 0)
    span = (high - low) / 255 if scheme == "asymmetric" else max(-low, high) / 127
    scale = float(np.float32(max(span, _TINY)))
    if scheme == "symmetric":
        return Quant(scale, 0)
    return Quant(scale, min(127, max(-128, round(-128 - low / scale))))


def represented(quant: Quant) -> Range:
    """The real range that -128..127 stand for."""
    (scale,) = quant.scales()
    return float(scale * (-128 - quant.zero)), float(scale * (127 - quant.zero))


def choose_range(h: Histogram, method: Method, scheme: Scheme, percentile: float = 99.99) -> Range:
    """The range to represent, within the observed one.

    percentile: `percentile` percent of the elements lie under the upper end, as many over the
                lower one.
    mse:        least mean squared error of quantization.
    entropy:    least Kullback-Leibler divergence of the quantized distribution from the observed
                one (Migacz, "8-bit inference with TensorRT", GTC 2017).
    """
    match method:
        case "minmax":
            return h.low, h.high
        case "percentile":
            return h.quantile(1 - percentile / 100), h.quantile(percentile / 100)
        case "mse":
            return _least(h, scheme, _squared_error)
        case "entropy":
            return _least(h, scheme, _divergence)


Loss = Callable[[Array, Array, Quant], float]
"""From counts and values of occupied bins, and a quantization, to what is to be small."""


def _least(h: Histogram, scheme: Scheme, loss: Loss) -> Range:
    """Shrink the upper and the lower end, in turn if they are independent, to the least loss."""
    occupied = np.flatnonzero(h.counts)
    counts, values = h.counts[occupied].astype(np.float64), h.centres()[occupied]
    low, high = min(h.low, 0.0), max(h.high, 0.0)

    def error(r: Range) -> float:
        return loss(counts, values, affine(*r, scheme))

    if scheme == "symmetric":
        return min([(low * f, high * f) for f in _FACTORS], key=error)
    best = (low, high)
    for _ in range(2):
        best = min([(best[0], high * f) for f in _FACTORS], key=error)
        best = min([(low * f, best[1]) for f in _FACTORS], key=error)
    return best


def _levels(values: Array, quant: Quant) -> Array:
    return np.asarray(np.clip(np.rint(values / quant.scales()) + quant.zero, -128, 127))


def _squared_error(counts: Array, values: Array, quant: Quant) -> float:
    back = (_levels(values, quant) - quant.zero) * quant.scales()
    return float(np.sum(counts * (values - back) ** 2))


def _divergence(counts: Array, values: Array, quant: Quant) -> float:
    low, high = represented(quant)
    inside = (values >= low) & (values <= high)
    if not inside.any():
        return float(np.inf)
    level = (_levels(values, quant) + 128).astype(np.int64)
    kept = counts * inside
    seats = np.bincount(level, inside, LEVELS)
    q = np.bincount(level, kept, LEVELS) / np.maximum(seats, 1)
    spread = q[level] * inside
    clipped = kept.copy()
    first, last = np.flatnonzero(inside)[[0, -1]]
    clipped[first] += counts[values < low].sum()
    clipped[last] += counts[values > high].sum()
    p, s = clipped / clipped.sum(), spread / max(spread.sum(), 1.0)
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / np.maximum(s[used], 1e-12))))
