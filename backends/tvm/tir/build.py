"""TIR functions of loops that call C micro-kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.template import Requantize, Window


@dataclass(frozen=True)
class Block:
    """``count`` strips of ``pixels`` output pixels from number ``first``; the last one ends at the
    last pixel. ``fill``: micro-kernel that lays a strip in scratch memory; without one, pixels are
    read where they are. ``groups``: (micro-kernel, first channel, channels of a call, calls).
    """

    fill: str | None
    pixels: int
    count: int
    first: int
    groups: tuple[tuple[str, int, int, int], ...]


def block_function(
    blocks: Sequence[Block],
    window: Window,
    channels: int,
    requantize: Requantize,
    weights: int,
    weight_type: str,
    scratch: int,
) -> Any:
    """Loops over strips of pixels and groups of output channels.

    ``weights``: elements of the packed array, the same number for each output channel.
    """
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    row = weights // channels
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((window.height * window.width * window.channels,), "int8"))
        w = T.arg("weights", T.Buffer((weights,), weight_type))
        b = T.arg("bias", T.Buffer((channels,), "int32"))
        m = T.arg("multiplier", T.Buffer((requantize.channels(channels),), "int32"))
        y = T.arg("y", T.Buffer((window.pixels * channels,), "int8"))
        s = T.arg("scratch", T.Buffer((scratch,), "int8")) if scratch else None
        for block in blocks:
            last = window.pixels - block.pixels
            with T.serial(block.count) as i:
                place = block.first + i * block.pixels
                pixel = T.min(place, last) if block.count * block.pixels > window.pixels else place
                if block.fill:
                    T.evaluate(
                        T.call_extern(
                            "void", block.fill, T.address_of(x[0]), pixel, T.address_of(s[0])
                        )
                    )
                source = s[0] if block.fill else x[pixel * window.channels]
                for name, first, width, times in block.groups:
                    with T.serial(times) as j:
                        n = first + j * width
                        T.evaluate(
                            T.call_extern(
                                "void",
                                name,
                                T.address_of(source),
                                T.address_of(w[n * row]),
                                T.address_of(b[n]),
                                T.address_of(m[n if requantize.per_channel else 0]),
                                T.address_of(y[pixel * channels + n]),
                            )
                        )
    return builder.get()
