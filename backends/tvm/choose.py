"""Which kernel computes each op: the smallest at -Os, else the fastest within bounds, or a forced one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinycc_nn.backend import BackendOptions
from tinycc_nn.backends.tvm.kernel import Kernel, candidates
from tinycc_nn.diagnostics import TinyccError, nearest
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

GROWTH = 1.35
"""Below -O3 constants may take so many times what the smallest kernel's take."""


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
        return Choice(op, _best(fitting, options.level), names)
    if forced not in names:
        hint = nearest(forced, names)
        raise TinyccError(f"no kernel '{forced}' fits this layer", op.result.name, hint)
    return Choice(op, fitting[names.index(forced)], names)


def _best(fitting: list[Kernel], level: str) -> Kernel:
    if level == "Os":
        return min(fitting, key=lambda k: (_bytes(k), k.cycles, k.name))
    least = min(k.constants for k in fitting)
    affordable = [k for k in fitting if level == "O3" or k.constants <= GROWTH * least + 64]
    return min(affordable, key=lambda k: (k.cycles, _bytes(k), k.name))


def _bytes(kernel: Kernel) -> float:
    """Flash, with scratch at a quarter of its bytes: it is shared by all layers."""
    return kernel.constants + kernel.text + kernel.scratch / 4
