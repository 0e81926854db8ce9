"""How long does it take to tune a network from nothing, and what does that gain?

Measures every kernel of every layer of ResNet-8 (with --data; otherwise of the example network) on a
Cortex-M4 in two worker processes, without the records that ship, and compares the expected cycles
of what is taken without records and with them. Writes results/tuning.md and fails above 15 minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from networks import HERE, networks

from tinycc_nn.backend import Artifact, Effort, TuningStep, load_backend
from tinycc_nn.backends.tvm.tuning import database
from tinycc_nn.data import DataSpec
from tinycc_nn.device import Device
from tinycc_nn.driver import backend_options, optimize, tune_kernels
from tinycc_nn.ir.graph import Graph
from tinycc_nn.models import Model
from tinycc_nn.passmanager import made_up_samples
from tinycc_nn.request import Request
from tinycc_nn.target import Target

MINUTES = 15
WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with models/ and data/")
    given = parser.parse_args()
    name = "digits" if given.data is None else "ic"
    (network,) = (n for n in networks(given.data) if n.name == name)
    calib = DataSpec.parse(network.calib) if network.calib else None
    model, target = Model.read(str(network.model)), Target.for_cpu("cortex-m4")
    with tempfile.TemporaryDirectory() as folder:
        empty, records = Path(folder) / "shipped", Path(folder) / "records"
        request = Request(model, "net", target, "O3", calib=calib, records=records)
        graph = optimize(request)[1]
        with patch.object(database, "SHIPPED", empty):
            before = cycles(request, graph)
            start = time.monotonic()
            tuned = tune_kernels(request, graph, Effort(None, WORKERS), show)
            seconds = time.monotonic() - start
            after = cycles(request, graph)
    if tuned.failures or tuned.left or tuned.known:
        sys.exit(f"not all was measured, or not from nothing: {tuned}")
    lines = [
        "| network | kernels measured | seconds | cycles by estimates | cycles when tuned |",
        "|---|---|---|---|---|",
        f"| {name} | {tuned.measured} | {seconds:.0f} | {before:,} | {after:,} |",
    ]
    print("\n".join(lines))
    if given.data is not None:
        (HERE / "results" / "tuning.md").write_text("\n".join(lines) + "\n")
    if seconds > 60 * MINUTES:
        sys.exit(f"tuning took {seconds / 60:.1f} minutes")


def show(step: TuningStep) -> None:
    """Every fiftieth step."""
    if step.done % 50 == 0:
        print(f"  {step.done} of {step.total}", flush=True)


def cycles(request: Request, graph: Graph) -> int:
    """Of the network on the emulated core, -O3 without limits."""
    backend = load_backend(request.backend)
    unlimited = replace(backend_options(request), max_flash=None, max_ram=None)
    artifact: Artifact = backend.compile(graph, request.target, unlimited)
    device = Device(artifact.source, request.target, level="-O3")
    inputs = made_up_samples(graph)
    layers = device.profile([inputs[v.name][0] for v in graph.inputs]).layers
    return sum(layer.cycles for layer in layers)


if __name__ == "__main__":
    main()
