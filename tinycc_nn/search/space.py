"""The space of pipelines: the passes that a search tries, with the values their options declare."""

from __future__ import annotations

import dataclasses
import importlib.util
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinycc_nn.ir.graph import Graph
from tinycc_nn.ops import opdef
from tinycc_nn.options import OptionInfo, Setting, option_infos
from tinycc_nn.pipeline import Pass, Pipeline, load, pass_names
from tinycc_nn.search.settings import Problem

MAX_PASSES = 6
"""In a genome; the passes of the frame around it come on top."""

_TRIES = 40
_CHANGED = 0.4
"""How likely an option of a new pass is not left at its default."""

_BY_LAYER = 0.1
"""How likely an option of a new pass that goes by layer names one."""

Genome = Pipeline
"""The passes that a search chose, without the frame around them."""


@dataclass(frozen=True)
class Space:
    """
    kinds:  the passes that may occur, in the order of their names.
    layers: names of the layers with weights, for options that go by layer.
    """

    kinds: tuple[type[Pass], ...]
    layers: tuple[str, ...] = ()

    @staticmethod
    def of(graph: Graph, problem: Problem) -> Space:
        """What can be done to `graph` with the data of the problem."""
        kinds = tuple(k for k in map(load, pass_names()) if k.searched() and usable(k, problem))
        layers = [op.result.name for op in graph.ops if _has_weight(graph, op.result.name)]
        return Space(kinds, tuple(layers))

    def random_pass(self, rng: random.Random) -> Pass:
        """Any pass; each option that may vary keeps its default or takes any of its values."""
        while True:
            kind = rng.choice(self.kinds)
            for _ in range(_TRIES):
                settings = {
                    o.name: rng.choice(v)
                    for o in option_infos(kind)
                    if (v := values(o)) and rng.random() < _CHANGED
                }
                for o in option_infos(kind):
                    if o.by_layer and self.layers and rng.random() < _BY_LAYER:
                        settings[o.name] = (self._item(rng, o),)
                if (made := make(kind, settings)) is not None:
                    return made

    def random_genome(self, rng: random.Random) -> Genome:
        """One to four passes."""
        return tuple(self.random_pass(rng) for _ in range(rng.randint(1, 4)))

    def change_option(self, rng: random.Random, p: Pass) -> Pass:
        """The pass with another value of one option, and another one back at its default if only
        so the options go together. Itself if it has none that may vary."""
        infos = [o for o in option_infos(type(p)) if len(values(o)) > 1]
        if not infos:
            return p
        for _ in range(_TRIES):
            info = rng.choice(infos)
            now = getattr(p, info.name)
            settings = given(p) | {info.name: rng.choice([v for v in values(info) if v != now])}
            others = [name for name in given(p) if name != info.name]
            rng.shuffle(others)
            for left_out in [None, *others]:
                kept = {k: v for k, v in settings.items() if k != left_out}
                if (made := make(type(p), kept)) is not None and made != p:
                    return made
        return p

    def change_layer(self, rng: random.Random, p: Pass) -> Pass:
        """The pass with one layer more, less or other in one of its options that go by layer.
        Itself if it has none."""
        infos = [o for o in option_infos(type(p)) if o.by_layer]
        if not infos or not self.layers:
            return p
        info, layer = rng.choice(infos), rng.choice(self.layers)
        now: tuple[str, ...] = getattr(p, info.name)
        kept = tuple(item for item in now if item != layer and not item.startswith(f"{layer}:"))
        if kept == now or (info.choices and rng.random() < 0.5):
            kept = (*kept, self._item(rng, info, layer))
        return make(type(p), given(p) | {info.name: kept}) or p

    def _item(self, rng: random.Random, info: OptionInfo, layer: str = "") -> str:
        """Of an option that goes by layer: a layer, any if none is given, with any choice."""
        layer = layer or rng.choice(self.layers)
        return f"{layer}:{rng.choice(info.choices)}" if info.choices else layer


def usable(kind: type[Pass], problem: Problem) -> bool:
    """Whether the installation and the data have what a pass needs."""
    return lacks(kind, problem) is None


def lacks(kind: type[Pass], problem: Problem) -> tuple[str, str] | None:
    """What a pass needs that the installation or the data doesn't have, and what to do; or None."""
    if kind.needs_torch and importlib.util.find_spec("torch") is None:
        return "PyTorch", "pip install 'tinycc-nn[train]'"
    if (kind.needs_training or kind.reads_training) and not problem.train:
        # where nothing may be learned from, nothing is trained
        return "training data", "give some with --train"
    if kind.needs_calibration and not problem.calib:
        return "calibration data", "give some with --calib"
    return None


def values(info: OptionInfo) -> tuple[Setting, ...]:
    """The values that a search tries, the default among them; none where it leaves the default."""
    if info.by_layer or info.in_search is not None:
        return ()
    if info.type == "true|false":
        return False, True
    return tuple(dict.fromkeys((info.default, *info.choices))) if info.choices else ()


def given(p: Pass) -> dict[str, Any]:
    """The options that are not at their default."""
    fields = dataclasses.fields(p)
    return {f.name: v for f in fields if (v := getattr(p, f.name)) != f.default}


def make(kind: type[Pass], settings: dict[str, Any]) -> Pass | None:
    """The pass with these options; None if they don't go together."""
    try:
        return settled(kind(**settings))
    except ValueError:
        return None


def settled(p: Pass) -> Pass:
    """The pass as a search applies it: with what options declare for searches where they are at
    their default."""
    changed = {
        o.name: o.in_search
        for o in option_infos(type(p))
        if o.in_search is not None and getattr(p, o.name) == o.default
    }
    return dataclasses.replace(p, **changed) if changed else p


def shortened(p: Pass) -> Pass:
    """The pass, going no further in its lengthy options than a search would try."""
    most = {o.name: max(values(o)) for o in option_infos(type(p)) if o.lengthy}
    changed = {name: limit for name, limit in most.items() if getattr(p, name) > limit}
    return dataclasses.replace(p, **changed) if changed else p


def _has_weight(graph: Graph, name: str) -> bool:
    op = next(op for op in graph.ops if op.result.name == name)
    operands: Sequence[object] = op.operands
    return len(operands) > 1 and opdef(op.name).role(1) == "weight"
