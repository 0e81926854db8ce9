"""Build generated C, run it on the host and on the emulated core, hold it to the interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinycc_nn.accuracy import mismatches
from tinycc_nn.device import Device, HostLibrary, Profile
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.emulator import EMULATED, EmulatorError
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import Array
from tinycc_nn.reference import run
from tinycc_nn.report import BitExact
from tinycc_nn.source import NetworkSource
from tinycc_nn.target import Target
from tinycc_nn.toolchain import Program, find_toolchain


class MiscompiledError(Exception):
    """Generated C does not compute what the interpreter does: a bug of the compiler."""


@dataclass(frozen=True)
class Measurement:
    """
    program: the minimal application for the core, with its sizes.
    profile: of one inference on the first sample; None for a core without a model of its cycles.
    host:    the same C as a library of this machine.
    note:    why something was not measured, or "".
    """

    program: Program
    host: HostLibrary
    bit_exact: BitExact
    profile: Profile | None = None
    note: str = ""


def measure(
    source: NetworkSource,
    graph: Graph,
    target: Target,
    samples: Mapping[str, Array],
    *,
    level: str = "O2",
    toolchain: str | None = None,
    compared: int = 8,
) -> Measurement:
    """Build, profile, and compare host, core and interpreter on stored `samples` of `graph`.

    Raises TinyccError if there is no compiler, MiscompiledError where bits differ.
    """
    device = Device(source, target, toolchain=find_toolchain(toolchain), level=f"-{level}")
    host = HostLibrary(source)
    some = {name: a[:compared] for name, a in samples.items()}
    wanted = run(graph, some)
    bad = mismatches(wanted, run_samples(host, graph, some))
    profile, note = None, ""
    if target.cpu in EMULATED:
        profile = device.profile([some[v.name][0] for v in graph.inputs])
    else:
        note = f"cycles are not measured: there is no model of the {target.cpu}"
    try:
        bad |= mismatches(wanted, run_samples(device, graph, some))
        on_core = len(bad)
    except EmulatorError:
        raise
    except TinyccError as e:
        on_core = 0
        note = f"not run on the core: {e.message}"
    if bad.any():
        where = "host and core" if on_core else "the host"
        raise MiscompiledError(
            f"the C of {source.name} on {where} differs from the interpreter in "
            f"{int(bad.sum())} of {len(bad)} samples"
        )
    return Measurement(device.program, host, BitExact(on_core, len(bad), 0), profile, note)


def run_samples(
    runner: Device | HostLibrary, graph: Graph, inputs: Mapping[str, Array]
) -> list[Array]:
    """The outputs [samples, *shape] of `graph`'s C, for inputs [samples, *shape], all as stored."""
    arrays = [inputs[v.name] for v in graph.inputs]
    given = [[a[i] for a in arrays] for i in range(len(arrays[0]))]
    if isinstance(runner, Device):
        rows = runner.run_many(given)
    else:
        rows = [runner.run(sample) for sample in given]
    return [
        np.stack([row[k].reshape(v.type.shape) for row in rows])
        for k, v in enumerate(graph.outputs)
    ]
