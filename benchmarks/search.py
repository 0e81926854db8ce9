"""What does the genetic search find, against fixed recipes, chance and Optuna?

Keyword spotting on a Cortex-M4 (nRF52840), without training: one search by time, its front beside
the recipes that it started from, all measured as C on the emulated core; how the passes of the
front are ordered, and the same pipelines in every other order; then the methods at equal numbers
of evaluations, by the hypervolume of their fronts. Each part resumes where it was: run it again
until it says that all is done, with --seconds as a slice. Writes results/search.md.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tinycc_nn.cli._table import Table, markdown
from tinycc_nn.pipeline import print_pipeline
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.search.evaluate import Task, evaluator
from tinycc_nn.search.executor import Processes
from tinycc_nn.search.fitness import Correction, Costs
from tinycc_nn.search.hypervolume import hypervolume
from tinycc_nn.search.loop import Progress
from tinycc_nn.search.methods import make_method
from tinycc_nn.search.outcome import Outcome
from tinycc_nn.search.recipes import frame, recipes
from tinycc_nn.search.results import Evaluation, Stage
from tinycc_nn.search.run import identified, run_search
from tinycc_nn.search.settings import Budget, Method, Problem, SearchSettings
from tinycc_nn.search.space import Space
from tinycc_nn.search.store import Store

RESULTS = Path(__file__).parent / "results" / "search.md"
SEEDS = (0, 1, 2)
METHODS: tuple[Method, ...] = ("genetic", "random", "optuna")
ORDERED = ("prune-channels", "quantize", "distill")
"""The passes whose order is asked for."""

FRAME = frame("float32")


@dataclass
class Bench:
    """A problem with the store and the workers of this run; `until` ends the slice."""

    problem: Problem
    store: Store
    cache: Path
    workers: Processes
    until: float

    def search(self, settings: SearchSettings) -> Outcome:
        """As far as the slice goes; KeyboardInterrupt where it ends."""
        return run_search(
            self.problem,
            settings,
            self.store,
            self.workers,
            self.cache,
            observe=self._watch,
            resume=None,
        )

    def evaluate(self, genomes: Sequence[str], stage: Stage) -> dict[str, Evaluation]:
        """By the text of the genome, from the store where it is there."""
        texts = {g: self.whole(g) for g in genomes}
        known = {g: self.store.find(self.problem, t) for g, t in texts.items()}
        left = [g for g, e in known.items() if e is None or not e.reached(stage)]
        tasks = [Task(self.problem, texts[g], stage, self.cache, known[g]) for g in left]
        for i, e in self.workers.run(tasks, self.until):
            known[left[i]] = self.store.record(self.problem, e)
        if time.monotonic() >= self.until:
            raise KeyboardInterrupt
        return {g: e for g, e in known.items() if e is not None}

    def whole(self, genome: str) -> str:
        return print_pipeline(FRAME.around(parse_pipeline(genome) if genome else ()))

    def _watch(self, progress: Progress) -> None:
        if time.monotonic() >= self.until:
            raise KeyboardInterrupt


def kws(bench: Bench, seconds: float) -> str:
    """One search by time, the recipes, and the orders of the passes."""
    found = bench.search(SearchSettings(seed=1, budget=Budget(seconds=seconds)))
    fixed = bench.evaluate(list(starts(bench)), "measured")
    s = found.search
    base = s.settings.baseline
    assert base is not None
    good = [e for e in found.front if _accuracy(e) >= base - 0.01]
    fastest = min(good, key=lambda e: e.metrics.cycles or 0, default=None)
    smallest = min(good, key=lambda e: e.metrics.flash_bytes or 0, default=None)
    rows = Table(COLUMNS)
    for e in found.front:
        rows.add(*_row(found.genome(e), e))
    beaten = Table((*COLUMNS, "dominated or equalled by the front"))
    for genome, e in fixed.items():
        if not e.error:
            beaten.add(
                *_row(genome, e), "yes" if any(_as_good(f, e) for f in found.front) else "no"
            )
    best = "".join(
        f"- {what} within 1.0 point of float: {_accuracy(e):.2%} (held out {e.metrics.held_out:.2%}), "
        f"{e.metrics.cycles:,} cycles, {e.metrics.flash_bytes:,} bytes of flash: "
        f"`{found.genome(e)}`\n"
        for what, e in (("fewest cycles", fastest), ("least flash", smallest))
        if e is not None
    )
    gap = [(_accuracy(e) - (e.metrics.held_out or 0)) for e in found.front]
    return (
        f"## Keyword spotting, Cortex-M4, no training\n\n"
        f"Budget {seconds:.0f} s, of which {s.seconds:.0f} s were used, seed {s.settings.seed}, "
        f"population {s.settings.population}, 2 workers on 2 shared cores: {found.evaluated} "
        f"pipelines, {found.failed} of them not possible. The model as given: {base:.2%} on the "
        f"samples that the search sees, {found.held_out_baseline:.2%} on the held-out ones. "
        f"On the front the mean of accuracy minus held-out accuracy is "
        f"{statistics.mean(gap or [0]):.2%}, of the model as given "
        f"{base - found.held_out_baseline:.2%}: what is more is over-fitting by choice.\n\n"
        f"{best}\n{markdown(rows)}\nThe recipes that it started from:\n\n{markdown(beaten)}\n"
        f"{orders(bench, found)}"
    )


COLUMNS = ("passes", "accuracy", "held out", "cycles", "flash", "RAM")


def _row(genome: str, e: Evaluation) -> tuple[str, ...]:
    m = e.metrics
    return (
        f"`{genome or 'none'}`",
        f"{_accuracy(e):.2%}",
        f"{m.held_out or 0:.2%}",
        f"{m.cycles:,}",
        f"{m.flash_bytes:,}",
        f"{m.ram_bytes:,}",
    )


def _accuracy(e: Evaluation) -> float:
    known = e.metrics.accuracy if e.metrics.accuracy is not None else e.metrics.accuracy_part
    return known or 0.0


def _as_good(a: Evaluation, b: Evaluation) -> bool:
    """Whether `a` is nowhere worse than `b`."""
    m, n = a.metrics, b.metrics
    pairs = ((m.cycles, n.cycles), (m.flash_bytes, n.flash_bytes), (m.ram_bytes, n.ram_bytes))
    costs = all((x or 0) <= (y or 0) for x, y in pairs)
    return costs and _accuracy(a) >= _accuracy(b)


def starts(bench: Bench) -> dict[str, str]:
    """The recipes: text by text, with the names that the file gives them."""
    return {print_pipeline(g): name for name, g in recipes("float32", bench.problem).items()}


def orders(bench: Bench, found: Outcome) -> str:
    """How often each order of the passes is on the front, and the front's pipelines permuted."""
    counted: Counter[str] = Counter()
    table = Table(("passes", "accuracy", "output error", "cycles", "flash (predicted)"))
    for e in found.front:
        genome = parse_pipeline(found.genome(e)) if found.genome(e) != "(none)" else ()
        names = [p.name() for p in genome if p.name() in ORDERED]
        counted[" -> ".join(names) or "none of them"] += 1
        if len(set(names)) < 2 or len(names) > 3:
            continue
        places = [i for i, p in enumerate(genome) if p.name() in ORDERED]
        for mixed in dict.fromkeys(itertools.permutations([genome[i] for i in places])):
            other = list(genome)
            for i, p in zip(places, mixed, strict=True):
                other[i] = p
            text = print_pipeline(tuple(other))
            made = bench.evaluate([text], "judged")[text]
            mark = " (as found)" if text == found.genome(e) else ""
            if made.error:
                table.add(f"`{text}`{mark}", "not possible", "", "", "")
                continue
            m = made.metrics
            table.add(
                f"`{text}`{mark}",
                f"{_accuracy(made):.2%}",
                f"{m.output_error:.4f}",
                f"{m.predicted_cycles:,.0f}",
                f"{m.predicted_flash:,.0f}",
            )
    counts = Table(("order", "networks on the front"))
    for order, n in counted.most_common():
        counts.add(order, str(n))
    return (
        f"### Order of {', '.join(ORDERED)}\n\n{markdown(counts)}\n"
        f"The same pipelines with these passes in every order:\n\n{markdown(table)}\n"
    )


