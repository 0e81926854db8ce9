"""How fast is each layer beside the hand-written kernel that a user would pick?

Compiles the MLPerf Tiny networks of the data folder for each core and shows instructions a MAC,
estimated cycles, flash and live arena of every layer, on a Cortex-M4 beside CMSIS-NN's
(baselines.toml), as a table and as a picture: results/kernels.md, results/kernels.svg. Fails where a
layer's instructions grew by more than 2 %; such rows are kept as they were, unless --accept is given.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from networks import CORES, HERE, Network, fail_if, networks, regressions
from rich.console import Console
from rich.table import Table

from tinycc_nn.data import DataSpec
from tinycc_nn.driver import compile_model
from tinycc_nn.models import Model
from tinycc_nn.report import LayerReport
from tinycc_nn.request import Request
from tinycc_nn.target import Target

COSTS = ("instructions", "cycles")
MEASURED_CORE = "cortex-m4"
"""Of the layers in baselines.toml."""

Baseline = tuple[str, int, int, int]


@dataclass(frozen=True)
class Row:
    """A layer: what it is, the kernel that was taken, and both costs of one inference."""

    network: str
    cpu: str
    layer: str
    kernel: str
    macs: int
    instructions: int
    cycles: int
    flash: int
    arena: int
    their_instructions: int | None
    their_cycles: int | None

    @property
    def key(self) -> str:
        return f"{self.network} {self.cpu} {self.layer}"

    def cells(self) -> list[str]:
        """The row as text."""
        theirs = ["", "", "", ""]
        if self.their_instructions is not None and self.their_cycles is not None:
            theirs = [
                f"{self.their_instructions:,}", self._per_mac(self.their_instructions),
                f"{self.their_cycles:,}", f"{self.their_cycles / self.cycles:.2f}",
            ]  # fmt: skip
        return [
            self.network, self.cpu, self.layer, self.kernel, f"{self.flash:,}", f"{self.arena:,}",
            f"{self.instructions:,}", self._per_mac(self.instructions), f"{self.cycles:,}", *theirs,
        ]  # fmt: skip

    def _per_mac(self, count: int) -> str:
        return f"{count / self.macs:.2f}" if self.macs else ""


COLUMNS = (
    "network", "core", "layer", "kernel", "flash", "arena", "instructions", "per MAC", "cycles",
    "CMSIS-NN instructions", "per MAC", "cycles", "x faster",
)  # fmt: skip


def measure(network: Network, cpu: str, level: str) -> list[Row]:
    """The layers of a network in the order of execution."""
    assert network.calib is not None
    request = Request(
        Model.read(str(network.model)),
        network.name,
        Target.for_cpu(cpu),
        level,
        calib=DataSpec.parse(network.calib),
    )
    layers = compile_model(request).report.layers
    table = tomllib.loads((HERE / "baselines.toml").read_text())
    return _pair(network.name, cpu, layers, [tuple(b) for b in table["layers"][network.name]])


def _pair(
    network: str, cpu: str, layers: tuple[LayerReport, ...], baselines: list[Baseline]
) -> list[Row]:
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
        measured = cpu == MEASURED_CORE
        rows.append(
            Row(
                network, cpu, f"{len(rows)}: {found[0]}", layer.kernel, layer.macs,
                layer.instructions, layer.cycles, layer.flash_bytes or 0, layer.arena_bytes,
                found[2] if measured else None, found[3] if measured else None,
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
    theirs = [r.their_cycles or 0 for r in rows]
    axes.barh([p - 0.2 for p in places], theirs, 0.4, label="CMSIS-NN")
    axes.barh([p + 0.2 for p in places], [r.cycles for r in rows], 0.4, label="tinycc-nn")
    axes.set_yticks(list(places), [f"{r.network} {r.layer}" for r in rows], fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel("estimated cycles on Cortex-M4, GCC -O2")
    axes.invert_yaxis()
    axes.legend()
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with models/ and data/")
    parser.add_argument("--cpu", nargs="*", default=list(CORES))
    parser.add_argument("--level", default="O2")
    parser.add_argument("--accept", action="store_true", help="write rows that grew as well")
    given = parser.parse_args()
    if given.data is None:
        print("kernels: nothing to measure without --data")
        return
    file = HERE / "results" / "kernels.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    measured: dict[str, Row] = {}
    for network in networks(given.data):
        if network.baseline and network.calib:
            for cpu in given.cpu:
                measured |= {r.key: r for r in measure(network, cpu, given.level)}
    worse = {} if given.accept else regressions(measured, before, COSTS)
    after = {**before} | {key: asdict(r) for key, r in measured.items() if key not in worse}
    write([Row(**r) for r in after.values()], file)
    fail_if(worse)


def write(rows: list[Row], file: Path) -> None:
    """The results, as JSON, as a table and as a picture of the core that baselines are of."""
    table = Table(*COLUMNS)
    for r in rows:
        table.add_row(*r.cells())
    Console(width=200).print(table)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({r.key: asdict(r) for r in rows}, indent=1) + "\n")
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines += [f"| {' | '.join(r.cells())} |" for r in rows]
    file.with_suffix(".md").write_text("\n".join(lines) + "\n")
    picture([r for r in rows if r.cpu == MEASURED_CORE], file.with_suffix(".svg"))


if __name__ == "__main__":
    main()
