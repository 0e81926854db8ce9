"""C of layers in bits: words of 32 signs, and counts of the bits in which two words differ.

Cortex-M has no instruction that counts bits. Counts of two bits, then of four, are made in parallel;
those of up to three words fit four bits, and of ten such groups eight bits, before they are added up.

Source: Warren, "Hacker's Delight", 2nd ed., section 5-1.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinycc_nn.backends.tvm.tir.template import Requantize, Window, micro_kernel
from tinycc_nn.backends.tvm.tir.walk import field

NIBBLES, BYTES = 3, 10
"""Words whose counts fit four bits; groups of them whose counts fit eight."""

UNROLLED = 10
"""Groups of a sum up to which its code is written out."""

_SIGNATURE = (
    "const tcnn_word *x, const int32_t *weights, const int32_t *bias, "
    "const int32_t *multiplier, int8_t *y"
)


def pack(pixels: int, channels: int, threshold: int, *, dsp: bool) -> tuple[str, str]:
    """``f(x, y)``: words of the bits ``x >= threshold``, pixel by pixel.

    With the DSP extension four at a time, whose results, a byte each, one product puts side by side.
    """
    full, rest = divmod(channels, 32)
    text = (
        f"  const int32_t limit = (int32_t)0x{(threshold & 0xFF) * 0x01010101:08x}u;\n"
        if dsp
        else ""
    )
    text += f"  for (int32_t p = {pixels}; p > 0; --p) {{\n"
    for count, times in ((32, full), (rest, 1 if rest else 0)):
        if not times:
            continue
        text += f"    for (int32_t j = {times}; j > 0; --j) {{\n      uint32_t bits = 0;\n"
        fours = count // 4 if dsp else 0
        for k in range(fours):
            four = f"tcnn_ge4(tcnn_ld32(x + {4 * k}), limit) * 0x10204080u >> 28"
            text += f"      bits |= {four} << {4 * k};\n".replace(" << 0", "")
        for c in range(4 * fours, count):
            text += f"      bits |= (uint32_t)(x[{c}] >= {threshold}) << {c};\n".replace(
                " << 0;", ";"
            )
        text += f"      *y++ = (int32_t)bits;\n      x += {count};\n    }}\n"
    signature = "const int8_t *x, int32_t *y"
    return micro_kernel("pack_signs", signature, text + "  }", f"signs of {channels} channels")


@dataclass(frozen=True)
class Xnor:
    """``window.channels`` are words; ``bits``: products of a sum; ``channels``: of the result."""

    window: Window
    bits: int
    channels: int
    requantize: Requantize

    @property
    def words(self) -> int:
        """Of a receptive field."""
        return self.window.depth

    @property
    def scratch(self) -> int:
        return 0 if self.window.pointwise else 4 * self.words

    def micro_kernels(self) -> list[tuple[str, str]]:
        found = [] if self.window.pointwise else [self._fill()]
        found.append(self._sums())
        return [*found, self._layer(found)]

    def _fill(self) -> tuple[str, str]:
        signature = "const int32_t *x, int32_t p, tcnn_word *o"
        comment = "a receptive field in words, -1 outside"
        return micro_kernel("bit_field", signature, field(self.window, 0), comment)

    def _sums(self) -> tuple[str, str]:
        """All channels of a pixel."""
        text = "  const uint32_t m1 = 0x55555555u, m2 = 0x33333333u, m4 = 0x0f0f0f0fu;\n"
        text += f"  for (int32_t n = {self.channels}; n > 0; --n) {{\n"
        text += "    uint32_t v, s, t = 0;\n    int32_t differ = 0;\n"
        full, rest = divmod(self.words, NIBBLES)
        group = self._group(NIBBLES)
        for first in range(0, full, BYTES):
            count = min(BYTES, full - first)
            start = first * NIBBLES
            if full > UNROLLED:
                text += f"    for (int32_t i = {start}; i < {start + count * NIBBLES}; i += {NIBBLES}) {{\n"
                text += group.replace("[@", "[i + ") + "    }\n"
            else:
                for k in range(count):
                    text += self._at(group, start + k * NIBBLES)
            last = first + count == full
            if rest and last and count < BYTES:
                text += self._at(self._group(rest), full * NIBBLES)
            text += self._gather()
        if rest and full % BYTES == 0:
            text += self._at(self._group(rest), full * NIBBLES) + self._gather()
        text += f"    const int32_t a = *bias++ + {self.bits} - 2 * differ;\n"
        value = self.requantize.c("a", "*multiplier")
        step = "    ++multiplier;\n" if self.requantize.per_channel else ""
        text += f"    *y++ = {value};\n{step}    weights += {self.words};\n  }}"
        comment = f"{self.channels} sums of {self.bits} products of signs"
        return micro_kernel("xnor", _SIGNATURE, text, comment)

    @staticmethod
    def _group(words: int) -> str:
        text = ""
        for i in range(words):
            text += f"      v = (uint32_t)x[@{i}] ^ (uint32_t)weights[@{i}];\n"
            text += "      v -= v >> 1 & m1;\n"
            text += f"      s {'+' if i else ''}= (v & m2) + (v >> 2 & m2);\n"
        return text + "      t += (s & m4) + (s >> 4 & m4);\n"

    @staticmethod
    def _at(group: str, start: int) -> str:
        for i in range(NIBBLES):
            group = group.replace(f"[@{i}]", f"[{start + i}]")
        return group

    @staticmethod
    def _gather() -> str:
        """Bytes of up to 240, whose sum may exceed 255."""
        text = "    t = (t & 0x00ff00ffu) + (t >> 8 & 0x00ff00ffu);\n"
        return text + "    differ += (int32_t)((t + (t >> 16)) & 0xffffu);\n    t = 0;\n"

    def _layer(self, found: list[tuple[str, str]]) -> tuple[str, str]:
        w = self.window
        text = f"  for (int32_t p = 0; p < {w.pixels}; ++p) {{\n"
        source = f"(const tcnn_word *)(x + p * {w.channels})"
        if not w.pointwise:
            text += f"    {found[0][0]}(x, p, (tcnn_word *)scratch);\n"
            source = "(const tcnn_word *)scratch"
        text += f"    {found[-1][0]}({source}, weights, bias, multiplier,\n"
        text += f"      y + p * {self.channels});\n  }}"
        signature = _SIGNATURE.replace("const tcnn_word *x", "const int32_t *x")
        signature += "" if w.pointwise else ", int8_t *scratch"
        return micro_kernel("xnor_layer", signature, text, f"{w.pixels} pixels")
