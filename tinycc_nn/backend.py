"""What a backend is: it turns a verified graph into C files for a target."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from tinycc_nn.cost import Costs
from tinycc_nn.diagnostics import TinyccError, nearest
from tinycc_nn.ir.graph import Graph
from tinycc_nn.memory import MemoryPlan
from tinycc_nn.source import NetworkSource
from tinycc_nn.target import Target

LEVELS = ("O0", "O1", "O2", "O3", "Os")


@dataclass(frozen=True)
class BackendOptions:
    """
    name:    the network's name, prefix of every C symbol; a C identifier.
    level:   one of LEVELS: Os takes the smallest kernels, the others the fastest.
    kernels: layer name to kernel name, for layers whose kernel is forced.
    banner:  text of the first comment of each file.
    max_flash, max_ram: bytes that kernels are chosen to fit; None is no bound. They are judged
             by estimates: whether the network fits in truth is known when it is built.
    toolchain: "gcc" or "zig", what tuning builds with; None for the first that is found.
    compiler: the C compiler with its major version ("gcc-12") whose measurements are looked for.
    records: the folder with the user's own measurements; None for only those that ship.
    """

    name: str
    level: str = "O2"
    kernels: Mapping[str, str] = field(default_factory=dict[str, str])
    banner: str = ""
    max_flash: int | None = None
    max_ram: int | None = None
    toolchain: str | None = None
    compiler: str = ""
    records: Path | None = None


@dataclass(frozen=True)
class Layer:
    """One call in NAME_run. Bytes of constants are those that no earlier layer has brought.

    `basis` is what the kernel was chosen by: "tuned" (its cycles were measured), "near" (those of
    a similar layer were) or "estimated"; `expected_cycles` are those cycles.
    """

    name: str
    op: str
    kernel: str
    symbol: str
    macs: int
    constant_bytes: int
    scratch_bytes: int
    alternatives: tuple[str, ...]
    """Kernels that could have been taken instead."""
    basis: str = "estimated"
    expected_cycles: float = 0.0
    step: int = 0
    """Of the memory plan, in which the call is."""


@dataclass(frozen=True)
class Artifact:
    """Generated C, what was chosen for each layer, and where its tensors lie."""

    source: NetworkSource
    layers: tuple[Layer, ...]
    plan: MemoryPlan


@dataclass(frozen=True)
class Effort:
    """How long tuning may take: seconds (None: until all is measured), worker processes."""

    seconds: float | None = None
    workers: int = 1


@dataclass(frozen=True)
class TuningStep:
    """`done` of `total` measurements: the last one's layer and kernel, its cycles and
    instructions; None and the reason if it failed."""

    done: int
    total: int
    layer: str
    kernel: str
    cycles: int | None
    instructions: int | None
    failure: str = ""

    def __str__(self) -> str:
        found = self.failure if self.cycles is None else f"{self.cycles:,} cycles"
        return f"{self.done}/{self.total} {self.layer}, {self.kernel}: {found}"


@dataclass(frozen=True)
class Tuned:
    """Kernels measured now, those whose measurement was there, those that the time did not
    suffice for, and what failed."""

    measured: int
    known: int
    left: int
    failures: tuple[str, ...] = ()


Observe = Callable[[TuningStep], None]


def unobserved(step: TuningStep) -> None:
    """Nobody looks."""


class Backend(Protocol):
    def compile(self, graph: Graph, target: Target, options: BackendOptions) -> Artifact:
        """Generate C. TinyccError names every op that no kernel of the target takes."""

    def costs(
        self, target: Target, options: BackendOptions, observe: Observe = unobserved
    ) -> Costs:
        """What layers cost when compiled so. Nothing is read or built before it is asked;
        `observe` sees each measurement. Kernels forced for layers of another graph don't count."""


@runtime_checkable
class Tunable(Protocol):
    """A backend that measures its kernels on the emulated core, so that it chooses better."""

    def tune(
        self,
        graph: Graph,
        target: Target,
        options: BackendOptions,
        effort: Effort,
        observe: Observe,
    ) -> Tuned:
        """Measure what is not known yet, and add it to `options.records`, one by one: it may be
        stopped at any moment and goes on where it was. TinyccError if the core can't be emulated
        or there is no compiler."""


def backend_names() -> list[str]:
    """The names of all backends, from their folders."""
    import tinycc_nn.backends

    found = pkgutil.iter_modules(tinycc_nn.backends.__path__)
    return sorted(m.name for m in found if m.ispkg)


def load_backend(name: str) -> Backend:
    """The backend in `backends/<name>`, its `BACKEND`; TinyccError if there is none."""
    if name not in (known := backend_names()):
        raise TinyccError(f"unknown backend '{name}'", hint=nearest(name, known))
    backend: Backend = importlib.import_module(f"tinycc_nn.backends.{name}").BACKEND
    return backend
