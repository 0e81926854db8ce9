"""select-pointwise: the best forms under a limit that is measured, its table, its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from math import inf
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.cost import LayerCost
from tinycc_nn.diagnostics import LimitError, TinyccError
from tinycc_nn.ir import F32, Array, Graph, TensorType
from tinycc_nn.ops import emit
from tinycc_nn.passes.quantize import Quantize
from tinycc_nn.passes.select_pointwise import SelectPointwise
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.pruning.forms import BLOCK
from tinycc_nn.pruning.program import Item, least_error
from tinycc_nn.reference import run
from tinycc_nn.target import Target
from tinycc_nn.training.watch import Recorder, Watcher

RNG = np.random.default_rng(6)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def network() -> Graph:
    """Three 1x1 convolutions of 16 channels with ReLU, of unlike spectra, and a dense layer."""
    g = Graph("g")
    v = g.add_input("x", TensorType(F32, (1, 4, 4, 16)))
    for i, spread in enumerate((0.0, 1.0, 3.0)):
        u, s, w = np.linalg.svd(normal(16, 16))
        weights = (u * s * np.exp(-spread * np.arange(16) / 4)) @ w
        c = g.constant("w", weights.astype(np.float32).reshape(16, 1, 1, 16))
        b = g.constant("b", normal(16))
        v = emit(g, "conv2d", [v, c, b], {"act": "relu"}, result=f"point{i}")
    flat = emit(g, "reshape", [v], {"shape": (1, 256)}, result="flat")
    last = emit(g, "dense", [flat, g.constant("z", normal(5, 256))], result="last")
    g.outputs = [emit(g, "softmax", [last], {"axis": 1}, result="y")]
    return g


SMALL = network()
X = normal(40, 1, 4, 4, 16)
INT8 = Quantize()(SMALL, Context({"x": X}))


@dataclass
class Counting:
    """Costs without a compiler: a cycle for each block of weights that isn't zero and pixel; a
    network takes some part more than its layers."""

    target: Target = field(default_factory=lambda: Target.for_cpu("cortex-m4"))
    more: float = 0.0
    builds: list[int] = field(default_factory=list[int])

    def predicted(self, graph: Graph) -> dict[str, LayerCost]:
        return self.measured(graph)

    def measured(self, graph: Graph) -> dict[str, LayerCost]:
        found = {}
        for op in graph.ops:
            if op.name in ("conv2d", "dense"):
                w = op.operands[1].constant
                assert w is not None
                blocks = live(w)
                cycles = blocks * (op.type.size // op.type.shape[-1]) * 10
                found[op.result.name] = LayerCost(cycles, 8 * blocks, "k", "measured")
        return found

    def built(self, graph: Graph) -> int:
        layers = sum(c.cycles for c in self.measured(graph).values())
        changed = sum(op.name == "conv2d" for op in graph.ops) != 3 or layers < 9000
        self.builds.append(int(layers * (1 + self.more * changed)) + 100)
        return self.builds[-1]

    def on_samples(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, float]:
        raise AssertionError("no cycles depend on the data")


def live(w: Array) -> int:
    flat = w.reshape(len(w), -1)
    flat = np.pad(flat, ((0, -len(flat) % BLOCK[1]), (0, -flat.shape[1] % BLOCK[0])))
    return int(
        flat.reshape(-1, BLOCK[1], flat.shape[1] // BLOCK[0], BLOCK[0]).any(axis=(1, 3)).sum()
    )


def change(before: Graph, after: Graph) -> float:
    """Of the softmax's operand; both graphs with the same quantization there."""
    values = []
    for g in (before, after):
        shown = g.clone()
        (y,) = shown.outputs
        assert y.owner is not None
        shown.outputs = [next(op.result for op in shown.ops if op.name == "dense")]
        values.append(run(shown, {"x": X})[0].astype(float))
    return float(np.square(values[0] - values[1]).sum())


@pytest.mark.parametrize("graph", [SMALL, INT8], ids=["float", "int8"])
@pytest.mark.parametrize("latency", [0.8, 0.6])
def test_the_limit_is_kept_and_the_table_shown(graph: Graph, latency: float) -> None:
    costs, seen = Counting(), Recorder(Watcher())
    limit = int(latency * costs.built(graph))
    out = SelectPointwise(latency=latency)(graph, Context({"x": X}, costs=costs, watcher=seen))
    assert costs.built(out) <= limit
    (table,) = seen.notes
    assert f"(limit {limit:,})" in table and table.count("*") == 3
    assert all(name in table for name in ("point0", "point1", "point2", "blocks 50%", "rank 4"))


def test_it_is_no_worse_than_the_same_form_everywhere() -> None:
    """Blocks and ranks alike in all layers, with the same fit, at as many cycles or more."""
    costs = Counting()
    context = Context({"x": X}, costs=costs)
    for uniform in (
        "prune-blocks{ratio=0.5, skip=[last]}",
        "low-rank{ratio=0.25, layers=[point0, point1, point2]}",
    ):
        (p,) = parse_pipeline(uniform)
        other = p(SMALL, context)
        mine = SelectPointwise(max_cycles=costs.built(other))(SMALL, context)
        assert change(SMALL, mine) <= change(SMALL, other) * (1 + 1e-6)


