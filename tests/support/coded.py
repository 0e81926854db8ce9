"""Layers with weights of any format on random codes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tinycc_nn.ir import I8, Array, Attr, Blob, DType, Graph, Quant, TensorType, Value
from tinycc_nn.numeric.codes import buckets
from tinycc_nn.ops import emit

BOOK = DType.of_parts("book", (Blob("e", np.array([-900, -50, 0, 7, 400, 2000], np.int16)),))
HASHED = DType.of_parts("hashed", (Blob("e", (np.arange(64) * 61 % 997 - 500).astype(np.int16)),))
FORMATS = [
    *map(DType.parse, ("i2", "i3", "i4", "i5", "i6", "i7", "ternary", "binary")),
    *map(DType.parse, ("fixed<2,1>", "fixed<9,3>", "fixed<11,0>", "fixed<12,15>", "fixed<16,0>")),
    *(DType.parse(f"posit<{n},{es}>") for n in range(4, 9) for es in range(3)),
    BOOK,
    HASHED,
]

Layer = tuple[str, dict[str, Attr], tuple[int, ...], tuple[int, ...]]
"""Operator, attributes, shapes of input and weights."""


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    kind = draw(st.sampled_from(["dense", "pointwise", "conv", "depthwise"]))
    out = draw(st.integers(1, 9))
    if kind == "dense":
        rows, depth = draw(st.sampled_from([1, 1, 3])), draw(st.integers(1, 40))
        return "dense", {"act": "relu"}, (rows, depth), (out, depth)
    size = draw(st.integers(3, 9)), draw(st.integers(3, 9))
    channels = draw(st.sampled_from([1, 2, 3, 4, 8, 12]))
    if kind == "pointwise":
        return "conv2d", {}, (1, *size, channels), (out, 1, 1, channels)
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    attrs: dict[str, Attr] = {
        "stride": draw(pairs),
        "dilation": draw(st.sampled_from([(1, 1), (1, 1), (2, 1)])),
        "pad": draw(st.tuples(*[st.integers(2, 3)] * 4)),
        "act": draw(st.sampled_from(["none", "relu6"])),
    }
    if kind == "conv":
        return "conv2d", attrs, (1, *size, channels), (out, *draw(pairs), channels)
    attrs["groups"] = channels
    return "conv2d", attrs, (1, *size, channels), (channels, *draw(pairs), 1)


def add(g: Graph, layer: Layer, dtype: DType, rng: np.random.Generator) -> Value:
    """The layer on a new input, with random codes and results over much of the int8 range."""
    name, attrs, shape, weights = layer
    zero = int(rng.integers(-128, 128))
    x = g.add_input("x", TensorType(I8, shape, Quant(0.05, zero)))
    w = coded(g, dtype, weights, rng, per_channel=bool(rng.random() < 0.7))
    operands = [x, w]
    if rng.random() < 0.8:
        operands.append(g.constant("b", rng.integers(-900, 900, weights[0]).astype(np.int32)))
    depth = np.sqrt(np.prod(weights[1:]))
    return emit(g, name, operands, attrs, quant=Quant(float(np.float32(0.05 * depth)), 3))


def coded(
    g: Graph, dtype: DType, shape: tuple[int, ...], rng: np.random.Generator, *, per_channel: bool
) -> Value:
    """A constant of random codes that stand for real numbers of about 1."""
    book = dtype.book
    assert book is not None
    codes: Array = rng.choice(np.flatnonzero(book.used), shape).astype(dtype.numpy)
    if book.hashed:
        codes = buckets(codes.size, book.bits).reshape(shape)
    typical = np.abs(book.values[book.used].astype(np.float64)).mean() * book.unit
    scales = (rng.uniform(0.5, 2, shape[0]) / typical).astype(np.float32)
    quant = Quant(Blob("s", scales), 0, 0) if per_channel else Quant(float(scales[0]), 0)
    return g.constant("w", codes, quant, dtype=dtype)
