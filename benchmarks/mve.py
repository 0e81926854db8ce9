"""What do the vectors of a Cortex-M55 (MVE) gain over scalar C?

Executed instructions of one inference in QEMU (-icount), GCC -O2: the generated files as they are,
the same files built without MVE (their plain loops), and the network compiled for the core without
MVE, with the kernels for the DSP extension. Writes results/mve.md; the bits are the interpreter's or
it fails.

Without --data: the example network. With it: the MLPerf Tiny networks of that folder.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from networks import HERE, Network, networks

from tinycc_nn.backend import load_backend
from tinycc_nn.data import DataSpec
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.driver import backend_options, optimize
from tinycc_nn.emulator.qemu import find_qemu, run_qemu
from tinycc_nn.models import Model
from tinycc_nn.passmanager import made_up_samples
from tinycc_nn.reference import run
from tinycc_nn.request import Request
from tinycc_nn.target import Target

M55 = Target.for_cpu("cortex-m55")
SCALAR = replace(M55, mve=False)


@dataclass(frozen=True)
class Row:
    """Instructions of one inference."""

    network: str
    mve: float
    same_without: float
    dsp: float


def measure(network: Network) -> Row:
    """All three of a network."""
    of_vectors = instructions(network, M55, M55)
    return Row(
        network.name,
        of_vectors,
        instructions(network, M55, SCALAR),
        instructions(network, SCALAR, SCALAR),
    )


def instructions(network: Network, compiled: Target, built: Target) -> float:
    """Compile for one target, build for another one, run a made-up sample."""
    calib = DataSpec.parse(network.calib) if network.calib else None
    request = Request(Model.read(str(network.model)), "net", compiled, "O2", calib=calib)
    graph = optimize(request)[1]
    options = backend_options(request)
    source = load_backend(request.backend).compile(graph, compiled, options).source
    inputs = made_up_samples(graph)
    sample = [inputs[v.name][0] for v in graph.inputs]
    (result,) = run_qemu(source, built, [sample])
    wanted = run(graph, {name: a[:1] for name, a in inputs.items()})
    for found, right in zip(result.outputs, wanted, strict=True):
        if not np.array_equal(found.reshape(right.shape), right):
            sys.exit(f"{network.name}: the bits on {built.name} are not the interpreter's")
    return result.instructions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with models/ and data/")
    given = parser.parse_args()
    try:
        find_qemu()
    except TinyccError as e:
        print(f"mve: nothing to measure: {e}")
        return
    lines = ["| network | with MVE | same files without MVE | x fewer | DSP kernels | x fewer |"]
    lines.append("|" + "---|" * 6)
    for network in networks(given.data):
        if network.calib is None or network.dtype == "float32":
            continue
        r = measure(network)
        lines.append(
            f"| {r.network} | {r.mve:,.0f} | {r.same_without:,.0f} | {r.same_without / r.mve:.2f} | "
            f"{r.dsp:,.0f} | {r.dsp / r.mve:.2f} |"
        )
        print(lines[-1], flush=True)
    if given.data is not None:
        (HERE / "results" / "mve.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
