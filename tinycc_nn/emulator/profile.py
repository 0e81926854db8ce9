"""Counts of executed basic blocks, and the instructions and cycles that they amount to."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinycc_nn.emulator.block_hook import Range, State
from tinycc_nn.emulator.cycles import BlockCost, CycleModel
from tinycc_nn.emulator.instructions import decode
from tinycc_nn.toolchain.program import Symbol

_NEVER = 1  # odd: no block starts there


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one call of a kernel executed, from its entry to the entry of the next one."""

    symbol: str
    instructions: int
    cycles: int


class BlockProfile:
    """Counts by layer and block of the code addresses `code`, filled by the native hook."""

    def __init__(self, code: range, model: CycleModel, read: Callable[[int, int], bytes]) -> None:
        self._code, self._model, self._read = code, model, read
        self._length = len(code) // 2
        self._sizes = np.zeros(self._length, np.uint32)
        self._costs: dict[tuple[int, int], BlockCost] = {}
        self._counts = self._falls = np.zeros((0, self._length), np.int64)
        self._expected = (Range * 1)()
        self._kernels: tuple[Symbol, ...] = ()
        self.state = State(base=code.start, length=self._length, stride=self._length)

    def start(self, kernels: Sequence[Symbol], budget: int) -> None:
        """Zero all counts; expect the kernels to be entered in that order.

        `budget` is a number of instructions: at least so many run before the watchdog stops the
        program, and at most twice as many.
        """
        rows = len(kernels) + 1
        if len(self._counts) != rows:
            self._counts = np.zeros((rows, self._length), np.int64)
            self._falls = np.zeros_like(self._counts)
        self._counts[:] = 0
        self._falls[:] = 0
        self._kernels = tuple(kernels)
        ranges = [Range(k.address, k.address + max(k.size, 2)) for k in kernels]
        self._expected = (Range * rows)(*ranges, Range(_NEVER, _NEVER))
        state = self.state
        state.counts = self._counts.ctypes.data
        state.falls = state.last_fall = self._falls.ctypes.data
        state.sizes = self._sizes.ctypes.data
        state.expected = ctypes.addressof(self._expected)
        state.budget = 4 * budget
        state.last_start = state.last_end = _NEVER

    @property
    def exhausted(self) -> bool:
        """Whether the watchdog stopped the program."""
        return bool(self.state.budget < 0)

    @property
    def entered(self) -> int:
        """How many of the expected kernels were entered."""
        offset = self.state.expected - ctypes.addressof(self._expected)
        return int(offset) // ctypes.sizeof(Range)

    def layers(self) -> tuple[LayerCost, tuple[LayerCost, ...]]:
        """What ran before the first kernel, and the cost of every expected kernel."""
        used = np.flatnonzero(self._counts.any(axis=0))
        blocks = [self._block(int(index)) for index in used]
        instructions = np.array([b.instructions for b in blocks], np.int64)
        fixed = np.array([b.cycles for b in blocks], np.float64)
        penalty = np.array([b.taken for b in blocks], np.float64)
        wrong = np.array([b.mispredicted for b in blocks], np.float64)
        counts, falls = self._counts[:, used], self._falls[:, used]
        taken = counts - falls
        cycles = counts @ fixed + taken @ penalty + np.minimum(taken, falls) @ wrong
        names = ("", *(k.name for k in self._kernels))
        executed = (counts @ instructions).tolist()
        costs = [
            LayerCost(name, int(n), round(c))
            for name, n, c in zip(names, executed, cycles.tolist(), strict=True)
        ]
        return costs[0], tuple(costs[1:])

    def _block(self, index: int) -> BlockCost:
        address, size = self._code.start + 2 * index, int(self._sizes[index])
        found = self._costs.get((address, size))
        if found is None:
            block = decode(self._read(address, size), address)
            found = self._model.block(block, self._halfword)
            self._costs[address, size] = found
        return found

    def _halfword(self, address: int) -> int:
        return int.from_bytes(self._read(address, 2), "little")
