"""The fastest kernels of all layers together whose bytes stay in bounds: an exact optimization."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from tinycc_nn.backends.tvm.kernel import Kernel
from tinycc_nn.ir.types import Array

_STEPS = 120
"""Of the search for prices; more make the bound tighter, and the program shorter, not better."""


@dataclass(frozen=True)
class Bounds:
    """Bytes of all layers together. `flash` is constants and instructions, each function counted
    for every layer that calls it: what is shared makes the result smaller than the bound."""

    constants: float = inf
    flash: float = inf

    def hold(self, kernels: Sequence[Kernel]) -> bool:
        return (
            sum(k.constants for k in kernels) <= self.constants
            and sum(flash(k) for k in kernels) <= self.flash
        )


def flash(k: Kernel) -> int:
    """Bytes of constants and instructions."""
    return k.constants + k.text


def footprint(k: Kernel) -> float:
    """Flash, with scratch at a quarter of its bytes: it is shared by all layers."""
    return flash(k) + k.scratch / 4


def fastest(
    layers: Sequence[Sequence[Kernel]], bounds: Bounds, price: float = 0.0
) -> list[Kernel] | None:
    """One kernel for each layer with the least sum of cycles in bounds; None if no choice is.

    price: cycles that a byte of flash counts for.

    A multiple-choice knapsack with two capacities, solved exactly: dynamic programming over the
    layers on sums that no other sum beats, without those that a Lagrangian bound shows to be lost
    (Kellerer, Pferschy, Pisinger, "Knapsack problems", 2004, chapters 9 and 11). Among equally
    fast kernels of a layer the smaller.
    """

    def cost(k: Kernel) -> float:
        return k.cycles + price * flash(k)

    free = [min(kernels, key=lambda k: (cost(k), footprint(k), k.name)) for kernels in layers]
    if bounds.hold(free):
        return free
    kept = [_undominated(kernels) for kernels in layers]
    costs = [np.array([cost(k) for k in kernels], np.float64) for kernels in kept]
    items = [_Items(c, _weights(ks, bounds)) for c, ks in zip(costs, kept, strict=True)]
    taken = _program(items, bounds)
    return None if taken is None else [ks[i] for ks, i in zip(kept, taken, strict=True)]


def _undominated(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Without those that another one beats, or equals, in cycles, constants and flash."""
    kept: list[Kernel] = []
    for k in sorted(kernels, key=lambda k: (k.cycles, flash(k), k.constants, k.scratch, k.name)):
        if not any(o.constants <= k.constants and flash(o) <= flash(k) for o in kept):
            kept.append(k)
    return kept


@dataclass(frozen=True)
class _Items:
    """The kernels of a layer, float64: cycles with what bytes count for [n], bytes [n, 2]
    (constants, flash; 0 where there is no bound)."""

    cycles: Array
    weights: Array


def _weights(kernels: Sequence[Kernel], bounds: Bounds) -> Array:
    """Bytes of the kernels of a layer, as `_Items` has them."""
    weights = np.array([[k.constants, flash(k)] for k in kernels], np.float64)
    return np.where([bounds.constants < inf, bounds.flash < inf], weights, 0.0)


@dataclass(frozen=True)
class _Sums:
    """Sums over the first layers: cycles [n], bytes [n, 2]; of each, the sum it was made from
    and the kernel that was added."""

    cycles: Array
    weights: Array
    parent: Array
    item: Array


def _program(layers: Sequence[_Items], bounds: Bounds) -> list[int] | None:
    """The index of the kernel of each layer."""
    capacity = np.array([b if b < inf else 0.0 for b in (bounds.constants, bounds.flash)])
    price, best = _prices(layers, capacity)
    slack = 1e-9 * max(1.0, abs(best)) if best < inf else 0.0
    least = _suffixes([items.weights.min(axis=0) for items in layers])
    relaxed = _suffixes([(items.cycles + items.weights @ price).min() for items in layers])
    sums = _Sums(np.zeros(1), np.zeros((1, 2)), np.zeros(1, np.intp), np.zeros(1, np.intp))
    history: list[_Sums] = []
    for i, items in enumerate(layers):
        made = _extend(sums, items)
        fits = (made.weights + least[i + 1] <= capacity).all(axis=1)
        bound = made.cycles + (made.weights - capacity) @ price + relaxed[i + 1]
        sums = _pareto(_pick(made, np.flatnonzero(fits & (bound <= best + slack))))
        if not len(sums.cycles):
            return None
        history.append(sums)
    return _trace(history)


def _extend(sums: _Sums, items: _Items) -> _Sums:
    """Every sum with every kernel of the next layer."""
    n, m = len(sums.cycles), len(items.cycles)
    return _Sums(
        (sums.cycles[:, None] + items.cycles).reshape(-1),
        (sums.weights[:, None] + items.weights).reshape(-1, 2),
        np.repeat(np.arange(n), m),
        np.tile(np.arange(m), n),
    )


def _pick(s: _Sums, index: Array) -> _Sums:
    return _Sums(s.cycles[index], s.weights[index], s.parent[index], s.item[index])


def _pareto(s: _Sums) -> _Sums:
    """Without sums that another one beats, or equals, in cycles and in both bytes."""
    order = np.lexsort((s.weights[:, 1], s.weights[:, 0], s.cycles))
    kept: list[int] = []
    stairs: list[tuple[float, float]] = []  # of the kept: constants up, flash down
    for i in order.tolist():
        constants, nbytes = s.weights[i].tolist()
        at = bisect_right(stairs, (constants, inf))
        if at and stairs[at - 1][1] <= nbytes:
            continue
        end = at
        while end < len(stairs) and stairs[end][1] >= nbytes:
            end += 1
        stairs[at:end] = [(constants, nbytes)]
        kept.append(i)
    return _pick(s, np.array(kept, np.intp))


def _suffixes(terms: Sequence[Array]) -> list[Array]:
    """The sum of the terms from each one on, and zero."""
    found = [np.zeros_like(terms[0])]
    for term in reversed(terms):
        found.append(found[-1] + term)
    return found[::-1]


def _prices(layers: Sequence[_Items], capacity: Array) -> tuple[Array, float]:
    """Cycles that a byte of each kind is worth, by subgradient steps, and the cycles of the
    fastest choice within capacity that was met (infinite if none was)."""
    price, best = np.zeros(2), inf
    kept, lower = price, -inf
    for step in range(_STEPS):
        taken = [int(np.argmin(items.cycles + items.weights @ price)) for items in layers]
        pairs = list(zip(layers, taken, strict=True))
        cycles = sum(float(items.cycles[k]) for items, k in pairs)
        excess = np.sum([items.weights[k] for items, k in pairs], axis=0) - capacity
        if (excess <= 0).all():
            best = min(best, cycles)
        if (dual := cycles + float(excess @ price)) > lower:
            kept, lower = price, dual
        norm = float(excess @ excess)
        if norm == 0:
            break
        gap = (best if best < inf else 1.05 * abs(lower) + 1) - dual
        price = np.maximum(0.0, price + excess * (max(gap, 0.0) / norm) * 0.97**step)
    return kept, best


def _trace(history: Sequence[_Sums]) -> list[int]:
    """The kernels of the fastest of the last sums."""
    at, found = int(np.argmin(history[-1].cycles)), []
    for sums in reversed(history):
        found.append(int(sums.item[at]))
        at = int(sums.parent[at])
    return found[::-1]
