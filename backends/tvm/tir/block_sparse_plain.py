"""Convolution and dense layers in plain C that skip blocks of zeros, 4 inputs x some outputs.

For cores without the DSP extension, and any other machine. Pixels are read where they are, or from
a strip in scratch memory where their fields don't lie in one piece.
"""

from __future__ import annotations

from tinycc_nn.backends.tvm.tir import im2col
from tinycc_nn.backends.tvm.tir.block_calls import strip_calls
from tinycc_nn.backends.tvm.tir.block_stream import END, INPUTS, byte_stream
from tinycc_nn.backends.tvm.tir.build import Part, strips
from tinycc_nn.backends.tvm.tir.packing import Blocking, Group
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window, micro_kernel
from tinycc_nn.backends.tvm.tir.unrolled import finish

_SIGNATURE = (
    "const int8_t *input, const int8_t *weights, const int32_t *bias, "
    "const int32_t *multiplier, int8_t *y"
)


def block_sparse_plain(
    window: Window,
    channels: int,
    input_zero: int,
    requantize: Requantize,
    block: tuple[int, int],
    nbytes: int,
) -> Template:
    """``block``: pixels and output channels; ``nbytes``: of the weights' stream."""
    pixels, outputs = block
    groups = Blocking(channels=outputs).groups(channels)
    depth = im2col.padded_depth(window)
    staged = not window.pointwise or depth != window.depth
    micro: dict[str, str] = {}
    parts = []
    for strip in strips(window.pixels, pixels, overlap=True):
        fill = im2col.narrow(window, input_zero, strip.pixels, depth) if staged else None
        rows = _rows(strip.pixels, depth, channels, groups, requantize)
        micro |= dict([fill, rows] if fill else [rows])
        parts.append(Part(strip, fill and fill[0], (rows[0],)))
    scratch = depth * min(pixels, window.pixels) if staged else 0
    return Template(
        f"block-sparse-plain-{pixels}x{outputs}",
        lambda: strip_calls(parts, window, channels, requantize, (nbytes, "int8"), scratch),
        lambda w: byte_stream(w, groups),
        micro,
        scratch,
    )


def _rows(
    pixels: int, pitch: int, stride: int, groups: list[Group], requantize: Requantize
) -> tuple[str, str]:
    """All output channels of a strip whose pixels lie ``pitch`` apart."""
    body = "  const int8_t *w = weights;\n"
    for g in groups:
        body += f"  for (int32_t n = {g.count}; n > 0; --n) {{\n"
        body += _row(pixels, pitch, g.width) + finish(pixels, g.width, stride, requantize)
        body += f"  y += {g.width};\n  bias += {g.width};\n"
        body += f"  multiplier += {g.width};\n" * requantize.per_channel + "  }\n"
    return micro_kernel("block_sparse_plain", _SIGNATURE, body, f"{pixels} pixels")


def _row(pixels: int, pitch: int, width: int) -> str:
    text = "  const int8_t *x = input;\n"
    for n in range(width):
        text += "".join(f"  int32_t a{p}{n} = bias[{n}];\n" for p in range(pixels))
    text += f"  for (int32_t d = (uint8_t)*w++; d != {END}; d = (uint8_t)*w++) {{\n"
    text += f"    x += d * {INPUTS};\n"
    for k in range(INPUTS):
        loads = ", ".join(f"x{p} = x[{k + p * pitch}]" for p in range(pixels))
        text += f"    {{\n      const int32_t {loads};\n"
        for n in range(width):
            sums = " ".join(f"a{p}{n} += x{p} * w{n};" for p in range(pixels))
            text += f"      const int32_t w{n} = w[{k * width + n}];\n      {sums}\n"
        text += "    }\n"
    return text + f"    x += {INPUTS};\n    w += {INPUTS * width};\n  }}\n"
