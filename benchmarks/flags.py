"""What are other flags of the C compiler worth?

Kernels are chosen by measurements with the flags that the generated C states itself (its -O level,
and `unroll-loops` in a pragma). Here whole networks, as -O3 makes them, are built with further flags
of GCC. Writes results/flags.md: cycles, and their ratio to those without further flags.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from networks import HERE, baseline, networks

from tinycc_nn.backend import Artifact, load_backend
from tinycc_nn.data import DataSpec
from tinycc_nn.device import Device
from tinycc_nn.driver import backend_options, optimize
from tinycc_nn.models import Model
from tinycc_nn.passmanager import made_up_samples
from tinycc_nn.request import Request
from tinycc_nn.target import Target
from tinycc_nn.toolchain import find_toolchain

CORES = ("cortex-m4", "cortex-m7")
FLAGS = (
    "", "-fno-schedule-insns", "-fno-schedule-insns2", "-fno-schedule-insns -fno-ivopts",
    "-fno-ivopts", "-fno-tree-pre -fno-gcse", "-fira-region=one",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A network on a core: cycles for each of FLAGS."""

    network: str
    cpu: str
    cycles: tuple[int, ...]

    def markdown(self) -> str:
        cells = [f"{n:,} ({n / self.cycles[0]:.3f})" for n in self.cycles]
        return f"| {self.network} | {self.cpu} | {' | '.join(cells)} |"


def rows(data: Path | None) -> Iterator[Row]:
    """Networks that become int8, on each core."""
    toolchain = find_toolchain("gcc")
    for network in networks(data):
        if network.calib is None:
            continue
        for cpu in CORES:
            limits = baseline(network).get("limits", {})
            request = Request(
                Model.read(str(network.model)),
                "net",
                Target.for_cpu(cpu),
                "O3",
                calib=DataSpec.parse(network.calib),
                max_flash=limits.get("max_flash"),
                max_ram=limits.get("max_arena"),
            )
            graph = optimize(request)[1]
            backend = load_backend(request.backend)
            artifact: Artifact = backend.compile(graph, request.target, backend_options(request))
            samples = made_up_samples(graph)
            first = [samples[v.name][0] for v in graph.inputs]
            cycles = []
            for flags in FLAGS:
                device = Device(
                    artifact.source,
                    request.target,
                    toolchain=toolchain,
                    level="-O3",
                    flags=flags.split(),
                )
                cycles.append(device.profile(first).cycles)
            yield Row(network.name, cpu, tuple(cycles))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with models/ and data/")
    given = parser.parse_args()
    head = ["network", "core", *(f"`{f}`" if f else "as shipped" for f in FLAGS)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows(given.data):
        lines.append(row.markdown())
        print(lines[-1], flush=True)
    text = (
        "# Flags of the C compiler\n\nCycles on emulated cores at -O3, GCC, and in brackets the ratio "
        "to the flags that are shipped.\n\n" + "\n".join(lines) + "\n"
    )
    (HERE / "results" / "flags.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
