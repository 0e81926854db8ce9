"""Operators that only move elements: reshape, transpose, concat, slice, take, pad.

They keep the quantization of their operand; one per channel moves along with its axis.
"""

from __future__ import annotations

from math import floor, prod

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import Array, Blob, Quant, TensorType
from tinycc_nn.ops.activation import stored_limits
from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.registry import ints, number


def _per_channel(q: Quant | None) -> tuple[Quant, Blob, int] | None:
    """The quantization, its scales and its axis, if it is per channel."""
    if q is None or not isinstance(q.scale, Blob) or q.axis is None:
        return None
    return q, q.scale, q.axis


def _infer_reshape(op: Op) -> tuple[TensorType, ...]:
    x, shape = op.operands[0].type, ints(op, "shape")
    if prod(shape) != x.size or any(n < 1 for n in shape):
        raise TinyccError(
            f"reshape: {list(x.shape)} has {x.size} elements, {list(shape)} has not", op.loc
        )
    quant = x.quant
    if found := _per_channel(quant):
        q, scales, axis = found
        before, n = prod(x.shape[:axis]), x.shape[axis]
        fits = [i for i, m in enumerate(shape) if m == n and prod(shape[:i]) == before]
        if not fits:
            raise TinyccError(
                f"reshape: the axis {axis} of the quantization per channel is lost", op.loc
            )
        quant = Quant(scales, q.zero, fits[0])
    return (TensorType(x.dtype, shape, quant),)


def _run_reshape(op: Op, x: Array) -> Array:
    return x.reshape(len(x), *op.type.shape)


def _infer_transpose(op: Op) -> tuple[TensorType, ...]:
    x, perm = op.operands[0].type, ints(op, "perm")
    if sorted(perm) != list(range(x.rank)):
        raise TinyccError(f"transpose: {list(perm)} does not order {x.rank} axes", op.loc)
    quant = x.quant
    if found := _per_channel(quant):
        q, scales, axis = found
        quant = Quant(scales, q.zero, perm.index(axis))
    return (TensorType(x.dtype, tuple(x.shape[p] for p in perm), quant),)


def _run_transpose(op: Op, x: Array) -> Array:
    return x.transpose(0, *(p + 1 for p in ints(op, "perm")))


def _infer_concat(op: Op) -> tuple[TensorType, ...]:
    axis, types = int(number(op, "axis")), [v.type for v in op.operands]
    if not types or not 0 <= axis < types[0].rank:
        raise TinyccError(f"concat: there is no axis {axis}", op.loc)
    first = types[0]
    rest = (*first.shape[:axis], *first.shape[axis + 1 :])
    for t in types:
        if (*t.shape[:axis], *t.shape[axis + 1 :]) != rest or t.dtype != first.dtype:
            raise TinyccError(f"concat: {first} and {t} do not go together", op.loc)
        if t.quant != first.quant:
            raise TinyccError(
                f"concat: the operands have the quantizations {first.quant} and {t.quant}", op.loc
            )
    if (found := _per_channel(first.quant)) and found[2] == axis and len(types) > 1:
        raise TinyccError("concat: along the axis of a quantization per channel", op.loc)
    size = sum(t.shape[axis] for t in types)
    return (first.with_shape(*first.shape[:axis], size, *first.shape[axis + 1 :]),)


def _run_concat(op: Op, *parts: Array) -> Array:
    n = max(len(p) for p in parts)
    whole = [np.broadcast_to(p, (n, *p.shape[1:])) for p in parts]
    return np.concatenate(whole, axis=int(number(op, "axis")) + 1)


def slice_ranges(op: Op) -> list[range]:
    """The elements that a slice takes along each axis."""
    return [
        range(b, e, s)
        for b, e, s in zip(ints(op, "begin"), ints(op, "end"), ints(op, "step"), strict=True)
    ]


def _infer_slice(op: Op) -> tuple[TensorType, ...]:
    x, given = op.operands[0].type, [ints(op, n) for n in ("begin", "end", "step")]
    if any(len(g) != x.rank for g in given) or 0 in given[2]:
        raise TinyccError(
            f"slice: begin, end and step must have {x.rank} numbers, no step may be 0", op.loc
        )
    ranges = slice_ranges(op)
    for n, r in zip(x.shape, ranges, strict=True):
        if not r or not (0 <= r[0] < n and 0 <= r[-1] < n):
            raise TinyccError(
                f"slice: {r.start}:{r.stop}:{r.step} is empty or leaves 0:{n}", op.loc
            )
    return (TensorType(x.dtype, tuple(map(len, ranges)), _select_all(x.quant, ranges)),)


