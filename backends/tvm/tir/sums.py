"""C text of the sums of a register block: its inner loop, and the int8 that come out.

Sums are the variables ``a<pixel><channel>``, weights the word pointer ``w``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinycc_nn.backends.tvm.tir.packing import Packing
from tinycc_nn.backends.tvm.tir.template import Requantize

Input = Callable[[int, int], str]


@dataclass(frozen=True)
class Sums:
    """A block of pixels x channels whose weights are packed in one way.

    ``lanes(half, pixel)``: C expression of two int16 inputs: numbers 0 and 2 of a group of four
    for half 0, 1 and 3 for half 1.
    """

    pixels: int
    channels: int
    packing: Packing
    lanes: Input

    @property
    def _inputs_stay(self) -> bool:
        """Whether inputs stay in registers while weights pass; otherwise it is the other way."""
        return self.packing is Packing.PAIRS and 1 < self.pixels <= self.channels // 2

    def start(self) -> str:
        """Declarations of the sums. In pairs, an odd channel's sum starts as the even one's."""
        text = ""
        for n in range(self.channels):
            source = n - n % 2 if self.packing is Packing.PAIRS else n
            text += "".join(f"  int32_t a{p}{n} = bias[{source}];\n" for p in range(self.pixels))
        return text

    def four(self) -> str:
        """Four products for every sum; moves ``w`` on."""
        body = {
            Packing.BYTES: self._bytes, Packing.PAIRS: self._pairs, Packing.WORDS: self._words,
        }[self.packing]()  # fmt: skip
        return "".join(f"    {line}\n" for line in body)

    def names(self) -> list[str]:
        """Variables of one word that ``four`` uses."""
        if self._inputs_stay:
            return [*(f"t{p}" for p in range(self.pixels)), "w0", "v0"]
        count = self.channels // 2 if self.packing is Packing.PAIRS else self.channels
        names = [f"v{n}" for n in range(count)]
        if self.packing is not Packing.WORDS:
            names += [f"w{n}" for n in range(count)]
        return ["t", *names]

    def finish(self, requantize: Requantize, stride: int) -> str:
        """Stores the int8 of all sums to ``y``, pixels ``stride`` apart."""
        text = ""
        if self.packing is Packing.PAIRS:
            for n in range(1, self.channels, 2):
                for p in range(self.pixels):
                    difference = f"(uint32_t)a{p}{n} - (uint32_t)a{p}{n - 1}"
                    text += f"  a{p}{n} = ((int32_t)({difference}) >> 8) + bias[{n}];\n"
        for n in range(self.channels):
            source = n if requantize.per_channel else 0
            text += f"  const int32_t m{n} = multiplier[{source}];\n"
            for p in range(self.pixels):
                text += f"  y[{p * stride + n}] = {requantize.c(f'a{p}{n}', f'm{n}')};\n"
        return text

    def _products(self, half: int, weights: list[str]) -> list[str]:
        lines = []
        for p in range(self.pixels):
            lines.append(f"t = {self.lanes(half, p)};")
            lines += [f"a{p}{n} = tcnn_smlad(t, {w}, a{p}{n});" for n, w in enumerate(weights)]
        return lines

    def _bytes(self) -> list[str]:
        count = self.channels
        lines = [f"w{n} = w[{n}];" for n in range(count)] + [f"w += {count};"]
        for half, expand in enumerate(("tcnn_sxtb16", "tcnn_sxtb16_ror8")):
            lines += [f"v{n} = {expand}(w{n});" for n in range(count)]
            lines += self._products(half, [f"v{n}" for n in range(count)])
        return lines

    def _words(self) -> list[str]:
        count, lines = self.channels, []
        for half in range(2):
            lines += [f"v{n} = w[{half * count + n}];" for n in range(count)]
            lines += self._products(half, [f"v{n}" for n in range(count)])
        return [*lines, f"w += {2 * count};"]

    def _pairs(self) -> list[str]:
        count, lines = self.channels // 2, []
        if self._inputs_stay:
            for half in range(2):
                lines += [f"t{p} = {self.lanes(half, p)};" for p in range(self.pixels)]
                for i in range(count):
                    lines += [f"w0 = w[{half * count + i}];", "v0 = tcnn_sxtb16(w0);"]
                    for p in range(self.pixels):
                        for n, weight in ((2 * i, "v0"), (2 * i + 1, "w0")):
                            lines.append(f"a{p}{n} = tcnn_smlad(t{p}, {weight}, a{p}{n});")
            return [*lines, f"w += {2 * count};"]
        for half in range(2):
            lines += [f"w{i} = w[{half * count + i}];" for i in range(count)]
            lines += [f"v{i} = tcnn_sxtb16(w{i});" for i in range(count)]
            lines += self._products(half, [f"{k}{i}" for i in range(count) for k in "vw"])
        return [*lines, f"w += {2 * count};"]


def unrolled(four: str, names: list[str], fours: int, unroll: int, end: str, step: int) -> str:
    """C that runs ``four`` (which moves ``x`` on by ``step``) ``fours`` times.

    ``end``: the C type of a pointer like ``x``.
    """
    times, rest = divmod(fours, unroll)
    if times <= 1:
        times, rest = 0, fours
    declared = f"    int32_t {', '.join(names)};\n"
    text = ""
    if times:
        text += f"  {end} *const end = x + {step * unroll * times};\n"
        text += f"  do {{\n{declared}{four * unroll}  }} while (x != end);\n"
    if rest:
        text += f"  {{\n{declared}{four * rest}  }}\n"
    return text
