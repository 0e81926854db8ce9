"""Depthwise convolution whose weights are codes: a channel's taps are decoded on the stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.coded_arguments import declare
from tinycc_nn.backends.tvm.tir.codes import Decoder
from tinycc_nn.backends.tvm.tir.depthwise import plane_kernels
from tinycc_nn.backends.tvm.tir.plane import Plane
from tinycc_nn.backends.tvm.tir.products import pack
from tinycc_nn.backends.tvm.tir.template import Requantize, Window, micro_kernel
from tinycc_nn.ir.types import Array

COLUMNS = 6
"""Outputs of a row that are computed together, with the DSP extension."""


@dataclass(frozen=True)
class CodedDepthwise:
    """One output channel for each input channel; ``dsp`` has no dilation."""

    window: Window
    input_zero: int
    requantize: Requantize
    decoder: Decoder
    rows: int
    dsp: bool

    @property
    def plane(self) -> Plane:
        return Plane(self.window, self.rows, wide=self.dsp)

    @property
    def taps(self) -> int:
        return self.window.kernel[0] * self.window.kernel[1]

    def pack(self, codes: Array) -> Array:
        """uint8[...]: codes [channels, rows, columns, 1], channel by channel."""
        return self.decoder.stream(codes)

    def micro_kernels(self) -> dict[str, str]:
        found = [self.plane.clear(self.input_zero), self.plane.fill(self.input_zero)]
        return dict([*found, *self._compute(), self._channel()])

    def _compute(self) -> list[tuple[str, str]]:
        """The last one computes a channel from its weights."""
        if self.dsp:
            channels = self.window.channels
            return plane_kernels(self.plane, self.requantize, COLUMNS, channels, assembly=True)
        return [_plain(self.plane, self.requantize)]

    def _channel(self) -> tuple[str, str]:
        """``f(codes, channel[, table], scratch, bias, multiplier, y)``."""
        lines = [
            f"int32_t taps[{self.taps}];",
            self.decoder.begin(self.taps),
            f"for (int32_t i = 0; i < {self.taps}; ++i) {{",
            *(line[2:] for line in self.decoder.element().splitlines()),
            "  taps[i] = v;",
            "}",
        ]
        weights = "taps"
        if self.dsp:
            lines += _words(self.window)
            weights = "words"
        lines.append(f"{self._compute()[-1][0]}(scratch, {weights}, bias, multiplier, y);")
        signature = (
            f"{self.decoder.codes}int32_t channel, {self.decoder.table}const int8_t *scratch, "
            "const int32_t *bias, const int32_t *multiplier, int8_t *y"
        )
        body = "".join(f"  {line}\n" for line in lines)
        return micro_kernel("coded_channel", signature, body, "one channel, its weights decoded")

    def function(self) -> Any:
        """The TIR function of ``x, codes[, table], bias, multiplier, y, scratch``."""
        load_tvm()
        from tvm.script.ir_builder import IRBuilder
        from tvm.tirx.script import builder as T

        window, plane, decoder = self.window, self.plane, self.decoder
        channels, row = window.channels, window.out_width * window.channels
        clear, fill = plane.clear(self.input_zero)[0], plane.fill(self.input_zero)[0]
        size = (channels * self.taps * decoder.bits + 7) // 8 + 2
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            x, w, b, m, y, s = declare(
                window, channels, self.requantize, decoder, (size, "uint8"), plane.nbytes
            )
            at = T.address_of
            T.evaluate(T.call_extern("void", clear, at(s[0])))
            with T.serial(channels) as c, T.serial(plane.strips) as i:
                start = T.min(i * plane.rows, window.out_height - plane.rows)
                T.evaluate(T.call_extern("void", fill, at(x[c]), start, at(s[0])))
                factor = m[c] if self.requantize.per_channel else m[0]
                codes = decoder.element_source(w, c)
                sums = (at(s[0]), at(b[c]), at(factor), at(y[start * row + c]))
                T.evaluate(T.call_extern("void", self._channel()[0], *codes, *sums))
        return builder.get()


def _words(window: Window) -> list[str]:
    """C that puts decoded taps into the words of `products.pack`."""
    height, width = window.kernel
    numbers = np.arange(1, height * width + 1, dtype=np.int8).reshape(height, width, 1)
    halves = pack(numbers, window).view("<i2").reshape(-1, 2).tolist()
    lines = [f"int32_t words[{len(halves)}];"]
    for i, (low, high) in enumerate(halves):
        parts = [f"((uint32_t)taps[{low - 1}] & 0xffffu)"] if low else []
        parts += [f"((uint32_t)taps[{high - 1}] << 16)"] if high else []
        lines.append(f"words[{i}] = (int32_t)({' | '.join(parts) or '0'});")
    return lines


def _plain(plane: Plane, requantize: Requantize) -> tuple[str, str]:
    """``f(scratch, taps, bias, multiplier, y)``: the output rows of one channel."""
    w = plane.window
    (kh, kw), (dy, dx), (sy, sx) = w.kernel, w.dilation, w.stride
    taps = "".join(
        f"        a += p[{i * dy * plane.pitch + j * dx}] * taps[{i * kw + j}];\n"
        for i in range(kh)
        for j in range(kw)
    )
    text = (
        "  const int32_t b = bias[0], m = multiplier[0];\n"
        f"  for (int32_t i = 0; i < {plane.rows}; ++i) {{\n"
        f"    const int8_t *p = scratch + i * {sy * plane.pitch};\n"
        f"    for (int32_t j = 0; j < {w.out_width}; ++j) {{\n"
        f"      int32_t a = b;\n      {{\n{taps}      }}\n"
        f"      *y = {requantize.c('a', 'm')};\n"
        f"      p += {sx};\n      y += {w.channels};\n    }}\n  }}"
    )
    signature = (
        "const int8_t *scratch, const int32_t *taps, const int32_t *bias, "
        "const int32_t *multiplier, int8_t *y"
    )
    return micro_kernel("depthwise_plain", signature, text, f"{plane.rows} rows of one channel")
