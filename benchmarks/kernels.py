"""How fast is each layer beside the hand-written kernel that a user would pick?

Compiles the MLPerf Tiny networks of the data folder for a Cortex-M4 and sets instructions a MAC
and estimated cycles of every layer beside CMSIS-NN's (baselines.toml), as a table and as a picture:
results/kernels.md, results/kernels.svg. Fails where a layer's instructions grew by more than 2 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from networks import HERE, Network, networks
from rich.console import Console
from rich.table import Table

from tinycc_nn.data import DataSpec
from tinycc_nn.driver import compile_model
from tinycc_nn.models import Model
from tinycc_nn.report import LayerReport
from tinycc_nn.request import Request
from tinycc_nn.target import Target

GROWTH = 1.02
Baseline = tuple[str, int, int, int]


@dataclass(frozen=True)
class Row:
    """A layer: what it is, the kernel that was taken, and both costs of one inference."""

    network: str
    layer: str
    kernel: str
    macs: int
    instructions: int
    cycles: int
    their_instructions: int
    their_cycles: int

    @property
    def key(self) -> str:
        return f"{self.network} {self.layer}"

    def cells(self) -> list[str]:
        """The row as text."""
        per_mac = f"{self.instructions / self.macs:.2f}" if self.macs else ""
        theirs = f"{self.their_instructions / self.macs:.2f}" if self.macs else ""
        return [
            self.network, self.layer, self.kernel, f"{self.instructions:,}", per_mac,
            f"{self.cycles:,}", f"{self.their_instructions:,}", theirs, f"{self.their_cycles:,}",
            f"{self.their_cycles / self.cycles:.2f}",
        ]  # fmt: skip


COLUMNS = (
    "network", "layer", "kernel", "instructions", "per MAC", "cycles", "CMSIS-NN instructions",
    "per MAC", "cycles", "x faster",
)  # fmt: skip


def measure(network: Network, level: str) -> list[Row]:
    """The layers of a network in the order of execution."""
    assert network.calib is not None
    request = Request(
        Model.read(str(network.model)),
        network.name,
        Target.for_cpu("cortex-m4"),
        level,
        calib=DataSpec.parse(network.calib),
    )
    layers = compile_model(request).report.layers
    table = tomllib.loads((HERE / "baselines.toml").read_text())
    return _pair(network.name, layers, [tuple(b) for b in table["layers"][network.name]])


def _pair(network: str, layers: tuple[LayerReport, ...], baselines: list[Baseline]) -> list[Row]:
    """Our layers beside theirs: the first unused one of that kind and about as many MACs (dead
    channels are removed here, and not there)."""
    left = list(baselines)
    rows: list[Row] = []
    for layer in layers:
        kind = {"reduce_mean": "avg_pool2d"}.get(layer.op, layer.op)
        kinds = (kind, "depthwise") if kind == "conv2d" else (kind,)
        found = next((b for b in left if near(b[1], layer.macs) and b[0].split()[0] in kinds), None)
        if found is None:
            continue
        left.remove(found)
        assert layer.instructions is not None and layer.cycles is not None
        rows.append(
            Row(
                network, f"{len(rows)}: {found[0]}", layer.kernel, layer.macs,
                layer.instructions, layer.cycles, found[2], found[3],
            )
        )  # fmt: skip
    return rows


def near(a: int, b: int) -> bool:
    """Whether two numbers of MACs are those of one layer."""
    return a == b or 0.95 < b / max(a, 1) < 1.05


def picture(rows: list[Row], file: Path) -> None:
    """Bars of cycles, ours beside theirs, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tinycc-nn"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.28 * len(rows) + 1))
    places = range(len(rows))
    axes.barh([p - 0.2 for p in places], [r.their_cycles for r in rows], 0.4, label="CMSIS-NN")
    axes.barh([p + 0.2 for p in places], [r.cycles for r in rows], 0.4, label="tinycc-nn")
    axes.set_yticks(list(places), [f"{r.network} {r.layer}" for r in rows], fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel("estimated cycles on Cortex-M4, GCC 12 -O2")
    axes.invert_yaxis()
    axes.legend()
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with models/ and data/")
    parser.add_argument("--level", default="O2")
    given = parser.parse_args()
    if given.data is None:
        print("kernels: nothing to measure without --data")
        return
    rows = [
        r for n in networks(given.data) if n.baseline and n.calib for r in measure(n, given.level)
    ]
    table = Table(*COLUMNS)
    for r in rows:
        table.add_row(*r.cells())
    Console(width=180).print(table)
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    file = results / "kernels.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    worse = [
        f"{r.key}: {before[r.key]['instructions']:,} -> {r.instructions:,}"
        for r in rows
        if r.key in before and r.instructions > GROWTH * before[r.key]["instructions"]
    ]
    file.write_text(json.dumps({r.key: asdict(r) for r in rows}, indent=1) + "\n")
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines += [f"| {' | '.join(r.cells())} |" for r in rows]
    (results / "kernels.md").write_text("\n".join(lines) + "\n")
    picture(rows, results / "kernels.svg")
    if worse:
        sys.exit("instructions grew by more than 2 %:\n" + "\n".join(worse))


if __name__ == "__main__":
    main()
