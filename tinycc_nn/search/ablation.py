"""What each pass of a pipeline was worth: the same without it, and in the reverse order, measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinycc_nn.pipeline import print_pipeline
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.search.evaluate import Task
from tinycc_nn.search.executor import Executor
from tinycc_nn.search.fitness import Judge
from tinycc_nn.search.outcome import Outcome
from tinycc_nn.search.recipes import Frame
from tinycc_nn.search.results import Evaluation
from tinycc_nn.search.store import Store

_POINT = 0.01
"""Of accuracy (of the error: as a factor) that the winner may lose where the user has no limit."""


@dataclass(frozen=True)
class Variant:
    """A pipeline that differs from the winner's by what `label` says."""

    label: str
    pipeline: str


def winner(found: Outcome, judge: Judge) -> Evaluation | None:
    """The point that is explained: of those on the front that lose no more accuracy than the limit
    allows, or 1 point without one, the best in the first objective that is a cost. The most
    accurate where none is so good; the nearest where limits can't be met."""
    if found.nearest is not None:
        return found.nearest[0]
    if not found.front:
        return None
    s = found.search.settings
    costs = [i for i, name in enumerate(s.objectives) if name != "accuracy"]
    if s.weights or not costs or s.baseline is None:
        return found.front[0]
    allowed = judge.allowed_loss()
    if allowed is None:
        top1 = s.metric == "top1"
        allowed = 1.0 - s.baseline + _POINT if top1 else s.baseline * (1 + _POINT)
    values = [f.values[costs[0]] for f in judge.fitness(found.front)]
    near = [i for i, e in enumerate(found.front) if judge.loss(e.metrics) <= allowed]
    return found.front[min(near, key=lambda i: values[i])] if near else found.front[0]


def variants(pipeline: str, frame: Frame) -> tuple[Variant, ...]:
    """The passes that a search chose, each left out once, and all of them in the reverse order."""
    genome = frame.inside(parse_pipeline(pipeline))
    made = [(f"without {p}", genome[:i] + genome[i + 1 :]) for i, p in enumerate(genome)]
    made.append(("in the reverse order", genome[::-1]))
    found: dict[str, Variant] = {}
    for label, passes in made:
        text = print_pipeline(frame.around(passes))
        if text != pipeline:
            found.setdefault(text, Variant(label, text))
    return tuple(found.values())


def ablation(
    found: Outcome,
    of: Evaluation,
    store: Store,
    executor: Executor,
    cache: Path,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[tuple[Variant, Evaluation], ...]:
    """The variants of a pipeline, each measured as the search measures; what the store has is
    taken from there, what is new is kept in it."""
    problem = found.search.problem
    all_variants = variants(of.pipeline, found.frame)
    done: dict[str, Evaluation] = {}
    left: list[Task] = []
    for v in all_variants:
        known = store.find(problem, v.pipeline)
        if known is not None and known.reached("measured"):
            done[v.pipeline] = known
        else:
            left.append(Task(problem, v.pipeline, "measured", cache, known))
    if left:
        say(f"measuring {len(left)} variants of number {of.id}")
    for k, e in executor.run(left):
        done[left[k].pipeline] = store.record(problem, e)
        say(f"measured {len(done)} of {len(all_variants)} variants of number {of.id}")
    return tuple((v, done[v.pipeline]) for v in all_variants)
