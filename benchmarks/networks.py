"""How fast, how small and how accurate are whole networks, and are their bits the same everywhere?

For each network, core and -O level: accuracy, arena beside its lower bound, flash, instructions,
estimated cycles, each beside CMSIS-NN's figures of baselines.toml; and the samples on which
interpreter, host C and emulated C differ. Writes results/networks.json, .md and .svg, and fails where
instructions, cycles, flash or arena grew by more than 2 % over the results that are there; those
rows are kept as they were, unless --accept says that it has to be so.

Without --data: the example network. With it: the MLPerf Tiny networks of that folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

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
COSTS = ("instructions", "cycles", "flash", "arena")
Results = Mapping[str, Mapping[str, Any]]
"""What was measured before, by the key of a row."""


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


Figures = dict[str, dict[str, int]]


@cache
def baselines() -> dict[str, Figures]:
    """The figures of baselines.toml by network: what is measured, then the core."""
    return tomllib.loads((HERE / "baselines.toml").read_text())


def baseline(network: Network) -> Figures:
    """Those of a network, or none."""
    return baselines()[network.baseline] if network.baseline else {}


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
    "network", "core", "level", "accuracy", "float", "flash", "CMSIS-NN", "arena (bound)",
    "instructions", "CMSIS-NN", "x fewer", "cycles", "CMSIS-NN", "x faster", "best published", "bits",
)  # fmt: skip


def cells(r: Row) -> list[str]:
    """A row as text."""
    unit = " %" if r.metric == "top1" else " mse"
    base = baselines().get(r.network, {})

    def theirs(name: str) -> str:
        found = base.get(name, {}).get(r.cpu)
        return f"{found:,}" if found else ""

    return [
        r.network, r.cpu, f"-{r.level}", f"{r.accuracy:.2f}{unit}",
        "" if r.float_accuracy is None else f"{r.float_accuracy:.2f}{unit}", f"{r.flash:,}",
        theirs("flash"), f"{r.arena:,} ({r.bound:,})",
        f"{r.instructions:,}", theirs("instructions"), str(r.instructions_of_baseline or ""),
        f"{r.cycles:,}", theirs("cycles"), str(r.cycles_of_baseline or ""), theirs("published"),
        f"{r.mismatches} of {r.samples} differ",
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
        c = dict(zip(reversed(COLUMNS), reversed(cells(r)), strict=True))
        ratio = r.instructions_of_baseline
        theirs = f"x {ratio:.2f}" if ratio else ""
        lines.append(
            f"| {r.network} | {r.cpu} | -{r.level} | {c['accuracy']} ({r.float_accuracy:.2f}) | "
            f"{c['flash']} | {r.arena:,} | {c['instructions']} | {c['cycles']} | {theirs} |"
        )
    return "\n".join(lines) + "\n"


def regressions(rows: Mapping[str, Any], before: Results, names: Sequence[str]) -> dict[str, str]:
    """By the key of a row, which of its figures grew by more than GROWTH."""
    found = {}
    for key, row in rows.items():
        old = before.get(key, {})
        grown = [
            f"{name} {old[name]:,} -> {now:,}"
            for name in names
            if name in old and (now := getattr(row, name)) > GROWTH * old[name]
        ]
        if grown:
            found[key] = ", ".join(grown)
    return found


def fail_if(worse: Mapping[str, str]) -> None:
    """End the program if there are regressions."""
    if worse:
        lines = "\n".join(f"{key}: {text}" for key, text in worse.items())
        sys.exit(f"grew by more than 2 % (--accept if it has to be so):\n{lines}")


def picture(rows: list[Row], file: Path) -> None:
    """Bars of instructions at the first level of each core, ours beside theirs, on a logarithmic
    axis."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tinycc-nn"
    from matplotlib import pyplot

    chosen = [r for r in rows if r.network in baselines() and r.level == "O2"] or rows
    theirs = [baselines().get(r.network, {}).get("instructions", {}).get(r.cpu) for r in chosen]
    figure, axes = pyplot.subplots(figsize=(9, 0.4 * len(chosen) + 1))
    pairs = [(i, n) for i, n in enumerate(theirs) if n]
    axes.barh([i - 0.2 for i, _ in pairs], [n for _, n in pairs], 0.4, label="CMSIS-NN")
    places = range(len(chosen))
    axes.barh([p + 0.2 for p in places], [r.instructions for r in chosen], 0.4, label="tinycc-nn")
    axes.set_yticks(list(places), [r.key for r in chosen], fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel("instructions of one inference")
    axes.invert_yaxis()
    axes.legend()
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with models/ and data/")
    parser.add_argument("--cpu", nargs="*", default=list(CORES))
    parser.add_argument("--level", nargs="*", default=["O2", "Os", "O3"])
    parser.add_argument("--only", nargs="*", help="names of networks")
    parser.add_argument("--samples", type=int, default=32, help="compared bit for bit")
    parser.add_argument("--accept", action="store_true", help="write rows that grew as well")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder")
    given = parser.parse_args()
    chosen = [n for n in networks(given.data) if not given.only or n.name in given.only]
    results = given.results / ("networks" if given.data else "example")
    file = results.with_suffix(".json")
    before = json.loads(file.read_text()) if file.exists() else {}
    console = Console(width=170)
    rows: list[Row] = []
    accepted: list[Row] = []
    for network, cpu, level in plan(chosen, given.cpu, given.level):
        rows.append(row := measure(network, cpu, level, given.samples))
        console.print(" | ".join(cells(row)), highlight=False)
        if given.accept or not regressions({row.key: row}, before, COSTS):
            accepted.append(row)
        write(results, before, accepted, in_readme=given.data is not None)
    table = Table(*COLUMNS)
    for r in rows:
        table.add_row(*cells(r))
    console.print(table)
    if not given.accept:
        fail_if(regressions({r.key: r for r in rows}, before, COSTS))


def write(results: Path, before: Results, rows: list[Row], *, in_readme: bool) -> None:
    """The results so far, new rows over old ones, so that an interrupted run keeps what it has."""
    results.parent.mkdir(parents=True, exist_ok=True)
    after = {**before} | {r.key: dataclasses.asdict(r) for r in rows}
    every = [Row(**r) for r in after.values()]
    results.with_suffix(".json").write_text(json.dumps(after, indent=1) + "\n")
    results.with_suffix(".md").write_text(markdown(every))
    picture(every, results.with_suffix(".svg"))
    if in_readme:
        results.with_name("summary.md").write_text(summary(every))


if __name__ == "__main__":
    main()
