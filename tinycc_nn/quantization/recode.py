"""One int8 layer with its weights in another format: codes, scales, and the bias at the new scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.ir.types import I8, Array, Blob, DType, Quant
from tinycc_nn.numeric import posit
from tinycc_nn.numeric.codebook import kmeans
from tinycc_nn.numeric.codes import CodeBook
from tinycc_nn.ops import number
from tinycc_nn.quantization.coding import Bounds, Coding, Encode, codes_of, nearest
from tinycc_nn.quantization.hashed import fit_buckets
from tinycc_nn.quantization.moments import Moments
from tinycc_nn.quantization.weights import BIAS_LIMIT, MULTIPLIER_BITS
from tinycc_nn.quantization.wish import Wish

BOOK_LIMIT = 2047
"""Of the entries of a code book: fine enough, and leaves room for sums of 4096 products."""

PRUNED = 0.1
"""From this part of exact zeros on a layer counts as pruned."""


@dataclass(frozen=True)
class Settings:
    """As the options of quantize-weights; `inside`: scale=inside."""

    per_channel: bool
    error: str
    rounding: str
    bias_correction: bool
    inside: bool = False


@dataclass(frozen=True)
class Recoded:
    """
    codes:    uint8 or uint16 [out, K].
    integers: int64[out, K], what they stand for.
    steps:    float64[out], the real value of the integer 1.
    scale:    float32[out] or [1].
    """

    dtype: DType
    codes: Array
    integers: Array
    steps: Array
    scale: Array


def takes_codes(op: Op) -> bool:
    """Whether it is an int8 layer whose weights kernels can decode: dense, or a conv2d that is
    depthwise or not grouped, with constant weights and bias."""
    if op.name not in ("conv2d", "dense") or op.type.dtype != I8:
        return False
    w = op.operands[1]
    if w.constant is None or w.type.quant is None or w.type.quant.zero != 0:
        return False
    if len(op.operands) == 3 and op.operands[2].constant is None:
        return False
    groups = 1 if op.name == "dense" else int(number(op, "groups"))
    return groups == 1 or groups == op.operands[0].type.shape[3] == w.type.shape[0]


def real_weights(op: Op) -> Array:
    """float64[out, K]."""
    integers = op.operands[1].integers
    assert integers is not None
    return integers.reshape(len(integers), -1) * op.operands[1].type.steps()[:, None]


def recode(
    graph: Graph, op: Op, wish: Wish, settings: Settings, moments: Moments | None
) -> Recoded:
    """Give a layer weights in another format, in place; TinyccError if it can't have them."""
    w = real_weights(op)
    new = recoded(op, w, wish, settings, moments)
    old = op.operands[1]
    stem = old.name.rstrip("'")
    quant = Quant(float(new.scale[0]), 0)
    if len(new.scale) > 1:
        quant = Quant(Blob(f"{stem}.scale", new.scale), 0, 0)
    codes = new.codes.reshape(old.type.shape)
    value = graph.constant(stem, codes, quant, dtype=new.dtype, before=op)
    bias = _bias(op, new, w, moments if settings.bias_correction else None)
    graph.set_operand(op, 1, value)
    name = op.operands[2].name if len(op.operands) == 3 else f"{op.result.name}.bias"
    constant = graph.constant(name.rstrip("'"), bias, before=op)
    if len(op.operands) == 3:
        graph.set_operand(op, 2, constant)
    else:
        op.operands = (*op.operands, constant)
        constant.uses.append((op, 2))
    return new


def recoded(op: Op, w: Array, wish: Wish, settings: Settings, moments: Moments | None) -> Recoded:
    """The weights float64[out, K] of a layer in another format."""
    weight = np.ones((1, w.shape[1]))
    if settings.error == "output" and moments is not None:
        variance = np.diagonal(moments.covariance, axis1=1, axis2=2)
        weight = variance + 0.01 * variance.mean() + 1e-30
    bounds = _bounds(op, w)
    if wish.buckets is not None:
        return _hashed(op, w, wish.buckets, weight, bounds, settings, moments)
    if wish.entries is not None:
        dtype = _book(w, wish, weight, bounds, settings.per_channel)
        return _coded(op, w, dtype, weight, bounds, settings, moments)
    choices = wish.formats(inside=settings.inside)
    found = [_coded(op, w, d, weight, bounds, settings, moments) for d in choices]
    if len(found) == 1:
        return found[0]

    def error(new: Recoded) -> float:
        left = new.integers * new.steps[:, None] - w
        if settings.error == "output" and moments is not None:
            return float(moments.noise(left).sum())
        return float((weight * left**2).sum())

    return min(found, key=error)


