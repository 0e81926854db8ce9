"""Issue rules of Cortex-M33: in order, a 16-bit instruction may take a branch or IT along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinycc_nn.emulator.instructions import MULTIPLIES, Instruction, Kind, words
from tinycc_nn.emulator.pipeline import BITFIELD, Use

_ONE_CYCLE_FIELDS = words("bfi bfc uxtb uxth sxtb sxth ubfx sbfx rev rev16 clz")
"""The other bit-field operations go through the slower SIMD path."""


@dataclass(frozen=True, slots=True)
class CortexM33:
    """Rules of Cortex-M33."""

    name: str = "m33"
    basis: str = (
        "model m33: in-order issue simulation, checked against CoreMark/MHz only, error about"
        " +-10-15 %, probably optimistic"
    )
    misprediction: float = 0.0

    def latency(self, producer: Instruction, use: Use) -> int:
        """From the issue of the producer to the issue of a user of its result."""
        late = use in (Use.ACCUMULATOR, Use.STORED)
        match producer.kind:
            case Kind.LOAD | Kind.V_LOAD:
                return 1 if late else 2
            case Kind.MULTIPLE | Kind.DOUBLE:
                return 1 if use is Use.STORED else 2
            case Kind.V_MAC:
                return 3 if use is Use.ACCUMULATOR else 4
            case Kind.V_ARITHMETIC:
                return 2
            case Kind.V_DIV:
                return 13
            case _:
                return 2 if _two_stages(producer) and not late else 1

    def occupancy(self, x: Instruction) -> int:
        """How long nothing behind `x` can issue."""
        match x.kind:
            case Kind.DOUBLE | Kind.STATUS:
                return 2
            case Kind.MULTIPLE | Kind.POP_PC | Kind.V_MULTIPLE:
                return max(1, x.count)
            case Kind.DIV:
                return 6
            case Kind.TABLE_BRANCH:
                return 3
            case Kind.MUL:
                return 2 if x.size == 2 else 1
            case _:
                return 1

    def blocks_float(self, x: Instruction) -> int:
        """How long no floating-point instruction behind `x` can issue."""
        return {Kind.V_MAC: 3, Kind.V_DIV: 13}.get(x.kind, 0)

    def can_pair(self, older: Instruction, younger: Instruction) -> bool:
        """Whether the two issue in the same cycle, operands being there."""
        if younger.kind is Kind.IT:
            return True
        branch = younger.kind in (Kind.BRANCH, Kind.BRANCH_REGISTER)
        return branch and older.size == 2 and younger.size == 2

    def taken(self, block: Sequence[Instruction]) -> int:
        """Penalty of the block's last branch when it is taken."""
        last = block[-1]
        if last.kind is Kind.BRANCH:
            if len(block) > 1 and block[-2].size == 2 and last.size == 2:
                return 2 if block[-2].sets_flags else 0
            return 1
        penalties = {
            Kind.CALL: 1,
            Kind.BRANCH_REGISTER: 1,
            Kind.POP_PC: 3,
            Kind.LOAD_PC: 3,
            Kind.TABLE_BRANCH: 2,
        }
        return penalties.get(last.kind, 0)


def _two_stages(x: Instruction) -> bool:
    slow_field = x.name in BITFIELD and x.name not in _ONE_CYCLE_FIELDS
    return x.kind in MULTIPLIES or x.shifted or x.wide_constant or slow_field
