"""Issue rules of Cortex-M7: in order, two a cycle, with a branch predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinycc_nn.emulator.instructions import MULTIPLIES, Instruction, Kind, words
from tinycc_nn.emulator.pipeline import BITFIELD, Use

_EARLY = words("add adds sub subs mov movs movw mvn addw subw lsl lsls lsr lsrs asr asrs ror rors")
"""Operations that the first ALU stage can do."""

_STORES = frozenset((Kind.STORE, Kind.V_STORE))
_LOADS = frozenset((Kind.LOAD, Kind.V_LOAD))
_MEMORY = _STORES | _LOADS | {Kind.DOUBLE}
_ALONE = frozenset(
    (
        Kind.MULTIPLE,
        Kind.POP_PC,
        Kind.V_MULTIPLE,
        Kind.DIV,
        Kind.V_DIV,
        Kind.TABLE_BRANCH,
    )
)
_FLOAT = frozenset((Kind.V_MAC, Kind.V_ARITHMETIC, Kind.V_OTHER))
_FLOAT_TRANSFERS = frozenset((Kind.V_LOAD, Kind.V_STORE, Kind.V_MOVE))


@dataclass(frozen=True, slots=True)
class CortexM7:
    """Rules of Cortex-M7."""

    name: str = "m7"
    basis: str = (
        "model m7: in-order dual issue simulation, checked against CoreMark/MHz only, error about"
        " +-10-15 %; code and data in tightly coupled memory or cache"
    )
    misprediction: float = 7.0

    def latency(self, producer: Instruction, use: Use) -> int:
        """From the issue of the producer to the issue of a user of its result."""
        match producer.kind:
            case Kind.LOAD:
                return _load_latency(producer, use)
            case Kind.MULTIPLE | Kind.DOUBLE:
                return 2
            case Kind.MUL | Kind.MAC | Kind.MUL_LONG | Kind.MAC_LONG:
                return 1 if use in (Use.ACCUMULATOR, Use.STORED) else 2
            case Kind.V_MAC:
                return 3 if use in (Use.ACCUMULATOR, Use.STORED) else 5
            case Kind.V_ARITHMETIC:
                return 1 if use is Use.STORED else 3
            case Kind.V_LOAD:
                return 3 if use is Use.ACCUMULATOR else 1
            case Kind.V_DIV:
                return 16
            case Kind.V_MOVE:
                return 3
            case _:
                return _alu_latency(producer, use)

    def occupancy(self, x: Instruction) -> int:
        """How long nothing behind `x` can issue."""
        match x.kind:
            case Kind.MULTIPLE | Kind.POP_PC | Kind.V_MULTIPLE:
                return (x.count + 1) // 2
            case Kind.DIV:
                return 6
            case Kind.V_DIV:
                return 14
            case Kind.TABLE_BRANCH:
                return 3
            case _:
                return 1

    def blocks_float(self, x: Instruction) -> int:
        """How long no floating-point instruction behind `x` can issue."""
        return 0

    def can_pair(self, older: Instruction, younger: Instruction) -> bool:
        """Whether the two issue in the same cycle, operands being there."""
        if younger.kind is Kind.IT:
            return True
        kinds = (older.kind, younger.kind)
        if older.kind in _ALONE or younger.kind in _ALONE or older.kind is Kind.CALL:
            return False
        second_stage = older.name in BITFIELD or _shifter(older)
        if younger.name in BITFIELD or (second_stage and _shifter(younger)):
            return False
        return not (_multiplier_conflict(*kinds) or _memory_conflict(older, younger)) and (
            not _float_conflict(*kinds)
        )

    def taken(self, block: Sequence[Instruction]) -> int:
        """Penalty of the block's last branch when it is taken, as predicted."""
        penalties = {
            Kind.BRANCH_REGISTER: 1,
            Kind.POP_PC: 2,
            Kind.LOAD_PC: 2,
            Kind.TABLE_BRANCH: 2,
        }
        return penalties.get(block[-1].kind, 0)


def _load_latency(producer: Instruction, use: Use) -> int:
    if use is Use.STORED:
        return 0
    if use is Use.ADDRESS:
        return 3
    if use is Use.ACCUMULATOR:
        return 1
    narrow = producer.name in ("ldrb", "ldrh", "ldrsb", "ldrsh")
    return (2 if use in (Use.SHIFTER, Use.MULTIPLIER) else 1) + narrow


def _alu_latency(producer: Instruction, use: Use) -> int:
    if use is Use.STORED:
        return 0
    if producer.name in _EARLY and not _shifter(producer):
        return 0 if use is Use.ALU and producer.kind is Kind.ALU else 1
    if producer.name in BITFIELD:
        return 2 if use is Use.ADDRESS else 1
    return 2 if use in (Use.ADDRESS, Use.SHIFTER) else 1


def _shifter(x: Instruction) -> bool:
    return x.shifted or x.wide_constant


def _multiplier_conflict(older: Kind, younger: Kind) -> bool:
    if younger in MULTIPLIES:
        return older in MULTIPLIES or older in _STORES
    return older in MULTIPLIES and younger in _STORES


def _memory_conflict(older: Instruction, younger: Instruction) -> bool:
    kinds = (older.kind, younger.kind)
    if Kind.DOUBLE in kinds:
        return older.kind in _MEMORY and younger.kind in _MEMORY
    if older.kind in _STORES and younger.kind in _STORES:
        return True
    if older.kind not in _LOADS or younger.kind not in _LOADS:
        return False
    if older.base != younger.base or older.offset is None or younger.offset is None:
        return False
    if older.writeback or younger.writeback:
        return False
    return not (older.offset ^ younger.offset) & 4  # both in the same bank of the data memory


def _float_conflict(older: Kind, younger: Kind) -> bool:
    if older in _FLOAT and younger in _FLOAT:
        return True
    pair = (older, younger)
    return Kind.V_MAC in pair and bool(_FLOAT_TRANSFERS.intersection(pair))
