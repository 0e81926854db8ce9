"""conv2d: convolution, NHWC with OHWI weights; grouped and depthwise by `groups`."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op, Value
from tinycc_nn.ir.types import F32, Array, TensorType
from tinycc_nn.numeric import exact
from tinycc_nn.numeric.requantize import multipliers, requantize
from tinycc_nn.ops.activation import ACT, clamp, int8_bounds
from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.layout import image_axes, to_nchw, to_nhwc, weight
from tinycc_nn.ops.registry import ints, number
from tinycc_nn.ops.window import ATTRIBUTES, read_window
from tinycc_nn.reader import Node, Reader

WINDOW = (
    Attribute("stride", (1, 1), "[rows, columns]"),
    Attribute("pad", (0, 0, 0, 0), "[top, bottom, left, right], in pixels of real value 0"),
    Attribute("dilation", (1, 1), "[rows, columns]"),
)

SKIP = Attribute(
    "skip",
    0,
    "inputs that are zero are skipped at run time: 1..100, the percentage that was; 0: no",
)


def out_size(size: int, kernel: int, stride: int, dilation: int, pads: int) -> int:
    """Positions of a window along one axis."""
    return (size + pads - dilation * (kernel - 1) - 1) // stride + 1


def check_window(op: Op) -> None:
    """TinyccError for a stride, a dilation or a number of groups under 1, or a pad under 0."""
    least = {"stride": 1, "dilation": 1, "groups": 1, "pad": 0}
    for name, bound in least.items():
        given = op.attrs.get(name, bound)
        numbers = given if isinstance(given, tuple) else (given,)
        if any(isinstance(n, int | float) and n < bound for n in numbers):
            raise TinyccError(f"{op.name}: '{name}' must be at least {bound}", op.loc)


def check_skip(op: Op) -> None:
    """TinyccError for a percentage outside 0..100."""
    if not 0 <= number(op, "skip") <= 100:
        raise TinyccError(f"{op.name}: 'skip' must be in 0..100", op.loc, "it is a percentage")


def window_shape(op: Op, kernel: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the result of a windowed op; TinyccError if the window doesn't fit."""
    check_window(op)
    _, h, w, _ = op.operands[0].type.shape
    (sh, sw), (dh, dw) = ints(op, "stride"), ints(op, "dilation")
    top, bottom, left, right = ints(op, "pad")
    rows = out_size(h, kernel[0], sh, dh, top + bottom)
    columns = out_size(w, kernel[1], sw, dw, left + right)
    if rows < 1 or columns < 1:
        raise TinyccError(
            f"{op.name}: a window of {kernel[0]}x{kernel[1]} does not fit {h}x{w}", op.loc
        )
    return rows, columns


_PIECE = 2**16
"""Elements of a result that are computed at once."""


def infer(op: Op) -> tuple[TensorType, ...]:
    check_window(op)
    check_skip(op)
    x, w = op.operands[0].type, op.operands[1].type
    groups = int(number(op, "groups"))
    if x.rank != 4 or w.rank != 4:
        raise TinyccError("conv2d: input and weights must have 4 axes", op.loc, "NHWC and OHWI")
    if x.shape[3] != w.shape[3] * groups or w.shape[0] % groups:
        raise TinyccError(
            f"conv2d: the input has {x.shape[3]} channels, the weight {op.operands[1]} takes "
            f"{w.shape[3]} in each of {groups} groups",
            op.loc,
            "weights are OHWI: [out, height, width, in / groups]",
        )
    if len(op.operands) == 3 and op.operands[2].type.shape != (w.shape[0],):
        raise TinyccError(f"conv2d: the bias must have {w.shape[0]} elements", op.loc)
    rows, columns = window_shape(op, (w.shape[1], w.shape[2]))
    return (TensorType(x.dtype, (x.shape[0], rows, columns, w.shape[0])),)


def windows(op: Op, x: Array, kernel: tuple[int, int], fill: float) -> Array:
    """[n, h, w, c] padded by `fill`, as a view [n, rows, columns, kh, kw, c]."""
    (sh, sw), (dh, dw) = ints(op, "stride"), ints(op, "dilation")
    top, bottom, left, right = ints(op, "pad")
    if any((top, bottom, left, right)):
        n, h, w, c = x.shape
        padded = np.full((n, top + h + bottom, left + w + right, c), fill, x.dtype)
        padded[:, top : top + h, left : left + w] = x
        x = padded
    n, h, w, c = x.shape
    rows, columns = out_size(h, kernel[0], sh, dh, 0), out_size(w, kernel[1], sw, dw, 0)
    across, down, along, deep = x.strides
    strides = (across, sh * down, sw * along, dh * down, dw * along, deep)
    shape = (n, rows, columns, *kernel, c)
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)


