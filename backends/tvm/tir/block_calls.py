"""The TIR function of a kernel that computes all output channels of a strip in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.build import Part
from tinycc_nn.backends.tvm.tir.template import Requantize, Window


def strip_calls(
    parts: Sequence[Part],
    window: Window,
    channels: int,
    requantize: Requantize,
    weights: tuple[int, str],
    scratch: int,
    *,
    pass_scratch: bool = False,
) -> Any:
    """``f(x, weights, bias, multiplier, y[, scratch])``; each part has one block. ``weights``:
    elements of their stream, which each strip reads from the front, and their type. With
    ``pass_scratch`` the blocks get the scratch memory behind their pixels.
    """
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((window.height * window.width * window.channels,), "int8"))
        w = T.arg("weights", T.Buffer((weights[0],), weights[1]))
        b = T.arg("bias", T.Buffer((channels,), "int32"))
        m = T.arg("multiplier", T.Buffer((requantize.channels(channels),), "int32"))
        y = T.arg("y", T.Buffer((window.pixels * channels,), "int8"))
        s = T.arg("scratch", T.Buffer((scratch,), "int8")) if scratch else x
        at = T.address_of
        for part in parts:
            strip = part.strip
            with T.serial(strip.count) as i:
                pixel = strip.first + i * strip.pixels
                if strip.first + strip.count * strip.pixels > window.pixels:
                    pixel = T.min(pixel, window.pixels - strip.pixels)
                source = at(x[pixel * window.channels])
                if part.fill:
                    T.evaluate(T.call_extern("void", part.fill, at(x[0]), pixel, at(s[0])))
                    source = at(s[0])
                more = [at(s[0])] if pass_scratch else []
                sums = *more, at(w[0]), at(b[0]), at(m[0])
                (name,) = part.blocks
                T.evaluate(T.call_extern("void", name, source, *sums, at(y[pixel * channels])))
    return builder.get()
