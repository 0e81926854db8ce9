"""From an op of the IR to a TIR function through a tensor expression."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import tvm
from tvm import s_tir, te, tirx
from tvm.s_tir import Schedule

import tinycc_nn.backends.tvm.te
from tinycc_nn.ir.graph import Op
from tinycc_nn.ir.types import Array
from tinycc_nn.ops import opdef

Expr = Any
SUM, RESULT = "acc", "y"
Definition = Callable[["Terms"], te.Tensor]


class Terms:
    """The op that is being defined, with a placeholder for each operand and constant."""

    def __init__(self, op: Op) -> None:
        self.op = op
        self.has_sum = False
        self.running: list[te.Tensor] = []
        self.constants: list[tuple[te.Tensor, Array]] = []
        self.operands: list[te.Tensor] = []
        self.flat = opdef(op.name).elementwise and all(
            v.type.shape == op.type.shape and (v.type.quant is None or v.type.quant.axis is None)
            for v in (op.result, *op.operands)
        )
        for i, v in enumerate(op.operands):
            shape = (v.type.size,) if self.flat else v.type.shape or (1,)
            t = te.placeholder(shape, v.type.dtype.numpy.name, name=f"x{i}")
            array = v.constant
            if array is None:
                self.running.append(t)
            else:
                self.constants.append((t, array.reshape(shape)))
            self.operands.append(t)

    def __getitem__(self, index: int) -> te.Tensor:
        return self.operands[index]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result: one axis where no element needs to know its place."""
        return (self.op.type.size,) if self.flat else self.op.type.shape or (1,)

    @property
    def is_float(self) -> bool:
        return self.op.type.dtype.is_float

    def constant(self, array: Array) -> te.Tensor:
        """A further constant that the kernel reads."""
        t = te.placeholder(array.shape, array.dtype.name, name=f"c{len(self.constants)}")
        self.constants.append((t, array))
        return t

    def compute(self, body: Callable[..., Expr]) -> te.Tensor:
        """The result, element by element."""
        return te.compute(self.shape, body, name=RESULT)

    def reduce(self, body: Callable[..., Expr]) -> te.Tensor:
        """A reduction (te.sum, te.max) for each element of the result, to be finished by it."""
        self.has_sum = True
        return te.compute(self.shape, body, name=SUM)


@cache
def _found(table: str) -> Mapping[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for m in pkgutil.iter_modules(tinycc_nn.backends.tvm.te.__path__):
        module = importlib.import_module(f"tinycc_nn.backends.tvm.te.{m.name}")
        found.update(getattr(module, table, {}))
    return found


def is_defined(op: Op) -> bool:
    """Whether there is a definition of this operator."""
    return op.name in _found("DEFINITIONS") or op.name in _found("SCRIPTS")


def define(op: Op) -> tuple[tirx.PrimFunc, tuple[Array, ...]]:
    """The TIR function of an op and the constants that it reads, in parameter order."""
    if (direct := _found("SCRIPTS").get(op.name)) is not None:
        script: tuple[tirx.PrimFunc, tuple[Array, ...]] = direct(op)
        return script
    terms = Terms(op)
    y = _found("DEFINITIONS")[op.name](terms)
    tensors = [*terms.running, *(t for t, _ in terms.constants), y]
    function = te.create_prim_func(tensors)
    if terms.has_sum:
        function = _fuse(function)
    return function, tuple(np.ascontiguousarray(a) for _, a in terms.constants)


def _fuse(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Keep a sum in a scalar: what follows it is computed in the loop that finishes it."""
    schedule = Schedule(function)
    acc, y = schedule.get_sblock(SUM), schedule.get_sblock(RESULT)
    loops = schedule.get_loops(acc)
    rank = len(schedule.get_loops(y))
    schedule.reverse_compute_at(y, loops[rank - 1], preserve_unit_loops=True)
    schedule.decompose_reduction(acc, loops[rank])
    return _shrink()(schedule.mod)["main"]


@cache
def _shrink() -> tvm.transform.Pass:
    """Local buffers get the size that is used: the sum becomes one element."""
    t = s_tir.transform
    passes = (
        t.CanonicalizeLoop(), t.LowerInitBlock(), t.PlanAndUpdateBufferAllocationLocation(),
        t.ConvertBlocksToOpaque(), t.CompactBufferAllocation(),
    )  # fmt: skip
    return tvm.ir.transform.Sequential(passes)
