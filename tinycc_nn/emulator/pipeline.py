"""In-order issue, two wide: cycles of a basic block on cores that pair instructions.

An instruction issues when its operands are there, beside the one before it where the core can pair
the two. The cores' rules come from public measurements (jnk0le's pipeline cycle tests,
quinapalus's Cortex-M7 cycle timings), not from the vendor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from tinycc_nn.emulator.cycles import BlockCost, Fetch
from tinycc_nn.emulator.instructions import MULTIPLIES, Instruction, Kind, words


class Use(Enum):
    """What an instruction needs a register for: each is read in another pipeline stage."""

    ADDRESS = auto()
    ACCUMULATOR = auto()
    STORED = auto()
    FLOAT = auto()
    MULTIPLIER = auto()
    SHIFTER = auto()
    ALU = auto()


_SHIFTER = words("ubfx sbfx rbit rev rev16 revsh bfi pkhbt pkhtb sxtab16 uxtab16 sxtab uxtab")

BITFIELD = words(
    "uxtb uxth sxtb sxth uxtb16 sxtb16 uxtab uxtah sxtab sxtah sxtab16 uxtab16 ubfx sbfx bfi bfc"
    " pkhbt pkhtb rev rev16 revsh rbit clz uadd8 sadd8 uadd16 sadd16 usub8 ssub8 usub16 ssub16"
    " qadd qsub qadd16 qsub16 qadd8 qsub8 ssat usat ssat16 usat16 sel shadd16 uhadd8 usad8"
    " usada8"
)
"""Operations of the second ALU stage: bit fields, saturation, SIMD in registers."""


def use_of(x: Instruction, register: int) -> Use:
    """What `x` needs `register` for."""
    if register in x.address_registers:
        return Use.ADDRESS
    if register in x.accumulator:
        return Use.ACCUMULATOR
    if register in x.stored:
        return Use.STORED
    if x.kind is Kind.V_MAC:
        return Use.ACCUMULATOR if register in x.writes else Use.FLOAT
    if x.kind in MULTIPLIES:
        return Use.MULTIPLIER
    return Use.SHIFTER if x.shifted or x.name in _SHIFTER else Use.ALU


class Core(Protocol):
    """The rules of a core. Times are in cycles."""

    @property
    def name(self) -> str:
        """The core's short name."""

    @property
    def basis(self) -> str:
        """What the rules were checked against."""

    @property
    def misprediction(self) -> float:
        """Cycles lost by a wrongly predicted branch."""

    def latency(self, producer: Instruction, use: Use) -> int:
        """From the issue of the producer to the issue of a user of its result."""

    def occupancy(self, x: Instruction) -> int:
        """How long nothing behind `x` can issue."""

    def blocks_float(self, x: Instruction) -> int:
        """How long no floating-point instruction behind `x` can issue."""

    def can_pair(self, older: Instruction, younger: Instruction) -> bool:
        """Whether the two issue in the same cycle, operands being there."""

    def taken(self, block: Sequence[Instruction]) -> int:
        """Penalty of the block's last branch when it is taken."""


@dataclass(frozen=True, slots=True)
class PipelineModel:
    """The cycle model of a core with such rules."""

    core: Core

    @property
    def name(self) -> str:
        """The core's short name."""
        return self.core.name

    @property
    def basis(self) -> str:
        """What the rules were checked against."""
        return self.core.basis

    def block(self, instructions: Sequence[Instruction], fetch: Fetch) -> BlockCost:
        """Cost of a basic block; of one that branches to itself, the cost in the steady state."""
        last = instructions[-1]
        taken = self.core.taken(instructions)
        if last.kind is Kind.BRANCH and last.target == instructions[0].address:
            ends = simulate(self.core, instructions, 3)
            cycles = ends[2] - ends[1] - taken
        else:
            cycles = simulate(self.core, instructions, 1)[0]
        wrong = self.core.misprediction if last.kind is Kind.BRANCH else 0.0
        return BlockCost(len(instructions), cycles, taken, wrong)


def simulate(core: Core, block: Sequence[Instruction], repetitions: int) -> list[int]:
    """The cycle in which each of the repetitions of the block ends."""
    now, free_float = 0, 0
    issued: list[Instruction] = []
    results: dict[int, tuple[Instruction, int]] = {}
    ends = []
    for _ in range(repetitions):
        for x in block:
            ready = _ready(core, x, results)
            if x.kind.name.startswith("V_"):
                ready = max(ready, free_float)
            if ready > now:
                now, issued = ready, []
            if issued and not (len(issued) < 2 and core.can_pair(issued[0], x)):
                now, issued = now + 1, []
            issued.append(x)
            results.update((register, (x, now)) for register in x.writes)
            free_float = max(free_float, now + core.blocks_float(x))
            occupied = core.occupancy(x)
            if occupied > 1:
                now, issued = now + occupied - 1, [x, x]
        ends.append(now + 1)
        now, issued = now + 1 + core.taken(block), []
    return ends


def _ready(core: Core, x: Instruction, results: dict[int, tuple[Instruction, int]]) -> int:
    times = (
        issue + core.latency(producer, use_of(x, register))
        for register in x.reads
        if (made := results.get(register)) is not None
        for producer, issue in (made,)
    )
    return max(times, default=0)
