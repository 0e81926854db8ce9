"""Depthwise convolution in C for cores without the DSP extension: a channel's kernel unrolled.

A row of weights stays in registers while the elements of a row of the padded plane pass, each into
all the sums that it belongs to.
"""

from __future__ import annotations

from typing import Any

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.depthwise_scalar import pack_channels
from tinycc_nn.backends.tvm.tir.plane import Plane
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window, micro_kernel

SIGNATURE = (
    "int8_t *scratch, const int8_t *w, const int32_t *bias, const int32_t *multiplier, int8_t *y"
)


def depthwise_unrolled(
    window: Window, input_zero: int, requantize: Requantize, columns: int
) -> Template:
    """A depthwise convolution with one output channel for each input channel.

    ``columns``: the most outputs of a row that are computed at once. In place where the output is as
    large as the input.
    """
    plane = Plane(window, window.out_height, wide=False)
    clear, fill = plane.clear(input_zero), plane.fill(input_zero)
    channel = _channel(plane, requantize, columns)
    return Template(
        f"depthwise-unrolled-{columns}",
        lambda: channelwise(
            window, requantize, plane.nbytes, (clear[0], fill[0], channel[0]), (0,)
        ),
        pack_channels,
        dict([clear, fill, channel]),
        plane.nbytes,
        plane.in_place,
    )


def _channel(plane: Plane, requantize: Requantize, columns: int) -> tuple[str, str]:
    """``f(scratch, w, bias, multiplier, y)``: all outputs of the channel whose plane is filled."""
    w = plane.window
    blocks = -(-w.out_width // columns)
    width = -(-w.out_width // blocks)
    full, rest = divmod(w.out_width, width)
    text = (
        f"  const int8_t *line = scratch;\n"
        f"  const int32_t m = multiplier[0], start = bias[0];\n"
        f"  for (int32_t r = 0; r < {w.out_height}; ++r) {{\n    const int8_t *v = line;\n"
    )
    for count, size in ((full, width), (1, rest)):
        if not count * size:
            continue
        text += f"    for (int32_t j = {count}; j > 0; --j) {{\n{_sums(plane, size)}"
        for c in range(size):
            text += f"      y[{c * w.channels}] = {requantize.c(f'a{c}', 'm')};\n"
        text += f"      y += {size * w.channels};\n      v += {size * w.stride[1]};\n    }}\n"
    text += f"    line += {plane.pitch * w.stride[0]};\n  }}\n"
    return micro_kernel("channel", SIGNATURE, text, f"one channel, {width} outputs at a time")


def _sums(plane: Plane, columns: int) -> str:
    """C of the sums of ``columns`` outputs of a row."""
    (kh, kw), dilation, stride = plane.window.kernel, plane.window.dilation, plane.window.stride[1]
    text = f"      int32_t {', '.join(f'a{c} = start' for c in range(columns))};\n"
    for ky in range(kh):
        weights = ", ".join(f"w{kx} = w[{ky * kw + kx}]" for kx in range(kw))
        text += f"      {{\n        const int32_t {weights};\n        int32_t x;\n"
        uses: dict[int, list[str]] = {}
        for c in range(columns):
            for kx in range(kw):
                uses.setdefault(c * stride + kx * dilation[1], []).append(f"a{c} += x * w{kx};")
        for column, sums in sorted(uses.items()):
            place = ky * dilation[0] * plane.pitch + column
            text += f"        x = v[{place}];\n        {' '.join(sums)}\n"
        text += "      }\n"
    return text


def channelwise(
    window: Window,
    requantize: Requantize,
    scratch: int,
    names: tuple[str, str, str],
    start: tuple[int, ...] = (),
) -> Any:
    """The TIR function of ``clear(scratch)``, then ``fill(x, *start, scratch)`` and
    ``channel(scratch, w, bias, multiplier, y)`` for each channel."""
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    clear, fill, channel = names
    channels, taps = window.channels, window.kernel[0] * window.kernel[1]
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((window.height * window.width * channels,), "int8"))
        w = T.arg("weights", T.Buffer((channels * taps,), "int8"))
        b = T.arg("bias", T.Buffer((channels,), "int32"))
        m = T.arg("multiplier", T.Buffer((requantize.channels(channels),), "int32"))
        y = T.arg("y", T.Buffer((window.pixels * channels,), "int8"))
        s = T.arg("scratch", T.Buffer((scratch,), "int8"))
        at = T.address_of
        T.evaluate(T.call_extern("void", clear, at(s[0])))
        with T.serial(channels) as c:
            factor = m[c] if requantize.per_channel else m[0]
            T.evaluate(T.call_extern("void", fill, at(x[c]), *start, at(s[0])))
            numbers = (at(w[c * taps]), at(b[c]), at(factor), at(y[c]))
            T.evaluate(T.call_extern("void", channel, at(s[0]), *numbers))
    return builder.get()
