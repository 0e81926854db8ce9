"""The plots of a search's page, as places in pixels; `page.html.j2` draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tinycc_nn.report import LayerReport, Report
from tinycc_nn.search.axes import Axis
from tinycc_nn.search.fitness import Costs, Judge
from tinycc_nn.search.results import Evaluation, Metrics

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 320, 62, 56, 22, 48

Kind = Literal["front", "measured", "predicted"]
Cost = Literal["cycles", "flash", "ram"]

LABELS: dict[Cost, str] = {
    "cycles": "cycles of an inference",
    "flash": "flash, bytes",
    "ram": "RAM with the stack, bytes",
}

_LINE = 13.0
"""Pixels from one label to the next."""

_FAR = 2.5
"""A limit or a point beyond so many times the largest of the front doesn't widen the plot."""


@dataclass(frozen=True)
class Candidate:
    """An evaluation with its costs as they are compared."""

    evaluation: Evaluation
    costs: Costs
    kind: Kind
    passes: str


@dataclass(frozen=True)
class Mark:
    """A point of a plot; `outside` if it lies beyond the edge that it is drawn at."""

    x: float
    y: float
    kind: Kind
    outside: bool
    chosen: bool
    title: str


@dataclass(frozen=True)
class Rule:
    """A line through the whole plot, at a pixel; `text_at` is where its label has room."""

    upright: bool
    at: float
    text_at: float
    label: str
    kind: Literal["limit", "given", "size"]


@dataclass(frozen=True)
class Plot:
    """Points, a line, and rules, between two axes. `line` is the points of a polyline."""

    title: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...] = ()
    line: str = ""
    area: str = ""
    rules: tuple[Rule, ...] = ()
    hovers: tuple[tuple[float, float, str], ...] = ()


@dataclass(frozen=True)
class Bar:
    """A row of bars: lengths are percent of the longest one."""

    number: int
    name: str
    detail: str
    cycles: int
    cycles_part: float
    flash: int
    flash_part: float


def shown(metric: str, value: float) -> float:
    """An accuracy as plots show it: percent of right answers, or the error."""
    return 100 * value if metric == "top1" else value


def accuracy_of(m: Metrics) -> float:
    """On as much of the evaluation data as is known."""
    known = m.accuracy if m.accuracy is not None else m.accuracy_part
    assert known is not None
    return known


def pareto(
    cost: Cost, candidates: Sequence[Candidate], judge: Judge, chosen: int, limit: float | None
) -> Plot:
    """Accuracy against a cost, of all candidates. The front sets the axes; what lies far from it
    is drawn at their ends."""
    s = judge.settings
    baseline = s.baseline if s.baseline is not None else 0.0
    allowed = judge.allowed_loss()
    least = None if allowed is None else (1.0 - allowed if s.metric == "top1" else allowed)
    front = [c for c in candidates if c.kind == "front"] or list(candidates)
    costs = [getattr(c.costs, cost) for c in front]
    far = max(costs, default=1.0) * _FAR
    near = [v for c in candidates if (v := getattr(c.costs, cost)) <= far]
    levels = [
        shown(s.metric, v) for v in (*(accuracy_of(c.evaluation.metrics) for c in front), baseline)
    ]
    levels += [] if least is None else [shown(s.metric, least)]
    reach = [limit] if limit is not None and limit <= far else []
    x = Axis.over(LABELS[cost], [*costs, *near, *reach], LEFT, WIDTH - RIGHT)
    label = "accuracy, %" if s.metric == "top1" else "mean squared error (less is better)"
    y = Axis.over(label, levels, HEIGHT - BOTTOM, TOP)
    marks = tuple(
        Mark(
            x.at(v := getattr(c.costs, cost)),
            y.at(a := shown(s.metric, accuracy_of(c.evaluation.metrics))),
            c.kind,
            not (x.holds(v) and y.holds(a)),
            c.evaluation.id == chosen,
            title(c, s.metric),
        )
        for c in sorted(candidates, key=lambda c: ("predicted", "measured", "front").index(c.kind))
    )
    rules = _levels(y, baseline, least, s.metric)
    if reach:
        rules.append(Rule(True, x.at(reach[0]), x.at(reach[0]), "limit", "limit"))
    return Plot(
        f"Accuracy against {'RAM' if cost == 'ram' else cost}", x, y, marks,
        _steps(cost, front, judge, x, y), rules=tuple(rules),
    )  # fmt: skip


