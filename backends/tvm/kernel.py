"""What a kernel is: one way to compute one op, found by file in `kernels/`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import tinycc_nn.backends.tvm.kernels
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import I16, Array
from tinycc_nn.target import Target

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc


@dataclass(frozen=True)
class Code:
    """What is emitted of a kernel.

    function:  TIR. Its parameters are the running operands in order, then the constants, the
               result, and the scratch (int8) if there is any.
    constants: the arrays that it reads, packed in reading order.
    micro_kernels: C texts of functions that it calls and that are no helpers of the prelude.
    vector: where there is MVE, the function is assembly that LLVM makes of the same TIR.
    """

    function: PrimFunc
    constants: tuple[Array, ...]
    micro_kernels: tuple[str, ...] = ()
    vector: bool = False


@dataclass(frozen=True)
class Kernel:
    """
    name:      what reports show and `--kernel` takes.
    code:      makes what is emitted; kernels whose C text is the same become one function.
    constants: bytes of constants.
    text:      estimated bytes of instructions.
    cycles:    estimated cycles, to compare the kernels of one op.
    scratch:   bytes of working memory in the arena.
    in_place:  operands whose bytes the result may take.
    family:    the file in `kernels/` that it is from; set where candidates are collected.
    facts:     of the constants' values, what the cost depends on: `name=number`.
    share:     of the op's multiply-accumulates that it does, 0..1: those of some zeros are skipped.
    """

    name: str
    code: Callable[[], Code]
    constants: int
    text: int
    cycles: float
    scratch: int = 0
    in_place: tuple[int, ...] = ()
    family: str = ""
    facts: tuple[str, ...] = ()
    share: float = 1.0


class Family(Protocol):
    """Kernels of one idea. A module in `kernels/` has one as `FAMILY`.

    A family whose kernels decode weights has `decodes = True`, and is asked for nothing else; one for
    int16 activations has `wide = True` likewise, one for layers that are marked to skip zeros
    `skips = True`. One whose kernels' costs depend on the values of constants has
    `value_facts(op)`, the facts of all its kernels, and nothing where it has none.
    """

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        """The kernels that compute `op` exactly on the target; none if it isn't theirs."""


def families() -> Iterator[tuple[str, Family]]:
    """All families with the names of their files, in order."""
    path = tinycc_nn.backends.tvm.kernels.__path__
    for m in sorted(pkgutil.iter_modules(path), key=lambda m: m.name):
        module = importlib.import_module(f"tinycc_nn.backends.tvm.kernels.{m.name}")
        if (family := getattr(module, "FAMILY", None)) is not None:
            yield m.name, family


def value_facts(op: Op) -> tuple[str, ...]:
    """What of the values of an op's constants the costs of its kernels depend on."""
    asked = [getattr(f, "value_facts", None) for _, f in families()]
    return tuple(fact for ask in asked if ask is not None for fact in ask(op))


def candidates(op: Op, target: Target) -> list[Kernel]:
    """Every kernel that computes `op` on the target; of an op that is marked to skip zeros only
    those that do, if there are any."""
    skipping = _candidates(op, target, skips=True) if op.attrs.get("skip") else []
    return skipping or _candidates(op, target, skips=False)


def _candidates(op: Op, target: Target, *, skips: bool) -> list[Kernel]:
    coded = any(v.type.dtype.book is not None for v in op.operands)
    wide = any(v.type.dtype == I16 and v.type.quant is not None for v in (*op.operands, op.result))
    asked = {"decodes": coded, "wide": wide, "skips": skips}
    fitting = [
        (name, f)
        for name, f in families()
        if all(getattr(f, trait, False) == given for trait, given in asked.items())
    ]
    return [replace(k, family=name) for name, f in fitting for k in f.candidates(op, target)]
