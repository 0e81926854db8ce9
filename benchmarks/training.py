"""What is training after compression worth?

Image classification (CIFAR-10) is trained on train_x, 20,000 images, and judged on val, 2,000 others
that no training sees; keyword spotting learns from its own float network on the first 250 samples,
without their labels, and is judged on the last 250. Accuracy is that of the generated C, bit for bit
the interpreter's; cycles are of the emulated Cortex-M4, at -O2 unless a row says so. "minutes" is the whole
compilation, the training in it, on one thread of a shared machine (less where a training was in the cache);
passes with normalize but without precision=bfloat16 ran on an AMD EPYC that has AVX2 only, the others on one
that computes in bfloat16. Processors round sums differently, so a training elsewhere ends in other weights.
The float networks have 87.25 % and 90.40 %. Settings were chosen by a few short trainings, judged on val too.
Cycles of ic-fast-6m, ic-fast-3m5, ic-flash-40k-half, of ic-pruned and of the students rest on measured kernels
of layers of 8x8 and 16x16 pixels, which the other rows with fewer channels were compiled without.

Each row is a pipeline of benchmarks/pipelines and is kept in results/training.jsonl as soon as it is
measured; trainings go on where they were. So the benchmark may be stopped, or told to stop after
--minutes, and run again. Writes results/training.md.
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tinycc_nn.data import DataSpec
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.driver import compile_model
from tinycc_nn.models import Model
from tinycc_nn.report import Report
from tinycc_nn.request import Request
from tinycc_nn.target import Target

HERE = Path(__file__).parent
PIPELINES = HERE / "pipelines"
"""`long/` has those of more passes than a search combines."""

TRAINING = ("distill", "finetune", "qat", "student")
Values = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """A pipeline, and what it answers; `goal` is the least accuracy wanted, in percent. `name` is for
    another row of the same pipeline, `skipping` are layers whose kernels must skip blocks of zeros."""

    pipeline: str
    says: str
    goal: float | None = None
    level: str = "O2"
    name: str = ""
    skipping: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return self.name or self.pipeline

    @property
    def network(self) -> str:
        return "kws" if self.pipeline.startswith("kws") else "ic"

    @property
    def text(self) -> str:
        return " ".join(self.file.read_text().split())

    @property
    def file(self) -> Path:
        return next(PIPELINES.rglob(f"{self.pipeline}.txt"))


BLOCKY = tuple(f"conv_{n}" for n in (4, 6, 9, 11, 12, 15, 17, 18))
"""Layers of which `prune-blocks` can take blocks: all but the first, which has three inputs."""

GOALS = (
    Row("ic-int8", "int8, nothing trained"),
    Row("ic-i4", "weights of 4 bits", 85.75),
    Row("ic-posit-5-0", "weights as posit<5,0>", 86.55),
    Row("ic-posit-5-1", "weights as posit<5,1>", 86.55),
    Row("ic-ternary", "ternary weights but in the first and the last layer", 82.25),
    Row("ic-pruned-50", "half of the MACs removed: channels", 86.25),
    Row("ic-separable-50", "half of the MACs removed: sums of depthwise and 1x1 layers", 86.25),
    Row("ic-pruned-70", "70 % of the MACs removed: channels", 84.75),
    Row(
        "ic-pruned-70-blocks",
        "70 % of the MACs removed: channels, then blocks of weights, which all layers skip",
        84.75,
        name="ic-pruned-70-skipping",
        skipping=BLOCKY,
    ),
    Row(
        "ic-pruned-70-blocks",
        "the same with the fastest kernels: Winograd ones skip nothing",
        84.75,
    ),
    Row("ic-separable-70", "70 % of the MACs removed: sums of depthwise and 1x1 layers", 84.75),
)
KWS = (
    Row("kws-int8", "int8, nothing trained"),
    Row("kws-half", "half of the cycles removed, 250 unlabelled samples", 88.90),
    Row("kws-half-spoken", "the same from 3,250 samples, with those of spoken_digits.npz", 88.90),
)
WORTH = (
    Row("worth-i4-none", "4 bits: rounded on calibration data only"),
    Row("worth-i4-qat", "4 bits: qat on labels"),
    Row("worth-i4-distill", "4 bits: distilled from the original"),
    Row("worth-i4-teacher-int8", "4 bits: distilled from the network of 12 bits"),
    Row("worth-p60-none", "60 % pruned: fitted on calibration data only"),
    Row("worth-p60-finetune", "60 % pruned: fine-tuned on labels, then int8"),
    Row("worth-p60-distill", "60 % pruned: distilled from the original, then int8"),
    Row("worth-p60-int8-distill", "60 % pruned: int8, then distilled as int8"),
    Row("worth-p60-distill-then-qat", "60 % pruned: distilled, int8, then one epoch of qat"),
    Row("worth-p60-teacher-pruned", "60 % pruned in two steps, the first one teaches the second"),
)
ORDERS = (
    Row("order-pqd", "prune, quantize, distil"),
    Row("order-pdq", "prune, distil, quantize"),
    Row("order-qpd", "quantize, prune, distil"),
    Row("order-qdp", "quantize, distil, prune"),
    Row("order-dpq", "distil, prune, quantize"),
    Row("order-dqp", "distil, quantize, prune"),
)
FAST = (
    Row("ic-flash-40k", "at most 40 KB of flash, -Os", None, "Os"),
    Row("ic-flash-40k-half", "at most 40 KB of flash, half of the MACs removed, -Os", None, "Os"),
    Row("ic-fast-6m", "at most 6 M cycles, -O3", 86.25, "O3"),
    Row("ic-fast-3m5", "at most 3.5 M cycles, -O3", 84.25, "O3"),
)
STUDENTS = (
    Row("ic-int8", "int8, nothing trained", None, "O3", "student-of"),
    Row(
        "student-from-teacher",
        "stride 2 in the first layer, stage 1 left out, two layers depthwise-separable, distilled",
        82.25,
        "O3",
    ),
    Row("student-from-scratch", "the same network from random weights and labels", None, "O3"),
)
STRONGEST = ("ic-separable-50", "ic-fast-3m5", "ic-flash-40k")
TABLES = {
    "Image classification, to limits of the device": FAST,
    "Image classification, against what was asked for": GOALS,
    "A student for a third of the cycles, -O3": STUDENTS,
    "Keyword spotting from unlabelled samples": KWS,
    "What distillation is worth: one epoch at 4 bits, three at 60 % pruning": WORTH,
    "The order of pruning half of the MACs, weights of 4 bits, and three epochs of distillation": ORDERS,
}


def request(row: Row, folder: Path, scratch: Path) -> Request:
    """What to compile for a row; `scratch` is for data that is made of several files."""
    data = folder / "data"
    samples = {
        "ic": (
            "cifar10.npz:train_x[:250]",
            "cifar10.npz:train_x,train_y",
            "cifar10.npz:val_x,val_y",
        ),
        "kws": ("kws.npz:x[:250]", "kws.npz:x[:250]", "kws.npz:x[250:],y[250:]"),
    }
    calib, train, evaluation = (f"{data}/{text}" for text in samples[row.network])
    if row.pipeline.endswith("-spoken"):
        train = str(with_spoken_digits(data, scratch / "kws_and_spoken_digits.npz"))
    model = {"ic": "ic_resnet8", "kws": "kws_dscnn"}[row.network]
    return Request(
        Model.read(str(folder / "models" / f"{model}.onnx")),
        row.network,
        Target.for_cpu("cortex-m4"),
        level=row.level,
        calib=DataSpec.parse(calib),
        eval=DataSpec.parse(evaluation),
        train=train if any(name in row.text for name in TRAINING) else None,
        pipeline=row.text,
        kernels=dict.fromkeys(row.skipping, "block-sparse-4x2"),
    )


def with_spoken_digits(data: Path, file: Path) -> Path:
    """A file of the first 250 samples of keyword spotting and all of spoken_digits.npz, x alone."""
    parts = np.load(data / "kws.npz")["x"][:250], np.load(data / "spoken_digits.npz")["x"]
    np.savez(file, x=np.concatenate(parts))
    return file


def measured(report: Report, seconds: float) -> Values:
    accuracy, bits, m = report.accuracy, report.bit_exact, report.metrics
    assert accuracy is not None and bits is not None
    return {
        "accuracy": 100 * accuracy.compiled,
        "macs": m.macs,
        "cycles": m.cycles or 0,
        "flash": m.flash_bytes or 0,
        "compared": bits.samples,
        "mismatches": bits.mismatches,
        "minutes": seconds / 60,
    }


def kept(file: Path) -> tuple[dict[str, Values], dict[str, float]]:
    """Rows that are measured, and the seconds that went into those that were stopped."""
    rows, spent = dict[str, Values](), dict[str, float]()
    for line in file.read_text().splitlines() if file.exists() else []:
        found = json.loads(line)
        if "values" in found:
            rows[found["key"]] = found["values"]
        else:
            spent[found["key"]] = spent.get(found["key"], 0.0) + found["seconds"]
    return rows, spent


def document(rows: Mapping[str, Values]) -> str:
    """The tables in Markdown."""
    columns = (
        "",
        "accuracy, %",
        "wanted, %",
        "MACs",
        "cycles",
        "flash",
        "bits",
        "minutes",
        "pipeline",
    )
    parts = ["# Training after compression", "", str(__doc__).partition("\n\n")[2]]
    for title, wanted in TABLES.items():
        done = [r for r in wanted if r.key in rows]
        if not done:
            continue
        parts += [f"## {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        parts += [f"| {' | '.join(_cells(r, rows[r.key]))} |" for r in done]
        parts += [""]
    return "\n".join([*parts, *commands(r for r in (*FAST, *GOALS) if r.pipeline in STRONGEST)])


def _cells(row: Row, v: Values) -> list[str]:
    goal = "" if row.goal is None else f"{row.goal:.2f}"
    return [
        row.says, f"{v['accuracy']:.2f}", goal, f"{v['macs']:,.0f}", f"{v['cycles']:,.0f}",
        f"{v['flash']:,.0f}", f"{v['mismatches']:.0f} of {v['compared']:.0f} differ",
        f"{v['minutes']:.1f}", f"`{row.pipeline}`",
    ]  # fmt: skip


def commands(rows: Iterable[Row]) -> list[str]:
    """The command lines of rows of image classification, in a folder with the models and the data."""
    parts = ["The strongest points as commands, in a folder with the model and the data:", ""]
    for row in rows:
        parts += [
            "```sh",
            f"tinycc-nn compile ic_resnet8.onnx -mcpu=cortex-m4 -{row.level} -o {row.pipeline} --name ic \\",
            "  --calib 'cifar10.npz:train_x[:250]' --train cifar10.npz:train_x,train_y \\",
            f'  --eval cifar10.npz:val_x,val_y -p "$(cat benchmarks/pipelines/{row.file.relative_to(PIPELINES)})"',
            "```",
        ]
    return [*parts, ""]


def selected(only: Iterable[str]) -> list[Row]:
    """The rows whose pipelines start with one of the words, all if there are none."""
    every = [row for table in TABLES.values() for row in table]
    words = tuple(only)
    return [r for r in every if not words or r.key.startswith(words)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with models/ and data/")
    parser.add_argument(
        "--only", nargs="*", default=[], help="pipelines that start with these words"
    )
    parser.add_argument("--minutes", type=float, help="stop after so many, and go on another time")
    parser.add_argument("--fresh", action="store_true", help="forget the rows of earlier runs")
    given = parser.parse_args()
    file = HERE / "results" / "training.jsonl"
    if given.fresh:
        file.unlink(missing_ok=True)
    if given.minutes:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 60 * given.minutes)
    scratch = TemporaryDirectory()
    for row in selected(given.only):
        rows, spent = kept(file)
        if row.key in rows:
            continue
        started = time.monotonic()
        try:
            report = compile_model(
                request(row, given.data, Path(scratch.name)), lambda m: print(m, flush=True)
            ).report
        except KeyboardInterrupt:
            print(f"stopped in {row.key}: run it again", flush=True)
            add(file, {"key": row.key, "seconds": time.monotonic() - started})
            break
        except TinyccError as e:
            print(f"{row.key}: {e}", flush=True)
            continue
        seconds = time.monotonic() - started + spent.get(row.key, 0.0)
        values = measured(report, seconds)
        add(file, {"key": row.key, "values": dict(values)})
        print(f"{row.key}: {values}", flush=True)
    scratch.cleanup()
    signal.setitimer(signal.ITIMER_REAL, 0)
    (HERE / "results" / "training.md").write_text(document(kept(file)[0]))


def add(file: Path, line: Mapping[str, object]) -> None:
    """Append a line."""
    with file.open("a") as f:
        f.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
