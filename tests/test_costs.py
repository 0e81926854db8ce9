"""What passes are told of costs: as compilation chooses, remembered, measured once for all."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.command_line import CommandLine, save_dense
from tests.support.small_networks import chain
from tinycc_nn.backend import BackendOptions, TuningStep, load_backend
from tinycc_nn.cost import Costs
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph
from tinycc_nn.pipeline import Context, Pass
from tinycc_nn.target import Target
from tinycc_nn.training.watch import Recorder, Watcher

M3, M4 = Target.for_cpu("cortex-m3"), Target.for_cpu("cortex-m4")
SMALL = chain(3, 4, 4, size=5, kernel=1)


@dataclass(frozen=True)
class Asks(Pass):
    needs_costs: ClassVar[bool] = True

    def apply(self, graph: Graph, context: Context) -> None:
        context.watcher.note(f"{len(context.costs_for(self.name()).predicted(graph))} layers")


def costs(target: Target, folder: Path | None = None, level: str = "O2") -> Costs:
    return load_backend("tvm").costs(target, BackendOptions("net", level, records=folder))


@pytest.mark.parametrize("level", ["O2", "O3", "Os"])
def test_predicted_are_the_kernels_that_compile_takes(level: str) -> None:
    graph = chain(8, 16, 24, 8)
    found = costs(M4, level=level).predicted(graph)
    layers = load_backend("tvm").compile(graph, M4, BackendOptions("net", level)).layers
    assert list(found) == [layer.name for layer in layers]
    assert [c.kernel for c in found.values()] == [layer.kernel for layer in layers]
    assert all(c.flash > 0 and c.cycles > 0 for c in found.values())


def test_a_graph_whose_layers_were_seen_costs_milliseconds() -> None:
    asked = costs(M4)
    asked.predicted(chain(8, 16, 24, 8))
    graph = chain(8, 16, 24, 8, seed=1)
    start = time.perf_counter()
    for _ in range(20):
        asked.predicted(graph)
    assert (time.perf_counter() - start) / 20 < 0.05


def test_each_layer_is_measured_once_and_for_all(tmp_path: Path) -> None:
    seen: list[TuningStep] = []
    backend, options = load_backend("tvm"), BackendOptions("net", records=tmp_path)
    found = backend.costs(M3, options, seen.append).measured(SMALL)
    assert {c.basis for c in found.values()} == {"measured"}
    assert seen and all(step.cycles for step in seen)
    again: list[TuningStep] = []
    other = backend.costs(M3, options, again.append)
    assert other.measured(SMALL) == found and not again
    assert {k: c.cycles for k, c in other.predicted(SMALL).items()} == {
        k: c.cycles for k, c in found.items()
    }
    assert {c.basis for c in other.predicted(SMALL).values()} == {"tuned"}
    whole = other.built(SMALL)
    layers = sum(c.cycles for c in found.values())
    assert layers < whole < 1.05 * layers + 200


def test_a_core_that_is_not_emulated_can_be_predicted_only() -> None:
    asked = costs(Target.for_cpu("cortex-m55"))
    assert asked.predicted(SMALL)
    for question in (asked.measured, asked.built):
        with pytest.raises(TinyccError, match="no model of the cycles of the cortex-m55"):
            question(SMALL)


def test_a_pass_that_asks_needs_a_target() -> None:
    with pytest.raises(TinyccError, match="the pass asks needs a target") as raised:
        Asks()(SMALL)
    assert "-mcpu" in str(raised.value.hint)
    seen = Recorder(Watcher())
    Asks()(SMALL, Context(costs=costs(M4), watcher=seen))
    assert seen.notes == ["2 layers"]


def test_opt_takes_a_target(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cli = CommandLine(capsys)
    model = save_dense(tmp_path / "d.onnx")
    assert cli("opt", str(model), "-mcpu=cortex-m4", "-O", "s", "-p", "dead-code").code == 0
    bad = cli("opt", str(model), "-mcpu=cortex-m4", "--target", "nucleo-l4r5zi")
    assert bad.code == 2 and "both given" in bad.err
