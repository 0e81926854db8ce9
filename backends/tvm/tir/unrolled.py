"""int8 convolution and dense layers in C whose loop over depth is unrolled.

Every load of a few steps then has its pointer and a constant offset, and the loop's own instructions
count for one step of several. For cores with a multiply-accumulate instruction but no DSP extension
(Cortex-M3), and any other machine.
"""

from __future__ import annotations

from tinycc_nn.backends.tvm.tir import im2col
from tinycc_nn.backends.tvm.tir.build import Part, convolution, strips
from tinycc_nn.backends.tvm.tir.packing import Blocking
from tinycc_nn.backends.tvm.tir.scalar import pack_bytes
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window, micro_kernel

SIGNATURE = (
    "const int8_t *x, const int8_t *w, const int32_t *bias, const int32_t *multiplier, int8_t *y"
)


def gemm_unrolled(
    window: Window,
    out_channels: int,
    input_zero: int,
    requantize: Requantize,
    blocking: Blocking,
    *,
    direct: bool = True,
) -> Template:
    """A convolution with groups = 1, or a dense layer (a window of one pixel).

    A 1x1 convolution reads its input where it is, unless ``direct`` is False: then it can work in
    place. Of ``blocking``, the packing is not used.
    """
    staged = not (window.pointwise and direct)
    in_place = window.pointwise and staged and out_channels <= window.channels
    groups = Blocking(channels=blocking.channels).groups(out_channels)
    micro: dict[str, str] = {}
    parts = []
    for strip in strips(window.pixels, blocking.pixels, overlap=not in_place):
        blocks = [
            _block(window.depth, out_channels, strip.pixels, g.width, requantize, blocking.unroll)
            for g in groups
        ]
        micro |= dict(blocks)
        fill = im2col.narrow(window, input_zero, strip.pixels) if staged else None
        micro |= dict([fill] if fill else [])
        parts.append(Part(strip, fill and fill[0], tuple(name for name, _ in blocks)))
    scratch = window.depth * parts[0].strip.pixels if staged else 0
    return Template(
        f"unrolled-{blocking.pixels}x{blocking.channels}",
        lambda: convolution(parts, groups, window, requantize, (window.depth, "int8"), scratch),
        lambda w: pack_bytes(w, groups),
        micro,
        scratch,
        in_place,
    )


def _block(
    depth: int, stride: int, pixels: int, channels: int, requantize: Requantize, unroll: int
) -> tuple[str, str]:
    """The int8 of ``pixels`` x ``channels`` outputs whose sums have ``depth`` products."""

    def steps(count: int) -> str:
        text = ""
        for k in range(count):
            loads = ", ".join(f"x{p} = x[{k + p * depth}]" for p in range(pixels))
            text += f"    {{\n      const int32_t {loads};\n"
            for n in range(channels):
                sums = " ".join(f"a{p}{n} += x{p} * w{n};" for p in range(pixels))
                text += f"      const int32_t w{n} = w[{k * channels + n}];\n      {sums}\n"
            text += "    }\n"
        return text

    text = ""
    for n in range(channels):
        text += "".join(f"  int32_t a{p}{n} = bias[{n}];\n" for p in range(pixels))
    times, rest = divmod(depth, unroll)
    if times <= 1:
        times, rest = 0, depth
    if times:
        text += f"  const int8_t *const end = x + {times * unroll};\n  do {{\n{steps(unroll)}"
        text += f"    x += {unroll};\n    w += {unroll * channels};\n  }} while (x != end);\n"
    text += steps(rest)
    text += finish(pixels, channels, stride, requantize)
    comment = f"{pixels} pixels x {channels} channels of {depth} products"
    return micro_kernel("unrolled", SIGNATURE, text, comment)


def finish(pixels: int, channels: int, stride: int, requantize: Requantize) -> str:
    """C that stores the sums ``a<pixel><channel>`` as int8 to ``y``, pixels ``stride`` apart."""
    text = ""
    for n in range(channels):
        source = n if requantize.per_channel else 0
        text += f"  const int32_t m{n} = multiplier[{source}];\n"
        for p in range(pixels):
            text += f"  y[{p * stride + n}] = {requantize.c(f'a{p}{n}', f'm{n}')};\n"
    return text
