"""How much low-rank and separate-conv keep of each layer: a number, energy, a ratio, or MACs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.ops import opdef
from tinycc_nn.pruning.factors import Choice, Energies, most_rank, ranks_for_macs
from tinycc_nn.pruning.layers import total_macs

Sides = Callable[[Op], tuple[int, int]]
"""What a rank is worth: a layer of a * b MACs for each position becomes two of rank * (a + b)."""


@dataclass(frozen=True)
class Amount:
    """
    What a pass was asked for; 0 where nothing was.

    option: the one that gives `number`, the rank of every layer.
    energy: part of each layer's output that is kept. ratio: of the full rank. macs: of the
    network's MACs. All in 0..1.
    """

    made_by: str
    option: str
    number: int
    energy: float
    ratio: float
    macs: float

    def check(self) -> None:
        """ValueError for more than one wish, for none, or for one that is out of range."""
        if sum(n != 0 for n in (self.number, self.energy, self.ratio, self.macs)) != 1:
            raise ValueError(f"give one of {self.option}, energy, ratio and macs")
        if self.number < 0:
            raise ValueError(f"{self.option} must be at least 1")
        for name in ("energy", "ratio", "macs"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1")

    def ranks(self, graph: Graph, found: Mapping[Op, Energies], sides: Sides) -> dict[Op, int]:
        """The rank of each layer that is split: none takes more MACs than it does now.

        TinyccError if there is none, LimitError if the MACs are out of reach.
        """
        if self.macs:
            choices = {op: _choice(op, e, *sides(op)) for op, e in found.items()}
            least = f"{self.option}=1"
            return ranks_for_macs(choices, total_macs(graph), self.macs, self.made_by, least)
        wanted = {op: self._rank(e) for op, e in found.items()}
        ranks = {op: r for op, r in wanted.items() if r <= most_rank(*sides(op))}
        if not ranks:
            op = max(found, key=lambda op: most_rank(*sides(op)))
            most = most_rank(*sides(op))
            hint = f"{op.result} takes no more MACs up to {self.option}={most}"
            message = f"{self.made_by}: no layer would get cheaper"
            raise TinyccError(message, str(op.result), hint)
        return ranks

    def _rank(self, e: Energies) -> int:
        if self.number:
            return self.number
        if self.energy:
            return e.rank_for(self.energy)
        return max(1, round(self.ratio * len(e.energy)))


def _choice(op: Op, e: Energies, a: int, b: int) -> Choice:
    macs = opdef(op.name).macs(op)
    return Choice(macs, macs // (a * b) * (a + b), e)
