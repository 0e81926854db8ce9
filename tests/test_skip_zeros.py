"""skip-zeros: marks what gains as it was measured, says what it decided, keeps every bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.test_skip_zeros_kernels import layer
from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.cost import Costs, LayerCost
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import F32, Array, Graph, TensorType, Value, parse_graph, print_graph
from tinycc_nn.ir.text import graph_blobs
from tinycc_nn.measure import measure
from tinycc_nn.ops import emit
from tinycc_nn.passes.quantize import Quantize
from tinycc_nn.passes.quantize_interface import QuantizeInterface
from tinycc_nn.passes.skip_zeros import SkipZeros
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run
from tinycc_nn.target import Target
from tinycc_nn.training.watch import Recorder, Watcher

RNG = np.random.default_rng(4)
M4 = Target.for_cpu("cortex-m4")


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def network() -> Graph:
    """Dense layers 48 -> 64 -> 64 -> 4 with ReLU, where the second one's inputs are mostly zero, and
    a 1x1 convolution of which about half are."""
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 4, 4, 8)))
    c = conv(g, x, 8, 3, "window")
    p = conv(g, c, 16, 1, "point")
    flat = emit(g, "reshape", [p], {"shape": (1, 256)})
    w, b = g.constant("a.w", normal(64, 256) / 16), g.constant("a.b", np.full(64, -2, np.float32))
    a = emit(g, "dense", [flat, w, b], {"act": "relu"}, result="first")
    h = emit(g, "dense", [a, g.constant("s.w", normal(64, 64) / 8)], result="second")
    g.outputs = [h]
    return g


def conv(g: Graph, x: Value, out: int, size: int, name: str) -> Value:
    w = g.constant(f"{name}.w", normal(out, size, size, x.type.shape[-1]) / 3)
    pad = (size // 2,) * 4
    return emit(g, "conv2d", [x, w], {"act": "relu", "pad": pad}, result=name)


FLOAT = network()
X = normal(24, 1, 4, 4, 8)
INT8 = QuantizeInterface()(Quantize()(FLOAT, Context({"x": X})))
LAYERS = ("point", "first", "second")


@dataclass
class Given:
    """Costs without a compiler: cycles of each layer, dense and skipping."""

    cycles: Mapping[str, tuple[float, float]]
    target: Target = M4
    samples: list[int] = field(default_factory=list[int])

    def predicted(self, graph: Graph) -> dict[str, LayerCost]:
        raise AssertionError("cycles are measured")

    def measured(self, graph: Graph) -> dict[str, LayerCost]:
        raise AssertionError("cycles are those on samples")

    def built(self, graph: Graph) -> int:
        raise AssertionError("cycles are those on samples")

    def on_samples(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, float]:
        self.samples.append(len(inputs["x"]))
        return {
            op.result.name: self.cycles[op.result.name]["skip" in op.attrs]
            for op in graph.ops
            if op.result.name in self.cycles
        }


def marks(graph: Graph) -> dict[str, object]:
    return {op.result.name: op.attrs["skip"] for op in graph.ops if "skip" in op.attrs}


def apply(costs: Costs | None = None, graph: Graph = INT8, **options: object) -> tuple[Graph, str]:
    """The graph, and what was said."""
    seen = Recorder(Watcher())
    context = Context({"x": X}, watcher=seen, costs=costs)
    made = SkipZeros(**options)(graph, context)  # type: ignore[arg-type]
    return made, "\n".join(seen.notes)


def emulated() -> Costs:
    return load_backend("tvm").costs(M4, BackendOptions("net"))


def test_marked_where_skipping_takes_fewer_cycles() -> None:
    costs = Given({"point": (500, 400), "first": (900, 901), "second": (700, 690)})
    made, said = apply(costs)
    assert list(marks(made)) == ["point"]
    assert costs.samples == [8, 8], "the same calibration samples for both"
    lines = said.splitlines()
    assert lines[0] == "skip-zeros: 1 of 3 layers skip zeros (*)"
    assert [line.split()[0] for line in lines[2:5]] == ["*point", "first", "second"]
    assert lines[2].split()[2:] == ["500", "400"] and lines[4].split()[2:] == ["700", "690"]
    assert list(marks(apply(costs, min_gain=0.0)[0])) == ["point", "second"]


def test_the_percentage_is_that_of_calibration_data() -> None:
    made, _ = apply(always=True)
    shown = INT8.clone()
    inputs = stored_inputs(shown, {"x": X})
    shown.outputs = [v for op in shown.ops for v in op.results if v.name == "first"]
    (a,) = run(shown, inputs)
    assert shown.outputs[0].type.quant is not None
    zeros = float(np.mean(a == shown.outputs[0].type.quant.zero))
    assert 0.8 < zeros < 1 and marks(made)["second"] == round(100 * zeros)


def test_only_layers_with_enough_zeros_are_tried() -> None:
    costs = Given(dict.fromkeys(LAYERS, (500.0, 1.0)))
    assert list(marks(apply(costs, min_zeros=0.7)[0])) == ["second"]
    assert list(marks(apply(costs, layers=("point",))[0])) == ["point"]
    costs.samples.clear()
    made, said = apply(costs, min_zeros=1.0)
    assert not marks(made) and costs.samples == [] and "0 of 3 layers" in said


def test_a_second_run_decides_anew() -> None:
    made, _ = apply(always=True, min_zeros=0.0)
    assert set(marks(made)) == set(LAYERS)
    assert not marks(apply(Given(dict.fromkeys(LAYERS, (5.0, 6.0))), made)[0])


def test_measured_on_the_core_it_declines_what_is_not_worth_it() -> None:
    """Nine of ten inputs of `second` are zero, half of those of `point`, with little to skip."""
    made, said = apply(emulated(), min_zeros=0.1)
    assert "second" in marks(made) and "point" not in marks(made)
    rows = {line.split()[0].lstrip("*"): line for line in said.splitlines()[2:5]}
    for name, line in rows.items():
        dense, skipping = (int(n.replace(",", "")) for n in line.split()[2:])
        assert (skipping < dense) == (name in marks(made))


def test_marks_outlive_text_and_other_passes_and_keep_every_bit() -> None:
    made, _ = apply(always=True, min_zeros=0.0)
    again = parse_graph(print_graph(made), graph_blobs(made))
    for p in parse_pipeline("common-subexpressions, simplify, dead-code, drop-dead-channels"):
        again = p(again)
    assert marks(again) == marks(made) and len(marks(made)) == 3
    inputs = stored_inputs(INT8, {"x": X})
    np.testing.assert_array_equal(run(again, inputs)[0], run(INT8, inputs)[0])


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4"])
def test_reports_say_the_mean_and_the_worst_case(cpu: str) -> None:
    made, _ = apply(always=True)
    target, inputs = Target.for_cpu(cpu), stored_inputs(made, {"x": X})
    found = []
    for g in (INT8, made):
        source = load_backend("tvm").compile(g, target, BackendOptions("net")).source
        assert bool(source.worst_case) == (g is made)
        found.append(measure(source, g, target, inputs, compared=4))
    dense, skipping = found
    assert skipping.bit_exact.mismatches == 0 and skipping.bit_exact.samples == 4
    assert dense.dynamic is None and skipping.dynamic is not None
    assert skipping.profile is not None and skipping.dynamic.exit_rates == (1.0,)
    assert skipping.dynamic.cycles_mean < 0.8 * skipping.profile.cycles


def test_what_can_not_skip_says_why() -> None:
    with pytest.raises(TinyccError, match="no layer is called 'secnd'") as e:
        apply(layers=("secnd",))
    assert e.value.hint == "did you mean 'second'?"
    with pytest.raises(TinyccError, match="%window can't skip: its window is 3x3") as e:
        apply(layers=("window",))
    assert e.value.hint and "1x1 convolutions" in e.value.hint
    with pytest.raises(TinyccError, match="no int8 1x1 convolution or dense layer") as e:
        apply(graph=FLOAT)
    assert e.value.hint and "behind quantize" in e.value.hint
    with pytest.raises(TinyccError, match="second can't skip: it is not int8"):
        apply(graph=FLOAT, layers=("second",))
    with pytest.raises(TinyccError, match="the pass skip-zeros needs a target"):
        apply()
    with pytest.raises(TinyccError, match="the pass skip-zeros needs calibration data"):
        SkipZeros(always=True)(INT8)
    with pytest.raises(ValueError, match=r"min_zeros must be in 0\.\.1"):
        SkipZeros(min_zeros=-0.1)
    with pytest.raises(ValueError, match=r"min_gain must be in 0\.\.1"):
        SkipZeros(min_gain=1.1)


def test_a_marked_layer_is_measured_apart_from_the_same_one_unmarked() -> None:
    costs = emulated()
    dense, marked = (layer((1, 32), 16, np.random.default_rng(0), skip=s) for s in (0, 50))
    assert not costs.predicted(dense)["y"].kernel.startswith("skip")
    predicted, found = costs.predicted(marked)["y"], costs.measured(marked)["y"]
    assert found.kernel == predicted.kernel and found.kernel.startswith("skip-zeros-")
    assert found.basis == "measured" and 0.7 < found.cycles / predicted.cycles < 1.3, "few zeros"


def test_layers_behind_an_early_exit_are_measured_too() -> None:
    g = FLOAT.clone()
    (final,) = g.outputs
    early = emit(g, "dense", [final, g.constant("e.w", normal(64, 64))], result="early")
    g.outputs = [emit(g, "exit_if", [final, early], {"threshold": 0.5}, result="y")]
    int8 = QuantizeInterface()(Quantize()(g, Context({"x": X})))
    made, said = apply(emulated(), int8, min_zeros=0.1)
    assert "second" in marks(made) and "early" in said
    inputs = stored_inputs(made, {"x": X})
    m = measure(
        load_backend("tvm").compile(made, M4, BackendOptions("net")).source, made, M4, inputs
    )
    assert m.bit_exact.mismatches == 0 and m.dynamic is not None
    assert len(m.dynamic.exit_rates) == 2
