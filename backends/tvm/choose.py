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
"""Below -O3 all constants may take so many times what the smallest kernels take."""


PATIENCE = 4000
"""At -Os, the bytes that it may take to save as many cycles as the whole network needs at best."""


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
    allowed = {op: _allowed(op, found[op], options) for op in ops}
    fastest = sum(min(k.cycles for k in kernels) for kernels in allowed.values())
    taken = {op: _best(kernels, options.level, fastest) for op, kernels in allowed.items()}
    if options.level not in ("Os", "O3"):
        _save_flash(allowed, taken)
    return {op: Choice(op, taken[op], tuple(k.name for k in found[op])) for op in ops}


def _allowed(op: Op, fitting: list[Kernel], options: BackendOptions) -> list[Kernel]:
    """All that fit, or the one that is forced."""
    forced = options.kernels.get(op.result.name)
    if forced is None:
        return fitting
    named = [k for k in fitting if k.name == forced]
    if not named:
        hint = nearest(forced, [k.name for k in fitting])
        raise TinyccError(f"no kernel '{forced}' fits this layer", op.result.name, hint)
    return named


def _best(kernels: list[Kernel], level: str, fastest: float) -> Kernel:
    if level == "Os":
        return min(kernels, key=lambda k: (_bytes(k) + PATIENCE * k.cycles / fastest, k.name))
    return min(kernels, key=lambda k: (k.cycles, _bytes(k), k.name))


def _bytes(kernel: Kernel) -> float:
    """Flash, with scratch at a quarter of its bytes: it is shared by all layers."""
    return kernel.constants + kernel.text + kernel.scratch / 4


def _save_flash(allowed: dict[Op, list[Kernel]], taken: dict[Op, Kernel]) -> None:
    """Give up speed where it saves most bytes for a cycle, until the constants are in bounds."""
    bound = GROWTH * sum(min(k.constants for k in kernels) for kernels in allowed.values())
    while sum(k.constants for k in taken.values()) > bound:
        steps = [
            ((k.cycles - taken[op].cycles) / (taken[op].constants - k.constants), i, op, k)
            for i, (op, kernels) in enumerate(allowed.items())
            for k in kernels
            if k.constants < taken[op].constants
        ]
        _, _, op, kernel = min(steps, key=lambda s: s[:2])
        taken[op] = kernel
