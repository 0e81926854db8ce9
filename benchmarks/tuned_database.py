"""The measurements of kernels that ship with the package: made here, one command for all.

Tunes the example network, common layers, and with --data the MLPerf Tiny networks of that folder,
and writes backends/tvm/tuned/CORE.jsonl. What is there and still valid is kept, so that a run that
was stopped goes on, and a change of one family of kernels measures that family only.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from networks import networks
from rich.console import Console

from tinycc_nn.backend import Effort, TuningStep
from tinycc_nn.backends.tvm.kernel import families
from tinycc_nn.backends.tvm.tuning.database import SHIPPED
from tinycc_nn.backends.tvm.tuning.records import read_records, to_lines
from tinycc_nn.backends.tvm.tuning.version import family_version
from tinycc_nn.data import DataSpec
from tinycc_nn.driver import optimize, tune_kernels
from tinycc_nn.ir.graph import Attr, Graph
from tinycc_nn.ir.types import I8, Blob, Quant, TensorType
from tinycc_nn.models import Model
from tinycc_nn.ops import emit
from tinycc_nn.request import Request
from tinycc_nn.target import Target

# Input (height, width, channels), kernel, stride, output channels (0: depthwise).
CONVOLUTIONS = (
    ((48, 48, 3), 3, 2, 8), ((96, 96, 3), 3, 2, 16), ((32, 32, 1), 5, 1, 6),
    ((48, 48, 8), 3, 1, 0), ((24, 24, 32), 3, 2, 0), ((12, 12, 64), 3, 1, 0),
    ((6, 6, 128), 3, 1, 0), ((24, 24, 16), 1, 1, 32), ((12, 12, 64), 1, 1, 64),
    ((6, 6, 128), 1, 1, 128), ((3, 3, 256), 1, 1, 256), ((24, 24, 16), 3, 1, 16),
    ((12, 12, 32), 3, 1, 32), ((24, 24, 16), 3, 2, 32), ((32, 32, 3), 3, 2, 16),
    ((16, 16, 16), 3, 1, 16), ((16, 16, 16), 3, 1, 32), ((16, 16, 16), 3, 1, 0),
    ((16, 16, 16), 1, 1, 32), ((16, 16, 32), 3, 2, 0), ((8, 8, 32), 1, 1, 64),
    ((8, 8, 48), 3, 1, 48),
)  # fmt: skip
DENSE = ((256, 64), (64, 10), (784, 32))


@dataclass(frozen=True)
class Job:
    """What is tuned for a core at a level."""

    name: str
    request: Request
    graph: Graph


def common_layers() -> Graph:
    """Layers of sizes that small networks have, each on an input of its own; random weights."""
    graph = Graph("common")
    random = np.random.default_rng(0)
    for i, ((h, w, c), k, stride, out) in enumerate(CONVOLUTIONS):
        n, depth = (c, 1) if out == 0 else (out, c)
        x = graph.add_input(f"x{i}", TensorType(I8, (1, h, w, c), Quant(0.05, -128)))
        pad = (k // 2, k // 2 - (stride - 1), k // 2, k // 2 - (stride - 1)) if k > 1 else (0,) * 4
        groups = c if out == 0 else 1
        attrs: dict[str, Attr] = {"stride": (stride, stride), "pad": pad, "groups": groups}
        add_layer(graph, random, "conv2d", x.name, (n, k, k, depth), attrs)
    for i, (c, n) in enumerate(DENSE):
        x = graph.add_input(f"v{i}", TensorType(I8, (1, c), Quant(0.05, -128)))
        add_layer(graph, random, "dense", x.name, (n, c), {})
    return graph


def add_layer(
    graph: Graph,
    random: np.random.Generator,
    name: str,
    source: str,
    shape: tuple[int, ...],
    attrs: dict[str, Attr],
) -> None:
    """A layer with weights of this shape on the input `source`, its result an output."""
    x = next(v for v in graph.inputs if v.name == source)
    n = shape[0]
    scales = np.full(n, 0.01, np.float32) * random.uniform(0.5, 1, n).astype(np.float32)
    weights = random.integers(-127, 128, shape).astype(np.int8)
    bias = random.integers(-500, 500, n).astype(np.int32)
    w = graph.constant(f"{source}.w", weights, Quant(Blob(f"{source}.scale", scales), 0, 0))
    b_scale = Blob(f"{source}.bscale", (scales * np.float32(0.05)).astype(np.float32))
    b = graph.constant(f"{source}.b", bias, Quant(b_scale, 0, 0))
    op = emit(graph, name, [x, w, b], attrs, result=f"{source}.y", quant=Quant(0.1, -128))
    graph.outputs.append(op)


def jobs(data: Path | None, cores: list[str], levels: list[str]) -> Iterator[Job]:
    """The most important first: the first core, the first level."""
    for core in cores:
        for level in levels:
            for network in [*networks(None), *(networks(data) if data else [])]:
                if network.dtype == "float32":
                    continue
                request = Request(
                    Model.read(str(network.model)),
                    "net",
                    Target.for_cpu(core),
                    level,
                    calib=DataSpec.parse(network.calib) if network.calib else None,
                )
                yield Job(network.name, request, optimize(request)[1])
            model = Model.read(str(networks(None)[0].model))
            common = Request(model, "net", Target.for_cpu(core), level)
            yield Job("common layers", common, common_layers())


def merge(folder: Path) -> None:
    """Put what was measured, and what ships and is still valid, where it ships from."""
    versions = {family_version(name) for name, _ in families()}
    for path in sorted(folder.glob("*.jsonl")):
        records = [*read_records(SHIPPED / path.name), *read_records(path)]
        lines = to_lines(r for r in records if r.version in versions)
        new = SHIPPED / f"{path.name}.new"
        new.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        os.replace(new, SHIPPED / path.name)


def main() -> int:
    """0, or 1 if a kernel could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="the folder with models/ and data/")
    parser.add_argument("--cores", nargs="+", default=["cortex-m4"])
    parser.add_argument("--levels", nargs="+", default=["O2", "O3", "Os"])
    parser.add_argument("--budget", type=float, help="seconds in all")
    parser.add_argument("-j", type=int, default=os.cpu_count() or 1, help="worker processes")
    args = parser.parse_args()
    console, failures = Console(stderr=True, highlight=False), 0
    until = time.monotonic() + args.budget if args.budget else None
    folder = Path(__file__).parents[1] / "build" / "tuned"

    def observe(step: TuningStep) -> None:
        if step.failure or step.done % 20 == 0 or step.done == step.total:
            console.print(f"  {step}", markup=False)

    SHIPPED.mkdir(exist_ok=True)
    for job in jobs(args.data, args.cores, args.levels):
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            break
        target, level = job.request.target, job.request.level
        console.print(f"{job.name} {target.name} -{level}")
        request = dataclasses.replace(job.request, records=folder)
        done = tune_kernels(request, job.graph, Effort(left, args.j), observe)
        failures += len(done.failures)
        merge(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
