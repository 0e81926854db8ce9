"""early-exit and exit_if: who is sure, what is skipped, and the same bits on either way."""

from __future__ import annotations

import numpy as np
import pytest

from tinycc_nn.accuracy import mismatches, stored_inputs
from tinycc_nn.backend import Artifact, BackendOptions, load_backend
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.diagnostics import LimitError, TinyccError
from tinycc_nn.exits import exits, staged, taken
from tinycc_nn.ir import F32, I8, Array, Graph, Quant, TensorType, Value
from tinycc_nn.measure import measure, run_samples
from tinycc_nn.ops import emit, verify
from tinycc_nn.passes._classifier import fit, softmax
from tinycc_nn.passes.early_exit import EarlyExit
from tinycc_nn.passes.quantize import Quantize
from tinycc_nn.passes.quantize_interface import QuantizeInterface
from tinycc_nn.pipeline import Context
from tinycc_nn.reference import run
from tinycc_nn.target import Target

RNG = np.random.default_rng(8)
PROBABILITIES = Quant(1 / 256, -128)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def layer(g: Graph, x: Value, out: int, name: str, **attrs: object) -> Value:
    w = g.constant(f"{name}.w", normal(out, 3, 3, x.type.shape[-1]) / 3)
    return emit(g, "conv2d", [x, w], {"act": "relu", "pad": (1, 1, 1, 1)}, result=name)


def network() -> Graph:
    """Three convolutions, whose mean over the image a dense layer classifies."""
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 6, 6, 2)))
    a = layer(g, x, 8, "one")
    c = layer(g, layer(g, a, 8, "two"), 8, "three")
    m = emit(g, "reduce_mean", [c], {"axes": (1, 2), "keep": False}, result="mean")
    z = emit(g, "dense", [m, g.constant("v", 3 * normal(3, 8))], result="z")
    g.outputs = [emit(g, "softmax", [z], {"axis": 1}, result="y")]
    return g


NETWORK = network()
X = (normal(120, 1, 6, 6, 2) + 2 * normal(120, 1, 1, 1, 2)).astype(np.float32)
DATA = Context({"x": X})
EARLY = EarlyExit(after="one", exits=0.5)(NETWORK, DATA)
QUANTIZED = QuantizeInterface()(Quantize()(EARLY, DATA))


def choice(early: Array, final: Array, threshold: float, quant: Quant | None = None) -> Graph:
    g = Graph("g")
    t = TensorType(F32 if quant is None else I8, early.shape[1:], quant)
    e, f = g.add_input("e", t), g.add_input("f", t)
    g.outputs = [emit(g, "exit_if", [e, f], {"threshold": threshold})]
    verify(g)
    return g


def test_each_sample_chooses_by_its_largest_element() -> None:
    e = np.array([[[0.2, 0.8]], [[0.6, 0.4]], [[0.75, 0.25]]], np.float32)
    f = -np.ones((3, 1, 2), np.float32)
    (y,) = run(choice(e, f, 0.75), {"e": e, "f": f})
    np.testing.assert_array_equal(y, np.stack([e[0], f[1], e[2]]))


@pytest.mark.parametrize(
    ("threshold", "stored", "sure"),
    [
        (0.75, 64, True),
        (0.75, 63, False),
        (0.7501, 64, False),
        (1.0, 127, False),
        (0.0, -128, True),
    ],
)
def test_a_threshold_of_integers_is_rounded_up(threshold: float, stored: int, sure: bool) -> None:
    e, f = np.full((1, 1, 2), stored, np.int8), np.full((1, 1, 2), 5, np.int8)
    (y,) = run(choice(e, f, threshold, PROBABILITIES), {"e": e, "f": f})
    np.testing.assert_array_equal(y, e if sure else f)


def test_operands_of_other_types_are_refused() -> None:
    g = Graph("g")
    e = g.add_input("e", TensorType(I8, (1, 3), PROBABILITIES))
    f = g.add_input("f", TensorType(I8, (1, 3), Quant(0.5, 0)))
    with pytest.raises(TinyccError, match="do not go together"):
        emit(g, "exit_if", [e, f], {"threshold": 0.5})


def test_half_of_the_samples_end_early_as_wished() -> None:
    ends = taken(EARLY, {"x": X})
    assert 0.4 <= (ends == 0).mean() <= 0.7
    whole, early = run(NETWORK, {"x": X})[0], run(EARLY, {"x": X})[0]
    np.testing.assert_allclose(early[ends == 1], whole[ends == 1], atol=1e-6)
    assert not np.allclose(early[ends == 0], whole[ends == 0], atol=1e-6)


def test_loss_bounds_the_samples_with_another_class() -> None:
    out = EarlyExit(after="two", loss=0.02)(NETWORK, DATA)
    assert (taken(out, {"x": X}) == 0).any()
    classes = [run(g, {"x": X})[0].reshape(len(X), -1).argmax(axis=1) for g in (NETWORK, out)]
    # What chose the threshold was fitted without each sample: the classifier itself is no worse.
    assert (classes[0] != classes[1]).mean() <= 0.02


