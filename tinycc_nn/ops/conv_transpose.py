"""conv2d_transpose: transposed convolution, NHWC with OHWI weights."""

from __future__ import annotations

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op, Value
from tinycc_nn.ir.types import F32, Array, TensorType
from tinycc_nn.numeric import exact
from tinycc_nn.ops.activation import ACT, clamp
from tinycc_nn.ops.conv import check_window, finish_int8
from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.layout import image_axes, to_nchw, to_nhwc, weight
from tinycc_nn.ops.registry import ints, number
from tinycc_nn.ops.window import ATTRIBUTES, Pair, per_axis, read_kernel, read_pads
from tinycc_nn.reader import Node, Reader


def out_size(size: int, kernel: int, stride: int, dilation: int, pads: int, extra: int) -> int:
    """Positions along one axis: what `size` windows cover, cropped by `pads`, plus `extra`."""
    return (size - 1) * stride + dilation * (kernel - 1) + 1 - pads + extra


def infer(op: Op) -> tuple[TensorType, ...]:
    check_window(op)
    x, w = op.operands[0].type, op.operands[1].type
    groups = int(number(op, "groups"))
    if x.rank != 4 or w.rank != 4:
        raise TinyccError(
            "conv2d_transpose: input and weights must have 4 axes", op.loc, "NHWC and OHWI"
        )
    n, h, width, c = x.shape
    out, kh, kw, per_group = w.shape
    if c != per_group * groups or out % groups:
        raise TinyccError(
            f"conv2d_transpose: the input has {c} channels, the weight {op.operands[1]} takes "
            f"{per_group} in each of {groups} groups",
            op.loc,
            "weights are OHWI: [out, height, width, in / groups]",
        )
    if len(op.operands) == 3 and op.operands[2].type.shape != (out,):
        raise TinyccError(f"conv2d_transpose: the bias must have {out} elements", op.loc)
    (sh, sw), (dh, dw), (eh, ew) = ints(op, "stride"), ints(op, "dilation"), ints(op, "output_pad")
    top, bottom, left, right = ints(op, "pad")
    rows = out_size(h, kh, sh, dh, top + bottom, eh)
    columns = out_size(width, kw, sw, dw, left + right, ew)
    if rows < 1 or columns < 1:
        raise TinyccError("conv2d_transpose: the padding crops the whole result", op.loc)
    return (TensorType(x.dtype, (n, rows, columns, out)),)


def accumulate(op: Op, x: Array, w: Array, *, integer: bool) -> Array:
    """The sums of products: [n, rows, columns, out], int64 if `integer`, else float32."""
    n, h, width, _ = x.shape
    out, kh, kw, per_group = w.shape
    groups = int(number(op, "groups"))
    (sh, sw), (dh, dw) = ints(op, "stride"), ints(op, "dilation")
    top, _, left, _ = ints(op, "pad")
    _, rows, columns, _ = op.type.shape
    high = max((h - 1) * sh + dh * (kh - 1) + 1, top + rows)
    wide = max((width - 1) * sw + dw * (kw - 1) + 1, left + columns)
    total = np.zeros((n, high, wide, out), np.int64 if integer else np.float32)
    each = out // groups
    for g in range(groups):
        a = x[..., g * per_group : (g + 1) * per_group]
        for i in range(kh):
            for j in range(kw):
                b = w[g * each : (g + 1) * each, i, j].T
                y, z = i * dh, j * dw
                spot = total[
                    :, y : y + (h - 1) * sh + 1 : sh, z : z + (width - 1) * sw + 1 : sw,
                    g * each : (g + 1) * each,
                ]  # fmt: skip
                spot += exact.matmul(a, b) if integer else a @ b
    return total[:, top : top + rows, left : left + columns]


def run(op: Op, x: Array, w: Array, b: Array | None = None) -> Array:
    samples = x.shape[0]
    images, weight = x.reshape(-1, *x.shape[2:]), op.operands[1].type.dtype.decode(w[0])
    bias = None if b is None else b[0]
    if op.type.dtype == F32:
        y = accumulate(op, images, weight, integer=False)
        y = clamp(op, y if bias is None else y + bias)
    else:
        qx, qw = op.operands[0].type.quant, op.operands[1].type.quant
        assert qx is not None and qw is not None
        centred = images.astype(np.int32) - qx.zero
        acc = accumulate(op, centred, weight.astype(np.int32) - qw.zero, integer=True)
        y = finish_int8(op, acc, bias)
    return y.reshape(samples, *op.type.shape)


