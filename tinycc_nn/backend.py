"""What a backend is: it turns a verified graph into C files for a target."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

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
    """

    name: str
    level: str = "O2"
    kernels: Mapping[str, str] = field(default_factory=dict[str, str])
    banner: str = ""


@dataclass(frozen=True)
class Layer:
    """One call in NAME_run. Bytes of constants are those that no earlier layer has brought."""

    name: str
    op: str
    kernel: str
    symbol: str
    macs: int
    constant_bytes: int
    scratch_bytes: int
    alternatives: tuple[str, ...]
    """Kernels that could have been taken instead."""


@dataclass(frozen=True)
class Artifact:
    """Generated C, what was chosen for each layer, and where its tensors lie."""

    source: NetworkSource
    layers: tuple[Layer, ...]
    plan: MemoryPlan


class Backend(Protocol):
    def compile(self, graph: Graph, target: Target, options: BackendOptions) -> Artifact:
        """Generate C. TinyccError names every op that no kernel of the target takes."""


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