def test_without_a_name_the_layer_that_saves_most_is_taken() -> None:
    op = EarlyExit(exits=0.5)(NETWORK, DATA).outputs[0].owner
    assert op is not None and op.operands[0].name == "one.exit"


def test_the_threshold_survives_quantization() -> None:
    before, after = (g.outputs[0].owner for g in (EARLY, QUANTIZED))
    assert before is not None and after is not None and after.name == "exit_if"
    assert before.attrs == after.attrs and after.type.quant == PROBABILITIES
    a, b = taken(EARLY, {"x": X}), taken(QUANTIZED, stored_inputs(QUANTIZED, {"x": X}))
    assert (a == b).mean() > 0.9


def compiled(graph: Graph, cpu: str = "cortex-m4", level: str = "O2") -> Artifact:
    options = BackendOptions("net", level)
    return load_backend("tvm").compile(graph, Target.load(cpu), options)


@pytest.mark.parametrize(
    ("graph", "cpu"),
    [(EARLY, "cortex-m4"), (QUANTIZED, "cortex-m4"), (QUANTIZED, "cortex-m0plus")],
    ids=["float", "int8", "int8 without DSP"],
)
def test_both_ways_give_the_bits_of_the_interpreter(graph: Graph, cpu: str) -> None:
    inputs = {k: a[:24] for k, a in stored_inputs(graph, {"x": X}).items()}
    ends = taken(graph, inputs)
    assert {0, 1} == set(ends)
    source = compiled(graph, cpu).source
    wanted = run(graph, inputs)
    device = Device(source, Target.load(cpu))
    for runner in (HostLibrary(source), device):
        assert not mismatches(wanted, run_samples(runner, graph, inputs)).any()
    short, long = (inputs["x"][np.flatnonzero(ends == e)[0]] for e in (0, 1))
    assert device.cycles([short]) < 0.8 * device.cycles([long])


def test_the_worst_case_and_the_mean_are_measured() -> None:
    source, target = compiled(QUANTIZED).source, Target.load("cortex-m4")
    assert source.worst_case == "NET_WORST_CASE"
    samples = stored_inputs(QUANTIZED, {"x": X})
    m = measure(source, QUANTIZED, target, samples, compared=1)
    assert m.profile is not None and m.dynamic is not None
    assert len(m.profile.layers) == len(source.layer_symbols)
    assert sum(m.dynamic.exit_rates) == pytest.approx(1)
    ends, device = taken(QUANTIZED, samples), Device(source, target)
    each = [device.cycles([samples["x"][np.flatnonzero(ends == e)[0]]]) for e in (0, 1)]
    assert m.profile.cycles == pytest.approx(each[1], rel=0.01)
    mean = np.dot(m.dynamic.exit_rates, each)
    assert m.dynamic.cycles_mean == pytest.approx(mean, rel=0.01)
    assert m.bit_exact.samples == 2, "one for each end"


def test_a_network_without_exits_has_neither() -> None:
    assert compiled(NETWORK).source.worst_case == ""
    assert exits(NETWORK) == [] and staged(NETWORK).graph is NETWORK


def test_two_exits_end_in_the_order_of_the_layers() -> None:
    g = QuantizeInterface()(Quantize()(two_exits("one", "two"), DATA))
    assert len(exits(g)) == 2
    inputs = stored_inputs(g, {"x": X})
    ends = taken(g, inputs)
    assert set(ends) == {0, 1, 2}
    some = {"x": inputs["x"][[np.flatnonzero(ends == e)[0] for e in (0, 1, 2)]]}
    source = compiled(g).source
    device = Device(source, Target.load("cortex-m4"))
    assert not mismatches(run(g, some), run_samples(device, g, some)).any()
    cycles = [device.cycles([x]) for x in some["x"]]
    assert cycles == sorted(cycles)


def test_the_exit_that_counts_more_is_looked_at_first() -> None:
    """Though what the other looks at could be computed before."""
    g = QuantizeInterface()(Quantize()(two_exits("two", "one"), DATA))
    assert [op.operands[0].name for op in exits(g)] == ["two.exit", "one.exit"]
    inputs = {k: a[:24] for k, a in stored_inputs(g, {"x": X}).items()}
    artifact = compiled(g)
    assert [layer.kernel for layer in artifact.layers if layer.op == "exit_if"] == ["exit", "exit"]
    assert not mismatches(
        run(g, inputs), run_samples(HostLibrary(artifact.source), g, inputs)
    ).any()