def _select_all(quant: Quant | None, ranges: list[range]) -> Quant | None:
    if found := _per_channel(quant):
        return _select(found, ranges[found[2]])
    return quant


def _select(found: tuple[Quant, Blob, int], indices: range | tuple[int, ...]) -> Quant:
    q, scales, axis = found
    return Quant(Blob(scales.name, scales.array[list(indices)]), q.zero, axis)


def _run_slice(op: Op, x: Array) -> Array:
    for axis, r in enumerate(slice_ranges(op), start=1):
        if r != range(x.shape[axis]):
            stop = r.stop if r.stop >= 0 else None
            x = x[(slice(None),) * axis + (slice(r.start, stop, r.step),)]
    return x


def _infer_take(op: Op) -> tuple[TensorType, ...]:
    x, axis, indices = op.operands[0].type, int(number(op, "axis")), ints(op, "indices")
    if not 0 <= axis < x.rank:
        raise TinyccError(f"take: there is no axis {axis}", op.loc)
    if not indices or min(indices) < 0 or max(indices) >= x.shape[axis]:
        raise TinyccError(f"take: the indices must be in 0..{x.shape[axis] - 1}", op.loc)
    quant = x.quant
    if (found := _per_channel(quant)) and found[2] == axis:
        quant = _select(found, indices)
    shape = (*x.shape[:axis], len(indices), *x.shape[axis + 1 :])
    return (TensorType(x.dtype, shape, quant),)


def _run_take(op: Op, x: Array) -> Array:
    return np.take(x, ints(op, "indices"), axis=int(number(op, "axis")) + 1)


def _infer_pad(op: Op) -> tuple[TensorType, ...]:
    x, pads = op.operands[0].type, ints(op, "pads")
    if len(pads) != 2 * x.rank or any(p < 0 for p in pads):
        raise TinyccError(
            f"pad: pads must be {2 * x.rank} numbers >= 0", op.loc, "before and after for each axis"
        )
    if (found := _per_channel(x.quant)) and any(pads[2 * found[2] :][:2]):
        raise TinyccError("pad: along the axis of a quantization per channel", op.loc)
    shape = tuple(n + pads[2 * i] + pads[2 * i + 1] for i, n in enumerate(x.shape))
    return (x.with_shape(*shape),)


def pad_value(op: Op) -> float | int:
    """What a pad writes, as stored."""
    real, q = number(op, "value"), op.type.quant
    if op.type.dtype.is_float:
        return real
    if q is None or real == 0:
        return q.zero if q else int(real)
    if not isinstance(q.scale, float):
        raise TinyccError("pad: a value other than 0 with a quantization per channel", op.loc)
    least, most = stored_limits(op.type.dtype)
    return min(most, max(least, floor(real / q.scale + 0.5) + q.zero))


def _run_pad(op: Op, x: Array) -> Array:
    pads = ints(op, "pads")
    pairs = [(0, 0), *zip(pads[::2], pads[1::2], strict=True)]
    return np.pad(x, pairs, constant_values=pad_value(op))


OPS = (
    OpDef(
        "reshape",
        "the same elements in the same order, in another shape",
        _infer_reshape,
        _run_reshape,
        (Attribute("shape", tuple, "of the result"),),
        int8=Int8.STORAGE,
        alias=True,
    ),
    OpDef(
        "transpose",
        "axis i of the result is axis perm[i] of x",
        _infer_transpose,
        _run_transpose,
        (Attribute("perm", tuple, "an order of the axes"),),
        int8=Int8.STORAGE,
    ),
    OpDef(
        "concat",
        "the operands one after the other along an axis",
        _infer_concat,
        _run_concat,
        (Attribute("axis", int, "0 is the first"),),
        int8=Int8.STORAGE,
    ),
    OpDef(
        "slice",
        "along each axis the elements begin, begin+step, ... before end",
        _infer_slice,
        _run_slice,
        (
            Attribute("begin", tuple, "for each axis, >= 0"),
            Attribute("end", tuple, "for each axis, excluded; -1 is before the first, going down"),
            Attribute("step", tuple, "for each axis, negative to go down"),
        ),
        int8=Int8.STORAGE,
    ),
    OpDef(
        "take",
        "the elements at constant indices along one axis",
        _infer_take,
        _run_take,
        (
            Attribute("axis", int, "0 is the first"),
            Attribute("indices", tuple, "from 0; may repeat"),
        ),
        int8=Int8.STORAGE,
    ),
    OpDef(
        "pad",
        "x with a constant around it",
        _infer_pad,
        _run_pad,
        (
            Attribute("pads", tuple, "[before, after] for each axis, in elements"),
            Attribute("value", 0.0, "the constant, a real number"),
        ),
        int8=Int8.STORAGE,
    ),
)
