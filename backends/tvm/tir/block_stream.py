"""Weights without their zero blocks: a stream that a kernel reads from front to end.

A row is a group of output channels; each of its blocks that isn't zero is the distance in the input
from the end of the block before, then the block's weights. An end mark closes the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tinycc_nn.backends.tvm.tir.packing import Blocking, Group, pack
from tinycc_nn.backends.tvm.tir.template import Int8, Int32
from tinycc_nn.ir.types import Array

INPUTS = 4
"""Of a block: consecutive in a receptive field."""

FARTHEST, END = 254, 255
"""Distances in a stream of bytes; a block of zeros stands where one is longer."""


def live_blocks(weights: Int8, groups: Sequence[Group]) -> int:
    """How many blocks of OHWI weights are not zero."""
    flat, live = _filled(weights, groups), 0
    for g in groups:
        part = flat[g.first : g.first + g.count * g.width]
        live += int(part.reshape(g.count, g.width, -1, INPUTS).any(axis=(1, 3)).sum())
    return live


def block_count(weights: Int8, groups: Sequence[Group]) -> int:
    """How many there are in all."""
    depth = weights.size // len(weights)
    return -(-depth // INPUTS) * sum(g.count for g in groups)


def word_stream(weights: Int8, groups: Sequence[Group], pitch: int) -> Int32:
    """int32: distances in bytes, the weights packed as the groups are, -1 at the end of a row.

    pitch: bytes of a kernel's input that a block's inputs take.
    """
    stream: list[int] = []
    for row, group in _rows(weights, groups):
        alive = _alive(row)
        if alive.any():
            kept = row.reshape(len(row), -1, INPUTS)[:, alive].reshape(len(row), -1)
            words = pack(kept, Blocking(1, len(row), 1, group.packing)).reshape(alive.sum(), -1)
            for distance, block in zip(_distances(alive), words.tolist(), strict=True):
                stream += [distance * pitch, *block]
        stream.append(-1)
    return np.array(stream, np.int32)


def byte_stream(weights: Int8, groups: Sequence[Group]) -> Int8:
    """int8: distances in blocks (as unsigned bytes), weights input by input, `END`."""
    stream: list[int] = []
    for row, _ in _rows(weights, groups):
        alive = _alive(row)
        blocks = row.reshape(len(row), -1, INPUTS).transpose(1, 2, 0)
        for distance, block in zip(_distances(alive), blocks[alive], strict=True):
            while distance > FARTHEST:
                stream += [FARTHEST, *[0] * block.size]
                distance -= FARTHEST + 1
            stream += [distance, *block.ravel().tolist()]
        stream.append(END)
    return np.array(stream, np.int64).astype(np.uint8).view(np.int8)


def _rows(weights: Int8, groups: Sequence[Group]) -> Iterator[tuple[Int8, Group]]:
    """The weights int8[width, multiple of INPUTS] of each row."""
    flat = _filled(weights, groups)
    for g in groups:
        for first in range(g.first, g.first + g.count * g.width, g.width):
            yield flat[first : first + g.width], g


def _filled(weights: Int8, groups: Sequence[Group]) -> Int8:
    """int8[channels of all groups, multiple of INPUTS]: zeros where there is no channel or input."""
    flat = weights.reshape(len(weights), -1)
    channels = max(g.first + g.count * g.width for g in groups)
    return np.pad(flat, ((0, channels - len(flat)), (0, -flat.shape[1] % INPUTS)))


def _alive(row: Int8) -> Array:
    """bool[blocks]."""
    return np.asarray(row.reshape(len(row), -1, INPUTS).any(axis=(0, 2)))


def _distances(alive: Array) -> Iterator[int]:
    """Blocks between the end of the block before and each one that is alive."""
    end = 0
    for at in np.flatnonzero(alive).tolist():
        yield at - end
        end = at + 1
