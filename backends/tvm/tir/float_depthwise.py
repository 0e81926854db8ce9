"""float32 depthwise convolution: some channels of one output pixel at a time.

Channels are neighbours in memory, so their sums share the loop over the taps, and the taps outside
the input are left out of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir import taps
from tinycc_nn.backends.tvm.tir.blocks import clipped, multiply_add
from tinycc_nn.backends.tvm.tir.packing import Blocking
from tinycc_nn.backends.tvm.tir.template import Window, micro_kernel

Float32 = npt.NDArray[np.float32]
_SIGNATURE = (
    "const float *x, int32_t row, int32_t column, const float *weights, const float *bias, float *y"
)


def pack(weights: Float32, channels: int) -> Float32:
    """(channels, kernel rows, kernel columns) as blocks of ``channels``: taps, then channels."""
    flat = weights.reshape(len(weights), -1)
    return np.concatenate([flat[i : i + channels].T.ravel() for i in range(0, len(flat), channels)])


def block(w: Window, channels: int, low: float, high: float, *, fused: bool) -> tuple[str, str]:
    """``channels`` sums of the output pixel at (row, column), limited to [low, high]."""
    each, add = range(channels), multiply_add(fused)
    lines = [
        *taps.inside(w),
        *(f"float a{n} = bias[{n}];" for n in each),
        f"x += {taps.first(w)};",
        f"weights += (i0 * {w.kernel[1]} + j0) * {channels};",
        "for (int32_t i = i0; i < i1; ++i) {",
        f"  const float *s = x, *f = weights, *const end = f + (j1 - j0) * {channels};",
        "  while (f != end) {",
        *(f"    a{n} = {add(f's[{n}]', f'f[{n}]', f'a{n}')};" for n in each),
        f"    s += {w.dilation[1] * w.channels};",
        f"    f += {channels};",
        "  }",
        f"  x += {w.dilation[0] * w.width * w.channels};",
        f"  weights += {w.kernel[1] * channels};",
        "}",
    ]
    for n in each:
        lines += [*clipped(f"a{n}", low, high), f"y[{n}] = a{n};"]
    body = "".join(f"  {line}\n" for line in lines)
    return micro_kernel("float_depthwise", _SIGNATURE, body, f"{channels} channels of a pixel")


def function(
    w: Window, channels: int, low: float, high: float, *, fused: bool
) -> tuple[Any, tuple[str, ...]]:
    """The TIR function ``f(x, weights, bias, y)`` and its micro-kernels."""
    groups = Blocking(channels=channels).groups(w.channels)
    blocks = [block(w, g.width, low, high, fused=fused) for g in groups]
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    products = w.kernel[0] * w.kernel[1]
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((w.height * w.width * w.channels,), "float32"))
        f = T.arg("weights", T.Buffer((w.channels * products,), "float32"))
        b = T.arg("bias", T.Buffer((w.channels,), "float32"))
        y = T.arg("y", T.Buffer((w.pixels * w.channels,), "float32"))
        at = T.address_of
        with T.serial(w.out_height) as row, T.serial(w.out_width) as column:
            pixel = row * w.out_width + column
            for (name, _), g in zip(blocks, groups, strict=True):
                with T.serial(g.count) as j:
                    n = g.first + j * g.width
                    sums = at(f[n * products]), at(b[n]), at(y[pixel * w.channels + n])
                    T.evaluate(T.call_extern("void", name, at(x[n]), row, column, *sums))
    return builder.get(), tuple(text for _, text in blocks)
