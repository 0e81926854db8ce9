"""A dense layer of one row whose weights are small numbers in two's complement, 2 to 5 bits.

There is no second pixel to decode a weight for, so it is decoded in a register, two at a time: a
word of codes, shifted and masked, is a pair of int16 lanes. Codes are stored with 2^(bits-1) added,
which makes them positive; that many times the sum of the inputs is subtracted in the end, once for
all channels. Without the DSP extension the same C runs, slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.packing import Blocking, Group
from tinycc_nn.backends.tvm.tir.template import Requantize, micro_kernel
from tinycc_nn.ir.types import Array

PERIODS = {2: 16, 3: 20, 4: 8, 5: 12}
"""Inputs, in fours, whose codes fill whole words, by bits."""

_SIGNATURE = (
    "const int8_t *x, const int32_t *codes, const int32_t *bias, "
    "const int32_t *multiplier, int8_t *y"
)


@dataclass(frozen=True)
class CodedDense:
    """``channels`` at a time, of ``outputs`` sums over ``inputs``."""

    inputs: int
    outputs: int
    requantize: Requantize
    bits: int
    channels: int

    @property
    def period(self) -> int:
        return PERIODS[self.bits]

    @property
    def pairs(self) -> int:
        """Pairs of codes in a word."""
        return 16 // self.bits

    @property
    def words(self) -> int:
        """Words of codes of an output channel."""
        return -(-self.inputs // self.period) * (self.period // 2 // self.pairs)

    @property
    def groups(self) -> list[Group]:
        return Blocking(channels=self.channels).groups(self.outputs)

    def pack(self, codes: Array) -> Array:
        """int32[words]: codes [outputs, ...] by groups of channels, words, channels."""
        flat = codes.reshape(len(codes), -1).astype(np.uint32) ^ (1 << (self.bits - 1))
        flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % self.period)))
        lanes = flat.reshape(len(flat), -1, 4)[:, :, [0, 2, 1, 3]].reshape(len(flat), -1, 2)
        pairs = (lanes[..., 0] | lanes[..., 1] << 16).reshape(len(flat), -1, self.pairs)
        shifts = np.arange(self.pairs, dtype=np.uint32) * self.bits
        words = np.bitwise_or.reduce(pairs << shifts, axis=-1)
        starts = [(g.first + i * g.width, g.width) for g in self.groups for i in range(g.count)]
        parts = [words[first : first + width].T.ravel() for first, width in starts]
        return np.concatenate(parts).astype(np.uint32).view(np.int32)

    def micro_kernels(self) -> dict[str, str]:
        return dict([self._kernel()])

    def _kernel(self) -> tuple[str, str]:
        full, rest = divmod(self.inputs, self.period)
        lines = ["const tcnn_word *w = codes;", "int32_t total = 0;"]
        if rest:
            lines += [
                f"int8_t tail[{self.period}] = {{0}};",
                f"__builtin_memcpy(tail, x + {full * self.period}, {rest});",
            ]
        lines += self._over_inputs(self._sum)
        lines.append(f"total *= {1 << (self.bits - 1)};")
        for g in self.groups:
            lines += [f"for (int32_t n = 0; n < {g.count}; ++n) {{", *self._group(g.width), "}"]
        body = "".join(f"  {line}\n" for line in lines)
        comment = f"{self.outputs} channels of {self.inputs} products"
        return micro_kernel("coded_dense", _SIGNATURE, body, comment)

    def _group(self, width: int) -> list[str]:
        lines = [f"  int32_t a{c} = bias[{c}] - total;" for c in range(width)]
        lines += self._over_inputs(lambda source: self._products(source, width))
        for c in range(width):
            m = f"multiplier[{c if self.requantize.per_channel else 0}]"
            lines += [f"  const int32_t m{c} = {m};"]
            lines += [f"  y[{c}] = {self.requantize.c(f'a{c}', f'm{c}')};"]
        lines += [f"  y += {width};", f"  bias += {width};"]
        return [*lines, f"  multiplier += {width};"] if self.requantize.per_channel else lines

    def _over_inputs(self, step: Callable[[str], list[str]]) -> list[str]:
        """``step`` on all whole periods, then on what is left with zeros behind it."""
        full, rest = divmod(self.inputs, self.period)
        lines = []
        if full:
            lines += [
                f"  for (const int8_t *p = x, *const end = x + {full * self.period}; p != end;",
                f"       p += {self.period}) {{",
                *(f"    {line}" for line in step("p")),
                "  }",
            ]
        if rest:
            lines += ["  {", *(f"    {line}" for line in step("tail")), "  }"]
        return lines

    def _sum(self, source: str) -> list[str]:
        lines = ["int32_t u;"]
        for i in range(0, self.period, 4):
            lines.append(f"u = tcnn_ld32({source} + {i});")
            for expand in ("tcnn_sxtb16", "tcnn_sxtb16_ror8"):
                lines.append(f"total = tcnn_smlad({expand}(u), 0x10001, total);")
        return lines

    def _products(self, source: str, width: int) -> list[str]:
        mask = f"0x{((1 << self.bits) - 1) * 0x10001:x}u"
        lines = ["int32_t u, t;", f"uint32_t {', '.join(f'w{c}' for c in range(width))};"]
        for j in range(self.period // 2):
            if j % self.pairs == 0:
                lines += [f"w{c} = (uint32_t)w[{c}];" for c in range(width)]
                lines.append(f"w += {width};")
            if j % 2 == 0:
                lines.append(f"u = tcnn_ld32({source} + {2 * j});")
            lines.append(f"t = tcnn_sxtb16{'_ror8' if j % 2 else ''}(u);")
            shift = j % self.pairs * self.bits
            for c in range(width):
                code = f"(w{c} >> {shift})" if shift else f"w{c}"
                lines.append(f"a{c} = tcnn_smlad(t, (int32_t)({code} & {mask}), a{c});")
        return lines

    def function(self) -> Any:
        """The TIR function of ``x, codes, bias, multiplier, y``."""
        load_tvm()
        from tvm.script.ir_builder import IRBuilder
        from tvm.tirx.script import builder as T

        with IRBuilder() as builder, T.prim_func(s_tir=True):
            x = T.arg("x", T.Buffer((self.inputs,), "int8"))
            w = T.arg("codes", T.Buffer((self.outputs * self.words,), "int32"))
            b = T.arg("bias", T.Buffer((self.outputs,), "int32"))
            m = T.arg("multiplier", T.Buffer((self.requantize.channels(self.outputs),), "int32"))
            y = T.arg("y", T.Buffer((self.outputs,), "int8"))
            name, at = self._kernel()[0], T.address_of
            T.evaluate(
                T.call_extern("void", name, at(x[0]), at(w[0]), at(b[0]), at(m[0]), at(y[0]))
            )
        return builder.get()
