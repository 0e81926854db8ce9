"""1x1 convolution and dense layers whose weights that are zero take one bit of flash.

Of each output channel a bit for each weight, the lowest bit of a byte first, then the weights that
aren't zero. A channel's weights are laid out in scratch memory once and serve all pixels. Source: Han et al., "EIE",
2016, whose column indices are a bitmap here: shorter above a density of 1/8.
"""

from __future__ import annotations

import numpy as np

from tinycc_nn.backends.tvm.tir.block_calls import strip_calls
from tinycc_nn.backends.tvm.tir.build import Part, Strip
from tinycc_nn.backends.tvm.tir.template import Int8, Requantize, Template, Window, micro_kernel

_SIGNATURE = (
    "const int8_t *x, int8_t *scratch, const int8_t *weights, const int32_t *bias, "
    "const int32_t *multiplier, int8_t *y"
)


def bitmap_bytes(weights: Int8) -> int:
    """Of the weights (output channels first)."""
    depth = weights.size // len(weights)
    return len(weights) * -(-depth // 8) + int(np.count_nonzero(weights))


def pack(weights: Int8) -> Int8:
    """int8[bitmap_bytes]: each channel's bits, then its weights."""
    flat = weights.reshape(len(weights), -1)
    bits = np.packbits(flat != 0, axis=1, bitorder="little").view(np.int8)
    return np.concatenate(
        [part for b, w in zip(bits, flat, strict=True) for part in (b, w[w != 0])]
    )


def bitmap(
    window: Window, channels: int, requantize: Requantize, nbytes: int, dsp: bool
) -> Template:
    """A pointwise window, groups = 1. ``nbytes``: of the packed weights."""
    name, text = _kernel(window, channels, requantize, dsp)
    parts = [Part(Strip(window.pixels, 1, 0), None, (name,))]
    scratch = -(-window.depth // 8) * 8
    return Template(
        "bitmap",
        lambda: strip_calls(
            parts, window, channels, requantize, (nbytes, "int8"), scratch, pass_scratch=True
        ),
        pack,
        {name: text},
        scratch,
        dsp=dsp,
    )


def _kernel(window: Window, channels: int, requantize: Requantize, dsp: bool) -> tuple[str, str]:
    depth, pixels = window.depth, window.pixels
    fours, rest = divmod(depth, 4) if dsp else (0, depth)
    factor = "n" if requantize.per_channel else "0"
    lines = [
        "const uint8_t *w = (const uint8_t *)weights;",
        f"for (int32_t n = 0; n < {channels}; ++n) {{",
        "  const uint8_t *bits = w;",
        "  int8_t *row = scratch;",
        f"  w += {-(-depth // 8)};",
        f"  for (int32_t k = {-(-depth // 8)}; k > 0; --k) {{",
        "    uint32_t b = *bits++;",
        "    for (int32_t i = 0; i < 8; ++i, b >>= 1)",
        "      *row++ = b & 1u ? (int8_t)*w++ : (int8_t)0;",
        "  }",
        "  const int8_t *p = x;",
        f"  for (int32_t i = 0; i < {pixels}; ++i) {{",
        "    const int8_t *v = scratch;",
        "    int32_t a = bias[n];",
    ]
    if fours:
        lines += [
            f"    for (int32_t k = {fours}; k > 0; --k, p += 4, v += 4) {{",
            "      const int32_t s = tcnn_ld32(p), t = tcnn_ld32(v);",
            "      a = tcnn_smlad(tcnn_sxtb16(s), tcnn_sxtb16(t), a);",
            "      a = tcnn_smlad(tcnn_sxtb16_ror8(s), tcnn_sxtb16_ror8(t), a);",
            "    }",
        ]
    if rest:
        lines += [f"    for (int32_t k = {rest}; k > 0; --k)", "      a += *p++ * *v++;"]
    value = requantize.c("a", f"multiplier[{factor}]")
    lines += [f"    y[i * {channels} + n] = {value};", "  }", "}"]
    body = "".join(f"  {line}\n" for line in lines)
    return micro_kernel("bitmap", _SIGNATURE, body, f"{pixels} pixels, {depth} -> {channels}")