def test_an_exit_that_needs_what_another_looks_at_is_a_choice() -> None:
    """No inference can end at the second one, since it is known before the first."""
    g = QUANTIZED.clone()
    head = g.outputs[0].owner
    assert head is not None
    early = head.operands[0]
    inner = emit(g, "exit_if", [early, head.operands[1]], {"threshold": 0.3}, before=head)
    g.set_operand(head, 1, inner)
    assert exits(g) == [head]
    inputs = {k: a[:24] for k, a in stored_inputs(g, {"x": X}).items()}
    artifact = compiled(g)
    kernels = [layer.kernel for layer in artifact.layers if layer.op == "exit_if"]
    assert sorted(kernels) == ["exit", "generic"]
    assert not mismatches(
        run(g, inputs), run_samples(HostLibrary(artifact.source), g, inputs)
    ).any()


def two_exits(first: str, second: str) -> Graph:
    """The network with an exit after `second`, that counts where the one after `first` doesn't."""
    inner = EarlyExit(after=second, exits=0.6)(NETWORK, DATA)
    outer = EarlyExit(after=first, exits=0.3)(NETWORK, DATA)
    head = outer.outputs[0].owner
    assert head is not None
    values = {op.result.name: op.result for op in inner.ops} | {v.name: v for v in inner.inputs}
    added: dict[str, Value] = {}
    behind = inner.ops[inner.ops.index(values[first].owner) + 1]  # type: ignore[arg-type]
    for op in outer.ops:
        if ".exit" not in op.result.name:
            continue
        operands = [added.get(v.name, values.get(v.name)) for v in op.operands]
        new = inner.add(
            op.name, [v for v in operands if v], [op.type], op.attrs,
            names=[op.result.name], before=behind,
        )  # fmt: skip
        added[op.result.name] = new.result
    early = added[head.operands[0].name]
    inner.outputs = [emit(inner, "exit_if", [early, inner.outputs[0]], head.attrs)]
    verify(inner)
    return inner


def test_a_classifier_of_separable_classes_is_sure() -> None:
    x = np.concatenate([normal(40, 3) + 4 * np.eye(3)[k] for k in range(3)]).astype(np.float64)
    targets = np.eye(3)[np.repeat(np.arange(3), 40)]
    order = RNG.permutation(len(x))
    fitted = fit(x[order], targets[order])
    p = softmax(x @ fitted.weights.T + fitted.bias)
    assert (p.argmax(axis=1) == targets.argmax(axis=1)).mean() > 0.95
    assert (fitted.held_out.argmax(axis=1) == targets[order].argmax(axis=1)).mean() > 0.95
    assert not np.allclose(fitted.held_out, p[order])


def test_what_can_not_have_an_exit_says_why() -> None:
    with pytest.raises(TinyccError, match="needs calibration data"):
        EarlyExit()(NETWORK)
    with pytest.raises(TinyccError, match="no layer is called 'thre'") as e:
        EarlyExit(after="thre")(NETWORK, DATA)
    assert "three" in str(e.value)
    with pytest.raises(TinyccError, match="no exit after %y: no layer comes behind it"):
        EarlyExit(after="y")(NETWORK, DATA)
    with pytest.raises(TinyccError, match="has an exit already"):
        EarlyExit()(EARLY, DATA)
    with pytest.raises(TinyccError, match="the network is not float"):
        EarlyExit()(QUANTIZED, DATA)
    with pytest.raises(TinyccError, match="4 calibration samples"):
        EarlyExit()(NETWORK, Context({"x": X[:4]}))
    logits = NETWORK.clone()
    logits.outputs = [logits.outputs[0].owner.operands[0]]  # type: ignore[union-attr]
    with pytest.raises(TinyccError, match="the output is no softmax"):
        EarlyExit()(logits, DATA)


def test_what_can_not_be_met_says_the_nearest_that_can() -> None:
    """The class depends on what the mean over an image doesn't show."""
    random = np.random.default_rng(3)
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 6, 6, 2)))
    c = layer(g, x, 4, "one")
    flat = emit(g, "reshape", [c], {"shape": (1, 144)})
    w = random.normal(size=(5, 36, 4)).astype(np.float32)
    w -= w.mean(axis=1, keepdims=True)
    z = emit(g, "dense", [flat, g.constant("w", w.reshape(5, 144))])
    g.outputs = [emit(g, "softmax", [z], {"axis": 1}, result="y")]
    noise = Context({"x": random.normal(size=(64, 1, 6, 6, 2)).astype(np.float32)})
    with pytest.raises(LimitError, match="no sample ends early with loss=0") as e:
        EarlyExit(after="one", loss=0.0)(g, noise)
    nearest = float(str(e.value).partition("the nearest that can be met is loss=")[2])
    out = EarlyExit(after="one", loss=nearest)(g, noise)
    assert out.outputs[0].owner is not None and out.outputs[0].owner.name == "exit_if"


@pytest.mark.parametrize("wrong", [{"loss": 1.5}, {"loss": -0.1}, {"exits": 2.0}])
def test_shares_outside_0_to_1_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be in 0\.\.1"):
        EarlyExit(**wrong)  # type: ignore[arg-type]
