"""`tinycc-nn compile`: a model to C."""

from __future__ import annotations

import os
from dataclasses import dataclass
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
    parse_bytes,
    parse_dims,
    parse_ms,
    parse_pairs,
    parse_seconds,
    pipeline_option,
    records_option,
    target_options,
    toolchain_option,
    train_option,
)
from tinycc_nn.cli._replay import Replay
from tinycc_nn.diagnostics import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinycc_nn.report import Report
    from tinycc_nn.request import Request


@dataclass(frozen=True)
class Depfile:
    """-MD -MF -MT: whether, where, and the rule's target in Makefile syntax."""

    wanted: bool
    file: str | None
    target: str | None


@click.command()
@click.argument("model")
@click.option("-o", "output", type=click.Path(path_type=Path), metavar="DIR", help="The folder for the C files and report.json.")  # fmt: skip
@click.option("--name", help="The prefix of files and C symbols; by default the model's name.")
@target_options
@level_option("-O0 no passes, -O1 lossless ones, -O2 default, -O3 speed, -Os size.")
@dtype_option
@click.option("--weights", metavar="FORMAT", help="int8, int4, 'posit<5,1>', 'fixed<6,0>', ternary, 'book<16>', auto:5 (mean bits), ...")  # fmt: skip
@calib_option
@train_option
@click.option("--eval", "evaluate", metavar="DATA", help="Measure the accuracy: FILE.npz[:ARRAY[,LABELS]].")  # fmt: skip
@pipeline_option
@click.option("--from-search", metavar="STORE#ID", help="A pipeline that a search found, with its target and options; byte for byte.")  # fmt: skip
@click.option("--print-pipeline", is_flag=True, help="Print the passes that would run, and stop.")
@click.option("--max-flash", metavar="SIZE", help="Choose kernels that fit, exit with 3 above it; as in 256K (K is 1024).")  # fmt: skip
@click.option("--max-ram", metavar="SIZE", help="The same for RAM: arena, buffers and stack.")
@click.option("--max-latency", metavar="TIME", help="Exit with 3 above it; as in 50ms.")
@input_dim_option
@backend_option
@click.option("--kernel", "kernels", multiple=True, metavar="LAYER=NAME", help="Force a layer's kernel; the report names the alternatives.")  # fmt: skip
@click.option("--tune-budget", metavar="TIME", help="With -O3: measure kernels so long before; as in 5m.")  # fmt: skip
@records_option
@toolchain_option
@click.option("--no-measure", is_flag=True, help="Don't build and run the C: no compiler needed.")
@click.option("--no-cache", is_flag=True, help="Compile even if nothing has changed.")
@click.option("-MD", "depfile", is_flag=True, help="Write a Makefile rule with the dependencies.")
@click.option("-MF", "depfile_name", metavar="FILE", help="Where; by default DIR/NAME.d.")
@click.option("-MT", "depfile_target", metavar="TARGET", help="Its target; by default DIR/NAME.c.")
@click.option("-save-temps", "save_temps", is_flag=True, help="Keep the IR and the ELF file in DIR.")  # fmt: skip
@click.option("-v", "verbose", is_flag=True, help="Say on stderr what is being done.")
@click.pass_context
def command(
    context: click.Context,
    model: str,
    output: Path | None,
    name: str | None,
    mcpu: str | None,
    target: str | None,
    level: str,
    dtype: str | None,
    weights: str | None,
    calib: str | None,
    train: str | None,
    evaluate: str | None,
    pipeline: str | None,
    from_search: str | None,
    print_pipeline: bool,
    max_flash: str | None,
    max_ram: str | None,
    max_latency: str | None,
    input_dims: tuple[str, ...],
    backend: str,
    kernels: tuple[str, ...],
    tune_budget: str | None,
    records: str | None,
    toolchain: str | None,
    no_measure: bool,
    no_cache: bool,
    depfile: bool,
    depfile_name: str | None,
    depfile_target: str | None,
    save_temps: bool,
    verbose: bool,
) -> None:
    """Compile MODEL (.onnx, .tnn, or - for standard input) to C for a Cortex-M.

    DATA is FILE.npz[:ARRAY[,LABELS]], with slices over the samples as in kws.npz:x[250:],y[250:];
    by default the arrays x and y.
    """
    from tinycc_nn.cachedir import user_records
    from tinycc_nn.data import DataSpec
    from tinycc_nn.limits import Limits, check_limits
    from tinycc_nn.models import Model
    from tinycc_nn.request import Request, c_name

    limits = Limits(
        parse_bytes(max_flash, "--max-flash"),
        parse_bytes(max_ram, "--max-ram"),
        parse_ms(max_latency, "--max-latency"),
    )
    if tune_budget is not None and level != "3":
        raise UsageError("--tune-budget needs -O3", hint="tinycc-nn tune measures for any level")
    if output is None and not print_pipeline:
        raise UsageError("no output directory", hint="give one with -o DIR")
    replay = None
    if from_search is not None:
        replay = Replay(from_search, context)
        request = replay.request(
            model, name, calib, train, evaluate, records, measure=not no_measure
        )
    else:
        chosen = choose_target(mcpu, target)
        read = Model.read(model)
        request = Request(
            model=read,
            name=name or c_name(read.stem),
            target=chosen,
            level=f"O{level}",
            dtype=dtype,
            weights=None if weights in ("int8", "i8") else weights,
            calib=DataSpec.parse(calib) if calib else None,
            train=train,
            eval=DataSpec.parse(evaluate) if evaluate else None,
            pipeline=pipeline,
            input_dims=parse_dims(input_dims),
            backend=backend,
            kernels=parse_pairs(kernels, "LAYER=NAME"),
            toolchain=toolchain,
            measure=not no_measure,
            max_flash=limits.flash,
            max_ram=limits.ram,
            records=Path(records) if records else user_records(),
            tune_seconds=parse_seconds(tune_budget, "--tune-budget"),
            workers=os.cpu_count() or 1,
        )
    if print_pipeline:
        _print_pipeline(request)
        return
    assert output is not None
    if replay is not None:
        files, report = replay.build(request, keep=save_temps)
    else:
        files, report = _build(request, use_cache=not no_cache, keep=save_temps, verbose=verbose)
    check_limits(report, request.target, limits)
    rule = Depfile(depfile or depfile_name is not None, depfile_name, depfile_target)
    _write(request, output, {**files, "report.json": report.to_json()}, rule)
    _print(report)


