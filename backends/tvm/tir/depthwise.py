"""Depthwise convolution with the DSP extension: one channel at a time, as a plane of int16.

Rows of one channel are laid in scratch memory as int16 with the padding around them, so that two
neighbouring pixels are one word. A kernel row is held as the words (w0, w1), (w2, w3)... for outputs
that start at an even column and (w1, w2), (w3, w4)... for odd ones; a tap that stays alone is the
upper or lower half of one of these. Loads are shared by the outputs of a block of columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.plane import Plane
from tinycc_nn.backends.tvm.tir.template import (
    Int8,
    Int32,
    Requantize,
    Template,
    Window,
    micro_kernel,
)


def depthwise_dsp(
    window: Window,
    input_zero: int,
    requantize: Requantize,
    rows: int = 0,
    columns: int = 6,
    *,
    together: int = 1,
) -> Template:
    """A depthwise convolution with one output channel for each input channel, dilation 1.

    ``rows``: output rows from one filling of the scratch memory, 0 for all; fewer take less memory
    and more instructions. ``columns``: outputs of a row computed together. ``together``: elements
    that are loaded before the first is stored. In place where the output is as large as the input
    and the scratch memory holds a whole channel.
    Raises ``ValueError`` for a dilation.
    """
    if window.dilation != (1, 1):
        raise ValueError("depthwise_dsp has no dilation")
    if window.stride[1] % 2:
        columns += columns % 2  # later blocks then start at an even column as well
    plane = Plane(window, min(rows or window.out_height, window.out_height), True, together)
    clear = plane.clear(input_zero)
    fill = plane.fill(input_zero)
    compute = plane_kernel(plane, requantize, columns)
    return Template(
        f"depthwise-{plane.rows}x{columns}",
        lambda: _function(plane, requantize, clear[0], fill[0], compute[0]),
        pack,
        dict([clear, fill, compute]),
        plane.nbytes,
        plane.in_place,
        True,
    )


def pack(weights: Int8) -> Int32:
    """(kernel rows, kernel columns, channels) as words for each channel and kernel row."""
    taps = weights.transpose(2, 0, 1).astype(np.int16)
    width = taps.shape[2]
    pairs = [(2 * i, 2 * i + 1) for i in range(max(1, width // 2))]
    pairs += [(2 * i + 1, 2 * i + 2) for i in range((width - 1) // 2)]
    padded = np.pad(taps, ((0, 0), (0, 0), (0, 1)))
    words = np.stack([padded[:, :, list(p)] for p in pairs], axis=2)
    return np.ascontiguousarray(words).view("<i4").ravel()


def _row_words(kernel_width: int) -> int:
    return max(1, kernel_width // 2) + (kernel_width - 1) // 2


def plane_kernel(plane: Plane, requantize: Requantize, columns: int) -> tuple[str, str]:
    """``f(scratch, weights, bias, multiplier, y)``: the output rows of one channel."""
    w = plane.window
    columns = min(columns, w.out_width)
    full, rest = divmod(w.out_width, columns)
    step = columns * w.stride[1] // 2
    body = _columns(plane, requantize, columns)
    body += f"      p += {step};\n      y += {columns * w.channels};\n"
    loop = f"for (int32_t j = 0; j < {full}; ++j) " if full > 1 else ""
    body = f"    {loop}{{\n{body}    }}\n"
    if rest:
        last = _columns(plane, requantize, rest)
        body += f"    {{\n{last}      y += {rest * w.channels};\n    }}\n"
    words = range(w.kernel[0] * _row_words(w.kernel[1]))
    text = "  const tcnn_word *p = (const tcnn_word *)scratch;\n"
    text += "".join(f"  const int32_t w{i} = weights[{i}];\n" for i in words if f" w{i}," in body)
    text += "  const int32_t b = bias[0], m = multiplier[0];\n"
    text += f"  for (int32_t i = 0; i < {plane.rows}; ++i) {{\n{body}"
    text += f"    p += {w.stride[0] * plane.pitch // 2 - full * step};\n  }}"
    signature = (
        "const int8_t *scratch, const int32_t *weights, const int32_t *bias, "
        "const int32_t *multiplier, int8_t *y"
    )
    return micro_kernel("depthwise", signature, text, f"{plane.rows} rows of one channel")


def _columns(plane: Plane, requantize: Requantize, count: int) -> str:
    """C of ``count`` neighbouring outputs, the first of which starts in a low half."""
    w = plane.window
    height, width = w.kernel
    text = "      int32_t t, " + ", ".join(f"a{j} = b" for j in range(count)) + ";\n"
    for ky in range(height):
        uses: dict[int, list[str]] = {}
        for j in range(count):
            for word, call in _taps(j * w.stride[1], width, ky * _row_words(width)):
                uses.setdefault(word, []).append(f"a{j} = {call}, a{j});")
        for word in sorted(uses):
            text += f"      t = p[{ky * plane.pitch // 2 + word}];\n"
            text += "".join(f"      {use}\n" for use in uses[word])
    for j in range(count):
        text += f"      y[{j * w.channels}] = {requantize.c(f'a{j}', 'm')};\n"
    return text


def _taps(start: int, width: int, first: int) -> list[tuple[int, str]]:
    """(word of the plane, start of the C call) for each product of an output at column start."""
    even = max(1, width // 2)
    word = start // 2
    if width == 1:
        return [(word, f"tcnn_smla{'tb'[1 - start % 2]}b(t, w{first}")]
    if start % 2 == 0:
        calls = [(word + i, f"tcnn_smlad(t, w{first + i}") for i in range(width // 2)]
        if width % 2:
            last = first + even + (width - 1) // 2 - 1
            calls.append((word + width // 2, f"tcnn_smlabt(t, w{last}"))
        return calls
    calls = [(word, f"tcnn_smlatb(t, w{first}")]
    calls += [(word + 1 + i, f"tcnn_smlad(t, w{first + even + i}") for i in range((width - 1) // 2)]
    if width % 2 == 0:
        calls.append((word + width // 2, f"tcnn_smlabt(t, w{first + even - 1}"))
    return calls


def _function(plane: Plane, requantize: Requantize, clear: str, fill: str, compute: str) -> Any:
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    window = plane.window
    channels, row = window.channels, window.out_width * window.channels
    words = window.kernel[0] * _row_words(window.kernel[1])
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((window.height * window.width * channels,), "int8"))
        w = T.arg("weights", T.Buffer((channels * words,), "int32"))
        b = T.arg("bias", T.Buffer((channels,), "int32"))
        m = T.arg("multiplier", T.Buffer((requantize.channels(channels),), "int32"))
        y = T.arg("y", T.Buffer((window.pixels * channels,), "int8"))
        s = T.arg("scratch", T.Buffer((plane.nbytes,), "int8"))
        at = T.address_of
        T.evaluate(T.call_extern("void", clear, at(s[0])))
        with T.serial(channels) as c, T.serial(plane.strips) as i:
            start = T.min(i * plane.rows, window.out_height - plane.rows)
            T.evaluate(T.call_extern("void", fill, at(x[c]), start, at(s[0])))
            factor = m[c] if requantize.per_channel else m[0]
            sums = (at(w[c * words]), at(b[c]), at(factor))
            T.evaluate(T.call_extern("void", compute, at(s[0]), *sums, at(y[start * row + c])))
    return builder.get()
