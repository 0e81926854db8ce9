"""int8 convolution in plain C for cores without the DSP extension (and for any other machine).

The block of sums is TIR: its pixels and channels are unrolled, so that a loaded input serves
several channels and a loaded weight several pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir import im2col
from tinycc_nn.backends.tvm.tir.build import Strip, strips
from tinycc_nn.backends.tvm.tir.packing import Blocking, Group
from tinycc_nn.backends.tvm.tir.template import Int8, Requantize, Template, Window

Element = Callable[[int], Any]


def gemm_scalar(
    window: Window,
    out_channels: int,
    input_zero: int,
    requantize: Requantize,
    blocking: Blocking,
    *,
    direct: bool = True,
) -> Template:
    """A convolution with groups = 1, or a dense layer (a window of one pixel).

    A 1x1 convolution reads its input where it is and needs no scratch memory, unless ``direct`` is
    False: then it can work in place. Of ``blocking``, ``pixels`` and ``channels`` are used.
    """
    staged = not (window.pointwise and direct)
    in_place = window.pointwise and staged and out_channels <= window.channels
    parts = strips(window.pixels, blocking.pixels, overlap=not in_place)
    groups = Blocking(channels=blocking.channels).groups(out_channels)
    fills = [im2col.narrow(window, input_zero, s.pixels) for s in parts] if staged else []
    finish = requantize.micro_kernel()
    names = [name for name, _ in fills] if staged else [None] * len(parts)
    scratch = window.depth * parts[0].pixels if staged else 0
    return Template(
        f"scalar-{blocking.pixels}x{blocking.channels}",
        lambda: _function(
            list(zip(parts, names, strict=True)), groups, window, requantize, finish[0], scratch
        ),
        lambda w: pack_bytes(w, groups),
        dict([*fills, finish]),
        scratch,
        in_place,
    )


def pack_bytes(weights: Int8, groups: list[Group]) -> Int8:
    """Blocks of channels, then depth, then the channels of the block."""
    flat = weights.reshape(weights.shape[0], -1)
    starts = [(g.first + i * g.width, g.width) for g in groups for i in range(g.count)]
    return np.concatenate([flat[s : s + width].T.ravel() for s, width in starts])


def add_products(T: Any, acc: Any, x: Element, w: Element, pixels: int, channels: int) -> None:
    """TIR of ``acc[p * channels + n] += x(p) * w(n)`` for all pixels and channels."""
    for n in range(channels):
        for p in range(pixels):
            i = p * channels + n
            product = T.cast(x(p), "int32") * T.cast(w(n), "int32")
            T.buffer_store(acc, acc[i] + product, [i])


def _function(
    parts: list[tuple[Strip, str | None]],
    groups: list[Group],
    window: Window,
    requantize: Requantize,
    finish: str,
    scratch: int,
) -> Any:
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    depth, channels = window.depth, sum(g.width * g.count for g in groups)
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((window.height * window.width * window.channels,), "int8"))
        w = T.arg("weights", T.Buffer((channels * depth,), "int8"))
        b = T.arg("bias", T.Buffer((channels,), "int32"))
        m = T.arg("multiplier", T.Buffer((requantize.channels(channels),), "int32"))
        y = T.arg("y", T.Buffer((window.pixels * channels,), "int8"))
        s = T.arg("scratch", T.Buffer((scratch,), "int8")) if scratch else x
        acc = T.alloc_buffer((parts[0][0].pixels * groups[0].width,), "int32")
        for strip, fill in parts:
            with T.serial(strip.count) as i:
                pixel = strip.first + i * strip.pixels
                if strip.first + strip.count * strip.pixels > window.pixels:
                    pixel = T.min(pixel, window.pixels - strip.pixels)
                start = pixel * depth
                if fill is not None:
                    at = T.address_of
                    T.evaluate(T.call_extern("void", fill, at(x[0]), pixel, at(s[0])))
                    start = 0
                for g in groups:
                    sums = [(p, n) for n in range(g.width) for p in range(strip.pixels)]
                    with T.serial(g.count) as j:
                        first = g.first + j * g.width
                        for p, n in sums:
                            T.buffer_store(acc, b[first + n], [p * g.width + n])
                        with T.serial(depth) as k:
                            row = first * depth + k * g.width

                            def pixels(p: int, at: Any = start + k) -> Any:
                                return s[at + p * depth]

                            def weights(n: int, at: Any = row) -> Any:
                                return w[at + n]

                            add_products(T, acc, pixels, weights, strip.pixels, g.width)
                        for p, n in sums:
                            factor = m[first + n] if requantize.per_channel else m[0]
                            value = T.call_pure_extern("int8", finish, acc[p * g.width + n], factor)
                            T.buffer_store(y, value, [(pixel + p) * channels + first + n])
    return builder.get()