def macs(op: Op) -> int:
    n, h, w, _ = op.operands[0].type.shape
    return n * h * w * op.operands[1].type.size


OPS = (
    OpDef(
        "conv2d_transpose",
        "transposed convolution of x f32|i8[n,h,w,c] with weights [o,kh,kw,c/groups] and an "
        "optional bias [o]: x[y,x] times w[:,i,j,:] adds to the result at "
        "[y * stride + i * dilation - top, x * stride + j * dilation - left]",
        infer,
        run,
        (
            Attribute("stride", (1, 1), "[rows, columns] between the windows of two input pixels"),
            Attribute("pad", (0, 0, 0, 0), "[top, bottom, left, right] that the result loses"),
            Attribute("output_pad", (0, 0), "[rows, columns] more at the bottom and the right"),
            Attribute("dilation", (1, 1), "[rows, columns]"),
            Attribute("groups", 1, "input channels are split into so many groups"),
            *ACT,
        ),
        roles=("x", "weight", "bias"),
        macs=macs,
        int8=Int8.REQUANTIZE,
    ),
)


def read(n: Node) -> Value:
    axes, groups = image_axes(n, n.value(0)), n.integer("group", 1)
    shape = n.value(1).type.shape
    if len(shape) != axes + 2 or groups < 1 or shape[0] % groups:
        raise n.fail(f"weights {list(shape)} do not fit {axes + 2} axes in {groups} groups")

    def ohwi(w: Array) -> Array:
        w = w[:, :, None] if w.ndim == 3 else w
        i, o, kh, kw = w.shape
        grouped = w.reshape(groups, i // groups, o, kh, kw).transpose(0, 2, 3, 4, 1)
        return grouped.reshape(groups * o, kh, kw, i // groups)

    x, w = to_nhwc(n, n.value(0)), weight(n, 1, ohwi)
    _, kh, kw, _ = w.type.shape
    kernel = read_kernel(n, axes, (kh, kw))
    stride, dilation = per_axis(n, "strides", axes, 1), per_axis(n, "dilations", axes, 1)
    (top, left), (bottom, right), extra = _crop(n, axes, x, kernel, stride, dilation)
    bias = n.optional(2)
    y = n.emit(
        "conv2d_transpose",
        [x, w] if bias is None else [x, w, bias],
        {
            "stride": stride,
            "pad": (top, bottom, left, right),
            "output_pad": extra,
            "dilation": dilation,
            "groups": groups,
        },
    )
    return to_nchw(n, y, axes)


def _crop(
    n: Node, axes: int, x: Value, kernel: Pair, stride: Pair, dilation: Pair
) -> tuple[Pair, Pair, Pair]:
    """The rows and columns cropped before and after, and those added.

    Where the result's shape is wanted, by `output_shape` or auto_pad=SAME, it tells the cropping.
    """
    before, after = read_pads(n, axes)
    extra = per_axis(n, "output_padding", axes, 0)
    mode = n.text("auto_pad", "NOTSET")
    size = (x.type.shape[1], x.type.shape[2])
    if n.has("output_shape"):
        wanted = per_axis(n, "output_shape", axes, 1)
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = (size[0] * stride[0], size[1] * stride[1])
    else:
        return before, after, extra
    total = [
        out_size(size[i], kernel[i], stride[i], dilation[i], 0, extra[i]) - wanted[i]
        for i in (0, 1)
    ]
    half = (max(total[0], 0) // 2, max(total[1], 0) // 2)
    rest = (max(total[0], 0) - half[0], max(total[1], 0) - half[1])
    more = (extra[0] + max(-total[0], 0), extra[1] + max(-total[1], 0))
    return (half, rest, more) if mode == "SAME_UPPER" else (rest, half, more)


READERS = (
    Reader(("ConvTranspose",), read, (*ATTRIBUTES, "group", "output_padding", "output_shape")),
)