def _print_pipeline(request: Request) -> None:
    from tinycc_nn.driver import pipeline_text
    from tinycc_nn.pipeline import print_pipeline
    from tinycc_nn.pipeline_text import parse_pipeline

    text = request.pipeline
    if text is None:
        text = pipeline_text(request, request.model.graph(request.input_dims))
    click.echo(print_pipeline(parse_pipeline(text)))


def _build(
    request: Request, *, use_cache: bool, keep: bool, verbose: bool
) -> tuple[Mapping[str, str | bytes], Report]:
    from tinycc_nn.buildcache import load_build, request_key, store_build
    from tinycc_nn.cachedir import CacheDir
    from tinycc_nn.training.data import is_hook

    def progress(message: str) -> None:
        if verbose:
            click.echo(message, err=True)

    store = CacheDir()
    use_cache = use_cache and not (request.train and is_hook(request.train))
    reads = use_cache and not keep and request.tune_seconds is None
    found = load_build(store, request_key(request)) if reads else None
    if found is not None:
        progress(f"unchanged: taken from {store.root}")
        return found
    from tinycc_nn.cli._training import TrainingBar
    from tinycc_nn.driver import compile_model

    with TrainingBar() as bar:
        compiled = compile_model(request, progress, bar)
    if use_cache:
        store_build(store, request_key(request), dict(compiled.files), compiled.report)
    return {**compiled.files, **(compiled.temps if keep else {})}, compiled.report


def _write(request: Request, output: Path, files: Mapping[str, str | bytes], rule: Depfile) -> None:
    from tinycc_nn.data import DataSpec
    from tinycc_nn.outputs import depfile, escape_make, write_directory, write_file
    from tinycc_nn.training.data import is_hook

    train = DataSpec.parse(request.train) if request.train and not is_hook(request.train) else None
    specs = (request.calib, request.eval, train)
    read = [*request.model.files, *(s.path for s in specs if s is not None)]
    target = rule.target or escape_make(str(output / f"{request.name}.c"))
    text = depfile(target, read)
    path = Path(rule.file) if rule.file else output / f"{request.name}.d"
    if rule.wanted and path.parent == output:
        files = {**files, path.name: text}
    write_directory(output, files)
    if rule.wanted and path.parent != output:
        write_file(path, text)


def _print(report: Report) -> None:
    from tinycc_nn.cli._summary import print_summary

    print_summary(report)
