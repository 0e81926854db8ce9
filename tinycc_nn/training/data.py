"""Samples to train on: arrays of an .npz file, or batches that a Python function yields."""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinycc_nn.data import Dataset, DataSpec, fit_samples, load_data
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import Array

_HOOK = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
_PART = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples, inputs [n, *shape] by name and labels [n, ...] as in a Dataset."""

    inputs: Mapping[str, Array]
    labels: Array | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def part(self, which: Array | slice) -> Batch:
        """The samples at these indices."""
        labels = None if self.labels is None else self.labels[which]
        return Batch({name: a[which] for name, a in self.inputs.items()}, labels)


class TrainingData(ABC):
    """Samples that an epoch goes through once. `source` is what the user gave."""

    source: str
    samples: int
    labelled: bool

    @abstractmethod
    def batches(self, size: int, order: np.random.Generator) -> Iterator[Batch]:
        """One epoch of batches of `size` samples; the last ones that fill none are left out,
        unless there is no full batch."""

    @abstractmethod
    def digest(self) -> str:
        """Of all samples and labels."""

    @abstractmethod
    def some(self, count: int) -> Batch:
        """The first samples, at most `count`."""

    def steps(self, size: int) -> int:
        """Batches of an epoch."""
        return max(1, self.samples // size)


class ArrayData(TrainingData):
    """Samples in memory, in a new order each epoch."""

    def __init__(self, data: Dataset, source: str) -> None:
        self._all = Batch(data.inputs, data.labels)
        self.source, self.samples, self.labelled = source, len(data), data.labels is not None

    def batches(self, size: int, order: np.random.Generator) -> Iterator[Batch]:
        shuffled = order.permutation(self.samples)
        for step in range(self.steps(size)):
            yield self._all.part(shuffled[step * size : (step + 1) * size])

    def split(self, fraction: float, seed: int) -> tuple[ArrayData, Batch]:
        """A random part of the samples, at least one, apart from the others."""
        count = min(self.samples - 1, max(1, round(fraction * self.samples)))
        which = np.random.default_rng([seed, 1 << 20]).permutation(self.samples)
        rest, apart = self._all.part(np.sort(which[count:])), self._all.part(which[:count])
        return ArrayData(Dataset(rest.inputs, rest.labels), self.source), apart

    def digest(self) -> str:
        return _digest([self._all])

    def some(self, count: int) -> Batch:
        return self._all.part(slice(0, count))


class HookData(TrainingData):
    """The batches of a function, in its order, cut to the size that is asked for.

    It is called for each epoch, and once before: to count, and to check every batch. A batch is an
    array of samples, a pair of it and labels; with several inputs a mapping takes the array's place.
    """

    def __init__(self, hook: Callable[[], Iterable[object]], source: str, graph: Graph) -> None:
        self._hook, self.source, self._graph = hook, source, graph
        self._first: Batch | None = None
        self._hash = hashlib.sha256()
        self.samples = 0
        labels = set()
        for batch in self._read():
            self._first = self._first or batch.part(slice(0, _PART))
            self.samples += len(batch)
            labels.add(batch.labels is not None)
            self._hash.update(_digest([batch]).encode())
        if self._first is None:
            raise TinyccError("the function yields no batch", source)
        if len(labels) > 1:
            raise TinyccError("some batches have labels, others have none", source)
        (self.labelled,) = labels

    def batches(self, size: int, order: np.random.Generator) -> Iterator[Batch]:
        del order
        left = self.steps(size)
        for batch in _resized(self._read(), size, whole=self.samples >= size):
            if left == 0:
                return
            yield batch
            left -= 1

    def digest(self) -> str:
        return self._hash.hexdigest()

    def some(self, count: int) -> Batch:
        assert self._first is not None
        return self._first.part(slice(0, count))

    def _read(self) -> Iterator[Batch]:
        for index, given in enumerate(self._hook()):
            yield self._batch(given, f"{self.source}, batch {index}")

    def _batch(self, given: object, where: str) -> Batch:
        samples, labels = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
        named = samples if isinstance(samples, Mapping) else None
        if named is None and len(self._graph.inputs) > 1:
            hint = "yield ({name: array, ...}, labels)"
            raise TinyccError("the model has several inputs", where, hint)
        inputs = {}
        for v in self._graph.inputs:
            array = samples if named is None else named.get(v.name)
            if array is None:
                raise TinyccError(f"there is no array for the input {v}", where)
            inputs[v.name], _ = fit_samples(np.asarray(array), v.type, where)
        batch = Batch(inputs, None if labels is None else np.asarray(labels))
        counts = {len(a) for a in batch.inputs.values()}
        if len(counts | ({len(batch.labels)} if batch.labels is not None else set())) > 1:
            raise TinyccError("different numbers of samples and labels", where)
        return batch


def _resized(batches: Iterable[Batch], size: int, *, whole: bool) -> Iterator[Batch]:
    """The same samples in batches of `size`; a smaller rest is dropped if batches must be whole."""
    held: list[Batch] = []
    for batch in batches:
        held.append(batch)
        while sum(map(len, held)) >= size:
            joined = _joined(held)
            yield joined.part(slice(0, size))
            held = [joined.part(slice(size, None))]
    if not whole and held and len(_joined(held)):
        yield _joined(held)


def _joined(batches: list[Batch]) -> Batch:
    names = batches[0].inputs
    inputs = {n: np.concatenate([b.inputs[n] for b in batches]) for n in names}
    labels = [b.labels for b in batches if b.labels is not None]
    return Batch(inputs, np.concatenate(labels) if labels else None)


def _digest(batches: Iterable[Batch]) -> str:
    digest = hashlib.sha256()
    for batch in batches:
        labels = {} if batch.labels is None else {"labels": batch.labels}
        for name, a in {**batch.inputs, **labels}.items():
            digest.update(f"{name} {a.dtype.str}{a.shape}".encode())
            digest.update(np.ascontiguousarray(a).tobytes())
    return digest.hexdigest()


def is_hook(text: str) -> bool:
    """Whether a text of --train is MODULE:FUNCTION."""
    return _HOOK.fullmatch(text) is not None


def load_training(text: str, graph: Graph) -> TrainingData:
    """The data of `FILE.npz[:ARRAY[,LABELS]]` or `MODULE:FUNCTION`, checked against the graph's
    inputs; TinyccError says what is wrong with it. Modules are found in the current folder too."""
    if (found := _HOOK.fullmatch(text)) is None:
        spec = DataSpec.parse(text)
        return ArrayData(load_data(spec, graph), spec.base_name)
    name, function = found[1], found[2]
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(name)
    except ImportError as e:
        hint = "a module of the current folder or an installed one"
        raise TinyccError(f"can't import the module '{name}': {e}", text, hint) from None
    finally:
        with suppress(ValueError):
            sys.path.remove(str(Path.cwd()))
    hook = getattr(module, function, None)
    if not callable(hook):
        raise TinyccError(f"the module '{name}' has no function '{function}'", text)
    return HookData(hook, text, graph)
