"""Ranges hold for every value; coupled channels are found; removal keeps what is left."""

from __future__ import annotations

import time
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from tests.support.graphs import networks, samples
from tinycc_nn.channel_removal import remove_groups
from tinycc_nn.channels import channel_groups
from tinycc_nn.ir import Array, Graph, Value, parse_graph, print_graph
from tinycc_nn.levels import default_pipeline
from tinycc_nn.models import Model
from tinycc_nn.ops import verify
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.ranges import value_ranges
from tinycc_nn.reference import visit

RESIDUAL = """\
graph @g(%x: f32[1,2,2,3], %w: f32[3,1,1,3]) {
  %a = relu %x : f32[1,2,2,3]
  %b = concat %a, %x {axis=3} : f32[1,2,2,6]
  %f = reshape %b {shape=[1,24]} : f32[1,24]
  return %f
}
"""


@given(graph=networks())
@settings(max_examples=60, deadline=None)
def test_every_value_stays_in_its_range(graph: Graph) -> None:
    ranges = value_ranges(graph)
    slack = 0.0 if graph.inputs[0].type.quant else 1e-4

    def see(v: Value, a: Array) -> None:
        r = ranges[v]
        rows = a.reshape(-1, len(r.low)).astype(np.float64)
        room = slack * (1 + np.abs(rows))
        assert (rows >= r.low - room).all() and (rows <= r.high + room).all()

    visit(graph, samples(graph, 3), see)


def test_channels_of_the_interface_are_fixed() -> None:
    graph = parse_graph(RESIDUAL)
    groups = {(v.name, i): g for g in channel_groups(graph) for v, i in g.channels}
    assert groups["x", 1] is groups["a", 1] is groups["b", 4] is groups["f", 10]
    assert groups["x", 1] is not groups["x", 2]
    assert groups["x", 1].fixed


@given(graph=networks())
@settings(max_examples=40, deadline=None)
def test_any_free_group_can_be_removed(graph: Graph) -> None:
    free = [g for g in channel_groups(graph) if not g.fixed]
    counts = {v: v.type.shape[-1] for g in free for v, _ in g.channels}
    for g in free[:3]:
        sizes = {v: sum(w is v for w, _ in g.channels) for v, _ in g.channels}
        if all(counts[v] > n for v, n in sizes.items()):
            remove_groups(graph, [g])
            break
    verify(graph)


@pytest.mark.parametrize("name", ["kws_dscnn", "ic_resnet8", "ad_autoencoder"])
@pytest.mark.parametrize("kind", ["float32", "quantized"])
def test_no_transposes_inside_real_networks(data_dir: Path, name: str, kind: str) -> None:
    path = data_dir / "models" / f"{name}{'_qdq' if kind == 'quantized' else ''}.onnx"
    graph = Model.read(str(path)).graph()
    started = time.perf_counter()
    out = reduce(lambda g, p: p(g), parse_pipeline(default_pipeline("O2", kind)), graph)
    assert time.perf_counter() - started < 0.5
    for op in out.ops:
        if op.name == "transpose":
            owner = op.operands[0].owner
            at_input = owner is None or owner.name == "quantize"
            assert at_input or op.result in out.outputs, print_graph(out)
