"""Build generated C, run it on the host and on the emulated core, hold it to the interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinycc_nn.accuracy import mismatches
from tinycc_nn.device import Device, HostLibrary, Profile
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.emulator import EMULATED, EmulatorError
from tinycc_nn.exits import exits, taken
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import Array
from tinycc_nn.reference import run
from tinycc_nn.report import BitExact
from tinycc_nn.source import NetworkSource
from tinycc_nn.target import Target
from tinycc_nn.toolchain import Program, find_toolchain


class MiscompiledError(Exception):
    """Generated C does not compute what the interpreter does: a bug of the compiler."""


PROFILED = 4
"""Samples whose cycles are measured, of those that end at the same place."""


@dataclass(frozen=True)
class Dynamic:
    """
    cycles_mean: of an inference: of up to PROFILED samples for each exit, weighted by `exit_rates`.
    exit_rates:  the share of all samples that ends at each `exit_if`, and at the end of the network:
                 (1.0,) where cycles depend on skipped zeros alone.
    """

    cycles_mean: float
    exit_rates: tuple[float, ...]


@dataclass(frozen=True)
class Measurement:
    """
    program: the minimal application for the core, with its sizes.
    profile: of one inference on the first sample, in the worst case where cycles depend on the
             data; None for a core without a model of its cycles.
    dynamic: what inferences take on average, where cycles depend on the data.
    host:    the same C as a library of this machine.
    note:    why something was not measured, or "".
    """

    program: Program
    host: HostLibrary
    bit_exact: BitExact
    profile: Profile | None = None
    note: str = ""
    dynamic: Dynamic | None = None


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
    ends = taken(graph, samples)
    some = _some(samples, ends, compared)
    wanted = run(graph, some)
    bad = mismatches(wanted, run_samples(host, graph, some))
    profile, dynamic, note = None, None, ""
    if target.cpu in EMULATED:
        worst = device
        if source.worst_case:
            worst = Device(
                source,
                target,
                toolchain=find_toolchain(toolchain),
                level=f"-{level}",
                flags=source.worst_case_flags,
            )
            dynamic = _dynamic(device, graph, samples, ends)
        profile = worst.profile([some[v.name][0] for v in graph.inputs])
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
    return Measurement(device.program, host, BitExact(on_core, len(bad), 0), profile, note, dynamic)


def _some(samples: Mapping[str, Array], ends: Array, count: int) -> dict[str, Array]:
    """The first samples, and one of each place where inferences end if there is none among them."""
    first = np.arange(min(count, len(ends)))
    others = [np.flatnonzero(ends == e)[0] for e in np.unique(ends) if e not in ends[first]]
    chosen = np.concatenate([first, np.array(others, np.int64)])
    return {name: a[chosen] for name, a in samples.items()}


def _dynamic(device: Device, graph: Graph, samples: Mapping[str, Array], ends: Array) -> Dynamic:
    rates = [float((ends == e).mean()) for e in range(len(exits(graph)) + 1)]
    mean = 0.0
    for end, rate in enumerate(rates):
        chosen = np.flatnonzero(ends == end)[:PROFILED]
        each = [device.cycles([samples[v.name][i] for v in graph.inputs]) for i in chosen]
        mean += rate * float(np.mean(each)) if each else 0.0
    return Dynamic(mean, tuple(rates))


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
