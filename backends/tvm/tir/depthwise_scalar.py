"""Depthwise convolution in plain C: one channel at a time, as a padded plane of int8."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.plane import Plane
from tinycc_nn.backends.tvm.tir.scalar import add_products
from tinycc_nn.backends.tvm.tir.template import Int8, Requantize, Template, Window


def depthwise_scalar(
    window: Window,
    input_zero: int,
    requantize: Requantize,
    rows: int = 0,
    columns: int = 4,
    *,
    unroll: bool = True,
) -> Template:
    """A depthwise convolution with one output channel for each input channel.

    ``rows``: output rows from one filling of the scratch memory, 0 for all; fewer take less memory
    and more instructions. ``columns``: outputs of a row that share a loaded weight. ``unroll`` the
    kernel's columns. In place where the output is as large as the input and the scratch memory
    holds a whole channel.
    """
    plane = Plane(window, min(rows or window.out_height, window.out_height), wide=False)
    clear, fill, finish = plane.clear(input_zero), plane.fill(input_zero), requantize.micro_kernel()
    return Template(
        f"depthwise-scalar-{plane.rows}x{columns}",
        lambda: _function(plane, requantize, columns, unroll, (clear[0], fill[0], finish[0])),
        pack_channels,
        dict([clear, fill, finish]),
        plane.nbytes,
        plane.in_place,
    )


def pack_channels(weights: Int8) -> Int8:
    """(kernel rows, kernel columns, channels) to channels first."""
    return np.ascontiguousarray(weights.transpose(2, 0, 1)).ravel()


def _function(
    plane: Plane, requantize: Requantize, columns: int, unroll: bool, names: tuple[str, str, str]
) -> Any:
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    window, (clear, fill, finish) = plane.window, names
    (kh, kw), (dy, dx), (sy, sx) = window.kernel, window.dilation, window.stride
    channels, taps, width = window.channels, kh * kw, window.out_width
    columns = min(columns, width)
    full, rest = divmod(width, columns)
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((window.height * window.width * channels,), "int8"))
        w = T.arg("weights", T.Buffer((channels * taps,), "int8"))
        b = T.arg("bias", T.Buffer((channels,), "int32"))
        m = T.arg("multiplier", T.Buffer((requantize.channels(channels),), "int32"))
        y = T.arg("y", T.Buffer((window.pixels * channels,), "int8"))
        s = T.arg("scratch", T.Buffer((plane.nbytes,), "int8"))
        acc = T.alloc_buffer((columns,), "int32")
        at = T.address_of
        T.evaluate(T.call_extern("void", clear, at(s[0])))
        with T.serial(channels) as c, T.serial(plane.strips) as i:
            start = T.min(i * plane.rows, window.out_height - plane.rows)
            T.evaluate(T.call_extern("void", fill, at(x[c]), start, at(s[0])))
            with T.serial(plane.rows) as r:
                for first, count, size in ((0, full, columns), (full * columns, 1, rest)):
                    if size == 0:
                        continue
                    with T.serial(count) as j:
                        column = first + j * size
                        for t in range(size):
                            T.buffer_store(acc, b[c], [t])
                        tap_loop = T.unroll if unroll else T.serial
                        with T.serial(kh) as ky, tap_loop(kw) as kx:
                            line = (r * sy + ky * dy) * plane.pitch + column * sx + kx * dx

                            def pixels(p: int, at: Any = line) -> Any:
                                return s[at + p * sx]

                            def weights(n: int, at: Any = c * taps + ky * kw + kx) -> Any:
                                return w[at + n]

                            add_products(T, acc, pixels, weights, size, 1)
                        for t in range(size):
                            factor = m[c] if requantize.per_channel else m[0]
                            value = T.call_pure_extern("int8", finish, acc[t], factor)
                            place = ((start + r) * width + column + t) * channels + c
                            T.buffer_store(y, value, [place])
    return builder.get()
