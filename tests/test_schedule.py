from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from tinycc_nn.ir import F32, Graph, Op, TensorType, Value
from tinycc_nn.ops import emit
from tinycc_nn.schedule import best_order, steps, storage


def no_scratch(op: Op) -> int:
    del op
    return 0


def peak(graph: Graph, order: list[Op]) -> int:
    """Bytes of live tensors beside the caller's buffers, by walking through the order."""
    outside = {storage(v) for v in (*graph.inputs, *graph.outputs)}
    last = {storage(v): i for i, op in enumerate(order) for v in op.operands}
    live: set[Value] = set()
    most = 0
    for i, op in enumerate(order):
        live.add(op.result)
        most = max(most, sum(v.type.nbytes for v in live - outside))
        live = {v for v in live if last.get(v, -1) > i}
    return most


def is_valid(order: list[Op]) -> bool:
    """Whether every op comes after the ops that it reads from."""
    done: set[Op] = set()
    for op in order:
        makers = (storage(v).owner for v in op.operands)
        if any(m is not None and m not in done for m in makers):
            return False
        done.add(op)
    return True


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Sums, concatenations and slices of random widths."""
    g = Graph("g")
    values = [g.add_input("x", TensorType(F32, (1, draw(st.integers(1, 9)))))]
    for _ in range(draw(st.integers(1, 6))):
        a = draw(st.sampled_from(values))
        b = draw(st.sampled_from(values))
        if draw(st.booleans()):
            values.append(emit(g, "concat", [a, b], {"axis": 1}))
        else:
            end = draw(st.integers(1, a.type.shape[1]))
            attrs = {"begin": (0, 0), "end": (1, end), "step": (1, 1)}
            values.append(emit(g, "slice", [a], attrs))
    g.outputs = [values[-1]]
    g.sweep()
    return g


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_no_order_is_better(g: Graph) -> None:
    ops = steps(g)
    found = best_order(g, no_scratch)
    assert sorted(map(id, found)) == sorted(map(id, ops))
    assert is_valid(found)
    every = [list(p) for p in permutations(ops)]
    assert peak(g, found) == min(peak(g, p) for p in every if is_valid(p))


def test_the_big_branch_goes_first() -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 4)))
    small = emit(g, "concat", [x, x], {"axis": 1}, result="small")
    big = emit(g, "concat", [x, x, x, x, x, x], {"axis": 1}, result="big")
    cut = emit(g, "slice", [big], {"begin": (0, 0), "end": (1, 8), "step": (1, 1)}, result="cut")
    g.outputs = [emit(g, "add", [small, cut], result="y")]
    names = [op.result.name for op in best_order(g, no_scratch)]
    assert names == ["big", "cut", "small", "y"]


def test_reshape_is_no_step() -> None:
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 4)))
    y = emit(g, "reshape", [emit(g, "relu", [x])], {"shape": (2, 2)})
    g.outputs = [y]
    assert [op.name for op in steps(g)] == ["relu"]
    assert storage(y).name == "relu"
