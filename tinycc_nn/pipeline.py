"""
Passes, and pipelines of them as text: `fold-bn, prune-channels{ratio=0.3}`.

A pass is a frozen dataclass in `passes/`; its fields are its options. The pass
`prune-channels` is the class `PruneChannels` in `passes/prune_channels.py`: the
name is the registration.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import pkgutil
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

from tinycc_nn.blas import one_blas_thread
from tinycc_nn.cachedir import CacheDir
from tinycc_nn.cost import Costs
from tinycc_nn.diagnostics import TinyccError, Where, nearest
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import Array
from tinycc_nn.ops import verify
from tinycc_nn.options import option, show
from tinycc_nn.training.data import TrainingData
from tinycc_nn.training.watch import Watcher

__all__ = [
    "Context",
    "Pass",
    "Pipeline",
    "Stage",
    "check_torch",
    "load",
    "option",
    "pass_names",
    "print_pipeline",
]


@dataclass(frozen=True)
class Stage:
    """The network in front of the pass of that name."""

    before: str
    graph: Graph


@dataclass(frozen=True)
class Context:
    """What a pass may use beside the graph.

    calibration: float32 inputs [samples, *shape] by name, unlabelled; empty if none was given.
    training:    samples to train on, None if none were given.
    history:     the stages of the pipeline so far, the network as it was read first. Kept where a
                 pass reads it.
    watcher:     is told of trainings, and of what a pass has to say of its decisions.
    checkpoints: where trainings keep what they have reached; None for nowhere.
    costs:       what layers cost on the target; None if no target was given.
    """

    calibration: Mapping[str, Array] = dataclasses.field(default_factory=dict[str, Array])
    training: TrainingData | None = None
    history: tuple[Stage, ...] = ()
    watcher: Watcher = dataclasses.field(default_factory=Watcher)
    checkpoints: CacheDir | None = None
    costs: Costs | None = None

    def costs_for(self, asked_by: str) -> Costs:
        """The costs; TinyccError, naming the pass, if there is no target."""
        if self.costs is None:
            hint = "give one with -mcpu=CORE or --target NAME"
            raise TinyccError(f"the pass {asked_by} needs a target", hint=hint)
        return self.costs


@dataclass(frozen=True)
class Pass(ABC):
    """A rewrite of a valid graph into a valid graph. It owns the graph that it is given."""

    keeps_values: ClassVar[bool] = True
    """Whether the reference outputs stay the same: float up to rounding, int8 bit for bit."""

    needs_calibration: ClassVar[bool] = False
    reads_calibration: ClassVar[bool] = False
    """Whether it makes use of calibration data where there is some."""

    needs_training: ClassVar[bool] = False
    reads_training: ClassVar[bool] = False
    """Whether it makes use of training data where there is some."""

    reads_history: ClassVar[bool] = False
    needs_torch: ClassVar[bool] = False
    needs_costs: ClassVar[bool] = False
    """Whether it asks what layers cost on the target, whatever its options are."""

    in_search: ClassVar[bool | None] = None
    """Whether a search tries it in any place; by default what doesn't keep values."""

    @classmethod
    def searched(cls) -> bool:
        """Whether a search tries it in any place of a pipeline."""
        return not cls.keeps_values if cls.in_search is None else cls.in_search

    @classmethod
    def name(cls) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    @abstractmethod
    def apply(self, graph: Graph, context: Context) -> None:
        """Rewrite `graph` in place; TinyccError where the pass can't apply, saying why."""

    def __call__(self, graph: Graph, context: Context | None = None) -> Graph:
        """A new, verified graph; the argument is left as it was."""
        context = context or Context()
        if self.needs_calibration and not context.calibration:
            raise TinyccError(
                f"the pass {self.name()} needs calibration data", hint="give some with --calib"
            )
        if self.needs_training and context.training is None:
            raise TinyccError(
                f"the pass {self.name()} needs training data", hint="give some with --train"
            )
        if self.needs_torch:
            check_torch(self.name())
        if self.needs_costs:
            context.costs_for(self.name())
        if self.reads_history and not context.history:  # called alone: a pipeline of itself
            context = dataclasses.replace(context, history=(Stage(self.name(), graph),))
        out = graph.clone()
        # torch has a number of threads of its own, which the options of these passes give.
        with nullcontext() if self.needs_torch else one_blas_thread():
            self.apply(out, context)
        out.settle_names([v.name for v in graph.outputs])
        verify(out)
        return out

    def __str__(self) -> str:
        given = [
            f"{f.name}={show(v)}"
            for f in dataclasses.fields(self)
            if (v := getattr(self, f.name)) != f.default
        ]
        return self.name() + (f"{{{', '.join(given)}}}" if given else "")


def check_torch(asked_by: str) -> None:
    """TinyccError, naming the pass, if PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        hint = "pip install 'tinycc-nn[train]'"
        raise TinyccError(f"the pass {asked_by} needs PyTorch", hint=hint)


Pipeline = tuple[Pass, ...]


def print_pipeline(p: Pipeline) -> str:
    """The canonical text: options at their default are left out."""
    return ", ".join(map(str, p))


def pass_names() -> list[str]:
    """The names of all passes, from their files."""
    import tinycc_nn.passes

    found = pkgutil.iter_modules(tinycc_nn.passes.__path__)
    return sorted(m.name.replace("_", "-") for m in found if not m.name.startswith("_"))


def load(name: str, where: Where = None) -> type[Pass]:
    """The class of a pass; TinyccError if there is none of that name."""
    if name not in (known := pass_names()):
        raise TinyccError(f"unknown pass '{name}'", where, nearest(name, known))
    module = importlib.import_module(f"tinycc_nn.passes.{name.replace('-', '_')}")
    cls: type[Pass] = getattr(module, "".join(w.capitalize() for w in name.split("-")))
    assert cls.name() == name
    return cls
