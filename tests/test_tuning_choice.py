"""The choice over all layers: optimal in bounds of flash, fitting RAM, with the basis of each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.small_networks import chain
from tinycc_nn.backend import Artifact, BackendOptions, load_backend
from tinycc_nn.backends.tvm.choose import APPLICATION_BYTES, GROWTH, Choices
from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.backends.tvm.select import Bounds, fastest, flash
from tinycc_nn.backends.tvm.settle import STACK_BYTES
from tinycc_nn.diagnostics import LimitError
from tinycc_nn.schedule import steps
from tinycc_nn.target import Target

M4 = Target.for_cpu("cortex-m4")
SMALL = st.integers(0, 20)


def nothing() -> None:
    raise AssertionError("nothing is emitted here")


KERNELS = st.builds(
    lambda constants, text, cycles, scratch: Kernel(
        "k",
        nothing,  # type: ignore[arg-type]
        constants,
        text,
        float(cycles),
        scratch,
    ),
    SMALL, SMALL, SMALL, SMALL,
)  # fmt: skip
LAYERS = st.lists(st.lists(KERNELS, min_size=1, max_size=4), min_size=1, max_size=5)
BOUND = st.one_of(st.just(inf), st.integers(0, 120).map(float))


@settings(max_examples=300)
@given(LAYERS, BOUND, BOUND, st.sampled_from([0, 1, 3]))
def test_the_choice_is_the_best_of_all(
    layers: list[list[Kernel]], a: float, b: float, price: int
) -> None:
    def cost(kernels: Sequence[Kernel]) -> float:
        return sum(k.cycles + price * flash(k) for k in kernels)

    bounds = Bounds(a, b)
    possible = [cost(taken) for taken in product(*layers) if bounds.hold(taken)]
    found = fastest(layers, bounds, price)
    if found is None:
        assert not possible
        return
    assert all(any(k is one for one in layer) for k, layer in zip(found, layers, strict=True))
    assert bounds.hold(found)
    assert cost(found) == min(possible)


def test_many_layers_are_chosen_quickly() -> None:
    layers = [
        [
            Kernel("k", nothing, 1000 + 97 * i % 700 * k, 300 + 50 * k, 1e6 / (k + 1) + 31 * i % 17)  # type: ignore[arg-type]
            for k in range(12)
        ]
        for i in range(80)
    ]
    least = sum(min(k.constants for k in ks) for ks in layers)
    found = fastest(layers, Bounds(1.2 * least))
    assert found is not None and sum(k.constants for k in found) <= 1.2 * least


def compiled(level: str = "O2", **limits: int) -> Artifact:
    options = BackendOptions("net", level, **limits)  # type: ignore[arg-type]
    return load_backend("tvm").compile(chain(4, 16, 16, 8, size=12), M4, options)


def constants(a: Artifact) -> int:
    return sum(layer.constant_bytes for layer in a.layers)


def expected(a: Artifact) -> float:
    return sum(layer.expected_cycles for layer in a.layers)


def test_o2_keeps_constants_in_bounds_and_o3_is_no_slower() -> None:
    smallest, o2, o3 = (compiled(level) for level in ("Os", "O2", "O3"))
    assert constants(o2) <= GROWTH * constants(smallest)
    assert expected(o3) <= expected(o2) <= expected(smallest)


def test_o3_fits_the_flash_that_is_given() -> None:
    graph = chain(4, 16, 16, 8, size=12)
    free = Choices.of(steps(graph), M4, BackendOptions("net", "O3")).take().values()
    limit = sum(flash(c.kernel) for c in free) - 1 + APPLICATION_BYTES
    options = BackendOptions("net", "O3", max_flash=limit)
    bounded = Choices.of(steps(graph), M4, options).take().values()
    assert sum(flash(c.kernel) for c in bounded) + APPLICATION_BYTES <= limit
    assert sum(c.kernel.cycles for c in bounded) >= sum(c.kernel.cycles for c in free)


def ram(a: Artifact) -> int:
    buffers = sum(p.nbytes for p in (*a.source.inputs, *a.source.outputs))
    return a.plan.size + buffers + STACK_BYTES


def test_kernels_with_less_scratch_where_ram_is_short() -> None:
    free = compiled("O3")
    assert any(layer.scratch_bytes for layer in free.layers)
    bounded = compiled("O3", max_ram=ram(free) - 1)
    assert ram(bounded) < ram(free)
    assert expected(bounded) >= expected(free)
    assert compiled("O3", max_ram=ram(free)).layers == free.layers


def test_too_little_ram_names_the_layer() -> None:
    with pytest.raises(LimitError, match=r"no kernel leaves room in RAM.*\n  %y0: conv2d") as e:
        compiled("O3", max_ram=3000)
    assert e.value.exit_code == 3 and "--max-ram" in str(e.value)


def test_layers_say_what_they_were_chosen_by() -> None:
    assert {layer.basis for layer in compiled().layers} <= {"tuned", "near", "estimated"}
    assert all(layer.expected_cycles > 0 for layer in compiled().layers)
