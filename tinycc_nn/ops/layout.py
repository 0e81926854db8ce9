"""For readers: images from ONNX's NCHW to NHWC and back, constant weights into the IR's layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinycc_nn.ir.graph import Value
from tinycc_nn.ir.types import Array, Blob, Quant
from tinycc_nn.numeric.requantize import dequantize
from tinycc_nn.ops.registry import opdef
from tinycc_nn.reader import Node

Move = Callable[[Array], Array]


def image_axes(n: Node, x: Value) -> int:
    """1 for [n, c, length], 2 for [n, c, h, w]; an error for anything else."""
    if x.type.rank not in (3, 4):
        raise n.fail(
            f"{n.op_type} of a tensor with {x.type.rank} axes",
            "1-D and 2-D are supported: [n, c, length] and [n, c, height, width]",
        )
    return x.type.rank - 2


def to_nhwc(n: Node, x: Value) -> Value:
    """[n, c, h, w] or [n, c, length] as [n, h, w, c] or [n, 1, length, c]."""
    if x.type.rank == 4:
        return n.emit("transpose", [x], {"perm": (0, 2, 3, 1)})
    batch, c, length = x.type.shape
    y = n.emit("transpose", [x], {"perm": (0, 2, 1)})
    return n.emit("reshape", [y], {"shape": (batch, 1, length, c)})


def to_nchw(n: Node, y: Value, axes: int) -> Value:
    """The way back from `to_nhwc`, for `axes` of an image."""
    if axes == 2:
        return n.emit("transpose", [y], {"perm": (0, 3, 1, 2)})
    batch, _, length, c = y.type.shape
    flat = n.emit("reshape", [y], {"shape": (batch, length, c)})
    return n.emit("transpose", [flat], {"perm": (0, 2, 1)})


@dataclass(frozen=True)
class Known:
    """A constant: float32[...], or stored integers with the scale of each (float64, same shape)."""

    stored: Array
    scale: Array | None = None
    zero: int = 0

    def real(self) -> Array:
        """float32[...]: what it stands for."""
        if self.scale is None:
            return self.stored
        return dequantize(self.stored, self.scale, self.zero)

    def move(self, move: Move) -> Known:
        """With its elements in another order."""
        scale = None if self.scale is None else move(self.scale)
        return Known(move(self.stored), scale, self.zero)


def known(v: Value) -> Known | None:
    """What `v` is at compile time: a constant, also dequantized, transposed or reshaped."""
    op = v.owner
    if v.constant is not None:
        return Known(v.constant)
    if op is None or op.name not in ("dequantize", "transpose", "reshape"):
        return None
    inner = known(op.operands[0])
    if inner is None or op.name == "dequantize":
        q = op.operands[0].type.quant
        if inner is None or q is None or inner.scale is not None:
            return None
        scale = np.broadcast_to(q.broadcast(inner.stored.ndim), inner.stored.shape)
        return Known(inner.stored, scale, q.zero)
    return inner.move(lambda a: np.asarray(opdef(op.name).run(op, a[None])[0]))


def weight(n: Node, index: int, move: Move) -> Value:
    """Input `index`, a constant, with its elements in the IR's order.

    Quantized weights stay so, with one scale or one for each slice along axis 0. An error if the
    input isn't known at compile time.
    """
    v = n.value(index)
    found = known(v) or Known(n.constant(index))
    moved = found.move(move)
    if moved.scale is None:
        return n.add_constant(moved.stored)
    scales = moved.scale.reshape(len(moved.scale), -1)
    if not (scales == scales[:, :1]).all():
        return n.add_constant(moved.real())
    if (scales == scales[0, 0]).all():
        q = Quant(float(scales[0, 0]), moved.zero)
    else:
        name = f"{v.name.rstrip(chr(39))}.scale"
        q = Quant(Blob(name, scales[:, 0].astype(np.float32)), moved.zero, 0)
    return n.emit("dequantize", [n.add_constant(moved.stored, q)])
