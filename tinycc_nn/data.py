"""Samples for calibration and evaluation: `FILE.npz[:ARRAY[,LABELS]]`, checked against the inputs.

Arrays may carry a slice over the samples, as in `kws.npz:x[250:],y[250:]`.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from tinycc_nn.diagnostics import TinyccError, UsageError, nearest
from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import Array, TensorType

_REF = re.compile(r"([^\[\],:]+)(?:\[(-?\d*):(-?\d*)(?::(\d+))?\])?")
_SAMPLES, _LABELS = "x", "y"


@dataclass(frozen=True, slots=True)
class ArrayRef:
    """An array of the file and which of its samples: `x[250:]`."""

    name: str
    start: int | None = None
    stop: int | None = None
    step: int | None = None

    @staticmethod
    def parse(text: str, where: str) -> ArrayRef:
        """From `NAME` or `NAME[START:STOP:STEP]`; UsageError for anything else."""
        found = _REF.fullmatch(text)
        if found is None or found[4] == "0":
            hint = "write a name, or a name and a slice such as x[250:]"
            raise UsageError(f"'{text}' does not name an array", where, hint)
        start, stop, step = (int(s) if s else None for s in found.groups()[1:])
        return ArrayRef(found[1], start, stop, step)

    def __str__(self) -> str:
        if self.start is self.stop is self.step is None:
            return self.name
        parts = ["" if n is None else str(n) for n in (self.start, self.stop)]
        return f"{self.name}[{':'.join(parts + ([str(self.step)] if self.step else []))}]"


@dataclass(frozen=True, slots=True)
class DataSpec:
    """What the command line says of a data file. `samples` and `labels` are None by default."""

    path: Path
    samples: ArrayRef | None = None
    labels: ArrayRef | None = None

    @staticmethod
    def parse(text: str) -> DataSpec:
        """From `FILE.npz[:ARRAY[,LABELS]]`; UsageError if that isn't what `text` is."""
        file, found, names = text.partition(".npz:")
        if not found:
            return DataSpec(Path(text))
        refs = [ArrayRef.parse(t.strip(), text) for t in names.split(",")]
        if len(refs) > 2:
            raise UsageError(
                f"'{text}' names {len(refs)} arrays", hint="samples and labels, no more"
            )
        return DataSpec(Path(f"{file}.npz"), refs[0], refs[1] if len(refs) == 2 else None)

    @property
    def base_name(self) -> str:
        """The text without the folder of the file."""
        return self.path.name + str(self).removeprefix(str(self.path))

    def __str__(self) -> str:
        names = ",".join(str(r) for r in (self.samples, self.labels) if r is not None)
        return f"{self.path}:{names}" if names else str(self.path)


@dataclass(frozen=True, slots=True)
class Dataset:
    """
    inputs: float32 (or as stored, for an input of that integer type) [samples, *shape] by name.
    labels: as in the file, one for each sample, or None.
    notes:  what was adapted to the model, for the user to read.
    """

    inputs: Mapping[str, Array]
    labels: Array | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


def load_data(spec: DataSpec, graph: Graph) -> Dataset:
    """Read and check the samples of `graph`'s inputs; TinyccError says what is wrong with them.

    Integer samples become float32 where the input is a float. Axes of size one may be left out,
    and images may be channels-last for a channels-first model or the other way round.
    """
    with _open(spec.path) as file:
        inputs, notes = {}, []
        for value in graph.inputs:
            ref = _samples_ref(spec, graph, value, file)
            array = _take(file, ref, spec.path)
            inputs[value.name], note = fit_samples(array, value.type, f"{spec.path}:{ref}")
            notes += [note] if note else []
        labels = _labels(spec, file)
    counts = {name: len(a) for name, a in inputs.items()}
    if labels is not None:
        counts["labels"] = len(labels)
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name}: {n}" for name, n in counts.items())
        hint = "give samples and labels the same slice"
        raise TinyccError(f"different numbers of samples ({shown})", str(spec), hint)
    return Dataset(inputs, labels, tuple(notes))


