"""What does the genetic search find, against fixed recipes, chance and Optuna?

Keyword spotting on a Cortex-M4 (nRF52840), without training: one search by time, its front beside
the recipes that it started from, all measured as C on the emulated core; how the passes of the
front are ordered, and the same pipelines in every other order; then the methods at equal numbers
of evaluations, by the hypervolume of their fronts; how many evaluations a minute the cheap stages
make. Image classification with training: one search at -O3 and one at -Os in 40 KB of flash, both
from the hand-made pipelines of benchmarks/pipelines, and what it and they reach within limits. Each
part resumes where it was: run it again until it says that all is done, with --seconds as a slice.
Writes a file for each part, results/search_kws.md and so on.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import search_ic
from search_bench import COLUMNS, FRAME, Bench, accuracy, orders, row

from tinycc_nn.cli._table import Table, markdown
from tinycc_nn.pipeline import print_pipeline
from tinycc_nn.search.evaluate import Task, evaluator
from tinycc_nn.search.executor import Processes
from tinycc_nn.search.fitness import Correction, Costs
from tinycc_nn.search.hypervolume import hypervolume
from tinycc_nn.search.methods import make_method
from tinycc_nn.search.recipes import recipes
from tinycc_nn.search.results import Evaluation
from tinycc_nn.search.run import identified, run_search
from tinycc_nn.search.settings import Budget, Method, Problem, SearchSettings
from tinycc_nn.search.space import Space
from tinycc_nn.search.store import Store

RESULTS = Path(__file__).parent / "results"
PERMUTED = 8
"""Pipelines of the front whose order is permuted."""
SEEDS = (0, 1, 2)
METHODS: tuple[Method, ...] = ("genetic", "random", "optuna")


def kws(bench: Bench, seconds: float) -> str:
    """One search by time, the recipes, and the orders of the passes."""
    found = bench.search(SearchSettings(seed=1, budget=Budget(seconds=seconds)))
    fixed = bench.evaluate(bench.starts(), "measured")
    s = found.search
    base = s.settings.baseline
    assert base is not None
    good = [e for e in found.front if accuracy(e) >= base - 0.01]
    fastest = min(good, key=lambda e: e.metrics.cycles or 0, default=None)
    smallest = min(good, key=lambda e: e.metrics.flash_bytes or 0, default=None)
    rows = Table(COLUMNS)
    for e in found.front:
        rows.add(*row(found.genome(e), e))
    beaten = Table((*COLUMNS, "dominated or equalled by the front"))
    for genome, e in fixed.items():
        if not e.error:
            beaten.add(*row(genome, e), "yes" if any(_as_good(f, e) for f in found.front) else "no")
    best = "".join(
        f"- {what} within 1.0 point of float: {accuracy(e):.2%} (held out {e.metrics.held_out:.2%}), "
        f"{e.metrics.cycles:,} cycles, {e.metrics.flash_bytes:,} bytes of flash: "
        f"`{found.genome(e)}`\n"
        for what, e in (("fewest cycles", fastest), ("least flash", smallest))
        if e is not None
    )
    gap = [(accuracy(e) - (e.metrics.held_out or 0)) for e in found.front]
    return (
        f"# Keyword spotting, Cortex-M4, no training\n\n"
        f"Budget {seconds:.0f} s, of which {s.seconds:.0f} s were used, seed {s.settings.seed}, "
        f"population {s.settings.population}, 2 workers on 2 shared cores: {found.evaluated} "
        f"pipelines, {found.failed} of them not possible. The model as given: {base:.2%} on the "
        f"samples that the search sees, {found.held_out_baseline:.2%} on the held-out ones. "
        f"On the front the mean of accuracy minus held-out accuracy is "
        f"{statistics.mean(gap or [0]):.2%}, of the model as given "
        f"{base - found.held_out_baseline:.2%}: what is more is over-fitting by choice.\n\n"
        f"{best}\n{markdown(rows)}\nThe recipes that it started from:\n\n{markdown(beaten)}\n"
        f"{orders(bench, found, PERMUTED)}"
    )


def _as_good(a: Evaluation, b: Evaluation) -> bool:
    """Whether `a` is nowhere worse than `b`."""
    m, n = a.metrics, b.metrics
    pairs = ((m.cycles, n.cycles), (m.flash_bytes, n.flash_bytes), (m.ram_bytes, n.ram_bytes))
    costs = all((x or 0) <= (y or 0) for x, y in pairs)
    return costs and accuracy(a) >= accuracy(b)


def speed(bench: Bench, generation: int = 48, whole: int = 160) -> str:
    """Evaluations a minute of the cheap stages, from empty caches, by 1 and by 2 workers."""
    here = evaluator(bench.problem, bench.cache)
    space = Space.of(here.prepared(FRAME.before), bench.problem)
    first = [*recipes("float32", bench.problem).values()]
    settings = SearchSettings(seed=7, population=generation)
    texts = [print_pipeline(FRAME.around(g)) for g in make_method(settings, space, first).ask()]

    def one_generation(pool: Processes, folder: Path) -> int:
        tasks = [Task(bench.problem, t, "predicted", folder) for t in texts]
        return len(dict(pool.run(tasks)))

    def search(pool: Processes, folder: Path) -> int:
        settings = SearchSettings(seed=7, deepest="predicted", budget=Budget(evaluations=whole))
        with Store(folder / "search.sqlite") as store:
            return run_search(bench.problem, settings, store, pool, folder).evaluated

    table = Table(
        ("", "1 worker", "2 workers", "ratio", "CPU seconds an evaluation, 1 worker with its start")
    )
    for says, work in (
        (f"{len(texts)} pipelines: the recipes, their variations, chance", one_generation),
        (f"a search of {whole} pipelines, with its generations", search),
    ):
        one, cpu = _rate(bench.problem, work, 1)
        two, _ = _rate(bench.problem, work, 2)
        table.add(says, f"{one:.0f}", f"{two:.0f}", f"{two / one:.2f}", f"{cpu:.2f}")
    return (
        f"# Speed\n\nEvaluations a minute of the cheap stages (passes, verification, predicted "
        f"costs, output error, accuracy on a part of the data), from empty caches; one BLAS thread "
        f"a worker:\n\n{markdown(table)}\n"
        f"The load of the machine was {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the "
        f"end.\n"
    )


def _rate(
    problem: Problem, work: Callable[[Processes, Path], int], workers: int
) -> tuple[float, float]:
    """Evaluations a minute, and CPU seconds that workers spend on one."""
    with TemporaryDirectory() as folder:
        pool = Processes(workers)
        try:
            warm = [Task(problem, "", "predicted", Path(folder))] * workers
            list(pool.run(warm))
            started = time.perf_counter()
            done = work(pool, Path(folder))
            seconds = time.perf_counter() - started
        finally:
            before = _cpu_of_children()
            pool.close()
    return 60 * done / seconds, (_cpu_of_children() - before) / done


def _cpu_of_children() -> float:
    """Seconds, of processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def methods(bench: Bench, evaluations: int) -> str:
    """Hypervolumes of the methods at equal evaluations, by predicted costs."""
    (int8,) = bench.evaluate(["quantize"], "judged").values()
    m = int8.metrics
    assert m.predicted_cycles and m.predicted_flash and m.predicted_ram
    scale = (1.0, m.predicted_cycles, m.predicted_flash, m.predicted_ram)
    reference = (0.5, 1.25, 1.25, 1.5)
    table = Table(("method", *(f"seed {s}" for s in SEEDS), "mean"))
    for method in METHODS:
        volumes = []
        for seed in SEEDS:
            settings = SearchSettings(
                method, seed, 20, deepest="judged", budget=Budget(evaluations=evaluations)
            )
            bench.search(settings)
            here = next(
                s
                for s in bench.store.searches()
                if replace(s.settings, metric="", baseline=None, budget=Budget()).key
                == replace(settings, metric="", baseline=None, budget=Budget()).key
                and s.problem.key == bench.problem.key
            )
            seen = [t.evaluation for t in bench.store.trials(here) if not t.evaluation.error]
            points = [tuple(v / s for v, s in zip(_point(e), scale, strict=True)) for e in seen]
            whole = 1.0
            for r in reference:
                whole *= r
            volumes.append(hypervolume(points, reference) / whole)
        table.add(method, *(f"{v:.4f}" for v in volumes), f"{statistics.mean(volumes):.4f}")
    return (
        f"# Methods at {evaluations} evaluations\n\nThe same problem and recipes to start from; "
        f"hypervolume of (loss, predicted cycles, flash, RAM) up to a loss of 50 % and 1.25, 1.25 "
        f"and 1.5 times what int8 (`quantize`) takes, as a fraction of that box. Costs are "
        f"predicted here: this ranks methods, it reports no network.\n\n{markdown(table)}\n"
    )


