"""Options that several commands share, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from tinycc_nn.diagnostics import UsageError

if TYPE_CHECKING:
    from tinycc_nn.target import Target

F = TypeVar("F", bound=Callable[..., object])

_UNITS = {"": 1, "K": 1 << 10, "KB": 1 << 10, "KIB": 1 << 10, "M": 1 << 20, "MB": 1 << 20, "MIB": 1 << 20}  # fmt: skip
_DURATIONS = {"s": 1, "": 1, "m": 60, "min": 60, "h": 3600}
_TIMES = {"ms": 1.0, "us": 1e-3, "s": 1e3, "": 1.0}

calib_option = click.option("--calib", metavar="DATA", help="Samples for the ranges of int8: FILE.npz[:ARRAY].")  # fmt: skip
train_option = click.option("--train", metavar="DATA", help="Samples to train on: FILE.npz[:ARRAY[,LABELS]], or MODULE:FUNCTION that yields batches.")  # fmt: skip
input_dim_option = click.option("--input-dim", "input_dims", multiple=True, metavar="NAME=SIZE", help="The size of a symbolic dimension.")  # fmt: skip
records_option = click.option("--records", metavar="DIR", help="Where measurements of kernels are kept; by default in the user's data folder.")  # fmt: skip
backend_option = click.option("--backend", default="tvm", show_default=True, help="What generates the C.")  # fmt: skip
dtype_option = click.option("--dtype", type=click.Choice(["int8", "float32"]), help="int8 where --calib is given, otherwise float32.")  # fmt: skip
toolchain_option = click.option("--toolchain", type=click.Choice(["gcc", "zig"]), help="By default gcc if there is one.")  # fmt: skip
pipeline_option = click.option("-p", "--pipeline", metavar="PIPELINE", help="Passes, as in: fold-bn, quantize{method=mse}.")  # fmt: skip


def level_option(doc: str) -> Callable[[F], F]:
    """`-O0` .. `-O3`, `-Os`, as "0" .. "s"."""
    choice = click.Choice(["0", "1", "2", "3", "s"])
    return click.option("-O", "level", type=choice, default="2", help=doc)


def parse_dims(texts: tuple[str, ...]) -> dict[str, int]:
    """`NAME=SIZE` options; UsageError for anything else."""
    return {name: _size(text, size) for text, name, size in _pairs(texts, "NAME=SIZE")}


def parse_pairs(texts: tuple[str, ...], form: str) -> dict[str, str]:
    """`KEY=VALUE` options; UsageError, naming the `form`, for anything else."""
    return {key: value for _, key, value in _pairs(texts, form)}


def _pairs(texts: tuple[str, ...], form: str) -> list[tuple[str, str, str]]:
    found = []
    for text in texts:
        key, equals, value = text.rpartition("=")
        if not (key and equals and value):
            raise UsageError(f"'{text}' is not of the form {form}")
        found.append((text, key, value))
    return found


def _size(text: str, size: str) -> int:
    if not size.isdecimal() or int(size) == 0:
        raise UsageError(f"'{size}' in '{text}' is not a positive integer")
    return int(size)


def parse_bytes(text: str | None, option: str) -> int | None:
    """`65536`, `64K`, `64KiB`, `1M` as bytes (K is 1024); UsageError for anything else."""
    return None if text is None else round(_quantity(text, option, _UNITS, "256K", upper=True))


def parse_ms(text: str | None, option: str) -> float | None:
    """`50ms`, `50`, `800us`, `0.05s` as milliseconds; UsageError for anything else."""
    return None if text is None else _quantity(text, option, _TIMES, "50ms", upper=False)


def parse_seconds(text: str | None, option: str) -> float | None:
    """`15m`, `90s`, `90`, `1h` as seconds; UsageError for anything else."""
    return None if text is None else _quantity(text, option, _DURATIONS, "15m", upper=False)


def _quantity(
    text: str, option: str, units: dict[str, int] | dict[str, float], example: str, *, upper: bool
) -> float:
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = text[len(digits) :]
    scale = units.get(unit.upper() if upper else unit)
    try:
        value = float(digits)
    except ValueError:
        value = -1.0
    if scale is None or not 0 < value < float("inf"):
        raise UsageError(f"'{text}' is not a value of {option}", hint=f"such as {example}")
    return value * scale


def target_options(command: F) -> F:
    """`-mcpu=` and `--target`, for `choose_target`."""
    named = click.option("--target", metavar="NAME", help="A device; see tinycc-nn targets.")
    cpu = click.option("-mcpu", metavar="CORE", help="A core, as for gcc: cortex-m4.")
    return named(cpu(command))


def choose_target(mcpu: str | None, target: str | None) -> Target:
    """The target that the options name; UsageError if none or two."""
    from tinycc_nn.target import Target

    if mcpu and target:
        raise UsageError("-mcpu and --target are both given", hint="a target knows its core")
    if target:
        return Target.load(target)
    if mcpu:
        return Target.for_cpu(mcpu)
    raise UsageError("no target", hint="give -mcpu=cortex-m4, or --target NAME (a device)")
