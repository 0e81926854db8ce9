"""ONNX operators on arrays that are known at compile time: the arithmetic of shapes.

Exporters compute shapes with integer tensors. These have no place at run time, so they are
worked out here, in numpy, on any element type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from tinycc_nn.ir.types import Array
from tinycc_nn.onnx.node import OnnxNode
from tinycc_nn.onnx.tensors import check_size, to_array

Fold = Callable[[OnnxNode, list[Array]], Array | list[Array]]


@dataclass(frozen=True)
class Folder:
    """`fold` gives the results of a node from its inputs, absent ones left out at the end.

    shape_only: the contents of the inputs don't matter, so they may be run-time tensors.
    """

    fold: Fold
    attributes: tuple[str, ...] = ()
    shape_only: bool = False


def _constant(n: OnnxNode, _: list[Array]) -> Array:
    if n.has("value"):
        return n.tensor("value")
    if n.has("value_float"):
        return np.array(n.real("value_float"), np.float32)
    if n.has("value_floats"):
        return np.array(n.reals("value_floats"), np.float32)
    if n.has("value_int"):
        return np.array(n.integer("value_int"), np.int64)
    return np.array(n.integers("value_ints"), np.int64)


def _cast(n: OnnxNode, x: list[Array]) -> Array:
    from onnx import helper

    to = np.dtype(helper.tensor_dtype_to_np_dtype(n.integer("to")))
    if to.kind not in "fiub":
        raise n.fail(f"a cast to {to} is not supported")
    with np.errstate(invalid="ignore"):
        y = x[0].astype(to)
    return y.astype(np.float32) if to == np.float16 else y


def _shape(n: OnnxNode, _: list[Array]) -> Array:
    shape = n.shape(0)
    return np.array(shape[n.integer("start", 0) : n.integer("end", len(shape))], np.int64)


def _size(n: OnnxNode, _: list[Array]) -> Array:
    return np.array(np.prod(n.shape(0), dtype=np.int64))


def _gather(n: OnnxNode, x: list[Array]) -> Array:
    return np.asarray(np.take(x[0], x[1].astype(np.int64), axis=n.integer("axis", 0)))


def _axes(n: OnnxNode, x: list[Array]) -> tuple[int, ...]:
    return tuple(int(a) for a in x[1]) if len(x) > 1 else n.integers("axes", ())


def _squeeze(n: OnnxNode, x: list[Array]) -> Array:
    return np.squeeze(x[0], axis=_axes(n, x) or None)


def _unsqueeze(n: OnnxNode, x: list[Array]) -> Array:
    return np.expand_dims(x[0], _axes(n, x))


def _reshape(n: OnnxNode, x: list[Array]) -> Array:
    shape = [int(d) for d in x[1]]
    if not n.integer("allowzero", 0):
        shape = [x[0].shape[i] if d == 0 else d for i, d in enumerate(shape)]
    return x[0].reshape(shape)


def _transpose(n: OnnxNode, x: list[Array]) -> Array:
    return np.transpose(x[0], n.integers("perm", range(x[0].ndim)[::-1]))


def _concat(n: OnnxNode, x: list[Array]) -> Array:
    return np.concatenate(x, axis=n.integer("axis"))


def _slice(n: OnnxNode, x: list[Array]) -> Array:
    if len(x) > 1:
        starts, ends, *rest = (a.tolist() for a in x[1:])
    else:
        starts, ends, rest = list(n.integers("starts")), list(n.integers("ends")), []
        rest = [list(n.integers("axes"))] if n.has("axes") else []
    axes = rest[0] if rest else range(len(starts))
    steps = rest[1] if len(rest) > 1 else [1] * len(starts)
    index = [slice(None)] * x[0].ndim
    for axis, b, e, s in zip(axes, starts, ends, steps, strict=True):
        last = e if s > 0 or e >= -x[0].shape[axis] else None
        index[axis] = slice(b, last, s)
    return x[0][tuple(index)]


def _expand(_: OnnxNode, x: list[Array]) -> Array:
    shape = np.broadcast_shapes(x[0].shape, check_size(tuple(int(d) for d in x[1])))
    return np.broadcast_to(x[0], check_size(shape)).copy()


def _tile(_: OnnxNode, x: list[Array]) -> Array:
    check_size(tuple(int(a * b) for a, b in zip(x[0].shape, x[1], strict=True)))
    return np.tile(x[0], x[1].tolist())


def _constant_of_shape(n: OnnxNode, x: list[Array]) -> Array:
    fill = to_array(n.attributes["value"].t) if n.has("value") else np.zeros(1, np.float32)
    return np.full(check_size(tuple(int(d) for d in x[0])), fill.reshape(-1)[0], fill.dtype)


def _range(_: OnnxNode, x: list[Array]) -> Array:
    start, limit, delta = (a.item() for a in x)
    check_size((max(0, int((limit - start) / delta) + 1),))
    return np.arange(start, limit, delta, dtype=x[0].dtype)


def _div(_: OnnxNode, x: list[Array]) -> Array:
    if x[0].dtype.kind == "f":
        return np.asarray(x[0] / x[1])
    if not np.all(x[1]):
        raise ValueError("a division by zero")
    return np.asarray(np.trunc(x[0] / x[1]).astype(x[0].dtype))


def _mod(n: OnnxNode, x: list[Array]) -> Array:
    return np.asarray((np.fmod if n.integer("fmod", 0) else np.mod)(x[0], x[1]))


def _reduce(f: Callable[..., Array]) -> Fold:
    def fold(n: OnnxNode, x: list[Array]) -> Array:
        axes = _axes(n, x)
        if not axes and n.integer("noop_with_empty_axes", 0):
            return x[0]
        y = f(x[0], axis=axes or None, keepdims=bool(n.integer("keepdims", 1)))
        return np.asarray(y, x[0].dtype)

    return fold


def _all(f: Callable[..., Array]) -> Fold:
    """Any number of operands, broadcast, combined from the left."""
    return lambda _, x: np.asarray(reduce(f, x))


_REDUCE = ("axes", "keepdims", "noop_with_empty_axes")
CONSTANT = ("value", "value_float", "value_floats", "value_int", "value_ints")

FOLDERS = {
    "Constant": Folder(_constant, CONSTANT),
    "Identity": Folder(lambda _, x: x[0]),
    "Cast": Folder(_cast, ("to", "saturate", "round_mode")),
    "Shape": Folder(_shape, ("start", "end"), shape_only=True),
    "Size": Folder(_size, shape_only=True),
    "Gather": Folder(_gather, ("axis",)),
    "Squeeze": Folder(_squeeze, ("axes",)),
    "Unsqueeze": Folder(_unsqueeze, ("axes",)),
    "Reshape": Folder(_reshape, ("allowzero",)),
    "Transpose": Folder(_transpose, ("perm",)),
    "Concat": Folder(_concat, ("axis",)),
    "Slice": Folder(_slice, ("starts", "ends", "axes")),
    "Expand": Folder(_expand),
    "Tile": Folder(_tile),
    "ConstantOfShape": Folder(_constant_of_shape, ("value",)),
    "Range": Folder(_range),
    "Where": Folder(lambda _, x: np.where(x[0], x[1], x[2])),
    "NonZero": Folder(lambda _, x: np.array(np.nonzero(x[0]), np.int64)),
    "Equal": Folder(lambda _, x: np.equal(x[0], x[1])),
    "Less": Folder(lambda _, x: np.less(x[0], x[1])),
    "LessOrEqual": Folder(lambda _, x: np.less_equal(x[0], x[1])),
    "Greater": Folder(lambda _, x: np.greater(x[0], x[1])),
    "GreaterOrEqual": Folder(lambda _, x: np.greater_equal(x[0], x[1])),
    "Not": Folder(lambda _, x: np.logical_not(x[0])),
    "And": Folder(lambda _, x: np.logical_and(x[0], x[1])),
    "Or": Folder(lambda _, x: np.logical_or(x[0], x[1])),
    "Add": Folder(_all(np.add)),
    "Sub": Folder(_all(np.subtract)),
    "Mul": Folder(_all(np.multiply)),
    "Div": Folder(_div),
    "Mod": Folder(_mod, ("fmod",)),
    "Min": Folder(_all(np.minimum)),
    "Max": Folder(_all(np.maximum)),
    "Pow": Folder(lambda _, x: np.asarray(np.power(x[0], x[1]), x[0].dtype)),
    "Neg": Folder(lambda _, x: -x[0]),
    "Abs": Folder(lambda _, x: np.abs(x[0])),
    "Floor": Folder(lambda _, x: np.floor(x[0])),
    "Ceil": Folder(lambda _, x: np.ceil(x[0])),
    "ReduceProd": Folder(_reduce(np.prod), _REDUCE),
    "ReduceSum": Folder(_reduce(np.sum), _REDUCE),
    "ReduceMax": Folder(_reduce(np.max), _REDUCE),
    "ReduceMin": Folder(_reduce(np.min), _REDUCE),
}
