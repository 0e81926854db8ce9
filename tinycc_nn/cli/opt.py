"""`tinycc-nn opt`: a playground for passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinycc_nn.cli._options import (
    backend_option,
    calib_option,
    choose_target,
    input_dim_option,
    level_option,
    parse_dims,
    pipeline_option,
    records_option,
    target_options,
    toolchain_option,
    train_option,
)

if TYPE_CHECKING:
    from tinycc_nn.ir.graph import Graph
    from tinycc_nn.passmanager import Step
    from tinycc_nn.pipeline import Context
    from tinycc_nn.training.watch import Watcher


@click.command()
@click.argument("file")
@pipeline_option
@click.option("-o", "output", metavar="OUT.tnn", help="Write the IR there, its arrays beside it.")
@click.option("--verify-each", is_flag=True, help="Check that lossless passes keep the outputs.")
@click.option("--print-ir-after-all", is_flag=True, help="Print the IR after each pass, to stderr.")
@click.option("--time-passes", is_flag=True, help="Print the time of each pass, to stderr.")
@click.option("--crash-reproducer", type=click.Path(path_type=Path), metavar="FILE.tnn", help="If a pass fails: write what it was given.")  # fmt: skip
@calib_option
@train_option
@target_options
@level_option("With a target: the level whose costs passes ask for.")
@backend_option
@records_option
@toolchain_option
@input_dim_option
def command(
    file: str,
    pipeline: str | None,
    output: str | None,
    verify_each: bool,
    print_ir_after_all: bool,
    time_passes: bool,
    crash_reproducer: Path | None,
    calib: str | None,
    train: str | None,
    mcpu: str | None,
    target: str | None,
    level: str,
    backend: str,
    records: str | None,
    toolchain: str | None,
    input_dims: tuple[str, ...],
) -> None:
    """Run passes on FILE (.onnx, .tnn, or - for standard input) and print the IR.

    Passes that ask what layers cost need a target: -mcpu or --target.
    """
    from tinycc_nn.backend import BackendOptions, load_backend
    from tinycc_nn.cachedir import user_records
    from tinycc_nn.cli._training import TrainingBar
    from tinycc_nn.models import Model
    from tinycc_nn.passmanager import run_pipeline
    from tinycc_nn.pipeline_text import parse_pipeline

    passes = parse_pipeline(pipeline or "")
    graph = Model.read(file).graph(parse_dims(input_dims))
    costs = None
    if mcpu or target:
        folder = Path(records) if records else user_records()
        options = BackendOptions("net", f"O{level}", toolchain=toolchain, records=folder)
        costs = load_backend(backend).costs(choose_target(mcpu, target), options)
    steps: list[Step] = []

    def observe(step: Step) -> None:
        steps.append(step)
        if print_ir_after_all:
            _print_step(step)

    with TrainingBar() as bar:
        context = replace(_context(calib, train, graph, bar), costs=costs)
        result = run_pipeline(
            graph,
            passes,
            context,
            verify_each=verify_each,
            observe=observe,
            reproducer=crash_reproducer,
        )
    if time_passes:
        _print_times(steps)
    _write(result, output)


def _context(calib: str | None, train: str | None, graph: Graph, watcher: Watcher) -> Context:
    from tinycc_nn.cachedir import CacheDir
    from tinycc_nn.data import DataSpec, load_data
    from tinycc_nn.pipeline import Context
    from tinycc_nn.training.data import load_training

    data = load_data(DataSpec.parse(calib), graph) if calib else None
    for note in data.notes if data else ():
        click.echo(f"note: {note}", err=True)
    training = load_training(train, graph) if train else None
    inputs = data.inputs if data else {}
    return Context(inputs, training, watcher=watcher, checkpoints=CacheDir())


def _print_step(step: Step) -> None:
    from tinycc_nn.ir.text import print_graph

    click.echo(f"// after {step.index + 1}: {step.made_by}\n{print_graph(step.after)}", err=True)


def _print_times(steps: list[Step]) -> None:
    for s in steps:
        ops = f"{len(s.before.ops)} -> {len(s.after.ops)} ops"
        click.echo(f"{s.seconds * 1e3:10.1f} ms  {s.made_by.name():24} {ops}", err=True)
    click.echo(f"{sum(s.seconds for s in steps) * 1e3:10.1f} ms  total", err=True)


def _write(graph: Graph, output: str | None) -> None:
    from tinycc_nn.ir.files import blobs_npz
    from tinycc_nn.ir.text import print_graph
    from tinycc_nn.outputs import write_directory

    if output is None or output == "-":
        click.echo(print_graph(graph), nl=False)
        return
    path = Path(output)
    arrays = {path.with_suffix(".npz").name: blobs_npz(graph)}
    write_directory(path.parent, {**arrays, path.name: print_graph(graph)})
