"""Build one kernel, run it on the emulated core, hold it to the interpreter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tinycc_nn.accuracy import mismatches
from tinycc_nn.backends.tvm.kernel import candidates
from tinycc_nn.backends.tvm.tuning.one_layer import NAME, layer_of, network
from tinycc_nn.backends.tvm.tuning.version import family_version
from tinycc_nn.device import Device
from tinycc_nn.ir.graph import Graph
from tinycc_nn.passmanager import made_up_samples
from tinycc_nn.reference import run
from tinycc_nn.target import Target
from tinycc_nn.toolchain import Program, find_toolchain

SAMPLES = 2
"""Made up; the result is compared on all of them."""


@dataclass(frozen=True)
class Task:
    """
    graph:     of one layer.
    kernel:    index among the candidates of the layer on the target.
    version:   of the kernel's family, where the task was made.
    toolchain: "gcc", "zig", or None for the first that is found.
    level:     "O0" .. "O3", "Os".
    """

    graph: Graph
    kernel: int
    version: str
    target: Target
    toolchain: str | None
    level: str


@dataclass(frozen=True)
class Measured:
    """Executed instructions, cycles of the core's model, bytes of instructions of one kernel."""

    cycles: int
    instructions: int
    text: int


class WrongResultError(Exception):
    """A kernel's result differs from the interpreter's: a bug of the kernel."""


def measure_kernel(task: Task) -> Measured:
    """What one call of the kernel costs. Raises WrongResultError, and whatever the emitter, the
    compiler or the emulator raise."""
    kernel = candidates(layer_of(task.graph), task.target)[task.kernel]
    if family_version(kernel.family) != task.version:
        raise RuntimeError("the source of the kernels has changed meanwhile")
    source = network(task.graph, kernel).source
    inputs = {name: a[:SAMPLES] for name, a in made_up_samples(task.graph).items()}
    with TemporaryDirectory(prefix="tinycc-nn-") as folder:
        device = Device(
            source,
            task.target,
            toolchain=find_toolchain(task.toolchain),
            level=f"-{task.level}",
            directory=Path(folder),
        )
    samples = [[inputs[v.name][i] for v in task.graph.inputs] for i in range(SAMPLES)]
    profile = device.profile(samples[0])
    outputs = np.stack([flat for (flat,) in device.run_many(samples)])
    (wanted,) = run(task.graph, inputs)
    if mismatches([wanted], [outputs.reshape(wanted.shape)]).any():
        raise WrongResultError(f"{kernel.name} does not compute what the interpreter does")
    (layer,) = profile.layers
    return Measured(layer.cycles, layer.instructions, _text_bytes(device.program))


def _text_bytes(program: Program) -> int:
    """Of the functions of the network but NAME_run."""
    return sum(
        s.size
        for s in program.symbols
        if s.function and s.name.startswith(f"{NAME}_") and s.name != f"{NAME}_run"
    )
