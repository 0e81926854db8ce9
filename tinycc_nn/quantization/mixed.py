"""
A weight format for each layer, under a mean number of bits.

The error of a layer in a format is the variance that it adds to the layer's output, times how much
of the network's output error a unit of that variance makes, which is measured with one coarse
format. Errors add up; formats are chosen by a Lagrange multiplier (Shoham and Gersho, "Efficient Bit
Allocation for an Arbitrary Set of Quantizers", 1988), and what is left is spent greedily.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinycc_nn.accuracy import real_outputs
from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.ir.types import Array
from tinycc_nn.quantization.moments import Moments
from tinycc_nn.quantization.recode import Settings, real_weights, recode, recoded
from tinycc_nn.quantization.wish import Wish, parse_wish
from tinycc_nn.reference import run

CANDIDATES = ("i2", "i3", "posit<4,0>", "i4", "posit<5,1>", "i5", "i6", "i7", "posit<8,0>")
PROBE = "i3"


@dataclass(frozen=True)
class Option:
    """A format of a layer: bits of all its weights, and the error that it makes."""

    wish: Wish
    bits: int
    error: float


def choose_formats(
    graph: Graph,
    inputs: Mapping[str, Array],
    ops: Sequence[Op],
    budget: float,
    settings: Settings,
    moments: Mapping[Op, Moments],
) -> dict[Op, Wish]:
    """A format for each layer; `budget`: bits of a weight in the mean over all of `ops`."""
    wanted = real_outputs(graph, run(graph, inputs))
    options: list[list[Option]] = []
    for op in ops:
        weight = sensitivity(graph, inputs, wanted, op, settings, moments[op])
        options.append([_option(op, text, settings, moments[op], weight) for text in CANDIDATES])
    room = budget * sum(op.operands[1].type.size for op in ops)
    return {op: o.wish for op, o in zip(ops, allocate(options, room), strict=True)}


def _option(op: Op, text: str, settings: Settings, moments: Moments, weight: float) -> Option:
    wish, w = parse_wish(text), real_weights(op)
    new = recoded(op, w, wish, settings, moments)
    noise = float(moments.noise(new.integers * new.steps[:, None] - w).sum())
    return Option(wish, w.size * wish.bits, weight * noise)


def sensitivity(
    graph: Graph,
    inputs: Mapping[str, Array],
    wanted: Sequence[Array],
    op: Op,
    settings: Settings,
    moments: Moments,
) -> float:
    """Squared error of the outputs (real numbers) for a unit of variance of a layer's error."""
    changed = graph.clone()
    twin = changed.ops[graph.ops.index(op)]
    w = real_weights(op)
    new = recode(changed, twin, parse_wish(PROBE), settings, moments)
    found = real_outputs(changed, run(changed, inputs))
    error = sum(float(((a - b) ** 2).sum()) for a, b in zip(found, wanted, strict=True))
    noise = float(moments.noise(new.integers * new.steps[:, None] - w).sum())
    return error / max(noise, 1e-30)


def allocate(options: Sequence[Sequence[Option]], room: float) -> list[Option]:
    """One option of each layer, of the least error found within `room` bits; the smallest of each
    where not even those fit."""

    def chosen(price: float) -> list[Option]:
        return [min(each, key=lambda o: (o.error + price * o.bits, o.bits)) for each in options]

    def bits(found: Sequence[Option]) -> int:
        return sum(o.bits for o in found)

    low, high = -60.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if bits(chosen(2.0**middle)) > room else (low, middle)
    found = chosen(2.0**high)
    while True:
        left = room - bits(found)
        better = [
            ((now.error - o.error) / (o.bits - now.bits), i, o)
            for i, (now, each) in enumerate(zip(found, options, strict=True))
            for o in each
            if 0 < o.bits - now.bits <= left and o.error < now.error
        ]
        if not better:
            return found
        _, i, option = max(better, key=lambda b: b[:2])
        found[i] = option
