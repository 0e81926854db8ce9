"""What a network may take: a limit of MACs or of cycles, and how much of it a graph uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinycc_nn.cost import Costs
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph


@dataclass(frozen=True)
class Budget:
    """
    unit: "MACs" or "cycles", of one inference.
    option: that sets the limit as a number of them, or as a part of what the network takes.
    size: how many of them a graph takes, an integer above 0.
    whole, limit: what the network takes, and may take.
    """

    unit: str
    option: str
    size: Callable[[Graph], int]
    whole: int
    limit: int

    def steps(self, rounds: int) -> list[int]:
        """Limits, the last one the budget's: each the same share of the one before it."""
        share = min(1.0, self.limit / self.whole)
        return [int(self.whole * share ** (i / rounds)) for i in range(1, rounds)] + [self.limit]

    def nearest(self, size: int) -> str:
        """The option that allows `size`."""
        if self.option == "max_cycles":
            return f"max_cycles={size}"
        return f"{self.option}={-(-size * 10_000 // self.whole) / 10_000:g}"


def cycles_limit(
    costs: Costs, whole: int, latency: float, max_cycles: int, max_ms: float, asked_by: str
) -> int | None:
    """Cycles that an inference may take, from the option that is not 0: `latency`, a part of the
    `whole` that it takes now, `max_cycles`, or `max_ms` at the target's clock. None if all are 0;
    TinyccError if the target has no clock."""
    if max_ms:
        clock = costs.target.clock
        if clock is None:
            hint = "give a device with --target, or max_cycles"
            message = f"{asked_by}: max_ms: {costs.target.name} has no clock"
            raise TinyccError(message, hint=hint)
        return int(max_ms * 1e-3 * clock)
    if latency:
        return int(latency * whole)
    return max_cycles or None
