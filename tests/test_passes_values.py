"""Every pass that declares to keep values does, on random networks: int8 bit for bit."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings

from tests.support.graphs import networks, samples
from tinycc_nn.ir import Graph, parse_graph, print_graph
from tinycc_nn.ir.text import graph_blobs
from tinycc_nn.pipeline import Pass
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run

ONE_BY_ONE = [
    "common-subexpressions", "dead-code", "drop-dead-channels", "fold-bn", "fold-constants",
    "fold-mul-add", "fold-pad", "fuse-activation", "simplify", "simplify-reshapes",
    "sink-transposes",
]  # fmt: skip
ALL = (
    "fold-constants, simplify, sink-transposes, simplify-reshapes, fold-pad, fold-bn, "
    "fold-mul-add, fuse-activation, common-subexpressions, drop-dead-channels, dead-code"
)


def apply(g: Graph, p: Pass) -> Graph:
    return p(g)


@pytest.mark.parametrize("text", [*ONE_BY_ONE, ALL])
@given(graph=networks())
@settings(max_examples=40, deadline=None)
def test_values_are_kept(text: str, graph: Graph) -> None:
    before = print_graph(graph)
    pipeline = parse_pipeline(text)
    assert all(p.keeps_values for p in pipeline)
    out = reduce(apply, pipeline, graph)
    assert print_graph(graph) == before
    assert [v.name for v in out.outputs] == [v.name for v in graph.outputs]
    assert [v.type for v in out.outputs] == [v.type for v in graph.outputs]
    data = samples(graph)
    for a, b in zip(run(graph, data), run(out, data), strict=True):
        if a.dtype.kind == "f":
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4 * max(1, np.abs(a).max()))
        else:
            np.testing.assert_array_equal(b, a)


@given(graph=networks())
@settings(max_examples=30, deadline=None)
def test_a_second_round_changes_nothing_more_in_size(graph: Graph) -> None:
    once = reduce(apply, parse_pipeline(ALL), graph)
    twice = reduce(apply, parse_pipeline(ALL), once)
    assert len(twice.ops) <= len(once.ops)


@given(graph=networks())
@settings(max_examples=30, deadline=None)
def test_the_text_of_results_parses(graph: Graph) -> None:
    out = reduce(apply, parse_pipeline(ALL), graph)
    text = print_graph(out)
    assert print_graph(parse_graph(text, graph_blobs(out))) == text
