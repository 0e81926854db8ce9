"""What to compile and how: the command line, or a program, as one value."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tinycc_nn.data import DataSpec
from tinycc_nn.diagnostics import UsageError
from tinycc_nn.models import Model
from tinycc_nn.quantization.wish import parse_wish
from tinycc_nn.target import Target
from tinycc_nn.training.data import is_hook

DTYPES = ("int8", "float32")
_C_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_C_HEADERS = """
assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign
stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar
wchar wctype
"""
"""NAME.h of such a name would stand in for the C library's."""


@dataclass(frozen=True)
class Request:
    """
    What to compile, and how. Two equal requests (with files of the same bytes) give the same bytes.

    name:     prefix of every C symbol and file.
    level:    "O0" .. "O3", "Os".
    dtype:    "int8" or "float32"; None is int8 where there is calibration data.
    weights:  a format for the weights of int8 layers, as quantize-weights takes it; None for int8.
    train:    samples to train on, as `training.data.load_training` takes them.
    pipeline: text of the passes instead of the level's; None for those.
    kernels:  layer name to kernel name, for layers whose kernel is forced.
    toolchain: "gcc" or "zig"; None for the first that is found.
    measure:  build and run the C, on the host and on the emulated core.
    compared: samples on which C and interpreter are compared, where there are as many.
    max_flash, max_ram: bytes that kernels are chosen to fit, beside the target's own.
    records:  the folder with the user's own measurements of kernels; None for none.
    tune_seconds: how long kernels without a measurement are measured before; None for not at all.
    workers:  processes for that.
    """

    model: Model
    name: str
    target: Target
    level: str = "O2"
    dtype: str | None = None
    weights: str | None = None
    calib: DataSpec | None = None
    eval: DataSpec | None = None
    train: str | None = None
    pipeline: str | None = None
    input_dims: Mapping[str, int] = field(default_factory=dict[str, int])
    backend: str = "tvm"
    kernels: Mapping[str, str] = field(default_factory=dict[str, str])
    toolchain: str | None = None
    measure: bool = True
    compared: int = 8
    max_flash: int | None = None
    max_ram: int | None = None
    records: Path | None = None
    tune_seconds: float | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        if not _C_NAME.fullmatch(self.name):
            hint = "letters, digits and _, as in: --name kws"
            raise UsageError(f"'{self.name}' can't be the prefix of C names", hint=hint)
        if self.name.lower() in _C_HEADERS.split():
            message = f"{self.name}.h would hide a header of the C library"
            raise UsageError(message, hint="choose another name, as in: --name kws")
        if self.dtype not in (None, *DTYPES):
            raise UsageError(f"unknown dtype '{self.dtype}'", hint=f"known: {', '.join(DTYPES)}")
        if self.weights is not None:
            self._check_weights(self.weights)

    def _check_weights(self, text: str) -> None:
        try:
            parse_wish(text)
        except ValueError as e:
            raise UsageError(f"--weights: {e}", hint="such as int4, 'posit<5,1>', auto:5") from None
        if self.pipeline is not None:
            hint = "write quantize-weights{format=...} into it"
            raise UsageError("--weights is for the default pipeline, not for -p", hint=hint)
        if self.chosen_dtype == "float32" and self.dtype is not None:
            raise UsageError("--weights is for int8 layers, not for --dtype float32")

    @property
    def chosen_dtype(self) -> str:
        return self.dtype or ("int8" if self.calib else "float32")

    @property
    def command(self) -> str:
        """The command line for this output: only what changes the C, files by name only, so that
        the place of a build leaves no trace in it."""
        words = ["tinycc-nn", "compile", self.model.path.name if self.model.path else "-"]
        words += ["--name", self.name]
        generic = self.target.generic
        words += [f"-mcpu={self.target.cpu}"] if generic else ["--target", self.target.name]
        words += [f"-{self.level}"]
        if self.dtype is not None:
            words += ["--dtype", self.dtype]
        if self.weights is not None:
            words += ["--weights", self.weights]
        if self.calib is not None:
            words += ["--calib", self.calib.base_name]
        if self.train is not None:
            words += ["--train", train_name(self.train)]
        if self.pipeline is not None:
            words += ["-p", self.pipeline]
        for key, size in sorted(self.input_dims.items()):
            words += ["--input-dim", f"{key}={size}"]
        for option, limit in (("--max-flash", self.max_flash), ("--max-ram", self.max_ram)):
            words += [] if limit is None else [option, str(limit)]
        words += ["--backend", self.backend]
        for layer, kernel in sorted(self.kernels.items()):
            words += ["--kernel", f"{layer}={kernel}"]
        return shlex.join(words)


def train_name(text: str) -> str:
    """The text of training data without the folder of its file."""
    return text if is_hook(text) else DataSpec.parse(text).base_name


def c_name(stem: str) -> str:
    """The nearest C identifier to a file's name."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", stem)
    return name if name[:1].isalpha() else f"n{name}"