def _point(e: Evaluation) -> tuple[float, float, float, float]:
    m = e.metrics
    predicted = replace(m, cycles=None, flash_bytes=None, ram_bytes=None)
    c = Costs.of(predicted, Correction())
    return 1 - accuracy(e), c.cycles, c.flash, c.ram


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of models and data")
    parser.add_argument("--work", type=Path, required=True, help="a folder for what resumes")
    parser.add_argument("--seconds", type=float, default=540, help="of this slice")
    parser.add_argument("--budget", type=float, default=1800, help="seconds of the search by time")
    parser.add_argument("--evaluations", type=int, default=100, help="of each method and seed")
    parser.add_argument("--ic-budget", type=float, default=14_400, help="of the one that trains")
    parser.add_argument("--ic-permuted", type=int, default=4, help="of its pipelines, trained anew")
    parser.add_argument("--ic-samples", type=int, default=20_000, help="images that it trains on")
    parser.add_argument(
        "--only", choices=["kws", "methods", "speed", "ic", "ic_40k"], help="one part"
    )
    given = parser.parse_args()
    data = given.data / "data" / "kws.npz"
    keyword_spotting = Problem(
        str(given.data / "models" / "kws_dscnn.onnx"),
        "nrf52840",
        calib=f"{data}:x[:128]",
        evaluation=f"{data}:x[250:],y[250:]",
    )
    ic_options = f"--ic-budget {given.ic_budget:.0f} --ic-permuted {given.ic_permuted}"

    def ic(bench: Bench) -> str:
        return search_ic.ic(bench, given.ic_budget, given.ic_permuted)

    parts: dict[str, tuple[Problem, str, Callable[[Bench], str]]] = {
        "kws": (
            keyword_spotting,
            f"--budget {given.budget:.0f}",
            lambda b: kws(b, given.budget),
        ),
        "speed": (keyword_spotting, "", speed),
        "methods": (
            keyword_spotting,
            f"--evaluations {given.evaluations}",
            lambda b: methods(b, given.evaluations),
        ),
        "ic": (search_ic.problem(given.data, given.ic_samples), ic_options, ic),
        "ic_40k": (search_ic.problem(given.data, given.ic_samples, small=True), ic_options, ic),
    }
    workers = Processes(2, task_seconds=search_ic.LONGEST)
    given.work.mkdir(parents=True, exist_ok=True)
    try:
        with Store(given.work / "search.sqlite") as store:
            until = time.monotonic() + given.seconds
            for name, (problem, options, part) in parts.items():
                if given.only in (None, name):
                    cache = given.work / "networks"
                    text = part(Bench(identified(problem), store, cache, workers, until))
                    title, _, rest = text.partition("\n")
                    call = f"search.py --data DIR --work DIR --only {name} {options}".rstrip()
                    (RESULTS / f"search_{name}.md").write_text(
                        f"{title}\n\n`python benchmarks/{call}`\n{rest}"
                    )
        print("all is done")
    except KeyboardInterrupt:
        print("the slice is over: run it again")
    finally:
        workers.close()


if __name__ == "__main__":
    main()
