"""int8 convolution and dense layers for Cortex-M55 as plain loops that LLVM turns into MVE.

Only the requantization is written as vectors: in the loops over products LLVM finds VMLAVA by
itself, with as many sums in registers as the block has channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window

LANES = 4
"""int32 in a vector."""

SUMS = 64
"""Output channels that are requantized together: their sums lie on the stack."""


def gemm_mve(
    window: Window,
    out_channels: int,
    input_zero: int,
    requantize: Requantize,
    block: int,
    *,
    direct: bool = True,
) -> Template:
    """A convolution with groups = 1, or a dense layer, ``block`` output channels at a time.

    A 1x1 convolution reads its input where it is and needs no scratch memory, unless ``direct`` is
    False: then it can work in place. Others copy each pixel's window to ``depth`` bytes of scratch.

    The function reads the depth from a further constant: a short loop whose count is known LLVM
    unrolls before it looks for vectors, and then finds only vectors of four.
    """
    staged = not (window.pointwise and direct)
    return Template(
        f"mve-{block}",
        lambda: _function(window, out_channels, input_zero, requantize, block, staged),
        np.ravel,
        {},
        window.depth if staged else 0,
        window.pointwise and staged and out_channels <= window.channels,
    )


def _function(
    window: Window, out: int, zero: int, requantize: Requantize, block: int, staged: bool
) -> Any:
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    depth = window.depth
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((window.height * window.width * window.channels,), "int8"))
        w = T.arg("weights", T.Buffer((out * depth,), "int8"))
        b = T.arg("bias", T.Buffer((out,), "int32"))
        m = T.arg("multiplier", T.Buffer((requantize.channels(out),), "int32"))
        length = T.arg("depth", T.Buffer((1,), "int32"))
        y = T.arg("y", T.Buffer((window.pixels * out,), "int8"))
        s = T.arg("scratch", T.Buffer((depth,), "int8")) if staged else x
        sums = T.alloc_buffer((min(SUMS, out),), "int32")
        acc = [T.alloc_buffer((1,), "int32") for _ in range(block)]

        def add_up(source: Any, first: int, done: int, width: int, count: int) -> None:
            """Sums ``done`` .. ``done + width * count`` of the channels from ``first``."""
            with T.serial(count) as j:
                n = done + j * width
                for i in range(width):
                    T.buffer_store(acc[i], b[first + n + i], [0])
                with T.serial(length[0]) as k:
                    for i in range(width):
                        factor = w[(first + n + i) * depth + k]
                        product = T.cast(s[source + k], "int32") * T.cast(factor, "int32")
                        T.buffer_store(acc[i], acc[i][0] + product, [0])
                for i in range(width):
                    T.buffer_store(sums, acc[i][0], [n + i])

        with T.serial(window.out_height) as row, T.serial(window.out_width) as column:
            pixel = row * window.out_width + column
            if staged:
                copy_window(T, window, zero, (row, column), x, s)
            for first in range(0, out, SUMS):
                count = min(SUMS, out - first)
                full, rest = divmod(count, block)
                source = 0 if staged else pixel * depth
                if full:
                    add_up(source, first, 0, block, full)
                if rest:
                    add_up(source, first, full * block, rest, 1)

                def store(c: Any, first: int = first, pixel: Any = pixel) -> None:
                    value = requantized(T, requantize, sums[c], m, first + c)
                    T.buffer_store(y, value, [pixel * out + first + c])

                in_vectors(T, count, store)
    return builder.get()


def in_vectors(T: Any, count: int, body: Any) -> None:
    """``body(i)`` for i below ``count``, four at a time and the rest one by one."""
    full, rest = divmod(count, LANES)
    if full:
        with T.serial(full) as i, T.vectorized(LANES) as lane:
            body(i * LANES + lane)
    if rest:
        with T.serial(rest) as i:
            body(full * LANES + i)


def requantized(T: Any, r: Requantize, acc: Any, multiplier: Any, channel: Any) -> Any:
    """int8 of a sum, by helpers of the prelude."""
    factor = multiplier[channel] if r.per_channel else multiplier[0]
    numbers = [T.int32(v) for v in (r.shift, r.zero, r.low, r.high)]
    if r.shift < 32 and not r.narrow:
        return T.call_pure_extern("int8", "tcnn_requantize64", acc, factor, *numbers)
    scaled = acc if r.shift == 32 else acc * T.int32(1 << (32 - r.shift))
    value = T.call_pure_extern("int32", "tcnn_requantize32", scaled, factor, numbers[1])
    return T.call_pure_extern("int8", "tcnn_clamp", value, *numbers[2:])


def copy_window(T: Any, w: Window, zero: int, pixel: tuple[Any, Any], x: Any, s: Any) -> None:
    """The window of an output pixel to ``s``; outside the image there are zero points.

    Where the whole window lies in the image, whole rows of it are copied.
    """
    (kh, kw), (dy, dx), channels = w.kernel, w.dilation, w.channels
    y0, x0 = pixel[0] * w.stride[0] - w.pad[0], pixel[1] * w.stride[1] - w.pad[1]

    def inside() -> None:
        run = kw * channels if dx == 1 else channels
        with T.serial(kh) as ky, T.serial(kw * channels // run) as kx, T.serial(run) as c:
            start = ((y0 + ky * dy) * w.width + x0 + kx * dx) * channels
            T.buffer_store(s, x[start + c], [(ky * kw + kx) * channels + c])

    if not any(w.pad):
        inside()
        return
    last_y, last_x = y0 + (kh - 1) * dy, x0 + (kw - 1) * dx
    with T.If(T.And(T.And(y0 >= 0, last_y < w.height), T.And(x0 >= 0, last_x < w.width))):
        with T.Then():
            inside()
        with T.Else(), T.serial(kh) as ky, T.serial(kw) as kx:
            iy, ix = y0 + ky * dy, x0 + kx * dx
            to = (ky * kw + kx) * channels
            with T.If(T.And(T.And(iy >= 0, iy < w.height), T.And(ix >= 0, ix < w.width))):
                with T.Then(), T.serial(channels) as c:
                    T.buffer_store(s, x[(iy * w.width + ix) * channels + c], [to + c])
                with T.Else(), T.serial(channels) as c:
                    T.buffer_store(s, T.int8(zero), [to + c])
