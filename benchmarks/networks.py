"""How fast, how small and how accurate are whole networks, and are their bits the same everywhere?

For each network, core and -O level: accuracy, arena beside its lower bound, flash, instructions,
estimated cycles, each beside CMSIS-NN's figures of baselines.toml; and the samples on which
interpreter, host C and emulated C differ. Writes results/networks.json and results/networks.md, and
fails where instructions, flash or arena grew by more than 2 % over the results that are there.

Without --data: the example network. With it: the MLPerf Tiny networks of that folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tinycc_nn.data import DataSpec
from tinycc_nn.driver import compile_model
from tinycc_nn.models import Model
from tinycc_nn.report import Report
from tinycc_nn.request import Request
from tinycc_nn.target import Target

HERE = Path(__file__).parent
DIGITS = HERE.parent / "examples" / "digits"
CORES = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m3", "cortex-m0plus")
GROWTH = 1.02


@dataclass(frozen=True)
class Network:
    """A network and its samples: `calib` is None where the author has quantized it."""

    name: str
    model: Path
    eval: str
    calib: str | None = None
    dtype: str | None = None
    baseline: str | None = None


@dataclass(frozen=True)
class Row:
    """One compile. Sizes in bytes; accuracy as top-1 in percent, or mean squared error."""

    network: str
    cpu: str
    level: str
    accuracy: float
    float_accuracy: float | None
    metric: str
    flash: int
    arena: int
    bound: int
    stack: int
    instructions: int
    cycles: int
    basis: str
    samples: int
    mismatches: int
    instructions_of_baseline: float | None
    cycles_of_baseline: float | None

    @property
    def key(self) -> str:
        return f"{self.network} {self.cpu} -{self.level}"


def networks(data: Path | None) -> list[Network]:
    """The networks that are measured."""
    if data is None:
        return [
            Network("digits", DIGITS / "digits.onnx", f"{DIGITS}/test.npz", f"{DIGITS}/calib.npz")
        ]
    models, arrays = data / "models", data / "data"
    kws, cifar, ad = (arrays / f"{n}.npz" for n in ("kws", "cifar10", "ad"))
    last, val = f"{kws}:x[250:],y[250:]", f"{cifar}:val_x,val_y"
    return [
        Network("kws", models / "kws_dscnn.onnx", last, f"{kws}:x[:250]", baseline="kws"),
        Network("ic", models / "ic_resnet8.onnx", val, f"{cifar}:train_x[:250]", baseline="ic"),
        Network("ad", models / "ad_autoencoder.onnx", f"{ad}:x", f"{ad}:x", baseline="ad"),
        Network("kws-qdq", models / "kws_dscnn_qdq.onnx", last),
        Network("ic-qdq", models / "ic_resnet8_qdq.onnx", val),
        Network("ad-qdq", models / "ad_autoencoder_qdq.onnx", f"{ad}:x"),
        Network("kws-float", models / "kws_dscnn.onnx", last, dtype="float32"),
        Network("ad-float", models / "ad_autoencoder.onnx", f"{ad}:x", dtype="float32"),
    ]


def plan(
    chosen: list[Network], cores: list[str], levels: list[str]
) -> Iterator[tuple[Network, str, str]]:
    """All levels on the first core; the first level on the others. Float networks once."""
    for network in chosen:
        for i, cpu in enumerate(cores):
            for level in levels if i == 0 else levels[:1]:
                yield network, cpu, level


def measure(network: Network, cpu: str, level: str, samples: int) -> Row:
    """Compile, run and compare on `samples` samples. -O3 gets the limits of baselines.toml."""
    limits = baseline(network).get("limits", {}) if level == "O3" else {}
    request = Request(
        Model.read(str(network.model)),
        network.name.replace("-", "_"),
        Target.for_cpu(cpu),
        level,
        dtype=network.dtype,
        calib=DataSpec.parse(network.calib) if network.calib else None,
        eval=DataSpec.parse(network.eval),
        max_flash=limits.get("max_flash"),
        max_ram=limits.get("max_arena"),
        compared=samples,
    )
    return row_of(network, cpu, level, compile_model(request).report)


def baseline(network: Network) -> dict[str, dict[str, int]]:
    """The tables of baselines.toml for a network, or none."""
    table = tomllib.loads((HERE / "baselines.toml").read_text())
    return table[network.baseline] if network.baseline else {}


def row_of(network: Network, cpu: str, level: str, report: Report) -> Row:
    """What the table shows of a report."""
    m, accuracy, bits = report.metrics, report.accuracy, report.bit_exact
    assert accuracy is not None and bits is not None
    assert m.flash_bytes is not None and m.instructions is not None and m.cycles is not None
    scale = 100 if accuracy.metric == "top1" else 1
    base = baseline(network)
    instructions = base.get("instructions", {}).get(cpu)
    cycles = base.get("cycles", {}).get(cpu)
    return Row(
        network=network.name, cpu=cpu, level=level,
        accuracy=round(scale * accuracy.compiled, 4),
        float_accuracy=None if accuracy.float is None else round(scale * accuracy.float, 4),
        metric=accuracy.metric, flash=m.flash_bytes, arena=m.arena_bytes,
        bound=m.arena_bound_bytes, stack=m.stack_bytes or 0, instructions=m.instructions,
        cycles=m.cycles, basis=m.cycles_basis, samples=bits.samples, mismatches=bits.mismatches,
        instructions_of_baseline=instructions and round(instructions / m.instructions, 2),
        cycles_of_baseline=cycles and round(cycles / m.cycles, 2),
    )  # fmt: skip


COLUMNS = (
    "network", "core", "level", "accuracy", "float", "flash", "arena (bound)", "instructions",
    "x fewer", "cycles", "x faster", "bits",
)  # fmt: skip


def cells(r: Row) -> list[str]:
    """A row as text."""
    unit = " %" if r.metric == "top1" else " mse"
    return [
        r.network, r.cpu, f"-{r.level}", f"{r.accuracy:.2f}{unit}",
        "" if r.float_accuracy is None else f"{r.float_accuracy:.2f}{unit}", f"{r.flash:,}",
        f"{r.arena:,} ({r.bound:,})", f"{r.instructions:,}", str(r.instructions_of_baseline or ""),
        f"{r.cycles:,}", str(r.cycles_of_baseline or ""), f"{r.mismatches} of {r.samples} differ",
    ]  # fmt: skip


def markdown(rows: list[Row]) -> str:
    """The table as Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*lines, *(f"| {' | '.join(cells(r))} |" for r in rows)]) + "\n"


