"""A search from a program: `run_search(identified(Problem(...)), SearchSettings(...), ...)`."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

import tinycc_nn
from tinycc_nn.buildcache import source_digest
from tinycc_nn.data import Dataset, DataSpec, load_data
from tinycc_nn.diagnostics import UsageError
from tinycc_nn.pipeline import print_pipeline
from tinycc_nn.search.evaluate import evaluator, request_of
from tinycc_nn.search.executor import Executor
from tinycc_nn.search.fitness import Judge
from tinycc_nn.search.loop import Loop, Observe
from tinycc_nn.search.methods import make_method
from tinycc_nn.search.outcome import Outcome, outcome
from tinycc_nn.search.recipes import frame, recipes
from tinycc_nn.search.settings import OBJECTIVES, Problem, SearchSettings
from tinycc_nn.search.space import Space
from tinycc_nn.search.starts import start
from tinycc_nn.search.store import Store
from tinycc_nn.target import Target
from tinycc_nn.toolchain import compiler_release, find_toolchain
from tinycc_nn.training.data import load_training


def identified(problem: Problem) -> Problem:
    """The problem with the digests of what it names, by which evaluations are found again.
    TinyccError for a model or data that can't be read."""
    request = request_of(problem, "")
    graph = request.model.graph(request.input_dims)
    digests = [("version", tinycc_nn.__version__), ("source", source_digest())]
    digests.append(("numpy", np.__version__))
    toolchain = find_toolchain(problem.toolchain)
    digests.append(("compiler", f"{toolchain.version} {compiler_release(problem.toolchain)}"))
    digests.append(("model", _digest(request.model.contents())))
    for name in ("calib", "evaluation"):
        if text := getattr(problem, name):
            digests.append((name, _dataset(load_data(DataSpec.parse(text), graph))))
    if problem.train:
        digests.append(("train", load_training(problem.train, graph).digest()))
    if problem.records:
        files = sorted(Path(problem.records).glob("*.jsonl"))
        digests.append(("records", _digest([f.read_bytes() for f in files])))
    return dataclasses.replace(problem, digests=tuple(digests))


def run_search(
    problem: Problem,
    settings: SearchSettings,
    store: Store,
    executor: Executor,
    cache: Path,
    *,
    observe: Observe = lambda progress: None,
    resume: bool | None = False,
) -> Outcome:
    """
    Search until the budget is used up; what is evaluated goes to `store` one by one.

    cache:  folder for networks that pipelines have in common.
    resume: go on with a search of these settings, whose budget may have been smaller; None: if
            there is one.

    UsageError for objectives and limits that the target can't tell, and if there is a search of
    these settings without `resume`, or none with it. TinyccError for a start that can't be one.
    """
    here = evaluator(problem, cache)
    check_settings(settings, here.target)
    around = frame(here.kind)
    own = [start(s, f"start {i}", around, problem) for i, s in enumerate(settings.starts, 1)]
    metric, baseline, held_baseline = here.baseline()
    starts = tuple(print_pipeline(g) for g in own)
    settings = dataclasses.replace(settings, metric=metric, baseline=baseline, starts=starts)
    if resume is not None:
        check_resume(store, problem, settings, resume=resume)
    search = store.start(problem, settings)
    prepared = here.prepared(around.before)
    first = list(dict.fromkeys((*own, *recipes(here.kind, problem).values())))
    method = make_method(settings, Space.of(prepared, problem), first)
    judge = Judge(settings, here.target)
    loop = Loop(store, search, method, around, executor, judge, cache, observe)
    loop.run(settings.budget)
    return outcome(store.search(search.id), loop.results(), here.target, held_baseline, around)


def check_settings(settings: SearchSettings, target: Target) -> None:
    """UsageError for what makes no sense for the target."""
    for name in (*settings.objectives, *(n for n, _ in settings.weights)):
        if name not in OBJECTIVES:
            raise UsageError(f"unknown objective '{name}'", hint=f"known: {', '.join(OBJECTIVES)}")
    for name, _ in settings.weights:
        if name not in settings.objectives:
            raise UsageError(f"'{name}' has a weight and is no objective")
    if not settings.objectives:
        raise UsageError("no objective", hint=f"known: {', '.join(OBJECTIVES)}")
    hint = "give --target NAME, a device; see tinycc-nn targets"
    if settings.bounds.latency_ms is not None and target.clock is None:
        raise UsageError(f"--max-latency: {target.name} has no clock", hint=hint)
    energy = settings.bounds.energy_uj is not None or "energy" in settings.objectives
    if energy and target.energy is None:
        raise UsageError(f"the energy of a cycle of {target.name} is not known", hint=hint)


def check_resume(store: Store, problem: Problem, settings: SearchSettings, *, resume: bool) -> None:
    """UsageError if a search is there and wasn't asked for, or the other way round."""
    all_there = store.searches()
    there = [
        s for s in all_there
        if s.problem.key == problem.key and s.settings.key == settings.key
    ]  # fmt: skip
    if there and not resume and store.trials(there[0]):
        hint = "go on with --resume, or give another -o, --store or --seed"
        raise UsageError("there is a search with these settings", str(store.path), hint)
    if resume and not there:
        hint = _why_none(all_there[-1].problem if all_there else None, problem)
        raise UsageError("there is no search with these settings", str(store.path), hint)


def _why_none(old: Problem | None, new: Problem) -> str:
    """Why the store has no search of a problem, as far as its last one tells."""
    if old is None:
        return "it has none: leave out --resume"
    a, b = dataclasses.asdict(old), dataclasses.asdict(new)
    before = dict(a.pop("digests"))
    after = dict(b.pop("digests"))
    names = [k for k in after if before.get(k) != after[k]]
    names += [k for k in b if a[k] != b[k]]
    if not names:
        return "other limits, objectives, starts or another method were searched"
    return f"the last one had another {', '.join(names)}"


def _dataset(data: Dataset) -> str:
    arrays = [a for _, a in sorted(data.inputs.items())]
    arrays += [] if data.labels is None else [data.labels]
    return _digest(
        [f"{a.dtype}{a.shape}".encode() + np.ascontiguousarray(a).tobytes() for a in arrays]
    )


def _digest(parts: list[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:40]
