"""What a search found: the front of measured networks, or the nearest where limits can't be met."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinycc_nn.diagnostics import LimitError, TinyccError
from tinycc_nn.pipeline import print_pipeline
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.search.fitness import Fitness, Judge, nondominated
from tinycc_nn.search.recipes import Frame
from tinycc_nn.search.results import Evaluation
from tinycc_nn.search.store import Search
from tinycc_nn.target import Target

SCHEMA = "tinycc-nn-pareto/1"


@dataclass(frozen=True)
class Outcome:
    """
    front:   measured evaluations within the limits that no other one dominates, the most accurate
             first; nearest: where there is none, the measured one that exceeds limits least.
    held_out_baseline: accuracy of the model as given on the data that the search never saw.
    evaluated, failed: pipelines, and those of them that have no result.
    bugs:    errors that no pass or kernel should raise.
    """

    search: Search
    front: tuple[Evaluation, ...]
    nearest: tuple[Evaluation, Fitness] | None
    held_out_baseline: float
    evaluated: int
    failed: int
    bugs: tuple[str, ...]
    frame: Frame

    def genome(self, e: Evaluation) -> str:
        """The text of the passes that the search chose, without those around them."""
        return print_pipeline(self.frame.inside(parse_pipeline(e.pipeline))) or "(none)"

    def check(self) -> None:
        """Raise LimitError, which names what binds and the nearest, if limits can't be met;
        TinyccError if there is nothing at all."""
        if self.front:
            return
        if self.nearest is None:
            hint = "give a larger --budget; the store says why pipelines failed"
            raise TinyccError(f"none of {self.evaluated} pipelines could be measured", hint=hint)
        e, fitness = self.nearest
        binding = sorted(fitness.excess, key=lambda x: -x[1])
        lines = "".join(f"\n  {name}: {100 * by:.3g} % above the limit" for name, by in binding)
        message = f"no network within the limits was found; the nearest exceeds:{lines}"
        hint = f"the nearest is number {e.id}: {e.pipeline}\n   {describe(e)}"
        raise LimitError(message, hint=hint)

    def to_json(self, store: Path) -> str:
        """The text of pareto.json; `store` is where the evaluations are."""
        s = self.search
        points = self.front or ((self.nearest[0],) if self.nearest else ())
        found = {
            "schema": SCHEMA,
            "limits_met": bool(self.front),
            "problem": dataclasses.asdict(s.problem),
            "settings": dataclasses.asdict(s.settings),
            "held_out_baseline": self.held_out_baseline,
            "seconds": round(s.seconds, 1),
            "evaluated": self.evaluated,
            "failed": self.failed,
            "store": str(store),
            "replay": f"tinycc-nn compile {s.problem.model} -o DIR --from-search {store}#ID",
            "points": [
                {
                    "id": e.id,
                    "pipeline": e.pipeline,
                    "network": e.network,
                    **json.loads(e.metrics.to_json()),
                }
                for e in points
            ],
        }
        if self.nearest is not None:
            found["exceeded"] = dict(self.nearest[1].excess)
        return json.dumps(found, indent=1) + "\n"


def describe(e: Evaluation) -> str:
    """The metrics of a measured evaluation in a line."""
    m = e.metrics
    return (
        f"accuracy {m.accuracy:.4g}, {m.cycles:,} cycles, {m.flash_bytes:,} bytes of flash, "
        f"{m.ram_bytes:,} of RAM"
    )


def outcome(
    search: Search,
    seen: Sequence[Evaluation],
    target: Target,
    held_out_baseline: float,
    frame: Frame,
) -> Outcome:
    """The outcome of what a search has seen."""
    judge = Judge(search.settings, target)
    measured = [e for e in seen if e.stage == "measured" and not e.error]
    fitness = judge.fitness(measured)
    front: dict[tuple[float, ...], Evaluation] = {}
    nearest = None
    if measured and min(f.violation for f in fitness) > 0:
        i = min(range(len(measured)), key=lambda i: (fitness[i].violation, i))
        nearest = measured[i], fitness[i]
    else:
        for i in nondominated(fitness):
            front.setdefault(fitness[i].values, measured[i])
    ranked = sorted(front.values(), key=lambda e: (judge.loss(e.metrics), e.metrics.cycles, e.id))
    errors = [e.error for e in seen if e.error]
    bugs = tuple(dict.fromkeys(e for e in errors if e.startswith("internal error")))
    return Outcome(
        search, tuple(ranked), nearest, held_out_baseline, len(seen), len(errors), bugs, frame
    )
