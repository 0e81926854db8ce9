"""Run a network where the user wants: interpreter, host C, emulated core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinycc_nn.accuracy import real_outputs, stored_inputs
from tinycc_nn.backend import load_backend
from tinycc_nn.data import load_data
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.driver import backend_options, optimize, pass_context
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import Array
from tinycc_nn.measure import run_samples
from tinycc_nn.passmanager import run_pipeline
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run
from tinycc_nn.request import Request
from tinycc_nn.source import NetworkSource
from tinycc_nn.summary import interface_graph, read_output
from tinycc_nn.target import Target
from tinycc_nn.toolchain import find_toolchain
from tinycc_nn.training.data import load_training

Place = Literal["host", "device"]


@dataclass(frozen=True)
class Executable:
    """`run` takes and gives stored arrays [samples, *shape], inputs by name; `interface` has the
    inputs and outputs."""

    interface: Graph
    run: Callable[[Mapping[str, Array]], list[Array]]

    def real(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Outputs as real numbers, float32 [samples, *shape], for samples as they are loaded."""
        return real_outputs(self.interface, self.run(stored_inputs(self.interface, inputs)))


def interpreted(request: Request) -> Executable:
    """The model in the interpreter, as given, or after the passes of the request's pipeline."""
    passes = parse_pipeline(request.pipeline or "")
    graph = request.model.graph(request.input_dims)
    if passes:
        data = load_data(request.calib, graph) if request.calib else None
        training = load_training(request.train, graph) if request.train else None
        graph = run_pipeline(graph, passes, pass_context(request, data, training))
    return Executable(graph, lambda inputs: run(graph, inputs))


def compiled(request: Request, place: Place) -> Executable:
    """The model's C on the host or on the emulated core of the request's target."""
    _, graph = optimize(request)
    options = backend_options(request)
    source = load_backend(request.backend).compile(graph, request.target, options).source
    return _on(place, source, graph, request.target, request.level, request.toolchain)


def from_directory(directory: Path, place: Place, target: Target | None = None) -> Executable:
    """What `compile -o directory` wrote; on its own target by default."""
    source, report = read_output(directory)
    where = target or Target.load(report.target)
    return _on(place, source, interface_graph(report), where, report.level, None)


def _on(
    place: Place,
    source: NetworkSource,
    graph: Graph,
    target: Target,
    level: str,
    toolchain: str | None,
) -> Executable:
    runner: Device | HostLibrary
    if place == "host":
        runner = HostLibrary(source)
    else:
        runner = Device(source, target, toolchain=find_toolchain(toolchain), level=f"-{level}")
    return Executable(graph, lambda inputs: run_samples(runner, graph, inputs))
