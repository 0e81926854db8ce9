"""C of weights that are stored as codes of a few bits: their order, and their decoding to int16.

A code is a number in two's complement (decoded by shifts) or the index of a table of int16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.tir.template import micro_kernel
from tinycc_nn.ir.types import Array
from tinycc_nn.numeric.codes import CodeBook, pack


@dataclass(frozen=True)
class Decoder:
    """How codes of ``bits`` bits become int16; ``signed``: without a table."""

    bits: int
    signed: bool

    @staticmethod
    def of(book: CodeBook) -> Decoder:
        return Decoder(book.bits, book.signed)

    @property
    def table(self) -> str:
        """The parameter of a micro-kernel that decodes."""
        return "" if self.signed else "const int16_t *table, "

    def arguments(self, count: int, dtype: str) -> list[Any]:
        """The TIR buffers, as parameters of a function, of ``count`` elements of packed codes and of
        the table."""
        from tvm.tirx.script import builder as T

        found = [T.arg("codes", T.Buffer((count,), dtype))]
        return found if self.signed else [*found, self.table_argument()]

    def table_argument(self) -> Any:
        from tvm.tirx.script import builder as T

        return T.arg("table", T.Buffer((1 << self.bits,), "int16"))

    def source(self, buffers: Sequence[Any], at: Any, channel: Any) -> tuple[Any, ...]:
        """What ``micro_kernel`` takes before its result, for the codes that begin at an index; they
        are those of output channels from ``channel`` on."""
        del channel
        from tvm.tirx.script import builder as T

        return tuple(T.address_of(b[at if i == 0 else 0]) for i, b in enumerate(buffers))

    def element_source(self, buffers: Sequence[Any], channel: Any) -> tuple[Any, ...]:
        """The codes, the channel and the table of a micro-kernel that reads single codes."""
        from tvm.tirx.script import builder as T

        codes, *tables = (T.address_of(b[0]) for b in buffers)
        return (codes, channel, *tables)

    def constants(self, packed: Array, book: CodeBook) -> tuple[Array, ...]:
        """What ``arguments`` stand for."""
        return (packed,) if self.signed else (packed, book.values)

    @property
    def period(self) -> int:
        """Codes, an even number, that fill whole words."""
        codes = 32 // gcd(32, self.bits)
        return codes if codes % 2 == 0 else 2 * codes

    def words(self, count: int) -> int:
        """Words of ``count`` codes."""
        return -(-count // self.period) * self.period * self.bits // 32

    def packed(self, codes: Array) -> Array:
        """int32[words]: uint[count] codes, the lowest bits first."""
        filled = np.zeros(-(-codes.size // self.period) * self.period, np.uint32)
        filled[: codes.size] = codes.ravel()
        return pack(filled, self.bits).view("<i4")

    def value(self, word: str, shift: int) -> str:
        """C of the int16 of the code at bit ``shift`` of an uint32_t, which holds all of it."""
        if self.signed:
            left = 32 - self.bits - shift
            moved = f"({word} << {left})" if left else word
            return f"(int16_t)((int32_t){moved} >> {32 - self.bits})"
        moved = f"({word} >> {shift})" if shift else word
        index = moved if shift + self.bits == 32 else f"({moved} & {(1 << self.bits) - 1}u)"
        return f"table[{index}]"

    def micro_kernel(self, count: int) -> tuple[str, str]:
        """``f(codes[, table], scratch)``: ``count`` codes, in whole periods, to int16."""
        periods = -(-count // self.period)
        words = self.period * self.bits // 32
        lines = [f"const uint32_t c{i} = (uint32_t)codes[{i}];" for i in range(words)]
        for i in range(self.period):
            word, shift = divmod(i * self.bits, 32)
            source = f"c{word}"
            if shift + self.bits > 32:
                source = f"(c{word} >> {shift} | c{word + 1} << {32 - shift})"
                shift = 0
            lines.append(f"o[{i}] = {self.value(source, shift)};")
        lines += [f"codes += {words};", f"o += {self.period};"]
        inner = "".join(f"    {line}\n" for line in lines)
        body = "  tcnn_half *o = (tcnn_half *)scratch;\n"
        body += f"  for (int32_t i = {periods}; i > 0; --i) {{\n{inner}  }}"
        signature = f"const int32_t *codes, {self.table}int8_t *scratch"
        comment = f"{periods * self.period} codes of {self.bits} bits to int16"
        return micro_kernel("decode", signature, body, comment)

    def decoded_bytes(self, count: int) -> int:
        """Scratch bytes that ``micro_kernel`` writes."""
        return 2 * -(-count // self.period) * self.period

    @property
    def codes(self) -> str:
        """The parameter of a micro-kernel that reads single codes."""
        return "const uint8_t *codes, "

    def begin(self, taps: int) -> str:
        """C that sets ``bit`` to the first code of ``channel``, for ``element``."""
        return f"uint32_t bit = (uint32_t)channel * {taps * self.bits}u;"

    def element(self) -> str:
        """C that sets ``v`` to the code at bit ``bit`` of the bytes ``codes`` and moves ``bit``.

        It reads up to two bytes behind the code.
        """
        load = "codes[bit >> 3] | (uint32_t)codes[(bit >> 3) + 1] << 8"
        if self.bits > 8:
            load += " | (uint32_t)codes[(bit >> 3) + 2] << 16"
        code = f"(({load}) >> (bit & 7) & {(1 << self.bits) - 1}u)"
        value = f"table[{code}]"
        if self.signed:
            value = f"(int32_t)({code} << {32 - self.bits}) >> {32 - self.bits}"
        return f"    const int32_t v = {value};\n    bit += {self.bits};\n"

    def stream(self, codes: Array) -> Array:
        """uint8[...]: all codes without gaps, with the bytes behind them that are read."""
        return np.concatenate([pack(codes.ravel(), self.bits), np.zeros(2, np.uint8)])
