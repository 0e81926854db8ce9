"""What is known of one pipeline: how good the network is, what it costs, and how that was found."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Literal

from tinycc_nn.report import Report

Stage = Literal["predicted", "judged", "measured"]
"""How far an evaluation went: costs are predicted and accuracy is known on a part of the data; on
all data that the search may see; the C was run on the emulated core."""

STAGES: tuple[Stage, ...] = ("predicted", "judged", "measured")


@dataclass(frozen=True, slots=True)
class Metrics:
    """
    None is what was not evaluated.

    output_error: mean squared difference to the float outputs on calibration data, in units of
                  their variance.
    accuracy_part, accuracy: on some, and on all, of the evaluation data that the search may see.
    held_out:     on the evaluation data that the search never chooses by; of reported networks.
    predicted_*:  what ranks candidates. Flash is in bytes of a minimal application, RAM in bytes
                  of arena, buffers of inputs and outputs, and stack.
    cycles, flash_bytes, ram_bytes, latency_ms, energy_uj: of the C on the emulated core. RAM is
                  with the stack; milliseconds and microjoules of one inference.

    Accuracies are in the metric of the problem: a fraction for "top1", for "mse" the error.
    """

    output_error: float | None = None
    accuracy_part: float | None = None
    accuracy: float | None = None
    held_out: float | None = None
    predicted_cycles: float | None = None
    predicted_flash: float | None = None
    predicted_ram: float | None = None
    cycles: int | None = None
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    latency_ms: float | None = None
    energy_uj: float | None = None

    def to_json(self) -> str:
        found = dataclasses.asdict(self)
        return json.dumps({k: v for k, v in found.items() if v is not None})

    @staticmethod
    def from_json(text: str) -> Metrics:
        return Metrics(**json.loads(text))

    def seen_at(self, stage: Stage) -> Metrics:
        """Without what only later stages know."""
        if stage == "measured":
            return self
        return Metrics(
            self.output_error,
            self.accuracy_part,
            self.accuracy if stage == "judged" else None,
            predicted_cycles=self.predicted_cycles,
            predicted_flash=self.predicted_flash,
            predicted_ram=self.predicted_ram,
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """
    pipeline: its canonical text.
    network:  digest of the graph that it ends in; "" where there is none.
    error:    why the last stage failed, or "".
    seconds:  that the evaluation took; of all stages together.
    report:   of the compilation, where the C was run: layers, memory, kernels.
    version:  of tinycc-nn that evaluated.
    id:       in the store; 0 where it isn't in one.
    """

    pipeline: str
    stage: Stage
    network: str = ""
    metrics: Metrics = field(default_factory=Metrics)
    error: str = ""
    seconds: float = 0.0
    report: Report | None = None
    version: str = ""
    id: int = 0

    def reached(self, stage: Stage) -> bool:
        """Whether this stage is known, or an earlier one has failed."""
        return bool(self.error) or STAGES.index(self.stage) >= STAGES.index(stage)

    def seen_at(self, stage: Stage) -> Evaluation:
        """As a search knows it that has asked for no more than `stage`: what others, or the same
        search later on, have found out does not change its way."""
        if STAGES.index(self.stage) <= STAGES.index(stage):
            return self
        known = self.metrics.seen_at(stage)
        return dataclasses.replace(self, stage=stage, metrics=known, error="", report=None)


@dataclass(frozen=True, slots=True)
class Trial:
    """The evaluation that a search asked for at `position` (from 0), in `generation` (0: the
    first population)."""

    position: int
    generation: int
    evaluation: Evaluation
