"""The sizes of a Winograd convolution: tiles, blocks of tiles, and the memory they take."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tinycc_nn.backends.tvm.tir.template import Window
from tinycc_nn.backends.tvm.tir.winograd_axis import AXES, Axis

BLOCK = 4
"""Tiles whose products are computed together, for two output channels."""


@dataclass(frozen=True)
class Tiling:
    """Tiles of ``outputs`` (rows, columns) pixels of a layer, ``blocks`` blocks of them at once.

    ``wide``: weights are transformed offline to int16, else from int8 for every strip of blocks.
    """

    window: Window
    channels: int
    outputs: tuple[int, int] = (4, 4)
    blocks: int = 1
    wide: bool = False

    @property
    def axes(self) -> tuple[Axis, Axis]:
        return AXES[self.outputs[0]], AXES[self.outputs[1]]

    @property
    def points(self) -> int:
        """Transformed inputs of a tile, for each channel."""
        return prod(a.points for a in self.axes)

    @property
    def across(self) -> int:
        return -(-self.window.out_width // self.outputs[1])

    @property
    def tiles(self) -> int:
        return -(-self.window.out_height // self.outputs[0]) * self.across

    @property
    def block(self) -> int:
        return min(BLOCK, self.tiles)

    @property
    def strips(self) -> int:
        return -(-self.tiles // (self.block * self.blocks))

    @property
    def words(self) -> int:
        """Words of a transformed pixel: two channels each."""
        return self.window.channels // 2

    @property
    def block_bytes(self) -> int:
        """Transformed inputs of a block."""
        return 4 * self.points * self.words * self.block

    @property
    def weight_bytes(self) -> int:
        """Transformed weights of two output channels in scratch memory."""
        return 0 if self.wide else 4 * self.points * self.words * 2

    @property
    def product_bytes(self) -> int:
        """Products of a block and two output channels."""
        return 4 * self.points * self.block * 2

    @property
    def stage_bytes(self) -> int:
        """One tile's inputs with the padding around them, before there are products."""
        return prod(a.points for a in self.axes) * self.window.channels if self.padded else 0

    @property
    def padded(self) -> bool:
        return self.window.pad != (0, 0, 0, 0)

    @property
    def scratch(self) -> int:
        """Bytes: transformed inputs, then weights and products or a staged tile."""
        rest = max(self.weight_bytes + self.product_bytes, self.stage_bytes)
        return self.blocks * self.block_bytes + rest

    @property
    def packed_words(self) -> int:
        """Words of packed weights for two output channels."""
        return self.points * self.words * 2 if self.wide else 9 * self.window.channels // 2


def fits(window: Window, channels: int, outputs: tuple[int, int], largest_sum: int) -> bool:
    """Whether a layer is a 3x3 convolution of stride 1 whose numbers and sizes allow the tiles.

    ``largest_sum``: a bound of the magnitude of all sums with their bias.
    """
    if window.kernel != (3, 3) or window.stride != (1, 1) or window.dilation != (1, 1):
        return False
    if window.channels % 4 or channels % 2 or max(window.pad) > 2:
        return False
    if window.out_height < outputs[0] or window.out_width < outputs[1]:
        return False
    scales = [max(s & -s for s in AXES[n].scale) for n in outputs]
    return largest_sum * prod(scales) < 2**31