def fit_samples(array: Array, type: TensorType, where: str) -> tuple[Array, str]:
    """`array` as [samples, *type.shape] in the input's element type, and a note on what changed."""
    if array.dtype.kind not in "iufb":
        raise TinyccError(f"the samples are {array.dtype}, not numbers", where)
    if array.ndim == 0 or len(array) == 0:
        raise TinyccError("there are no samples", where, "look at the slice, if there is one")
    shaped, note = _fit_shape(array, type, where)
    if type.dtype.is_float or type.quant is not None:
        keep = shaped.dtype == type.dtype.numpy
        shaped = shaped if keep else shaped.astype(np.float32)
    elif shaped.dtype != type.dtype.numpy:
        raise TinyccError(f"the samples are {array.dtype}, the input is {type}", where)
    bad: Array = np.any(~np.isfinite(shaped).reshape(len(shaped), -1), axis=1)
    if bad.any():
        message = f"{int(bad.sum())} of {len(bad)} samples have NaN or infinite elements"
        raise TinyccError(message, where, f"the first is sample {int(bad.argmax())}")
    return shaped, note


def _fit_shape(array: Array, type: TensorType, where: str) -> tuple[Array, str]:
    given, wanted = array.shape[1:], type.shape
    if _squeeze(given) == _squeeze(wanted):
        return array.reshape(len(array), *wanted), ""
    image = wanted[-3:]
    if len(given) == 3 and prod(wanted) == prod(image):
        for order, axes in (("last", (0, 3, 1, 2)), ("first", (0, 2, 3, 1))):
            moved = array.transpose(axes)
            if moved.shape[1:] == image:
                note = f"{where}: channels-{order} samples were transposed to {list(image)}"
                return np.ascontiguousarray(moved).reshape(len(array), *wanted), note
    message = f"the samples have the shape {list(given)}, the model's input {list(wanted)}"
    hint = f"the array must be [samples, {', '.join(map(str, wanted[1:] or wanted))}]"
    raise TinyccError(message, where, hint)


def _squeeze(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _samples_ref(spec: DataSpec, graph: Graph, value: Value, file: Mapping[str, Array]) -> ArrayRef:
    if len(graph.inputs) > 1:
        if spec.samples is not None:
            names = ", ".join(v.name for v in graph.inputs)
            hint = f"give the file only; its arrays must be named {names}"
            raise TinyccError("the model has several inputs", str(spec), hint)
        return ArrayRef(value.name)
    if spec.samples is not None:
        return spec.samples
    return ArrayRef(_SAMPLES if _SAMPLES in file or value.name not in file else value.name)


def _labels(spec: DataSpec, file: Mapping[str, Array]) -> Array | None:
    ref = spec.labels
    if ref is None and spec.samples is None and _LABELS in file:
        ref = ArrayRef(_LABELS)
    return None if ref is None else _take(file, ref, spec.path)


def _take(file: Mapping[str, Array], ref: ArrayRef, path: Path) -> Array:
    if ref.name not in file:
        raise TinyccError(f"there is no array '{ref.name}'", str(path), nearest(ref.name, file))
    try:
        array = file[ref.name]
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as e:
        raise TinyccError(f"can't read the array '{ref.name}': {e}", str(path)) from None
    if array.ndim == 0:
        raise TinyccError(f"the array '{ref.name}' is a single number", str(path))
    return array[ref.start : ref.stop : ref.step]


def _open(path: Path) -> np.lib.npyio.NpzFile:
    hint = "numpy.savez(FILE, x=samples, y=labels) writes one"
    try:
        file = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise TinyccError("there is no such file", str(path)) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as e:
        raise TinyccError(f"not a readable .npz file: {e}", str(path), hint) from None
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise TinyccError("a single array, not an .npz file", str(path), hint)
    return file
