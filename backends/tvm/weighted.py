"""An int8 conv2d or dense as the numbers that kernel templates take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window, folded_bias
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import I8, Array
from tinycc_nn.numeric.requantize import multipliers
from tinycc_nn.ops import ints, number
from tinycc_nn.ops.activation import int8_bounds


@dataclass(frozen=True)
class Weighted:
    """
    window:   the geometry; a dense layer of M rows is M pixels of a 1x1 convolution, a column of
              pixels is a row.
    weights:  OHWI with I = channels / groups, zero point 0; int8, or int16 decoded from codes.
    bias:     int32, one for each output channel.
    """

    op: Op
    window: Window
    groups: int
    weights: Array
    bias: Array

    @staticmethod
    def of(op: Op) -> Weighted | None:
        """None if the op is another one, or without an int8 result and constant, symmetric weights."""
        if op.name not in ("conv2d", "dense") or op.type.dtype != I8:
            return None
        x, weights = op.operands[0].type, op.operands[1].integers
        quant = op.operands[1].type.quant
        if weights is None or quant is None or quant.zero != 0:
            return None
        bias = op.operands[2].constant if len(op.operands) == 3 else None
        if len(op.operands) == 3 and bias is None:
            return None
        if bias is None:
            bias = np.zeros(weights.shape[0], np.int32)
        if op.name == "dense":
            rows = prod(x.shape[:-1])
            window = Window(rows, 1, x.shape[-1])
            return Weighted(op, window, 1, weights.reshape(len(weights), 1, 1, -1), bias)
        if x.shape[0] != 1:
            return None
        top, bottom, left, right = ints(op, "pad")
        sh, sw = ints(op, "stride")
        dh, dw = ints(op, "dilation")
        kernel = weights.shape[1], weights.shape[2]
        _, height, width, channels = x.shape
        pad = top, left, bottom, right
        window = Window(height, width, channels, kernel, (sh, sw), (dh, dw), pad)
        if width == kernel[1] == 1 < kernel[0] and left == right == 0:
            # One column is the same memory as one row, in which neighbours are shared.
            window = Window(
                1, height, channels, (1, kernel[0]), (1, sh), (1, dh), (0, top, 0, bottom)
            )
            weights = weights.reshape(len(weights), 1, kernel[0], -1)
        return Weighted(op, window, int(number(op, "groups")), weights, bias)

    @property
    def is_depthwise(self) -> bool:
        """One output channel for each of several input channels."""
        return self.groups == self.window.channels == len(self.weights) > 1

    @property
    def multiplier(self) -> int:
        """Output channels that each input channel alone has, 0 if channels are mixed."""
        return len(self.weights) // self.groups if self.groups == self.window.channels else 0

    @property
    def input_zero(self) -> int:
        quant = self.op.operands[0].type.quant
        assert quant is not None
        return quant.zero

    @cached_property
    def _factors(self) -> tuple[Array, int]:
        x, w = self.op.operands[0].type, self.op.operands[1].type
        return multipliers(x.steps() * w.steps() / self.op.type.steps())

    @property
    def multipliers(self) -> Array:
        """int32[channels] or [1]."""
        return self._factors[0]

    @cached_property
    def largest_sum(self) -> int:
        """A bound of the magnitude of every sum with its bias, zero points subtracted."""
        reach = max(127 - self.input_zero, self.input_zero + 128)
        sums = np.abs(self.weights.astype(np.int64)).reshape(len(self.weights), -1).sum(axis=1)
        return int((sums * reach + np.abs(self.bias.astype(np.int64))).max())

    @cached_property
    def requantize(self) -> Requantize:
        m, shift = self._factors
        assert self.op.type.quant is not None
        low, high = int8_bounds(self.op)
        narrow = self.largest_sum << (32 - shift) < 2**31
        return Requantize(shift, self.op.type.quant.zero, low, high, len(m) > 1, narrow)

    @property
    def macs(self) -> int:
        return self.op.type.size * prod(self.weights.shape[1:])

    def kernel(
        self, template: Template, packed: int, cycles: float, text: int, name: str = ""
    ) -> Kernel:
        """The kernel of a template whose weights take `packed` bytes."""
        m, _ = self._factors
        return Kernel(
            name or template.name,
            lambda: self._code(template),
            packed + self.bias.nbytes + m.nbytes,
            text,
            cycles,
            template.scratch,
            (0,) if template.in_place else (),
        )

    def _code(self, template: Template) -> Code:
        weights = self.weights
        if self.is_depthwise:
            weights = weights[:, :, :, 0].transpose(1, 2, 0)
        zero = self.input_zero + template.input_offset
        bias = folded_bias(self.bias, self.weights, zero)
        constants = template.pack(weights), bias, self._factors[0]
        return Code(template.function(), constants, tuple(template.micro_kernels.values()))
