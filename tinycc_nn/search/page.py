"""The page that a search writes: one HTML file that needs nothing else, and runs no script."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import jinja2

from tinycc_nn.search.ablation import Variant, winner
from tinycc_nn.search.convergence import convergence
from tinycc_nn.search.fitness import Correction, Costs, Judge
from tinycc_nn.search.outcome import Outcome
from tinycc_nn.search.plots import (
    HEIGHT,
    WIDTH,
    Candidate,
    Cost,
    Kind,
    accuracy_of,
    bars,
    growth,
    memory,
    pareto,
    shown,
)
from tinycc_nn.search.results import Evaluation, Metrics
from tinycc_nn.target import Target

_COSTS: tuple[Cost, ...] = ("cycles", "flash", "ram")


@dataclasses.dataclass(frozen=True)
class Row:
    """A measured pipeline in a table; `change` is percent against the winner, by column, and
    `widths` the lengths of their bars in percent of the largest change."""

    label: str
    error: str = ""
    number: int = 0
    accuracy: str = ""
    held_out: str = ""
    costs: tuple[str, ...] = ()
    change: tuple[str, ...] = ()
    marked: bool = False


def render_page(
    found: Outcome,
    asked: Sequence[Evaluation],
    target: Target,
    store: Path,
    ablated: Sequence[tuple[Variant, Evaluation]] = (),
) -> str:
    """The text of the page; `asked` are the evaluations of the search in the order in which it
    asked for them, `ablated` those of the winner's variants."""
    s = found.search.settings
    judge = Judge(s, target)
    best = winner(found, judge)
    candidates = _candidates(found, asked)
    limits = _limits(judge, target)
    report = best.report if best else None
    return _template().render(
        found=found,
        problem=found.search.problem,
        settings=s,
        store=store,
        width=WIDTH,
        height=HEIGHT,
        best=best,
        best_passes=found.genome(best) if best else "",
        baseline=_accuracy(s.metric, s.baseline),
        held_out_baseline=_accuracy(s.metric, found.held_out_baseline),
        fronts=[
            pareto(c, candidates, judge, best.id if best else 0, limits[c]) for c in _COSTS
        ] if candidates else [],
        counts={k: sum(c.kind == k for c in candidates) for k in ("front", "measured", "predicted")},
        rows=[_row(found.genome(e), e, s.metric, marked=e == best) for e in found.front],
        ablated=[] if best is None else _ablated(best, ablated, s.metric),
        layers=bars(report.layers) if report else (),
        memory=memory(report) if report and report.layers else None,
        report=report,
        growth=growth(steps, len(asked)) if (steps := convergence(asked, judge)) else None,
    )  # fmt: skip


def _candidates(found: Outcome, asked: Sequence[Evaluation]) -> list[Candidate]:
    """What has a result; of pipelines that end in the same measured network the first one."""
    fine = [e for e in asked if not e.error]
    correction = Correction.of([e.metrics for e in fine])
    front = {e.id for e in found.front}
    kinds: list[Kind] = [
        "front" if e.id in front else "measured" if e.stage == "measured" else "predicted"
        for e in fine
    ]
    return [
        Candidate(e, Costs.of(e.metrics, correction), kind, found.genome(e))
        for e, kind in zip(fine, kinds, strict=True)
    ]


def _limits(judge: Judge, target: Target) -> dict[Cost, float | None]:
    """What the user allows; latency and energy as the cycles that they are."""
    b = judge.settings.bounds
    cycles = []
    if b.latency_ms is not None and target.clock is not None:
        cycles.append(b.latency_ms * target.clock / 1e3)
    if b.energy_uj is not None and (one := target.energy_uj(1_000_000)):
        cycles.append(b.energy_uj / one * 1e6)
    return {"cycles": min(cycles, default=None), "flash": b.flash, "ram": b.ram}


def _accuracy(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.2f} %" if metric == "top1" else f"{value:.4g}"


def _costs(m: Metrics) -> tuple[int, int, int]:
    return m.cycles or 0, m.flash_bytes or 0, m.ram_bytes or 0


def _row(label: str, e: Evaluation, metric: str, *, marked: bool = False) -> Row:
    m = e.metrics
    if e.error:
        return Row(label, error=e.error, number=e.id)
    return Row(
        label, "", e.id, _accuracy(metric, accuracy_of(m)), _accuracy(metric, m.held_out),
        tuple(f"{v:,}" for v in _costs(m)), marked=marked,
    )  # fmt: skip


def _ablated(
    best: Evaluation, ablated: Sequence[tuple[Variant, Evaluation]], metric: str
) -> list[Row]:
    """The winner, then its variants with what has changed."""
    found = [_row("the pipeline itself", best, metric, marked=True)]
    for variant, e in ablated:
        row = _row(variant.label, e, metric)
        if not row.error:
            before = (shown(metric, accuracy_of(best.metrics)), *_costs(best.metrics))
            after = (shown(metric, accuracy_of(e.metrics)), *_costs(e.metrics))
            change = (
                f"{after[0] - before[0]:+.2f}" if metric == "top1" else _percent(before[0], after[0]),
                *(_percent(b, a) for b, a in zip(before[1:], after[1:], strict=True)),
            )  # fmt: skip
            row = dataclasses.replace(row, change=change)
        found.append(row)
    return found


def _percent(before: float, after: float) -> str:
    return f"{100 * (after / before - 1):+.1f} %" if before else ""


@cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("tinycc_nn.search", ".")
    environment = jinja2.Environment(
        loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
        autoescape=True,
    )  # fmt: skip
    return environment.get_template("page.html.j2")
