"""`tinycc-nn tune`: measure a model's kernels on the emulated core."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinycc_nn.cli._options import (
    backend_option,
    calib_option,
    choose_target,
    dtype_option,
    input_dim_option,
    level_option,
    parse_dims,
    parse_seconds,
    pipeline_option,
    records_option,
    target_options,
    toolchain_option,
    train_option,
)
from tinycc_nn.cli._table import Table, print_table

if TYPE_CHECKING:
    from tinycc_nn.backend import Effort, Layer, Tuned
    from tinycc_nn.ir.graph import Graph
    from tinycc_nn.request import Request


@click.command()
@click.argument("model")
@target_options
@level_option("The level of the passes and of the C compiler.")
@dtype_option
@calib_option
@train_option
@pipeline_option
@input_dim_option
@click.option("--budget", metavar="TIME", help="How long; as in 15m. By default until all is measured.")  # fmt: skip
@click.option("-j", "workers", type=click.IntRange(1), help="Worker processes; by default one for each CPU.")  # fmt: skip
@records_option
@backend_option
@toolchain_option
def command(
    model: str,
    mcpu: str | None,
    target: str | None,
    level: str,
    dtype: str | None,
    calib: str | None,
    train: str | None,
    pipeline: str | None,
    input_dims: tuple[str, ...],
    budget: str | None,
    workers: int | None,
    records: str | None,
    backend: str,
    toolchain: str | None,
) -> None:
    """Measure every kernel of every layer of MODEL, so that compile chooses by facts.

    May be stopped at any moment: it goes on where it was. What compile needs for most networks on
    a Cortex-M0+, M3, M4, M7 or M33 is measured already and ships with tinycc-nn.
    """
    from tinycc_nn.backend import Effort, load_backend
    from tinycc_nn.cachedir import user_records
    from tinycc_nn.data import DataSpec
    from tinycc_nn.driver import backend_options, optimize
    from tinycc_nn.models import Model
    from tinycc_nn.request import Request, c_name

    seconds = parse_seconds(budget, "--budget")
    read = Model.read(model)
    request = Request(
        model=read,
        name=c_name(read.stem),
        target=choose_target(mcpu, target),
        level=f"O{level}",
        dtype=dtype,
        calib=DataSpec.parse(calib) if calib else None,
        train=train,
        pipeline=pipeline,
        input_dims=parse_dims(input_dims),
        backend=backend,
        toolchain=toolchain,
        records=Path(records) if records else user_records(),
    )
    _, graph = optimize(request)
    tuned = _tune(request, graph, Effort(seconds, workers or os.cpu_count() or 1))
    options = backend_options(request)
    _print_layers(load_backend(backend).compile(graph, request.target, options).layers)
    left = f", {tuned.left} left for another time" if tuned.left else ""
    click.echo(f"{tuned.measured} kernels measured, {tuned.known} were known{left}")
    for failure in tuned.failures:
        click.echo(f"warning: not measured: {failure}", err=True)


def _tune(request: Request, graph: Graph, effort: Effort) -> Tuned:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed

    from tinycc_nn.backend import TuningStep
    from tinycc_nn.driver import tune_kernels

    columns = MofNCompleteColumn(), BarColumn(), Elapsed(), TextColumn("{task.description}")
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=None)

        def observe(step: TuningStep) -> None:
            text = f"{step.layer}, {step.kernel}".replace("[", "\\[")
            progress.update(bar, completed=step.done, total=step.total, description=text)

        return tune_kernels(request, graph, effort, observe)


def _print_layers(layers: tuple[Layer, ...]) -> None:
    table = Table(("layer", "operator", "kernel", "cycles", "from"))
    for layer in layers:
        cycles = round(layer.expected_cycles)
        table.add(layer.name, layer.op, layer.kernel, cycles, layer.basis)
    print_table(table)