def test_a_limit_that_the_built_network_exceeds_is_tightened() -> None:
    costs = Counting(more=0.1)
    limit = int(0.7 * Counting().built(SMALL))
    out = SelectPointwise(max_cycles=limit)(SMALL, Context({"x": X}, costs=costs))
    assert costs.builds[1] > limit, "the first one, by the sum of its layers"
    assert costs.built(out) <= limit


def test_flash_and_time_are_limits_too() -> None:
    costs = Counting()
    before = sum(c.flash for c in costs.measured(SMALL).values())
    out = SelectPointwise(max_flash=before - 500)(SMALL, Context({"x": X}, costs=costs))
    assert sum(c.flash for c in costs.measured(out).values()) <= before - 500
    board = Counting(Target.load("nucleo-l4r5zi"))
    clock = board.target.clock
    assert clock is not None
    ms = 0.8 * 1e3 * board.built(SMALL) / clock
    out = SelectPointwise(max_ms=ms)(SMALL, Context({"x": X}, costs=board))
    assert 1e3 * board.built(out) / clock <= ms


def test_nothing_changes_under_a_limit_that_is_kept() -> None:
    out = SelectPointwise(latency=1.0)(INT8, Context({"x": X}, costs=Counting()))
    assert np.array_equal(run(INT8, {"x": X})[0], run(out, {"x": X})[0])


def test_out_of_reach() -> None:
    context = Context({"x": X}, costs=Counting())
    with pytest.raises(LimitError, match="no choice takes at most 50 cycles") as raised:
        SelectPointwise(max_cycles=50)(SMALL, context)
    assert raised.value.hint is not None and raised.value.exit_code == 3
    nearest = int(raised.value.hint.rpartition("=")[2])
    SelectPointwise(max_cycles=nearest)(SMALL, context)
    with pytest.raises(LimitError, match="at most 10 bytes") as raised:
        SelectPointwise(max_flash=10)(SMALL, context)
    assert "max_flash=" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("select-pointwise", "give a limit"),
        ("select-pointwise{latency=1.5}", "latency must be in 0..1"),
        ("select-pointwise{latency=0.5, max_cycles=9}", "give one of"),
        ("select-pointwise{max_cycles=-1}", "must be positive"),
        ("select-pointwise{latency=0.5, densities=[1.2]}", "between 0 and 1"),
        ("select-pointwise{latency=0.5, ranks=[0]}", "between 0 and 1"),
    ],
)
def test_options_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(TinyccError, match=message):
        parse_pipeline(text)


def test_what_is_missing() -> None:
    costs = Counting()
    with pytest.raises(TinyccError, match="needs calibration data"):
        SelectPointwise(latency=0.7)(SMALL, Context(costs=costs))
    with pytest.raises(TinyccError, match="needs a target"):
        SelectPointwise(latency=0.7)(SMALL, Context({"x": X}))
    with pytest.raises(TinyccError, match="skip") as raised:
        SelectPointwise(latency=0.7, skip=("pint1",))(SMALL, Context({"x": X}, costs=costs))
    assert "point1" in str(raised.value.hint)
    with pytest.raises(TinyccError, match="has no clock"):
        SelectPointwise(max_ms=1.0)(SMALL, Context({"x": X}, costs=costs))
    every = ("point0", "point1", "point2")
    with pytest.raises(TinyccError, match="no 1x1 convolution"):
        SelectPointwise(latency=0.7, skip=every)(SMALL, Context({"x": X}, costs=costs))


items = st.builds(
    lambda error, a, b: Item(float(error), (float(a), float(b))),
    st.integers(0, 20), st.integers(-9, 9), st.integers(-9, 9),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(items, min_size=1, max_size=4), min_size=1, max_size=4),
    st.one_of(st.just(inf), st.integers(-20, 20).map(float)),
    st.integers(-20, 20).map(float),
)
def test_the_program_is_solved_exactly(layers: list[list[Item]], a: float, b: float) -> None:
    choices = [
        c for c in product(*layers)
        if sum(i.takes[0] for i in c) <= a and sum(i.takes[1] for i in c) <= b
    ]  # fmt: skip
    found = least_error(layers, (a, b))
    assert (found is None) == (not choices)
    if found is not None:
        taken = [items[i] for items, i in zip(layers, found, strict=True)]
        assert sum(i.error for i in taken) == min(sum(i.error for i in c) for c in choices)


def test_on_the_emulated_core(tmp_path: Path) -> None:
    """int8 on a Cortex-M4: costs are those of kernels, the limit that of the whole network."""
    costs = load_backend("tvm").costs(
        Target.for_cpu("cortex-m4"), BackendOptions("net", records=tmp_path)
    )
    limit = int(0.9 * costs.built(INT8))
    select = SelectPointwise(max_cycles=limit, densities=(0.5,), ranks=(0.25,))
    out = select(INT8, Context({"x": X}, costs=costs))
    assert costs.built(out) <= limit
