"""From what was compiled and measured to its report, and from a report to what it describes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tinycc_nn
from tinycc_nn.backend import Artifact
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import DType, Quant, TensorType
from tinycc_nn.measure import Measurement
from tinycc_nn.memory import live_bytes
from tinycc_nn.report import (
    Accuracy,
    DataReport,
    Interface,
    LayerReport,
    Metrics,
    PortReport,
    Report,
)
from tinycc_nn.request import Request
from tinycc_nn.source import NetworkSource, Port
from tinycc_nn.training.watch import Curve


def describe(
    request: Request,
    graph: Graph,
    artifact: Artifact,
    measurement: Measurement | None,
    *,
    pipeline: str,
    accuracy: Accuracy | None,
    notes: tuple[str, ...],
    data: tuple[DataReport, ...],
    curves: tuple[Curve, ...],
) -> Report:
    """The report of a compilation of `graph`, the last one before the backend."""
    m = measurement
    values = [*graph.inputs, *(r for op in graph.ops for r in op.results)]
    return Report(
        name=request.name,
        model=request.model.path.name if request.model.path else "-",
        target=request.target.name,
        level=request.level,
        dtype="int8" if any(v.type.quant for v in values) else "float32",
        pipeline=pipeline,
        command=request.command,
        version=tinycc_nn.__version__,
        toolchain=m.program.toolchain if m else "",
        metrics=_metrics(request, artifact, m),
        interface=Interface(
            tuple(_port(v) for v in graph.inputs),
            tuple(_port(v) for v in graph.outputs),
            artifact.source.arena_bytes,
            artifact.source.arena_align,
        ),
        layers=_layers(artifact, m),
        accuracy=accuracy,
        bit_exact=m.bit_exact if m else None,
        notes=(*notes, *((m.note,) if m and m.note else ())),
        data=data,
        curves=curves,
    )


def _metrics(request: Request, artifact: Artifact, m: Measurement | None) -> Metrics:
    profile, dynamic = (m.profile, m.dynamic) if m else (None, None)
    cycles = profile.cycles if profile else None
    target = request.target
    return Metrics(
        arena_bytes=artifact.source.arena_bytes,
        arena_bound_bytes=artifact.plan.bound,
        macs=sum(layer.macs for layer in artifact.layers),
        flash_bytes=m.program.flash_bytes if m else None,
        ram_bytes=m.program.ram_bytes if m else None,
        stack_bytes=profile.stack_bytes if profile else None,
        instructions=profile.instructions if profile else None,
        cycles=cycles,
        latency_ms=target.latency_ms(cycles) if cycles is not None else None,
        energy_uj=target.energy_uj(cycles) if cycles is not None else None,
        cycles_basis=f"measured on emulator, {profile.basis}" if profile else "not measured",
        cycles_mean=round(dynamic.cycles_mean, 1) if dynamic else None,
        exit_rates=dynamic.exit_rates if dynamic else (),
    )


def _layers(artifact: Artifact, m: Measurement | None) -> tuple[LayerReport, ...]:
    costs = m.profile.layers if m and m.profile else ()
    code = m.program.flash_by_symbol() if m else {}
    live = live_bytes(artifact.plan.buffers)
    found, seen = [], set[str]()
    for i, layer in enumerate(artifact.layers):
        flash = None
        if m is not None:
            flash = layer.constant_bytes + (
                0 if layer.symbol in seen else code.get(layer.symbol, 0)
            )
        seen.add(layer.symbol)
        found.append(
            LayerReport(
                name=layer.name,
                op=layer.op,
                kernel=layer.kernel,
                macs=layer.macs,
                symbol=layer.symbol,
                constant_bytes=layer.constant_bytes,
                arena_bytes=live[layer.step] if layer.step < len(live) else 0,
                instructions=costs[i].instructions if costs else None,
                cycles=costs[i].cycles if costs else None,
                flash_bytes=flash,
                alternatives=layer.alternatives,
                basis=layer.basis,
            )
        )
    return tuple(found)


def _port(v: Value) -> PortReport:
    t, q = v.type, v.type.quant
    scale = q.scale if q is not None and isinstance(q.scale, float) else None
    return PortReport(v.name, str(t.dtype.numpy), t.shape, scale, q.zero if q else 0)


def interface_graph(report: Report) -> Graph:
    """A graph with the inputs and outputs of a report and nothing in between."""
    graph = Graph(report.name)
    graph.inputs = [_value(p) for p in report.interface.inputs]
    graph.outputs = [_value(p) for p in report.interface.outputs]
    return graph


def _value(p: PortReport) -> Value:
    quant = None if p.scale is None else Quant(p.scale, p.zero_point)
    dtype = DType.of(np.zeros(0, p.dtype))
    return Value(TensorType(dtype, p.shape, quant), p.name)


def read_output(directory: Path) -> tuple[NetworkSource, Report]:
    """What `compile -o directory` wrote; TinyccError if it isn't such a directory."""
    path = directory / "report.json"
    try:
        report = Report.from_json(path.read_text("utf-8"), str(path))
        names = (f"{report.name}.h", f"{report.name}.c", f"{report.name}_data.c")
        files = {n: (directory / n).read_text("utf-8") for n in names}
    except (OSError, UnicodeDecodeError) as e:
        message = f"not an output of tinycc-nn compile: {e}"
        raise TinyccError(message, str(directory)) from None
    graph = interface_graph(report)
    source = NetworkSource(
        report.name,
        files,
        tuple(_source_port(v) for v in graph.inputs),
        tuple(_source_port(v) for v in graph.outputs),
        report.interface.arena_bytes,
        report.interface.arena_align,
        tuple(layer.symbol for layer in report.layers),
    )
    return source, report


def _source_port(v: Value) -> Port:
    return Port(v.name, str(v.type.dtype.numpy), v.type.size)