def _coded(
    op: Op,
    w: Array,
    dtype: DType,
    weight: Array,
    bounds: Bounds,
    settings: Settings,
    moments: Moments | None,
) -> Recoded:
    book = dtype.book
    assert book is not None
    if not book.has_zero and (w == 0).mean() >= PRUNED:
        raise refused(op, dtype.name, f"{100 * (w == 0).mean():.0f} % of its weights are zero")
    encode = nearest(book)
    if settings.rounding == "standard" and dtype.name == "posit":
        encode = standard(dtype)
    coding = Coding(book, weight, bounds, settings.per_channel, encode)
    try:
        steps = _inside(w, book, coding) if settings.inside else coding.steps(w)
        scale = (steps / book.unit).astype(np.float32)
    except ValueError as e:
        raise refused(op, dtype.name, str(e)) from None
    steps = scale.astype(np.float64) * book.unit
    integers = coding.integers(w, steps)
    if settings.rounding == "optimized" and moments is not None:
        better = coding.optimized(w, steps, moments.covariance)
        if bounds.fit(better, steps).all():
            integers = better
    codes = codes_of(book, integers)
    many = settings.per_channel and not settings.inside
    return Recoded(dtype, codes, integers, steps, scale if many else scale[:1])


def _inside(w: Array, book: CodeBook, coding: Coding) -> Array:
    """float64[out]: the format's own unit as step, so that the scale is 1; ValueError if the layer
    can't have it."""
    steps = np.full(len(w), book.unit)
    if (steps < coding.bounds.least).any() or not coding.bounds.fit(
        coding.integers(w, steps), steps
    ).all():
        raise ValueError("its sums don't fit with the scale inside")
    return steps


def _hashed(
    op: Op,
    w: Array,
    count: int,
    weight: Array,
    bounds: Bounds,
    settings: Settings,
    moments: Moments | None,
) -> Recoded:
    """The weights by the values of `count` buckets; scales are the largest weights."""
    if (w == 0).mean() >= PRUNED:
        raise refused(op, "hashed", f"{100 * (w == 0).mean():.0f} % of its weights are zero")
    covariance = None
    if settings.rounding == "optimized" and moments is not None:
        covariance = moments.covariance
    fit = fit_buckets(w, count, weight, covariance, settings.per_channel, bounds.least)
    dtype = DType.of_parts("hashed", (Blob("entries", fit.entries),))
    assert dtype.book is not None
    integers = dtype.book.values[fit.codes].astype(np.int64)
    scale = fit.scale.astype(np.float32)
    steps = np.broadcast_to(scale.astype(np.float64), len(w))
    if not bounds.fit(integers, steps).all():
        raise refused(op, "hashed", "its sums may exceed 32 bits")
    return Recoded(dtype, fit.codes, integers, steps, scale)


def refused(op: Op, family: str, why: str) -> TinyccError:
    message = f"quantize-weights: {op.result} can't have weights of {family}: {why}"
    name = op.result.name.rstrip("'")
    return TinyccError(message, op.loc, f"another format, or skip=[{name}]")


def _bounds(op: Op, w: Array) -> Bounds:
    """The bias at the new scale stays in BIAS_LIMIT, multipliers keep MULTIPLIER_BITS."""
    sx, sy = float(op.operands[0].type.steps()[0]), float(op.type.steps()[0])
    bias = np.abs(_real_bias(op, len(w))) / sx
    return Bounds(np.maximum(bias / BIAS_LIMIT, sy / sx * 2.0 ** (MULTIPLIER_BITS - 32)), bias)


def _real_bias(op: Op, channels: int) -> Array:
    """float64[channels]."""
    stored = op.operands[2].constant if len(op.operands) == 3 else None
    if stored is None:
        return np.zeros(channels)
    return stored * op.operands[0].type.steps() * op.operands[1].type.steps()


def _bias(op: Op, new: Recoded, w: Array, moments: Moments | None) -> Array:
    """int32[out]: the bias at the new scale, less the mean of the weights' error."""
    bias = _real_bias(op, len(w))
    if moments is not None:
        bias = bias - moments.response(new.integers * new.steps[:, None] - w)
    stored = np.rint(bias / (op.operands[0].type.steps() * new.steps))
    return np.asarray(np.clip(stored, 1 - 2**31, 2**31 - 1).astype(np.int32))


def _book(w: Array, wish: Wish, weight: Array, bounds: Bounds, per_channel: bool) -> DType:
    """Entries by k-means on the weights over the largest one of their channel."""
    assert wish.entries is not None
    largest = np.abs(w).max(axis=1, keepdims=True)
    if not per_channel:
        largest[:] = largest.max()
    largest = np.maximum(largest, BOOK_LIMIT * bounds.least[:, None])
    spread = np.broadcast_to(weight * largest**2, w.shape)
    has_zero = bool((w == 0).any())
    centres = kmeans((w / largest).ravel(), wish.entries, spread.ravel(), zero=has_zero)
    entries = np.clip(np.rint(centres * BOOK_LIMIT), -BOOK_LIMIT, BOOK_LIMIT).astype(np.int16)
    return DType.of_parts("book", (Blob("entries", entries),))


def standard(dtype: DType) -> Encode:
    """Rounding to posits as their standard says; to the nearest one where a code can't be used."""
    book, (n, es) = dtype.book, dtype.params
    assert book is not None and isinstance(n, int) and isinstance(es, int)
    by_value: Encode = nearest(book)

    def encode(x: Array, book: CodeBook = book) -> Array:
        codes = posit.encode(x * book.unit, n, es)
        values = book.values if book.host else book.values.astype(np.int64)
        return np.where(book.used[codes], values[codes], by_value(x))

    return encode
