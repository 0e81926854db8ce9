"""Convolution and matrix product with the DSP extension, in blocks of four pixels and two channels.

Inputs and weights are int16, loaded as pairs of words: 11 instructions for 16 products, with all 14
registers in use.
"""

from __future__ import annotations

from tinycc_nn.backends.tvm.tir import im2col
from tinycc_nn.backends.tvm.tir.build import Part, convolution, strips
from tinycc_nn.backends.tvm.tir.packing import Blocking, Packing, pack
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window, micro_kernel

BLOCKING = Blocking(4, 2, 2, Packing.WORDS)

_SIGNATURE = (
    "const int8_t *scratch, const int32_t *weights, const int32_t *bias, "
    "const int32_t *multiplier, int8_t *y"
)
_UNROLL = 16


def gemm_words(
    window: Window, out_channels: int, input_zero: int, requantize: Requantize
) -> Template:
    """A convolution with groups = 1, an even number of output channels, and at least 4 pixels (a
    dense layer of M rows: window of M x 1 pixels). Raises ``ValueError`` for others.
    """
    if out_channels % 2 or window.pixels < BLOCKING.pixels:
        raise ValueError("gemm_words has blocks of four pixels and two channels")
    fill = im2col.wide(window, input_zero, BLOCKING.pixels)
    block = _block(im2col.padded_depth(window) // 2, out_channels, requantize)
    parts = [
        Part(strip, fill[0], (block[0],))
        for strip in strips(window.pixels, BLOCKING.pixels, overlap=True)
    ]
    row, scratch = BLOCKING.words(window.depth), im2col.wide_bytes(window, BLOCKING.pixels)
    groups = BLOCKING.groups(out_channels)
    return Template(
        "gemm-4x2-words",
        lambda: convolution(parts, groups, window, requantize, (row, "int32"), scratch),
        lambda w: pack(w, BLOCKING),
        dict([fill, block]),
        scratch,
        dsp=True,
    )


def _block(steps: int, stride: int, requantize: Requantize) -> tuple[str, str]:
    """The int8 of 4 x 2 outputs, whose sums take two products in each of ``steps``."""
    text = "  const tcnn_word *x = (const tcnn_word *)scratch, *w = weights;\n"
    text += f"  int32_t a[8] = {{{', '.join(['bias[0]', 'bias[1]'] * 4)}}};\n"
    times, rest = divmod(steps, _UNROLL)
    step = "tcnn_smlad_4x2(&x, &w, a);\n"
    text += f"  {step}" * rest
    if times == 1:
        text += f"  {step}" * _UNROLL
    elif times:
        text += f"  const tcnn_word *const end = x + {4 * _UNROLL * times};\n"
        text += "  do {\n" + f"    {step}" * _UNROLL + "  } while (x != end);\n"
    for n in range(2):
        source = n if requantize.per_channel else 0
        text += f"  const int32_t m{n} = multiplier[{source}];\n"
    for i in range(8):
        text += f"  y[{i // 2 * stride + i % 2}] = {requantize.c(f'a[{i}]', f'm{i % 2}')};\n"
    return micro_kernel("gemm", _SIGNATURE, text, f"4 pixels x 2 channels of {2 * steps} products")
