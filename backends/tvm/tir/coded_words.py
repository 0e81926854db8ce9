"""Convolution and dense layers whose weights are codes, in blocks of four pixels and two channels.

The receptive fields of a strip of pixels are expanded to int16 in scratch memory; the weights of two
channels are decoded beside them, and serve the whole strip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir import im2col
from tinycc_nn.backends.tvm.tir.build import strips
from tinycc_nn.backends.tvm.tir.coded import SIGNATURE, lanes
from tinycc_nn.backends.tvm.tir.coded_arguments import declare
from tinycc_nn.backends.tvm.tir.codes import Decoder
from tinycc_nn.backends.tvm.tir.template import Requantize, Window, micro_kernel
from tinycc_nn.ir.types import Array

PIXELS, CHANNELS = 4, 2
_UNROLL = 16


@dataclass(frozen=True)
class CodedWords:
    """``strip``: output pixels, at least 4, that share decoded weights. ``channels`` is even."""

    window: Window
    channels: int
    input_zero: int
    requantize: Requantize
    decoder: Decoder
    strip: int

    @property
    def depth(self) -> int:
        """Products of a sum, with the zeros behind them."""
        return im2col.padded_depth(self.window)

    @property
    def in_place(self) -> bool:
        """Whether the result may be where the input is: a strip is laid out before its outputs are
        written, and no other strip reads its pixels."""
        apart = self.window.pixels % self.strip == 0
        return apart and self.window.pointwise and self.channels <= self.window.channels

    @property
    def decoded_bytes(self) -> int:
        return -(-self.decoder.decoded_bytes(CHANNELS * self.depth) // 4) * 4

    @property
    def blocks(self) -> int:
        """Of four pixels, in a strip; the last may overlap the one before."""
        return -(-self.strip // PIXELS)

    @property
    def scratch(self) -> int:
        fields = (self.blocks - 1) * 2 * PIXELS * self.depth
        return self.decoded_bytes + fields + im2col.wide_bytes(self.window, PIXELS)

    @property
    def words(self) -> int:
        """Words of packed codes."""
        return self.channels // CHANNELS * self.decoder.words(CHANNELS * self.depth)

    def pack(self, codes: Array) -> Array:
        """int32[words]: OHWI codes in the order in which they are decoded."""
        flat = codes.reshape(len(codes), -1)
        flat = np.pad(flat, ((0, 0), (0, self.depth - flat.shape[1])))
        pairs = (flat[n : n + CHANNELS] for n in range(0, self.channels, CHANNELS))
        return np.concatenate([self.decoder.packed(lanes(rows)) for rows in pairs])

    def micro_kernels(self) -> dict[str, str]:
        return dict([self._fill(), self._decode(), self._block()])

    def _fill(self) -> tuple[str, str]:
        return im2col.wide(self.window, self.input_zero, PIXELS)

    def _decode(self) -> tuple[str, str]:
        return self.decoder.micro_kernel(CHANNELS * self.depth)

    def _block(self) -> tuple[str, str]:
        """``f(x, weights, bias, multiplier, y)``: four pixels of two channels."""
        times, rest = divmod(self.depth // 2, _UNROLL)
        step = "tcnn_smlad_4x2(&v, &w, a);\n"
        text = "  const tcnn_word *v = (const tcnn_word *)x, *w = (const tcnn_word *)weights;\n"
        text += f"  int32_t a[8] = {{{', '.join(['bias[0]', 'bias[1]'] * PIXELS)}}};\n"
        text += f"  {step}" * rest
        if times == 1:
            text += f"  {step}" * _UNROLL
        elif times:
            text += f"  const tcnn_word *const end = v + {4 * _UNROLL * times};\n"
            text += "  do {\n" + f"    {step}" * _UNROLL + "  } while (v != end);\n"
        for n in range(CHANNELS):
            source = n if self.requantize.per_channel else 0
            text += f"  const int32_t m{n} = multiplier[{source}];\n"
        for i in range(PIXELS * CHANNELS):
            value = self.requantize.c(f"a[{i}]", f"m{i % 2}")
            text += f"  y[{i // 2 * self.channels + i % 2}] = {value};\n"
        comment = f"4 pixels x 2 channels of {self.depth} products"
        name, c = micro_kernel("coded_words", SIGNATURE, text, comment)
        # Inlined, what its caller keeps in registers may leave less than the 14 that it takes.
        return name, c.replace("static inline", "static __attribute__((noinline))", 1)

    def function(self) -> Any:
        """The TIR function of ``x, codes[, table], bias, multiplier, y, scratch``."""
        load_tvm()
        from tvm.script.ir_builder import IRBuilder
        from tvm.tirx.script import builder as T

        window, channels, decoder = self.window, self.channels, self.decoder
        fill, decode, block = (k()[0] for k in (self._fill, self._decode, self._block))
        words, size = decoder.words(CHANNELS * self.depth), 2 * PIXELS * self.depth
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            x, w, b, m, y, s = declare(
                window, channels, self.requantize, decoder, (self.words, "int32"), self.scratch
            )
            at, last = T.address_of, self.strip - PIXELS
            (strip,) = strips(window.pixels, self.strip, overlap=True)
            with T.serial(strip.count) as i:
                first = T.min(i * strip.pixels, window.pixels - strip.pixels)
                with T.serial(self.blocks) as k:
                    p, fields = T.min(k * PIXELS, last), at(s[self.decoded_bytes + k * size])
                    T.evaluate(T.call_extern("void", fill, at(x[0]), first + p, fields))
                with T.serial(channels // CHANNELS) as j:
                    n = j * CHANNELS
                    codes = decoder.source(w, j * words, n)
                    T.evaluate(T.call_extern("void", decode, *codes, at(s[0])))
                    factor = m[n] if self.requantize.per_channel else m[0]
                    with T.serial(self.blocks) as k:
                        p = T.min(k * PIXELS, last)
                        sums = (at(s[0]), at(b[n]), at(factor), at(y[(first + p) * channels + n]))
                        fields = at(s[self.decoded_bytes + k * size])
                        T.evaluate(T.call_extern("void", block, fields, *sums))
        return builder.get()
