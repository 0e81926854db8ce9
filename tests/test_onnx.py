"""The ONNX driver: what it folds, what it names, and what it says of bad models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_models import onnxruntime_session
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import I8, Array, Graph, Quant
from tinycc_nn.onnx import read_model
from tinycc_nn.ops import verify
from tinycc_nn.reference import run

Shape = Sequence[int | str | None]


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape] | None = None,
    arrays: Mapping[str, Array] | None = None,
    *,
    outputs: Sequence[str] = ("y",),
    kinds: Mapping[str, int] | None = None,
    opset: int = 17,
    microsoft: bool = False,
) -> onnx.ModelProto:
    kinds = kinds or {}
    graph = helper.make_graph(
        list(nodes),
        "test",
        [
            helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), s)
            for n, s in (inputs or {"x": (1, 4)}).items()
        ],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
        [numpy_helper.from_array(a, n) for n, a in (arrays or {}).items()],
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid("com.microsoft", 1)] * microsoft
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def read(m: onnx.ModelProto, dims: Mapping[str, int] | None = None) -> Graph:
    return read_model(m.SerializeToString(), dims)


def node(op: str, inputs: str, outputs: str = "y", **attrs: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), name=f"the_{op}", **attrs)


def ops(g: Graph) -> list[str]:
    return [op.name for op in g.ops if op.name != "const"]


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


def test_shape_arithmetic_disappears() -> None:
    g = read(
        model(
            [
                node("Shape", "x", "s"),
                node("Gather", "s zero", "n"),
                node("Unsqueeze", "n axes", "n1"),
                node("Concat", "n1 minus", "shape", axis=0),
                node("Reshape", "x shape", "y"),
            ],
            {"x": (2, 3, 4)},
            {
                "zero": np.array(0, np.int64),
                "axes": np.array([0], np.int64),
                "minus": np.array([-1], np.int64),
            },
        )
    )
    assert ops(g) == ["reshape"]
    assert g.outputs[0].type.shape == (2, 12)


def test_a_node_with_constant_inputs_is_folded_by_its_meaning() -> None:
    g = read(model([node("Sigmoid", "w", "v"), node("Add", "x v")], arrays={"w": f32(0)}))
    assert ops(g) == ["add"]
    assert g.ops[-1].operands[1].constant == pytest.approx(0.5)


def test_an_initializer_that_is_also_an_input_is_a_constant() -> None:
    g = read(model([node("Add", "x w")], {"x": (1, 1), "w": (1, 1)}, {"w": f32(2).reshape(1, 1)}))
    assert [v.name for v in g.inputs] == ["x"]


def test_nodes_that_nothing_needs_are_not_looked_at() -> None:
    assert ops(read(model([node("Relu", "x"), node("Mystery", "x", "z")]))) == ["relu"]


def test_nodes_in_any_order() -> None:
    assert ops(read(model([node("Relu", "a"), node("Neg", "x", "a")]))) == ["neg", "relu"]


def test_outputs_keep_their_names() -> None:
    g = read(
        model(
            [node("Conv", "x w", "a/b:0"), node("Relu", "a/b:0", "y"), node("Identity", "x", "z")],
            {"x": (1, 1, 4, 4)},
            {"w": np.ones((1, 1, 3, 3), np.float32)},
            outputs=["y", "a/b:0", "z"],
        )
    )
    assert [v.name for v in g.outputs] == ["y", "a/b_0", "z"]
    assert len({v.name for op in g.ops for v in op.results}) == len(g.ops)


def test_one_value_for_two_outputs() -> None:
    nodes = [node("Relu", "x"), node("Identity", "y", "z")]
    g = read(model(nodes, outputs=["y", "z"]))
    a, b = run(g, {"x": f32(-1, 0, 1, 2).reshape(1, 1, 4)})
    assert [v.name for v in g.outputs] == ["y", "z"]
    np.testing.assert_array_equal(a, b)


def test_a_symbolic_batch_is_one() -> None:
    assert read(model([node("Relu", "x")], {"x": ("N", 4)})).inputs[0].type.shape == (1, 4)


def test_input_dims() -> None:
    m = model([node("Relu", "x")], {"x": ("N", "time", None)})
    with pytest.raises(TinyccError, match=r"symbolic dimensions: time, x\.2"):
        read(m)
    assert read(m, {"time": 7, "x.2": 3, "N": 2}).inputs[0].type.shape == (2, 7, 3)
    with pytest.raises(TinyccError, match=r"no symbolic dimension 'tim'(.|\n)*did you mean 'time'"):
        read(m, {"tim": 7})
    with pytest.raises(TinyccError, match="time=0 must be positive"):
        read(m, {"time": 0})


QUANT = {"s": np.float32(0.5), "z": np.uint8(130)}


def test_uint8_becomes_int8() -> None:
    arrays = {k: np.array(v) for k, v in QUANT.items()}
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z")]
    g = read(model(nodes, arrays=arrays))
    assert g.ops[0].type.quant == Quant(0.5, 2)
    x = f32(-100, -0.6, 0.6, 100).reshape(1, 1, 4)
    assert run(g, {"x": x})[0].ravel().tolist() == [-65, -0.5, 0.5, 62.5]


def test_a_quantized_input_takes_the_scale_of_its_reader() -> None:
    arrays = {k: np.array(v) for k, v in QUANT.items()}
    g = read(
        model([node("DequantizeLinear", "x s z")], arrays=arrays, kinds={"x": TensorProto.UINT8})
    )
    assert (g.inputs[0].type.dtype, g.inputs[0].type.quant) == (I8, Quant(0.5, 2))


def test_weights_keep_one_scale_per_channel_through_a_transpose() -> None:
    arrays: dict[str, Array] = {
        "w": np.arange(-6, 6, dtype=np.int8).reshape(2, 1, 3, 2),
        "s": f32(0.5, 2),
        "z": np.zeros(2, np.int8),
    }
    nodes = [
        node("DequantizeLinear", "w s z", "v", axis=0),
        node("Transpose", "v", "t", perm=[2, 0, 1, 3]),
        node("Add", "x t"),
    ]
    g = read(model(nodes, {"x": (3, 2, 1, 2)}, arrays))
    got = run(g, {"x": np.zeros((1, 3, 2, 1, 2), np.float32)})[0][0]
    scale = arrays["s"].reshape(2, 1, 1, 1)
    np.testing.assert_array_equal(got, (arrays["w"] * scale).transpose(2, 0, 1, 3))


def test_qlinear_add_is_quantized_by_onnxruntime_too() -> None:
    arrays: dict[str, Array] = {
        "sa": np.array(0.1, np.float32),
        "za": np.array(3, np.int8),
        "sy": np.array(0.15, np.float32),
        "zy": np.array(-5, np.int8),
    }
    add = node("QLinearAdd", "q sa za q sa za sy zy", "r")
    add.domain = "com.microsoft"
    nodes = [node("QuantizeLinear", "x sa za", "q"), add, node("DequantizeLinear", "r sy zy")]
    m = model(nodes, {"x": (1, 100)}, arrays, microsoft=True)
    x = np.random.default_rng(0).normal(0, 5, (1, 100)).astype(np.float32)
    (want,) = onnxruntime_session(m.SerializeToString()).run(None, {"x": x})
    got = run(read(m), {"x": x[None]})[0][0]
    assert np.abs(got - want).max() <= 0.1501
    assert np.mean(got != want) < 0.1


def test_everything_unsupported_in_one_error() -> None:
    nodes = [
        node("Mystery", "x", "a"),
        node("Relu", "a", "b", slope=1.0),
        helper.make_node("Gelu", ["b"], ["y"], name="g", domain="org.example"),
    ]
    with pytest.raises(TinyccError) as e:
        read(model(nodes))
    text = str(e.value)
    assert "node 'the_Mystery' (Mystery): unknown operator" in text
    assert "node 'the_Relu' (Relu): the attribute 'slope' is not known" in text
    assert "node 'g' (Gelu): the domain 'org.example' is not known" in text
    assert "tinycc-nn ops --onnx" in text


def test_errors_of_independent_nodes_are_collected() -> None:
    nodes = [
        node("Reshape", "x s", "a"),
        node("Relu", "a", "b"),
        node("Gather", "x x", "c"),
        node("Add", "b c"),
    ]
    with pytest.raises(TinyccError) as e:
        read(model(nodes, arrays={"s": np.array([3], np.int64)}))
    assert "2 nodes can't be read" in str(e.value)
    assert "the_Reshape" in str(e.value)
    assert "the_Gather" in str(e.value)
    assert "the_Relu" not in str(e.value)


BAD = {
    "cycle: node 'the_Relu' (Relu), node 'the_Neg' (Neg)": model(
        [node("Relu", "a"), node("Neg", "y", "a")]
    ),
    "nothing defines the input 'w'": model([node("Add", "x w")]),
    "nothing defines the output 'y'": model([node("Relu", "x", "z")]),
    "'y' is defined twice": model([node("Relu", "x"), node("Neg", "x")]),
    "the model has opset 6": model([node("Relu", "x")], opset=6),
    "the input 'x' is int64": model([node("Relu", "x")], kinds={"x": TensorProto.INT64}),
    "'s' must be known at compile time": model(
        [node("Reshape", "x s")], {"x": (1, 4), "s": (2,)}
    ),
    "tensors at run time are float32": model(
        [node("Add", "x w")], arrays={"w": np.array([1], np.int64)}
    ),
    "8-bit integers without a scale": model([node("Relu", "x")], kinds={"x": TensorProto.INT8}),
    "the zero points differ": model(
        [node("DequantizeLinear", "w s z", "v"), node("Add", "x v")],
        arrays={
            "w": np.ones((1, 2), np.int8),
            "s": f32(1, 2),
            "z": np.array([0, 1], np.int8),
        },
    ),
    "a subgraph": model(
        [node("If", "c", then_branch=model([node("Relu", "x")]).graph)],
        arrays={"c": np.array(True)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_bad_models(message: str) -> None:
    with pytest.raises(TinyccError) as e:
        read(BAD[message])
    assert message in str(e.value)


def test_external_data() -> None:
    m = model([node("Add", "x w")], arrays={"w": f32(1)})
    m.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(
        TinyccError, match=r"'w' is stored outside(.|\n)*save the model in one file"
    ):
        read(m)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "is empty"), (b"not a model", "not an ONNX model"), (b"\x08\x07", "has no graph")],
)
def test_files_that_are_no_models(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(TinyccError, match=message) as e:
        read_model(path)
    assert e.value.where == str(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TinyccError, match="can't read the model: No such file"):
        read_model(tmp_path / "m.onnx")


def test_a_truncated_file(digits: Path) -> None:
    data = (digits / "digits.onnx").read_bytes()
    with pytest.raises(TinyccError, match="truncated"):
        read_model(data[: len(data) // 2])


SMALL = model(
    [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
        node("Clip", "c lo hi", "r"),
        node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", "p", "s"),
        node("Slice", "s zero one", "n"),
        node("Concat", "n minus", "shape", axis=0),
        node("Reshape", "p shape", "f"),
        node("Pad", "f pads", "g", mode="reflect"),
        node("QuantizeLinear", "g qs qz", "q"),
        node("DequantizeLinear", "q qs qz", "d"),
        node("Softmax", "d", "y", axis=1),
    ],
    {"x": (1, 1, 4, 4)},
    {
        "w": np.ones((2, 1, 3, 3), np.float32),
        "b": f32(0, 1),
        "lo": np.array(0, np.float32),
        "hi": np.array(6, np.float32),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "minus": np.array([-1], np.int64),
        "pads": np.array([0, 1, 0, 1], np.int64),
        "qs": np.array(0.1, np.float32),
        "qz": np.array(3, np.int8),
    },
).SerializeToString()


def test_the_small_model_is_good() -> None:
    read_model(SMALL)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(SMALL) - 1), st.sampled_from("=+-"), st.integers(0, 255)),
        min_size=1,
        max_size=4,
    )
)
def test_mutated_models_give_a_diagnostic_or_a_valid_graph(
    edits: list[tuple[int, str, int]],
) -> None:
    data = bytearray(SMALL)
    for at, how, byte in edits:
        at %= len(data)
        data[at : at + (how != "+")] = b"" if how == "-" else bytes([byte])
    try:
        g = read_model(bytes(data))
    except TinyccError:
        return
    verify(g)
