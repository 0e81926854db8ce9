"""`tinycc-nn validate`: do onnxruntime, interpreter, host C and emulated C agree?"""

from __future__ import annotations

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
    pipeline_option,
    target_options,
    toolchain_option,
    train_option,
)
from tinycc_nn.cli._table import Table, print_table

if TYPE_CHECKING:
    from tinycc_nn.validate import Difference


@click.command()
@click.argument("model")
@click.option("--data", metavar="DATA", help="Samples: FILE.npz[:ARRAY]; by default made up.")
@click.option("--samples", default=4, show_default=True, type=click.IntRange(1), help="How many of them.")  # fmt: skip
@target_options
@level_option("The level of the passes and of the C compiler.")
@dtype_option
@calib_option
@train_option
@pipeline_option
@input_dim_option
@backend_option
@toolchain_option
def command(
    model: str,
    data: str | None,
    samples: int,
    mcpu: str | None,
    target: str | None,
    level: str,
    dtype: str | None,
    calib: str | None,
    train: str | None,
    pipeline: str | None,
    input_dims: tuple[str, ...],
    backend: str,
    toolchain: str | None,
) -> None:
    """Compare MODEL in onnxruntime, the interpreter, C on the host and C on the emulated core.

    Node by node; the first place where two of them part is named, and the exit code is then 1.
    What an ONNX file computes is compared as imported, C after the passes of the level.
    """
    from tinycc_nn.accuracy import stored_inputs
    from tinycc_nn.cachedir import user_records
    from tinycc_nn.data import DataSpec, load_data
    from tinycc_nn.diagnostics import TinyccError
    from tinycc_nn.driver import optimize
    from tinycc_nn.models import Model
    from tinycc_nn.passmanager import made_up_samples
    from tinycc_nn.request import Request, c_name
    from tinycc_nn.validate import against_c, against_onnxruntime, first_parting

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
        records=user_records(),
    )
    given, final = optimize(request)
    inputs = load_data(DataSpec.parse(data), given).inputs if data else made_up_samples(given)
    some = {name: a[:samples] for name, a in inputs.items()}
    found: list[Difference] = []
    if read.is_onnx:
        found += against_onnxruntime(read, given, stored_inputs(given, some))
    found += against_c(request, final, stored_inputs(final, some), layers=True)
    found += against_c(request, final, stored_inputs(final, some), layers=False)
    _print(found)
    parting = first_parting(found)
    if parting is not None:
        message = f"{parting.pair} part by {parting.largest:g}, {parting.allowed:g} allowed"
        raise TinyccError(message, f"{parting.name} ({parting.op})")
    click.echo(f"they agree on {len(next(iter(some.values())))} samples")


def _print(found: list[Difference]) -> None:
    table = Table(("compared", "tensor", "operator", "largest difference", "magnitude"))
    for d in found:
        table.add(d.pair, d.name, d.op, d.largest, d.scale)
    print_table(table)
