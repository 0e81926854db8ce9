"""block-sparse: convolution and dense layers that skip blocks of weights that are zero."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.kernels.scalar import THUMB_1
from tinycc_nn.backends.tvm.tir import block_sparse as strip
from tinycc_nn.backends.tvm.tir import block_sparse_dense as dense
from tinycc_nn.backends.tvm.tir.block_sparse_plain import block_sparse_plain
from tinycc_nn.backends.tvm.tir.block_stream import (
    INPUTS,
    block_count,
    byte_stream,
    live_blocks,
    word_stream,
)
from tinycc_nn.backends.tvm.tir.im2col import padded_depth
from tinycc_nn.backends.tvm.tir.packing import Blocking, Group, Packing, pairs_fit
from tinycc_nn.backends.tvm.tir.template import Template
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

WIDTHS = (strip.OUTPUTS, dense.OUTPUTS)
"""Of the blocks of all kernels, in channels."""

MOST_LIVE = 0.9
"""Part of the blocks up to which it is worth a look."""

PLAIN = ((1, 2), (2, 2), (1, 4))
"""Pixels x channels of blocks without the DSP extension."""

PLAIN_CYCLES = 1.8
"""For an instruction, loads and multiplications of a Cortex-M3 among them."""

THUMB_1_CYCLES = {True: 2.35, False: 3.1}
"""With the spills of few registers; whether the block is one pixel and two channels."""


class Blocks(NamedTuple):
    """Of a layer's weights: those that aren't zero, and all."""

    live: int
    every: int


class BlockSparse:
    """Layers of which enough blocks are zero, in blocks of each kernel's own width."""

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if (layer := Weighted.of(op)) is None or layer.groups != 1:
            return
        if layer.weights.dtype != np.int8:
            return
        if target.mve:  # its dense kernels are several times faster than anything scalar
            return
        if not target.dsp:
            for block in PLAIN:
                if block[0] <= layer.window.pixels:
                    yield from _plain(layer, block, _cycles_per_instruction(target, block))
        elif layer.window.pixels >= strip.PIXELS:
            yield from _strips(layer)
        elif layer.window.pixels == 1 and layer.window.pointwise:
            fit = pairs_fit(layer.weights)
            yield from _dense(layer, Packing.PAIRS if fit else Packing.WORDS)

    def value_facts(self, op: Op) -> tuple[str, ...]:
        if (layer := Weighted.of(op)) is None or layer.groups != 1:
            return ()
        if layer.weights.dtype != np.int8:
            return ()
        every = [Blocking(channels=n).groups(len(layer.weights)) for n in WIDTHS]
        found = [_blocks(layer, groups) for groups in every]
        return tuple(f"blocks={blocks.live}" for blocks in found if blocks is not None)


def _blocks(layer: Weighted, groups: Sequence[Group]) -> Blocks | None:
    """None if too many aren't zero."""
    blocks = Blocks(live_blocks(layer.weights, groups), block_count(layer.weights, groups))
    return blocks if blocks.live <= MOST_LIVE * blocks.every else None


def _strips(layer: Weighted) -> Iterator[Kernel]:
    window, channels = layer.window, len(layer.weights)
    groups = strip.groups_of(channels)
    if (blocks := _blocks(layer, groups)) is None:
        return
    rows = groups[0].count
    words = 5 * blocks.live + rows
    template = strip.block_sparse(window, channels, layer.input_zero, layer.requantize, words)
    columns = 1.25 * (strip.PIXELS * padded_depth(window) * 1.5 + 30)
    strips = -(-window.pixels // strip.PIXELS)
    cycles = strips * (columns + blocks.live * 40.0 + rows * 75.0)
    yield _kernel(layer, template, 4 * words, cycles, 1000, blocks)


def _dense(layer: Weighted, packing: Packing) -> Iterator[Kernel]:
    inputs, outputs = layer.window.depth, len(layer.weights)
    groups = dense.groups_of(outputs, packing)
    if (blocks := _blocks(layer, groups)) is None:
        return
    rows = sum(g.count for g in groups)
    words = len(word_stream(layer.weights, groups, INPUTS))
    template = dense.block_sparse_dense(inputs, outputs, layer.requantize, packing, words)
    block = 29.0 if packing is Packing.PAIRS and inputs % INPUTS == 0 else 40.0
    cycles = blocks.live * block + outputs * 12.0 + rows * 20.0
    yield _kernel(layer, template, 4 * words, cycles, 450, blocks)


def _plain(layer: Weighted, block: tuple[int, int], factor: float) -> Iterator[Kernel]:
    window, channels = layer.window, len(layer.weights)
    pixels, outputs = block
    groups = Blocking(channels=outputs).groups(channels)
    if (blocks := _blocks(layer, groups)) is None:
        return
    stream = byte_stream(layer.weights, groups)
    template = block_sparse_plain(
        window, channels, layer.input_zero, layer.requantize, block, stream.nbytes
    )
    each = 4 * (pixels + outputs + pixels * outputs) + 8
    strips = -(-window.pixels // pixels)
    sums = pixels * channels * 12
    fill = pixels * window.depth * 1.5 if template.scratch else 0
    cycles = factor * strips * (fill + blocks.live * each + sums)
    yield _kernel(layer, template, stream.nbytes, cycles, 500, blocks)


def _cycles_per_instruction(target: Target, block: tuple[int, int]) -> float:
    return THUMB_1_CYCLES[block == (1, 2)] if target.cpu in THUMB_1 else PLAIN_CYCLES


def _kernel(
    layer: Weighted, template: Template, packed: int, cycles: float, text: int, blocks: Blocks
) -> Kernel:
    kernel = layer.kernel(template, packed, cycles, text)
    share = blocks.live / blocks.every
    return replace(kernel, facts=(f"blocks={blocks.live}",), share=share)


FAMILY = BlockSparse()
