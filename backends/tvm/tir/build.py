"""TIR functions of loops over output pixels and channels that call C micro-kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.packing import Group
from tinycc_nn.backends.tvm.tir.template import Requantize, Window


@dataclass(frozen=True)
class Strip:
    """``count`` strips of ``pixels`` output pixels from number ``first``."""

    pixels: int
    count: int
    first: int


@dataclass(frozen=True)
class Part:
    """A strip's micro-kernels: ``fill`` lays it in scratch memory (None: pixels are read where they
    are), ``blocks`` compute it, one for each group of output channels.
    """

    strip: Strip
    fill: str | None
    blocks: tuple[str, ...]


def strips(pixels: int, width: int, *, overlap: bool) -> list[Strip]:
    """``pixels`` in strips of ``width``. What is left over is a strip of its own, or, with
    ``overlap``, the last strip does some pixels a second time, which needs less code.
    """
    width = min(width, pixels)
    full, rest = divmod(pixels, width)
    if rest == 0:
        return [Strip(width, full, 0)]
    if overlap:
        return [Strip(width, full + 1, 0)]
    return [Strip(width, full, 0), Strip(rest, 1, full * width)]


def convolution(
    parts: Sequence[Part],
    groups: Sequence[Group],
    window: Window,
    requantize: Requantize,
    row: tuple[int, str],
    scratch: int,
) -> Any:
    """The TIR function; ``row``: elements of packed weights for an output channel, their type."""
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    channels = sum(g.width * g.count for g in groups)
    multipliers = requantize.channels(channels)
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((window.height * window.width * window.channels,), "int8"))
        w = T.arg("weights", T.Buffer((channels * row[0],), row[1]))
        b = T.arg("bias", T.Buffer((channels,), "int32"))
        m = T.arg("multiplier", T.Buffer((multipliers,), "int32"))
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
                for name, group in zip(part.blocks, groups, strict=True):
                    with T.serial(group.count) as j:
                        n = group.first + j * group.width
                        factor = m[n] if requantize.per_channel else m[0]
                        sums = (at(w[n * row[0]]), at(b[n]), at(factor))
                        T.evaluate(
                            T.call_extern("void", name, source, *sums, at(y[pixel * channels + n]))
                        )
    return builder.get()
