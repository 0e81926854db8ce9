"""Convolution and matrix product with the DSP extension: im2col strips times packed weights.

A strip of output pixels is expanded to int16 lanes once and serves all output channels; a block of
pixels x channels keeps its sums in registers.
"""

from __future__ import annotations

from tinycc_nn.backends.tvm.tir import im2col
from tinycc_nn.backends.tvm.tir.build import Part, convolution, strips
from tinycc_nn.backends.tvm.tir.packing import Blocking, Group, pack
from tinycc_nn.backends.tvm.tir.sums import Sums, unrolled
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window, micro_kernel

_SIGNATURE = (
    "const int8_t *scratch, const int32_t *weights, const int32_t *bias, "
    "const int32_t *multiplier, int8_t *y"
)


def gemm_dsp(
    window: Window,
    out_channels: int,
    input_zero: int,
    requantize: Requantize,
    blocking: Blocking,
    *,
    in_place: bool = True,
) -> Template:
    """A convolution with groups = 1 (a dense layer of M rows: window of M x 1 pixels).

    ``in_place`` where each pixel is read before its output is written (1x1 with no more output than
    input channels); without it, left-over pixels need no code of their own.
    """
    in_place &= window.pointwise and out_channels <= window.channels
    micro: dict[str, str] = {}
    parts = []
    for strip in strips(window.pixels, blocking.pixels, overlap=not in_place):
        fill = im2col.wide(window, input_zero, strip.pixels)
        blocks = [
            _block(window.depth, out_channels, strip.pixels, group, requantize, blocking.unroll)
            for group in blocking.groups(out_channels)
        ]
        micro |= dict([fill, *blocks])
        parts.append(Part(strip, fill[0], tuple(name for name, _ in blocks)))
    row = blocking.words(window.depth)
    scratch = im2col.wide_bytes(window, min(blocking.pixels, window.pixels))
    groups = blocking.groups(out_channels)
    return Template(
        f"gemm-{blocking.pixels}x{blocking.channels}-{blocking.packing.value}",
        lambda: convolution(parts, groups, window, requantize, (row, "int32"), scratch),
        lambda w: pack(w, blocking),
        micro,
        scratch,
        in_place,
        True,
    )


def _block(
    depth: int, stride: int, pixels: int, group: Group, requantize: Requantize, unroll: int
) -> tuple[str, str]:
    """The int8 of ``pixels`` x ``group.width`` outputs whose sums have ``depth`` products."""
    sums = Sums(pixels, group.width, group.packing, lambda half, p: f"x[{half * pixels + p}]")
    step = 2 * pixels
    four = sums.four() + f"    x += {step};\n"
    text = "  const tcnn_word *x = (const tcnn_word *)scratch, *w = weights;\n" + sums.start()
    text += unrolled(four, sums.names(), -(-depth // 4), unroll, "const tcnn_word", step)
    text += sums.finish(requantize, stride)
    comment = f"{pixels} pixels x {group.width} channels of {depth} products"
    return micro_kernel("gemm", _SIGNATURE, text, comment)
