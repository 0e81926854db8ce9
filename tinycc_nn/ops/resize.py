"""Resizing of NHWC images, with the coordinates worked out at compile time.

ONNX's many coordinate transforms and roundings become lists of rows and columns, so a kernel
is a gather (nearest) or a blend of four pixels (linear).
"""

from __future__ import annotations

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import F32, Array, TensorType
from tinycc_nn.numeric.requantize import multipliers, requantize
from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.registry import ints

FRACTION_BITS = 7
"""int8 resize_linear: fractions are rounded to so many bits; the sum of weights is 2^14."""


def _axes(op: Op) -> tuple[tuple[int, ...], tuple[int, ...]]:
    x, rows, columns = op.operands[0].type, ints(op, "rows"), ints(op, "columns")
    if x.rank != 4:
        raise TinyccError(f"{op.name}: the input must have 4 axes", op.loc, "NHWC")
    for name, indices, size in (("rows", rows, x.shape[1]), ("columns", columns, x.shape[2])):
        if not indices or min(indices) < 0 or max(indices) >= size:
            raise TinyccError(f"{op.name}: {name} must be in 0..{size - 1}", op.loc)
    return rows, columns


def _infer_nearest(op: Op) -> tuple[TensorType, ...]:
    rows, columns = _axes(op)
    x = op.operands[0].type
    return (x.with_shape(x.shape[0], len(rows), len(columns), x.shape[3]),)


def _infer_linear(op: Op) -> tuple[TensorType, ...]:
    rows, columns = _axes(op)
    for name, n in (("row_fraction", len(rows)), ("column_fraction", len(columns))):
        part = reals(op, name)
        if len(part) != n or not all(0 <= f <= 1 for f in part):
            raise TinyccError(f"{op.name}: {name} must be {n} numbers in 0..1", op.loc)
    x = op.operands[0].type
    return (TensorType(x.dtype, (x.shape[0], len(rows), len(columns), x.shape[3])),)


def reals(op: Op, name: str) -> tuple[float, ...]:
    """A required attribute that is a list of real numbers."""
    found = op.attrs[name]
    assert isinstance(found, tuple)
    return tuple(float(f) for f in found)


def _run_nearest(op: Op, x: Array) -> Array:
    rows, columns = (np.array(ints(op, n)) for n in ("rows", "columns"))
    return np.asarray(x[:, :, rows[:, None], columns[None, :]])


def corners(op: Op, x: Array) -> list[list[Array]]:
    """The pixels that linear interpolation blends, [low or high row][low or high column]."""
    rows, columns = (np.array(ints(op, n)) for n in ("rows", "columns"))
    below, right = (np.minimum(rows + 1, x.shape[2] - 1), np.minimum(columns + 1, x.shape[3] - 1))
    return [[x[:, :, r[:, None], c[None, :]] for c in (columns, right)] for r in (rows, below)]


def _blend(op: Op, x: Array, u: Array, v: Array, one: Array) -> Array:
    (a, b), (c, d) = corners(op, x)
    u, v = u[:, None, None], v[None, :, None]
    return np.asarray((a * (one - v) + b * v) * (one - u) + (c * (one - v) + d * v) * u)


def int_fractions(op: Op) -> tuple[Array, Array]:
    """The fractions of rows and of columns as int64, in units of 2^-7, halves up."""
    u, v = (np.array(reals(op, n)) for n in ("row_fraction", "column_fraction"))
    scale = 2.0**FRACTION_BITS
    return np.floor(u * scale + 0.5).astype(np.int64), np.floor(v * scale + 0.5).astype(np.int64)


def linear_factor(op: Op) -> tuple[int, int]:
    """int8 resize_linear: (m, shift) of (blend * m + half >> shift) + zy, blend in 2^-14 * sx."""
    x, y = op.operands[0].type.quant, op.type.quant
    assert x is not None and y is not None
    m, shift = multipliers(x.scales() / y.scales() / 4.0**FRACTION_BITS)
    return int(m[0]), shift


def _run_linear(op: Op, x: Array) -> Array:
    if op.type.dtype == F32:
        u, v = (np.array(reals(op, n), np.float32) for n in ("row_fraction", "column_fraction"))
        return _blend(op, x, u, v, np.array(1, np.float32))
    qx, qy = op.operands[0].type.quant, op.type.quant
    assert qx is not None and qy is not None
    u, v = int_fractions(op)
    acc = _blend(op, x.astype(np.int64) - qx.zero, u, v, np.array(1 << FRACTION_BITS))
    m, shift = linear_factor(op)
    return requantize(acc, np.array([m], np.int32), shift, qy.zero, -128, 127)


def coordinates(transform: str, size: int, out: int, scale: float) -> Array:
    """Where each of `out` results lies in an axis of `size` pixels, float64[out].

    `transform` is ONNX's coordinate_transformation_mode; ValueError for one that is not known.
    """
    i = np.arange(out, dtype=np.float64)
    match transform:
        case "asymmetric":
            return i / scale
        case "half_pixel":
            return (i + 0.5) / scale - 0.5
        case "pytorch_half_pixel":
            return (i + 0.5) / scale - 0.5 if out > 1 else i * 0
        case "align_corners":
            return i * (size - 1) / (out - 1) if out > 1 else i * 0
        case "tf_half_pixel_for_nn":
            return (i + 0.5) / scale
        case "half_pixel_symmetric":
            exact = scale * size
            return size / 2 * (1 - out / exact) + (i + 0.5) / scale - 0.5
        case _:
            raise ValueError(transform)


def nearest_indices(x: Array, rounding: str, size: int) -> tuple[int, ...]:
    """Coordinates rounded as ONNX's nearest_mode says; ValueError for one that is not known."""
    match rounding:
        case "round_prefer_floor":
            r = np.ceil(x - 0.5)
        case "round_prefer_ceil":
            r = np.floor(x + 0.5)
        case "floor":
            r = np.floor(x)
        case "ceil":
            r = np.ceil(x)
        case _:
            raise ValueError(rounding)
    return tuple(int(n) for n in np.clip(r, 0, size - 1))


def linear_indices(x: Array, size: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The pixel below each coordinate and the fraction towards the next, clamped to the image."""
    x = np.clip(x, 0, size - 1)
    low = np.floor(x)
    return tuple(int(n) for n in low), tuple(float(f) for f in x - low)


ROWS = Attribute("rows", tuple, "of the input, for each row of the result")
COLUMNS = Attribute("columns", tuple, "of the input, for each column of the result")

OPS = (
    OpDef(
        "resize_nearest",
        "y[n,i,j,c] = x[n,rows[i],columns[j],c]",
        _infer_nearest,
        _run_nearest,
        (ROWS, COLUMNS),
        int8=Int8.STORAGE,
    ),
    OpDef(
        "resize_linear",
        "a blend of the pixels at rows, rows+1, columns, columns+1, clamped to the image",
        _infer_linear,
        _run_linear,
        (
            ROWS,
            COLUMNS,
            Attribute("row_fraction", tuple, "the weight of rows+1, in 0..1"),
            Attribute("column_fraction", tuple, "the weight of columns+1, in 0..1"),
        ),
        int8=Int8.REQUANTIZE,
    ),
)
