"""`tinycc-nn search`: the best networks within reach, each as a pipeline."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinycc_nn.cli._explain import explain
from tinycc_nn.cli._options import (
    backend_option,
    calib_option,
    choose_target,
    input_dim_option,
    level_option,
    parse_bytes,
    parse_dims,
    parse_ms,
    parse_pairs,
    parse_seconds,
    records_option,
    target_options,
    toolchain_option,
)
from tinycc_nn.cli._table import Table, print_table
from tinycc_nn.diagnostics import UsageError

if TYPE_CHECKING:
    from tinycc_nn.search.executor import Executor
    from tinycc_nn.search.outcome import Outcome
    from tinycc_nn.search.settings import Budget
    from tinycc_nn.search.store import Store

_ENERGIES = {"uJ": 1.0, "mJ": 1e3, "": 1.0}


@click.command()
@click.argument("model")
@click.option("-o", "output", type=click.Path(path_type=Path), metavar="DIR", required=True, help="The folder for the results and the store.")  # fmt: skip
@target_options
@level_option("The level of the kernels and of the C compiler.")
@calib_option
@click.option("--eval", "evaluate", metavar="DATA", required=True, help="What networks are judged by: FILE.npz[:ARRAY[,LABELS]].")  # fmt: skip
@click.option("--train", metavar="DATA", help="Samples to train on, for the passes that train.")
@click.option("--max-flash", metavar="SIZE", help="As in 256K (K is 1024).")
@click.option("--max-ram", metavar="SIZE", help="Arena, buffers and stack; as in 64K.")
@click.option("--max-latency", metavar="TIME", help="Of one inference; as in 50ms.")
@click.option("--max-energy", metavar="ENERGY", help="Of one inference; as in 900uJ.")
@click.option("--max-accuracy-drop", "max_drop", metavar="DROP", help="Against the model as given: 1% is one point of accuracy, or a hundredth of the error.")  # fmt: skip
@click.option("--budget", default="10m", show_default=True, metavar="BUDGET", help="A time or a number of pipelines: 30m, 500evals.")  # fmt: skip
@click.option("--objectives", default="accuracy,cycles,flash,ram", show_default=True, metavar="LIST", help="Out of accuracy, cycles, flash, ram, energy.")  # fmt: skip
@click.option("--weight", "weights", multiple=True, metavar="OBJECTIVE=NUMBER", help="One weighted sum instead of a front.")  # fmt: skip
@click.option("--method", type=click.Choice(["genetic", "random", "optuna"]), default="genetic", show_default=True)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--population", type=click.IntRange(4), default=32, show_default=True, help="Pipelines of a generation.")  # fmt: skip
@click.option("--held-out", type=click.FloatRange(0, 0.9), default=0.25, show_default=True, help="Of the evaluation data: what networks are not chosen by.")  # fmt: skip
@click.option("--start", "starts", multiple=True, type=click.Path(path_type=Path), metavar="FILE", help="A pipeline to start from beside the recipes, as for -p; or a folder of *.txt. May be repeated.")  # fmt: skip
@click.option("-j", "workers", type=click.IntRange(1), help="Worker processes; by default one for each CPU.")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS", help="Workers of a Dask scheduler, tcp://HOST:PORT, or local for a LocalCluster.")  # fmt: skip
@click.option("--timeout", metavar="TIME", help="After which an evaluation is given up; by default 10m, with --train 6h.")  # fmt: skip
@click.option("--store", "store_file", type=click.Path(path_type=Path), metavar="FILE", help="Where evaluations are kept, by default DIR/search.sqlite; searches may share it.")  # fmt: skip
@click.option("--ablation/--no-ablation", "ablate", default=True, show_default=True, help="At the end measure the winner also without each of its passes.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with a search that was interrupted, or had a smaller budget.")  # fmt: skip
@input_dim_option
@records_option
@backend_option
@toolchain_option
def command(
    model: str,
    output: Path,
    mcpu: str | None,
    target: str | None,
    level: str,
    calib: str | None,
    evaluate: str,
    train: str | None,
    max_flash: str | None,
    max_ram: str | None,
    max_latency: str | None,
    max_energy: str | None,
    max_drop: str | None,
    budget: str,
    objectives: str,
    weights: tuple[str, ...],
    method: str,
    seed: int,
    population: int,
    held_out: float,
    starts: tuple[Path, ...],
    workers: int | None,
    scheduler: str | None,
    timeout: str | None,
    store_file: Path | None,
    ablate: bool,
    resume: bool,
    input_dims: tuple[str, ...],
    records: str | None,
    backend: str,
    toolchain: str | None,
) -> None:
    """Find the passes, options and order that make the best of MODEL on a device.

    Each result is a pipeline that compile -p replays: DIR/pareto.json, DIR/pipelines. May be
    stopped at any moment: --resume goes on where it was. Exits with 3 if limits can't be met.
    """
    from tinycc_nn.cachedir import user_networks, user_records
    from tinycc_nn.models import STDIN
    from tinycc_nn.search.evaluate import evaluator
    from tinycc_nn.search.recipes import frame
    from tinycc_nn.search.replay import STORE
    from tinycc_nn.search.run import identified, run_search
    from tinycc_nn.search.settings import Bounds, Problem, SearchSettings
    from tinycc_nn.search.starts import read_starts
    from tinycc_nn.search.store import Store

    if model == STDIN:
        raise UsageError("a search needs the model as a file")
    bounds = Bounds(
        parse_bytes(max_flash, "--max-flash"),
        parse_bytes(max_ram, "--max-ram"),
        parse_ms(max_latency, "--max-latency"),
        parse_energy(max_energy),
        parse_drop(max_drop),
    )
    settings = SearchSettings(
        method=method,  # type: ignore[arg-type]
        seed=seed,
        population=population,
        objectives=tuple(n.strip() for n in objectives.split(",") if n.strip()),
        weights=tuple((k, _number(v)) for k, v in parse_pairs(weights, "OBJECTIVE=NUMBER").items()),
        bounds=bounds,
        budget=parse_budget(budget),
    )
    problem = Problem(
        model=model,
        target=choose_target(mcpu, target).name,
        level=f"O{level}",
        calib=calib or "",
        evaluation=evaluate,
        train=train or "",
        held_out=held_out,
        max_flash=bounds.flash,
        max_ram=bounds.ram,
        backend=backend,
        toolchain=toolchain,
        input_dims=tuple(sorted(parse_dims(input_dims).items())),
        records=records or str(user_records()),
    )
    seconds = parse_seconds(timeout or ("6h" if train else "10m"), "--timeout")
    assert seconds is not None
    problem = identified(problem)
    if starts:
        around = frame(evaluator(problem, user_networks()).kind)
        settings = replace(settings, starts=read_starts(starts, around, problem))
    store_path = store_file or output / STORE
    executor = _executor(scheduler, workers or os.cpu_count() or 1, seconds)
    try:
        with Store(store_path) as store, _Shown() as shown:
            found = run_search(
                problem,
                settings,
                store,
                executor,
                user_networks(),
                observe=shown.observe,
                resume=resume,
            )
            _write(output, found, store_path)
            _warn_of_starts(found, store)
            explain(output, found, store, executor if ablate else None, shown.say)
    finally:
        executor.close()
    _print(found)
    found.check()


def parse_budget(text: str) -> Budget:
    """`500evals` or a time; UsageError for anything else."""
    from tinycc_nn.search.settings import Budget

    if match := re.fullmatch(r"([1-9]\d*) ?evals?", text):
        return Budget(evaluations=int(match[1]))
    return Budget(seconds=parse_seconds(text, "--budget"))


def parse_energy(text: str | None) -> float | None:
    """`900uJ`, `1.5mJ`, `900` as microjoules; UsageError for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d*)?) ?(uJ|mJ|)", text)
    if match is None or float(match[1]) == 0:
        raise UsageError(f"'{text}' is not a value of --max-energy", hint="such as 900uJ")
    return float(match[1]) * _ENERGIES[match[2]]