SUMMARY = ("kws", "ic", "ad")


def summary(rows: list[Row]) -> str:
    """The table of README.md."""
    head = "| network | core | level | accuracy (float) | flash | arena | instructions | cycles | fewer instructions than CMSIS-NN |"
    lines = [head, "|" + "---|" * 9]
    for r in rows:
        if r.network not in SUMMARY:
            continue
        c = cells(r)
        ratio = r.instructions_of_baseline
        theirs = f"x {ratio:.2f}" if ratio else ""
        lines.append(
            f"| {r.network} | {r.cpu} | -{r.level} | {c[3]} ({r.float_accuracy:.2f}) | {c[5]} | "
            f"{r.arena:,} | {c[7]} | {c[9]} | {theirs} |"
        )
    return "\n".join(lines) + "\n"


def regressions(rows: list[Row], before: dict[str, dict[str, int]]) -> list[str]:
    """What grew by more than GROWTH."""
    found = []
    for r in rows:
        old = before.get(r.key, {})
        for name in ("instructions", "flash", "arena"):
            now = getattr(r, name)
            if name in old and now > GROWTH * old[name]:
                found.append(f"{r.key}: {name} {old[name]:,} -> {now:,}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with models/ and data/")
    parser.add_argument("--cpu", nargs="*", default=list(CORES))
    parser.add_argument("--level", nargs="*", default=["O2", "Os", "O3"])
    parser.add_argument("--only", nargs="*", help="names of networks")
    parser.add_argument("--samples", type=int, default=32, help="compared bit for bit")
    given = parser.parse_args()
    chosen = [n for n in networks(given.data) if not given.only or n.name in given.only]
    results = HERE / "results" / ("networks" if given.data else "example")
    file = results.with_suffix(".json")
    before = json.loads(file.read_text()) if file.exists() else {}
    console = Console(width=170)
    rows: list[Row] = []
    for network, cpu, level in plan(chosen, given.cpu, given.level):
        rows.append(measure(network, cpu, level, given.samples))
        console.print(" | ".join(cells(rows[-1])), highlight=False)
        write(results, before, rows, in_readme=given.data is not None)
    table = Table(*COLUMNS)
    for r in rows:
        table.add_row(*cells(r))
    console.print(table)
    if worse := regressions(rows, before):
        sys.exit("grew by more than 2 %:\n" + "\n".join(worse))


def write(
    results: Path, before: dict[str, dict[str, int]], rows: list[Row], *, in_readme: bool
) -> None:
    """The results so far, new rows over old ones, so that an interrupted run keeps what it has."""
    results.parent.mkdir(exist_ok=True)
    after = before | {r.key: dataclasses.asdict(r) for r in rows}
    every = [Row(**r) for r in after.values()]
    results.with_suffix(".json").write_text(json.dumps(after, indent=1) + "\n")
    results.with_suffix(".md").write_text(markdown(every))
    if in_readme:
        results.with_name("summary.md").write_text(summary(every))


if __name__ == "__main__":
    main()
