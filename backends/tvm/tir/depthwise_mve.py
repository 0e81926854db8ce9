"""Depthwise convolution for Cortex-M55: vectors along the channels, a few padded planes at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.mve import in_vectors, requantized
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window


def depthwise_mve(
    window: Window, input_zero: int, requantize: Requantize, channels: int
) -> Template:
    """One output channel for each input channel, ``channels`` planes with their padding in scratch.

    All products of an output are unrolled. In place where the output is as large as the input.
    """
    width = min(channels, window.channels)
    same = (window.out_height, window.out_width) == (window.height, window.width)
    return Template(
        f"depthwise-mve-{width}",
        lambda: _function(window, input_zero, requantize, width),
        np.ravel,
        {},
        width * _rows(window) * _pitch(window),
        same,
    )


def _rows(w: Window) -> int:
    return w.height + w.pad[0] + w.pad[2]


def _pitch(w: Window) -> int:
    return w.width + w.pad[1] + w.pad[3]


def _function(window: Window, zero: int, requantize: Requantize, width: int) -> Any:
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    w, channels, taps = window, window.channels, window.kernel[0] * window.kernel[1]
    plane, pitch = _rows(w) * _pitch(w), _pitch(w)
    full, rest = divmod(channels, width)
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((w.height * w.width * channels,), "int8"))
        weights = T.arg("weights", T.Buffer((taps * channels,), "int8"))
        b = T.arg("bias", T.Buffer((channels,), "int32"))
        m = T.arg("multiplier", T.Buffer((requantize.channels(channels),), "int32"))
        y = T.arg("y", T.Buffer((w.pixels * channels,), "int8"))
        s = T.arg("scratch", T.Buffer((width * plane,), "int8"))

        def block(first: Any, size: int) -> None:
            with T.serial(w.height) as i, T.serial(w.width) as j, T.serial(size) as c:
                place = ((i + w.pad[0]) * pitch + j + w.pad[1]) * size + c
                T.buffer_store(s, x[(i * w.width + j) * channels + first + c], [place])
            with T.serial(w.out_height) as i, T.serial(w.out_width) as j:
                corner = (i * w.stride[0] * pitch + j * w.stride[1]) * size
                pixel = (i * w.out_width + j) * channels

                def output(c: Any) -> None:
                    acc = b[first + c]
                    for tap in range(taps):
                        ky, kx = divmod(tap, w.kernel[1])
                        offset = (ky * w.dilation[0] * pitch + kx * w.dilation[1]) * size
                        factor = T.cast(weights[tap * channels + first + c], "int32")
                        acc = acc + T.cast(s[corner + offset + c], "int32") * factor
                    value = requantized(T, requantize, acc, m, first + c)
                    T.buffer_store(y, value, [pixel + first + c])

                in_vectors(T, size, output)

        for first, count, size in ((0, full, width), (full * width, 1, rest)):
            if size == 0:
                continue
            if any(w.pad):
                with T.serial(size * plane) as i:
                    T.buffer_store(s, T.int8(zero), [i])
            with T.serial(count) as n:
                block(first + n * size, size)
    return builder.get()
