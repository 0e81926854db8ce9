"""What the cost of a layer depends on, as a text: two layers with the same text cost the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from math import inf, log2

from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import I8, Quant, TensorType
from tinycc_nn.ops import opdef
from tinycc_nn.ops.activation import bounds, int8_bounds
from tinycc_nn.target import Target

_SHAPE = re.compile(r"\[([\d,]*)\]")
_BLOCKS = "blocks="
_NOT_KEYED = ("act", "act_min", "act_max", "skip")


@dataclass(frozen=True)
class LayerKey:
    """
    Operator, element types and shapes (of a constant with a `c` behind), and what else matters:
    integer attributes, whether the result is clipped, how it is requantized.

    Values of weights, scales and zero points are not part of it, but for the kernels whose cost
    depends on them (`with_facts`).
    """

    text: str

    @staticmethod
    def of(op: Op) -> LayerKey:
        types = [
            f"{_element(v.type)}{'' if v.constant is None else 'c'}"
            f"[{','.join(map(str, v.type.shape))}]"
            for v in (*op.operands, op.result)
        ]
        head = " ".join((op.name, *types[:-1], "->", types[-1]))
        return LayerKey(f"{head} {{{', '.join(_facts(op))}}}")

    def with_facts(self, facts: Sequence[str]) -> LayerKey:
        """The key for a kernel whose cost depends on these facts of the constants' values."""
        if not facts:
            return self
        separator = "" if self.text.endswith("{}") else ", "
        return LayerKey(f"{self.text[:-1]}{separator}{', '.join(facts)}}}")

    @property
    def op(self) -> str:
        return self.text.partition(" ")[0]

    def distance(self, other: LayerKey) -> float:
        """How unlike two layers are: 0 for the same, infinite for different operators or ranks.

        The sum of |log2| of the ratios of all dimensions and of counted blocks, and 1 for each
        other fact of only one of them.
        """
        return _distance(self.text, other.text)


@cache
def _distance(one: str, other: str) -> float:
    head, shapes, facts = _parts(one)
    other_head, other_shapes, other_facts = _parts(other)
    if head != other_head or [len(s) for s in shapes] != [len(s) for s in other_shapes]:
        return inf
    pairs = [*zip(chain(*shapes), chain(*other_shapes), strict=True)]
    differing = facts ^ other_facts
    counted = [int(f.removeprefix(_BLOCKS)) + 1 for f in differing if f.startswith(_BLOCKS)]
    if len(counted) == 2:
        pairs.append((counted[0], counted[1]))
        differing = frozenset(f for f in differing if not f.startswith(_BLOCKS))
    return sum(abs(log2(a / b)) for a, b in pairs if a and b) + len(differing)


@cache
def _parts(text: str) -> tuple[str, tuple[tuple[int, ...], ...], frozenset[str]]:
    """Operator and element types, shapes, facts."""
    head, _, facts = text.partition(" {")
    shapes = tuple(tuple(int(n) for n in m[1].split(",") if n) for m in _SHAPE.finditer(head))
    return _SHAPE.sub("", head), shapes, frozenset(facts[:-1].split(", "))


def _element(t: TensorType) -> str:
    """The element type; of a code book its bits in place of its contents."""
    return re.sub(r"<@.*>", f"<{t.dtype.bits}>", str(t.dtype))


def _facts(op: Op) -> list[str]:
    facts = [
        f"{k}={v if not isinstance(v, tuple) else list(v)}".replace(" ", "").replace(",", "x")
        for k, v in sorted(op.attrs.items())
        if k not in _NOT_KEYED and _counts(v)
    ]
    if _clips(op):
        facts.append("clipped")
    if (layer := Weighted.of(op)) is not None:
        r = layer.requantize
        facts += ["per-channel"] if r.per_channel else []
        facts += [] if r.shift == 32 else ["shift<32" if r.narrow else "shift<32 wide"]
    return facts


def _counts(value: object) -> bool:
    """Whether an attribute is structure; real numbers and arrays are values."""
    if isinstance(value, tuple):
        return all(isinstance(v, int) for v in value)
    return isinstance(value, bool | int | str)


def _clips(op: Op) -> bool:
    if opdef(op.name).attribute("act") is None:
        return False
    quant = op.type.quant
    if op.type.dtype == I8 and isinstance(quant, Quant):
        return int8_bounds(op) != (-128, 127)
    return bounds(op) != (-inf, inf)


def core_name(target: Target) -> str:
    """The core with the extensions that it has other than the generic core of its name."""
    usual = Target.for_cpu(target.cpu)
    parts = [target.cpu]
    for name, has, had in (
        ("dsp", target.dsp, usual.dsp),
        ("mve", target.mve, usual.mve),
        ("fp", target.fpu != "none", usual.fpu != "none"),
    ):
        if has != had:
            parts.append(name if has else f"no{name}")
    return "+".join(parts)