def parse_drop(text: str | None) -> float | None:
    """`1%` or `0.01` as a fraction; UsageError for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d*)?) ?(%?)", text)
    value = float(match[1]) / (100 if match[2] else 1) if match else 1.0
    if not 0 <= value < 1:
        hint = "such as 1%, or 0.01"
        raise UsageError(f"'{text}' is not a value of --max-accuracy-drop", hint=hint)
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"'{text}' is not a weight", hint="such as 0.5")
    return value


def _executor(scheduler: str | None, workers: int, seconds: float) -> Executor:
    if scheduler is None:
        from tinycc_nn.search.executor import Processes

        return Processes(workers, task_seconds=seconds)
    from tinycc_nn.search.cluster import Cluster

    address = None if scheduler == "local" else scheduler
    return Cluster(address, workers, task_seconds=seconds)


class _Shown:
    """The progress on stderr: how far, how fast, and the front so far."""

    def __enter__(self) -> _Shown:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def say(self, text: str) -> None:
        """What is done after the search."""
        self._live.update(text, refresh=self._live.console.is_terminal)

    def observe(self, progress: object) -> None:
        from tinycc_nn.search.loop import Progress

        assert isinstance(progress, Progress)
        rate = 60 * progress.done / max(progress.seconds, 1e-9)
        lines = [
            f"{progress.done} pipelines in {progress.seconds:.0f} s ({rate:.0f} a minute), "
            f"generation {progress.generation}, {len(progress.front)} on the front"
        ]
        for e, fitness in sorted(progress.front, key=lambda f: f[1].values)[:12]:
            basis = "measured" if fitness.measured else "predicted"
            lines.append(
                f"  {' '.join(f'{v:,.4g}' for v in fitness.values)}  {basis}, number {e.id}"
            )
        self._live.update("\n".join(lines), refresh=self._live.console.is_terminal)


def _write(output: Path, found: Outcome, store: Path) -> None:
    """pareto.json and the pipelines, all at once; those of an earlier run go."""
    from tinycc_nn.outputs import write_directory
    from tinycc_nn.search.replay import PARETO

    folder = output / "pipelines"
    names = {f"{e.id}.txt": f"{e.pipeline}\n" for e in found.front}
    write_directory(folder, names)
    write_directory(output, {PARETO: found.to_json(store)})
    for old in folder.glob("*.txt"):
        if old.name not in names:
            old.unlink()


def _warn_of_starts(found: Outcome, store: Store) -> None:
    """The user's own pipelines that are not possible for this model, and why."""
    from tinycc_nn.pipeline import print_pipeline
    from tinycc_nn.pipeline_text import parse_pipeline

    for text in found.search.settings.starts:
        whole = found.frame.around(parse_pipeline(text) if text else ())
        e = store.find(found.search.problem, print_pipeline(whole))
        if e is not None and e.error:
            click.echo(f"warning: the start {text} is not possible: {e.error}", err=True)


def _print(found: Outcome) -> None:
    s = found.search.settings
    head = ("number", s.metric, "held out", "cycles", "ms", "flash", "RAM", "uJ", "passes")
    table = Table(head)
    for e in found.front:
        m = e.metrics
        table.add(
            e.id,
            f"{m.accuracy:.4f}",
            "-" if m.held_out is None else f"{m.held_out:.4f}",
            m.cycles or 0,
            m.latency_ms or "-",
            m.flash_bytes or 0,
            m.ram_bytes or 0,
            m.energy_uj or "-",
            found.genome(e),
        )
    if found.front:
        print_table(table)
    click.echo(
        f"{found.evaluated} pipelines in {found.search.seconds:.0f} s, {found.failed} of them not "
        f"possible; the model as given: {s.metric} {s.baseline:.4f}, held out "
        f"{found.held_out_baseline:.4f}"
    )
    for bug in found.bugs[:5]:
        click.echo(f"warning: a pass failed: {bug}", err=True)
