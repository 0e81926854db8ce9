"""Which kernel computes each op: the smallest at -Os, otherwise the fastest, or the one forced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinycc_nn.backend import BackendOptions
from tinycc_nn.backends.tvm.kernel import Kernel, candidates
from tinycc_nn.diagnostics import TinyccError, nearest
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target


@dataclass(frozen=True)
class Choice:
    """The kernel taken for an op, and the names of all that fit."""

    op: Op
    kernel: Kernel
    names: tuple[str, ...]


def choose(ops: Sequence[Op], target: Target, options: BackendOptions) -> dict[Op, Choice]:
    """A kernel for each op. TinyccError lists every op without one, and bad forced names."""
    layers = {op.result.name for op in ops}
    for name in options.kernels:
        if name not in layers:
            raise TinyccError(f"--kernel: there is no layer '{name}'", hint=nearest(name, layers))
    found = {op: candidates(op, target) for op in ops}
    missing = [op for op in ops if not found[op]]
    if missing:
        lines = "".join(f"\n  {op.result}: {op.name} to {op.type}" for op in missing)
        raise TinyccError(
            f"no kernel of {target.name} computes:{lines}",
            hint="keep these layers in float32, or give another -mcpu",
        )
    return {op: _choice(op, found[op], options) for op in ops}


def _choice(op: Op, fitting: list[Kernel], options: BackendOptions) -> Choice:
    names = tuple(k.name for k in fitting)
    forced = options.kernels.get(op.result.name)
    if forced is None:
        return Choice(op, min(fitting, key=lambda k: _rank(k, options.level)), names)
    if forced not in names:
        hint = nearest(forced, names)
        raise TinyccError(f"no kernel '{forced}' fits this layer", op.result.name, hint)
    return Choice(op, fitting[names.index(forced)], names)


def _rank(kernel: Kernel, level: str) -> tuple[float, float, str]:
    if level == "Os":
        return kernel.flash + kernel.scratch / 4, kernel.cycles, kernel.name
    return kernel.cycles, kernel.flash, kernel.name
