"""Cycle models: cost of a basic block, and which hardware the model was checked against.

cycles = sum over blocks of executions x block cost + taken branches x penalty. All models take
zero wait states. Sources: the cores' technical reference manuals, and public measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tinycc_nn.emulator.instructions import Instruction, Kind

Fetch = Callable[[int], int]
"""Address -> the halfword of code there."""


@dataclass(frozen=True, slots=True)
class BlockCost:
    """Cycles of one execution of a block whose last branch falls through, what is added when it is
    taken, and what is added each time a predictor is wrong about it."""

    instructions: int
    cycles: float
    taken: float
    mispredicted: float = 0.0


class CycleModel(Protocol):
    """Cycles of a core."""

    @property
    def name(self) -> str:
        """The core's short name: "m4"."""

    @property
    def basis(self) -> str:
        """What the figures rest on, and their error, for reports."""

    def block(self, instructions: Sequence[Instruction], fetch: Fetch) -> BlockCost:
        """Cost of a basic block (at least one instruction)."""


@dataclass(frozen=True, slots=True)
class TableModel:
    """A core without dual issue: a cost by kind of instruction, and a few pairs that differ.

    Times are in cycles. `taken` holds the penalties of a direct branch, of a call, of a branch by
    register and of a return by POP; `pipelined` cores run a load behind a load in one cycle and
    fold IT into a 16-bit instruction before it.
    """

    name: str
    basis: str
    load: int
    store: int
    pipelined: bool
    taken: tuple[int, int, int, int]
    mac: int = 1
    mul_long: int = 1
    mac_long: int = 1
    divide: int = 6

    def block(self, instructions: Sequence[Instruction], fetch: Fetch) -> BlockCost:
        """Cost of a basic block."""
        cycles = 0
        previous: Instruction | None = None
        for instruction in instructions:
            cycles += self._cycles(instruction, previous)
            previous = instruction
        return BlockCost(len(instructions), cycles, self._penalty(instructions[-1], fetch))

    def _cycles(self, x: Instruction, previous: Instruction | None) -> int:
        before = previous.kind if previous is not None else None
        cycles = self._own_cycles(x, previous)
        if x.kind is Kind.LOAD:
            cycles = self._load_cycles(x, previous)
        if previous is None:
            return cycles
        if self.pipelined and before is Kind.STORE and x.kind in _LOADS:
            cycles += 1
        if self.pipelined and before not in _NO_ALU_RESULT:
            cycles += bool(previous.writes & x.address_registers)
        if before in _LONG_FLOAT:
            cycles += bool(previous.writes & x.reads)
        return cycles

    def _load_cycles(self, x: Instruction, previous: Instruction | None) -> int:
        if not self.pipelined or previous is None or previous.kind is not Kind.LOAD:
            return self.load
        if previous.writes & x.address_registers:
            return self.load
        both_indexed = x.writeback and previous.writeback
        if both_indexed and x.address_registers & previous.address_registers:
            return self.load
        unaligned_fetch = x.size == 4 and x.address & 2
        return self.load if unaligned_fetch else self.load - 1

    def _own_cycles(self, x: Instruction, previous: Instruction | None) -> int:
        before = previous.kind if previous is not None else None
        match x.kind:
            case Kind.STORE:
                slow = self.pipelined and x.register_offset and before is not Kind.LOAD
                return 2 if slow else self.store
            case Kind.DOUBLE | Kind.TABLE_BRANCH:
                return 3
            case Kind.MULTIPLE | Kind.POP_PC | Kind.V_MULTIPLE:
                return 1 + x.count
            case Kind.LOAD_PC | Kind.STATUS | Kind.V_STORE:
                return 2
            case Kind.MAC:
                return self.mac
            case Kind.MUL_LONG:
                return self.mul_long
            case Kind.MAC_LONG:
                return self.mac_long
            case Kind.DIV:
                return self.divide
            case Kind.IT:
                folded = self.pipelined and previous is not None and previous.size == 2
                return 0 if folded else 1
            case Kind.V_LOAD:
                behind = self.pipelined and before in (Kind.LOAD, Kind.V_LOAD)
                return 1 if behind else 2
            case Kind.V_MAC:
                return 3
            case Kind.V_DIV:
                return 14
            case Kind.V_MOVE:
                return 2 if x.count >= 4 else 1
            case _:
                return 1

    def _penalty(self, last: Instruction, fetch: Fetch) -> int:
        direct, call, register, pop = self.taken
        match last.kind:
            case Kind.BRANCH:
                return direct + self._unaligned(last.target, fetch)
            case Kind.CALL:
                return call + self._unaligned(last.target, fetch)
            case Kind.BRANCH_REGISTER:
                return register
            case Kind.TABLE_BRANCH:
                return register + 1
            case Kind.POP_PC:
                return pop
            case Kind.LOAD_PC:
                return pop + 1
            case _:
                return 0

    def _unaligned(self, target: int | None, fetch: Fetch) -> int:
        """One cycle for a 32-bit instruction that straddles two words at the target."""
        if not self.pipelined or target is None or not target & 2:
            return 0
        return int(fetch(target) >= 0xE800)


_LOADS = frozenset((Kind.LOAD, Kind.MULTIPLE, Kind.POP_PC, Kind.V_LOAD))
_LONG_FLOAT = frozenset((Kind.V_ARITHMETIC, Kind.V_MAC, Kind.V_DIV))
_NO_ALU_RESULT = frozenset(
    (
        None,
        Kind.LOAD,
        Kind.STORE,
        Kind.DOUBLE,
        Kind.MULTIPLE,
        Kind.V_LOAD,
        Kind.V_STORE,
        Kind.V_MULTIPLE,
        Kind.BRANCH,
        Kind.CALL,
        Kind.BRANCH_REGISTER,
    )
)

_MANUAL = "model {}: instruction tables of the technical reference manual, error unknown"
TABLES: Mapping[str, CycleModel] = {
    "cortex-m0": TableModel("m0", _MANUAL.format("m0"), 2, 2, False, (2, 3, 2, 3)),
    "cortex-m0plus": TableModel("m0plus", _MANUAL.format("m0plus"), 2, 2, False, (1, 2, 1, 2)),
    "cortex-m3": TableModel(
        "m3", _MANUAL.format("m3"), 2, 1, True, (2, 2, 2, 2), mac=2, mul_long=4, mac_long=5
    ),
    "cortex-m4": TableModel(
        "m4",
        "model m4: checked against published hardware cycles of pqm4 (STM32L4R5 at 24 MHz,"
        " zero wait states), on held out points mean error 2.2 %, worst -4.4 %",
        2,
        1,
        True,
        (2, 2, 2, 2),
    ),
}
