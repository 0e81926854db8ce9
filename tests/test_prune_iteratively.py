"""prune-iteratively under limits of cycles: kept after every round, or refused before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.cost import LayerCost
from tinycc_nn.diagnostics import LimitError, TinyccError
from tinycc_nn.ir import F32, Array, Graph, TensorType
from tinycc_nn.ir.text import print_graph
from tinycc_nn.ops import emit
from tinycc_nn.passes._budget import Budget
from tinycc_nn.passmanager import run_pipeline
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.pruning.layers import total_macs
from tinycc_nn.target import Target
from tinycc_nn.training.watch import Recorder, Watcher

pytest.importorskip("torch", reason="needs PyTorch: the extra train")

RNG = np.random.default_rng(3)
QUICK = "multiple=1, epochs=1, batch=16, threads=1"
INT8 = "quantize, quantize-interface"


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def network() -> Graph:
    """Two layers of 24 channels and a dense one."""
    g = Graph("g")
    v = g.add_input("x", TensorType(F32, (1, 5, 5, 4)))
    for i, channels in enumerate((4, 24)):
        w = g.constant("w", normal(24, 3, 3, channels) / 8)
        v = emit(
            g, "conv2d", [v, w, g.constant("b", normal(24))], {"act": "relu"}, result=f"conv{i}"
        )
    flat = emit(g, "reshape", [v], {"shape": (1, 24)})
    g.outputs = [emit(g, "dense", [flat, g.constant("z", normal(5, 24))])]
    return g


GRAPH = network()
X = normal(48, 1, 5, 5, 4)
MACS = total_macs(GRAPH)


@dataclass
class Counting:
    """Costs without a compiler: a part that no pruning lowers, and two cycles a MAC."""

    target: Target = field(default_factory=lambda: Target.for_cpu("cortex-m4"))
    fixed: int = MACS // 2
    asked: list[int] = field(default_factory=list[int])

    def predicted(self, graph: Graph) -> dict[str, LayerCost]:
        raise AssertionError("budgets are measured")

    def measured(self, graph: Graph) -> dict[str, LayerCost]:
        raise AssertionError("budgets are of the whole network")

    def built(self, graph: Graph) -> int:
        self.asked.append(self.fixed + 2 * total_macs(graph))
        return self.asked[-1]

    def on_samples(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, float]:
        raise AssertionError("no cycles depend on the data")


def pruned(limit: str, costs: Counting, watcher: Watcher | None = None, before: str = "") -> Graph:
    passes = parse_pipeline(f"{before}prune-iteratively{{{limit}, {QUICK}}}")
    context = Context({"x": X}, costs=costs, watcher=watcher or Watcher())
    return run_pipeline(GRAPH, passes, context)


@pytest.mark.parametrize("before", ["", f"{INT8}, "], ids=["float", "int8"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_cycles_fall_in_rounds_to_the_limit(rounds: int, before: str) -> None:
    costs, seen = Counting(), Recorder(Watcher())
    limit = int(0.5 * costs.built(GRAPH))
    graph = pruned(f"latency=0.5, rounds={rounds}", costs, seen, before)
    assert 0.8 * limit < costs.built(graph) <= limit
    assert len(seen.curves) == rounds
    assert seen.notes[-1].endswith(f"cycles of at most {limit}")


@pytest.mark.parametrize("limit", ["max_cycles=20000", "max_ms=0.15"])
def test_limits_may_be_absolute(limit: str) -> None:
    costs = Counting(Target.load("nucleo-l4r5zi"))
    clock = costs.target.clock
    assert clock is not None
    most = 20_000 if "cycles" in limit else int(0.15e-3 * clock)
    graph = pruned(f"{limit}, rounds=2", costs)
    assert costs.built(graph) <= most < costs.built(GRAPH)


def test_a_network_within_its_limit_keeps_its_channels() -> None:
    graph = pruned("max_cycles=100000000, rounds=1", Counting())
    assert total_macs(graph) == MACS


def test_what_is_out_of_reach_is_said_before_training() -> None:
    seen = Recorder(Watcher())
    with pytest.raises(LimitError, match=r"the limit is \d+ cycles, .* may be removed leave") as e:
        pruned("latency=0.1", Counting(), seen)
    assert not seen.curves
    option = e.value.hint.removeprefix("the nearest that can be met is ")
    costs = Counting()
    assert costs.built(pruned(f"{option}, rounds=1", costs)) <= float(
        option.removeprefix("latency=")
    ) * costs.built(GRAPH)


def test_milliseconds_need_a_clock() -> None:
    with pytest.raises(TinyccError, match="max_ms: cortex-m4 has no clock"):
        pruned("max_ms=1", Counting())


def test_each_step_removes_the_same_share() -> None:
    budget = Budget("MACs", "macs", total_macs, 1000, 125)
    assert budget.steps(3) == [500, 250, 125]
    assert budget.nearest(333) == "macs=0.333"
    assert Budget("cycles", "max_cycles", total_macs, 9, 5).nearest(7) == "max_cycles=7"


def test_cycles_of_an_emulated_core_keep_to_the_limit(tmp_path: Path) -> None:
    target = Target.for_cpu("cortex-m4")
    options = BackendOptions("net", records=tmp_path)
    costs = load_backend("tvm").costs(target, options)
    passes = parse_pipeline(f"{INT8}, prune-iteratively{{latency=0.7, rounds=1, {QUICK}}}")
    graph = run_pipeline(GRAPH, passes, Context({"x": X}, costs=costs))
    whole = run_pipeline(GRAPH, parse_pipeline(INT8), Context({"x": X}))
    assert costs.built(graph) <= 0.7 * costs.built(whole)


def test_called_alone_it_learns_from_the_network_that_it_is_given() -> None:
    pipeline = parse_pipeline(f"prune-iteratively{{macs=0.6, rounds=1, {QUICK}}}")
    (alone,) = pipeline
    after = alone(GRAPH, Context({"x": X}))
    assert total_macs(after) <= 0.6 * MACS
    assert print_graph(after) == print_graph(run_pipeline(GRAPH, pipeline, Context({"x": X})))
