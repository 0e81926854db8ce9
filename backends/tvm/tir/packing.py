"""Weights of a dense product in the order in which its DSP kernels read them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from tinycc_nn.backends.tvm.tir.template import Int8, Int32

Int16 = npt.NDArray[np.int16]


class Packing(Enum):
    """How weights are stored, and what it takes to read them.

    BYTES: words of four int8 of one channel; two expansions (SXTB16) each.
    PAIRS: int16 of ``256 * w[n + 1] + w[n]`` of two channels; SMLAD with the whole and with its
        low byte gives both sums, with one expansion for two channels. Same size as BYTES. Exact
        modulo 2^32 as long as every sum of an odd channel is below 2^23 (`pairs_fit`).
    WORDS: int16, no expansion, twice the size.
    """

    BYTES = "bytes"
    PAIRS = "pairs"
    WORDS = "words"


@dataclass(frozen=True)
class Blocking:
    """Output pixels x channels of a register block, and how often its loop is unrolled.

    Raises ``ValueError`` for an odd number of channels in pairs.
    """

    pixels: int = 3
    channels: int = 2
    unroll: int = 2
    packing: Packing = Packing.BYTES

    def __post_init__(self) -> None:
        if self.packing is Packing.PAIRS and self.channels % 2:
            raise ValueError("channels in pairs come in even numbers")

    def groups(self, channels: int) -> list[Group]:
        """The blocks of a layer's output channels: full ones, then what is left."""
        full, rest = divmod(channels, self.channels)
        sizes = [(self.channels, full), (rest, 1)]
        if self.packing is Packing.PAIRS:
            sizes = [(self.channels, full), (rest - rest % 2, 1), (rest % 2, 1)]
        groups, first = [], 0
        for width, count in sizes:
            if width * count:
                groups.append(Group(first, width, count, self._packing_of(width)))
                first += width * count
        return groups

    def _packing_of(self, width: int) -> Packing:
        return Packing.BYTES if width == 1 and self.packing is Packing.PAIRS else self.packing

    def words(self, depth: int) -> int:
        """Words of packed weights for each output channel of ``depth`` products."""
        return -(-depth // 4) * (2 if self.packing is Packing.WORDS else 1)


@dataclass(frozen=True)
class Group:
    """``count`` blocks of ``width`` output channels from channel ``first``."""

    first: int
    width: int
    count: int
    packing: Packing


def pairs_fit(weights: Int8) -> bool:
    """Whether ``weights`` (output channels first) may be packed as PAIRS.

    The sum of an odd channel must stay below 2^23 for any input, and no int16 may overflow.
    """
    w = weights.reshape(weights.shape[0], -1).astype(np.int32)
    odd = w[1::2]
    even = w[0 : 2 * len(odd) : 2]
    in_range = bool(np.all(256 * odd + even >= -(2**15)))
    return in_range and bool(np.all(128 * np.abs(odd).sum(axis=1) < 2**23))


def pack(weights: Int8, blocking: Blocking) -> Int32:
    """OHWI weights in reading order: blocks of channels, then depth in fours, then channels.

    Depth is filled up with zeros to a multiple of 4. Raises ``ValueError`` for weights that do not
    fit in pairs.
    """
    if blocking.packing is Packing.PAIRS and not pairs_fit(weights):
        raise ValueError("these weights can't be packed in pairs")
    flat = weights.reshape(weights.shape[0], -1)
    flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % 4)))
    parts = []
    for g in blocking.groups(len(flat)):
        for first in range(g.first, g.first + g.width * g.count, g.width):
            parts.append(_pack_block(flat[first : first + g.width], g.packing))
    return np.concatenate(parts)


def _pack_block(rows: Int8, packing: Packing) -> Int32:
    fours = rows.reshape(rows.shape[0], -1, 4).transpose(1, 0, 2)  # depth / 4, channel, 4
    if packing is Packing.BYTES:
        return np.ascontiguousarray(fours).view("<i4").ravel()
    lanes: Int16 = fours[:, :, [0, 2, 1, 3]].astype(np.int16)
    if packing is Packing.PAIRS:
        lanes = lanes[:, 0::2] + 256 * lanes[:, 1::2]
    halves = lanes.reshape(*lanes.shape[:2], 2, 2).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(halves, np.int16).view("<i4").ravel()
