"""What a search is asked for: the problem, which determines each evaluation, and the way to go."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Literal

from tinycc_nn.cachedir import content_key
from tinycc_nn.search.results import Stage

Method = Literal["genetic", "random", "optuna"]
OBJECTIVES = ("accuracy", "cycles", "flash", "ram", "energy")


@dataclass(frozen=True)
class Problem:
    """
    What an evaluation depends on beside its pipeline, as text and numbers.

    model:     the file; input_dims the sizes of its symbolic dimensions.
    target, level, backend, toolchain, max_flash, max_ram: as in a compilation's Request.
    calib, evaluation, train: data, as FILE.npz[:ARRAY[,LABELS]]; "" for none.
    held_out:  fraction of the evaluation data that the search does not choose by.
    part:      samples of the evaluation data on which a network is judged first.
    records:   the folder with the user's measurements of kernels.
    seed:      of the random numbers within passes that train.
    digests:   of the contents of model and data, the compiler's source, the C compiler.
    """

    model: str
    target: str
    level: str = "O2"
    calib: str = ""
    evaluation: str = ""
    train: str = ""
    held_out: float = 0.25
    part: int = 128
    records: str = ""
    max_flash: int | None = None
    max_ram: int | None = None
    backend: str = "tvm"
    toolchain: str | None = None
    input_dims: tuple[tuple[str, int], ...] = ()
    seed: int = 0
    digests: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """40 hex digits; without the places of files, whose contents count."""
        placeless = dataclasses.replace(
            self, model="", calib="", evaluation="", train="", records=""
        )
        return content_key([placeless.to_json()])

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> Problem:
        found = json.loads(text)
        for name in ("input_dims", "digests"):
            found[name] = tuple((str(k), v) for k, v in found[name])
        return Problem(**found)


@dataclass(frozen=True)
class Bounds:
    """The user's limits: bytes of flash and RAM, milliseconds, microjoules, and by how much the
    accuracy may be worse than the float model's (a fraction for top1, a factor - 1 for mse)."""

    flash: int | None = None
    ram: int | None = None
    latency_ms: float | None = None
    energy_uj: float | None = None
    accuracy_drop: float | None = None


@dataclass(frozen=True)
class Budget:
    """When a search ends: after so many evaluations, or so many seconds; None is no bound."""

    evaluations: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class SearchSettings:
    """
    What determines the way of a search through its problem.

    objectives: names out of OBJECTIVES that are made good at once.
    weights:    by objective, for a single sum instead of a front; empty for a front.
    deepest:    the last stage that networks come to; only "measured" gives results to report.
    starts:     pipelines in the first generation beside the recipes, whole or without the frame.
    baseline:   the accuracy of the model as given, on the evaluation data that the search may see;
                metric: "top1" or "mse".
    """

    method: Method = "genetic"
    seed: int = 0
    population: int = 32
    objectives: tuple[str, ...] = ("accuracy", "cycles", "flash", "ram")
    weights: tuple[tuple[str, float], ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    budget: Budget = field(default_factory=Budget)
    deepest: Stage = "measured"
    starts: tuple[str, ...] = ()
    metric: str = "top1"
    baseline: float | None = None

    @property
    def key(self) -> str:
        """Of all but the budget, so that a search may go on with a larger one."""
        return content_key([dataclasses.replace(self, budget=Budget()).to_json()])

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> SearchSettings:
        found = json.loads(text)
        found["objectives"] = tuple(found["objectives"])
        found["weights"] = tuple((str(k), v) for k, v in found["weights"])
        found["starts"] = tuple(found["starts"])
        found["bounds"] = Bounds(**found["bounds"])
        found["budget"] = Budget(**found["budget"])
        return SearchSettings(**found)
