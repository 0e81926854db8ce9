"""wide: int16 activations. Layers, sums, means and requantization in C; what moves elements by TE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.te.define import define, is_defined
from tinycc_nn.backends.tvm.tir import wide
from tinycc_nn.backends.tvm.tir.template import Window, folded_bias
from tinycc_nn.backends.tvm.tir.wide import Finish, Products
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op, Value
from tinycc_nn.ir.types import F32, I8, I16, Array
from tinycc_nn.ops import ints, is_storage
from tinycc_nn.ops.activation import int8_bounds, stored_limits
from tinycc_nn.ops.binary import quants, sum_factors
from tinycc_nn.ops.pool import average_multipliers
from tinycc_nn.ops.quant import requantize_factor
from tinycc_nn.ops.reduce import sum_multiplier
from tinycc_nn.target import Target

PRODUCT = {True: 1.7, False: 6.0}
"""Cycles of a product, with the DSP extension and without."""

TAP, ELEMENT = 14.0, 12.0
"""Cycles of an element of a window where each asks for its place, and of any other."""

Buffers = tuple[tuple[str, int, str], ...]


class Wide:
    """One kernel an op; two for products where there is the DSP extension."""

    wide = True

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if is_storage(op) and op.name != "max_pool2d":
            if is_defined(op):
                yield Kernel("wide-move", lambda: Code(*define(op)), 0, 300, 20.0 * op.type.size)
        elif op.name in ("conv2d", "dense"):
            yield from _layers(op, target)
        elif op.name in ("reduce_mean", "reduce_sum", "avg_pool2d", "max_pool2d"):
            yield from _windows(op)
        elif op.name in ("add", "sub", "requantize", "dequantize"):
            yield from _elements(op)


def _finish(op: Op, shift: int) -> Finish:
    assert op.type.quant is not None
    return Finish(shift, op.type.quant.zero, *int8_bounds(op))


def _layers(op: Op, target: Target) -> Iterator[Kernel]:
    if op.type.dtype != I16 or op.operands[0].type.dtype != I16:
        return
    shadow = Op(op.name, op.operands, op.attrs, (Value(replace(op.type, dtype=I8), "y"),))
    layer = Weighted.of(shadow)
    if layer is None or op.operands[1].type.dtype != I8:
        return
    finish = _finish(op, layer.requantize.shift)
    if layer.is_depthwise:
        yield _depthwise(op, layer, finish)
    elif layer.groups == 1:
        for dsp in {False, target.dsp}:
            yield _products(op, layer, finish, dsp)


def _products(op: Op, layer: Weighted, finish: Finish, dsp: bool) -> Kernel:
    per_channel = len(layer.multipliers) > 1
    p = Products(
        layer.window, len(layer.weights), layer.input_zero, finish, per_channel, dsp
    )  # fmt: skip
    packed = p.channels * p.depth

    def code() -> Code:
        bias = _folded(layer)
        buffers: Buffers = _of_layer(op, packed, bias, layer.multipliers)
        if p.staged:
            buffers = (*buffers, ("scratch", p.scratch, "int8"))
        kernels = p.micro_kernels()
        constants = (p.pack(layer.weights), bias, layer.multipliers)
        function = wide.function(kernels[-1][0], buffers)
        return Code(function, constants, tuple(text for _, text in kernels))

    nbytes = packed + layer.bias.nbytes + layer.multipliers.nbytes
    cycles = layer.macs * PRODUCT[dsp] + op.type.size * 12
    return Kernel(f"wide{'-dsp' if dsp else ''}", code, nbytes, 400, cycles, p.scratch)


def _folded(layer: Weighted) -> Array:
    """int32: the bias less what the zero point of the input adds, modulo 2^32 as sums are."""
    try:
        return folded_bias(layer.bias, layer.weights, layer.input_zero)
    except OverflowError:
        sums = layer.weights.reshape(len(layer.weights), -1).sum(axis=1, dtype=np.int64)
        folded = layer.bias.astype(np.int64) - layer.input_zero * sums
        return np.asarray(((folded + 2**31) % 2**32 - 2**31).astype(np.int32))


def _of_layer(op: Op, weights: int, bias: Array, m: Array) -> Buffers:
    return (
        ("x", op.operands[0].type.size, "int16"), ("weights", weights, "int8"),
        ("bias", len(bias), "int32"), ("multiplier", len(m), "int32"),
        ("y", op.type.size, "int16"),
    )  # fmt: skip


def _depthwise(op: Op, layer: Weighted, finish: Finish) -> Kernel:
    m = layer.multipliers

    def code() -> Code:
        name, text = wide.depthwise(layer.window, layer.input_zero, finish, len(m) > 1)
        buffers = _of_layer(op, layer.weights.size, layer.bias, m)
        weights = np.ascontiguousarray(layer.weights.reshape(-1), np.int8)
        return Code(wide.function(name, buffers), (weights, layer.bias, m), (text,))

    nbytes = layer.weights.size + layer.bias.nbytes + m.nbytes
    return Kernel("wide-depthwise", code, nbytes, 400, layer.macs * TAP)


def _windows(op: Op) -> Iterator[Kernel]:
    x, window = op.operands[0].type, _window(op)
    if window is None or x.dtype != I16 or x.quant is None:
        return
    zero = x.quant.zero

    def code() -> Code:
        buffers: Buffers = (("x", x.size, "int16"),)
        result = ("y", op.type.size, "int16")
        if op.name == "max_pool2d":
            name, text = wide.window_max(window)
            return Code(wide.function(name, (*buffers, result)), (), (text,))
        values, shift = _multipliers(op)
        name, text = wide.window_sum(window, zero, _plain_finish(op, shift))
        buffers = (*buffers, ("multiplier", values.size, "int32"), result)
        return Code(wide.function(name, buffers), (values,), (text,))

    taps = window.kernel[0] * window.kernel[1] * op.type.size
    yield Kernel("wide-window", code, 4 * window.pixels, 350, taps * TAP)


def _plain_finish(op: Op, shift: int) -> Finish:
    assert op.type.quant is not None
    return Finish(shift, op.type.quant.zero, *stored_limits(op.type.dtype))


def _window(op: Op) -> Window | None:
    """The geometry of a pool, or of a reduction over rows and columns, of one image."""
    x = op.operands[0].type
    if x.rank != 4 or x.shape[0] != 1:
        return None
    _, height, width, channels = x.shape
    if op.name in ("reduce_mean", "reduce_sum"):
        whole = sorted(ints(op, "axes")) == [1, 2] and height * width < 2**15
        return Window(height, width, channels, (height, width)) if whole else None
    (kh, kw), (sh, sw), (dh, dw) = (ints(op, n) for n in ("kernel", "stride", "dilation"))
    top, bottom, left, right = ints(op, "pad")
    if kh * kw >= 2**15:
        return None
    return Window(
        height, width, channels, (kh, kw), (sh, sw), (dh, dw), (top, left, bottom, right)
    )  # fmt: skip


def _multipliers(op: Op) -> tuple[Array, int]:
    if op.name == "avg_pool2d":
        values, shift = average_multipliers(op)
        return np.ascontiguousarray(values.reshape(-1)), shift
    m, shift = sum_multiplier(op)
    return np.array([m], np.int32), shift


def _elements(op: Op) -> Iterator[Kernel]:
    size = op.type.size
    types = {v.type.dtype for v in (*op.operands, op.result)}
    if any(v.type.shape != op.type.shape or v.constant is not None for v in op.operands):
        return
    if op.name == "dequantize" and types == {I16, F32}:
        q = op.operands[0].type.quant
        assert q is not None
        if isinstance(q.scale, float):
            name, text = wide.to_real(size, q.zero, q.scale)
            yield _element(op, name, text)
    elif op.name == "requantize":
        x = op.operands[0].type
        assert x.quant is not None
        m, shift = requantize_factor(op)
        kinds = (x.dtype.numpy.name, op.type.dtype.numpy.name)
        name, text = wide.rescale(size, kinds, x.quant.zero, m, _plain_finish(op, shift))
        yield _element(op, name, text)
    elif types == {I16} and op.name in ("add", "sub"):
        a, b, _ = quants(op)
        ma, mb, shift = sum_factors(op)
        finish = _finish(op, shift)
        name, text = wide.addition(size, (a.zero, b.zero), (ma, mb), finish)
        yield _element(op, name, text)


def _element(op: Op, name: str, text: str) -> Kernel:
    values = (*op.operands, op.result)
    names = [f"x{i}" for i in range(len(op.operands))] + ["y"]
    buffers = tuple(
        (n, v.type.size, v.type.dtype.numpy.name) for n, v in zip(names, values, strict=True)
    )
    same = tuple(i for i, v in enumerate(op.operands) if v.type.dtype == op.type.dtype)
    return Kernel(
        "wide-elements", lambda: Code(wide.function(name, buffers), (), (text,)),
        0, 120, op.type.size * ELEMENT, in_place=same,
    )  # fmt: skip


FAMILY = Wide()