def accumulate(op: Op, x: Array, w: Array, fill: float) -> Array:
    """The sums of products: [n, rows, columns, out], computed in the dtype that x and w have."""
    o, kh, kw, per_group = w.shape
    groups = int(number(op, "groups"))
    patches = windows(op, x, (kh, kw), fill)
    n, rows, columns = patches.shape[:3]
    if per_group == 1 and groups == o:
        return _depthwise(patches, w)
    parts = []
    for g in range(groups):
        a = patches[..., g * per_group : (g + 1) * per_group].reshape(n * rows * columns, -1)
        b = w[g * (o // groups) : (g + 1) * (o // groups)].reshape(o // groups, -1).T
        parts.append(a @ b)
    return np.concatenate(parts, axis=-1).reshape(n, rows, columns, o)


def _depthwise(patches: Array, w: Array) -> Array:
    """`accumulate` of a filter for each channel, some images at a time, which stay in the cache."""
    *shape, kh, kw, o = patches.shape
    total = np.zeros((*shape, o), w.dtype)
    at_once = max(1, _PIECE * shape[0] // max(1, total.size))
    product = np.empty_like(total[:at_once])
    for first in range(0, shape[0], at_once):
        some = slice(first, first + at_once)
        part, into = patches[some], total[some]
        for i in range(kh):
            for j in range(kw):
                taps = np.multiply(part[:, :, :, i, j], w[:, i, j, 0], out=product[: len(part)])
                into += taps
    return total


def finish_int8(op: Op, acc: Array, bias: Array | None) -> Array:
    """int64 accumulators (zero points subtracted) of a weighted op to its int8 or int16 result.

    float64 ones, of weights that are not whole: floor((acc + bias) * factor + 1/2) + zero, saturated.
    """
    return finisher(op, bias)(acc)


def finisher(op: Op, bias: Array | None) -> Callable[[Array], Array]:
    """`finish_int8` for several arrays of accumulators: what they share is computed once."""
    x, w, y = op.operands[0].type, op.operands[1].type, op.type
    assert y.quant is not None
    factors, zero = x.steps() * w.steps() / y.steps(), y.quant.zero
    least, most = int8_bounds(op)
    if w.dtype.is_whole:
        m, shift = multipliers(factors)
        dtype = y.dtype.numpy
        return lambda acc: requantize(acc, m, shift, zero, least, most, dtype, bias)

    def finish(acc: Array) -> Array:
        total = acc if bias is None else acc + bias.astype(np.float64)
        real = np.floor(total * factors + 0.5) + zero
        return np.asarray(np.clip(real, least, most).astype(y.dtype.numpy))

    return finish


def run(op: Op, x: Array, w: Array, b: Array | None = None) -> Array:
    samples = x.shape[0]
    images, weight = x.reshape(-1, *x.shape[2:]), op.operands[1].type.dtype.decode(w[0])
    bias = None if b is None else b[0]
    if op.type.dtype == F32:
        y = accumulate(op, images, weight, 0.0)
        y = clamp(op, y if bias is None else y + bias)
    else:
        y = _run_int8(op, images, weight, bias)
    return y.reshape(samples, *op.type.shape)


def _run_int8(op: Op, images: Array, weight: Array, bias: Array | None) -> Array:
    """The result as stored, [n, rows, columns, out], of images as stored."""
    qx, qw = op.operands[0].type.quant, op.operands[1].type.quant
    assert qx is not None and qw is not None
    offset = weight.astype(np.float64) - qw.zero
    whole = op.operands[1].type.dtype.is_whole
    kind: np.dtype[Any] = np.dtype(np.float64)
    if whole:
        far = exact.largest(images) + abs(qx.zero)
        kind = exact.product_dtype(far, offset.reshape(len(offset), -1).T)
    offset = offset.astype(kind)
    finish = finisher(op, bias)

    def compute(some: Array) -> Array:
        centred = some.astype(kind)
        centred -= kind.type(qx.zero)
        acc = accumulate(op, centred, offset, 0)
        return finish(acc.astype(np.int64) if whole else acc)

    # Integers come out the same in pieces, which stay in the cache.
    at_once = max(1, _PIECE // op.type.size) if whole else len(images)
    return np.concatenate(
        [compute(images[i : i + at_once]) for i in range(0, len(images), at_once)]
    )


def macs(op: Op) -> int:
    return op.type.size * prod(op.operands[1].type.shape[1:])


OPS = (
    OpDef(
        "conv2d",
        "convolution of x f32|i8[n,h,w,c] with weights [o,kh,kw,c/groups] and an optional bias [o]",
        infer,
        run,
        (
            *WINDOW,
            Attribute("groups", 1, "input channels are split into so many groups"),
            *ACT,
            SKIP,
        ),
        roles=("x", "weight", "bias"),
        macs=macs,
        int8=Int8.REQUANTIZE,
        int16=True,
    ),
)


def ohwi(w: Array) -> Array:
    """Weights [o, i, h, w] or [o, i, length] as [o, h, w, i]."""
    return np.moveaxis(w[:, :, None] if w.ndim == 3 else w, 1, 3)


def read(n: Node) -> Value:
    axes = image_axes(n, n.value(0))
    if n.value(1).type.rank != axes + 2:
        raise n.fail(f"the weights have {n.value(1).type.rank} axes, the input {axes + 2}")
    x, w = to_nhwc(n, n.value(0)), weight(n, 1, ohwi)
    _, rows, columns, _ = x.type.shape
    _, kh, kw, _ = w.type.shape
    window = read_window(n, axes, (rows, columns), (kh, kw))
    bias = n.optional(2)
    operands = [x, w] if bias is None else [x, w, bias]
    y = n.emit("conv2d", operands, {**window.attrs(), "groups": n.integer("group", 1)})
    return to_nchw(n, y, axes)


READERS = (Reader(("Conv",), read, (*ATTRIBUTES, "group")),)
