"""Depthwise convolution with the DSP extension: one channel at a time, as a plane of int16.

Rows of one channel are laid in scratch memory as int16 with the padding around them, so that two
neighbouring pixels are one word and meet words of weights (see `products`). Loads are shared by the
outputs of a block of columns.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.depthwise_rows import SIGNATURE, Rows
from tinycc_nn.backends.tvm.tir.plane import Plane
from tinycc_nn.backends.tvm.tir.products import pack, pairs, row_products
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window, micro_kernel


def depthwise_dsp(
    window: Window,
    input_zero: int,
    requantize: Requantize,
    rows: int = 0,
    columns: int = 6,
    *,
    together: int = 1,
    multiplier: int = 1,
    assembly: bool = True,
) -> Template:
    """A depthwise convolution with ``multiplier`` output channels for each input channel.

    ``rows``: output rows from one filling of the scratch memory, 0 for all; fewer take less memory
    and more instructions. ``columns``: outputs of a row computed together where this is left to the
    C compiler: without ``assembly``, or where that does not fit (see ``Rows``). ``together``:
    elements that are loaded before the first is stored. In place where the output is as large as
    the input and the scratch memory holds a whole channel.
    """
    plane = Plane(window, min(rows or window.out_height, window.out_height), True, together)
    clear = plane.clear(input_zero)
    fill = plane.fill(input_zero)
    channels = window.channels * multiplier
    compute = plane_kernels(plane, requantize, columns, channels, assembly=assembly)
    return Template(
        f"depthwise{'' if assembly else '-c'}-{plane.rows}",
        lambda: _function(plane, requantize, multiplier, clear[0], fill[0], compute[-1][0]),
        partial(pack, w=window),
        dict([clear, fill, *compute]),
        plane.nbytes,
        plane.in_place and multiplier == 1,
        True,
    )


def plane_kernels(
    plane: Plane, requantize: Requantize, columns: int, channels: int, *, assembly: bool
) -> list[tuple[str, str]]:
    """Functions, the last of which is ``f(scratch, weights, bias, multiplier, y)``: the output rows
    of one of the result's ``channels``."""
    if assembly and block_width(plane, requantize, channels):
        return _in_assembly(plane, requantize, channels)
    return [_in_c(plane, requantize, columns, channels)]


def _in_assembly(plane: Plane, requantize: Requantize, channels: int) -> list[tuple[str, str]]:
    """Blocks of columns one after the other, each for all rows."""
    w = plane.window
    width = block_width(plane, requantize, channels)
    full, rest = divmod(w.out_width, width)
    block = _block(plane, requantize, channels, width)
    if (full, rest) == (1, 0):
        return [block]
    found = [block]
    step = (2 * width * w.stride[1], width * channels)
    if full > 1:
        text = f"  for (int32_t j = 0; j < {full}; ++j)\n  "
        places = f"scratch + {step[0]} * j", f"y + {step[1]} * j"
        text += f"  {block[0]}({places[0]}, weights, bias, multiplier, {places[1]});\n"
    else:
        text = f"  {block[0]}(scratch, weights, bias, multiplier, y);\n"
    if rest:
        found.append(_block(plane, requantize, channels, rest))
        places = f"scratch + {step[0] * full}", f"y + {step[1] * full}"
        text += f"  {found[-1][0]}({places[0]}, weights, bias, multiplier, {places[1]});\n"
    comment = f"{plane.rows} rows of one channel"
    return [*found, micro_kernel("depthwise", SIGNATURE, text, comment)]


