"""Convolution with the DSP extension that skips blocks of zeros, 4 inputs x 2 outputs.

Blocks of four pixels and two channels as in `gemm_words`, but the loop runs over the blocks of
weights that are there; where they lie in the strip is part of the weights' stream.
Source of the format: Narang, Undersander, Diamos, "Block-Sparse Recurrent Neural Networks", 2017.
"""

from __future__ import annotations

from tinycc_nn.backends.tvm.tir import im2col
from tinycc_nn.backends.tvm.tir.block_calls import strip_calls
from tinycc_nn.backends.tvm.tir.block_stream import word_stream
from tinycc_nn.backends.tvm.tir.build import Part, strips
from tinycc_nn.backends.tvm.tir.packing import Group, Packing
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window, micro_kernel

PIXELS, OUTPUTS = 4, 2
PITCH = 8 * PIXELS
"""Bytes of scratch that four inputs of all pixels take."""

_SIGNATURE = (
    "const int8_t *scratch, const int32_t *weights, const int32_t *bias, "
    "const int32_t *multiplier, int8_t *y"
)


def groups_of(channels: int) -> list[Group]:
    """The rows of the stream; an odd channel has one of zeros beside it."""
    return [Group(0, OUTPUTS, -(-channels // OUTPUTS), Packing.WORDS)]


def block_sparse(
    window: Window, channels: int, input_zero: int, requantize: Requantize, words: int
) -> Template:
    """A convolution with groups = 1 and at least four pixels; ``words``: of the weights' stream."""
    if window.pixels < PIXELS:
        raise ValueError("block_sparse has blocks of four pixels")
    fill = im2col.wide(window, input_zero, PIXELS)
    rows = _rows(channels, requantize)
    (strip,) = strips(window.pixels, PIXELS, overlap=True)
    scratch = im2col.wide_bytes(window, PIXELS)
    parts = [Part(strip, fill[0], (rows[0],))]
    return Template(
        "block-sparse-4x2",
        lambda: strip_calls(parts, window, channels, requantize, (words, "int32"), scratch),
        lambda w: word_stream(w, groups_of(channels), PITCH),
        dict([fill, rows]),
        scratch,
        dsp=True,
    )


def _rows(channels: int, requantize: Requantize) -> tuple[str, str]:
    """All output channels of a strip."""
    pairs, rest = divmod(channels, OUTPUTS)
    lines = ["const tcnn_word *w = weights;"]
    if pairs:
        lines += [f"for (int32_t n = {pairs}; n > 0; --n) {{", *_row(channels, requantize, 2)]
        lines += ["  y += 2;", "  bias += 2;"]
        lines += ["  multiplier += 2;"] * requantize.per_channel + ["}"]
    if rest:
        lines += ["{", *_row(channels, requantize, 1), "}"]
    body = "".join(f"  {line}\n" for line in lines)
    return micro_kernel("block_sparse", _SIGNATURE, body, f"4 pixels x {channels} channels")


def _row(stride: int, requantize: Requantize, width: int) -> list[str]:
    start = ", ".join(["bias[0]", "bias[1]" if width == OUTPUTS else "0"] * PIXELS)
    lines = [
        f"  int32_t a[{PIXELS * OUTPUTS}] = {{{start}}};",
        "  w = tcnn_blocks_4x2((const tcnn_word *)scratch, w, a);",
    ]
    for n in range(width):
        lines.append(f"  const int32_t m{n} = multiplier[{n if requantize.per_channel else 0}];")
        for p in range(PIXELS):
            value = requantize.c(f"a[{OUTPUTS * p + n}]", f"m{n}")
            lines.append(f"  y[{p * stride + n}] = {value};")
    return lines
