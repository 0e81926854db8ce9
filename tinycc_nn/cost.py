"""What the layers of a graph cost on the target: the question that passes and searches ask a backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import Array
from tinycc_nn.target import Target

Basis = Literal["tuned", "near", "estimated", "measured"]


@dataclass(frozen=True, slots=True)
class LayerCost:
    """
    cycles: of one inference.
    flash:  bytes of constants and instructions, all counted for this layer alone.
    kernel: that computes it.
    basis:  of the cycles: "measured" on the emulated core now or before, "tuned" is the same from
            records, "near" those of a similar layer, "estimated" a formula.
    """

    cycles: float
    flash: int
    kernel: str
    basis: Basis


class Costs(Protocol):
    """Costs of graphs as the backend would compile them, for one target at one level.

    Layers go by the name of their result. Passes get it in their `Context`.
    """

    @property
    def target(self) -> Target:
        """What the costs are for."""

    def predicted(self, graph: Graph) -> dict[str, LayerCost]:
        """Of each layer from records and estimates; nothing is built, and layers that were asked
        for before are remembered. TinyccError names layers that no kernel computes."""

    def measured(self, graph: Graph) -> dict[str, LayerCost]:
        """Of each layer, built and run on the emulated core where no record has it; what is
        measured is recorded for all later runs. TinyccError if the core can't be emulated or there is
        no compiler."""

    def built(self, graph: Graph) -> int:
        """Cycles of one inference of the whole network, built and run on the emulated core.
        TinyccError as for `measured`."""

    def on_samples(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, float]:
        """Cycles of each layer, the mean over stored samples [samples, *shape], as built and run on
        the emulated core without what the data makes needless, but to the end of the network.
        TinyccError as for `measured`."""
