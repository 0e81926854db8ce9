from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinycc_nn.memory import ALIGN, Buffer, align, live_bytes, plan

buffers = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 12), st.integers(0, 6)), min_size=0, max_size=14
).map(lambda rows: [Buffer(f"b{i}", n, a, a + d) for i, (n, a, d) in enumerate(rows)])


@given(buffers)
def test_live_buffers_never_share_bytes(given_buffers: list[Buffer]) -> None:
    p = plan(given_buffers)
    placed = list(zip(p.buffers, p.offsets, strict=True))
    for i, (a, x) in enumerate(placed):
        assert x % ALIGN == 0
        assert x + a.nbytes <= p.size
        for b, y in placed[:i]:
            if a.overlaps(b):
                assert x + a.nbytes <= y or y + b.nbytes <= x, (a, x, b, y)


@given(buffers)
def test_the_bound_is_a_bound(given_buffers: list[Buffer]) -> None:
    p = plan(given_buffers)
    assert p.bound == max(live_bytes(p.buffers), default=0)
    assert p.bound <= p.size <= sum(align(b.nbytes) for b in p.buffers)


@given(buffers)
def test_the_same_plan_every_time(given_buffers: list[Buffer]) -> None:
    assert plan(given_buffers) == plan(given_buffers)


def test_a_chain_takes_its_two_largest_neighbours() -> None:
    sizes = [100, 800, 400, 1600, 8]
    p = plan([Buffer(str(i), n, i, i + 1) for i, n in enumerate(sizes)])
    assert p.size == p.bound == 400 + 1600


def test_nothing_to_place() -> None:
    p = plan([])
    assert (p.size, p.bound, p.offsets) == (0, 0, ())


def test_unknown_buffer() -> None:
    with pytest.raises(KeyError):
        plan([]).offset("x")
