"""Convolution of any kind as TIR: strips of output pixels, their receptive fields, blocks of sums.

Parameters: ``x, weights, bias[, multiplier], y[, scratch]``. Weights and bias lie by phase, then by
output channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.blocks import Block
from tinycc_nn.backends.tvm.tir.build import Strip, strips
from tinycc_nn.backends.tvm.tir.packing import Blocking, Group
from tinycc_nn.backends.tvm.tir.patches import Geometry, Phase, columns

Weights = npt.NDArray[np.generic]
MakeBlock = Callable[[Block], tuple[str, str]]


@dataclass(frozen=True)
class Kind:
    """Element types of a convolution, and how its sums are computed.

    ``element``, ``sum``: numpy names. ``fill``: the byte of padding. ``quad``: weights are words of
    four int8, depth is filled up to a multiple of four. ``multipliers``: how many, 0 for floats.
    """

    element: str
    sum: str
    block: MakeBlock
    fill: int = 0
    quad: bool = False
    multipliers: int = 0

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return np.dtype(self.element).itemsize

    @property
    def ctype(self) -> str:
        return "float" if self.element == "float32" else f"{self.element}_t"

    def depth(self, depth: int) -> int:
        """Products of a sum with those that fill it up."""
        return -(-depth // 4) * 4 if self.quad else depth

    def packed(self, depth: int) -> int:
        """Elements of packed weights for an output channel."""
        return -(-depth // 4) if self.quad else depth


@dataclass(frozen=True)
class Part:
    """A phase's strips with their micro-kernels; ``fill`` None: fields are read in the input."""

    phase: Phase
    strip: Strip
    fill: str | None
    blocks: tuple[str, ...]
    weights: int
    bias: int


@dataclass(frozen=True)
class Gather:
    """A convolution in register blocks of ``pixels`` x ``channels``."""

    geometry: Geometry
    kind: Kind
    pixels: int
    channels: int

    @property
    def groups(self) -> list[Group]:
        """The blocks of the output channels of a group."""
        return Blocking(channels=self.channels).groups(self.geometry.each)

    def direct(self, phase: Phase) -> bool:
        """Whether fields are contiguous in the input and need no scratch memory."""
        whole = not self.kind.quad or self.geometry.per_group % 4 == 0
        return phase.taps == 0 or (phase.pointwise and whole)

    @property
    def scratch(self) -> int:
        """Bytes."""
        fields = [
            self.pixels * self.kind.depth(self.geometry.depth(p)) * self.kind.size
            for p in self.geometry.phases
            if not self.direct(p)
        ]
        return max(fields, default=0)

    @property
    def packed(self) -> int:
        """Elements of all packed weights."""
        g = self.geometry
        return g.outputs * sum(self.kind.packed(g.depth(p)) for p in g.phases)

    def pack(self, weights: Weights) -> Weights:
        """OHWI weights in reading order: phases, blocks of channels, depth, channels."""
        rows = [_taps(weights, p) for p in self.geometry.phases]
        return np.concatenate([self._pack(r) for r in rows])

    def biases(self, of: Callable[[Weights], Weights], weights: Weights) -> Weights:
        """The bias of every phase, ``of`` its weights [outputs, depth]."""
        return np.concatenate([of(_taps(weights, p)) for p in self.geometry.phases])

    def _pack(self, rows: Weights) -> Weights:
        if self.kind.quad:
            rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
            rows = np.ascontiguousarray(rows).view("<i4")
        each = self.geometry.each
        blocks = [
            rows[start : start + g.width].T.ravel()
            for first in range(0, self.geometry.outputs, each)
            for g in self.groups
            for start in range(first + g.first, first + g.first + g.count * g.width, g.width)
        ]
        return np.concatenate(blocks)

    def parts(self) -> tuple[list[Part], dict[str, str]]:
        """Strips of all phases, and the C text of their micro-kernels."""
        g, parts, micro = self.geometry, [], dict[str, str]()
        weights = 0
        for i, phase in enumerate(g.phases):
            depth, row = g.depth(phase), phase.columns.count
            pixels = phase.rows.count * row if phase.flat else row
            for strip in strips(pixels, self.pixels, overlap=True):
                direct = self.direct(phase)
                pitch = g.channels if direct else self.kind.depth(depth)
                stride = phase.columns.step * g.outputs
                block = Block(strip.pixels, 0, depth, pitch, stride)
                found = [self.kind.block(replace(block, channels=b.width)) for b in self.groups]
                fill = None
                if not direct:
                    fill = columns(g, phase, strip.pixels, pitch, self.kind.ctype, self.kind.fill)
                    micro[fill[0]] = fill[1]
                micro |= dict(found)
                names = tuple(name for name, _ in found)
                bias = i * g.outputs
                parts.append(Part(phase, strip, fill and fill[0], names, weights, bias))
            weights += g.outputs * self.kind.packed(depth)
        return parts, micro


def _taps(weights: Weights, phase: Phase) -> Weights:
    """The weights of a phase as [outputs, depth]."""
    taken = weights[:, list(phase.rows.taps)][:, :, list(phase.columns.taps)]
    return taken.reshape(len(weights), -1)


def function(gather: Gather, parts: Sequence[Part]) -> Any:
    """The TIR function of all parts."""
    load_tvm()
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    g, kind = gather.geometry, gather.kind
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        x = T.arg("x", T.Buffer((g.input_size,), kind.element))
        word = "int32" if kind.quad else kind.element
        w = T.arg("weights", T.Buffer((max(1, gather.packed),), word))
        b = T.arg("bias", T.Buffer((len(g.phases) * g.outputs,), kind.sum))
        m = T.arg("multiplier", T.Buffer((kind.multipliers,), "int32")) if kind.multipliers else b
        y = T.arg("y", T.Buffer((g.pixels * g.outputs,), kind.element))
        s = T.arg("scratch", T.Buffer((gather.scratch,), "int8")) if gather.scratch else x
        at = T.address_of
        for part in parts:
            rows, across, strip = part.phase.rows, part.phase.columns, part.strip
            flat, packed = part.phase.flat, kind.packed(g.depth(part.phase))
            total = rows.count * across.count if flat else across.count
            with T.serial(1 if flat else rows.count) as r, T.serial(strip.count) as i:
                column = strip.first + i * strip.pixels
                if strip.first + strip.count * strip.pixels > total:
                    column = T.min(column, total - strip.pixels)
                pixel = r * across.count + column
                line = (r * rows.step + rows.first) * g.width + across.first
                place = column if flat else line + column * across.step
                with T.serial(g.groups) as group:
                    source = at(x[pixel * g.channels + group * g.per_group])
                    if part.fill is not None:
                        first = at(x[group * g.per_group])
                        T.evaluate(T.call_extern("void", part.fill, first, pixel, at(s[0])))
                        source = at(s[0])
                    for name, block in zip(part.blocks, gather.groups, strict=True):
                        with T.serial(block.count) as j:
                            n = group * g.each + block.first + j * block.width
                            sums = [at(w[part.weights + n * packed]), at(b[part.bias + n])]
                            if kind.multipliers:
                                sums.append(at(m[n] if kind.multipliers > 1 else m[0]))
                            target = at(y[place * g.outputs + n])
                            T.evaluate(T.call_extern("void", name, source, *sums, target))
    return builder.get()
