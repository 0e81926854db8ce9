"""C of weights whose table index is a hash of their position: nothing but the table is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.tir.codes import Decoder
from tinycc_nn.backends.tvm.tir.template import micro_kernel
from tinycc_nn.ir.types import Array
from tinycc_nn.numeric.codes import HASH, CodeBook


@dataclass(frozen=True)
class HashDecoder(Decoder):
    """
    depth: weights of an output channel.
    lanes: they are laid as words of int16 lanes, 0 and 2 of four, then 1 and 3; otherwise one product
           after the other, with the channels side by side.
    """

    depth: int
    lanes: bool

    @property
    def period(self) -> int:
        return 2

    def words(self, count: int) -> int:
        return 0

    def packed(self, codes: Array) -> Array:
        return np.zeros(0, np.int32)

    def stream(self, codes: Array) -> Array:
        return np.zeros(0, np.uint8)

    def arguments(self, count: int, dtype: str) -> list[Any]:
        return [self.table_argument()]

    def source(self, buffers: Sequence[Any], at: Any, channel: Any) -> tuple[Any, ...]:
        from tvm.tirx.script import builder as T

        return channel * self.depth, T.address_of(buffers[0][0])

    def element_source(self, buffers: Sequence[Any], channel: Any) -> tuple[Any, ...]:
        from tvm.tirx.script import builder as T

        return channel, T.address_of(buffers[0][0])

    def constants(self, packed: Array, book: CodeBook) -> tuple[Array, ...]:
        return (book.values,)

    @property
    def codes(self) -> str:
        return ""

    def begin(self, taps: int) -> str:
        return f"uint32_t hash = (uint32_t)channel * {taps}u * {HASH[0]}u;"

    def _value(self) -> str:
        return f"table[(hash ^ hash >> 15) * {HASH[1]}u >> {32 - self.bits}]"

    def element(self) -> str:
        return f"    const int32_t v = {self._value()};\n    hash += {HASH[0]}u;\n"

    def micro_kernel(self, count: int) -> tuple[str, str]:
        """``f(position, table, scratch)``: the weights of ``count / padded depth`` channels."""
        padded = -(-self.depth // 4) * 4 if self.lanes else self.depth
        channels = count // padded
        step = 4 if self.lanes else 1
        full, rest = divmod(self.depth, step)

        def place(i: int) -> int:
            return i % 2 * 2 * channels + i // 2 if self.lanes else i

        lines = [f"uint32_t hash = (uint32_t)position * {HASH[0]}u;\n"]
        lines += [f"for (int32_t c = 0; c < {channels}; ++c) {{\n"]
        width = 2 if self.lanes else 1
        lines += [f"  tcnn_half *o = (tcnn_half *)scratch + {width} * c;\n"]
        lines += [f"  for (int32_t i = {full}; i > 0; --i) {{\n"]
        for i in range(step):
            lines += [f"    o[{place(i)}] = {self._value()};\n", f"    hash += {HASH[0]}u;\n"]
        lines += [f"    o += {step * channels};\n", "  }\n"]
        for i in range(step if rest else 0):
            value = self._value() if i < rest else "0"
            lines += [f"  o[{place(i)}] = {value};\n"]
            lines += [f"  hash += {HASH[0]}u;\n"] if i < rest else []
        lines += ["}\n"]
        body = "".join(f"  {line}" for line in lines)
        signature = f"int32_t position, {self.table}int8_t *scratch"
        comment = f"{count} weights by the hash of their position, {1 << self.bits} buckets"
        return micro_kernel("hashed", signature, body, comment)
