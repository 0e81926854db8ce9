"""`tinycc-nn run`: a model, or what was compiled from it, on data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinycc_nn.cli._options import (
    calib_option,
    choose_target,
    input_dim_option,
    level_option,
    parse_dims,
    pipeline_option,
    target_options,
)
from tinycc_nn.diagnostics import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinycc_nn.data import Dataset
    from tinycc_nn.ir.types import Array

_SHOWN_SAMPLES, _SHOWN_ELEMENTS = 10, 12


@click.command()
@click.argument("what", metavar="MODEL|DIR")
@click.option("--data", required=True, metavar="DATA", help="FILE.npz[:ARRAY[,LABELS]].")
@click.option("--on", "place", type=click.Choice(["interpreter", "host", "device"]), help="By default the interpreter for a model, the host for a folder.")  # fmt: skip
@click.option("-o", "output", type=click.Path(path_type=Path), metavar="OUT.npz", help="Write the outputs, as real numbers.")  # fmt: skip
@target_options
@level_option("For a model on host or device, as in compile.")
@calib_option
@pipeline_option
@input_dim_option
def command(
    what: str,
    data: str,
    place: str | None,
    output: Path | None,
    mcpu: str | None,
    target: str | None,
    level: str,
    calib: str | None,
    pipeline: str | None,
    input_dims: tuple[str, ...],
) -> None:
    """Run a MODEL, or the DIR that compile wrote, on DATA; print accuracy or outputs.

    A model on the interpreter runs as it is given, after the passes of -p if there are any.
    """
    from tinycc_nn.cachedir import user_records
    from tinycc_nn.data import DataSpec, load_data
    from tinycc_nn.execute import compiled, from_directory, interpreted
    from tinycc_nn.models import Model
    from tinycc_nn.request import Request, c_name

    spec = DataSpec.parse(data)
    chosen = choose_target(mcpu, target) if mcpu or target else None
    if Path(what).is_dir():
        if place == "interpreter" or pipeline or calib:
            raise UsageError("a compiled folder runs on host or device, as it is")
        executable = from_directory(Path(what), "device" if place == "device" else "host", chosen)
    else:
        model = Model.read(what)
        request = Request(
            model=model,
            name=c_name(model.stem),
            target=chosen or choose_target("cortex-m4", None),
            level=f"O{level}",
            calib=DataSpec.parse(calib) if calib else None,
            pipeline=pipeline,
            input_dims=parse_dims(input_dims),
            records=user_records(),
        )
        if place == "device" and chosen is None:
            choose_target(None, None)
        if place == "host" or place == "device":
            executable = compiled(request, "device" if place == "device" else "host")
        else:
            executable = interpreted(request)
    dataset = load_data(spec, executable.interface)
    outputs = executable.real(dataset.inputs)
    for note in dataset.notes:
        click.echo(f"note: {note}", err=True)
    if output is not None:
        _save(output, [v.name for v in executable.interface.outputs], outputs)
    if dataset.labels is not None:
        _print_score(dataset, outputs[0])
    elif output is None:
        _print_outputs(outputs)


def _print_score(dataset: Dataset, output: Array) -> None:
    from tinycc_nn.accuracy import score

    metric, value = score(output, dataset)
    shown = f"accuracy {100 * value:.2f} %" if metric == "top1" else f"mean squared error {value:g}"
    click.echo(f"{shown} of {len(dataset)} samples")


def _print_outputs(outputs: Sequence[Array]) -> None:
    for i in range(min(_SHOWN_SAMPLES, len(outputs[0]))):
        for array in outputs:
            flat = array[i].reshape(-1)
            more = " ..." if flat.size > _SHOWN_ELEMENTS else ""
            numbers = " ".join(f"{x:.6g}" for x in flat[:_SHOWN_ELEMENTS])
            click.echo(f"sample {i}: {numbers}{more}")
    if len(outputs[0]) > _SHOWN_SAMPLES:
        click.echo(f"... {len(outputs[0])} samples; all of them with -o OUT.npz")


def _save(path: Path, names: Sequence[str], outputs: Sequence[Array]) -> None:
    from tinycc_nn.outputs import arrays_npz, write_file

    write_file(path, arrays_npz(dict(zip(names, outputs, strict=True))))
