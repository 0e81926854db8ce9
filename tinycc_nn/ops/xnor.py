"""pack_signs and xnor_conv2d: activations and weights of one bit, +1 or -1, 32 to a word."""

from __future__ import annotations

import numpy as np

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import I8, I32, Array, TensorType
from tinycc_nn.numeric import exact
from tinycc_nn.ops.activation import ACT
from tinycc_nn.ops.conv import WINDOW, finish_int8, window_shape, windows
from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.registry import number

WORD = 32


def pack_bits(bits: Array) -> Array:
    """int32[..., ceil(c / 32)] of bool[..., c]: the first one is the lowest bit; zeros behind them."""
    filled = np.zeros((*bits.shape[:-1], -(-bits.shape[-1] // WORD) * WORD), np.bool_)
    filled[..., : bits.shape[-1]] = bits
    packed = np.packbits(filled, axis=-1, bitorder="little")
    return np.ascontiguousarray(packed).view("<i4")


def signs(words: Array, channels: int) -> Array:
    """float32[..., channels], +1 or -1, of int32[..., words]."""
    raw = np.ascontiguousarray(words, "<i4").view(np.uint8)
    bits = np.unpackbits(raw, axis=-1, count=channels, bitorder="little")
    return np.asarray(2 * bits.astype(np.float32) - 1)


def infer_pack(op: Op) -> tuple[TensorType, ...]:
    x = op.operands[0].type
    if x.dtype != I8 or x.rank != 4:
        raise TinyccError(f"pack_signs takes i8[n,h,w,c], not {x}", op.loc)
    return (TensorType(I32, (*x.shape[:3], -(-x.shape[3] // WORD))),)


def run_pack(op: Op, x: Array) -> Array:
    return pack_bits(x.astype(np.int16) >= number(op, "threshold"))


def infer_conv(op: Op) -> tuple[TensorType, ...]:
    x, w = op.operands[0].type, op.operands[1].type
    channels = int(number(op, "channels"))
    if x.dtype != I32 or w.dtype != I32 or x.rank != 4 or w.rank != 4:
        raise TinyccError("xnor_conv2d: input and weights must be i32 with 4 axes", op.loc)
    if channels < 1 or {x.shape[3], w.shape[3]} != {-(-channels // WORD)}:
        raise TinyccError(
            f"xnor_conv2d: {channels} channels are {-(-channels // WORD)} words, not {x.shape[3]} "
            f"and {w.shape[3]}",
            op.loc,
            "pack_signs makes them",
        )
    if op.operands[2].type.shape != (w.shape[0],):
        raise TinyccError(f"xnor_conv2d: the bias must have {w.shape[0]} elements", op.loc)
    rows, columns = window_shape(op, (w.shape[1], w.shape[2]))
    return (TensorType(I8, (x.shape[0], rows, columns, w.shape[0])),)


def run_conv(op: Op, x: Array, w: Array, b: Array) -> Array:
    channels = int(number(op, "channels"))
    images, weight = signs(x.reshape(-1, *x.shape[2:]), channels), signs(w[0], channels)
    out, kh, kw, _ = weight.shape
    fields = windows(op, images, (kh, kw), -1.0)
    acc = exact.matmul(fields.reshape(-1, kh * kw * channels), weight.reshape(out, -1).T)
    return finish_int8(op, acc, b[0]).reshape(x.shape[0], *op.type.shape)


def macs(op: Op) -> int:
    _, kh, kw, _ = op.operands[1].type.shape
    return op.type.size * kh * kw * int(number(op, "channels"))


OPS = (
    OpDef(
        "pack_signs",
        "the bits x >= threshold of x i8[n,h,w,c], packed along c into i32[n,h,w,ceil(c / 32)]",
        infer_pack,
        run_pack,
        (Attribute("threshold", int, "in stored units"),),
        int8=Int8.REQUANTIZE,
    ),
    OpDef(
        "xnor_conv2d",
        "convolution of x with weights of packed bits, +1 or -1, and a bias [o]; padding counts as -1",
        infer_conv,
        run_conv,
        (*WINDOW, Attribute("channels", int, "of the input, as bits"), *ACT),
        roles=("x", "weight", "bias"),
        macs=macs,
        int8=Int8.REQUANTIZE,
    ),
)
