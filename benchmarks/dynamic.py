"""What does an early exit save, and what does it cost?

Keyword spotting, int8, on Cortex-M4 at -O2: classifiers fitted on the first 250 samples, figures of
the last 250. The mean of the cycles is that of 4 samples for each end, weighted by the share of
samples that end there; the worst case takes no exit. `0 differ`: C on the host and on the emulated
core against the interpreter, with samples of both ends.
The first layer's kernel is forced to be the same in all rows: by itself the compiler takes
gemm-2x4-pairs there without an exit and depthwise-c-25 with one, so that the rows would differ by
more than their exits. Zeros: see skipping.py. Writes results/dynamic.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import skipping
from format_tables import table
from rich.console import Console

from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.levels import default_pipeline
from tinycc_nn.measure import measure
from tinycc_nn.onnx import read_model
from tinycc_nn.passmanager import run_pipeline
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run
from tinycc_nn.target import Target

RESULTS = Path(__file__).parent / "results" / "dynamic.md"
PASSES = ("", "early-exit", *(f"early-exit{{after=bn{n}}}" for n in (8, 12)))
KERNELS = {"bn0": "depthwise-c-25"}
COLUMNS = ("pass", "accuracy, %", "end early, %", "cycles, mean", "cycles, worst", "differ")


def row(folder: Path, made_by: str) -> list[str]:
    """A row of the table."""
    data = np.load(folder / "data" / "kws.npz")
    graph = read_model(folder / "models" / "kws_dscnn.onnx")
    name = graph.inputs[0].name
    calib, x, labels = data["x"][:250, None], data["x"][250:, None], data["y"][250:]
    lossless = parse_pipeline(default_pipeline("O2", "float32"))
    integer = parse_pipeline("quantize, quantize-interface, drop-dead-channels, simplify-reshapes")
    pipeline = (*lossless, *parse_pipeline(made_by), *integer)
    graph = run_pipeline(graph, pipeline, Context({name: calib}))
    target, samples = Target.load("cortex-m4"), stored_inputs(graph, {name: x})
    options = BackendOptions("kws", kernels=KERNELS)
    source = load_backend("tvm").compile(graph, target, options).source
    m = measure(source, graph, target, samples)
    assert m.profile is not None
    found = run(graph, samples)[0].reshape(len(x), -1).argmax(axis=1)
    early = sum(m.dynamic.exit_rates[:-1]) if m.dynamic else 0.0
    mean = m.dynamic.cycles_mean if m.dynamic else m.profile.cycles
    figures = f"{100 * np.mean(found == labels):.1f}", f"{100 * early:.1f}", f"{mean:,.0f}"
    return [made_by or "none", *figures, f"{m.profile.cycles:,}", str(m.bit_exact.mismatches)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with models/ and data/")
    given = parser.parse_args()
    console = Console(width=150)
    exits = [row(given.data, made_by) for made_by in PASSES]
    text = f"# Early exits\n\n{_about(__doc__)}\n`python benchmarks/dynamic.py --data DIR`\n\n"
    text += table(COLUMNS, exits) + f"\n# Zeros that are skipped\n\n{_about(skipping.__doc__)}"
    console.print(text, highlight=False, markup=False)
    for title, (head, *rows) in skipping.sections(given.data):
        section = f"\n## {title}\n\n{table(head, rows)}"
        console.print(section, highlight=False, markup=False)
        text += section
    RESULTS.write_text(text, encoding="utf-8")


def _about(doc: str | None) -> str:
    """A docstring without its first line."""
    return (doc or "").partition("\n\n")[2]


if __name__ == "__main__":
    main()
