"""What is known of a compiled network, for programs: `report.json`, schema `tinycc-nn-report/1`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.training.watch import Curve, CurvePoint

T = TypeVar("T")

Real = float
"""For a record that has a field named `float`."""

SCHEMA = "tinycc-nn-report/1"


@dataclass(frozen=True, slots=True)
class Metrics:
    """
    Sizes are bytes of a minimal application: flash is text + rodata + data, RAM data + bss (the
    arena and the buffers of inputs and outputs), without the stack. None is what wasn't measured.

    arena_bytes:       of the arena; arena_bound_bytes: no plan of the same order needs less.
    macs:              multiply-accumulates of one inference, without those with zeros among the
                       weights that kernels skip.
    instructions, cycles: of one inference, `cycles_basis` says how they were found.
    latency_ms:        milliseconds at the target's clock; None for a core without a clock.
    energy_uj:         microjoules; None where the target doesn't state the energy of a cycle.

    Where these depend on the data they are those of the worst case: no early exit is taken, no zero
    skipped. There `cycles_mean` is the mean over the samples, and `exit_rates` are the shares
    (0..1) of them that end at each early exit, and at the end of the network.
    """

    arena_bytes: int
    arena_bound_bytes: int
    macs: int
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    stack_bytes: int | None = None
    instructions: int | None = None
    cycles: int | None = None
    latency_ms: float | None = None
    energy_uj: float | None = None
    cycles_basis: str = "not measured"
    cycles_mean: float | None = None
    exit_rates: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Accuracy:
    """`metric` is "top1" (a fraction, 0..1) or "mse" (mean squared error, in squared units of the
    output). `float` is the model as given, in the interpreter; None if that is quantized."""

    metric: str
    samples: int
    float: Real | None
    compiled: Real


@dataclass(frozen=True, slots=True)
class BitExact:
    """Samples on which generated C was compared with the interpreter, and those that differed:
    integers in any bit, floats by more than 1e-4 of the largest magnitude.

    `samples` ran on the emulated core and on the host, `host_samples` at least on the host.
    """

    samples: int
    host_samples: int
    mismatches: int


@dataclass(frozen=True, slots=True)
class PortReport:
    """An input or output of NAME_run: numpy's name of the element type, shape without samples,
    real = scale * (stored - zero_point); scale None for floats."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int = 0


@dataclass(frozen=True, slots=True)
class Interface:
    """How NAME_run is called: what `tinycc-nn run DIR` needs to know. Arena sizes in bytes."""

    inputs: tuple[PortReport, ...]
    outputs: tuple[PortReport, ...]
    arena_bytes: int
    arena_align: int


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One call in NAME_run. None is what wasn't measured.

    constant_bytes: weights, biases, tables, each array counted at its first user.
    flash_bytes:    those and the code, which is counted at its first user as well.
    arena_bytes:    of the arena, live while the layer runs.
    basis:          what the kernel was chosen by: "tuned" is its measured cycles, "near" those on
                    a similar layer, "estimated" a formula.
    """

    name: str
    op: str
    kernel: str
    macs: int
    symbol: str
    constant_bytes: int
    arena_bytes: int
    instructions: int | None = None
    cycles: int | None = None
    flash_bytes: int | None = None
    alternatives: tuple[str, ...] = ()
    basis: str = "estimated"


@dataclass(frozen=True, slots=True)
class DataReport:
    """Samples that were looked at: `use` is calibration, training or evaluation, `source` the file
    and arrays, or the function, that they are from."""

    use: str
    source: str
    samples: int
    labelled: bool


@dataclass(frozen=True, slots=True)
class Report:
    """All of `report.json`. `target` is a name of `tinycc-nn targets`, `level` as in `-O2`.
    `curves` are those of the passes that trained, in their order; NAME_training.svg shows them."""

    name: str
    model: str
    target: str
    level: str
    dtype: str
    pipeline: str
    command: str
    version: str
    toolchain: str
    metrics: Metrics
    interface: Interface
    layers: tuple[LayerReport, ...] = ()
    accuracy: Accuracy | None = None
    bit_exact: BitExact | None = None
    notes: tuple[str, ...] = field(default=())
    data: tuple[DataReport, ...] = ()
    curves: tuple[Curve, ...] = ()

    def to_json(self) -> str:
        """The text of report.json; the same report gives the same bytes."""
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, indent=1) + "\n"

    @staticmethod
    def from_json(text: str, where: str = "report.json") -> Report:
        """The report of a text that `to_json` wrote; TinyccError for anything else."""
        try:
            data = json.loads(text)
            if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
                raise ValueError(f"its schema is not {SCHEMA}")
            return _report(data)
        except (ValueError, TypeError, KeyError) as e:
            hint = "tinycc-nn compile writes it"
            raise TinyccError(f"not a report of this version: {e}", where, hint) from None


def _report(data: Mapping[str, Any]) -> Report:
    interface = data["interface"]
    ports = {
        side: tuple(_record(PortReport, p) for p in interface[side])
        for side in ("inputs", "outputs")
    }
    return _record(
        Report,
        {
            **data,
            "metrics": _record(Metrics, data["metrics"]),
            "interface": _record(Interface, {**interface, **ports}),
            "layers": tuple(_record(LayerReport, d) for d in data["layers"]),
            "accuracy": _optional(Accuracy, data["accuracy"]),
            "bit_exact": _optional(BitExact, data["bit_exact"]),
            "data": tuple(_record(DataReport, d) for d in data["data"]),
            "curves": tuple(_curve(d) for d in data["curves"]),
        },
    )


def _curve(data: Mapping[str, Any]) -> Curve:
    return Curve(data["made_by"], tuple(_record(CurvePoint, p) for p in data["points"]))


def _record(cls: type[T], data: Mapping[str, Any]) -> T:
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return cls(**values)


def _optional(cls: type[T], data: Mapping[str, Any] | None) -> T | None:
    return None if data is None else _record(cls, data)