def block_width(plane: Plane, requantize: Requantize, channels: int) -> int:
    """Outputs of a row that assembly computes together, 0 where it does not fit. Blocks are about
    as wide as each other, and each starts at an even column."""
    most, w = Rows.widest(plane, requantize, channels), plane.window
    even = w.stride[1] % 2 == 1
    if most >= w.out_width:
        return w.out_width
    if most <= even:
        return 0
    width = -(-w.out_width // -(-w.out_width // (most - most % 2 if even else most)))
    return width + width % 2 if even else width


def _block(plane: Plane, requantize: Requantize, channels: int, count: int) -> tuple[str, str]:
    """``count`` neighbouring outputs of every row; the first block starts at an even column."""
    w = plane.window
    plain = _start(plane, body := _columns(plane, requantize, channels, count))
    plain += f"  for (int32_t i = 0; i < {plane.rows}; ++i) {{\n{body}"
    plain += (
        f"    p += {w.stride[0] * plane.pitch // 2};\n    y += {w.out_width * channels};\n  }}\n"
    )
    return Rows(plane, requantize, channels, count).micro_kernel(plain)


def _in_c(plane: Plane, requantize: Requantize, columns: int, channels: int) -> tuple[str, str]:
    w = plane.window
    if w.stride[1] % 2:
        columns += columns % 2  # later blocks then start at an even column as well
    columns = min(columns, w.out_width)
    full, rest = divmod(w.out_width, columns)
    step = columns * w.stride[1] // 2
    body = _columns(plane, requantize, channels, columns)
    body += f"      p += {step};\n      y += {columns * channels};\n"
    loop = f"for (int32_t j = 0; j < {full}; ++j) " if full > 1 else ""
    body = f"    {loop}{{\n{body}    }}\n"
    if rest:
        last = _columns(plane, requantize, channels, rest)
        body += f"    {{\n{last}      y += {rest * channels};\n    }}\n"
    text = _start(plane, body)
    text += f"  for (int32_t i = 0; i < {plane.rows}; ++i) {{\n{body}"
    text += f"    p += {w.stride[0] * plane.pitch // 2 - full * step};\n  }}"
    return micro_kernel("depthwise", SIGNATURE, text, f"{plane.rows} rows of one channel")


def _start(plane: Plane, body: str) -> str:
    """C of what `body` reads."""
    words = range(plane.window.kernel[0] * len(pairs(plane.window)))
    text = "  const tcnn_word *p = (const tcnn_word *)scratch;\n"
    text += "".join(f"  const int32_t w{i} = weights[{i}];\n" for i in words if f" w{i}," in body)
    return text + "  const int32_t b = bias[0], m = multiplier[0];\n"


def _columns(plane: Plane, requantize: Requantize, channels: int, count: int) -> str:
    """C of ``count`` neighbouring outputs, the first of which starts in a low half."""
    w = plane.window
    text = "      int32_t t, " + ", ".join(f"a{j} = b" for j in range(count)) + ";\n"
    products = row_products(w, count)
    for ky in range(w.kernel[0]):
        first, loaded = ky * len(pairs(w)), None
        line = ky * w.dilation[0] * plane.pitch // 2
        for p in products:
            if p.word != loaded:
                text += f"      t = p[{line + p.word}];\n"
                loaded = p.word
            sum_ = f"a{p.output}"
            text += f"      {sum_} = tcnn_{p.operation}(t, w{first + p.weight}, {sum_});\n"
    for j in range(count):
        text += f"      y[{j * channels}] = {requantize.c(f'a{j}', 'm')};\n"
    return text


def _function(
    plane: Plane, requantize: Requantize, multiplier: int, clear: str, fill: str, compute: str
) -> Any:
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    window = plane.window
    channels = window.channels * multiplier
    row, words = window.out_width * channels, window.kernel[0] * len(pairs(window))
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((window.height * window.width * window.channels,), "int8"))
        w = T.arg("weights", T.Buffer((channels * words,), "int32"))
        b = T.arg("bias", T.Buffer((channels,), "int32"))
        m = T.arg("multiplier", T.Buffer((requantize.channels(channels),), "int32"))
        y = T.arg("y", T.Buffer((window.pixels * channels,), "int8"))
        s = T.arg("scratch", T.Buffer((plane.nbytes,), "int8"))
        at = T.address_of
        T.evaluate(T.call_extern("void", clear, at(s[0])))
        with T.serial(window.channels) as c, T.serial(plane.strips) as i:
            start = T.min(i * plane.rows, window.out_height - plane.rows)
            T.evaluate(T.call_extern("void", fill, at(x[c]), start, at(s[0])))
            with T.serial(multiplier) as k:
                n = c * multiplier + k if multiplier > 1 else c
                factor = m[n] if requantize.per_channel else m[0]
                sums = (at(w[n * words]), at(b[n]), at(factor))
                T.evaluate(T.call_extern("void", compute, at(s[0]), *sums, at(y[start * row + n])))
    return builder.get()
