"""Graphs of one op on random numbers, and the law of requantization in Python's own integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np
from hypothesis import strategies as st

from tinycc_nn import reference
from tinycc_nn.ir.graph import Attr, Graph
from tinycc_nn.ir.types import Array, Blob, DType, Quant, TensorType
from tinycc_nn.ops import emit, verify


@dataclass(frozen=True)
class Operand:
    """An array: with a leading sample axis, or as it is if it is a constant."""

    array: Array
    quant: Quant | None = None
    constant: bool = False


def graph_of(
    name: str,
    operands: Sequence[Operand],
    attrs: Mapping[str, Attr] | None = None,
    quant: Quant | None = None,
) -> Graph:
    """A verified graph of one op, with the inputs x0, x1, ..."""
    g = Graph("g")
    values = [
        g.constant(f"c{i}", o.array, o.quant)
        if o.constant
        else g.add_input(f"x{i}", TensorType(DType.of(o.array), o.array.shape[1:], o.quant))
        for i, o in enumerate(operands)
    ]
    g.outputs.append(emit(g, name, values, attrs, quant=quant))
    verify(g)
    return g


def apply(
    name: str,
    operands: Sequence[Operand],
    attrs: Mapping[str, Attr] | None = None,
    quant: Quant | None = None,
) -> Array:
    """The result [samples, *shape] of one op, as stored."""
    g = graph_of(name, operands, attrs, quant)
    inputs = {f"x{i}": o.array for i, o in enumerate(operands) if not o.constant}
    (y,) = reference.run(g, inputs)
    return y


rngs = st.integers(0, 2**32 - 1).map(np.random.default_rng)

quants = st.builds(
    lambda scale, zero: Quant(float(np.float32(scale)), zero),
    st.floats(2**-9, 2.0),
    st.integers(-128, 127),
)


def int8(rng: np.random.Generator, *shape: int) -> Array:
    """Random int8 of all values."""
    return rng.integers(-128, 128, shape).astype(np.int8)


def floats(rng: np.random.Generator, *shape: int) -> Array:
    """Random float32 around 0."""
    return rng.standard_normal(shape).astype(np.float32)


def channel_quant(rng: np.random.Generator, channels: int) -> Quant:
    """A symmetric quantization of weights with a scale for each of `channels`."""
    scales = rng.uniform(0.001, 0.1, channels).astype(np.float32)
    return Quant(Blob("scale", scales), 0, 0)


def requantized(
    accs: Sequence[int], factors: Sequence[float], zero: int, lo: int = -128, hi: int = 127
) -> list[int]:
    """int8 of each accumulator times its real factor; all factors share one shift."""
    shift = 32
    while floor(Fraction(max(factors)) * 2**shift + Fraction(1, 2)) >= 2**31:
        shift -= 1
    ms = [floor(Fraction(f) * 2**shift + Fraction(1, 2)) for f in factors]
    return [
        min(hi, max(lo, ((a * m + 2 ** (shift - 1)) >> shift) + zero))
        for a, m in zip(accs, ms, strict=True)
    ]