def _levels(y: Axis, baseline: float, least: float | None, metric: str) -> list[Rule]:
    """The accuracy as given and the one that is allowed, their labels apart from each other."""
    given = y.at(shown(metric, baseline))
    found = [Rule(False, given, given, "as given", "given")]
    if least is not None:
        at = y.at(shown(metric, least))
        away = max(at, given + _LINE) if at >= given else min(at, given - _LINE)
        found.append(Rule(False, at, away, "limit", "limit"))
    return found


def _steps(cost: Cost, front: Sequence[Candidate], judge: Judge, x: Axis, y: Axis) -> str:
    """The best accuracy at each cost: a line of the points that no other one beats in both."""
    rows = sorted(
        (getattr(c.costs, cost), judge.loss(c.evaluation.metrics), i) for i, c in enumerate(front)
    )
    best, found = float("inf"), list[str]()
    for value, loss, i in rows:
        if loss < best:
            best = loss
            level = shown(judge.settings.metric, accuracy_of(front[i].evaluation.metrics))
            found.append(f"{x.at(value)},{y.at(level)}")
    return " ".join(found)


def title(c: Candidate, metric: str) -> str:
    """What is told of a point when the mouse is on it."""
    m, unit = c.evaluation.metrics, " %" if metric == "top1" else ""
    basis = "predicted" if c.kind == "predicted" else "measured"
    lines = [f"number {c.evaluation.id} ({basis}): {c.passes}"]
    lines.append(f"{metric} {shown(metric, accuracy_of(m)):.2f}{unit}")
    if m.held_out is not None:
        lines[-1] += f", held out {shown(metric, m.held_out):.2f}{unit}"
    lines.append(
        f"{c.costs.cycles:,.0f} cycles, {c.costs.flash:,.0f} bytes of flash, "
        f"{c.costs.ram:,.0f} of RAM"
    )
    return "\n".join(lines)


def bars(layers: Sequence[LayerReport]) -> tuple[Bar, ...]:
    """Cycles and bytes of flash of each layer."""
    most = max((r.cycles or 0 for r in layers), default=0) or 1
    largest = max((_flash(r) for r in layers), default=0) or 1
    return tuple(
        Bar(
            i,
            r.name,
            f"{r.op}, {r.kernel}, {r.macs:,} MACs",
            r.cycles or 0,
            round(100 * (r.cycles or 0) / most, 2),
            _flash(r),
            round(100 * _flash(r) / largest, 2),
        )
        for i, r in enumerate(layers, 1)
    )


def _flash(r: LayerReport) -> int:
    return r.constant_bytes if r.flash_bytes is None else r.flash_bytes


def memory(report: Report) -> Plot:
    """Bytes of the arena that live while each layer runs, in the order in which they run."""
    layers, size = report.layers, report.metrics.arena_bytes
    x = Axis(
        "layer, in the order of their calls",
        0.5,
        len(layers) + 0.5,
        LEFT,
        2 * WIDTH - RIGHT,
        whole=True,
    )
    y = Axis.over("bytes of the arena", [size, *(r.arena_bytes for r in layers)], HEIGHT - BOTTOM, TOP, zero=True)  # fmt: skip
    corners = [
        (x.at(i + side), y.at(r.arena_bytes))
        for i, r in enumerate(layers, 1)
        for side in (-0.5, 0.5)
    ]
    line = " ".join(f"{a},{b}" for a, b in corners)
    return Plot(
        "Memory over the layers", x, y,
        line=line,
        area=f"{x.start},{y.start} {line} {x.end},{y.start}",
        rules=(Rule(False, y.at(size), y.at(size), "arena", "size"),),
        hovers=tuple(
            (x.at(i - 0.5), x.at(i + 0.5), f"{i} {r.name} ({r.op}): {r.arena_bytes:,} bytes")
            for i, r in enumerate(layers, 1)
        ),
    )  # fmt: skip


def growth(steps: Sequence[tuple[int, float]], count: int) -> Plot:
    """The dominated volume after so many pipelines."""
    x = Axis("pipelines asked for", 0.0, max(count, 1), LEFT, 2 * WIDTH - RIGHT, whole=True)
    y = Axis.over("hypervolume, %", [100 * v for _, v in steps], HEIGHT - BOTTOM, TOP, zero=True)
    corners, level = [(x.start, y.start)], 0.0
    for n, volume in steps:
        corners += [(x.at(n), y.at(level)), (x.at(n), y.at(100 * volume))]
        level = 100 * volume
    corners.append((x.end, y.at(level)))
    hovers = tuple((x.at(n) - 4, x.at(n) + 4, f"after {n} pipelines: {100 * v:.2f} %") for n, v in steps)  # fmt: skip
    line = " ".join(f"{a},{b}" for a, b in corners)
    return Plot("How the search got better", x, y, line=line, hovers=hovers)
