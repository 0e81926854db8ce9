"""Which settings of the pass `quantize` keep most of the float accuracy?

Accuracy in percent (keyword spotting, image classification) and mean squared reconstruction error
(anomaly detection) of the int8 networks in the interpreter, calibrated on at most 250 samples.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import Array
from tinycc_nn.levels import default_pipeline
from tinycc_nn.onnx import read_model
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run

SETTINGS = (
    "quantize",
    "quantize{weights=per-channel}",
    "quantize{weights=per-tensor}",
    "equalize, quantize{weights=per-tensor}",
    "quantize{activations=symmetric}",
    "quantize{bias_correction=false}",
    "quantize{method=percentile}",
    "quantize{method=percentile, percentile=99.999}",
    "quantize{method=mse}",
    "quantize{method=mse, bias_correction=false}",
    "quantize{method=entropy}",
)


@dataclass(frozen=True)
class Case:
    """A float network with samples [n, *input]; without labels the output is the input again."""

    graph: Graph
    calib: Array
    x: Array
    labels: Array | None

    def score(self, pipeline: str) -> float:
        """Accuracy in percent, or mean squared error, after a pipeline."""
        g, name = self.graph, self.graph.inputs[0].name
        for p in parse_pipeline(pipeline):
            g = p(g, Context({name: self.calib}))
        y = run(g, {name: self.x})[0].reshape(len(self.x), -1)
        if self.labels is None:
            return float(np.mean((y - self.x.reshape(y.shape)) ** 2))
        return float(100 * np.mean(y.argmax(axis=1) == self.labels))


def cases(folder: Path) -> dict[str, Case]:
    kws, cifar, ad = (np.load(folder / "data" / f"{n}.npz") for n in ("kws", "cifar10", "ad"))
    pixels, images = (cifar[n].astype(np.float32)[:, None] for n in ("train_x", "val_x"))

    def graph(name: str) -> Graph:
        g = read_model(folder / "models" / f"{name}.onnx")
        for p in parse_pipeline(default_pipeline("O2", "float32")):
            g = p(g, Context())
        return g

    x, y = kws["x"][:, None], kws["y"]
    return {
        "KWS, %": Case(graph("kws_dscnn"), x[:250], x[250:], y[250:]),
        "IC, %": Case(graph("ic_resnet8"), pixels[:250], images, cifar["val_y"]),
        "AD, squared error": Case(
            graph("ad_autoencoder"), ad["x"][:98, None], ad["x"][:, None], None
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with models/ and data/")
    found = cases(parser.parse_args().data)
    table = Table("passes", *found)
    for setting in ("", *SETTINGS):
        table.add_row(setting or "float", *(f"{c.score(setting):.3f}" for c in found.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
