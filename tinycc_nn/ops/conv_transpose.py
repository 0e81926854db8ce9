"""conv2d_transpose: transposed convolution, NHWC with OHWI weights."""

from __future__ import annotations

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import F32, Array, TensorType
from tinycc_nn.numeric import exact
from tinycc_nn.ops.activation import ACT, clamp
from tinycc_nn.ops.conv import finish_int8
from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.registry import ints, number


def out_size(size: int, kernel: int, stride: int, dilation: int, pads: int, extra: int) -> int:
    """Positions along one axis: what `size` windows cover, cropped by `pads`, plus `extra`."""
    return (size - 1) * stride + dilation * (kernel - 1) + 1 - pads + extra


def infer(op: Op) -> tuple[TensorType, ...]:
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
    images, weight = x.reshape(-1, *x.shape[2:]), w[0]
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
