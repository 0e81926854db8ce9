"""C of int16 activations: products by SMLAD on pairs of them, and what else requantizes.

A layer is one C function of ``x, weights, bias, multiplier, y[, scratch]`` that walks over its output
pixels. Dense products take two pixels and two channels at a time; a word of four int8 weights, in the
order 0, 2, 1, 3, becomes two words of neighbouring lanes by two expansions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.template import Window, micro_kernel
from tinycc_nn.backends.tvm.tir.walk import field, windows
from tinycc_nn.ir.types import Array


@dataclass(frozen=True)
class Finish:
    """From an int32 sum and its multiplier to int16 (or int8): the one rule of requantization."""

    shift: int
    zero: int
    low: int
    high: int

    def c(self, acc: str, multiplier: str) -> str:
        if self.shift == 32:
            inner = f"tcnn_requantize32({acc}, {multiplier}, {self.zero})"
            return f"tcnn_clamp16({inner}, {self.low}, {self.high})"
        return self.c64(f"(int64_t){acc} * {multiplier}")

    def c64(self, total: str) -> str:
        """Of an int64 sum of products with their multipliers."""
        return f"tcnn_rounding64({total}, {self.shift}, {self.zero}, {self.low}, {self.high})"


SIGNATURE = (
    "const int16_t *x, const int8_t *weights, const int32_t *bias, "
    "const int32_t *multiplier, int16_t *y"
)


@dataclass(frozen=True)
class Products:
    """A convolution that is not grouped, or a dense layer of as many rows as the window has pixels.

    dsp: by SMLAD; otherwise one product at a time.
    """

    window: Window
    channels: int
    zero: int
    finish: Finish
    per_channel: bool
    dsp: bool

    @property
    def depth(self) -> int:
        """Products of a sum, with the zeros behind them."""
        return -(-self.window.depth // 4) * 4 if self.dsp else self.window.depth

    @property
    def staged(self) -> bool:
        return not self.window.pointwise or self.depth != self.window.depth

    @property
    def block(self) -> tuple[int, int]:
        """Pixels and channels at a time."""
        return min(2, self.window.pixels), min(2, self.channels)

    @property
    def scratch(self) -> int:
        return 2 * self.block[0] * self.depth if self.staged else 0

    def pack(self, weights: Array) -> Array:
        """int8[channels, depth] of OHWI weights."""
        flat = weights.reshape(len(weights), -1)
        flat = np.pad(flat, ((0, 0), (0, self.depth - flat.shape[1])))
        if self.dsp:
            flat = flat.reshape(len(flat), -1, 4)[:, :, [0, 2, 1, 3]]
        return np.ascontiguousarray(flat.reshape(-1), np.int8)

    def micro_kernels(self) -> list[tuple[str, str]]:
        found = [self._fill()] if self.staged else []
        found.append(self._block())
        return [*found, self._layer(found[0][0] if self.staged else "", found[-1][0])]

    def _fill(self) -> tuple[str, str]:
        text = field(self.window, self.zero, self.depth - self.window.depth)
        signature = "const int16_t *x, int32_t p, tcnn_half *o"
        return micro_kernel("field16", signature, text, "a receptive field, as int16")

    def _block(self) -> tuple[str, str]:
        pixels, channels = self.block
        text = ""
        for p in range(pixels):
            text += f"  const tcnn_half *x{p} = x + {p * self.depth};\n"
        for n in range(channels):
            text += f"  const int8_t *w{n} = weights + {n * self.depth};\n"
        names = [(p, n) for p in range(pixels) for n in range(channels)]
        text += "".join(f"  int32_t a{p}{n} = bias[{n}];\n" for p, n in names)
        step = self._four(pixels, channels) if self.dsp else self._one(pixels, channels)
        count = self.depth // 4 if self.dsp else self.depth
        text += f"  for (int32_t i = 0; i < {count}; ++i) {{\n{step}  }}\n"
        for p, n in names:
            m = f"multiplier[{n if self.per_channel else 0}]"
            value = self.finish.c(f"a{p}{n}", m)
            text += f"  y[{p * self.channels + n}] = (int16_t){value};\n"
        signature = SIGNATURE.replace("const int16_t *x", "const tcnn_half *x")
        comment = f"{pixels} x {channels} sums of {self.depth} products"
        name, c = micro_kernel("block16", signature, text, comment)
        # Inlined, the loops round it would take registers that it needs.
        return name, c.replace("static inline", "static __attribute__((noinline))", 1)

    @staticmethod
    def _four(pixels: int, channels: int) -> str:
        text = ""
        for n in range(channels):
            text += f"    const int32_t v{n} = tcnn_ld32(w{n});\n"
            text += f"    const int32_t l{n} = tcnn_sxtb16(v{n}), h{n} = tcnn_sxtb16_ror8(v{n});\n"
        for p in range(pixels):
            for word, part in ((0, "l"), (4, "h")):
                at = f"(const int8_t *)x{p} + {word}"
                text += f"    const int32_t {part}x{p} = tcnn_ld32({at});\n"
                for n in range(channels):
                    text += f"    a{p}{n} = tcnn_smlad({part}x{p}, {part}{n}, a{p}{n});\n"
        names = [f"w{n}" for n in range(channels)] + [f"x{p}" for p in range(pixels)]
        return text + "".join(f"    {name} += 4;\n" for name in names)

    @staticmethod
    def _one(pixels: int, channels: int) -> str:
        text = "".join(f"    const int32_t v{n} = w{n}[i];\n" for n in range(channels))
        for p in range(pixels):
            text += f"    const int32_t u{p} = x{p}[i];\n"
            for n in range(channels):
                a = f"a{p}{n}"
                text += f"    {a} = (int32_t)((uint32_t){a} + (uint32_t)(u{p} * v{n}));\n"
        return text

    def _layer(self, fill: str, block: str) -> tuple[str, str]:
        (pixels, channels), w = self.block, self.window
        text = f"  for (int32_t i = 0; i < {w.pixels}; i += {pixels}) {{\n"
        text += f"    const int32_t p = i < {w.pixels - pixels} ? i : {w.pixels - pixels};\n"
        source = f"(const tcnn_half *)(x + p * {w.depth})"
        if self.staged:
            source = "(const tcnn_half *)scratch"
            for k in range(pixels):
                text += f"    {fill}(x, p + {k}, (tcnn_half *)scratch + {k * self.depth});\n"
        last = self.channels - channels
        text += f"    for (int32_t j = 0; j < {self.channels}; j += {channels}) {{\n"
        text += f"      const int32_t n = j < {last} ? j : {last};\n"
        m = "multiplier + n" if self.per_channel else "multiplier"
        text += f"      {block}({source}, weights + n * {self.depth}, bias + n,\n"
        text += f"        {m}, y + p * {self.channels} + n);\n    }}\n  }}"
        signature = SIGNATURE + (", int8_t *scratch" if self.staged else "")
        return micro_kernel("layer16", signature, text, f"{w.pixels} pixels of {self.channels}")


def depthwise(window: Window, zero: int, finish: Finish, per_channel: bool) -> tuple[str, str]:
    """One output channel for each input channel, weights OHWI."""
    kh, kw = window.kernel
    tap = f"a += (v - ({zero})) * weights[(c * {kh} + i) * {kw} + j];"
    value = finish.c("a", "multiplier[c]" if per_channel else "multiplier[0]")
    text = windows(window, "int32_t a = bias[c];", tap, f"(int16_t){value}")
    comment = f"{window.pixels} pixels of {window.channels} channels"
    return micro_kernel("depthwise16", SIGNATURE, text, comment)


def window_sum(window: Window, zero: int, finish: Finish) -> tuple[str, str]:
    """Means of windows: ``f(x, multiplier, y)``, a multiplier for each output pixel."""
    value = finish.c("a", "multiplier[p]")
    text = windows(window, "int32_t a = 0;", f"a += v - ({zero});", f"(int16_t){value}")
    signature = "const int16_t *x, const int32_t *multiplier, int16_t *y"
    return micro_kernel("means16", signature, text, f"means of {window.pixels} windows")


def window_max(window: Window) -> tuple[str, str]:
    """The largest element of each window: ``f(x, y)``."""
    text = windows(window, "int32_t a = -32768;", "a = v > a ? v : a;", "(int16_t)a")
    return micro_kernel("maxima16", "const int16_t *x, int16_t *y", text, "maxima of windows")


def addition(
    count: int, zeros: tuple[int, int], m: tuple[int, int], finish: Finish
) -> tuple[str, str]:
    """``f(a, b, y)``: sums of ``count`` elements with a multiplier each."""
    total = f"(int64_t)(a[i] - ({zeros[0]})) * {m[0]} + (int64_t)(b[i] - ({zeros[1]})) * {m[1]}"
    text = f"  for (int32_t i = 0; i < {count}; ++i)\n    y[i] = (int16_t){finish.c64(total)};"
    signature = "const int16_t *a, const int16_t *b, int16_t *y"
    return micro_kernel("sum16", signature, text, f"sums of {count}")


def rescale(
    count: int, types: tuple[str, str], zero: int, m: int, finish: Finish
) -> tuple[str, str]:
    """``f(x, y)``: another scale, between int8 and int16."""
    source, result = types
    total = finish.c64(f"(int64_t)(x[i] - ({zero})) * {m}")
    text = f"  for (int32_t i = 0; i < {count}; ++i)\n    y[i] = ({result}_t){total};"
    return micro_kernel(
        "rescale16", f"const {source}_t *x, {result}_t *y", text, f"{count} elements"
    )


def to_real(count: int, zero: int, scale: float) -> tuple[str, str]:
    """``f(x, y)``: int16 to float32."""
    text = f"  for (int32_t i = 0; i < {count}; ++i)\n"
    text += f"    y[i] = (float)(x[i] - ({zero})) * {float(np.float32(scale))!r}f;"
    return micro_kernel("real16", "const int16_t *x, float *y", text, f"{count} elements to float")


def function(kernel: str, buffers: Sequence[tuple[str, int, str]]) -> Any:
    """The TIR function that passes its buffers (name, elements, type) to a micro-kernel."""
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    with IRBuilder() as builder, T.prim_func(s_tir=True):
        taken = [T.arg(name, T.Buffer((size,), dtype)) for name, size, dtype in buffers]
        T.evaluate(T.call_extern("void", kernel, *(T.address_of(b[0]) for b in taken)))
    return builder.get()
