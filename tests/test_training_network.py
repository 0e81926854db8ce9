"""Graphs in torch: the interpreter's numbers forward, gradients backward, and the way back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import coded
from tests.support.graphs import networks, samples
from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import F32, I8, Array, Attr, DType, Graph, Quant, TensorType
from tinycc_nn.ir.text import print_graph
from tinycc_nn.onnx import read_model
from tinycc_nn.ops import emit
from tinycc_nn.passmanager import run_pipeline
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import evaluate, run

torch = pytest.importorskip("torch", reason="needs PyTorch: the extra train")

LOSSLESS = "fold-constants, simplify, sink-transposes, simplify-reshapes, fold-bn, fuse-activation"
CODES = "quantize{weight_bits=12, weights=per-channel}, quantize-interface, quantize-weights"
ONE_STEP = 1


def compared(graph: Graph, inputs: dict[str, Array]) -> list[tuple[str, Array, Array]]:
    """Name, interpreter's and torch's stored result of every op but constants."""
    from tinycc_nn.training.network import Freedom, Network

    network = Network(graph, Freedom(train=False))
    made = [op.result for op in graph.ops if op.name != "const"]
    wanted = {op.result: a for op, a in evaluate(graph, inputs)}
    with torch.no_grad():
        found = network.integers(network.feed(inputs), made)
    pairs = zip(made, found, strict=True)
    return [(str(v), wanted[v], np.asarray(t.numpy())) for v, t in pairs]


def check_equal(graph: Graph, inputs: dict[str, Array]) -> None:
    """Floats within rounding; integers as the issue asks: 99.9 % of them equal, all by one step."""
    for name, wanted, found in compared(graph, inputs):
        w = np.broadcast_to(wanted, found.shape).astype(np.float64)
        if wanted.dtype == np.float32:
            scale = max(1.0, float(np.abs(w[np.isfinite(w)]).max(initial=0)))
            np.testing.assert_allclose(found, w, rtol=1e-4, atol=1e-4 * scale, err_msg=name)
            continue
        difference = np.abs(w - found)
        assert difference.max() <= ONE_STEP, name
        assert (difference > 0).sum() <= max(1, 0.001 * difference.size), name


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks())
def test_random_networks_compute_what_the_interpreter_computes(graph: Graph) -> None:
    check_equal(graph, samples(graph))


@settings(max_examples=40, deadline=None)
@given(coded.layers(), st.sampled_from(coded.FORMATS), st.integers(0, 2**32 - 1))
def test_layers_of_every_weight_format(layer: coded.Layer, dtype: DType, seed: int) -> None:
    random, graph = np.random.default_rng(seed), Graph("g")
    graph.outputs = [coded.add(graph, layer, dtype, random)]
    check_equal(graph, samples(graph))


UNARY = (
    "abs", "ceil", "celu", "cos", "elu", "erf", "exp", "floor", "gelu", "hard_sigmoid",
    "hard_swish", "leaky_relu", "mish", "neg", "relu", "round", "selu", "sigmoid", "sign", "sin",
    "softplus", "softsign", "swish", "tanh", "thresholded_relu",
)  # fmt: skip


@pytest.mark.parametrize("dtype", [F32, I8], ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_number(name: str, dtype: DType) -> None:
    graph = Graph("g")
    quant = None if dtype == F32 else Quant(0.04, 11)
    x = graph.add_input("x", TensorType(dtype, (1, 4, 5, 3), quant))
    result = None if dtype == F32 else Quant(0.05, -7)
    graph.outputs = [emit(graph, name, [x], quant=result)]
    check_equal(graph, samples(graph))


def test_moves_windows_and_resizing() -> None:
    graph = Graph("g")
    q = Quant(0.05, 3)
    x = graph.add_input("x", TensorType(I8, (1, 5, 6, 2), q))
    y = emit(graph, "max_pool2d", [x], {"kernel": (2, 3), "stride": (1, 1), "pad": (1, 0, 1, 1)})
    y = emit(graph, "avg_pool2d", [y], {"kernel": (2, 2), "pad": (0, 1, 1, 0)}, quant=q)
    y = emit(graph, "resize_nearest", [y], {"rows": (0, 1, 1, 2), "columns": (3, 0, 1, 1)})
    linear: dict[str, Attr] = {"rows": (0, 2), "columns": (1, 2)}
    linear |= {"row_fraction": (0.25, 0.5), "column_fraction": (0.0, 0.3)}
    y = emit(graph, "resize_linear", [y], linear, quant=q)
    y = emit(graph, "take", [y], {"axis": 3, "indices": (1, 0, 1)})
    y = emit(graph, "reduce_mean", [y], {"axes": (1, 2)}, quant=Quant(0.03, 0))
    y = emit(graph, "reshape", [y], {"shape": (1, 3)})
    graph.outputs = [emit(graph, "softmax", [y], {"axis": 1}, quant=Quant(1 / 256, -128))]
    check_equal(graph, samples(graph))


def test_a_transposed_convolution() -> None:
    graph, random = Graph("g"), np.random.default_rng(0)
    x = graph.add_input("x", TensorType(F32, (1, 4, 3, 4)))
    w = graph.constant("w", random.standard_normal((6, 3, 2, 2)).astype(np.float32))
    b = graph.constant("b", random.standard_normal(6).astype(np.float32))
    attrs: dict[str, Attr] = {
        "stride": (2, 1),
        "pad": (1, 0, 0, 1),
        "groups": 2,
        "output_pad": (1, 0),
    }
    graph.outputs = [emit(graph, "conv2d_transpose", [x, w, b], attrs)]
    check_equal(graph, samples(graph))


def digits_graph(digits: Path, passes: str) -> tuple[Graph, Array]:
    graph = read_model(digits / "digits.onnx")
    x = (
        np.load(digits / "calib.npz")["x"]
        .astype(np.float32)
        .reshape(-1, *graph.inputs[0].type.shape)
    )
    context = Context({graph.inputs[0].name: x})
    return run_pipeline(graph, parse_pipeline(f"{LOSSLESS}, {passes}"), context), x


@pytest.mark.parametrize(
    "passes",
    [
        "quantize, quantize-interface",
        f"{CODES}{{format=i4}}",
        f"{CODES}{{format=ternary}}",
        f"{CODES}{{format='posit<5,1>'}}".replace("'", '"'),
        f'{CODES}{{format="book<16>"}}',
    ],
)
def test_the_int8_digits_network_is_bit_exact(digits: Path, passes: str) -> None:
    graph, x = digits_graph(digits, passes)
    for name, wanted, found in compared(graph, stored_inputs(graph, {graph.inputs[0].name: x})):
        if wanted.dtype == np.int8:
            assert (wanted == found).mean() >= 0.999, name
            assert np.abs(wanted - found).max() <= ONE_STEP, name


@pytest.mark.data
@pytest.mark.parametrize("model", ["ic_resnet8", "kws_dscnn"])
def test_the_benchmark_networks_are_bit_exact(data_dir: Path, model: str) -> None:
    graph = read_model(data_dir / "models" / f"{model}.onnx")
    name = {"ic_resnet8": "cifar10", "kws_dscnn": "kws"}[model]
    file = np.load(data_dir / "data" / f"{name}.npz")
    x = file["val_x" if name == "cifar10" else "x"][:64].astype(np.float32)
    x = x.reshape(-1, *graph.inputs[0].type.shape)
    context = Context({graph.inputs[0].name: x})
    pipeline = parse_pipeline(f"{LOSSLESS}, quantize, quantize-interface")
    graph = run_pipeline(graph, pipeline, context)
    check_equal(graph, stored_inputs(graph, context.calibration))


@pytest.mark.parametrize("passes", ["", "quantize, quantize-interface", f"{CODES}{{format=i4}}"])
def test_untrained_parameters_come_back_bit_for_bit(digits: Path, passes: str) -> None:
    from tinycc_nn.training.network import Freedom, Network

    graph, _ = digits_graph(digits, passes or "dead-code")
    before = print_graph(graph)
    Network(graph, Freedom(steps=True, ranges=True)).write()
    assert print_graph(graph) == before


@pytest.mark.parametrize("options", ["format=i4", 'format="posit<5,0>"', "format=binary"])
def test_codes_that_make_up_for_each_other_are_where_training_starts(
    digits: Path, options: str
) -> None:
    from tinycc_nn.training.network import Freedom, Network

    before, _ = digits_graph(digits, CODES.removesuffix(", quantize-weights"))
    graph, _ = digits_graph(digits, f"{CODES}{{{options}}}")
    text = print_graph(graph)
    network = Network(graph, Freedom(steps=True, ranges=True), [before, graph])
    own = Network(graph, Freedom(steps=True, ranges=True))
    pairs = zip(network.parameters(), own.parameters(), strict=True)
    assert any((a != b).any() for a, b in pairs), "weights come from before the rounding"
    network.write()
    assert print_graph(graph) == text


def test_steps_have_the_gradients_of_learned_step_sizes() -> None:
    """Of the rule in Esser et al., equation 3: what rounding leaves, or the end of the range."""
    from tinycc_nn.training.weights import CodedWeight

    graph = Graph("g")
    w = np.array([[0.33, -0.7, 5.0]], np.float32)
    v = graph.constant("w", np.array([[1, 7, 3]], np.uint8), Quant(0.5), dtype=DType.parse("i3"))
    coded_weight = CodedWeight(v, w, np.zeros_like(w, bool), learn=True, device="cpu")
    coded_weight.refresh(torch.zeros(1, dtype=torch.float64))
    read = coded_weight.integers() * coded_weight.steps
    assert read.tolist() == [[0.5, -0.5, 1.5]]
    read.sum().backward()
    u = w / 0.5
    expected = 0.5 * ((1 - u[0, 0]) + (-1 - u[0, 1]) + 3)
    assert coded_weight.log is not None
    assert float(coded_weight.log.grad) == pytest.approx(float(expected), rel=1e-5)
    assert (coded_weight.latent.grad != 0).tolist() == [[True, True, False]]


def test_what_has_no_gradient_is_named() -> None:
    from tinycc_nn.training.network import Freedom, Network

    graph = Graph("g")
    x = graph.add_input("x", TensorType(F32, (1, 3, 3, 2)))
    w = graph.add_input("w", TensorType(F32, (4, 1, 1, 2)))
    graph.outputs = [emit(graph, "conv2d", [x, w])]
    with pytest.raises(TinyccError, match="conv2d %conv2d can't be trained: its weights are not"):
        Network(graph, Freedom())


def test_batch_norm_uses_its_own_statistics_unless_it_trains() -> None:
    from tinycc_nn.training.network import Freedom, Network

    graph, random = Graph("g"), np.random.default_rng(0)
    x = graph.add_input("x", TensorType(F32, (1, 4, 4, 3)))
    p = [random.uniform(0.5, 2, 3).astype(np.float32) for _ in range(4)]
    graph.outputs = [emit(graph, "batch_norm", [x, *(graph.constant("p", a) for a in p)])]
    inputs = samples(graph)
    check_equal(graph, inputs)
    network = Network(graph, Freedom())
    (y,) = network.integers(network.feed(inputs), graph.outputs)
    mean = y.detach().mean(dim=(0, 1, 2, 3)).numpy()
    np.testing.assert_allclose(mean, p[1], atol=1e-5)
    network.write()
    gamma, _, mean_then, _ = (v.constant for v in graph.ops[-1].operands[1:])
    assert np.array_equal(np.asarray(gamma), p[0])
    assert not np.array_equal(np.asarray(mean_then), p[2])
    assert run(graph, inputs)[0].shape == (6, 1, 4, 4, 3)


def test_normalization_starts_as_the_network_and_folds_into_its_weights(digits: Path) -> None:
    from tinycc_nn.training.network import Freedom, Network

    graph, x = digits_graph(digits, "separate-conv{calibrate=false}")
    inputs = stored_inputs(graph, {graph.inputs[0].name: x[:64]})
    before, samples_of = run(graph, inputs)[0], {k: a[:32] for k, a in inputs.items()}
    network = Network(graph, Freedom())
    plain = len(network.parameters())
    network.normalize(samples_of)
    assert len(network.parameters()) > plain
    convolutions = [op for op in graph.ops if op.name == "conv2d"]
    assert any(len(op.operands) == 2 for op in convolutions), "one has no bias yet"

    def judged() -> Array:
        network.training = False
        with torch.no_grad():
            found = network.integers(network.feed(inputs), graph.outputs)[0]
        network.training = True
        return np.asarray(found.numpy())

    scale = float(np.abs(before).max())
    np.testing.assert_allclose(judged(), before, atol=1e-5 * scale)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(3):
        found = network.forward(network.feed(samples_of), graph.outputs)[graph.outputs[0]]
        (found - 1).square().mean().backward()
        optimizer.step()
    wanted = judged()
    assert np.abs(wanted - before).max() > 0.01 * scale
    network.write()
    np.testing.assert_allclose(run(graph, inputs)[0], wanted, atol=1e-4 * scale)


def test_normalization_of_a_single_position_uses_what_it_knows() -> None:
    from tinycc_nn.training.normalize import Normalization

    known = Normalization(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([0.5, -1.0]))
    one = known(torch.tensor([[4.0, 0.0]]), training=True)
    np.testing.assert_allclose(one.detach().numpy(), [[4.5, -1.0]], atol=1e-5)


@pytest.mark.parametrize("passes", ["dead-code", "quantize, quantize-interface"])
def test_coarse_gradients_are_near_and_int8_sums_stay_exact(digits: Path, passes: str) -> None:
    from tinycc_nn.training.network import Freedom, Network

    graph, x = digits_graph(digits, passes)
    inputs = stored_inputs(graph, {graph.inputs[0].name: x[:32]})
    gradients, results = [], list[Array]()
    for network in (Network(graph, Freedom()), Network(graph, Freedom(precision="bfloat16"))):
        found = network.forward(network.feed(inputs), graph.outputs)[graph.outputs[0]]
        found.square().sum().backward()
        gradients.append([t.grad.ravel().numpy() for t in network.parameters()])
        results.append(found.detach().numpy())
    exact, coarse = (np.concatenate(g) for g in gradients)
    error = np.linalg.norm(coarse - exact) / np.linalg.norm(exact)
    assert 0 < error < 0.05
    fine, rough = results
    if "quantize" in passes:
        assert np.array_equal(fine, rough)
    else:
        assert not np.array_equal(fine, rough)
        np.testing.assert_allclose(rough, fine, rtol=0.1, atol=0.05 * np.abs(fine).max())