def speed(bench: Bench, count: int = 48) -> str:
    """Evaluations a minute of the cheap stages, from empty caches, by 1 and by 2 workers."""
    here = evaluator(bench.problem, bench.cache)
    space = Space.of(here.prepared(FRAME.before), bench.problem)
    first = [*recipes("float32", bench.problem).values()]
    settings = SearchSettings(seed=7, population=count)
    texts = [print_pipeline(FRAME.around(g)) for g in make_method(settings, space, first).ask()]
    rates, busy = {}, {}
    for workers in (1, 2):
        with TemporaryDirectory() as folder:
            tasks = [Task(bench.problem, t, "predicted", Path(folder)) for t in texts]
            pool = Processes(workers)
            try:
                warm = [Task(bench.problem, "", "predicted", Path(folder))] * workers
                list(pool.run(warm))
                started = time.perf_counter()
                done = dict(pool.run(tasks))
                rates[workers] = 60 * len(done) / (time.perf_counter() - started)
                busy[workers] = statistics.mean(e.seconds for e in done.values())
            finally:
                pool.close()
    return (
        f"## Speed\n\n{count} pipelines (the recipes, their variations, chance), from empty caches: "
        f"{rates[1]:.0f} evaluations a minute with 1 worker, {rates[2]:.0f} with 2 "
        f"(x {rates[2] / rates[1]:.2f}); seconds an evaluation: mean {busy[1]:.2f}. Measured with "
        f"other jobs on the machine (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores).\n"
    )


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
        f"## Methods at {evaluations} evaluations\n\nThe same problem and recipes to start from; "
        f"hypervolume of (loss, predicted cycles, flash, RAM) up to a loss of 50 % and 1.25, 1.25 "
        f"and 1.5 times what int8 (`quantize`) takes, as a fraction of that box. Costs are "
        f"predicted here: this ranks methods, it reports no network.\n\n{markdown(table)}\n"
    )


