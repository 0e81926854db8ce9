"""max_pool2d and avg_pool2d, NHWC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Attr, Op, Value
from tinycc_nn.ir.types import F32, Array, TensorType
from tinycc_nn.numeric.requantize import multipliers, requantize
from tinycc_nn.ops.activation import stored_limits
from tinycc_nn.ops.conv import WINDOW, window_shape
from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.layout import image_axes, to_nchw, to_nhwc
from tinycc_nn.ops.registry import flag, ints
from tinycc_nn.ops.window import ATTRIBUTES, Pair, Window, read_window
from tinycc_nn.reader import Node, Reader


def _infer_shape(op: Op) -> tuple[int, ...]:
    x = op.operands[0].type
    kernel = ints(op, "kernel")
    if x.rank != 4 or len(kernel) != 2:
        raise TinyccError(
            f"{op.name}: the input must have 4 axes (NHWC), the kernel 2", op.loc, "[rows, columns]"
        )
    rows, columns = window_shape(op, (kernel[0], kernel[1]))
    if _inside(op, rows, columns).min() < 1:
        raise TinyccError(
            f"{op.name}: a window lies in the padding alone", op.loc, "make the padding smaller"
        )
    return x.shape[0], rows, columns, x.shape[3]


def infer_max(op: Op) -> tuple[TensorType, ...]:
    return (op.operands[0].type.with_shape(*_infer_shape(op)),)


def infer_avg(op: Op) -> tuple[TensorType, ...]:
    return (TensorType(op.operands[0].type.dtype, _infer_shape(op)),)


def _inside(op: Op, rows: int, columns: int) -> Array:
    """int64[rows, columns]: the pixels of the image that each window covers."""
    _, h, w, _ = op.operands[0].type.shape
    top, _, left, _ = ints(op, "pad")

    def along(size: int, out: int, axis: int, before: int) -> Array:
        first = np.arange(out)[:, None] * ints(op, "stride")[axis] - before
        at = first + np.arange(ints(op, "kernel")[axis]) * ints(op, "dilation")[axis]
        return np.asarray(((at >= 0) & (at < size)).sum(axis=1))

    return np.outer(along(h, rows, 0, top), along(w, columns, 1, left))


def window_counts(op: Op) -> Array:
    """int64[rows, columns]: what the sum of each window of an avg_pool2d is divided by."""
    _, rows, columns, _ = op.type.shape
    if flag(op, "count_pad"):
        kh, kw = ints(op, "kernel")
        return np.full((rows, columns), kh * kw, np.int64)
    return _inside(op, rows, columns)


def average_multipliers(op: Op) -> tuple[Array, int]:
    """int32[rows, columns] multipliers of an int8 avg_pool2d and their one shift.

    A window of n counted pixels has the factor sx / (sy * n). All windows share the shift, that
    of the smallest n.
    """
    x, y = op.operands[0].type.quant, op.type.quant
    assert x is not None and y is not None
    counts = window_counts(op)
    m, shift = multipliers(x.scales() / (y.scales() * counts.reshape(-1)))
    return m.reshape(counts.shape), shift


def _combine(op: Op, x: Array, fill: float, function: Callable[[Array, Array], Array]) -> Array:
    """[n, h, w, c] padded by `fill`, windows combined by columns of taps, then rows of them."""
    top, bottom, left, right = ints(op, "pad")
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    for axis in (0, 1):
        out, s, d = op.type.shape[axis + 1], ints(op, "stride")[axis], ints(op, "dilation")[axis]
        taps = [slice(i * d, i * d + (out - 1) * s + 1, s) for i in range(ints(op, "kernel")[axis])]
        x = reduce(function, [x[:, t] if axis == 0 else x[:, :, t] for t in taps])
    return x


def run_max(op: Op, x: Array) -> Array:
    fill = -np.inf if x.dtype == np.float32 else np.iinfo(x.dtype).min
    y = _combine(op, x.reshape(-1, *x.shape[2:]), fill, np.maximum)
    return y.reshape(x.shape[0], *op.type.shape)


def run_avg(op: Op, x: Array) -> Array:
    images = x.reshape(-1, *x.shape[2:])
    if op.type.dtype == F32:
        counts = window_counts(op).astype(np.float32)[..., None]
        y = _combine(op, images, 0, np.add) / counts
    else:
        qx, qy = op.operands[0].type.quant, op.type.quant
        assert qx is not None and qy is not None
        acc = _combine(op, images.astype(np.int64) - qx.zero, 0, np.add)
        m, shift = average_multipliers(op)
        y = requantize(
            acc, m[..., None], shift, qy.zero, *stored_limits(op.type.dtype), op.type.dtype.numpy
        )
    return y.reshape(x.shape[0], *op.type.shape)


KERNEL = Attribute("kernel", tuple, "[rows, columns] of the window")

OPS = (
    OpDef(
        "max_pool2d",
        "the largest element of each window of x[n,h,w,c]; padding never wins",
        infer_max,
        run_max,
        (KERNEL, *WINDOW),
        int8=Int8.STORAGE,
    ),
    OpDef(
        "avg_pool2d",
        "the mean of each window of x f32|i8[n,h,w,c]; int8: the sum of x - zero, one multiplier "
        "sx / (sy * n) for each number n of counted pixels, one shift for all",
        infer_avg,
        run_avg,
        (KERNEL, *WINDOW, Attribute("count_pad", False, "padding counts in the mean, as 0")),
        int8=Int8.REQUANTIZE,
        int16=True,
    ),
)


def read_pool(n: Node) -> Value:
    if n.results > 1:
        raise n.fail("MaxPool with Indices is not supported")
    axes = image_axes(n, n.value(0))
    x = to_nhwc(n, n.value(0))
    _, rows, columns, _ = x.type.shape
    window = read_window(n, axes, (rows, columns))
    if n.integer("ceil_mode", 0) and n.text("auto_pad", "NOTSET") == "NOTSET":
        longer = _ceil_padding(window, (rows, columns))
    else:
        longer = window.after
    count_pad = bool(n.integer("count_include_pad", 0))
    if count_pad and any(a > b for a, b in zip(longer, window.after, strict=True)):
        # The node's own padding counts, what rounding up adds does not.
        x, window, longer = _pad_ahead(n, x, window, longer)
        count_pad = False
    window = replace(window, after=longer)
    attrs: dict[str, Attr] = {"kernel": window.kernel, **window.attrs()}
    if n.op_type == "MaxPool":
        return to_nchw(n, n.emit("max_pool2d", [x], attrs), axes)
    return to_nchw(n, n.emit("avg_pool2d", [x], {**attrs, "count_pad": count_pad}), axes)


def _ceil_padding(window: Window, size: Pair) -> Pair:
    """The padding after the image that gives as many windows as rounding up does.

    A window that would start behind the image and its own padding is dropped.
    """

    def after(axis: int) -> int:
        before, stride, span = window.before[axis], window.stride[axis], window.span(axis)
        room = size[axis] + before
        last = -(-(room + window.after[axis] - span) // stride)
        if last * stride >= room:
            last -= 1
        return max(last * stride + span - room, 0)

    return after(0), after(1)


def _pad_ahead(n: Node, x: Value, window: Window, longer: Pair) -> tuple[Value, Window, Pair]:
    """The image padded by zeros in an op of its own; the window, and the padding left after it."""
    (top, left), (bottom, right) = window.before, window.after
    if any((top, bottom, left, right)):
        pads = (0, 0, top, bottom, left, right, 0, 0)
        x = n.emit("pad", [x], {"pads": pads, "value": 0.0})
    rest = (max(longer[0] - window.after[0], 0), max(longer[1] - window.after[1], 0))
    return x, replace(window, before=(0, 0), after=(0, 0)), rest


def read_global(n: Node) -> Value:
    x, name = n.value(0), "reduce_mean" if n.op_type == "GlobalAveragePool" else "reduce_max"
    if x.type.rank == 4:
        return to_nchw(n, n.emit(name, [to_nhwc(n, x)], {"axes": (1, 2)}), 2)
    if x.type.rank < 3:
        raise n.fail(f"{n.op_type} of a tensor with {x.type.rank} axes", "[n, c, ...]")
    return n.emit(name, [x], {"axes": tuple(range(2, x.type.rank))})


READERS = (
    # The storage order only tells how Indices count.
    Reader(("MaxPool",), read_pool, (*ATTRIBUTES, "ceil_mode", "storage_order")),
    Reader(("AveragePool",), read_pool, (*ATTRIBUTES, "ceil_mode", "count_include_pad")),
    Reader(("GlobalAveragePool", "GlobalMaxPool"), read_global),
)
