"""The accuracy of int8 networks on the benchmark data: from float, and as quantized by others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.onnx_models import onnxruntime_session
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import Array
from tinycc_nn.onnx import read_model
from tinycc_nn.passes.fuse_qdq import FuseQdq
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run

pytestmark = pytest.mark.data

PREPARE = "sink-transposes, fold-bn, fuse-activation"


def network(folder: Path, name: str) -> Graph:
    return read_model(folder / "models" / f"{name}.onnx")


def compiled(g: Graph, pipeline: str, samples: Array | None = None) -> Graph:
    context = Context({} if samples is None else {g.inputs[0].name: samples})
    for p in parse_pipeline(pipeline):
        g = p(g, context)
    return g


def output(g: Graph, x: Array) -> Array:
    """The first output, [samples, n], for samples without or with the batch axis of the network."""
    (y,) = run(g, {g.inputs[0].name: x.reshape(len(x), *g.inputs[0].type.shape)})
    return y.reshape(len(x), -1)


def accuracy(y: Array, labels: Array) -> float:
    return float(100 * np.mean(y.argmax(axis=1) == labels))


def test_keyword_spotting(data_dir: Path) -> None:
    data = np.load(data_dir / "data" / "kws.npz")
    g = network(data_dir, "kws_dscnn")
    q = compiled(g, f"{PREPARE}, quantize", data["x"][:250, None])
    assert accuracy(output(q, data["x"][250:]), data["y"][250:]) >= 89.5


def test_image_classification(data_dir: Path) -> None:
    data = np.load(data_dir / "data" / "cifar10.npz")
    g = network(data_dir, "ic_resnet8")
    q = compiled(g, f"{PREPARE}, quantize", data["train_x"][:250, None].astype(np.float32))
    assert accuracy(output(q, data["val_x"].astype(np.float32)), data["val_y"]) >= 86.5


def test_anomaly_detection(data_dir: Path) -> None:
    x = np.load(data_dir / "data" / "ad.npz")["x"]
    g = network(data_dir, "ad_autoencoder")
    q = compiled(g, f"{PREPARE}, quantize", x[:98, None])
    assert float(np.mean((output(g, x) - x) ** 2)) == pytest.approx(9.707, abs=0.001)
    assert float(np.mean((output(q, x) - x) ** 2)) < 9.9


@pytest.mark.parametrize("name", ["kws_dscnn_qdq", "ic_resnet8_qdq", "ad_autoencoder_qdq"])
def test_networks_quantized_by_others(data_dir: Path, name: str) -> None:
    session = onnxruntime_session(data_dir / "models" / f"{name}.onnx")
    source = {"kws": "kws", "ic_": "cifar10", "ad_": "ad"}[name[:3]]
    data = np.load(data_dir / "data" / f"{source}.npz")
    x = (data["val_x"] if source == "cifar10" else data["x"])[-500:].astype(np.float32)
    if x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    (feed,) = session.get_inputs()
    want = np.concatenate([session.run(None, {feed.name: x[i : i + 1]})[0] for i in range(len(x))])
    g = network(data_dir, name)
    f = FuseQdq()(compiled(g, PREPARE))
    layers = [op for op in f.ops if op.name in ("conv2d", "dense", "add", "softmax")]
    assert layers and all(op.type.dtype.name == "i8" for op in layers)
    got = output(f, x)
    if source == "ad":
        assert np.abs(got - want.reshape(got.shape)).max() <= 0.5
        return
    same = np.mean(got.argmax(axis=1) == want.reshape(got.shape).argmax(axis=1))
    labels = data["val_y" if source == "cifar10" else "y"][-500:]
    assert same >= 0.98
    assert abs(accuracy(got, labels) - accuracy(want.reshape(got.shape), labels)) <= 0.6