def _point(e: Evaluation) -> tuple[float, float, float, float]:
    m = e.metrics
    predicted = replace(m, cycles=None, flash_bytes=None, ram_bytes=None)
    c = Costs.of(predicted, Correction())
    return 1 - _accuracy(e), c.cycles, c.flash, c.ram


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of models and data")
    parser.add_argument("--work", type=Path, required=True, help="a folder for what resumes")
    parser.add_argument("--seconds", type=float, default=540, help="of this slice")
    parser.add_argument("--budget", type=float, default=1800, help="seconds of the search by time")
    parser.add_argument("--evaluations", type=int, default=100, help="of each method and seed")
    parser.add_argument("--only", choices=["kws", "methods", "speed"], help="one part")
    given = parser.parse_args()
    data = given.data / "data" / "kws.npz"
    problem = identified(
        Problem(
            str(given.data / "models" / "kws_dscnn.onnx"),
            "nrf52840",
            calib=f"{data}:x[:128]",
            evaluation=f"{data}:x[250:],y[250:]",
        )
    )
    parts: dict[str, Callable[[Bench], str]] = {
        "kws": lambda b: kws(b, given.budget),
        "speed": speed,
        "methods": lambda b: methods(b, given.evaluations),
    }
    workers = Processes(2)
    given.work.mkdir(parents=True, exist_ok=True)
    try:
        with Store(given.work / "search.sqlite") as store:
            until = time.monotonic() + given.seconds
            bench = Bench(problem, store, given.work / "networks", workers, until)
            for name, part in parts.items():
                if given.only in (None, name):
                    (given.work / f"{name}.md").write_text(part(bench))
        print("all is done")
    except KeyboardInterrupt:
        print("the slice is over: run it again")
    finally:
        workers.close()
    texts = [p.read_text() for n in parts if (p := given.work / f"{n}.md").exists()]
    call = f"--budget {given.budget:.0f} --evaluations {given.evaluations}"
    head = f"# Search\n\n`python benchmarks/search.py --data DIR --work DIR {call}`\n\n"
    RESULTS.write_text(head + "\n".join(texts))


if __name__ == "__main__":
    main()
