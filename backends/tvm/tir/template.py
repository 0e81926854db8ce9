"""What a kernel template gives, and the numbers that all templates share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Packed = npt.NDArray[np.int8] | Int32


@dataclass(frozen=True)
class Requantize:
    """From int32 sums to int8: ``clamp(((acc * m + 2^(shift-1)) >> shift) + zero, low, high)``.

    ``shift``: 1..32. ``per_channel``: one multiplier for each output channel, otherwise one in all.
    ``narrow``: it is proven that ``acc << (32 - shift)`` fits int32, so that 32 bits suffice.
    ``small``: that it is even below 2^29 in magnitude, which matters without long multiplication.
    """

    shift: int = 32
    zero: int = 0
    low: int = -128
    high: int = 127
    per_channel: bool = True
    narrow: bool = False
    small: bool = False

    def c(self, acc: str, multiplier: str) -> str:
        """The C expression (int8) of a sum and its multiplier."""
        if self.shift == 32:
            scaled = acc
        elif self.narrow:
            scaled = f"(int32_t)((uint32_t){acc} << {32 - self.shift})"
        else:
            numbers = f"{self.shift}, {self.zero}, {self.low}, {self.high}"
            return f"tcnn_requantize64({acc}, {multiplier}, {numbers})"
        inner = f"tcnn_requantize{29 if self.small else 32}({scaled}, {multiplier}, {self.zero})"
        return f"tcnn_clamp({inner}, {self.low}, {self.high})"

    def micro_kernel(self) -> tuple[str, str]:
        """Name and C text of ``int8_t f(int32_t acc, int32_t m)``."""
        body = f"  return {self.c('acc', 'm')};"
        return micro_kernel("requantize", "int32_t acc, int32_t m", body, "int32 to int8", "int8_t")

    def channels(self, count: int) -> int:
        """The number of multipliers of ``count`` output channels."""
        return count if self.per_channel else 1


@dataclass(frozen=True)
class Window:
    """A 2-D convolution's geometry: NHWC input of one image, sizes and strides as (rows, columns).

    ``pad``: top, left, bottom, right.
    """

    height: int
    width: int
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def out_height(self) -> int:
        extent = (self.kernel[0] - 1) * self.dilation[0] + 1
        return (self.height + self.pad[0] + self.pad[2] - extent) // self.stride[0] + 1

    @property
    def out_width(self) -> int:
        extent = (self.kernel[1] - 1) * self.dilation[1] + 1
        return (self.width + self.pad[1] + self.pad[3] - extent) // self.stride[1] + 1

    @property
    def pixels(self) -> int:
        """Output pixels."""
        return self.out_height * self.out_width

    @property
    def depth(self) -> int:
        """Products in one sum of a dense convolution: rows x columns x channels of the kernel."""
        return self.kernel[0] * self.kernel[1] * self.channels

    @property
    def pointwise(self) -> bool:
        """Each output pixel reads just the input pixel at its own place."""
        return self.kernel == self.stride == (1, 1) and self.pad == (0, 0, 0, 0)


@dataclass(frozen=True)
class Template:
    """One way to compute a layer, ready to be emitted.

    ``function`` makes the TIR function (TVM is imported then). ``pack`` puts OHWI int8 weights
    (depthwise: (kernel rows, kernel columns, channels)) into the order in which they are read.
    ``micro_kernels``: C texts by function name; the same name is always the same text.
    ``scratch``: bytes, to be aligned to 4. ``in_place``: ``y`` may be the memory of ``x``.
    ``input_offset``: what it adds to each input before the product; the bias takes it off again.
    """

    name: str
    function: Callable[[], Any]
    pack: Callable[[Int8], Packed]
    micro_kernels: Mapping[str, str]
    scratch: int = 0
    in_place: bool = False
    dsp: bool = False
    input_offset: int = 0


def micro_kernel(
    stem: str, signature: str, body: str, comment: str, result: str = "void"
) -> tuple[str, str]:
    """Name and C text of a static function; its name holds a digest, so it tells the text."""
    text = f"({signature})\n{{\n{body.rstrip()}\n}}\n"
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = f"tcnn_{stem}_{digest}"
    return name, f"/* {comment} */\nstatic inline {result} {name}{text}"


def folded_bias(bias: Int32, weights: Int8, input_zero: int) -> Int32:
    """``bias - input_zero * sum(weights)`` for each output channel (axis 0 of ``weights``).

    Raises ``OverflowError`` where the result does not fit int32.
    """
    sums = weights.reshape(weights.shape[0], -1).sum(axis=1, dtype=np.int64)
    folded = bias.astype(np.int64) - input_zero * sums
    if np.any(folded != folded.astype(np.int32)):
        raise OverflowError("the bias with the input's zero point folded in exceeds int32")
    return np.asarray(folded, np.int32)
