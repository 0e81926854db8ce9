"""Which number format for weights, and how many bits?

For keyword spotting, image classification and anomaly detection on the Cortex-M4: accuracy in percent
(mean squared error for anomaly detection) in the interpreter, with one scale for each channel and one
for each tensor, bytes of weights, flash, cycles. Activations are int8, calibrated on at most 250
unlabelled samples; nothing is trained. Also what it costs to decode a weight.

Each row is kept in results/formats.jsonl as soon as it is measured, so that the benchmark may be
stopped, or told to stop after --seconds, and run again. Writes results/formats.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from format_costs import COSTS, cost
from format_tables import INT8, SETTINGS, document
from networks import Network, networks
from quantization import Case, cases

from tinycc_nn.data import DataSpec
from tinycc_nn.driver import compile_model
from tinycc_nn.ir.graph import Graph
from tinycc_nn.levels import default_pipeline
from tinycc_nn.models import Model
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run
from tinycc_nn.request import Request
from tinycc_nn.target import Target

HERE = Path(__file__).parent
INTEGERS = ("fixed<8,0>", "i7", "i6", "i5", "i4", "i3", "i2")
POSITS = tuple(f"posit<{n},{es}>" for n in (8, 7, 6, 5, 4) for es in (0, 1, 2))
SHARED = ("book<128>", "book<64>", "book<32>", "book<16>", "book<8>", "book<4>")
OTHERS = ("ternary", "binary", "hashed<1024>", "hashed<4096>")
FORMATS = (*INTEGERS, *POSITS, *SHARED, *OTHERS)
MIXED = ("auto:6", "auto:5", "auto:4", "auto:3")
MEASURED = (
    "float32", "int8", *INTEGERS, "posit<8,0>", "posit<7,0>", "posit<6,0>", "posit<5,0>", "posit<5,1>",
    "posit<4,0>", "book<64>", "book<16>", "ternary", "binary", "hashed<1024>", "auto:5", "auto:4",
)  # fmt: skip
PER_TENSOR = ("int8", *INTEGERS, *(f"posit<{n},0>" for n in (8, 7, 6, 5, 4)), "ternary", "binary")
WIDE = "int8, int16 activations"
FINE = "weight_bits=12, weights=per-channel"


@dataclass(frozen=True)
class Task:
    """What a row says, and how it is measured."""

    kind: str
    network: str
    format: str
    setting: str
    measure: Callable[[], dict[str, float]]

    @property
    def key(self) -> str:
        return " | ".join((self.kind, self.network, self.format, self.setting))


class Bench:
    """The networks with their weights in 12 bits, ready to be rounded to any format."""

    def __init__(self, data: Path, samples: int) -> None:
        self.data, self.samples = data, samples

    @cache  # noqa: B019
    def case(self, network: str) -> Case:
        found = {k.split(",")[0].lower(): c for k, c in cases(self.data).items()}[network]
        labels = None if found.labels is None else found.labels[: self.samples]
        return replace(found, x=found.x[: self.samples], labels=labels)

    @cache  # noqa: B019
    def source(self, network: str) -> Graph:
        return self.after(network, self.case(network).graph, f"quantize{{{FINE}}}")

    def after(self, network: str, g: Graph, pipeline: str) -> Graph:
        case = self.case(network)
        for p in parse_pipeline(pipeline):
            g = p(g, Context({case.graph.inputs[0].name: case.calib}))
        return g

    def score(self, network: str, text: str, setting: str) -> dict[str, float]:
        """Accuracy or error, and bytes of weights, in a format."""
        case = self.case(network)
        if text == "float32":
            return {"score": evaluate(case, case.graph), "bytes": 4 * weights(case.graph)}
        if text == "int8":
            g = self.after(network, case.graph, "quantize")
            return {"score": evaluate(case, g), "bytes": weight_bytes(g)}
        if text == WIDE:
            g = self.after(network, case.graph, "quantize, widen-activations")
            return {"score": evaluate(case, g), "bytes": weight_bytes(g)}
        granularity, rounding = setting.split()
        options = f'format="{text}", granularity={granularity}, rounding={rounding}'
        g = self.after(network, self.source(network), f"quantize-weights{{{options}}}")
        return {"score": evaluate(case, g), "bytes": weight_bytes(g)}


def evaluate(case: Case, g: Graph) -> float:
    """Accuracy in percent, or mean squared error of a network that reconstructs its input."""
    y = run(g, {g.inputs[0].name: case.x})[0].reshape(len(case.x), -1)
    if case.labels is None:
        return float(np.mean((y - case.x.reshape(y.shape)) ** 2))
    return float(100 * np.mean(y.argmax(axis=1) == case.labels))


def weights(g: Graph) -> int:
    """Number of weights."""
    return sum(op.operands[1].type.size for op in g.ops if op.name in ("conv2d", "dense"))


def weight_bytes(g: Graph) -> int:
    """Packed weights, and each table once."""
    types = {op.operands[1] for op in g.ops if op.name in ("conv2d", "dense")}
    tables = {t.type.dtype: t.type.dtype.book for t in types}
    extra = sum(b.values.nbytes for b in tables.values() if b is not None and not b.signed)
    return sum(v.type.nbytes for v in types) + extra


def per_tensor(text: str) -> str:
    """The default pipeline of -O2 with one scale for each tensor."""
    if text == INT8:
        options = "weights=per-tensor"
        return default_pipeline("O2", INT8).replace("quantize,", f"quantize{{{options}}},")
    coded = default_pipeline("O2", INT8, text)
    return coded.replace("quantize-weights{", "quantize-weights{granularity=tensor, ")


def measured(network: Network, text: str, pipeline: str | None = None) -> dict[str, float]:
    """Flash and cycles on the Cortex-M4 at -O2, and what differs from the interpreter."""
    real = text == "float32"
    request = Request(
        Model.read(str(network.model)),
        network.name,
        Target.for_cpu("cortex-m4"),
        dtype="float32" if real else None,
        weights=None if pipeline or text in ("float32", INT8) else text,
        pipeline=pipeline,
        calib=DataSpec.parse(network.calib) if network.calib and not real else None,
        compared=2,
    )
    m = (report := compile_model(request).report).metrics
    bits = report.bit_exact
    assert m.flash_bytes is not None and m.cycles is not None and bits is not None
    constants = sum(layer.constant_bytes for layer in report.layers)
    return {
        "flash": m.flash_bytes, "cycles": m.cycles, "arena": m.arena_bytes,
        "constants": constants, "differ": bits.mismatches,
    }  # fmt: skip


def tasks(bench: Bench) -> Iterator[Task]:
    """In the order in which they are most wanted."""
    found = {n.name: n for n in networks(bench.data)[:3]}
    both = (*INTEGERS, *POSITS, "ternary", "binary")
    first = ("float32", "int8", "auto:5", "auto:4", "posit<5,0>", "i5", "i4")
    yield from scores(bench, found, first, SETTINGS[0])
    yield from scores(bench, found, (*FORMATS, WIDE), SETTINGS[0])
    for text, layer in COSTS:
        yield Task("cost", layer, text, "", lambda t=text, x=layer: cost(t, x))  # type: ignore[misc]
    for setting in SETTINGS[1:]:
        yield from scores(bench, found, both, setting)
    yield from scores(bench, found, MIXED, SETTINGS[0])
    for text in MEASURED:
        for name, n in found.items():
            yield Task("cycles", name, text, "-O2", lambda n=n, t=text: measured(n, t))  # type: ignore[misc]
    for text in PER_TENSOR:
        for name, n in found.items():
            yield Task(
                "cycles", name, text, "-O2, per tensor",
                lambda n=n, t=text: measured(n, t, per_tensor(t)),  # type: ignore[misc]
            )  # fmt: skip


def scores(
    bench: Bench, names: Iterable[str], texts: Iterable[str], setting: str
) -> Iterator[Task]:
    for text in texts:
        for name in names:
            yield Task(
                "score", name, text, setting,
                lambda n=name, t=text: bench.score(n, t, setting),  # type: ignore[misc]
            )  # fmt: skip


def kept(file: Path) -> dict[str, dict[str, float]]:
    """The rows that are measured, by key; a line that was cut off is left out."""
    rows = {}
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["key"]] = row["values"]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with models/ and data/")
    parser.add_argument("-o", type=Path, default=HERE / "results" / "formats.md")
    parser.add_argument("--samples", type=int, default=2000, help="that are scored, at most")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--fresh", action="store_true", help="forget the rows of earlier runs")
    given = parser.parse_args()
    file = given.o.with_suffix(".jsonl")
    if given.fresh:
        file.unlink(missing_ok=True)
    rows, start = kept(file), time.monotonic()
    wanted = list({t.key: t for t in tasks(Bench(given.data, given.samples))}.values())
    for i, task in enumerate(wanted):
        if task.key in rows:
            continue
        if time.monotonic() - start > given.seconds:
            print(f"{len(wanted) - i} rows at most are left: run it again", flush=True)
            break
        try:
            rows[task.key] = task.measure()
        except KeyboardInterrupt:
            print("stopped: the rows so far are kept", flush=True)
            break
        with file.open("a") as f:
            f.write(json.dumps({"key": task.key, "values": rows[task.key]}) + "\n")
        print(f"{i + 1}/{len(wanted)} {task.key}: {rows[task.key]}", flush=True)
    given.o.write_text(document(rows, given.samples))


if __name__ == "__main__":
    main()
